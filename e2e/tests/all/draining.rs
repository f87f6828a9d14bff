//! DRAIN_AGENT: one of two machines is emptied of Pods and tasks, and takes work again.

use std::time::Duration;

use anyhow::{Context, ensure};
use e2e::{cluster::Cluster, framework::Framework, network::Network, program::wait_for};
use serde_json::{Value, json};

use crate::mixed_workloads::assert_ledger_holds;

/// Calls the operator API for the agent of the machine.
fn call(cluster: &Cluster, kind: &str, agent_id: &str) -> anyhow::Result<(u16, String)> {
    let parts = json!({ "agent_id": { "value": agent_id } });
    cluster.post_to_master("/api/v1", &json!({ "type": kind, kind.to_lowercase(): parts }).to_string())
}

fn agent_of(cluster: &Cluster, node: &str) -> anyhow::Result<String> {
    let annotation = r"jsonpath={.metadata.annotations.catamaran\.dev/agent-id}";
    wait_for("the machine", Duration::from_secs(60), || {
        let id = cluster.kubectl(&["get", "node", node, "-o", annotation, "--ignore-not-found"])?;
        Ok((!id.is_empty()).then_some(id))
    })
}

/// The state of the agent's drain; `None` if it takes work.
fn drain_state(cluster: &Cluster, agent_id: &str) -> anyhow::Result<Option<String>> {
    let (status, text) = cluster.post_to_master("/api/v1", r#"{"type": "GET_AGENTS"}"#)?;
    ensure!(status == 200, "{text}");
    let answer: Value = serde_json::from_str(&text)?;
    let agents = answer["get_agents"]["agents"].as_array().cloned().unwrap_or_default();
    let agent = agents.into_iter().find(|agent| agent["agent_info"]["id"]["value"] == agent_id);
    let agent = agent.context("the agent is not registered")?;
    Ok(agent["drain_info"]["state"].as_str().map(str::to_owned))
}

/// The names of the ready Pods with this label on the machine.
fn ready_on(cluster: &Cluster, app: &str, node: &str) -> anyhow::Result<Vec<String>> {
    let field = format!("--field-selector=spec.nodeName={node}");
    let list = cluster.json(&["get", "pods", "-l", &format!("app={app}"), &field])?;
    let pods = list["items"].as_array().cloned().unwrap_or_default();
    let is_ready = |pod: &Value| {
        let conditions = pod["status"]["conditions"].as_array();
        pod.pointer("/metadata/deletionTimestamp").is_none()
            && conditions.is_some_and(|all| all.iter().any(|c| c["type"] == "Ready" && c["status"] == "True"))
    };
    let name = |pod: &Value| pod["metadata"]["name"].as_str().map(str::to_owned);
    Ok(pods.iter().filter(|pod| is_ready(pod)).filter_map(name).collect())
}

#[test]
fn a_drained_machine_has_neither_pods_nor_tasks() -> anyhow::Result<()> {
    let network = Network::new()?;
    let cluster = Cluster::on(&network, &[])?;
    let (other, agent_id) = (agent_of(&cluster, "node-1")?, agent_of(&cluster, "node-2")?);
    // All tasks go to the second machine.
    ensure!(call(&cluster, "DEACTIVATE_AGENT", &other)?.0 == 200);
    let arguments = ["--tasks", "3", "--seconds", "3600", "--cpus", "0.05", "--mem", "32", "--hold"];
    let framework = Framework::start(&cluster, "batch", &arguments)?;
    wait_for("three tasks", Duration::from_secs(60), || {
        Ok((framework.count("TASK_RUNNING") == 3).then_some(()))
    })
    .with_context(|| framework.tail())?;
    ensure!(call(&cluster, "REACTIVATE_AGENT", &other)?.0 == 200);
    cluster.kubectl(&["apply", "-f", "manifests/examples/web.yaml"])?;
    cluster.kubectl(&["scale", "deployment/web", "--replicas=6"])?;
    cluster.kubectl(&["rollout", "status", "deployment/web", "--timeout=120s"])?;
    ensure!(!ready_on(&cluster, "web", "node-2")?.is_empty(), "no Pod runs on node-2");
    // One that may not go while this budget stands.
    let guarded = json!({ "apiVersion": "v1", "kind": "Pod",
        "metadata": { "name": "guarded", "labels": { "app": "guarded" } },
        "spec": { "nodeSelector": { "kubernetes.io/hostname": "node-2" }, "terminationGracePeriodSeconds": 1,
            "containers": [{ "name": "c", "image": "localhost/catamaran/example-web:1", "command": ["sleep", "3600"] }] } });
    let file = cluster.directory().join("guarded.json");
    std::fs::write(&file, guarded.to_string())?;
    cluster.kubectl(&["create", "-f", &file.to_string_lossy()])?;
    cluster.kubectl(&["wait", "--for=condition=Ready", "pod/guarded", "--timeout=90s"])?;
    cluster.kubectl(&["create", "pdb", "guarded", "--selector=app=guarded", "--min-available=1"])?;

    ensure!(call(&cluster, "DRAIN_AGENT", &agent_id)?.0 == 200);
    wait_for("six ready Pods on node-1", Duration::from_secs(90), || {
        Ok((ready_on(&cluster, "web", "node-1")?.len() == 6).then_some(()))
    })?;
    wait_for("the tasks to end", Duration::from_secs(30), || {
        Ok((framework.count("TASK_KILLED") == 3).then_some(()))
    })
    .with_context(|| framework.tail())?;
    let events = framework.events();
    let why: Vec<_> =
        events.iter().filter(|event| event["state"] == "TASK_KILLED").map(|e| &e["reason"]).collect();
    assert_eq!(why, ["REASON_AGENT_DRAINING"; 3]);
    // The budget is asked again and again.
    std::thread::sleep(Duration::from_secs(7));
    assert_eq!(ready_on(&cluster, "guarded", "node-2")?, ["guarded"]);
    assert_eq!(drain_state(&cluster, &agent_id)?.as_deref(), Some("DRAINING"));
    let refused = call(&cluster, "REACTIVATE_AGENT", &agent_id)?;
    assert_eq!(refused, (400, "Agent is still in the DRAINING state".to_owned()));
    cluster.kubectl(&["delete", "pdb", "guarded"])?;
    wait_for("the machine to be drained", Duration::from_secs(30), || {
        Ok((drain_state(&cluster, &agent_id)?.as_deref() == Some("DRAINED")).then_some(()))
    })?;
    let events =
        cluster.json(&["get", "events", "--field-selector=reason=Draining,involvedObject.name=guarded"])?;
    assert_eq!(events["items"][0]["message"], "Evicted: an operator drains its machine", "{events}");
    assert_ledger_holds(&cluster)?;

    ensure!(call(&cluster, "REACTIVATE_AGENT", &agent_id)?.0 == 200);
    cluster.kubectl(&["create", "-f", &file.to_string_lossy()])?;
    cluster.kubectl(&["wait", "--for=condition=Ready", "pod/guarded", "--timeout=90s"])?;
    drop(framework);
    cluster.stop_and_assert_clean()
}
