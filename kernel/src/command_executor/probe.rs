//! Probes of a task: a command, an HTTP request or a TCP connection, at an interval, with a timeout.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use kernel_model::executor::CommandInfo;
use kernel_wire::{
    executor,
    v1::{self, CheckInfo, HealthCheck, check_info, health_check, network_info::Protocol},
};
use rustix::process::{Pid, Signal, kill_process_group};

use super::command;

/// How often a probe's command is polled for its exit.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// The longest status line of a response.
const LINE_BYTES_MAX: u64 = 8 * 1024;

/// What a probe does.
#[derive(Debug, Clone)]
enum ProbeAction {
    Command(CommandInfo),
    Http { https: bool, ip: IpAddr, port: u16, path: String },
    Tcp { ip: IpAddr, port: u16 },
}

/// A probe and its schedule.
#[derive(Debug, Clone)]
pub(super) struct Probe {
    action: ProbeAction,
    delay: Duration,
    interval: Duration,
    timeout: Duration,
}

/// The result of a probe; `None` if it timed out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ProbeResult {
    Exited(Option<i32>),
    Answered(Option<u32>),
    Connected(Option<bool>),
}

impl Probe {
    /// The probe of a health check; `None` for an unknown type.
    pub(super) fn of_health(check: &HealthCheck) -> Option<Self> {
        let action = match check.r#type() {
            health_check::Type::Command => {
                ProbeAction::Command(executor::command_from_wire(check.command.clone()?))
            }
            health_check::Type::Http => {
                let http = check.http.as_ref()?;
                let (https, ip) = (http.scheme.as_deref() == Some("https"), loopback(http.protocol()));
                let path = http.path.clone().unwrap_or_default();
                ProbeAction::Http { https, ip, port: u16::try_from(http.port).ok()?, path }
            }
            health_check::Type::Tcp => {
                let tcp = check.tcp.as_ref()?;
                ProbeAction::Tcp { ip: loopback(tcp.protocol()), port: u16::try_from(tcp.port).ok()? }
            }
            health_check::Type::Unknown => return None,
        };
        Some(Self::new(action, check.delay_seconds(), check.interval_seconds(), check.timeout_seconds()))
    }

    /// The probe of a check; `None` for an unknown type.
    pub(super) fn of_check(check: &CheckInfo) -> Option<Self> {
        let ip = loopback(Protocol::IPv4);
        let action = match check.r#type() {
            check_info::Type::Command => {
                ProbeAction::Command(executor::command_from_wire(check.command.clone()?.command))
            }
            check_info::Type::Http => {
                let http = check.http.as_ref()?;
                let path = http.path.clone().unwrap_or_default();
                ProbeAction::Http { https: false, ip, port: u16::try_from(http.port).ok()?, path }
            }
            check_info::Type::Tcp => {
                ProbeAction::Tcp { ip, port: u16::try_from(check.tcp.as_ref()?.port).ok()? }
            }
            check_info::Type::Unknown => return None,
        };
        Some(Self::new(action, check.delay_seconds(), check.interval_seconds(), check.timeout_seconds()))
    }

    fn new(action: ProbeAction, delay: f64, interval: f64, timeout: f64) -> Self {
        Self { action, delay: seconds(delay), interval: seconds(interval), timeout: limit(timeout) }
    }

    /// Probes until `report` returns false. `environment` is the task's.
    pub(super) fn watch(
        self,
        environment: Vec<(String, String)>,
        mut report: impl FnMut(ProbeResult) -> bool + Send + 'static,
    ) {
        thread::spawn(move || {
            thread::sleep(self.delay);
            while report(self.once(&environment)) {
                thread::sleep(self.interval);
            }
        });
    }

    pub(super) fn once(&self, environment: &[(String, String)]) -> ProbeResult {
        let deadline = Instant::now() + self.timeout;
        match &self.action {
            ProbeAction::Command(info) => {
                ProbeResult::Exited(run(info, environment, deadline).ok().flatten())
            }
            ProbeAction::Tcp { ip, port } => {
                match TcpStream::connect_timeout(&SocketAddr::new(*ip, *port), self.timeout) {
                    Ok(_) => ProbeResult::Connected(Some(true)),
                    Err(error) if error.kind() == io::ErrorKind::TimedOut => ProbeResult::Connected(None),
                    Err(_) => ProbeResult::Connected(Some(false)),
                }
            }
            ProbeAction::Http { https: false, ip, port, path } => {
                ProbeResult::Answered(request(SocketAddr::new(*ip, *port), path, deadline).ok())
            }
            ProbeAction::Http { ip, port, path, .. } => {
                let url = format!("https://{}{path}", SocketAddr::new(*ip, *port));
                ProbeResult::Answered(request_securely(&url, self.timeout))
            }
        }
    }
}

