//! Each rule by itself, and the words for each reason.

use std::sync::Arc;

use expect_test::{Expect, expect};
use serde_json::{Value, json};

use super::*;
use crate::{
    rows::{Key, Node},
    scheduler::{Amounts, Held, HostPort, PodShape, Preemption, Report},
    testing::stored,
};

fn machine(node: Value) -> NodeInfo {
    let mut value = json!({"metadata": {"name": "n1", "labels": {"zone": "a", "size": "7"}}});
    value.as_object_mut().unwrap().extend(node.as_object().unwrap().clone());
    NodeInfo {
        node: Arc::new(Node::decode(stored(&value), 1, &value)),
        total: Amounts { cpu_milli: 2000, memory: 1 << 30, ephemeral: 0, others: vec![] },
        pods_max: 110,
        pods: 0,
        used: Amounts::default(),
        host_ports: vec![],
        held: Held::default(),
        lacking: None,
    }
}

fn pod(spec: Value) -> PendingPod {
    PendingPod {
        key: Key::new("ns", "p"),
        uid: "p".into(),
        shape: Arc::new(PodShape::decode(&spec)),
        role: "k8s/ns".into(),
        owner: None,
        bound_to: None,
        created: 0,
    }
}

fn check(spec: Value, node: Value, expected: Expect) {
    let verdict = filter(&pod(spec), &machine(node));
    expected.assert_eq(&verdict.map_or_else(|| "fits".to_owned(), |r| r.to_string()));
}

#[test]
fn selectors() {
    check(json!({"nodeSelector": {"zone": "a"}}), json!({}), expect!["fits"]);
    check(
        json!({"nodeSelector": {"zone": "b"}}),
        json!({}),
        expect!["node(s) didn't match Pod's node affinity/selector"],
    );
    let terms = |t: Value| json!({"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": t}}}});
    let expression = |operator: &str, values: Value| json!([{"matchExpressions": [{"key": "size", "operator": operator, "values": values}]}]);
    check(terms(expression("Gt", json!(["6"]))), json!({}), expect!["fits"]);
    check(
        terms(expression("Lt", json!(["6"]))),
        json!({}),
        expect!["node(s) didn't match Pod's node affinity/selector"],
    );
    check(
        terms(expression("NotIn", json!(["7"]))),
        json!({}),
        expect!["node(s) didn't match Pod's node affinity/selector"],
    );
    check(terms(json!([{}])), json!({}), expect!["node(s) didn't match Pod's node affinity/selector"]);
    let by_name = |name: &str| {
        terms(json!([{"matchFields": [{"key": "metadata.name", "operator": "In", "values": [name]}]}]))
    };
    check(by_name("n1"), json!({}), expect!["fits"]);
    check(by_name("n2"), json!({}), expect!["node(s) didn't match Pod's node affinity/selector"]);
}

#[test]
fn taints_and_cordons() {
    let tainted = json!({"spec": {"taints": [{"key": "k", "value": "v", "effect": "NoSchedule"}]}});
    check(json!({}), tainted.clone(), expect!["node(s) had untolerated taint {k: v}"]);
    check(json!({"tolerations": [{"key": "k", "value": "v"}]}), tainted.clone(), expect!["fits"]);
    check(
        json!({"tolerations": [{"key": "k", "value": "w"}]}),
        tainted.clone(),
        expect!["node(s) had untolerated taint {k: v}"],
    );
    check(json!({"tolerations": [{"operator": "Exists", "effect": "NoSchedule"}]}), tainted, expect!["fits"]);
    let cordoned = json!({"spec": {"unschedulable": true}});
    check(json!({}), cordoned.clone(), expect!["node(s) were unschedulable"]);
    check(json!({"tolerations": [{"operator": "Exists"}]}), cordoned, expect!["fits"]);
    let preferred = json!({"spec": {"taints": [{"key": "k", "effect": "PreferNoSchedule"}]}});
    check(json!({}), preferred, expect!["fits"]);
}

#[test]
fn room() {
    let asks = |cpu: &str| pod(json!({"containers": [{"resources": {"requests": {"cpu": cpu}}}]}));
    let explain = |cpu: &str, machine: &NodeInfo| {
        let pod = asks(cpu);
        let reasons = node_resources_fit::explain(&pod, &pod.shape.charge(), machine);
        reasons.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
    };
    let mut busy = machine(json!({}));
    expect!["Insufficient cpu"].assert_eq(&explain("3", &busy));
    expect![""].assert_eq(&explain("2", &busy));
    busy.held = Held { amounts: Amounts { cpu_milli: 1500, ..Amounts::default() }, by: vec!["spark".into()] };
    expect!["node(s) had cpu held by spark"].assert_eq(&explain("1", &busy));
    expect!["Insufficient cpu"].assert_eq(&explain("3", &busy));
    busy.pods = 110;
    expect!["Too many pods"].assert_eq(&explain("100m", &busy));
}

