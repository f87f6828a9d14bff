//! Host ports of Pods are part of the agent's resource `ports`, which tasks of other frameworks use, too.

use super::*;

const TOTAL: &str = "cpus:4;mem:4096;disk:1024;ports:[31000-32000]";

/// A machine with a Pod that uses these host ports, and agents with the resource `ports`.
fn fixture(ports: &[(u16, &str)]) -> Fixture {
    let mut fixture = Fixture::new();
    let ports: Vec<Value> = ports
        .iter()
        .map(|(port, protocol)| json!({"containerPort": 80, "hostPort": port, "protocol": protocol}))
        .collect();
    fixture.pod["spec"]["containers"][0]["ports"] = json!(ports);
    fixture.pod["metadata"]["generation"] = json!(2);
    fixture.revision += 1;
    fixture.show_pod();
    for (id, name) in [(AGENT, "n0"), ("S1", "n1")] {
        update(&mut fixture, id, name, "");
    }
    fixture
}

/// Another framework holds these resources of an agent.
fn update(fixture: &mut Fixture, id: &str, name: &str, held: &str) {
    let mut agent = agent(id, name);
    agent.total = TOTAL.parse().unwrap();
    if !held.is_empty() {
        agent.allocated = vec![("other".into(), held.parse().unwrap())];
    }
    fixture.step(Event::Cluster(kernel_model::operator::Event::AgentUpdated { agent }));
}

fn offer(fixture: &mut Fixture, resources: &str) {
    fixture.now = fixture.now + Duration::from_secs(20);
    let role: Role = Role::parse("k8s/ns").unwrap();
    let offer = Offer {
        id: format!("O{}", fixture.now.0).into(),
        framework_id: "f".into(),
        agent_id: AGENT.into(),
        agent: agent(AGENT, "n0").info,
        resources: resources.parse::<Resources>().unwrap().into_allocated_to(&role),
        role,
        executor_ids: Vec::new(),
    };
    fixture.step(Event::Offers(vec![offer.into()]));
    fixture.step(Event::Cycle);
}

/// The ports that the launch takes.
fn launched_ports(fixture: &mut Fixture) -> String {
    fixture.finish_write();
    let (_, calls) = &fixture.launches[0];
    let Call::Accept { operations, .. } = &calls[0] else { panic!("{calls:?}") };
    let Operation::Launch { tasks } = &operations[0] else { panic!("{operations:?}") };
    let ports = tasks[0].resources.unallocated().filter(|resource| &*resource.name == "ports");
    ports.to_string()
}

#[test]
fn a_launch_takes_the_host_ports_that_are_a_resource() {
    let mut fixture = fixture(&[(31005, "TCP"), (31005, "UDP"), (31007, "TCP"), (80, "TCP")]);
    offer(&mut fixture, TOTAL);
    assert_eq!(launched_ports(&mut fixture), "ports:[31005-31005, 31007-31007]");
}

#[test]
fn a_pod_waits_for_a_port_that_a_framework_holds() {
    let mut fixture = fixture(&[(31005, "TCP")]);
    for (id, name) in [(AGENT, "n0"), ("S1", "n1")] {
        update(&mut fixture, id, name, "cpus:1;ports:[31005-31005]");
    }
    offer(&mut fixture, "cpus:3;mem:4096;disk:1024;ports:[31000-31004, 31006-32000]");
    let text = "2 node(s) didn't have free ports for the requested pod ports";
    let reported = |write: &Write| matches!(write, Write::Condition { message: Some(message), .. } if message.contains(text));
    assert!(fixture.writes.iter().any(reported), "{:?}", fixture.writes);
    fixture.writes.clear();
    // The framework's task ends.
    update(&mut fixture, AGENT, "n0", "");
    offer(&mut fixture, TOTAL);
    assert_eq!(launched_ports(&mut fixture), "ports:[31005-31005]");
}

#[test]
fn a_pod_waits_for_an_offer_with_its_port() {
    let mut fixture = fixture(&[(31005, "TCP")]);
    offer(&mut fixture, "cpus:4;mem:4096;disk:1024;ports:[31500-32000]");
    assert_eq!(fixture.phase(), TaskPhase::Unscheduled);
    fixture.writes.clear();
    offer(&mut fixture, TOTAL);
    assert_eq!(launched_ports(&mut fixture), "ports:[31005-31005]");
}
