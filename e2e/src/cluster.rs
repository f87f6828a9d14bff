//! A cluster under test: one `catamaran up` in a directory of its own, on loopback ports of its own.

use std::{
    fs::{self, File},
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command},
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use serde_json::Value;

use crate::{
    leftovers,
    program::{self, Output, wait_for},
};

/// How long a cluster may take to its ready line in a debug build on a busy machine.
const READY_DEADLINE: Duration = Duration::from_secs(90);
/// How long it may take to stop: Pods get their grace.
const STOP_DEADLINE: Duration = Duration::from_secs(90);

/// A running cluster; dropping it stops it and sweeps its directory.
pub struct Cluster {
    directory: tempfile::TempDir,
    /// Address of the Kubernetes door.
    pub api: String,
    /// Address of the master's Mesos door.
    pub mesos: String,
    /// Address of the agent's Mesos door.
    pub agent: String,
    extra: Vec<String>,
    process: Option<Child>,
}

/// A loopback address that was free a moment ago.
pub fn free_address() -> anyhow::Result<String> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string())
}

/// The binary under test.
pub fn binary() -> PathBuf {
    std::env::var_os("CATAMARAN_BINARY")
        .map(PathBuf::from)
        .unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/debug/catamaran"))
}

/// The repository's root.
pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// A client that `cargo xtask test` has fetched.
pub fn client(name: &str) -> PathBuf {
    match std::env::var_os("CATAMARAN_CLIENTS") {
        Some(directory) => Path::new(&directory).join(name),
        None => PathBuf::from(name),
    }
}

impl Cluster {
    /// Starts `catamaran up` with these further arguments and waits for its ready line.
    pub fn up(extra: &[&str]) -> anyhow::Result<Self> {
        let directory = tempfile::Builder::new().prefix("cm-e2e-").tempdir_in("/tmp")?;
        let mut cluster = Self {
            directory,
            api: free_address()?,
            mesos: free_address()?,
            agent: free_address()?,
            extra: extra.iter().map(|s| (*s).to_owned()).collect(),
            process: None,
        };
        cluster.start()?;
        Ok(cluster)
    }

    /// The cluster's directory: data below `data/`, log in `up.log`.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// The data directory.
    pub fn data(&self) -> PathBuf {
        self.directory().join("data")
    }

    /// The kubeconfig that it wrote.
    pub fn kubeconfig(&self) -> PathBuf {
        self.directory().join("kubeconfig")
    }

    /// Everything that it has printed.
    pub fn log(&self) -> String {
        fs::read_to_string(self.directory().join("up.log")).unwrap_or_default()
    }

    /// The process id of `up`.
    pub fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(Child::id)
    }

    /// Starts it (again) and waits for the ready line of this start.
    pub fn start(&mut self) -> anyhow::Result<()> {
        let before = self.log().len();
        let log = File::options().create(true).append(true).open(self.directory().join("up.log"))?;
        let mut command = Command::new(binary());
        command
            .arg("up")
            .arg("--data-dir")
            .arg(self.data())
            .arg("--kubeconfig")
            .arg(self.kubeconfig())
            .args(["--api-listen", &self.api, "--mesos-listen", &self.mesos, "--agent-listen", &self.agent])
            .args(&self.extra)
            .stdin(std::process::Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        self.process = Some(command.spawn().context("could not start catamaran up")?);
        let start = Instant::now();
        loop {
            let said = self.log().split_off(before);
            if said.lines().any(|line| line.starts_with("ready: kubectl")) {
                return Ok(());
            }
            let process = self.process.as_mut().expect("it was started above");
            if let Some(status) = process.try_wait()? {
                bail!("catamaran up ended with {status} before it was ready:\n{said}");
            }
            if start.elapsed() > READY_DEADLINE {
                bail!("no ready line after {READY_DEADLINE:?}:\n{said}");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Stops it as Ctrl-C does; it must end well.
    pub fn stop(&mut self) -> anyhow::Result<()> {
        let Some(mut process) = self.process.take() else { return Ok(()) };
        signal(process.id(), rustix::process::Signal::INT);
        let status = wait_for("catamaran up to stop", STOP_DEADLINE, || Ok(process.try_wait()?));
        if status.is_err() {
            process.kill()?;
            process.wait()?;
        }
        let status = status.with_context(|| format!("its log:\n{}", self.tail()))?;
        if !status.success() {
            bail!("after Ctrl-C catamaran up ended with {status}:\n{}", self.tail());
        }
        Ok(())
    }

    /// Stops it, and fails if anything of it is still on the machine.
    pub fn stop_and_look_around(mut self) -> anyhow::Result<()> {
        self.stop()?;
        let left = leftovers::of(self.directory());
        if !left.is_empty() {
            bail!("left on the machine: {left:#?}\nlog:\n{}", self.tail());
        }
        Ok(())
    }

    /// Kills it as the kernel would, with no chance to clean up.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        if let Some(mut process) = self.process.take() {
            process.kill()?;
            process.wait()?;
        }
        Ok(())
    }

    /// The last part of its log.
    pub fn tail(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(60)..].join("\n")
    }

    /// A kubectl command against this cluster.
    pub fn kubectl_command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(client("kubectl"));
        command.arg("--kubeconfig").arg(self.kubeconfig()).args(arguments);
        // A cache of its own: discovery of another cluster must not answer for this one.
        command.arg("--cache-dir").arg(self.directory().join("kube-cache"));
        command.current_dir(repository());
        command
    }

    /// Runs kubectl; whatever its end.
    pub fn try_kubectl(&self, arguments: &[&str]) -> anyhow::Result<Output> {
        program::run(&mut self.kubectl_command(arguments), Duration::from_secs(120))
    }

    /// Runs kubectl, which must end well; its standard output.
    pub fn kubectl(&self, arguments: &[&str]) -> anyhow::Result<String> {
        self.try_kubectl(arguments)?
            .ok()
            .with_context(|| format!("kubectl {}\nlog of up:\n{}", arguments.join(" "), self.tail()))
    }

    /// Runs kubectl with `-o json`.
    pub fn json(&self, arguments: &[&str]) -> anyhow::Result<Value> {
        let mut all = arguments.to_vec();
        all.extend(["-o", "json"]);
        Ok(serde_json::from_str(&self.kubectl(&all)?)?)
    }

    /// Asks the master's operator API.
    pub fn operator(&self, call: &str) -> anyhow::Result<Value> {
        let url = format!("http://{}/api/v1", self.mesos);
        let mut curl = Command::new("curl");
        curl.args(["-sS", "--max-time", "20", "-H", "Content-Type: application/json", "-d", call, &url]);
        let text = program::run(&mut curl, Duration::from_secs(30))?.ok()?;
        serde_json::from_str(&text).with_context(|| format!("the operator API said: {text}"))
    }
}

/// Sends a signal to a process that may have ended.
pub fn signal(pid: u32, signal: rustix::process::Signal) {
    if let Some(pid) = rustix::process::Pid::from_raw(pid as i32) {
        let _ = rustix::process::kill_process(pid, signal);
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("log of catamaran up:\n{}", self.tail());
        }
        if let Err(error) = self.stop() {
            eprintln!("while stopping: {error:#}");
        }
        leftovers::sweep(self.directory.path());
    }
}