#[test]
fn what_a_node_refuses_that_was_chosen_by_hand() {
    let ready = json!({"status": {"conditions": [{"type": "Ready", "status": "True"}]}});
    let bound = |spec: Value| PendingPod { bound_to: Some("n1".into()), ..pod(spec) };
    let asks = |cpu: &str| json!({"containers": [{"resources": {"requests": {"cpu": cpu}}}]});
    // It is counted among those that use the machine, as are those aside.
    let full = |pods: &[&PendingPod]| {
        let mut machine = machine(ready.clone());
        for pod in pods {
            machine.used.add(&pod.shape.charge());
            machine.pods += 1;
            machine.host_ports.extend(pod.shape.host_ports.iter().cloned());
        }
        machine
    };
    let words = |pod: &PendingPod, machine: &NodeInfo, aside: &[&PendingPod]| {
        admission::refuse(pod, machine, aside.iter().copied())
            .map_or_else(|| "taken".to_owned(), |r| format!("{}: {}", r.reason, r.message))
    };
    let (one, two) = (bound(asks("1500m")), bound(asks("1")));
    expect!["taken"].assert_eq(&words(&one, &full(&[&one]), &[]));
    expect!["OutOfcpu: Node didn't have enough resource: cpu, requested: 1000, used: 1500, capacity: 2000"]
        .assert_eq(&words(&two, &full(&[&one, &two]), &[]));
    expect!["taken"].assert_eq(&words(&one, &full(&[&one, &two]), &[&two]));
    let mut crowded = full(&[&two]);
    crowded.pods += 110;
    expect!["OutOfpods: Node didn't have enough resource: pods, requested: 1, used: 110, capacity: 110"]
        .assert_eq(&words(&two, &crowded, &[]));
    let elsewhere = bound(json!({"nodeSelector": {"zone": "b"}}));
    expect!["NodeAffinity: Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector"]
        .assert_eq(&words(&elsewhere, &full(&[&elsewhere]), &[]));
    let port = bound(json!({"containers": [{"ports": [{"containerPort": 80, "hostPort": 80}]}]}));
    expect!["taken"].assert_eq(&words(&port, &full(&[&port]), &[]));
    expect![
        "NodePorts: Predicate NodePorts failed: node(s) didn't have free ports for the requested pod ports"
    ]
    .assert_eq(&words(&port, &full(&[&port, &port]), &[]));
    expect!["taken"].assert_eq(&words(&two, &machine(json!({})), &[]));
}

#[test]
fn what_preemption_would_do_is_said_as_upstream_says_it() {
    let mut report = Report { nodes: 3, ..Report::default() };
    report.reasons.insert(Reason::Insufficient("cpu".into()), 2);
    report.reasons.insert(Reason::NodeSelector, 1);
    report.preemption = Some(Preemption { helpless: 1, wanted: false });
    expect!["0/3 nodes are available: 1 node(s) didn't match Pod's node affinity/selector, 2 Insufficient cpu. preemption: 0/3 nodes are available: 1 Preemption is not helpful for scheduling, 2 No preemption victims found for incoming pod."].assert_eq(&report.to_string());
    report.preemption = Some(Preemption { helpless: 1, wanted: true });
    expect!["0/3 nodes are available: 1 node(s) didn't match Pod's node affinity/selector, 2 Insufficient cpu. preemption: not attempted: this scheduler does not evict pods of lower priority yet."].assert_eq(&report.to_string());
}

#[test]
fn init_containers_count_at_their_peak() {
    let with = |cpu: &str, policy: Option<&str>| json!({"resources": {"requests": {"cpu": cpu}}, "restartPolicy": policy});
    let spec = json!({
        "initContainers": [with("100m", Some("Always")), with("900m", None)],
        "containers": [with("200m", None), with("300m", None)],
        "overhead": {"cpu": "10m"},
    });
    assert_eq!(PodShape::decode(&spec).requests.cpu_milli, 1010);
}

#[test]
fn host_ports_conflict_by_address_and_protocol() {
    let port = |port, protocol: &str, ip: &str| HostPort { port, protocol: protocol.into(), ip: ip.into() };
    assert!(port(80, "TCP", "").conflicts_with(&port(80, "TCP", "10.0.0.1")));
    assert!(!port(80, "TCP", "10.0.0.2").conflicts_with(&port(80, "TCP", "10.0.0.1")));
    assert!(!port(80, "TCP", "").conflicts_with(&port(80, "UDP", "")));
}

#[test]
fn every_reason_has_its_words() {
    let mut report = Report { nodes: 9, ..Report::default() };
    let reasons = [
        Reason::Unschedulable,
        Reason::Insufficient("cpu".into()),
        Reason::TooManyPods,
        Reason::NodeSelector,
        Reason::HostPorts,
        Reason::RuntimeMissing { lacking: "containerd runc".into() },
        Reason::HeldBy { resource: "memory".into(), frameworks: vec!["marathon".into(), "spark".into()] },
        Reason::NoOffer { role: "k8s/ns".into() },
        Reason::Taint { key: "k".into(), value: "".into() },
    ];
    for reason in reasons {
        report.reasons.insert(reason, 1);
    }
    expect!["0/9 nodes are available: 1 Insufficient cpu, 1 Too many pods, 1 node(s) didn't have free ports for the requested pod ports, 1 node(s) didn't match Pod's node affinity/selector, 1 node(s) had memory held by marathon, spark, 1 node(s) had untolerated taint {k: }, 1 node(s) lacked what containers need (on Debian: apt-get install containerd runc, then start the agent anew), 1 node(s) made no offer in role k8s/ns (fair share, quota or filter), 1 node(s) were unschedulable."].assert_eq(&report.to_string());
    expect!["no nodes available to schedule pods"].assert_eq(&Report::default().to_string());
}
