//! Stops at inconvenient times: whatever was in progress, nothing is left on the machine, and the next start continues.

use std::{fs, thread::sleep, time::Duration};

use e2e::{cluster::Cluster, program::wait_for};
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

#[test]
fn a_second_ctrl_c_kills() -> anyhow::Result<()> {
    let mut cluster = Cluster::up(&["--example-images"])?;
    let manifest = cluster.directory().join("stubborn.json");
    let container = serde_json::json!({
        "name": "stubborn", "image": "localhost/catamaran/example-web:1", "imagePullPolicy": "IfNotPresent",
        "command": ["/bin/sh", "-c", "trap '' TERM; while true; do sleep 1; done"],
    });
    let pod = serde_json::json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "stubborn" },
        "spec": { "terminationGracePeriodSeconds": 60, "containers": [container] },
    });
    fs::write(&manifest, pod.to_string())?;
    cluster.kubectl(&["apply", "-f", &manifest.to_string_lossy()])?;
    wait_for("the pod to run", Duration::from_secs(60), || {
        let phase = cluster.kubectl(&["get", "pod", "stubborn", "-o", "jsonpath={.status.phase}"])?;
        Ok((phase == "Running").then_some(()))
    })?;
    let begun = std::time::Instant::now();
    cluster.stop_by("up", Signal::INT, &[Duration::from_secs(1)])?;
    // Half of the Pod's grace period.
    assert!(begun.elapsed() < Duration::from_secs(30), "it took {:?}", begun.elapsed());
    cluster.assert_clean()
}
