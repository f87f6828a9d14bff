//! What an agent says of its revocable resources, and what it ends when its machine is under pressure.

use expect_test::expect;
use kernel_model::{
    oversubscription::{Oversubscription, Sample},
    resources::Scalar,
    task::TaskState::*,
};

use super::{
    check,
    script::{Script, config},
};
use crate::agent::{Config, Event};

/// Four revocable CPUs, and corrections above a load of two.
fn oversubscribing() -> Script {
    let options = Oversubscription {
        estimator: Some("fixed:cpus:4".parse().unwrap()),
        controller: Some("load:5min=2".parse().unwrap()),
        ..Oversubscription::default()
    };
    Script::registered_with_config(Config { oversubscription: options, ..config(0) })
}

#[test]
fn the_master_is_told_what_changes_and_again_after_each_registration() {
    let mut s = oversubscribing();
    s.sample(0, 0.0);
    s.sample(15, 0.0);
    s.link_down();
    s.link_up();
    s.reregistered(&[]);
    check(
        &mut s,
        expect![[r#"
            > load 0
            master: Oversubscribed cpus{REV}:4
            > load 0
            > link down
            > link up
            master: Reregister executors=[] tasks=[]
            > reregistered
            master: Oversubscribed cpus{REV}:4
        "#]],
    );
}

#[test]
fn the_master_is_told_whether_images_run_and_again_after_each_registration() {
    let mut with_images = config(0);
    with_images.info.runs_images = true;
    let mut s = Script::registered_with_config(with_images);
    s.take_log();
    for failure in [Some("it is away"), Some("it is away"), None] {
        let failure = failure.map(str::to_owned);
        s.step("asked", Event::ContainerRuntime { failure });
    }
    s.step("asked", Event::ContainerRuntime { failure: Some("it is away".to_owned()) });
    s.link_down();
    s.link_up();
    s.reregistered(&[]);
    check(
        &mut s,
        expect![[r#"
            > asked
            master: ContainerRuntime Some("it is away")
            > asked
            > asked
            master: ContainerRuntime None
            > asked
            master: ContainerRuntime Some("it is away")
            > link down
            > link up
            master: Reregister executors=[] tasks=[]
            > reregistered
            master: ContainerRuntime Some("it is away")
        "#]],
    );
}

#[test]
fn nothing_more_is_offered_under_pressure_and_what_runs_counts() {
    let mut s = oversubscribing();
    s.sample(0, 0.0);
    s.run_revocable("e", "t");
    s.sample(15, 0.0);
    s.take_log();
    s.sample(5, 3.0);
    let log = s.take_log();
    assert!(log.contains("destroy c0") && log.contains("Oversubscribed cpus{REV}:1"), "{log}");
    s.exit(0, 9);
    s.take_log();
    s.sample(5, 3.0);
    s.sample(5, 2.0);
    s.sample(15, 2.0);
    check(
        &mut s,
        expect![[r#"
            > load 3
            master: Oversubscribed {}
            > load 2
            master: Update t Gone #a0 ContainerPreempted latest Gone
            > load 2
            master: Oversubscribed cpus{REV}:4
        "#]],
    );
}

#[test]
fn executors_with_revocable_tasks_are_killed_and_others_stay() {
    let mut s = oversubscribing();
    s.run_on("plain", "p", true);
    s.subscribe("plain", 1);
    s.run_revocable("e", "t");
    s.subscribe("e", 2);
    s.update("e", "t", Running, 1);
    s.ack("t", 1);
    s.take_log();
    s.sample(0, 9.0);
    // It is ending already.
    s.sample(5, 9.0);
    s.exit(1, 9);
    let log = s.take_log();
    assert_eq!(log.matches("destroy c1").count(), 1, "{log}");
    assert!(!log.contains("destroy c0"), "{log}");
    assert!(log.contains("Update t Gone #a0 ContainerPreempted latest Gone"), "{log}");
    assert_eq!(s.agent.counts().preempted_executors, 1);
}

#[test]
fn an_executor_that_respawns_is_told_which_task_to_evict() {
    let mut s = oversubscribing();
    s.respawning = true;
    s.run_on("k", "p", true);
    s.run_revocable("k", "q");
    s.subscribe("k", 1);
    s.take_log();
    s.sample(0, 9.0);
    s.sample(5, 9.0);
    // It did not follow.
    s.sample(30, 9.0);
    let log = s.take_log();
    assert_eq!(log.matches("1 <- Evict q Container preempted by QoS correction").count(), 2, "{log}");
    assert!(!log.contains("destroy") && !log.contains("Evict p"), "{log}");
    assert_eq!(s.agent.counts().preempted_tasks, 1);
}

/// What Pods on revocable CPUs use is not use of what is guaranteed: the estimate is as if they used nothing.
#[test]
fn what_revocable_pods_use_is_not_guaranteed_use() {
    let estimates = |revocable_pods: i64| {
        let options =
            Oversubscription { estimator: Some("usage:0.5".parse().unwrap()), ..Oversubscription::default() };
        let mut s = Script::registered_with_config(Config { oversubscription: options, ..config(0) });
        s.respawning = true;
        for task in ["a", "b", "c", "d"] {
            s.run_on("k", task, task == "a");
        }
        for _ in 0..10 {
            let sample = Sample {
                busy_cpus: Some(Scalar(1000 + revocable_pods)),
                revocable_pods_cpus: Some(Scalar(revocable_pods)),
                ..Sample::default()
            };
            s.wait(10);
            s.step("busy", Event::Sampled(sample.into()));
        }
        s.agent.revocable_resources().to_string()
    };
    let unused = estimates(0);
    assert_ne!(unused, "{}");
    assert_eq!(estimates(700), unused);
}
