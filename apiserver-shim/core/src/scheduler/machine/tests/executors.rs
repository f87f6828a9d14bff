//! What the scheduler tells executors, and what it knows of them after a restart.

use kernel_model::operator::Event as ClusterEvent;

use super::*;

fn node(status: &Value) -> Event {
    let node = json!({
        "apiVersion": "v1", "kind": "Node", "metadata": {"name": "n0"}, "spec": {}, "status": status,
    });
    let object = StoredObject::parse(serde_json::to_vec(&node).unwrap().into()).unwrap();
    Event::Node(Node::decode(object.into(), 2, &node).into())
}

/// Without it, logs and exec would fail after a restart until the next status update of the node.
#[test]
fn the_address_of_an_executor_is_known_from_its_node_after_a_restart() {
    let address = |ip: &str, port: u32| {
        let mut f = Fixture::new();
        let status = json!({
            "addresses": [{"type": "Hostname", "address": "n0"}, {"type": "InternalIP", "address": ip}],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": port}},
        });
        let effects = f.machine.step(f.now, node(&status));
        let again = f.machine.step(f.now, node(&status));
        assert!(!again.send.iter().any(|send| matches!(send, Send::Endpoint { .. })), "once");
        effects.send.into_iter().find_map(|send| match send {
            Send::Endpoint { address, .. } => address,
            _ => None,
        })
    };
    assert_eq!(address("192.0.2.7", 4711).as_deref(), Some("192.0.2.7:4711"));
    assert_eq!(address("2001:db8::1", 4711).as_deref(), Some("[2001:db8::1]:4711"));
    assert_eq!(address("192.0.2.7", 0), None);
    assert_eq!(address("", 4711), None);
}

#[test]
fn a_condition_of_a_readiness_gate_is_sent_to_the_executor() {
    let mut f = Fixture::new();
    f.pod["spec"]["readinessGates"] = json!([{"conditionType": "ex.test/g"}]);
    f.show_pod();
    f.launch();
    f.answer(CallOutcome::Accepted);
    f.finish_write();
    f.show_pod();
    let mut messages = |kind: &str, status: &str| {
        f.pod["status"]["conditions"] = json!([{"type": kind, "status": status}]);
        f.revision += 1;
        f.calls.clear();
        f.show_pod();
        f.calls.iter().filter(|call| matches!(call, Call::Message { .. })).count()
    };
    assert_eq!(messages("other", "True"), 0, "no gate names it");
    assert_eq!(messages("ex.test/g", "False"), 1);
    assert_eq!(messages("ex.test/g", "False"), 0, "nothing changed");
    assert_eq!(messages("ex.test/g", "True"), 1);
}

/// Volumes and variables of the containers show them.
#[test]
fn changed_annotations_are_sent_to_the_executor() {
    let mut f = Fixture::new();
    f.show_pod();
    f.launch();
    f.answer(CallOutcome::Accepted);
    f.finish_write();
    f.show_pod();
    let mut messages = |annotations: Value| {
        f.pod["metadata"]["annotations"] = annotations;
        f.revision += 1;
        f.calls.clear();
        f.show_pod();
        f.calls.iter().filter(|call| matches!(call, Call::Message { .. })).count()
    };
    assert_eq!(messages(json!({"builder": "bar"})), 1);
    assert_eq!(messages(json!({"builder": "bar"})), 0, "nothing changed");
    assert_eq!(messages(json!({"builder": "foo"})), 1);
    assert_eq!(messages(Value::Null), 1);
    assert_eq!(messages(Value::Null), 0);
}

/// A Node that validation refuses must not be written each second for ever.
#[test]
fn a_node_whose_writes_fail_is_written_ever_less_often() {
    let mut f = Fixture::new();
    let written = |f: &mut Fixture| {
        let effects = f.machine.step(f.now, Event::Tick);
        effects
            .persist
            .iter()
            .filter(|write| matches!(write, Write::Node(node) if node.name() == "n0"))
            .count()
    };
    let report = |f: &mut Fixture, outcome| {
        drop(f.machine.step(f.now, Event::NodeWritten { name: "n0".into(), outcome }));
    };
    // The first write is under way since the subscription.
    report(&mut f, NodeOutcome::Failed);
    let mut intervals = Vec::new();
    for _ in 0..9 {
        let mut seconds = 0;
        while written(&mut f) == 0 {
            f.now = f.now + Duration::from_secs(1);
            seconds += 1;
        }
        intervals.push(seconds);
        report(&mut f, NodeOutcome::Failed);
    }
    assert_eq!(intervals[1..], [4, 8, 16, 32, 64, 64, 64, 64]);
    f.now = f.now + Duration::from_secs(64);
    assert_eq!(written(&mut f), 1);
    report(&mut f, NodeOutcome::Written);
    drop(f.machine.step(f.now, Event::Cluster(ClusterEvent::AgentUpdated { agent: busy_agent() })));
    f.now = f.now + Duration::from_secs(1);
    assert_eq!(written(&mut f), 1, "a success ends it");
}

/// The agent with a change that its Node shows.
fn busy_agent() -> AgentSnapshot {
    AgentSnapshot { total: "cpus:8;mem:4096;disk:1024".parse().unwrap(), ..agent(AGENT, "n0") }
}
