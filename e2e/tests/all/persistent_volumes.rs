//! A framework on unmodified pymesos keeps data in a persistent volume, over a kill of server and agent.

use std::{fs, path::Path};

use anyhow::{Context, ensure};
use e2e::cluster::{Cluster, repository};

/// Runs one phase of the framework, which must end with success; returns what it printed.
pub(crate) fn phase(cluster: &Cluster, name: &str, arguments: &[&str]) -> anyhow::Result<String> {
    let directory = std::env::var("CATAMARAN_FRAMEWORKS")
        .context("CATAMARAN_FRAMEWORKS is not set; run the tests with `cargo xtask test --only NAME`")?;
    let output = cluster
        .command(Path::new(&directory).join("bin/python"))
        .arg(repository().join("e2e/frameworks/pymesos_volumes.py"))
        .args([cluster.mesos.as_str(), name, "--credentials"])
        .arg(cluster.credentials())
        .args(arguments)
        .output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.success(), "{name}: {}\n{text}\n{errors}", output.status);
    Ok(text)
}

#[test]
fn a_persistent_volume_outlives_kills_and_is_removed() -> anyhow::Result<()> {
    let mut cluster = Cluster::split(&[])?;
    let written = phase(&cluster, "write", &["--text", "of-the-first-task"])?;
    assert_eq!(written.matches("OPERATION_FINISHED").count(), 2, "{written}");
    for member in ["server", "agent"] {
        cluster.kill(member)?;
        cluster.start(member)?;
    }
    let copy = cluster.directory().join("copy");
    phase(&cluster, "read", &["--copy", &copy.display().to_string()])?;
    assert_eq!(fs::read_to_string(&copy)?, "of-the-first-task\n");
    let removed = phase(&cluster, "remove", &[])?;
    assert_eq!(removed.matches("OPERATION_FINISHED").count(), 2, "{removed}");
    let state = cluster.operator(r#"{"type": "GET_AGENTS"}"#)?.to_string();
    assert!(!state.contains("data-of-team") && !state.contains("\"team\""), "{state}");
    cluster.stop_and_assert_clean()
}
