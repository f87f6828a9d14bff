//! Statuses of Pods in the situations that kubectl's users know.

use expect_test::{Expect, expect};

use crate::{
    action::{Event, StartFailure},
    machine::tests::World,
};

fn check(world: &World, expected: Expect) {
    expected.assert_eq(&world.describe());
}

#[test]
fn a_pod_on_its_way_up() {
    let mut world = World::new(serde_json::json!({
        "initContainers": [{ "name": "prepare", "image": "i" }],
        "containers": [{ "name": "web", "image": "w" }]
    }));
    check(
        &world,
        expect![[r#"
        Pending PodReadyToStartContainers=False Initialized=False Ready=False ContainersReady=False PodScheduled=True
        prepare ContainerCreating restarts=0
        web PodInitializing restarts=0
    "#]],
    );
    world.settle();
    world.exit("prepare", 0);
    world.settle();
    check(
        &world,
        expect![[r#"
        Running PodReadyToStartContainers=True Initialized=True Ready=True ContainersReady=True PodScheduled=True
        prepare Completed(0) ready restarts=0
        web Running ready restarts=0
    "#]],
    );
}

#[test]
fn a_pull_that_fails() {
    let mut world =
        World::new(serde_json::json!({ "containers": [{ "name": "web", "image": "nowhere/no" }] }));
    world.fail_starts = Some((StartFailure::ErrImagePull, "no such host".to_owned()));
    world.settle();
    check(
        &world,
        expect![[r#"
        Pending PodReadyToStartContainers=True Initialized=True Ready=False ContainersReady=False PodScheduled=True
        web ErrImagePull restarts=0
    "#]],
    );
    world.pass(3);
    world.send(Event::Tick);
    check(
        &world,
        expect![[r#"
        Pending PodReadyToStartContainers=True Initialized=True Ready=False ContainersReady=False PodScheduled=True
        web ImagePullBackOff restarts=0
    "#]],
    );
    let waiting = world.machine.status().container_statuses.unwrap_or_default()[0].state.clone();
    expect![[r#"Back-off pulling image "nowhere/no": ErrImagePull: no such host"#]]
        .assert_eq(&waiting.and_then(|state| state.waiting?.message).unwrap_or_default());
    expect![[r#"
        Failed Failed to pull image "nowhere/no": no such host
        Failed Error: ErrImagePull
        BackOff Back-off pulling image "nowhere/no"
        Failed Error: ImagePullBackOff"#]]
    .assert_eq(&world.told.join("\n"));
    world.fail_starts = None;
    world.pass(10);
    world.send(Event::Tick);
    world.settle();
    check(
        &world,
        expect![[r#"
        Running PodReadyToStartContainers=True Initialized=True Ready=True ContainersReady=True PodScheduled=True
        web Running ready restarts=0
    "#]],
    );
}

#[test]
fn crash_loop() {
    let mut world = World::new(serde_json::json!({ "containers": [{ "name": "web", "image": "w" }] }));
    world.settle();
    world.exit("web", 1);
    world.settle();
    world.exit("web", 137);
    world.settle();
    check(
        &world,
        expect![[r#"
        Running PodReadyToStartContainers=True Initialized=True Ready=False ContainersReady=False PodScheduled=True
        web CrashLoopBackOff restarts=1 last=Error(137)
    "#]],
    );
    world.pass(11);
    world.send(Event::Tick);
    world.settle();
    check(
        &world,
        expect![[r#"
        Running PodReadyToStartContainers=True Initialized=True Ready=True ContainersReady=True PodScheduled=True
        web Running ready restarts=2 last=Error(137)
    "#]],
    );
}

#[test]
fn a_pod_that_completes() {
    let mut world = World::new(serde_json::json!({
        "restartPolicy": "Never", "containers": [{ "name": "job", "image": "w" }]
    }));
    world.settle();
    world.exit("job", 0);
    world.settle();
    check(
        &world,
        expect![[r#"
        Succeeded PodReadyToStartContainers=False Initialized=True Ready=False ContainersReady=False PodScheduled=True
        job Completed(0) restarts=0
        ended: Finished
    "#]],
    );
}

#[test]
fn what_is_told_of_other_failed_starts() {
    let told = |failure: StartFailure| {
        let mut world = World::new(serde_json::json!({ "containers": [{ "name": "web", "image": "w" }] }));
        world.fail_starts = Some((failure, "why".to_owned()));
        world.settle();
        world.told.join("; ")
    };
    let failures = [
        StartFailure::ErrImageNeverPull,
        StartFailure::InvalidImageName,
        StartFailure::CreateContainerConfigError,
        StartFailure::RunContainerError,
        StartFailure::PostStartHookError,
    ];
    let table: Vec<String> = failures.into_iter().map(told).collect();
    expect![[r#"
        ErrImageNeverPull why; Failed Error: ErrImageNeverPull
        InspectFailed why; Failed Error: InvalidImageName
        Failed Error: why
        Failed Error: why
    "#]]
    .assert_eq(&format!("{}\n", table.join("\n")).replace("\n\n", "\n"));
}

#[test]
fn an_ephemeral_container_is_refused_aloud_and_once() {
    let mut world = World::new(serde_json::json!({ "containers": [{ "name": "web", "image": "w" }] }));
    world.settle();
    let mut pod = (**world.machine.pod()).clone();
    pod.spec.as_mut().unwrap().ephemeral_containers = Some(vec![Default::default()]);
    for _ in 0..2 {
        world.send(Event::Update(std::sync::Arc::new(pod.clone())));
    }
    assert_eq!(world.told, ["Failed this node does not run ephemeral containers yet"]);
}
