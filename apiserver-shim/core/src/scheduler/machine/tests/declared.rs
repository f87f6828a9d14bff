//! Extended resources that a client has written into a Node's status: counted by the scheduler, unknown to the kernel.

use super::*;

const DEVICE: &str = "example.com/device";

/// A machine whose first Node declares this many devices, with a Pod that requests some.
fn fixture(declared: &str, requested: &str) -> Fixture {
    let mut fixture = Fixture::new();
    declare(&mut fixture, declared);
    fixture.pod["spec"]["containers"][0]["resources"]["requests"][DEVICE] = json!(requested);
    fixture.pod["metadata"]["generation"] = json!(2);
    fixture.revision += 1;
    fixture.show_pod();
    fixture
}

fn declare(fixture: &mut Fixture, amount: &str) {
    let node = json!({
        "apiVersion": "v1", "kind": "Node", "metadata": {"name": "n0"}, "spec": {},
        "status": {"conditions": [{"type": "Ready", "status": "True"}], "allocatable": {DEVICE: amount, "cpu": "64"}},
    });
    let object = StoredObject::parse(serde_json::to_vec(&node).unwrap().into()).unwrap();
    fixture.step(Event::Node(Node::decode(object.into(), 2, &node).into()));
}

fn launched(fixture: &mut Fixture) -> String {
    fixture.finish_write();
    let (_, calls) = &fixture.launches[0];
    let Call::Accept { operations, .. } = &calls[0] else { panic!("{calls:?}") };
    let Operation::Launch { tasks } = &operations[0] else { panic!("{operations:?}") };
    tasks[0].resources.unallocated().to_string()
}

#[test]
fn a_launch_takes_what_the_kernel_knows() {
    let mut fixture = fixture("2", "2");
    fixture.place();
    assert_eq!(launched(&mut fixture), "cpus:1");
}

#[test]
fn a_pod_waits_until_the_node_declares_enough() {
    let mut fixture = fixture("1", "2");
    fixture.place();
    let text = "2 Insufficient example.com/device";
    let reported = |write: &Write| matches!(write, Write::Condition { message: Some(message), .. } if message.contains(text));
    assert!(fixture.writes.iter().any(reported), "{:?}", fixture.writes);
    fixture.writes.clear();
    declare(&mut fixture, "2");
    fixture.place();
    assert_eq!(launched(&mut fixture), "cpus:1");
}

#[test]
fn pods_are_preempted_for_declared_resources() {
    let mut fixture = fixture("2", "2");
    let victim = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "v", "namespace": "ns", "uid": "uid-v", "generation": 1},
        "spec": {"nodeName": "n0", "containers": [{"name": "c", "resources": {"requests": {DEVICE: "1"}}}]},
        "status": {"phase": "Running"},
    });
    fixture.step(Event::Pod(row(&victim, 10)));
    fixture.pod["spec"]["priority"] = json!(100);
    fixture.pod["metadata"]["generation"] = json!(3);
    fixture.revision += 1;
    fixture.show_pod();
    for wait in [20, 1] {
        fixture.now = fixture.now + Duration::from_secs(wait);
        fixture.step(Event::Cycle);
    }
    assert_eq!(fixture.holds[0].resources, "cpus:1".parse().unwrap());
    assert_eq!(fixture.holds[0].freed_by, [TaskId::from("uid-v")]);
}

#[test]
fn the_kernel_is_not_asked_for_declared_resources() {
    let mut fixture = fixture("1", "2");
    fixture.place();
    for _ in 0..5 {
        fixture.now = fixture.now + Duration::from_secs(2);
        fixture.step(Event::Cycle);
        fixture.step(Event::Tick);
    }
    let demands = fixture.calls.iter().filter_map(|call| match call {
        Call::Demand { roles } => Some(roles.iter().map(|(_, of)| of.to_string()).collect::<Vec<_>>()),
        _ => None,
    });
    let demands: Vec<_> = demands.flatten().collect();
    assert!(!demands.is_empty() && demands.iter().all(|of| !of.contains(DEVICE)), "{demands:?}");
}
