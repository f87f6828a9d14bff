//! Restart policies and rules of single containers.

use expect_test::{Expect, expect};

use super::*;

fn check(harness: &Harness, expected: Expect) {
    expected.assert_eq(&harness.describe());
}

#[test]
fn a_container_that_never_restarts_ends_a_pod_that_always_does() {
    let mut harness = Harness::new(json!({ "containers": [
        { "name": "job", "image": "w", "restartPolicy": "Never" },
        { "name": "side", "image": "w", "restartPolicy": "OnFailure" },
    ] }));
    harness.settle();
    harness.exit("job", 1);
    harness.exit("side", 2);
    harness.settle();
    check(
        &harness,
        expect![[r#"
        Running PodReadyToStartContainers=True Initialized=True Ready=False ContainersReady=False PodScheduled=True
        job Error(1) restarts=0
        side Running ready restarts=1 last=Error(2)
    "#]],
    );
    harness.exit("side", 0);
    harness.settle();
    assert_eq!(harness.machine.outcome(), Some(PodOutcome::Failed));
}

#[test]
fn a_rule_restarts_a_container_of_a_pod_that_never_does_with_back_off() {
    let rules = json!([{ "action": "Restart", "exitCodes": { "operator": "In", "values": [42] } }]);
    let mut harness = Harness::new(json!({ "restartPolicy": "Never", "containers": [
        { "name": "job", "image": "w", "restartPolicy": "Never", "restartPolicyRules": rules },
    ] }));
    harness.settle();
    harness.exit("job", 42);
    harness.settle();
    harness.exit("job", 42);
    harness.settle();
    check(
        &harness,
        expect![[r#"
        Running PodReadyToStartContainers=True Initialized=True Ready=False ContainersReady=False PodScheduled=True
        job CrashLoopBackOff restarts=1 last=Error(42)
    "#]],
    );
    harness.advance_clock(10);
    harness.settle();
    harness.exit("job", 1);
    harness.settle();
    assert_eq!((harness.machine.outcome(), harness.starts.len()), (Some(PodOutcome::Failed), 3));
}

#[test]
fn a_rule_of_an_init_container_decides_about_the_pod() {
    let rules = json!([{ "action": "Restart", "exitCodes": { "operator": "In", "values": [3] } }]);
    let mut harness = Harness::new(json!({
        "initContainers": [
            { "name": "prepare", "image": "i", "restartPolicy": "Never", "restartPolicyRules": rules },
        ],
        "containers": [{ "name": "web", "image": "w" }],
    }));
    harness.settle();
    harness.exit("prepare", 3);
    harness.settle();
    assert_eq!(harness.starts.len(), 2);
    harness.exit("prepare", 4);
    harness.settle();
    assert_eq!(harness.machine.outcome(), Some(PodOutcome::Failed));
}

#[test]
fn all_containers_start_over() {
    let rules =
        json!([{ "action": "RestartAllContainers", "exitCodes": { "operator": "In", "values": [7] } }]);
    let mut harness = Harness::new(json!({
        "initContainers": [{ "name": "prepare", "image": "i" }],
        "containers": [
            { "name": "web", "image": "w" },
            { "name": "watch", "image": "w", "restartPolicy": "Never", "restartPolicyRules": rules },
        ],
    }));
    harness.settle();
    harness.exit("prepare", 0);
    harness.settle();
    harness.exit("watch", 7);
    harness.list();
    assert!(
        matches!(&harness.pending[..], [Action::StopContainer { id, grace: Duration::ZERO, .. }] if id == "web-0")
    );
    assert!(harness.describe().contains("AllContainersRestarting=True"), "{}", harness.describe());
    harness.settle();
    check(
        &harness,
        expect![[r#"
        Pending PodReadyToStartContainers=True Initialized=True Ready=False ContainersReady=False AllContainersRestarting=False PodScheduled=True
        prepare Running restarts=1 last=RestartingAllContainers(137)
        watch RestartingAllContainers restarts=0 last=RestartingAllContainers(137)
        web RestartingAllContainers restarts=0 last=RestartingAllContainers(137)
    "#]],
    );
    assert_eq!(harness.containers.len(), 1, "the ended instances are removed");
    harness.exit("prepare", 0);
    harness.settle();
    assert!(harness.describe().contains("watch Running ready restarts=1"), "{}", harness.describe());
    assert_eq!(harness.sandboxes.keys().collect::<Vec<_>>(), ["s0"], "the sandbox stays");
}
