//! Runs the program of a session in the container of an image, which is that of another process: in its namespaces, its directory
//! and with its variables, and with no more privileges than it has. So it needs no container runtime, as in Mesos.
//!
//! A process cannot enter a namespace of processes, only its children can. So this one stays: it passes signals on, and ends as its
//! child does.

use std::{
    convert::Infallible,
    ffi::{OsStr, OsString},
    fs, io,
    os::{
        fd::{AsFd, OwnedFd},
        unix::{ffi::OsStrExt, process::ExitStatusExt},
    },
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus},
};

use nix::sys::signal::{SigSet, Signal, raise};
use rustix::{
    fs::{Mode, OFlags},
    process::{Pid, Resource, Rlimit, fchdir, kill_process, setrlimit},
    thread::{
        CapabilitySet, LinkNameSpaceType, move_into_link_name_space, remove_capability_from_bounding_set,
        set_no_new_privs,
    },
};

use super::config::Config;
use crate::runtime::{containerizer::Streams, process::Process};

/// The namespaces that are entered. That of mounts is the last, because the others are found by paths.
const NAMESPACES: [(&str, LinkNameSpaceType); 6] = [
    ("ipc", LinkNameSpaceType::InterProcessCommunication),
    ("uts", LinkNameSpaceType::HostNameAndNISDomainName),
    ("net", LinkNameSpaceType::Network),
    ("cgroup", LinkNameSpaceType::ControlGroup),
    ("pid", LinkNameSpaceType::ProcessID),
    ("mnt", LinkNameSpaceType::Mount),
];

/// The bits of a set of capabilities.
const CAPABILITIES: u32 = 64;

/// The exit code if nobody knows how the program has ended.
const UNKNOWN: i32 = 1;

/// Runs the program of the configuration in the container with this first process, and ends as it does. Returns only if that fails.
pub(super) fn run(first: Process, config: &Config) -> io::Result<Infallible> {
    let [program, arguments @ ..] = config.arguments.as_slice() else {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "the command is empty"));
    };
    let place = Place::of(first)?;
    place.enter()?;
    if let Some(user) = &config.user {
        user.switch()?;
    }
    let child = Command::new(program)
        .args(arguments)
        .env_clear()
        .envs(place.environment)
        .envs(config.environment.iter().map(|(name, value)| (name, value)))
        .spawn()?;
    // The keys of a terminal send signals to its whole group.
    let of_keys = matches!(config.streams, Streams::Attachable { terminal: Some(_), .. });
    pass_signals_on(child, of_keys)
}

/// Where a process is, and what it may do.
struct Place {
    namespaces: Vec<(OwnedFd, LinkNameSpaceType)>,
    directory: OwnedFd,
    environment: Vec<(OsString, OsString)>,
    /// The capabilities that its children can have.
    capabilities: u64,
    gains_no_privileges: bool,
}

impl Place {
    fn of(first: Process) -> io::Result<Self> {
        let files = PathBuf::from(format!("/proc/{}", first.pid));
        let open = |name: &str, flags| {
            rustix::fs::open(files.join(name), flags | OFlags::CLOEXEC, Mode::empty())
                .map_err(io::Error::from)
        };
        let namespaces = NAMESPACES
            .into_iter()
            // Old kernels have none of cgroups.
            .filter(|(name, _)| files.join("ns").join(name).exists())
            .map(|(name, kind)| Ok((open(&format!("ns/{name}"), OFlags::RDONLY)?, kind)))
            .collect::<io::Result<_>>()?;
        let status = fs::read_to_string(files.join("status"))?;
        let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
        let capabilities = field("CapBnd:").and_then(|bits| u64::from_str_radix(bits, 16).ok());
        let place = Self {
            namespaces,
            directory: open("cwd", OFlags::PATH | OFlags::DIRECTORY)?,
            environment: variables(&files)?,
            capabilities: capabilities.ok_or(io::ErrorKind::InvalidData)?,
            gains_no_privileges: field("NoNewPrivs:") == Some("1"),
        };
        match first.is_alive() {
            true => Ok(place),
            // What was opened may be another process's.
            false => Err(io::Error::new(io::ErrorKind::NotFound, "the container has ended")),
        }
    }

    fn enter(&self) -> io::Result<()> {
        for (namespace, kind) in &self.namespaces {
            move_into_link_name_space(namespace.as_fd(), Some(*kind))?;
        }
        fchdir(&self.directory)?;
        for number in (0..CAPABILITIES).filter(|number| self.capabilities & (1 << number) == 0) {
            match remove_capability_from_bounding_set(CapabilitySet::from_bits_retain(1 << number)) {
                // The kernel does not have it.
                Ok(()) | Err(rustix::io::Errno::INVAL) => {}
                Err(error) => return Err(error.into()),
            }
        }
        if self.gains_no_privileges {
            set_no_new_privs(true)?;
        }
        Ok(())
    }
}

/// The variables that a process was started with.
fn variables(files: &Path) -> io::Result<Vec<(OsString, OsString)>> {
    let text = fs::read(files.join("environ"))?;
    let variables = text.split(|byte| *byte == 0).filter_map(|variable| {
        let at = variable.iter().position(|byte| *byte == b'=').filter(|at| *at > 0)?;
        let word = |bytes: &[u8]| OsStr::from_bytes(bytes).to_owned();
        Some((word(&variable[..at]), word(&variable[at + 1..])))
    });
    Ok(variables.collect())
}

/// Passes signals on to the child, and ends as it does. There are no threads: they could not be in another namespace of processes
/// than their children.
fn pass_signals_on(mut child: Child, of_keys: bool) -> io::Result<Infallible> {
    let mut passed = SigSet::empty();
    for signal in [Signal::SIGTERM, Signal::SIGHUP, Signal::SIGUSR1, Signal::SIGUSR2] {
        passed.add(signal);
    }
    let mut taken = passed;
    for signal in [Signal::SIGINT, Signal::SIGQUIT, Signal::SIGCHLD] {
        taken.add(signal);
    }
    if !of_keys {
        passed.add(Signal::SIGINT);
        passed.add(Signal::SIGQUIT);
    }
    // The child was started without them blocked.
    taken.thread_block()?;
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    loop {
        // It may have ended before its signal was blocked.
        if let Some(status) = child.try_wait()? {
            end_like(status);
        }
        let signal = taken.wait()?;
        let to = rustix::process::Signal::from_named_raw(signal as i32);
        if let (true, Some(pid), Some(to)) = (passed.contains(signal), pid, to) {
            // Nobody else waits for it, so it is this process.
            let _ = kill_process(pid, to);
        }
    }
}

/// Ends this process as its child has ended.
fn end_like(status: ExitStatus) -> ! {
    if let Some(signal) = status.signal().and_then(|number| Signal::try_from(number).ok()) {
        // It must not leave a core of its own.
        let no_core = Rlimit { current: Some(0), maximum: Some(0) };
        let _ = setrlimit(Resource::Core, no_core);
        let mut own = SigSet::empty();
        own.add(signal);
        let _ = own.thread_unblock();
        let _ = raise(signal);
    }
    std::process::exit(status.code().unwrap_or(UNKNOWN))
}
