//! The fast path and the general path produce the same bound Pod.

use serde_json::{Value, json};

use super::*;

fn check(pod: Value, splices: bool) {
    let stored = StoredObject::parse(serde_json::to_vec(&pod).unwrap().into()).unwrap();
    let spliced = spliced_binding(&stored, "node-1", 5);
    assert_eq!(spliced.is_some(), splices, "{pod}");
    let bound = bind_encoded(&stored, "node-1", Map::new(), 5).unwrap();
    assert_eq!(StoredObject::parse(bound.bytes.clone()).unwrap(), bound);
    let running = with_status(&bound, br#"{"phase":"Running","podIP":"10.0.0.1"}"#).unwrap();
    assert_eq!(StoredObject::parse(running.bytes.clone()).unwrap(), running);
    assert_eq!(serde_json::from_slice::<Value>(running.status()).unwrap()["phase"], "Running");
    let bound: Value = serde_json::from_slice(&bound.bytes).unwrap();
    let mut by_the_book: Value = serde_json::from_slice(&stored.bytes).unwrap();
    bind(&mut by_the_book, &scheduler_request("", "node-1", 5)).unwrap();
    assert_eq!(bound, by_the_book);
    assert_eq!(bound["spec"]["nodeName"], "node-1");
    assert_eq!(bound["status"]["conditions"].as_array().unwrap().len(), 1);
    assert_eq!(bound["status"]["conditions"][0]["observedGeneration"], 3);
}

#[test]
fn both_paths_bind_a_pod_alike() {
    let pod = |spec: Value, status: Value| json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "generation": 3}, "spec": spec, "status": status});
    let pending = json!({"phase": "Pending"});
    check(pod(json!({"containers": []}), pending.clone()), true);
    check(pod(json!({}), pending.clone()), false);
    check(pod(json!({"nodeName": "", "x": 1}), pending.clone()), false);
    check(pod(json!({"env": "\"nodeName\""}), pending), true);
    let waiting = json!({"phase": "Pending", "conditions": [{"type": "PodScheduled", "status": "False"}]});
    check(pod(json!({"containers": []}), waiting), true);
    let no_offer = json!({"phase": "Pending", "conditions": [
        {"type": "catamaran.dev/Offered", "status": "False", "reason": "Filter"}, {"type": "PodScheduled", "status": "False"},
    ]});
    check(pod(json!({"containers": []}), no_offer), true);
}

#[test]
fn a_pod_gets_the_topology_of_its_node() {
    let text = |text: &str| text.to_owned();
    let node = [("topology.kubernetes.io/zone", "b"), ("kubernetes.io/hostname", "n")];
    let labels = topology_labels(&node.map(|(k, v)| (text(k), text(v))).into());
    let pod = json!({"metadata": {"name": "p", "labels": {"app": "a", "topology.kubernetes.io/zone": "own"}}, "spec": {"containers": []}});
    let stored = StoredObject::parse(serde_json::to_vec(&pod).unwrap().into()).unwrap();
    let bound = bind_encoded(&stored, "n", labels, 5).unwrap();
    let expected = [("app", "a"), ("topology.kubernetes.io/zone", "b")].map(|(k, v)| (text(k), text(v)));
    assert_eq!(bound.header.labels, expected.into());
}
