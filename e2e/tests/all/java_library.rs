//! Mesos' Java library, unmodified, on our `libmesos.so`: what no well-known framework at hand uses of it.

use std::{fs, path::PathBuf, time::Duration};

use anyhow::Context;
use e2e::{
    cluster::Cluster,
    java::{JavaProgram, library},
    program::wait_for,
    spark::ZooKeeper,
};
use serde_json::Value;

/// The principal's secret.
fn secret(cluster: &Cluster) -> anyhow::Result<String> {
    let credentials: Value = serde_json::from_str(&fs::read_to_string(cluster.credentials())?)?;
    Ok(credentials["credentials"][0]["secret"].as_str().context("there is no secret")?.to_owned())
}

/// The files that a command in the sandbox of a Java executor has written.
fn standard_output_of_executors(cluster: &Cluster) -> anyhow::Result<String> {
    fn search(directory: &PathBuf, found: &mut String) -> anyhow::Result<()> {
        for entry in fs::read_dir(directory)? {
            let path = entry?.path();
            if path.is_dir() && !path.is_symlink() {
                search(&path, found)?;
            } else if path.file_name().is_some_and(|name| name == "stdout")
                && path.to_string_lossy().contains("/executors/executor/")
            {
                found.push_str(&fs::read_to_string(path)?);
            }
        }
        Ok(())
    }
    let mut found = String::new();
    search(&cluster.directory().to_owned(), &mut found)?;
    Ok(found)
}

/// Processes of the executor.
fn executors(cluster: &Cluster) -> anyhow::Result<Vec<u32>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let entry = entry?;
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        // Processes end while they are looked at.
        let Ok(directory) = fs::read_link(entry.path().join("cwd")) else { continue };
        let command = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        if directory.starts_with(cluster.directory())
            && String::from_utf8_lossy(&command).contains("DriverFramework.java")
        {
            found.push(pid);
        }
    }
    Ok(found)
}

/// An executor of `MesosExecutorDriver` with checkpoints: it outlives a kill of its agent, and what it reports meanwhile arrives.
/// It does not end when it is told to, and is gone after its grace period.
#[test]
fn a_java_executor_outlives_its_agent() -> anyhow::Result<()> {
    let mut cluster = Cluster::split_with(&[], &["--resources", "cpus:4;mem:4000;disk:10000"])?;
    let (jar, secret) = (library()?.display().to_string(), secret(&cluster)?);
    let arguments = ["scheduler", &cluster.mesos, "catamaran", &secret, &jar];
    let mut framework = JavaProgram::start(cluster.directory(), "DriverFramework", &arguments)?;
    framework.wait_for_line("message pong")?;
    let before = executors(&cluster)?;
    assert_eq!(before.len(), 1, "{before:?}");
    cluster.kill("agent")?;
    let waited = wait_for("the executor to miss its agent", Duration::from_secs(30), || {
        Ok(standard_output_of_executors(&cluster)?.contains("disconnected").then_some(()))
    });
    waited.with_context(|| framework.log())?;
    cluster.start("agent")?;
    framework.wait_for_line("update TASK_RUNNING agent away")?;
    framework.wait_for_line("update TASK_KILLED killed")?;
    framework.wait_for_line("ends with DRIVER_STOPPED")?;
    framework.wait()?;
    let gone = wait_for("the executor to end", Duration::from_secs(30), || {
        Ok(executors(&cluster)?.is_empty().then_some(()))
    });
    gone.with_context(|| cluster.tail())?;
    let said = standard_output_of_executors(&cluster)?;
    let lines: Vec<&str> = said.lines().collect();
    let wanted = [
        "registered executor of java on an agent with a name",
        "launch task",
        "message ping",
        "disconnected",
        "reregistered",
        "kill task",
        "shutdown",
    ];
    assert_eq!(lines, wanted, "{}", framework.log());
    cluster.stop_and_assert_clean()
}

