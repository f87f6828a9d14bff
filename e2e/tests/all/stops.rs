//! Stops at inconvenient times: whatever was in progress, nothing is left on the machine, and the next start continues.

use std::{fs, thread::sleep, time::Duration};

use e2e::{cluster::Cluster, program::wait_for, rounds::fault_rounds};
use rustix::process::Signal;

use crate::walk::pods_gone;

const WEB: &str = "manifests/examples/web.yaml";

/// Delays after a change, spread over the time that a Pod takes to start and to end here.
const MOMENTS_MS: [u64; 6] = [0, 60, 150, 320, 600, 1100];

fn after(ms: u64) {
    sleep(Duration::from_millis(ms));
}

fn rolled_out(cluster: &Cluster) -> anyhow::Result<()> {
    cluster.kubectl(&["rollout", "status", "deployment/web", "--timeout=90s"]).map(drop)
}

#[test]
fn a_stop_at_any_time_leaves_nothing_behind() -> anyhow::Result<()> {
    let mut cluster = Cluster::up(&["--example-images"])?;
    for (round, ms) in MOMENTS_MS.into_iter().enumerate() {
        let signal = if round % 2 == 0 { Signal::INT } else { Signal::TERM };
        cluster.kubectl(&["apply", "-f", WEB])?;
        cluster.kubectl(&["scale", "deployment/web", "--replicas=4"])?;
        after(ms);
        cluster.stop_by("up", signal, &[])?;
        cluster.assert_clean()?;
        // The same Pods start again and are interrupted once more.
        cluster.start("up")?;
        after(ms);
        cluster.stop_by("up", signal, &[])?;
        cluster.assert_clean()?;
        cluster.start("up")?;
        rolled_out(&cluster)?;
        cluster.kubectl(&["delete", "-f", WEB, "--wait=false"])?;
        after(ms);
        cluster.stop_by("up", signal, &[])?;
        cluster.assert_clean()?;
        cluster.start("up")?;
        pods_gone(&cluster)?;
    }
    cluster.stop_and_assert_clean()
}

#[test]
fn a_stop_removes_what_a_crash_left_running() -> anyhow::Result<()> {
    let mut cluster = Cluster::up(&["--example-images"])?;
    cluster.kubectl(&["apply", "-f", WEB])?;
    rolled_out(&cluster)?;
    for (round, ms) in MOMENTS_MS.into_iter().enumerate() {
        cluster.kill("up")?;
        // In turn during the start and after it.
        if round % 2 == 0 {
            cluster.launch("up")?
        } else {
            cluster.start("up")?
        }
        after(ms);
        cluster.stop("up")?;
        cluster.assert_clean()?;
        cluster.start("up")?;
        cluster.kubectl(&["delete", "pods", "-l", "app=web", "--wait=false"])?;
    }
    rolled_out(&cluster)?;
    // With the executor killed too, no process is left that could stop the containers in order.
    let executor = cluster.process("the executor", |line| line.ends_with(" executor"))?;
    cluster.kill("up")?;
    e2e::member::send(executor, Signal::KILL);
    cluster.launch("up")?;
    cluster.stop("up")?;
    cluster.assert_clean()
}

/// Starts a Pod whose shell sets this trap for SIGTERM and runs a line for ever, and waits until the trap is set.
fn run_pod(
    cluster: &Cluster,
    name: &str,
    grace_seconds: u64,
    trap: Option<&str>,
    line: &str,
) -> anyhow::Result<()> {
    let trap = trap.map(|trap| format!("trap '{trap}' TERM; ")).unwrap_or_default();
    let line = format!("{trap}{line} touch /v/runs; while true; do sleep 0.2; done");
    let manifest = cluster.directory().join(format!("{name}.json"));
    let container = serde_json::json!({
        "name": "c", "image": "localhost/catamaran/example-web:1", "imagePullPolicy": "IfNotPresent",
        "command": ["/bin/sh", "-c", line], "volumeMounts": [{"name": "v", "mountPath": "/v"}],
    });
    let pod = serde_json::json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": { "name": name },
        "spec": {
            "terminationGracePeriodSeconds": grace_seconds, "containers": [container],
            "volumes": [{"name": "v", "emptyDir": {}}],
        },
    });
    fs::write(&manifest, pod.to_string())?;
    cluster.kubectl(&["apply", "-f", &manifest.to_string_lossy()])?;
    wait_for("the pod to run", Duration::from_secs(60), || {
        let runs = cluster.try_kubectl(&["exec", name, "--", "test", "-e", "/v/runs"])?;
        Ok(runs.status.success().then_some(()))
    })
}

