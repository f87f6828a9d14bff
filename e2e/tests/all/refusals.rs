//! Refusals: one clear sentence, a non-zero exit code, and nothing changed.

use std::{fs, net::TcpListener, os::unix::process::CommandExt, process::Command, time::Duration};

use e2e::{
    cluster::{Cluster, binary, free_address},
    program::{self, Output, wait_for},
};

fn up(data: &std::path::Path, api: &str) -> anyhow::Result<Command> {
    let mut command = Command::new(binary());
    command.args(["up", "--no-merge"]).arg("--data-dir").arg(data).args(["--api-listen", api]);
    command.args(["--mesos-listen", &free_address()?, "--agent-listen", &free_address()?]);
    Ok(command)
}

fn refused(output: &Output, part: &str) {
    assert!(!output.status.success(), "{output:?}");
    let complaints: Vec<&str> = output.stderr.lines().collect();
    assert_eq!(complaints.len(), 1, "one sentence, not: {output:?}");
    assert!(complaints[0].starts_with("error: ") && complaints[0].contains(part), "{output:?}");
}

#[test]
fn a_port_in_use_is_refused() -> anyhow::Result<()> {
    let scratch = tempfile::tempdir()?;
    let data = scratch.path().join("data");
    let taken = TcpListener::bind("127.0.0.1:0")?;
    let address = taken.local_addr()?.to_string();
    let output = program::run(&mut up(&data, &address)?, Duration::from_secs(20))?;
    refused(&output, &format!("cannot listen on {address}"));
    assert!(!data.exists(), "the data directory was created");
    Ok(())
}

#[test]
fn a_newer_data_directory_is_refused() -> anyhow::Result<()> {
    let scratch = tempfile::tempdir()?;
    fs::write(scratch.path().join("format"), "999\n")?;
    let output = program::run(&mut up(scratch.path(), &free_address()?)?, Duration::from_secs(20))?;
    refused(&output, "newer catamaran");
    assert_eq!(fs::read_dir(scratch.path())?.count(), 1, "something was added to the directory");
    Ok(())
}

#[test]
fn a_scheduler_configuration_with_an_unknown_plugin_is_refused() -> anyhow::Result<()> {
    let scratch = tempfile::tempdir()?;
    let file = scratch.path().join("scheduler.yaml");
    let text = "apiVersion: kubescheduler.config.k8s.io/v1\nkind: KubeSchedulerConfiguration\nprofiles:\n- plugins: {filter: {enabled: [{name: Nonsense}]}}\n";
    fs::write(&file, text)?;
    let mut command = up(&scratch.path().join("data"), &free_address()?)?;
    command.arg("--scheduler-config").arg(&file);
    let output = program::run(&mut command, Duration::from_secs(20))?;
    refused(&output, "unknown plugin \"Nonsense\"");
    Ok(())
}

#[test]
fn without_root_it_is_refused() -> anyhow::Result<()> {
    let scratch = tempfile::tempdir()?;
    let data = scratch.path().join("data");
    // A copy that any user can run: the build directory may be below a private home.
    let copy = scratch.path().join("catamaran");
    fs::copy(binary(), &copy)?;
    Command::new("chmod").arg("755").arg(scratch.path()).arg(&copy).status()?;
    let mut command = Command::new(&copy);
    command.args(["up", "--no-merge"]).arg("--data-dir").arg(&data).uid(65534).gid(65534);
    let output = program::run(&mut command, Duration::from_secs(20))?;
    refused(&output, "needs root");
    assert!(!data.exists());
    Ok(())
}

#[test]
fn a_data_directory_in_use_is_refused() -> anyhow::Result<()> {
    let cluster = Cluster::up(&[])?;
    let data = cluster.directory().join("data");
    let output = program::run(&mut up(&data, &free_address()?)?, Duration::from_secs(20))?;
    refused(&output, "in use by another catamaran");
    cluster.kubectl(&["get", "nodes"])?;
    cluster.stop_and_assert_clean()
}

#[test]
fn without_containerd_pods_wait_with_the_reason() -> anyhow::Result<()> {
    let mut cluster = Cluster::up_without("/usr/bin/containerd", &["--example-images"])?;
    let said = cluster.log_of("up")?;
    assert!(said.contains("packages are missing; on Debian: apt-get install containerd\n"), "{said}");
    wait_for("the node, not ready", Duration::from_secs(30), || {
        Ok(cluster.kubectl(&["get", "nodes", "--no-headers"])?.contains("NotReady").then_some(()))
    })?;
    cluster.kubectl(&["apply", "-f", "manifests/examples/web.yaml"])?;
    wait_for("the reason", Duration::from_secs(30), || {
        let events = cluster.kubectl(&["get", "events", "--field-selector", "reason=FailedScheduling"])?;
        Ok(events.contains("(on Debian: apt-get install containerd, then restart the agent)").then_some(()))
    })?;
    cluster.kubectl(&["delete", "-f", "manifests/examples/web.yaml", "--timeout=60s"])?;
    cluster.stop_and_assert_clean()
}

#[test]
fn invalid_input_gets_a_clear_error() -> anyhow::Result<()> {
    let cluster = Cluster::up(&[])?;
    let said =
        cluster.try_kubectl(&["create", "--raw", "/api/v1/namespaces/default/pods", "-f", "README.md"])?;
    assert!(!said.status.success(), "{said:?}");
    let unknown = cluster.try_kubectl(&["get", "sloops"])?;
    assert!(unknown.stderr.contains("the server doesn't have a resource type \"sloops\""), "{unknown:?}");
    let missing = cluster.try_kubectl(&["get", "pod", "nobody"])?;
    assert_eq!(missing.stderr.trim(), "Error from server (NotFound): pods \"nobody\" not found");
    let (status, text) = cluster.post_to_master("/api/v1/scheduler", "{\"type\":")?;
    assert!(text.starts_with("Failed to parse body into JSON") && status == 400, "{status} {text}");
    for path in ["/api/v1/scheduler", "/api/v1", "/teardown"] {
        let (status, text) = cluster.post(path, "{}", None)?;
        assert_eq!((status, text.as_str()), (401, "401 Unauthorized."), "{path}");
    }
    cluster.kubectl(&["get", "--raw", "/readyz"])?;
    cluster.stop_and_assert_clean()
}