impl ProbeResult {
    /// Whether this result means healthy.
    pub(super) fn is_good(self) -> bool {
        match self {
            ProbeResult::Exited(code) => code == Some(0),
            ProbeResult::Answered(status) => status.is_some_and(|status| (200..400).contains(&status)),
            ProbeResult::Connected(connected) => connected == Some(true),
        }
    }

    /// Encodes the result for a status.
    pub(super) fn to_wire(self) -> v1::CheckStatusInfo {
        use v1::check_status_info::{Command, Http, Tcp};
        let mut to = v1::CheckStatusInfo::default();
        let kind = match self {
            ProbeResult::Exited(exit_code) => {
                to.command = Some(Command { exit_code });
                check_info::Type::Command
            }
            ProbeResult::Answered(status_code) => {
                to.http = Some(Http { status_code });
                check_info::Type::Http
            }
            ProbeResult::Connected(succeeded) => {
                to.tcp = Some(Tcp { succeeded });
                check_info::Type::Tcp
            }
        };
        to.r#type = Some(kind as i32);
        to
    }

    /// The state of a check before its first result.
    pub(super) fn pending_result(check: &CheckInfo) -> Option<Self> {
        match check.r#type() {
            check_info::Type::Command => Some(ProbeResult::Exited(None)),
            check_info::Type::Http => Some(ProbeResult::Answered(None)),
            check_info::Type::Tcp => Some(ProbeResult::Connected(None)),
            check_info::Type::Unknown => None,
        }
    }
}

fn loopback(protocol: Protocol) -> IpAddr {
    match protocol {
        Protocol::IPv4 => Ipv4Addr::LOCALHOST.into(),
        Protocol::IPv6 => Ipv6Addr::LOCALHOST.into(),
    }
}

/// A duration; zero if it is negative or not finite.
pub(super) fn seconds(length: f64) -> Duration {
    Duration::try_from_secs_f64(length).unwrap_or_default()
}

/// A probe's timeout. Zero means no limit in Mesos; here it means a day.
fn limit(length: f64) -> Duration {
    let length = seconds(length);
    if length.is_zero() { Duration::from_secs(24 * 3600) } else { length }
}

/// Runs a command in its own process group; returns its exit code if it exits in time.
fn run(info: &CommandInfo, environment: &[(String, String)], deadline: Instant) -> io::Result<Option<i32>> {
    let own = info.environment.iter().map(|(name, value)| (name, value));
    let mut process = command::program(info)?;
    process.envs(environment.iter().map(|(name, value)| (name, value))).envs(own);
    // The probe must not write to the task's own output.
    process.stdin(Stdio::null()).stdout(io::stderr()).stderr(Stdio::inherit());
    let mut child = command::in_own_group(&mut process).spawn()?;
    let group = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let ended = loop {
        match child.try_wait()? {
            Some(status) => break Some(status),
            None if Instant::now() >= deadline => break None,
            None => thread::sleep(LOOK_EVERY),
        }
    };
    if let Some(group) = group {
        let _ = kill_process_group(group, Signal::KILL);
    }
    match ended {
        Some(status) => Ok(status.code()),
        None => child.wait().map(|_| None),
    }
}

/// The status of a GET.
fn request(address: SocketAddr, path: &str, deadline: Instant) -> io::Result<u32> {
    let left = || deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
    let mut stream = TcpStream::connect_timeout(&address, left())?;
    stream.set_write_timeout(Some(left()))?;
    let path = if path.is_empty() { "/" } else { path };
    // Sent in one write: a server that answers the first segment closes the connection before the others.
    let head = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nAccept: */*\r\nConnection: close\r\n\r\n");
    stream.write_all(head.as_bytes())?;
    stream.set_read_timeout(Some(left()))?;
    let mut line = String::new();
    BufReader::new(stream).take(LINE_BYTES_MAX).read_line(&mut line)?;
    let status = line.split(' ').nth(1).and_then(|code| code.trim().parse().ok());
    status.ok_or_else(|| io::Error::other("no answer of HTTP"))
}

/// The status of a GET over TLS, with any certificate, by `curl`.
fn request_securely(url: &str, timeout: Duration) -> Option<u32> {
    let output = Command::new("curl")
        .args(["--silent", "--insecure", "--globoff", "--output", "/dev/null", "--write-out", "%{http_code}"])
        .args(["--max-time", &timeout.as_secs_f64().to_string(), "--url", url])
        .stdin(Stdio::null())
        .output()
        .ok()?;
    String::from_utf8_lossy(&output.stdout).trim().parse().ok().filter(|status| *status > 0)
}