/// Ignores SIGTERM.
const STUBBORN: Option<&str> = Some("");

#[test]
fn a_stop_grants_pods_their_grace_periods_and_names_them() -> anyhow::Result<()> {
    let mut cluster = Cluster::up(&["--example-images"])?;
    // Longer than any limit but its own.
    run_pod(&cluster, "slow", 60, Some("sleep 23; date > /v/ended; exit 0"), "")?;
    let begun = std::time::Instant::now();
    cluster.stop_by("up", Signal::TERM, &[])?;
    let took = begun.elapsed();
    assert!(took > Duration::from_secs(22) && took < Duration::from_secs(50), "it took {took:?}");
    let log = cluster.log_of("up")?;
    assert!(log.contains("for Pod default/slow (press Ctrl-C again"), "{log}");
    cluster.assert_clean()?;

    cluster.restart_with("up", &["--stop-timeout", "2"])?;
    // In its own time it has come to its end, and runs again.
    wait_for("the pod to run again", Duration::from_secs(60), || {
        let read = cluster.try_kubectl(&["exec", "slow", "--", "cat", "/v/ended"])?;
        Ok(read.status.success().then_some(()))
    })?;
    cluster.kubectl(&["delete", "pod", "slow", "--grace-period=1"])?;
    run_pod(&cluster, "stubborn", 600, STUBBORN, "")?;
    let begun = std::time::Instant::now();
    cluster.stop_by("up", Signal::TERM, &[])?;
    assert!(begun.elapsed() < Duration::from_secs(25), "it took {:?}", begun.elapsed());
    cluster.assert_clean()
}

#[test]
fn a_stopped_agent_is_not_ready_at_once_and_its_pods_run_again_in_place() -> anyhow::Result<()> {
    let mut cluster = Cluster::split(&[])?;
    run_pod(&cluster, "kept", 1, None, "echo once >> /v/starts;")?;
    let ready = |cluster: &Cluster| {
        let path = "jsonpath={.items[0].status.conditions[?(@.type==\"Ready\")].status}";
        cluster.kubectl(&["get", "nodes", "-o", path])
    };
    let uid = |cluster: &Cluster| cluster.kubectl(&["get", "pod", "kept", "-o", "jsonpath={.metadata.uid}"]);
    let before = uid(&cluster)?;
    for round in 1..=fault_rounds().max(2) {
        cluster.stop("agent")?;
        // A link that was cut is noticed after 75 s.
        wait_for("the node not to be ready", Duration::from_secs(10), || {
            Ok((ready(&cluster)? != "True").then_some(()))
        })?;
        cluster.start("agent")?;
        wait_for("the pod to run again in place", Duration::from_secs(60), || {
            let path =
                "jsonpath={.status.containerStatuses[0].ready} {.status.containerStatuses[0].restartCount}";
            let status = cluster.kubectl(&["get", "pod", "kept", "-o", path])?;
            Ok((status == format!("true {round}")).then_some(()))
        })?;
        wait_for("the node to be ready", Duration::from_secs(20), || {
            Ok((ready(&cluster)? == "True").then_some(()))
        })?;
    }
    assert_eq!(uid(&cluster)?, before, "it is the same pod");
    // A container is ready before its shell has written the line.
    wait_for("a line of each start in a file that is kept", Duration::from_secs(20), || {
        let starts = cluster.kubectl(&["exec", "kept", "--", "cat", "/v/starts"])?;
        Ok((starts.lines().count() == 1 + fault_rounds().max(2)).then_some(()))
    })?;
    cluster.kubectl(&["delete", "pod", "kept", "--grace-period=1"])?;
    cluster.stop_and_assert_clean()
}

#[test]
fn a_second_ctrl_c_kills() -> anyhow::Result<()> {
    let mut cluster = Cluster::up(&["--example-images"])?;
    run_pod(&cluster, "stubborn", 60, STUBBORN, "")?;
    let begun = std::time::Instant::now();
    cluster.stop_by("up", Signal::INT, &[Duration::from_secs(1)])?;
    // Half of the Pod's grace period.
    assert!(begun.elapsed() < Duration::from_secs(30), "it took {:?}", begun.elapsed());
    cluster.assert_clean()
}
