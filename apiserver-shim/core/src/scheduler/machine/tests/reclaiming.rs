//! What Pods lack is told to the kernel, and Pods are evicted for its inverse offers.

use super::*;
use kernel_model::offer::{InverseOffer, Reclaim};

fn demands(fixture: &Fixture) -> Vec<Vec<(String, String)>> {
    let of = |call: &Call| match call {
        Call::Demand { roles } => {
            Some(roles.iter().map(|(role, amounts)| (role.to_string(), amounts.to_string())).collect())
        }
        _ => None,
    };
    fixture.calls.iter().filter_map(of).collect()
}

fn ask_for(fixture: &mut Fixture, uid: &str, why: Reclaim) {
    let offer = InverseOffer {
        why,
        id: "I".into(),
        framework_id: "f".into(),
        agent_id: AGENT.into(),
        task_id: TaskId::from(uid),
        resources: "cpus:1".parse().unwrap(),
        start: fixture.now,
    };
    fixture.step(Event::InverseOffers(vec![offer]));
}

#[test]
fn the_kernel_is_told_once_what_waiting_pods_need() {
    let mut fixture = Fixture::new();
    fixture.pod["spec"]["containers"][0]["resources"]["requests"]["cpu"] = json!("6");
    fixture.pod["metadata"]["generation"] = json!(2);
    fixture.revision += 1;
    fixture.show_pod();
    fixture.step(Event::Cycle);
    for _ in 0..5 {
        fixture.now = fixture.now + Duration::from_secs(2);
        fixture.step(Event::Cycle);
        fixture.step(Event::Tick);
    }
    let all = demands(&fixture);
    // With the executor's share, because no Pod runs on some node.
    assert_eq!(all, [vec![("k8s/ns".to_owned(), "cpus:6.1; mem:64".to_owned())]]);
    fixture.step(Event::PodGone(UID.into()));
    fixture.now = fixture.now + Duration::from_secs(2);
    fixture.step(Event::Tick);
    assert_eq!(demands(&fixture).last(), Some(&Vec::new()));
}

#[test]
fn a_pod_is_evicted_for_an_inverse_offer_or_the_kernel_is_told() {
    let mut fixture = Fixture::new();
    fixture.launch();
    fixture.answer(CallOutcome::Accepted);
    fixture.finish_write();
    fixture.show_pod();
    for (why, reason, evicted) in [
        (Reclaim::Guarantee, "Preempted", false),
        (Reclaim::Drain, "Draining", false),
        (Reclaim::Guarantee, "Preempted", true),
    ] {
        ask_for(&mut fixture, UID, why);
        let Some(Write::Evict(write)) = fixture.writes.pop() else { panic!("{:?}", fixture.writes) };
        assert_eq!((&*write.uid, write.offer_id.as_str(), write.event.reason), (UID, "I", reason));
        fixture.step(Event::Evicted { uid: write.uid, offer: Some((write.offer_id, write.why)), evicted });
        let answer = fixture.calls.pop().unwrap();
        assert_eq!(matches!(answer, Call::AcceptInverseOffers { .. }), evicted, "{answer:?}");
        assert_eq!(matches!(answer, Call::DeclineInverseOffers { .. }), !evicted);
    }
    assert_eq!(fixture.machine.preempted_pods().for_guarantees, 1);
    // Its deletion has begun, whether it shows yet or not: it gets no second Event.
    for uid in [UID, "unknown"] {
        ask_for(&mut fixture, uid, Reclaim::Drain);
        assert!(matches!(fixture.calls.pop(), Some(Call::AcceptInverseOffers { .. })));
        assert!(fixture.writes.is_empty(), "{:?}", fixture.writes);
    }
}
