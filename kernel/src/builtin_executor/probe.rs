//! Probes of a task: a command, an HTTP request or a TCP connection, at an interval, with a timeout.

use std::{
    fs::File,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream},
    os::fd::AsRawFd,
    process::{Command, Stdio},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{Request, header};
use kernel_model::executor::CommandInfo;
use kernel_wire::{
    executor,
    v1::{self, CheckInfo, HealthCheck, check_info, health_check, network_info::Protocol},
};
use rustix::process::{Pid, Signal, kill_process_group};
use transport::{
    client::{Client, ClientOptions},
    tls,
};

use super::{
    agent_client::runtime,
    command::{self, TaskUser},
    nested::NestedContainer,
};
use crate::images::ContainerCommands;

/// How often a probe's command is polled for its exit.
const POLL_INTERVAL: Duration = Duration::from_millis(10);

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

/// The task that is probed.
#[derive(Debug, Clone, Default)]
pub(super) struct ProbeContext {
    /// Variables beyond those of the executor.
    pub(super) environment: Vec<(String, String)>,
    pub(super) user: TaskUser,
    /// Where its processes start, if not where the executor did.
    pub(super) directory: Option<Arc<File>>,
    /// The container of an image that it runs in.
    pub(super) container: Option<ContainerCommands>,
    /// The same of a task of a group.
    pub(super) nested: Option<Arc<NestedContainer>>,
    /// Its address, if it has one of its own.
    pub(super) address: Option<IpAddr>,
}

impl ProbeContext {
    /// Gives a process the task's variables and directory. One that deals with a container of an image has the agent's user, so
    /// that nothing of the framework may reach it.
    pub(super) fn apply<'p>(&self, process: &'p mut Command) -> &'p mut Command {
        if let Some(container) = &self.container {
            return process.env_clear().envs(container.environment.iter().map(|(name, value)| (name, value)));
        }
        if let Some(directory) = &self.directory {
            // By its descriptor: the user need not be able to traverse the directories above.
            process.current_dir(format!("/proc/self/fd/{}", directory.as_raw_fd()));
        }
        process.envs(self.environment.iter().map(|(name, value)| (name, value)))
    }
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

    /// Probes until `report` returns false.
    pub(super) fn watch(
        self,
        context: ProbeContext,
        mut report: impl FnMut(ProbeResult) -> bool + Send + 'static,
    ) {
        thread::spawn(move || {
            thread::sleep(self.delay);
            while report(self.once(&context)) {
                thread::sleep(self.interval);
            }
        });
    }

    pub(super) fn once(&self, context: &ProbeContext) -> ProbeResult {
        let deadline = Instant::now() + self.timeout;
        match &self.action {
            ProbeAction::Command(info) => ProbeResult::Exited(run(info, context, deadline).ok().flatten()),
            ProbeAction::Tcp { ip, port } => {
                let ip = context.address.unwrap_or(*ip);
                match TcpStream::connect_timeout(&SocketAddr::new(ip, *port), self.timeout) {
                    Ok(_) => ProbeResult::Connected(Some(true)),
                    Err(error) if error.kind() == io::ErrorKind::TimedOut => ProbeResult::Connected(None),
                    Err(_) => ProbeResult::Connected(Some(false)),
                }
            }
            ProbeAction::Http { https, ip, port, path } => {
                let ip = context.address.unwrap_or(*ip);
                let status = http_get(*https, SocketAddr::new(ip, *port), path, self.timeout);
                ProbeResult::Answered(status.ok())
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

/// A duration of at most a hundred years, which can be added to any time; zero if it is negative or no number.
pub(super) fn seconds(length: f64) -> Duration {
    const SECONDS_MAX: f64 = 100.0 * 365.0 * 24.0 * 3600.0;
    Duration::try_from_secs_f64(length.min(SECONDS_MAX)).unwrap_or_default()
}

/// A probe's timeout. Zero means no limit in Mesos; here it means a day.
fn limit(length: f64) -> Duration {
    let length = seconds(length);
    if length.is_zero() { Duration::from_secs(24 * 3600) } else { length }
}

/// Runs a command in its own process group; returns its exit code if it exits in time.
fn run(info: &CommandInfo, context: &ProbeContext, deadline: Instant) -> io::Result<Option<i32>> {
    if let Some(nested) = &context.nested {
        return nested.run_in(info, deadline);
    }
    let own = info.environment.iter().map(|(name, value)| (name, value));
    let mut process = match &context.container {
        Some(container) => in_container(info, container, deadline)?,
        None => command::program(info)?,
    };
    context.apply(&mut process);
    if context.container.is_none() {
        process.envs(own);
    }
    // The probe must not write to the task's own output.
    process.stdin(Stdio::null()).stdout(io::stderr()).stderr(Stdio::inherit());
    let mut child = context.user.spawn(command::in_own_group(&mut process))?;
    let group = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let ended = loop {
        match child.try_wait()? {
            Some(status) => break Some(status),
            None if Instant::now() >= deadline => break None,
            None => thread::sleep(POLL_INTERVAL),
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

/// The process that runs a command in the container of its task.
fn in_container(info: &CommandInfo, container: &ContainerCommands, deadline: Instant) -> io::Result<Command> {
    let [program, arguments @ ..] = container.exec.as_slice() else {
        return Err(io::Error::other("nothing runs commands in the container"));
    };
    let command = command::words(info)?;
    let mut process = Command::new(program);
    process.args(arguments);
    let seconds = deadline.saturating_duration_since(Instant::now()).as_secs().max(1);
    process.arg(seconds.to_string());
    if !info.environment.is_empty() {
        // It has the container's variables, and these.
        process.arg("/usr/bin/env");
        process.args(info.environment.iter().map(|(name, value)| format!("{name}={value}")));
    }
    process.args(command);
    Ok(process)
}

/// The status of the response to a GET. The server's certificate is not verified: a check asks whether the task answers,
/// not who it is (as Mesos, which runs `curl --insecure`).
fn http_get(https: bool, address: SocketAddr, path: &str, timeout: Duration) -> io::Result<u32> {
    let scheme = if https { "https" } else { "http" };
    let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
    let request = Request::get(format!("{scheme}://{address}{path}"))
        .header(header::ACCEPT, "*/*")
        .header(header::CONNECTION, "close")
        .body(Full::<Bytes>::default())
        .map_err(io::Error::other)?;
    let tls = tls::unverified_client_config().map_err(io::Error::other)?;
    let options =
        ClientOptions { connect_timeout: timeout, response_timeout: timeout, ..ClientOptions::with_tls(tls) };
    let response = runtime()?.block_on(async { Client::new(options).send(request).await });
    Ok(response.map_err(io::Error::other)?.status().as_u16().into())
}
