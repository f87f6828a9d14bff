//! SIGKILL to server, agent, executor and containerd in turn, and orderly stops of the server: each recovers, no task starts twice,
//! no update is lost.

use std::{collections::BTreeMap, time::Duration};

use anyhow::Context;
use e2e::{
    cluster::Cluster, etcd::Etcd, framework::Framework, member, program::wait_for, rounds::fault_rounds,
};
use rustix::process::Signal;
use serde_json::Value;

use crate::mixed_workloads::assert_ledger_holds;

/// What a kill must not change: each Pod's UID with its container's id and restart count.
fn pods(cluster: &Cluster) -> anyhow::Result<BTreeMap<String, (String, i64)>> {
    let list = cluster.json(&["get", "pods", "-l", "app=web"])?;
    let mut seen = BTreeMap::new();
    for pod in list["items"].as_array().into_iter().flatten() {
        let uid = pod.pointer("/metadata/uid").and_then(Value::as_str).unwrap_or_default();
        let status = pod.pointer("/status/containerStatuses/0").cloned().unwrap_or_default();
        let container = status["containerID"].as_str().unwrap_or_default().to_owned();
        seen.insert(uid.to_owned(), (container, status["restartCount"].as_i64().unwrap_or(-1)));
    }
    Ok(seen)
}

/// Asserts that kubectl works again, the same containers run, and new Pods start.
fn assert_recovered(
    cluster: &Cluster,
    before: &BTreeMap<String, (String, i64)>,
    killed: &str,
) -> anyhow::Result<()> {
    let asked = wait_for("kubectl to work again", Duration::from_secs(60), || {
        Ok(cluster.try_kubectl(&["get", "--raw", "/readyz"])?.status.success().then_some(()))
    });
    asked.with_context(|| format!("after {killed} was killed"))?;
    cluster.kubectl(&["scale", "deployment/web", "--replicas=4"])?;
    cluster
        .kubectl(&["rollout", "status", "deployment/web", "--timeout=90s"])
        .with_context(|| format!("after {killed} was killed"))?;
    let after = pods(cluster)?;
    for (uid, container) in before {
        assert_eq!(after.get(uid), Some(container), "pod {uid} after {killed} was killed");
    }
    cluster.kubectl(&["scale", "deployment/web", "--replicas=3"])?;
    wait_for("three pods again", Duration::from_secs(60), || Ok((pods(cluster)?.len() == 3).then_some(())))?;
    assert_ledger_holds(cluster)
}

/// Kills each process in turn, and stops and starts those that have an orderly stop.
fn each_part_fails(cluster: &mut Cluster) -> anyhow::Result<()> {
    for killed in ["server", "agent"] {
        let before = pods(cluster)?;
        cluster.kill(killed)?;
        std::thread::sleep(Duration::from_secs(2));
        cluster.start(killed)?;
        assert_recovered(cluster, &before, killed)?;
    }
    let executor: fn(&str) -> bool = |line| line.ends_with(" executor");
    let containerd: fn(&str) -> bool = |line| line.contains("containerd --config");
    for (part, is_it) in [("the executor", executor), ("containerd", containerd)] {
        let before = pods(cluster)?;
        let pid = cluster.process(part, is_it)?;
        member::send(pid, Signal::KILL);
        wait_for("the process to be restarted", Duration::from_secs(60), || {
            Ok(cluster.process(part, is_it).ok().filter(|again| *again != pid))
        })?;
        assert_recovered(cluster, &before, part)?;
    }
    // An orderly stop of the server, as of a closed terminal: what runs goes on.
    for signal in [Signal::TERM, Signal::HUP] {
        let before = pods(cluster)?;
        cluster.stop_by("server", signal, &[])?;
        cluster.start("server")?;
        assert_recovered(cluster, &before, "the server (stopped)")?;
    }
    Ok(())
}

fn everything_is_killed(mut cluster: Cluster, rounds: usize) -> anyhow::Result<()> {
    cluster.kubectl(&["apply", "-f", "manifests/examples/web.yaml"])?;
    cluster.kubectl(&["rollout", "status", "deployment/web", "--timeout=90s"])?;
    // More than can run, so that some run at any time of each round.
    let (tasks, timeout) = (1_000 * rounds, Duration::from_secs(300));
    let deadline = (300 * rounds as u64 + 400).to_string();
    let mut framework = Framework::start(
        &cluster,
        "batch",
        &[
            "--tasks",
            &tasks.to_string(),
            "--long",
            "60",
            "--seconds",
            "2",
            "--cpus",
            "0.2",
            "--deadline",
            &deadline,
        ],
    )?;
    wait_for("some tasks to finish", Duration::from_secs(60), || {
        Ok((framework.count("TASK_FINISHED") > 5).then_some(()))
    })
    .with_context(|| framework.tail())?;

    for _ in 0..rounds {
        each_part_fails(&mut cluster)?;
    }
    framework.enough();
    framework.wait(timeout)?;
    let starts = framework.starts()?;
    assert_eq!(framework.count("TASK_FINISHED"), starts.len(), "{}", framework.tail());
    assert!(starts.len() > 20 * rounds, "only {} tasks ran", starts.len());
    for (name, starts) in starts {
        assert_eq!(starts, 1, "{name} was started {starts} times");
    }
    cluster.kubectl(&["delete", "-f", "manifests/examples/web.yaml", "--timeout=60s"])?;
    cluster.stop_and_assert_clean()
}

#[test]
fn each_process_survives_kill_9() -> anyhow::Result<()> {
    everything_is_killed(
        Cluster::split(&["--heartbeat-interval", "1", "--agent-ping-timeout", "2"])?,
        fault_rounds(),
    )
}

#[test]
fn each_process_survives_kill_9_on_etcd() -> anyhow::Result<()> {
    let etcd = Etcd::start()?;
    let store = format!("etcd={}", etcd.endpoint);
    let short = ["--heartbeat-interval", "1", "--agent-ping-timeout", "2"];
    everything_is_killed(Cluster::split(&[&short[..], &["--store", &store]].concat())?, 1)
}

#[test]
fn pods_run_again_after_a_restart() -> anyhow::Result<()> {
    let mut cluster = Cluster::up(&["--example-images"])?;
    cluster.kubectl(&["apply", "-f", "manifests/examples/web.yaml"])?;
    cluster.kubectl(&["rollout", "status", "deployment/web", "--timeout=90s"])?;
    let before = pods(&cluster)?;
    cluster.stop("up")?;
    cluster.start("up")?;
    wait_for("the same pods to be ready again", Duration::from_secs(90), || {
        let text =
            cluster.kubectl(&["get", "deployment", "web", "-o", "jsonpath={.status.readyReplicas}"])?;
        let after = pods(&cluster)?;
        let same = after.keys().eq(before.keys());
        // The stop ended their containers; the new ones continue the restart counts.
        let fresh = before
            .iter()
            .all(|(uid, old)| after.get(uid).is_some_and(|new| new.0 != old.0 && new.1 == old.1 + 1));
        Ok((text == "3" && same && fresh).then_some(()))
    })?;
    cluster.kubectl(&["delete", "-f", "manifests/examples/web.yaml", "--timeout=60s"])?;
    cluster.stop_and_assert_clean()
}
