//! Faults around the process: a full disk, a closed output, a closed terminal. Nothing acknowledged is lost, and work goes on by
//! itself when the fault has gone.

use std::{
    fs::{self, File},
    io::{ErrorKind, Write},
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context, ensure};
use e2e::{
    cluster::{self, Cluster},
    member,
    program::{self, wait_for},
    rounds::fault_rounds,
};
use rustix::process::Signal;
use serde_json::json;

const DEADLINE: Duration = Duration::from_secs(30);

/// Writes zeros until the file system is full.
fn fill(file: &Path) -> anyhow::Result<()> {
    let mut file = File::create(file)?;
    // In ever smaller pieces, so that no room remains.
    for length in [1 << 20, 4096, 1] {
        let zeros = vec![0; length];
        let full = loop {
            if let Err(error) = file.write_all(&zeros) {
                break error;
            }
        };
        ensure!(full.kind() == ErrorKind::StorageFull, "{full}");
    }
    Ok(())
}

/// A manifest of a ConfigMap with 10 KB.
fn manifest(directory: &Path, name: &str) -> anyhow::Result<String> {
    let path = directory.join(format!("{name}.json"));
    let object = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"text": "x".repeat(10_000)},
    });
    fs::write(&path, object.to_string())?;
    Ok(path.to_string_lossy().into_owned())
}

fn config_map(cluster: &Cluster, name: &str) -> anyhow::Result<program::Output> {
    cluster.try_kubectl(&["create", "-f", &manifest(cluster.directory(), name)?])
}

fn is_ready(cluster: &Cluster) -> anyhow::Result<program::Output> {
    cluster.try_kubectl(&["get", "--raw", "/readyz?verbose"])
}

#[test]
fn a_full_disk_refuses_creates_and_writes_resume_by_themselves() -> anyhow::Result<()> {
    let mut cluster = Cluster::server_on_small_disk(160)?;
    let ballast = cluster.data().join("ballast");
    for round in 0..fault_rounds().max(2) {
        let name = |what: &str| format!("{what}-{round}");
        config_map(&cluster, &name("kept"))?.ok()?;
        config_map(&cluster, &name("removed"))?.ok()?;
        is_ready(&cluster)?.ok()?;

        fill(&ballast)?;
        let refused = config_map(&cluster, &name("refused"))?;
        ensure!(refused.stderr.contains("(InsufficientStorage)"), "{refused:?}");
        ensure!(refused.stderr.contains("no space left for new objects"), "{refused:?}");
        let ready = is_ready(&cluster)?;
        ensure!(ready.stderr.contains("[-]store-writes failed"), "{ready:?}");
        cluster.kubectl(&["delete", "configmap", &name("removed")])?;
        cluster.kubectl(&["get", "configmap", &name("kept")])?;

        // The reserve as well, until a write fails and the store closes its log.
        fill(&cluster.data().join("more-ballast"))?;
        let mut label = 0;
        wait_for("a write that fails", DEADLINE, || {
            label += 1;
            let annotation = format!("text={label}{}", "y".repeat(100_000));
            let written =
                cluster.try_kubectl(&["annotate", "--overwrite", "configmap", &name("kept"), &annotation])?;
            Ok((!written.status.success()).then_some(()))
        })?;

        fs::remove_file(&ballast)?;
        fs::remove_file(cluster.data().join("more-ballast"))?;
        wait_for("writes to resume", DEADLINE, || {
            Ok(config_map(&cluster, &name("again"))?.status.success().then_some(()))
        })?;
        wait_for("the server to be ready", DEADLINE, || {
            Ok(is_ready(&cluster)?.status.success().then_some(()))
        })?;

        cluster.kill("server")?;
        cluster.start("server")?;
        for kept in ["kept", "again"] {
            cluster.kubectl(&["get", "configmap", &name(kept)])?;
        }
        for absent in ["refused", "removed"] {
            let got = cluster.try_kubectl(&["get", "configmap", &name(absent)])?;
            ensure!(got.stderr.contains("(NotFound)"), "{got:?}");
        }
    }
    cluster.stop_and_assert_clean()
}

#[test]
fn a_closed_output_is_survived_and_a_closed_terminal_stops_in_order() -> anyhow::Result<()> {
    (0..fault_rounds()).try_for_each(|_| closed_output_and_terminal())
}

fn closed_output_and_terminal() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let kubeconfig = directory.path().join("kubeconfig");
    let mut server = member::binary_command();
    server
        .arg("server")
        .arg("--data-dir")
        .arg(directory.path().join("data"))
        .arg("--kubeconfig")
        .arg(&kubeconfig);
    server.args(["--api-listen", &cluster::free_address()?, "--mesos-listen", &cluster::free_address()?]);
    server.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut server = server.spawn()?;
    // As `catamaran server | head -0`, and a log that nobody reads either.
    drop(server.stdout.take());
    drop(server.stderr.take());
    let written = manifest(directory.path(), "written")?;
    let answered = wait_for("the API to answer", DEADLINE, || {
        let mut kubectl = Command::new(cluster::client("kubectl"));
        kubectl.arg("--kubeconfig").arg(&kubeconfig).args(["create", "-f", &written, "--request-timeout=5s"]);
        Ok(program::run(&mut kubectl, DEADLINE)?.status.success().then_some(()))
    });
    member::send(server.id(), Signal::HUP);
    let ended = wait_for("the server to end", DEADLINE, || Ok(server.try_wait()?));
    if ended.is_err() {
        server.kill()?;
        server.wait()?;
    }
    answered?;
    ensure!(ended.context("after SIGHUP")?.success(), "an orderly stop");
    Ok(())
}
