//! Each invariant, violated once.

use serde_json::{Value, json};

use super::*;
use crate::testing::{pod, stored};

/// A running Pod that requests one CPU and a host port.
fn running(name: &str, node: &str, ip: &str) -> Pod {
    pod(&json!({
        "metadata": {"name": name, "namespace": "ns", "uid": name},
        "spec": {"nodeName": node, "containers": [
            {"resources": {"requests": {"cpu": "1"}}, "ports": [{"containerPort": 80, "hostPort": 80}]},
        ]},
        "status": {"phase": "Running", "podIP": ip},
    }))
}

fn node(name: &str, ready: &str) -> Node {
    let value = json!({
        "metadata": {"name": name},
        "status": {"conditions": [{"type": "Ready", "status": ready}]},
    });
    Node::decode(stored(&value), 1, &value)
}

fn notes(state: &State<'_>) -> Vec<String> {
    audit(state).iter().map(ToString::to_string).collect()
}

#[test]
fn inv_31_one_task() {
    let pods = [running("a", "n", "10.0.0.1")];
    let mut state = State { pods: pods.iter().collect(), ..State::default() };
    state.tasks = vec![("a", "n"), ("a", "n")];
    assert_eq!(notes(&state), ["INV-31 a: runs on n and on n"]);
}

#[test]
fn inv_32_task_where_bound() {
    let pods = [running("a", "n", "10.0.0.1")];
    let mut state = State { pods: pods.iter().collect(), ..State::default() };
    state.tasks = vec![("a", "m")];
    assert_eq!(notes(&state), ["INV-32 a: runs on m, its pod is bound to n"]);
}

#[test]
fn inv_32_bound_without_a_task() {
    let ended = pod(&json!({
        "metadata": {"name": "c", "namespace": "ns", "uid": "c"}, "spec": {"nodeName": "n"},
        "status": {"phase": "Succeeded"},
    }));
    let deleted = pod(&json!({
        "metadata": {"name": "d", "namespace": "ns", "uid": "d", "deletionTimestamp": "2026-01-01T00:00:00Z"},
        "spec": {"nodeName": "n"}, "status": {"phase": "Running"},
    }));
    let unbound = pod(&json!({"metadata": {"name": "e", "namespace": "ns", "uid": "e"}, "spec": {}}));
    let pods = [running("a", "n", "10.0.0.1"), running("b", "m", "10.0.0.2"), ended, deleted, unbound];
    let nodes = [node("n", "True"), node("m", "Unknown")];
    let mut state = State { pods: pods.iter().collect(), nodes: nodes.iter().collect(), ..State::default() };
    assert_eq!(notes(&state), ["INV-32 a: is bound to n, where it has no task"]);
    state.tasks = vec![("a", "n")];
    assert!(notes(&state).is_empty());
}

#[test]
fn inv_33_no_orphan_task() {
    let state = State { tasks: vec![("x", "n")], ..State::default() };
    assert_eq!(notes(&state), ["INV-33 x: runs on n without a pod"]);
}

#[test]
fn inv_34_within_capacity() {
    let one = |name: &str| {
        pod(&json!({
            "metadata": {"name": name, "namespace": "ns", "uid": name},
            "spec": {"nodeName": "n", "containers": [{"resources": {"requests": {"cpu": "1"}}}]},
        }))
    };
    let pods = [one("a"), one("b")];
    let mut state = State { pods: pods.iter().collect(), ..State::default() };
    state.totals.insert("n", Amounts { cpu_milli: 1500, ..Amounts::default() });
    assert_eq!(notes(&state), ["INV-34 n: bound pods request more cpu than there is"]);
}

#[test]
fn inv_35_host_ports_once() {
    let pods = [running("a", "n", "10.0.0.1"), running("b", "n", "10.0.0.2")];
    let state = State { pods: pods.iter().collect(), ..State::default() };
    assert_eq!(notes(&state), ["INV-35 n: host port 80 is wanted twice"]);
}

#[test]
fn inv_36_unique_identity() {
    let pods = [running("a", "n", "10.0.0.1"), running("b", "m", "10.0.0.1")];
    let state = State { pods: pods.iter().collect(), ..State::default() };
    assert_eq!(notes(&state), ["INV-36 ns/b: has 10.0.0.1, as a on another node has"]);
    let same: Value = json!({"metadata": {"name": "a", "namespace": "ns", "uid": "a"}});
    let pods = [pod(&same), pod(&same)];
    let state = State { pods: pods.iter().collect(), ..State::default() };
    assert_eq!(notes(&state), ["INV-36 ns/a: uid is not unique"]);
}
