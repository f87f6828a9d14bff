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
