//! Two machines that joined with a token, in network namespaces of their own; the second is disconnected and returns.

use std::time::{Duration, Instant};

use anyhow::ensure;
use e2e::{cluster::Cluster, network::Network, program::wait_for};
use serde_json::Value;

/// Name, node and readiness of each Pod of the Deployment. A Pod that is being deleted is not ready.
fn pods_by_node(cluster: &Cluster) -> anyhow::Result<Vec<(String, String, bool)>> {
    let list = cluster.json(&["get", "pods", "-l", "app=web"])?;
    let text =
        |pod: &Value, path: &str| pod.pointer(path).and_then(Value::as_str).unwrap_or_default().to_owned();
    let pods = list["items"].as_array().cloned().unwrap_or_default();
    Ok(pods
        .iter()
        .map(|pod| {
            let ready = pod["status"]["conditions"]
                .as_array()
                .is_some_and(|all| all.iter().any(|c| c["type"] == "Ready" && c["status"] == "True"));
            let leaving = pod.pointer("/metadata/deletionTimestamp").is_some();
            (text(pod, "/metadata/name"), text(pod, "/spec/nodeName"), ready && !leaving)
        })
        .collect())
}

#[test]
fn pods_of_a_disconnected_machine_are_replaced() -> anyhow::Result<()> {
    let network = Network::new()?;
    let cluster = Cluster::on(&network, &["--agent-ping-timeout", "1"])?;
    let path = "jsonpath={range .items[*]}{.metadata.name} {.spec.podCIDR};{end}";
    let nodes = wait_for("two nodes with ranges of addresses", Duration::from_secs(30), || {
        let nodes = cluster.kubectl(&["get", "nodes", "-o", path])?;
        Ok((nodes.matches('/').count() == 2).then_some(nodes))
    })?;
    let own = "node-1 10.244.0.0/24;node-2 10.244.1.0/24;";
    assert_eq!(nodes, own, "each agent with default flags has its own range");
    cluster.kubectl(&["apply", "-f", "manifests/examples/web.yaml"])?;
    // Evict two seconds after the node is lost; the default is five minutes.
    let patch = r#"{"spec":{"replicas":6,"template":{"spec":{"tolerations":[
        {"key":"node.kubernetes.io/unreachable","operator":"Exists","effect":"NoExecute","tolerationSeconds":2},
        {"key":"node.kubernetes.io/not-ready","operator":"Exists","effect":"NoExecute","tolerationSeconds":2}]}}}}"#;
    cluster.kubectl(&["patch", "deployment", "web", "-p", patch])?;
    cluster.kubectl(&["rollout", "status", "deployment/web", "--timeout=120s"])?;
    let before = wait_for("six ready pods on two nodes", Duration::from_secs(60), || {
        let pods = pods_by_node(&cluster)?;
        let ready = pods.iter().filter(|(_, _, ready)| *ready).count();
        Ok((ready == 6 && pods.len() == 6).then_some(pods))
    })?;
    assert!(before.iter().any(|(_, node, _)| node == "node-2"), "nothing runs on node-2: {before:?}");

    network.cut()?;
    wait_for("node-2 to be NotReady", Duration::from_secs(60), || {
        let nodes = cluster.kubectl(&["get", "nodes"])?;
        Ok(nodes.lines().any(|l| l.starts_with("node-2") && l.contains("NotReady")).then_some(()))
    })?;
    wait_for("six ready pods on node-1", Duration::from_secs(90), || {
        let pods = pods_by_node(&cluster)?;
        Ok((pods.iter().filter(|(_, node, ready)| node == "node-1" && *ready).count() == 6).then_some(()))
    })?;

    // As in Kubernetes: it stays away until its machine registers again. Before, it was back after two to six seconds.
    cluster.kubectl(&["delete", "node", "node-2"])?;
    let until = Instant::now() + Duration::from_secs(10);
    let nodes = wait_for("ten seconds or a second node", Duration::from_secs(60), || {
        let nodes = cluster.kubectl(&["get", "nodes", "-o", "name"])?;
        Ok((nodes.lines().count() > 1 || Instant::now() > until).then_some(nodes))
    })?;
    ensure!(nodes == "node/node-1\n", "{nodes}");

    network.restore()?;
    wait_for("node-2 to be Ready again", Duration::from_secs(90), || {
        let nodes = cluster.kubectl(&["get", "nodes"])?;
        Ok(nodes.lines().any(|l| l.starts_with("node-2") && l.contains(" Ready")).then_some(()))
    })?;
    wait_for("the replaced pods to be gone everywhere", Duration::from_secs(90), || {
        let pods = pods_by_node(&cluster)?;
        let tasks = cluster.operator(r#"{"type":"GET_TASKS"}"#)?;
        let running = tasks["get_tasks"]["tasks"].as_array().map_or(0, Vec::len);
        Ok((pods.len() == 6 && running == 6).then_some(()))
    })?;
    cluster.stop_and_assert_clean()
}
