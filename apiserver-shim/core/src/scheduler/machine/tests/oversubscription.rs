//! Pods whose CPUs are revocable take those of an offer and no others.

use kernel_model::oversubscription::Estimator;

use super::*;

/// Resources of which those after `+` are revocable.
fn resources(text: &str) -> Resources {
    let (plain, revocable) = text.split_once('+').unwrap_or((text, ""));
    let mut all: Resources = plain.parse().unwrap();
    if let Ok(Estimator::Fixed(more)) = format!("fixed:{revocable}").parse() {
        all += &more;
    }
    all
}

/// A Pod that requests a CPU, of a class with the annotation, and agents with these resources.
fn fixture(revocable: bool, total: &str) -> Fixture {
    let mut fixture = Fixture::new();
    if revocable {
        fixture.pod["metadata"]["annotations"] = json!({"catamaran.dev/revocable": "true"});
        fixture.pod["metadata"]["generation"] = json!(2);
        fixture.revision += 1;
        fixture.step(Event::PodGone(UID.into()));
        fixture.show_pod();
    }
    for (id, name) in [(AGENT, "n0"), ("S1", "n1")] {
        let agent = AgentSnapshot { total: resources(total), ..agent(id, name) };
        fixture.step(Event::Cluster(kernel_model::operator::Event::AgentUpdated { agent }));
    }
    fixture
}

/// What the launch on an offer takes, or why there is none.
fn offered(fixture: &mut Fixture, text: &str) -> String {
    fixture.now = fixture.now + Duration::from_secs(20);
    let role: Role = Role::parse("k8s/ns").unwrap();
    let offer = Offer {
        id: format!("O{}", fixture.now.0).into(),
        framework_id: "f".into(),
        agent_id: AGENT.into(),
        agent: agent(AGENT, "n0").info,
        resources: resources(text).into_allocated_to(&role),
        role,
        executor_ids: Vec::new(),
    };
    fixture.step(Event::Offers(vec![offer.into()]));
    fixture.step(Event::Cycle);
    let refused = fixture.writes.iter().rev().find_map(|write| match write {
        Write::Condition { message: Some(message), .. } => Some(message.clone()),
        _ => None,
    });
    if let Some(message) = refused {
        return message;
    }
    fixture.finish_write();
    let (_, calls) = &fixture.launches[0];
    let Call::Accept { operations, .. } = &calls[0] else { panic!("{calls:?}") };
    let Operation::Launch { tasks } = &operations[0] else { panic!("{operations:?}") };
    tasks[0].resources.unallocated().to_string()
}

#[test]
fn a_revocable_pod_takes_revocable_cpus() {
    let total = "cpus:1;mem:4096;disk:1024+cpus:2;mem:64";
    assert_eq!(offered(&mut fixture(true, total), total), "cpus{REV}:1");
    // Its executor needs other CPUs, and an ordinary Pod too.
    let refusal = offered(&mut fixture(false, total), total);
    assert!(refusal.contains("Insufficient cpu"), "{refusal}");
}

#[test]
fn a_revocable_pod_waits_for_revocable_cpus() {
    let total = "cpus:4;mem:4096;disk:1024+cpus:0.5";
    let refusal = offered(&mut fixture(true, total), total);
    assert!(refusal.contains("2 Insufficient cpu (revocable)"), "{refusal}");
    let none = "cpus:4;mem:4096;disk:1024";
    assert!(offered(&mut fixture(true, none), none).contains("Insufficient cpu (revocable)"));
}
