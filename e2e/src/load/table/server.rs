//! A catamaran process for the table: started, polled until ready, stopped with SIGINT.

use std::fs::{self, File};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use bytes::Bytes;
use hyper::Method;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::connection::Connection;
use crate::target::Target;
use e2e::kubeconfig;

/// Deadline for a start, for a stop, and for the registration of all hollow nodes.
const START_TIMEOUT: Duration = Duration::from_secs(60);
const STOP_TIMEOUT: Duration = Duration::from_secs(30);
const NODES_TIMEOUT: Duration = Duration::from_secs(180);

/// A running server.
pub struct ServerProcess {
    child: Child,
    kubeconfig: PathBuf,
    log: PathBuf,
    mesos: String,
    ready: Duration,
}

impl ServerProcess {
    /// Starts `binary VERB` on this directory and waits until `/readyz` succeeds.
    pub async fn start(
        binary: &Path,
        directory: &Path,
        verb: &str,
        flags: &[String],
    ) -> anyhow::Result<ServerProcess> {
        let (kubeconfig, log) = (directory.join("kubeconfig"), directory.join("server.log"));
        let output = File::options().create(true).append(true).open(&log)?;
        let mut command = Command::new(binary);
        command.arg(verb).arg("--data-dir").arg(directory.join("data")).arg("--kubeconfig").arg(&kubeconfig);
        let mesos = free_address()?;
        command.args(["--api-listen", &free_address()?, "--mesos-listen", &mesos]);
        if verb == "up" {
            // `up` adds the cluster to the kubeconfig of its user.
            command.args(["--agent-listen", &free_address()?]).env("HOME", directory);
        }
        // A kubeconfig of an earlier start has another port.
        match fs::remove_file(&kubeconfig) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
        let begun = Instant::now();
        let child = command
            .args(flags)
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()
            .with_context(|| format!("{} cannot be started", binary.display()))?;
        let mut server = ServerProcess { child, kubeconfig, log, mesos, ready: Duration::ZERO };
        server.wait_until_ready(begun).await.with_context(|| server.tail())?;
        server.ready = begun.elapsed();
        Ok(server)
    }

    async fn wait_until_ready(&mut self, begun: Instant) -> anyhow::Result<()> {
        while !self.is_ready().await {
            if let Some(status) = self.child.try_wait()? {
                bail!("it ended with {status} before it was ready");
            }
            if begun.elapsed() > START_TIMEOUT {
                bail!("it was not ready after {START_TIMEOUT:?}");
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        Ok(())
    }

    async fn is_ready(&self) -> bool {
        let Ok(access) = kubeconfig::read(&self.kubeconfig) else { return false };
        let Ok(mut connection) = Connection::open(&access).await else { return false };
        let answer = connection.send(Method::GET, "/readyz", Bytes::new()).await;
        answer.is_ok_and(|(status, _)| status.is_success())
    }

    /// Time from exec to `/readyz`.
    pub fn ready_ms(&self) -> f64 {
        (self.ready.as_secs_f64() * 1e4).round() / 10.0
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Its kubeconfig.
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// The address of its Mesos API.
    pub fn mesos(&self) -> &str {
        &self.mesos
    }

    /// The process and its descendants that run our binary (the executor, not containerd).
    pub fn family(&self) -> anyhow::Result<Vec<u32>> {
        let mut family = vec![self.pid()];
        let own = fs::read_link(format!("/proc/{}/exe", self.pid()))?;
        let mut parents = Vec::new();
        for entry in fs::read_dir("/proc")? {
            let Ok(pid) = entry?.file_name().to_string_lossy().parse::<u32>() else { continue };
            // A process may end at any time.
            let Ok(status) = fs::read_to_string(format!("/proc/{pid}/status")) else { continue };
            let parent = status.lines().find_map(|line| line.strip_prefix("PPid:"));
            parents.push((pid, parent.and_then(|parent| parent.trim().parse::<u32>().ok()).unwrap_or(0)));
        }
        let mut at = 0;
        while let Some(parent) = family.get(at).copied() {
            family.extend(parents.iter().filter(|(_, of)| *of == parent).map(|(pid, _)| *pid));
            at += 1;
        }
        family.retain(|pid| fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|exe| exe == own));
        Ok(family)
    }

    /// The last lines of its log.
    pub fn tail(&self) -> String {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(15)..].join("\n")
    }

    /// Stops it with SIGINT.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        self.interrupt();
        let begun = Instant::now();
        while self.child.try_wait()?.is_none() {
            if begun.elapsed() > STOP_TIMEOUT {
                bail!("it did not stop within {STOP_TIMEOUT:?}\n{}", self.tail());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    fn interrupt(&self) {
        if let Some(pid) = i32::try_from(self.pid()).ok().and_then(Pid::from_raw) {
            // It may have ended already.
            let _ = kill_process(pid, Signal::INT);
        }
    }
}

impl Drop for ServerProcess {
    /// After a failure, SIGINT first, so that it removes its containers.
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(Some(_))) {
            return;
        }
        self.interrupt();
        let begun = Instant::now();
        while begun.elapsed() < STOP_TIMEOUT {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits until this many nodes are registered.
pub async fn wait_for_nodes(target: &Target, count: usize) -> anyhow::Result<()> {
    let begun = Instant::now();
    let mut connection = target.connect().await?;
    loop {
        let bytes = connection.expect(Method::GET, "/api/v1/nodes?limit=1", Bytes::new()).await?;
        let list: Value = serde_json::from_slice(&bytes)?;
        let page = list["items"].as_array().map_or(0, Vec::len);
        let seen = page + list["metadata"]["remainingItemCount"].as_u64().unwrap_or(0) as usize;
        if seen >= count {
            return Ok(());
        }
        if begun.elapsed() > NODES_TIMEOUT {
            bail!("{seen} of {count} nodes after {NODES_TIMEOUT:?}");
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

fn free_address() -> anyhow::Result<String> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string())
}
