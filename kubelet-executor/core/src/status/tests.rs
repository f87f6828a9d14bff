//! Statuses in situations that kubectl users know.

use expect_test::{Expect, expect};
use k8s_openapi::api::core::v1::{ContainerStatus, PodCondition, PodStatus};

use crate::{
    action::{Event, StartFailure},
    machine::tests::Harness,
};

fn check(harness: &Harness, expected: Expect) {
    expected.assert_eq(&harness.describe());
}

#[test]
fn a_starting_pod() {
    let mut harness = Harness::new(serde_json::json!({
        "initContainers": [{ "name": "prepare", "image": "i" }],
        "containers": [{ "name": "web", "image": "w" }]
    }));
    check(
        &harness,
        expect![[r#"
        Pending PodReadyToStartContainers=False Initialized=False Ready=False ContainersReady=False PodScheduled=True
        prepare PodInitializing restarts=0
        web PodInitializing restarts=0
    "#]],
    );
    harness.settle();
    harness.exit("prepare", 0);
    harness.settle();
    check(
        &harness,
        expect![[r#"
        Running PodReadyToStartContainers=True Initialized=True Ready=True ContainersReady=True PodScheduled=True
        prepare Completed(0) ready restarts=0
        web Running ready restarts=0
    "#]],
    );
}

#[test]
fn a_failed_pull() {
    let mut harness =
        Harness::new(serde_json::json!({ "containers": [{ "name": "web", "image": "nowhere/no" }] }));
    harness.fail_starts = Some((StartFailure::ErrImagePull, "no such host".to_owned()));
    harness.settle();
    check(
        &harness,
        expect![[r#"
        Pending PodReadyToStartContainers=True Initialized=True Ready=False ContainersReady=False PodScheduled=True
        web ErrImagePull restarts=0
    "#]],
    );
    harness.advance_clock(3);
    harness.send(Event::Tick);
    check(
        &harness,
        expect![[r#"
        Pending PodReadyToStartContainers=True Initialized=True Ready=False ContainersReady=False PodScheduled=True
        web ImagePullBackOff restarts=0
    "#]],
    );
    let waiting = harness.machine.status().container_statuses.unwrap_or_default()[0].state.clone();
    expect![[r#"Back-off pulling image "nowhere/no": ErrImagePull: no such host"#]]
        .assert_eq(&waiting.and_then(|state| state.waiting?.message).unwrap_or_default());
    expect![[r#"
        Failed Failed to pull image "nowhere/no": no such host
        Failed Error: ErrImagePull
        BackOff Back-off pulling image "nowhere/no"
        Failed Error: ImagePullBackOff"#]]
    .assert_eq(&harness.events.join("\n"));
    harness.fail_starts = None;
    harness.advance_clock(10);
    harness.send(Event::Tick);
    harness.settle();
    check(
        &harness,
        expect![[r#"
        Running PodReadyToStartContainers=True Initialized=True Ready=True ContainersReady=True PodScheduled=True
        web Running ready restarts=0
    "#]],
    );
}

#[test]
fn crash_loop() {
    let mut harness = Harness::new(serde_json::json!({ "containers": [{ "name": "web", "image": "w" }] }));
    harness.settle();
    harness.exit("web", 1);
    harness.settle();
    harness.exit("web", 137);
    harness.settle();
    check(
        &harness,
        expect![[r#"
        Running PodReadyToStartContainers=True Initialized=True Ready=False ContainersReady=False PodScheduled=True
        web CrashLoopBackOff restarts=1 last=Error(137)
    "#]],
    );
    harness.advance_clock(11);
    harness.send(Event::Tick);
    harness.settle();
    check(
        &harness,
        expect![[r#"
        Running PodReadyToStartContainers=True Initialized=True Ready=True ContainersReady=True PodScheduled=True
        web Running ready restarts=2 last=Error(137)
    "#]],
    );
}

#[test]
fn a_pod_that_completes() {
    let mut harness = Harness::new(serde_json::json!({
        "restartPolicy": "Never", "containers": [{ "name": "job", "image": "w" }]
    }));
    harness.settle();
    harness.exit("job", 0);
    harness.settle();
    check(
        &harness,
        expect![[r#"
        Succeeded PodReadyToStartContainers=False Initialized=True Ready=False ContainersReady=False PodScheduled=True
        job Completed(0) restarts=0
        ended: Finished
    "#]],
    );
}

#[test]
fn events_of_failed_starts() {
    let record = |failure: StartFailure| {
        let mut harness =
            Harness::new(serde_json::json!({ "containers": [{ "name": "web", "image": "w" }] }));
        harness.fail_starts = Some((failure, "why".to_owned()));
        harness.settle();
        harness.events.join("; ")
    };
    let failures = [
        StartFailure::ErrImageNeverPull,
        StartFailure::InvalidImageName,
        StartFailure::CreateContainerConfigError,
        StartFailure::RunContainerError,
        StartFailure::PostStartHookError,
    ];
    let table: Vec<String> = failures.into_iter().map(record).collect();
    expect![[r#"
        ErrImageNeverPull why; Failed Error: ErrImageNeverPull
        InspectFailed why; Failed Error: InvalidImageName
        Failed Error: why
        Failed Error: why
    "#]]
    .assert_eq(&format!("{}\n", table.join("\n")).replace("\n\n", "\n"));
}

#[test]
fn statuses_of_containers_are_sorted_by_name() {
    let mut harness = Harness::new(serde_json::json!({
        "initContainers": [{ "name": "z", "image": "i" }, { "name": "a", "image": "i" }],
        "containers": [{ "name": "web", "image": "w" }, { "name": "log", "image": "l" }]
    }));
    harness.settle();
    for name in ["y", "b"] {
        harness.add_ephemeral(serde_json::json!({ "name": name, "image": "i" }));
    }
    harness.settle();
    let status = harness.machine.status();
    let names = |list: &Option<Vec<ContainerStatus>>| -> Vec<String> {
        list.iter().flatten().map(|status| status.name.clone()).collect()
    };
    assert_eq!(names(&status.init_container_statuses), ["z", "a"], "in the order in which they run");
    assert_eq!(names(&status.container_statuses), ["log", "web"]);
    let ephemeral = status.ephemeral_container_statuses.clone().unwrap();
    assert_eq!(names(&status.ephemeral_container_statuses), ["b", "y"]);
    assert!(ephemeral.iter().all(|status| !status.ready && status.started.is_none()));
}

#[test]
fn a_stored_status_of_a_backup_does_not_agree() {
    let mut harness = Harness::new(serde_json::json!({"containers": [{ "name": "web", "image": "w" }]}));
    harness.settle();
    let before = harness.machine.status();
    harness.exit("web", 1);
    harness.settle();
    let now = harness.machine.status();
    assert!(!super::agrees(&before, &now), "the restart count differs");
    let stored: PodStatus = serde_json::from_value(serde_json::to_value(&now).unwrap()).unwrap();
    assert!(super::agrees(&stored, &now));
    let mut of_others = stored.clone();
    let gate = PodCondition { type_: "ex.test/gate".to_owned(), ..PodCondition::default() };
    of_others.conditions.get_or_insert_default().push(gate);
    assert!(super::agrees(&of_others, &now));
    let mut unready = stored;
    for condition in unready.conditions.iter_mut().flatten().filter(|condition| condition.type_ == "Ready") {
        condition.status = if condition.status == "True" { "False" } else { "True" }.to_owned();
    }
    assert!(!super::agrees(&unready, &now));
    assert!(!super::agrees(&PodStatus::default(), &now));
}
