//! Ephemeral containers: added to a running Pod, started once, and without influence on the Pod.

use serde_json::json;

use super::*;

fn with_debugger(spec: serde_json::Value) -> Harness {
    let mut harness = Harness::new(spec);
    harness.settle();
    harness.add_ephemeral(json!({ "name": "look", "image": "i", "targetContainerName": "web" }));
    harness.settle();
    harness
}

fn starts_of(harness: &Harness, name: &str) -> usize {
    harness.starts.iter().filter(|(started, _)| started == name).count()
}

#[test]
fn it_is_started_once_whatever_its_exit() {
    let mut harness = with_debugger(json!({ "containers": [{ "name": "web", "image": "w" }] }));
    assert!(harness.describe().ends_with("web Running ready restarts=0\nlook Running restarts=0\n"));
    harness.exit("look", 1);
    harness.settle();
    harness.advance_clock(3600);
    harness.send(Event::Tick);
    harness.settle();
    let expected = "web Running ready restarts=0\nlook Error(1) restarts=0\n";
    assert!(harness.describe().ends_with(expected), "{}", harness.describe());
    assert!(harness.describe().starts_with("Running"), "{}", harness.describe());
    assert_eq!(starts_of(&harness, "look"), 1);
}

#[test]
fn a_failed_start_is_tried_again() {
    let mut harness = Harness::new(json!({ "containers": [{ "name": "web", "image": "w" }] }));
    harness.settle();
    harness.fail_starts = Some((StartFailure::ErrImagePull, "why".to_owned()));
    harness.add_ephemeral(json!({ "name": "look", "image": "i" }));
    harness.settle();
    assert!(harness.describe().ends_with("look ErrImagePull restarts=0\n"), "{}", harness.describe());
    assert_eq!(harness.events.last().map(String::as_str), Some("Failed Error: ErrImagePull"));
    harness.fail_starts = None;
    harness.advance_clock(30);
    harness.send(Event::Tick);
    harness.settle();
    assert!(harness.describe().ends_with("look Running restarts=0\n"), "{}", harness.describe());
}

#[test]
fn many_are_started_one_after_the_other() {
    let mut harness = Harness::new(json!({ "containers": [{ "name": "web", "image": "w" }] }));
    harness.settle();
    for name in ["a", "b", "c"] {
        harness.add_ephemeral(json!({ "name": name, "image": "i" }));
    }
    let is_start = |action: &&Action| matches!(action, Action::StartContainer { .. });
    assert_eq!(harness.pending.iter().filter(is_start).count(), 1);
    harness.settle();
    let started: Vec<&str> = harness.starts.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(started, ["web", "a", "b", "c"]);
}

#[test]
fn it_runs_beside_an_init_container_that_does_not_end() {
    let mut harness = with_debugger(json!({
        "initContainers": [{ "name": "prepare", "image": "i" }],
        "containers": [{ "name": "web", "image": "w" }]
    }));
    let expected = "prepare Running restarts=0\nweb PodInitializing restarts=0\nlook Running restarts=0\n";
    assert!(harness.describe().ends_with(expected), "{}", harness.describe());
    harness.exit("prepare", 0);
    harness.settle();
    let status = harness.machine.status();
    let ready = status.conditions.iter().flatten().find(|c| c.type_ == "Ready").unwrap();
    assert_eq!(ready.status, "True", "it has no part in the Pod's readiness");
}

#[test]
fn it_ends_with_its_pod() {
    let mut harness = with_debugger(json!({
        "restartPolicy": "Never", "containers": [{ "name": "web", "image": "w" }]
    }));
    harness.exit("web", 0);
    harness.settle();
    assert_eq!(harness.machine.outcome(), Some(PodOutcome::Finished));
    let expected = "web Completed(0) restarts=0\nlook Error(143) restarts=0\nended: Finished\n";
    assert!(harness.describe().ends_with(expected), "{}", harness.describe());
    assert!(harness.containers.is_empty(), "nothing is left");
}

#[test]
fn a_restarted_executor_adopts_it() {
    let mut harness = with_debugger(json!({ "containers": [{ "name": "web", "image": "w" }] }));
    harness.add_ephemeral(json!({ "name": "again", "image": "i" }));
    harness.settle();
    harness.exit("again", 0);
    harness.settle();
    let (before, starts) = (harness.describe(), harness.starts.clone());
    harness.restart_executor();
    harness.settle();
    assert_eq!((harness.describe(), &harness.starts), (before, &starts));
}

#[test]
fn it_is_not_started_in_the_next_sandbox() {
    let mut harness = with_debugger(json!({ "containers": [{ "name": "web", "image": "w" }] }));
    harness.sandboxes.values_mut().for_each(|sandbox| sandbox.ready = false);
    harness.exit("look", 255);
    harness.exit("web", 255);
    harness.settle();
    let expected = "web Running ready restarts=1 last=Error(255)\nlook Error(255) restarts=0\n";
    assert!(harness.describe().ends_with(expected), "{}", harness.describe());
    // Its instance is gone with the old sandbox; a restarted executor knows it by its log.
    harness.restart_executor();
    harness.settle();
    let expected = "look ContainerStatusUnknown(137) restarts=0\n";
    assert!(harness.describe().ends_with(expected), "{}", harness.describe());
    assert_eq!(starts_of(&harness, "look"), 1);
}

#[test]
fn it_keeps_running_while_the_others_start_over() {
    let rules =
        json!([{ "action": "RestartAllContainers", "exitCodes": { "operator": "In", "values": [42] } }]);
    let mut harness = with_debugger(json!({
        "restartPolicy": "Never",
        "containers": [{ "name": "web", "image": "w", "restartPolicy": "Never", "restartPolicyRules": rules }]
    }));
    harness.exit("web", 42);
    harness.settle();
    assert!(harness.describe().ends_with("look Running restarts=0\n"), "{}", harness.describe());
    assert_eq!((starts_of(&harness, "web"), starts_of(&harness, "look")), (2, 1));
}
