//! A real Mesos framework under test: `e2e/frameworks/pymesos_tasks.py` on unmodified pymesos.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Stdio},
    time::Duration,
};

use anyhow::{Context, bail};
use serde_json::Value;

use crate::{
    cluster::{Cluster, repository},
    member,
    program::wait_for,
};

/// A running framework. Dropping it stops it.
pub struct Framework {
    process: Child,
    output: PathBuf,
    marks: PathBuf,
}

impl Framework {
    /// Starts the program with these arguments (see its `--help`).
    pub fn start(cluster: &Cluster, name: &str, arguments: &[&str]) -> anyhow::Result<Self> {
        let directory = std::env::var("CATAMARAN_FRAMEWORKS")
            .context("CATAMARAN_FRAMEWORKS is not set; run the tests with `cargo xtask test --only NAME`")?;
        let output = cluster.directory().join(format!("{name}.jsonl"));
        let marks = cluster.directory().join(format!("{name}.marks"));
        fs::create_dir_all(&marks)?;
        let errors = File::create(cluster.directory().join(format!("{name}.stderr")))?;
        let process = cluster
            .command(Path::new(&directory).join("bin/python"))
            .arg(repository().join("e2e/frameworks/pymesos_tasks.py"))
            .arg(&cluster.mesos)
            .arg("--credentials")
            .arg(cluster.credentials())
            .args(["--name", name, "--mark"])
            .arg(&marks)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(File::create(&output)?)
            .stderr(errors)
            .spawn()
            .context("could not start the framework")?;
        Ok(Self { process, output, marks })
    }

    /// The events that it has printed so far.
    pub fn events(&self) -> Vec<Value> {
        let text = fs::read_to_string(&self.output).unwrap_or_default();
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// The last 25 lines of its output.
    pub fn tail(&self) -> String {
        let text = fs::read_to_string(&self.output).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(25)..].join("\n")
    }

    /// How many status updates with this state it has received.
    pub fn count(&self, state: &str) -> usize {
        self.events().iter().filter(|e| e["event"] == "update" && e["state"] == state).count()
    }

    /// How often each task was started, by name. Each start of a task adds a line to a file.
    pub fn starts(&self) -> anyhow::Result<Vec<(String, usize)>> {
        let mut starts = Vec::new();
        for entry in fs::read_dir(&self.marks)? {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            starts.push((name, fs::read_to_string(&path)?.lines().count()));
        }
        Ok(starts)
    }

    /// Tells it to launch nothing new; it ends when what it has launched has ended.
    pub fn enough(&self) {
        member::send(self.process.id(), rustix::process::Signal::USR1);
    }

    /// Waits until it exits, which must be with success.
    pub fn wait(&mut self, deadline: Duration) -> anyhow::Result<()> {
        let status = wait_for("the framework to end", deadline, || Ok(self.process.try_wait()?))
            .with_context(|| self.tail())?;
        if !status.success() {
            bail!("the framework ended with {status}:\n{}", self.tail());
        }
        Ok(())
    }
}

impl Drop for Framework {
    fn drop(&mut self) {
        if self.process.try_wait().is_ok_and(|status| status.is_none()) {
            member::send(self.process.id(), rustix::process::Signal::TERM);
            let ended =
                wait_for("the framework to end", Duration::from_secs(10), || Ok(self.process.try_wait()?));
            if ended.is_err() {
                // It ignored SIGTERM.
                let _ = self.process.kill();
                let _ = self.process.wait();
            }
        }
    }
}
