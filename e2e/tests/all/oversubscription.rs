//! Oversubscription: tasks and Pods on CPUs beyond those of the machine, and their end when it is under pressure.

use std::time::Duration;

use anyhow::Context;
use e2e::{cluster::Cluster, framework::Framework, program::wait_for};
use serde_json::{Value, json};

/// A metric of the master.
fn metric(cluster: &Cluster, name: &str) -> anyhow::Result<f64> {
    let answer = cluster.operator(&json!({ "type": "GET_METRICS", "get_metrics": {} }).to_string())?;
    let all = answer["get_metrics"]["metrics"].as_array().cloned().unwrap_or_default();
    let found = all.iter().find(|metric| metric["name"] == name).and_then(|metric| metric["value"].as_f64());
    found.with_context(|| format!("no metric {name}"))
}

/// Creates a PriorityClass whose Pods run on revocable CPUs, and a Pod of it.
fn create_pod(cluster: &Cluster) -> anyhow::Result<()> {
    let class = json!({ "apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "value": -10,
        "metadata": { "name": "best-effort", "annotations": { "catamaran.dev/revocable": "true" } } });
    let container = json!({ "name": "web", "image": "localhost/catamaran/example-web:1",
        "resources": { "requests": { "cpu": "1", "memory": "64Mi" } } });
    let pod = json!({ "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "web" },
        "spec": { "priorityClassName": "best-effort", "containers": [container] } });
    let list = json!({ "apiVersion": "v1", "kind": "List", "items": [class, pod] });
    let file = cluster.directory().join("revocable.json");
    std::fs::write(&file, list.to_string())?;
    cluster.kubectl(&["create", "-f", &file.to_string_lossy()])?;
    Ok(())
}

/// A framework with the capability and a Pod of such a PriorityClass run on revocable CPUs, a framework without it is offered none, and
/// pressure ends both.
#[test]
fn revocable_cpus_go_to_those_who_want_them_until_the_machine_needs_them() -> anyhow::Result<()> {
    let agent = [
        "--example-images",
        "--resources",
        "cpus:1;mem:2000",
        "--resource-estimator",
        "fixed:cpus:3",
        "--oversubscribed-resources-interval",
        "1",
    ];
    let mut cluster = Cluster::split_with(&[], &agent)?;
    let arguments = ["--tasks", "1", "--seconds", "3600", "--cpus", "2", "--mem", "64", "--hold"];
    let plain = Framework::start(&cluster, "plain", &arguments)?;
    let revocable = [&arguments[..], &["--revocable"]].concat();
    let capable = Framework::start(&cluster, "capable", &revocable)?;
    wait_for("the revocable task to run", Duration::from_secs(60), || {
        Ok((capable.count("TASK_RUNNING") == 1).then_some(()))
    })
    .with_context(|| capable.tail())?;
    create_pod(&cluster)?;
    cluster.kubectl(&["wait", "--for=condition=Ready", "pod/web", "--timeout=90s"])?;
    assert_eq!(metric(&cluster, "master/cpus_revocable_total")?, 3.0);
    assert_eq!(metric(&cluster, "master/cpus_revocable_used")?, 3.0);
    assert_eq!(metric(&cluster, "master/cpus_revocable_percent")?, 1.0);
    let node = cluster.json(&["get", "nodes"])?;
    assert_eq!(node["items"][0]["status"]["capacity"]["catamaran.dev/revocable-cpu"], "3", "{node}");
    // The framework without the capability was offered the other CPU only, and its task does not fit.
    let offered = |framework: &Framework| {
        framework.events().iter().filter(|event| event["event"] == "offered-revocable").count()
    };
    assert!(offered(&capable) > 0 && offered(&plain) == 0, "{}", plain.tail());
    assert_eq!(plain.count("TASK_RUNNING"), 0, "{}", plain.tail());

    // A load average above 0 is pressure. What runs outlives the agent, and is corrected by the next one.
    cluster.kill("agent")?;
    cluster
        .restart_with("agent", &["--qos-controller", "load:5min=0", "--qos-correction-interval-min", "1"])?;
    let gone = wait_for("the task to be ended", Duration::from_secs(60), || {
        Ok(capable.events().into_iter().find(|event| event["state"] == "TASK_GONE"))
    })
    .with_context(|| capable.tail())?;
    assert_eq!(gone["reason"], "REASON_CONTAINER_PREEMPTED", "{gone}");
    let pod = wait_for("the Pod to be evicted", Duration::from_secs(60), || {
        let pod = cluster.json(&["get", "pod", "web"])?;
        Ok((pod["status"]["phase"] == "Failed").then_some(pod))
    })?;
    assert_eq!(pod["status"]["reason"], "Evicted", "{pod}");
    let conditions = pod["status"]["conditions"].as_array().cloned().unwrap_or_default();
    let target = conditions.iter().find(|condition| condition["type"] == "DisruptionTarget");
    let reason = target.and_then(|condition| condition["reason"].as_str());
    assert_eq!(reason, Some("TerminationByKubelet"), "{pod}");
    wait_for("the Event", Duration::from_secs(30), || {
        let events: Value = cluster.json(&["get", "events", "--field-selector=reason=Evicted"])?;
        Ok((events["items"][0]["involvedObject"]["name"] == "web").then_some(()))
    })?;
    // Nothing more is offered meanwhile.
    wait_for("the estimate", Duration::from_secs(30), || {
        Ok((metric(&cluster, "master/cpus_revocable_total")? == 0.0).then_some(()))
    })?;
    drop((plain, capable));
    cluster.stop_and_assert_clean()
}
