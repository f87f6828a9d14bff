//! PySpark jobs under test: `e2e/frameworks/spark_job.py` on unmodified Spark through our `libmesos.so`, and a ZooKeeper in which
//! it finds its master.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context, bail};
use rustix::process::Signal;
use serde_json::Value;

use crate::{
    cluster::{Cluster, binary, free_address, repository},
    member,
    program::wait_for,
};

/// How long a job may take: a JVM starts in seconds, on a busy machine in a minute.
const JOB_DEADLINE: Duration = Duration::from_secs(240);

/// A running job. Dropping it kills it.
pub struct SparkJob {
    process: Child,
    output: PathBuf,
    errors: PathBuf,
}

impl SparkJob {
    /// Submits a job of so many rounds to `mesos://MASTER`.
    pub fn submit(cluster: &Cluster, name: &str, master: &str, rounds: u32) -> anyhow::Result<Self> {
        Self::submit_with(cluster, name, master, rounds, &[])
    }

    /// The same with settings of Spark's, as `KEY=VALUE`.
    pub fn submit_with(
        cluster: &Cluster,
        name: &str,
        master: &str,
        rounds: u32,
        settings: &[String],
    ) -> anyhow::Result<Self> {
        let directory = std::env::var("CATAMARAN_FRAMEWORKS")
            .context("CATAMARAN_FRAMEWORKS is not set; run the tests with `cargo xtask test --only NAME`")?;
        let python = Path::new(&directory).join("bin/python");
        let credentials: Value = serde_json::from_str(&fs::read_to_string(cluster.credentials())?)?;
        let secret = credentials["credentials"][0]["secret"].as_str().context("there is no secret")?;
        let output = cluster.directory().join(format!("{name}.stdout"));
        let errors = cluster.directory().join(format!("{name}.stderr"));
        let process = Command::new(Path::new(&directory).join("bin/spark-submit"))
            .args(["--master", &format!("mesos://{master}")])
            .args(["--conf", "spark.mesos.principal=catamaran"])
            .args(["--conf", &format!("spark.mesos.secret={secret}")])
            // Longer than a master's restart.
            .args(["--conf", "spark.mesos.driver.failoverTimeout=120"])
            .args(["--conf", "spark.cores.max=1", "--conf", "spark.executor.memory=512m"])
            .args(["--conf", "spark.ui.enabled=false"])
            .args(settings.iter().flat_map(|setting| ["--conf", setting.as_str()]))
            .arg(repository().join("e2e/frameworks/spark_job.py"))
            .args([name, &rounds.to_string()])
            .env("MESOS_NATIVE_JAVA_LIBRARY", binary().with_file_name("libmesos.so"))
            .env("SPARK_LOCAL_IP", "127.0.0.1")
            .env("PYSPARK_PYTHON", python)
            .stdin(Stdio::null())
            .stdout(File::create(&output)?)
            .stderr(File::create(&errors)?)
            .spawn()
            .context("could not start spark-submit")?;
        Ok(Self { process, output, errors })
    }

    fn tail(&self) -> String {
        let text = fs::read_to_string(&self.errors).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(40)..].join("\n")
    }

    /// Waits until a line of its output is there.
    pub fn wait_for_line(&mut self, line: &str) -> anyhow::Result<()> {
        let output = self.output.clone();
        let process = &mut self.process;
        let waited = wait_for(&format!("the line '{line}'"), JOB_DEADLINE, || {
            if fs::read_to_string(&output)?.lines().any(|said| said == line) {
                return Ok(Some(()));
            }
            match process.try_wait()? {
                Some(status) => bail!("spark-submit ended with {status}"),
                None => Ok(None),
            }
        });
        waited.with_context(|| self.tail())
    }

    /// Waits for the right results and the end.
    pub fn wait(&mut self) -> anyhow::Result<()> {
        self.wait_for_line("done")?;
        let ended = wait_for("spark-submit to end", JOB_DEADLINE, || Ok(self.process.try_wait()?));
        let status = ended.with_context(|| self.tail())?;
        if !status.success() {
            bail!("spark-submit ended with {status}:\n{}", self.tail());
        }
        Ok(())
    }

    /// What Spark and the native library have printed.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.errors).unwrap_or_default()
    }
}

