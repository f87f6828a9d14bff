//! The private containerd: configured, started, found again, restarted when it dies.
//!
//! It runs in its own session and outlives this process; its shims outlive it. A restarted executor finds it by pid
//! file and socket. Only [`stop`] ends it.

pub(crate) mod settings;

use std::{path::PathBuf, process::Stdio, sync::Arc, time::Duration};

use rustix::{
    fs::{FlockOperation, flock},
    process::{Pid, Signal, kill_process},
};
use tokio::sync::watch;

use crate::{
    config::Config,
    runtime::{archives::Archives, images},
};

/// How often the process is checked.
const POLL_INTERVAL: Duration = Duration::from_millis(500);
/// Time limit for its socket to answer.
const START_TIMEOUT: Duration = Duration::from_secs(30);
/// First and longest pause between two starts.
const RETRY: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(5));
/// A larger log is truncated at the next start.
const LOG_BYTES_MAX: u64 = 16 << 20;
/// Time limit between SIGTERM and SIGKILL.
const STOP_TIMEOUT: Duration = Duration::from_secs(4);
/// Time limit after SIGKILL.
const DEATH_TIMEOUT: Duration = Duration::from_secs(1);

/// The state of the runtime.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum RuntimeState {
    /// It answers and has its images.
    Ready,
    /// With the reason.
    Unavailable(String),
}

/// The files of a private containerd.
#[derive(Debug, Clone)]
pub(crate) struct Paths {
    pub dir: PathBuf,
    pub socket: PathBuf,
    pub config: PathBuf,
    pub pid: PathBuf,
    pub log: PathBuf,
}