/// The library of the v1 API, and its adapter `V0Mesos`: a framework of each launches a task, outlives a restart of its master, asks
/// for a new connection, and tears itself down.
#[test]
fn java_frameworks_use_the_v1_library() -> anyhow::Result<()> {
    let mut cluster = Cluster::split_with(&[], &["--resources", "cpus:4;mem:4000;disk:10000"])?;
    let secret = secret(&cluster)?;
    for kind in ["v1", "v0"] {
        let arguments = [kind, &cluster.mesos, "catamaran", &secret];
        let mut framework = JavaProgram::start(cluster.directory(), "LibraryFramework", &arguments)?;
        framework.wait_for_line("update TASK_RUNNING")?;
        cluster.kill("server")?;
        framework.wait_for_line("disconnected")?;
        cluster.start("server")?;
        framework.wait_for_line("torn down")?;
        framework.wait()?;
        let lines = framework.lines();
        let count = |line: &str| lines.iter().filter(|said| *said == line).count();
        let connections = if kind == "v1" { 3 } else { 2 };
        assert_eq!(count("refused"), 1, "{}", framework.log());
        assert_eq!(count("subscribed"), 1, "{}", framework.log());
        assert_eq!(count("subscribed again"), connections - 1, "{}", framework.log());
        assert_eq!(count("update TASK_KILLED"), 1, "{}", framework.log());
        assert!(count("connected") >= connections, "{}", framework.log());
        assert!(!lines.iter().any(|line| line.starts_with("error")), "{}", framework.log());
        let state = cluster.operator(r#"{"type": "GET_FRAMEWORKS"}"#)?;
        let active = state["get_frameworks"]["frameworks"].as_array().cloned().unwrap_or_default();
        assert!(!active.iter().any(|f| f["framework_info"]["name"] == "library"), "{state:#}");
    }
    cluster.stop_and_assert_clean()
}

/// `org.apache.mesos.state`: variables in a real ZooKeeper, which is killed in between; and the classes that are refused.
#[test]
fn java_frameworks_keep_their_state_in_zookeeper() -> anyhow::Result<()> {
    let mut zookeeper = ZooKeeper::start()?;
    let files = tempfile::tempdir()?;
    let mut program = JavaProgram::start(files.path(), "StateProgram", &[&zookeeper.address])?;
    program.wait_for_line("reader: UnsatisfiedLinkError org.apache.mesos.Log.Reader is not supported by Catamaran's libmesos.so: the replicated log needs the libmesos.so of Mesos")?;
    zookeeper.restart()?;
    program.go_on()?;
    program.wait()?;
    let refused = |class: &str, advice: &str| {
        format!(
            "UnsatisfiedLinkError org.apache.mesos.{class} is not supported by Catamaran's libmesos.so: {advice}"
        )
    };
    let state = "use org.apache.mesos.state.ZooKeeperState, or the libmesos.so of Mesos";
    let log = "the replicated log needs the libmesos.so of Mesos";
    let wanted = [
        "version: 1.11.0".to_owned(),
        "names before: ExecutionException Failed to get children of '/own/state' in ZooKeeper: no node".to_owned(),
        "new: ''".to_owned(),
        "stored: 'one'".to_owned(),
        "fetched: 'one'".to_owned(),
        "stale: null".to_owned(),
        "names: [x]".to_owned(),
        "stale expunged: false".to_owned(),
        "too big: ExecutionException Serialized data is too big (> 1 MB)".to_owned(),
        "read by others: 's'".to_owned(),
        "written by others: ExecutionException Failed to set '/secret/y' in ZooKeeper: not authenticated".to_owned(),
        "unknown scheme: ExecutionException Failed to authenticate with ZooKeeper: authentication failed".to_owned(),
        "no servers: IllegalArgumentException Failed to parse the ZooKeeper servers 'a b': expecting 'host:port'"
            .to_owned(),
        "away: TimeoutException Failed to wait for future within timeout".to_owned(),
        "interrupted: InterruptedException Interrupted while waiting".to_owned(),
        "cancel: false true".to_owned(),
        "cancelled: CancellationException Future was discarded".to_owned(),
        format!("leveldb: {}", refused("state.LevelDBState", state)),
        format!("log state: {}", refused("state.LogState", state)),
        format!("log: {}", refused("Log", log)),
        format!("reader: {}", refused("Log.Reader", log)),
        "ready: true".to_owned(),
        "after a restart: 'two'".to_owned(),
        "expunged: true".to_owned(),
        "expunged again: false".to_owned(),
        "done: true false".to_owned(),
        "end: []".to_owned(),
    ];
    assert_eq!(program.lines(), wanted, "{}", program.log());
    Ok(())
}

/// `null` for an argument that must not be is a NullPointerException, and the JVM lives.
#[test]
fn java_frameworks_may_pass_null() -> anyhow::Result<()> {
    let files = tempfile::tempdir()?;
    let mut program = JavaProgram::start(files.path(), "NullArguments", &[])?;
    program.wait()?;
    let lines = program.lines();
    assert_eq!(lines.last().map(String::as_str), Some("end"), "{}", program.log());
    let allowed: Vec<&String> =
        lines.iter().filter(|line| !line.ends_with(": NullPointerException")).collect();
    assert_eq!(allowed, ["filters may be null: DRIVER_NOT_STARTED", "end"], "{}", program.log());
    assert_eq!(lines.len(), 28, "{}", program.log());
    Ok(())
}