impl Drop for SparkJob {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// What a Spark executor needs of this machine in an image without it, in the form of `spark.mesos.executor.docker.volumes`.
pub fn volumes() -> anyhow::Result<String> {
    let directory = std::env::var("CATAMARAN_FRAMEWORKS").context("CATAMARAN_FRAMEWORKS is not set")?;
    let python = Path::new(&directory).join("bin/python").canonicalize()?;
    let installed = python.ancestors().nth(2).context("Python is installed somewhere")?.to_owned();
    let system = ["/usr", "/lib", "/lib64", "/etc/alternatives"].map(PathBuf::from);
    let java = fs::read_dir("/etc")?.flatten().map(|entry| entry.path());
    let java = java.filter(|path| path.to_string_lossy().starts_with("/etc/java-"));
    let all: std::collections::BTreeSet<PathBuf> =
        system.into_iter().chain(java).chain([directory.into(), installed]).collect();
    let mounts: Vec<String> = all.iter().map(|path| format!("{0}:{0}:ro", path.display())).collect();
    Ok(mounts.join(","))
}

/// Processes of Spark's executors that run in sandboxes of a cluster.
pub fn executors(cluster: &Cluster) -> anyhow::Result<Vec<u32>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let entry = entry?;
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        // Processes end while they are looked at.
        let Ok(directory) = fs::read_link(entry.path().join("cwd")) else { continue };
        let command = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let command = String::from_utf8_lossy(&command).replace('\0', " ");
        let is_java = command.split(' ').next().is_some_and(|program| program.ends_with("java"));
        if is_java && command.contains("ExecutorBackend") && directory.starts_with(cluster.directory()) {
            found.push(pid);
        }
    }
    Ok(found)
}

/// A ZooKeeper server with one node.
pub struct ZooKeeper {
    process: Child,
    files: tempfile::TempDir,
    /// `host:port`.
    pub address: String,
}

impl ZooKeeper {
    /// Starts it and waits until it listens.
    pub fn start() -> anyhow::Result<Self> {
        let files = tempfile::Builder::new().prefix("cm-zookeeper-").tempdir_in("/tmp")?;
        let address = free_address()?;
        let port = address.rsplit_once(':').context("an address has a port")?.1;
        let data = files.path().display();
        let text = format!(
            "tickTime=2000\ndataDir={data}\nclientPort={port}\nclientPortAddress=127.0.0.1\nadmin.enableServer=false\n"
        );
        fs::write(files.path().join("zoo.cfg"), text)?;
        let process = Self::launch(files.path())?;
        let server = Self { process, files, address };
        server.wait()?;
        Ok(server)
    }

    fn launch(directory: &Path) -> anyhow::Result<Child> {
        let log = File::options().create(true).append(true).open(directory.join("log"))?;
        Command::new("java")
            .args([
                "-cp",
                "/usr/share/java/zookeeper.jar",
                "org.apache.zookeeper.server.quorum.QuorumPeerMain",
            ])
            .arg(directory.join("zoo.cfg"))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("could not start ZooKeeper")
    }

    fn wait(&self) -> anyhow::Result<()> {
        wait_for("ZooKeeper to listen", Duration::from_secs(60), || {
            Ok(std::net::TcpStream::connect(&self.address).ok())
        })?;
        Ok(())
    }

    /// Kills it and starts it again with what it has on disk.
    pub fn restart(&mut self) -> anyhow::Result<()> {
        member::send(self.process.id(), Signal::KILL);
        self.process.wait()?;
        self.process = Self::launch(self.files.path())?;
        self.wait()
    }
}

impl Drop for ZooKeeper {
    fn drop(&mut self) {
        member::send(self.process.id(), Signal::KILL);
        let _ = self.process.wait();
    }
}
