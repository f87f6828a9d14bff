//! When unschedulable Pods are tried again.

use super::*;
use crate::scheduler::AttemptResult;
use kernel_model::wait::WaitNote;

#[test]
fn an_unschedulable_pod_is_retried_only_when_an_event_can_help() {
    let mut fixture = Fixture::new();
    fixture.pod["spec"]["containers"][0]["resources"]["requests"]["cpu"] = json!("6");
    fixture.pod["metadata"]["generation"] = json!(2);
    fixture.revision += 1;
    fixture.show_pod();
    let attempts =
        |fixture: &Fixture| fixture.machine.scheduler_stats().attempts(0, AttemptResult::Unschedulable);
    // The machine first waits for offers.
    fixture.step(Event::Cycle);
    assert_eq!(attempts(&fixture), 0);
    fixture.now = fixture.now + Duration::from_secs(1);
    fixture.step(Event::Cycle);
    assert_eq!((attempts(&fixture), fixture.machine.queue_lengths().unschedulable), (1, 1));
    let reported = |write: &Write| matches!(write, Write::Condition { message: Some(message), .. } if message.starts_with("0/2 nodes are available: 2 Insufficient cpu."));
    assert!(fixture.writes.iter().any(reported), "{:?}", fixture.writes);
    for _ in 0..60 {
        fixture.now = fixture.now + Duration::from_secs(1);
        fixture.step(Event::Cycle);
    }
    // A node that grows and is still too small changes nothing.
    let grow = |fixture: &mut Fixture, total: &str| {
        let mut agent = agent(AGENT, "n0");
        agent.total = total.parse().unwrap();
        fixture.step(Event::Cluster(kernel_model::operator::Event::AgentUpdated { agent }));
        fixture.step(Event::Cycle);
        fixture.now = fixture.now + Duration::from_secs(1);
        fixture.step(Event::Cycle);
    };
    grow(&mut fixture, "cpus:5;mem:4096;disk:1024");
    assert_eq!(attempts(&fixture), 1);
    // A node that is large enough helps; what is missing now is an offer.
    grow(&mut fixture, "cpus:8;mem:4096;disk:1024");
    assert_eq!((attempts(&fixture), fixture.machine.queue_lengths().backoff), (2, 1));
}

#[test]
fn a_pod_of_another_scheduler_is_ignored() {
    let mut fixture = Fixture::new();
    fixture.pod["metadata"]["uid"] = json!("uid-2");
    fixture.pod["spec"]["schedulerName"] = json!("theirs");
    fixture.show_pod();
    fixture.step(Event::PodGone(UID.into()));
    fixture.step(Event::Cycle);
    assert_eq!(fixture.machine.queue_lengths(), QueueLengths::default());
}

#[test]
fn what_the_kernel_says_is_reported_with_a_missing_offer() {
    let mut fixture = Fixture::new();
    let mut asked = Vec::new();
    for _ in 0..16 {
        fixture.now = fixture.now + Duration::from_millis(500);
        let effects = fixture.machine.step(fixture.now, Event::Cycle);
        fixture.writes.extend(effects.persist);
        let roles = effects.send.into_iter().filter_map(|send| match send {
            Send::Explain { role } => Some(role),
            _ => None,
        });
        for role in roles {
            let note = WaitNote { reason: "FILTER".into(), message: "1 agent(s) were declined".into() };
            fixture.step(Event::Explained { role: role.clone(), notes: vec![note] });
            asked.push(role);
        }
    }
    assert!(asked.len() > 1, "it is asked again");
    let told = format!(" offers in role {}: 1 agent(s) were declined (FILTER).", asked[0]);
    let reports = |write: &&Write| matches!(write, Write::Condition { message: Some(message), .. } if message.ends_with(&told));
    assert_eq!(fixture.writes.iter().filter(reports).count(), 1, "{:?}", fixture.writes);
    // Programs read it from a condition of its own.
    let Some(Write::Condition { message, offers, nominated, .. }) = fixture.writes.iter().find(reports)
    else {
        panic!("counted above")
    };
    let mut pod = fixture.pod.clone();
    crate::scheduler::set_unschedulable(&mut pod, message.as_deref(), offers, nominated, 5);
    let offered = |pod: &Value| {
        let conditions = pod["status"]["conditions"].as_array().cloned().unwrap_or_default();
        let found = conditions.into_iter().find(|condition| condition["type"] == "catamaran.dev/Offered");
        found.map(|c| (c["status"].clone(), c["reason"].clone(), c["message"].clone()))
    };
    let expected = (json!("False"), json!("Filter"), json!("1 agent(s) were declined"));
    assert_eq!(offered(&pod), Some(expected));
    let mut elsewhere = pod.clone();
    crate::scheduler::set_unschedulable(&mut elsewhere, Some("0/1 nodes"), &[], nominated, 6);
    assert_eq!(offered(&elsewhere), None);
    PodEdit::Bind { node: "n0".into() }.apply(&mut pod, UID, 7).unwrap();
    assert_eq!(offered(&pod), None);
}

#[test]
fn a_reason_that_changes_all_the_time_is_reported_after_a_back_off() {
    let mut fixture = Fixture::new();
    fixture.pod["spec"]["containers"][0]["resources"]["requests"]["cpu"] = json!("6");
    fixture.pod["metadata"]["generation"] = json!(2);
    fixture.revision += 1;
    fixture.show_pod();
    let turn = |fixture: &mut Fixture, event: Event| {
        fixture.now = fixture.now + Duration::from_millis(100);
        for event in [event, Event::Tick, Event::Cycle] {
            fixture.step(event);
        }
    };
    let resize = |fixture: &mut Fixture, id: &str, name: &str, cpus: u32| {
        let mut agent = agent(id, name);
        agent.total = format!("cpus:{cpus};mem:4096;disk:1024").parse().unwrap();
        turn(fixture, Event::Cluster(kernel_model::operator::Event::AgentUpdated { agent }));
    };
    for _ in 0..30 {
        // A node grows, so the Pod is tried: first it fits one node, then both.
        for (id, name, cpus) in [("S1", "n1", 5), (AGENT, "n0", 5), (AGENT, "n0", 8), ("S1", "n1", 8)] {
            resize(&mut fixture, id, name, cpus);
        }
    }
    let tried = fixture.machine.scheduler_stats().attempts(0, AttemptResult::Unschedulable);
    let reported = |fixture: &Fixture| {
        let messages = fixture.writes.iter().filter_map(|write| match write {
            Write::Condition { message, .. } => message.clone(),
            _ => None,
        });
        messages.collect::<Vec<String>>()
    };
    let reports = reported(&fixture);
    assert!(tried > 20 && (2..=5).contains(&reports.len()), "{tried} attempts, {reports:#?}");
    // The last reason is told in the end.
    (0..120).for_each(|_| turn(&mut fixture, Event::Tick));
    let last = reported(&fixture).pop().unwrap();
    assert!(last.starts_with("0/2 nodes are available: 2 node(s) made no offer"), "{last}");
}