/// Why containerd does not run.
#[derive(Debug, thiserror::Error)]
enum StartError {
    #[error("containerd or runc is not installed (Debian: apt-get install containerd runc)")]
    NotInstalled,
    #[error("the CNI plugins are not installed (Debian: apt-get install containernetworking-plugins)")]
    NoPlugins,
    #[error("preparing {0}: {1}")]
    Prepare(&'static str, std::io::Error),
    #[error("containerd did not answer within {START_TIMEOUT:?}; see {0}")]
    NoAnswer(PathBuf),
    #[error("containerd exited during its start; see {0}")]
    Ended(PathBuf),
    #[error(transparent)]
    Image(#[from] images::ImageError),
    #[error("the runtime did not register the imported image {0}")]
    ImageUnknown(String),
}

impl Paths {
    /// A Unix socket path has at most 107 bytes. If the node's directory is nested deeply, the socket is in `/run`.
    pub fn of(config: &Config) -> Self {
        const SOCKET_PATH_MAX: usize = 100;
        let dir = config.root_dir.join("containerd");
        let mut socket = dir.join("containerd.sock");
        // containerd creates a second socket beside the first, with a suffix.
        if socket.as_os_str().len() + ".ttrpc".len() > SOCKET_PATH_MAX {
            socket = PathBuf::from(format!("/run/catamaran-{}/containerd.sock", config.tag()));
        }
        Self {
            socket,
            config: dir.join("config.toml"),
            pid: dir.join("containerd.pid"),
            log: dir.join("containerd.log"),
            dir,
        }
    }

    /// The pid of our containerd, if it runs.
    fn running(&self) -> Option<u32> {
        let pid: u32 = std::fs::read_to_string(&self.pid).ok()?.trim().parse().ok()?;
        self.is_ours(pid).then_some(pid)
    }

    /// Whether a process is a containerd with our configuration: pids are reused.
    fn is_ours(&self, pid: u32) -> bool {
        let command = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let config = self.config.as_os_str().as_encoded_bytes();
        let mut arguments = command.split(|byte| *byte == 0);
        let program = arguments.next().unwrap_or_default();
        program.rsplit(|byte| *byte == b'/').next() == Some(b"containerd")
            && arguments.any(|argument| argument == config)
    }

    /// Searches all processes, in case the executor was killed before it wrote the pid file.
    fn search(&self) -> Option<u32> {
        let entries = std::fs::read_dir("/proc").ok()?.flatten();
        let mut pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
        pids.find(|pid| self.is_ours(*pid))
    }
}

/// Keeps a private containerd running and publishes its state; ends when the receivers are gone.
pub(crate) async fn supervise(
    config: Arc<Config>,
    runtime_state: watch::Sender<RuntimeState>,
    client: cri::Client,
) {
    let paths = Paths::of(&config);
    // Their record is among containerd's files: whoever removes its images removes the record.
    let record = paths.dir.join("imported-archives");
    let mut archives = Archives::open(config.images_dir(), paths.socket.clone(), record);
    let mut pause = RETRY.0;
    loop {
        match bring_up(&config, &paths, &client, &mut archives).await {
            Ok(()) => {
                pause = RETRY.0;
                if runtime_state.send(RuntimeState::Ready).is_err() {
                    return;
                }
                while paths.running().is_some() {
                    tokio::time::sleep(POLL_INTERVAL).await;
                    archives.import_new().await;
                }
                tracing::warn!("containerd exited; restarting it");
                let _ = runtime_state
                    .send(RuntimeState::Unavailable("the container runtime is being restarted".to_owned()));
            }
            Err(error) => {
                let message = format!("container runtime is not ready: {error}");
                tracing::warn!("{message}");
                if runtime_state.send(RuntimeState::Unavailable(message)).is_err() {
                    return;
                }
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(RETRY.1);
            }
        }
    }
}

async fn bring_up(
    config: &Config,
    paths: &Paths,
    client: &cri::Client,
    archives: &mut Archives,
) -> Result<(), StartError> {
    // Agent and executor both keep it running, and import its images.
    let _lock = lock(paths).await.map_err(|error| StartError::Prepare("its lock", error))?;
    if paths.running().is_none() {
        match paths.search() {
            Some(pid) => std::fs::write(&paths.pid, pid.to_string())
                .map_err(|error| StartError::Prepare("its pid file", error))?,
            None => start(config, paths)?,
        }
    }
    let deadline = tokio::time::Instant::now() + START_TIMEOUT;
    while client.version(cri::v1::VersionRequest::default()).await.is_err() {
        if paths.running().is_none() {
            return Err(StartError::Ended(paths.log.clone()));
        }
        if tokio::time::Instant::now() >= deadline {
            return Err(StartError::NoAnswer(paths.log.clone()));
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    import_sandbox_image(config, paths, client).await?;
    archives.import_all().await;
    Ok(())
}

/// Waits until nobody else starts it.
async fn lock(paths: &Paths) -> std::io::Result<std::fs::File> {
    std::fs::create_dir_all(&paths.dir)?;
    let file =
        std::fs::File::options().create(true).truncate(false).write(true).open(paths.dir.join("lock"))?;
    loop {
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Err(rustix::io::Errno::WOULDBLOCK) => tokio::time::sleep(Duration::from_millis(20)).await,
            locked => return Ok(locked.map(|()| file)?),
        }
    }
}

fn start(config: &Config, paths: &Paths) -> Result<(), StartError> {
    let binary = find_binary("containerd").ok_or(StartError::NotInstalled)?;
    find_binary("runc").ok_or(StartError::NotInstalled)?;
    let plugins = crate::machine::pod_network::plugin_dir().ok_or(StartError::NoPlugins)?;
    let prepare = |what| move |error| StartError::Prepare(what, error);
    for dir in [&paths.dir, &paths.dir.join("certs.d")] {
        std::fs::create_dir_all(dir).map_err(prepare("its directory"))?;
    }
    if let Some(parent) = paths.socket.parent() {
        std::fs::create_dir_all(parent).map_err(prepare("its socket's directory"))?;
    }
    let networks = crate::machine::pod_network::prepare(config).map_err(prepare("the pod network"))?;
    let settings = settings::render(config, paths, &plugins, &networks);
    std::fs::write(&paths.config, settings).map_err(prepare("its configuration"))?;
    if std::fs::metadata(&paths.log).is_ok_and(|log| log.len() > LOG_BYTES_MAX) {
        let _ = std::fs::remove_file(&paths.log);
    }
    let log = std::fs::OpenOptions::new().create(true).append(true).open(&paths.log);
    let log = log.map_err(prepare("its log"))?;
    let log_too = log.try_clone().map_err(prepare("its log"))?;
    let mut command = match find_binary("setsid") {
        // In its own session, so that a signal to our process group does not end it.
        Some(setsid) => {
            let mut command = tokio::process::Command::new(setsid);
            command.arg(binary);
            command
        }
        None => {
            let mut command = tokio::process::Command::new(binary);
            command.process_group(0);
            command
        }
    };
    command
        .arg("--config")
        .arg(&paths.config)
        .stdin(Stdio::null())
        .stdout(log)
        .stderr(log_too)
        .kill_on_drop(false);
    // containerd gets nothing of the executor's environment but the proxy for pulls.
    let proxies =
        ["HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy", "PATH", "HOME"];
    command.env_clear().envs(proxies.iter().filter_map(|name| Some((name, std::env::var_os(name)?))));
    let mut child = command.spawn().map_err(prepare("its process"))?;
    let pid = child.id().unwrap_or_default();
    std::fs::write(&paths.pid, pid.to_string()).map_err(prepare("its pid file"))?;
    // `setsid` executes containerd in the same process, but not at once: the pid is ours only afterwards.
    for _ in 0..100 {
        if paths.running().is_some() {
            break;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    tokio::spawn(async move {
        let _ = child.wait().await;
    });
    tracing::info!(pid, socket = %paths.socket.display(), "containerd started");
    Ok(())
}

/// Finds a program on the PATH or in the usual directories.
pub(crate) fn find_binary(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let usual =
        ["/usr/local/bin", "/usr/local/sbin", "/usr/bin", "/usr/sbin", "/bin", "/sbin"].map(PathBuf::from);
    std::env::split_paths(&path).chain(usual).map(|dir| dir.join(name)).find(|file| file.is_file())
}

pub(crate) async fn knows(client: &cri::Client, image: &str) -> bool {
    let spec = cri::v1::ImageSpec { image: image.to_owned(), ..Default::default() };
    let request = cri::v1::ImageStatusRequest { image: Some(spec), verbose: false };
    client.image_status(request).await.is_ok_and(|response| response.image.is_some())
}

async fn import_sandbox_image(
    config: &Config,
    paths: &Paths,
    client: &cri::Client,
) -> Result<(), StartError> {
    let name = &config.sandbox_image;
    if !name.starts_with("localhost/catamaran/") || knows(client, name).await {
        return Ok(());
    }
    let archive = paths.dir.join("pause.tar");
    let built = images::build_pause_image(name)?;
    images::write(&archive, &built)?;
    images::import(&paths.socket, &archive).await?;
    // The CRI plugin learns of imports asynchronously.
    for _ in 0..250 {
        if knows(client, name).await {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Err(StartError::ImageUnknown(name.clone()))
}

pub(crate) fn runs(config: &Config) -> bool {
    let paths = Paths::of(config);
    paths.running().or_else(|| paths.search()).is_some()
}

/// Stops the private containerd. `node/leftovers.rs` handles what its containers leave on the machine.
pub(crate) async fn stop(config: &Config) {
    let paths = Paths::of(config);
    if let Some(pid) = paths.running().or_else(|| paths.search()) {
        for (how, timeout) in [(Signal::TERM, STOP_TIMEOUT), (Signal::KILL, DEATH_TIMEOUT)] {
            signal(pid, how);
            let deadline = tokio::time::Instant::now() + timeout;
            while paths.is_ours(pid) && tokio::time::Instant::now() < deadline {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            if !paths.is_ours(pid) {
                break;
            }
        }
    }
    let _ = std::fs::remove_file(&paths.pid);
    let _ = std::fs::remove_file(&paths.socket);
    if let Some(parent) = paths.socket.parent().filter(|parent| parent.starts_with("/run")) {
        let _ = std::fs::remove_dir_all(parent);
    }
}

fn signal(pid: u32, signal: Signal) {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    if let Some(pid) = pid {
        let _ = kill_process(pid, signal);
    }
}
