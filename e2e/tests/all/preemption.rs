//! Preemption: of Pods by priority, and across kinds of work for what is guaranteed to roles.

use std::time::Duration;

use anyhow::Context;
use e2e::{cluster::Cluster, framework::Framework, program::wait_for};
use serde_json::{Value, json};

use crate::mixed_workloads::assert_ledger_holds;

/// Creates a Pod that ends at once when it is told to, with further members of its spec.
fn create(cluster: &Cluster, namespace: &str, name: &str, cpu: &str, more: &Value) -> anyhow::Result<()> {
    let container = json!({ "name": name, "image": "localhost/catamaran/example-web:1",
        "resources": { "requests": { "cpu": cpu } },
        "command": ["sh", "-c", "trap 'exit 0' TERM; while true; do sleep 1 & wait $!; done"] });
    let mut spec = json!({ "containers": [container], "terminationGracePeriodSeconds": 5 });
    if let (Some(spec), Some(more)) = (spec.as_object_mut(), more.as_object()) {
        spec.extend(more.clone());
    }
    let metadata = json!({ "name": name, "labels": { "app": name } });
    let pod = json!({ "apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec });
    let file = cluster.directory().join(format!("{namespace}-{name}.json"));
    std::fs::write(&file, pod.to_string())?;
    cluster.kubectl(&["create", "-n", namespace, "-f", &file.to_string_lossy()])?;
    Ok(())
}

fn wait_ready(cluster: &Cluster, namespace: &str, name: &str) -> anyhow::Result<()> {
    let pod = format!("pod/{name}");
    cluster.kubectl(&["wait", "-n", namespace, "--for=condition=Ready", &pod, "--timeout=90s"])?;
    Ok(())
}

/// A Pod of a high PriorityClass takes the place of one of lower priority, of another namespace, as kube-scheduler does it.
#[test]
fn a_pod_of_high_priority_takes_the_place_of_a_low_one() -> anyhow::Result<()> {
    let cluster = Cluster::up(&["--example-images", "--resources", "cpus:2;mem:2000"])?;
    cluster.kubectl(&["create", "priorityclass", "high", "--value=1000"])?;
    cluster.kubectl(&["create", "priorityclass", "polite", "--value=1000", "--preemption-policy=Never"])?;
    cluster.kubectl(&["create", "namespace", "urgent"])?;
    let none = json!({});
    for (name, cpu) in [("large", "1"), ("guarded", "800m")] {
        create(&cluster, "default", name, cpu, &none)?;
        wait_ready(&cluster, "default", name)?;
    }
    // The budget spares the smaller one, which would do.
    cluster.kubectl(&["create", "pdb", "guarded", "--selector=app=guarded", "--min-available=1"])?;
    create(&cluster, "urgent", "polite", "700m", &json!({ "priorityClassName": "polite" }))?;
    wait_for("the Pod that does not preempt to say so", Duration::from_secs(30), || {
        let described = cluster.kubectl(&["describe", "pod", "polite", "-n", "urgent"])?;
        Ok(described.contains("not eligible due to preemptionPolicy=Never.").then_some(()))
    })?;
    create(&cluster, "urgent", "important", "600m", &json!({ "priorityClassName": "high" }))?;
    let nominated = wait_for("the nomination", Duration::from_secs(30), || {
        let pod = cluster.json(&["get", "pod", "important", "-n", "urgent"])?;
        let text = |path: &str| pod.pointer(path).and_then(Value::as_str).map(str::to_owned);
        Ok(text("/status/nominatedNodeName").or_else(|| text("/spec/nodeName")))
    })?;
    wait_ready(&cluster, "urgent", "important")?;
    let pod = cluster.json(&["get", "pod", "important", "-n", "urgent"])?;
    assert_eq!(pod.pointer("/spec/nodeName").and_then(Value::as_str), Some(&*nominated));
    assert_eq!(pod.pointer("/status/nominatedNodeName"), None, "it ends with the binding");
    let events = cluster.json(&["get", "events", "--field-selector=reason=Preempted"])?;
    let event = &events["items"][0];
    assert_eq!(event["involvedObject"]["name"], "large", "{events}");
    let uid = pod.pointer("/metadata/uid").and_then(Value::as_str).unwrap_or_default();
    assert_eq!(event["message"], format!("Preempted by pod {uid} on node {nominated}"));
    let left = cluster.kubectl(&["get", "pods", "-o", "name"])?;
    assert_eq!(left.trim(), "pod/guarded", "the victim of 'kubectl run' is not made again");
    let phase =
        cluster.kubectl(&["get", "pod", "polite", "-n", "urgent", "-o", "jsonpath={.status.phase}"])?;
    assert_eq!(phase, "Pending", "too little is left for it");
    cluster.stop_and_assert_clean()
}

/// Guarantees these CPUs to each of the roles.
fn guarantee(cluster: &Cluster, roles: &[&str], cpus: f64) -> anyhow::Result<()> {
    let config = |role: &&str| json!({ "role": role, "guarantees": { "cpus": { "value": cpus } } });
    let configs: Vec<Value> = roles.iter().map(config).collect();
    let call = json!({ "type": "UPDATE_QUOTA", "update_quota": { "quota_configs": configs } });
    let (status, text) = cluster.post_to_master("/api/v1", &call.to_string())?;
    anyhow::ensure!(status == 200, "{text}");
    Ok(())
}

/// What is guaranteed to a framework's role is taken back from Pods, but for those whose PodDisruptionBudget forbids it.
#[test]
fn a_guarantee_takes_capacity_from_pods_for_a_task() -> anyhow::Result<()> {
    let cluster =
        Cluster::up(&["--example-images", "--resources", "cpus:2;mem:2000", "--preempt-after", "2"])?;
    for name in ["plain", "guarded"] {
        create(&cluster, "default", name, "900m", &json!({}))?;
        wait_ready(&cluster, "default", name)?;
    }
    cluster.kubectl(&["create", "pdb", "guarded", "--selector=app=guarded", "--min-available=1"])?;
    guarantee(&cluster, &["batch"], 1.0)?;
    let arguments = ["--tasks", "1", "--seconds", "1", "--cpus", "0.9", "--mem", "64"];
    let mut framework = Framework::start(&cluster, "batch", &arguments)?;
    framework.wait(Duration::from_secs(90)).with_context(|| framework.tail())?;
    assert_eq!(framework.count("TASK_FINISHED"), 1, "{}", framework.tail());
    let left = cluster.kubectl(&["get", "pods", "-o", "name"])?;
    assert_eq!(left.trim(), "pod/guarded");
    let events = cluster.json(&["get", "events", "--field-selector=reason=Preempted"])?;
    let about: Vec<&Value> = events["items"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|event| &event["involvedObject"]["name"])
        .collect();
    assert_eq!(about, ["plain"], "{events}");
    assert_ledger_holds(&cluster)?;
    cluster.stop_and_assert_clean()
}

/// What is guaranteed to a namespace is taken back from a framework's tasks: as many as the Pod needs.
#[test]
fn a_guarantee_takes_capacity_from_tasks_for_a_pod() -> anyhow::Result<()> {
    let cluster =
        Cluster::up(&["--example-images", "--resources", "cpus:2;mem:2000", "--preempt-after", "2"])?;
    let arguments = ["--tasks", "10", "--seconds", "600", "--cpus", "0.19", "--hold"];
    let framework = Framework::start(&cluster, "greedy", &arguments)?;
    wait_for("ten tasks to run", Duration::from_secs(60), || {
        Ok((framework.count("TASK_RUNNING") == 10).then_some(()))
    })
    .with_context(|| framework.tail())?;
    cluster.kubectl(&["create", "namespace", "team"])?;
    guarantee(&cluster, &["k8s", "k8s/team"], 1.0)?;
    create(&cluster, "team", "web", "500m", &json!({}))?;
    wait_ready(&cluster, "team", "web").with_context(|| framework.tail())?;
    wait_for("the kills to be told", Duration::from_secs(10), || {
        Ok((framework.count("TASK_KILLED") >= 3).then_some(()))
    })
    .with_context(|| framework.tail())?;
    // The Pod needs 0.5 CPUs, its executor 0.1, and 0.1 were free.
    assert_eq!(framework.count("TASK_KILLED"), 3, "{}", framework.tail());
    let preempted = |event: &&Value| event["reason"] == "REASON_CONTAINER_PREEMPTED";
    assert_eq!(framework.events().iter().filter(preempted).count(), 3, "{}", framework.tail());
    assert_ledger_holds(&cluster)?;
    drop(framework);
    cluster.stop_and_assert_clean()
}
