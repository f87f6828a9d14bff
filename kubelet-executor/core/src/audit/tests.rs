//! Violates each invariant on purpose. `any_fault_sequence_ends_cleanly` shows that the state machine keeps them.

use std::time::Duration;

use crate::{action::Event, machine::tests::Harness};

use super::*;

fn broken(harness: &Harness) -> Vec<&'static str> {
    let sandboxes: Vec<_> = harness.sandboxes.values().cloned().collect();
    let containers: Vec<_> = harness.containers.values().cloned().collect();
    audit(&harness.machine, &sandboxes, &containers)
        .into_iter()
        .map(|violation| violation.invariant)
        .collect()
}

fn running() -> Harness {
    let mut harness = Harness::new(serde_json::json!({ "containers": [{ "name": "web", "image": "w" }] }));
    harness.settle();
    harness
}

/// INV-40: at most one instance of a container runs. INV-41: at most one sandbox of a Pod is ready.
#[test]
fn duplicates_are_found() {
    let mut harness = running();
    assert_eq!(broken(&harness), [""; 0]);
    let mut duplicate = harness.containers["web-0"].clone();
    duplicate.id = "duplicate".to_owned();
    harness.containers.insert("duplicate".to_owned(), duplicate);
    assert_eq!(broken(&harness), ["INV-40"]);
    let mut duplicate = harness.sandboxes["s0"].clone();
    duplicate.id = "duplicate".to_owned();
    harness.sandboxes.insert("duplicate".to_owned(), duplicate);
    assert_eq!(broken(&harness), ["INV-40", "INV-41"]);
}

/// INV-42: nothing is left in the runtime when the end of a Pod is reported.
#[test]
fn leftovers_are_found() {
    let mut harness = running();
    let (sandboxes, containers) = (harness.sandboxes.clone(), harness.containers.clone());
    harness.send(Event::Kill { grace: Duration::ZERO });
    harness.settle();
    assert_eq!(broken(&harness), [""; 0]);
    harness.sandboxes = sandboxes;
    harness.containers = containers;
    assert_eq!(broken(&harness), ["INV-42", "INV-42"]);
}

/// INV-43: a status does not contradict itself.
#[test]
fn a_contradictory_status_is_found() {
    let mut harness = running();
    harness.send(Event::Kill { grace: Duration::ZERO });
    harness.settle();
    assert_eq!(broken(&harness), [""; 0]);
    let status = &mut harness.machine.final_status.as_mut().unwrap().status;
    let ready = status.conditions.iter_mut().flatten().find(|condition| condition.type_ == "Ready").unwrap();
    assert_eq!((status.phase.as_deref(), ready.status.as_str()), (Some("Failed"), "False"));
    ready.status = "True".to_owned();
    assert_eq!(broken(&harness), ["INV-43", "INV-43"], "an ended Pod is ready, and its container is not");
    let status = &mut harness.machine.final_status.as_mut().unwrap().status;
    status.phase = Some("Running".to_owned());
    assert_eq!(broken(&harness), ["INV-43"], "the container is not ready");
    let status = &mut harness.machine.final_status.as_mut().unwrap().status;
    status.container_statuses.as_mut().unwrap()[0].ready = true;
    assert_eq!(broken(&harness), [""; 0]);
}
