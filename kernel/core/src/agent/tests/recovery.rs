//! Crashes of the agent and terminations of executors: what keeps running, what is reported, what is restarted.

use expect_test::expect;
use kernel_model::task::TaskState::*;

use super::{check, script::Script};

#[test]
fn recovery_with_the_executor_alive() {
    let mut s = Script::registered_agent();
    s.run_on("x", "t1", true);
    s.subscribe("x", 1);
    s.update("x", "t1", Running, 1);
    s.run_on("x", "t2", false);
    s.kill("t1", None);
    s.take_log();
    s.crash(&[0]);
    s.link_up();
    s.reregistered(&["t2", "t9"]);
    s.subscribe("x", 2);
    check(
        &mut s,
        expect![[r#"
            > crash, living containers [0]
            > link up
            master: Reregister executors=[x] tasks=[t1 Running unacknowledged Running #1, t2 Staging]
            > reregistered
            persist Update t9 Dropped #a0
            master: Update t1 Running #1 latest Running
            master: Update t9 Dropped #a0 Reconciliation latest Dropped
            > subscribe x as 2
            persist Update t2 Dropped #a1
            reply ok
            master: Update t2 Dropped #a1 AgentRestarted latest Dropped
            2 <- Subscribed c0
            2 <- Kill t1
        "#]],
    );
}

#[test]
fn recovery_with_the_executor_dead_or_silent() {
    let mut s = Script::registered_agent();
    s.run_on("x", "t1", true);
    s.run_on("y", "t2", true);
    s.take_log();
    s.crash(&[1]);
    s.link_up();
    s.reregistered(&[]);
    s.tick_after(2.0);
    s.exit(1, 9);
    check(
        &mut s,
        expect![[r#"
            > crash, living containers [1]
            persist Update t1 Failed #a0
            persist ExecutorRemoved x
            > link up
            master: Reregister executors=[y] tasks=[t1 Failed unacknowledged Failed #a0, t2 Staging]
            > reregistered
            master: Update t1 Failed #a0 ExecutorTerminated latest Failed
            > tick
            destroy c1
            > exit c1
            persist Update t2 Gone #a1
            persist ExecutorRemoved y
            master: Update t2 Gone #a1 ExecutorReregistrationTimeout latest Gone
            master: ExitedExecutor y 9
        "#]],
    );
}

#[test]
fn executors_that_never_ran_are_started_after_a_crash() {
    let mut s = Script::registered_agent();
    s.run_command("t1");
    s.run_on("x", "t2", true);
    s.run_command("t3");
    s.take_log();
    s.crash_with_ended(&[], &[2]);
    s.subscribe("t1", 1);
    s.subscribe("x", 2);
    s.crash_with_ended(&[3, 4], &[2]);
    s.subscribe("t1", 3);
    s.subscribe("x", 4);
    check(
        &mut s,
        expect![[r#"
        > crash, living containers [], ended [2]
        persist Executor t1 c3
        persist Update t3 Failed #a0
        persist ExecutorRemoved t3
        persist Executor x c4
        start t1 c3 cpus 1.1 mem 96
        start x c4 cpus 1.1 mem 96
        > subscribe t1 as 1
        reply ok
        1 <- Subscribed c3
        1 <- Launch t1
        > subscribe x as 2
        reply ok
        2 <- Subscribed c4
        2 <- Launch t2
        > crash, living containers [3, 4], ended [2]
        > subscribe t1 as 3
        reply ok
        3 <- Subscribed c3
        3 <- Launch t1
        > subscribe x as 4
        persist Update t2 Dropped #a1
        reply ok
        4 <- Subscribed c4
    "#]],
    );
}

#[test]
fn a_respawned_executor_keeps_its_tasks() {
    let mut s = Script::registered_agent();
    s.respawning = true;
    s.run_on("k", "p1", true);
    s.subscribe("k", 1);
    s.update("k", "p1", Running, 1);
    s.ack("p1", 1);
    s.run_on("k", "p2", false);
    s.take_log();
    s.exit(0, 9);
    s.kill("p1", Some(30));
    s.tick_after(0.25);
    s.subscribe("k", 2);
    s.exit(1, 9);
    s.tick_after(0.25);
    s.tick_after(0.25);
    s.crash(&[]);
    s.tick_after(0.25);
    s.tick_after(60.0);
    check(
        &mut s,
        expect![[r#"
            > exit c0
            close 1
            > kill p1
            persist Kill p1
            > tick
            persist Executor k c1
            start k c1 cpus 2.1 mem 160
            > subscribe k as 2
            reply ok
            2 <- Subscribed c1
            2 <- Launch p1
            2 <- Kill p1 30s
            2 <- Launch p2
            > exit c1
            close 2
            > tick
            > tick
            persist Executor k c2
            start k c2 cpus 2.1 mem 160
            > crash, living containers []
            > tick
            persist Executor k c3
            start k c3 cpus 2.1 mem 160
            > tick
            destroy c3
        "#]],
    );
}

/// The view without what is not recorded.
fn history(s: &Script) -> String {
    let executors = |all: &[crate::agent::ExecutorView]| {
        let shown = all.iter().map(|executor| {
            let done = executor.completed_tasks.iter().map(|task| {
                let states: Vec<String> =
                    task.statuses.iter().map(|status| format!("{:?}", status.state)).collect();
                format!("{} {}", task.info.task_id, states.join(","))
            });
            format!("{} [{}]", executor.info.executor_id, done.collect::<Vec<_>>().join("; "))
        });
        shown.collect::<Vec<_>>().join(" ")
    };
    let running = s.agent.view().into_iter().map(|framework| {
        format!(
            "running: {} completed: {}",
            executors(&framework.executors),
            executors(&framework.completed_executors)
        )
    });
    let ended =
        s.agent.completed_frameworks().map(|f| format!("ended: {}", executors(&f.completed_executors)));
    running.chain(ended).collect::<Vec<_>>().join("\n")
}

#[test]
fn what_has_ended_survives_a_crash_and_a_compaction() {
    let mut s = Script::registered_agent();
    let finish = |s: &mut Script, id: &str, connection: u64, number: u8| {
        s.subscribe(id, connection);
        s.update(id, id, Running, number);
        s.update(id, id, Finished, number + 1);
        s.ack(id, number);
        s.ack(id, number + 1);
    };
    s.run_command("t1");
    finish(&mut s, "t1", 1, 1);
    s.exit(0, 0);
    assert_eq!(history(&s), "ended: t1 [t1 Running,Finished]");
    // The framework comes back, with one task that ends and one that runs.
    s.run_on("x", "t2", true);
    s.subscribe("x", 2);
    s.update("x", "t2", Failed, 3);
    s.ack("t2", 3);
    s.run_on("x", "t3", false);
    s.update("x", "t3", Running, 4);
    let shown = history(&s);
    expect![[r#"running: x [t2 Failed] completed: t1 [t1 Running,Finished]"#]].assert_eq(&shown);
    for compact in [false, true, true] {
        if compact {
            s.compact();
        }
        s.crash(&[1]);
        assert_eq!(history(&s), shown, "compacted: {compact}");
    }
    s.end_framework();
    s.exit(1, 9);
    let shown = history(&s);
    expect![[r#"ended: t1 [t1 Running,Finished] x [t2 Failed; t3 Running]"#]].assert_eq(&shown);
    s.compact();
    s.crash(&[]);
    assert_eq!(history(&s), shown);
}

/// The master took the executor from the message that is not answered yet: without a report it would keep it.
#[test]
fn an_executor_that_exits_while_the_agent_registers_is_reported() {
    let mut s = Script::registered_agent();
    s.run_on("x", "t1", true);
    s.crash(&[0]);
    s.link_up();
    s.take_log();
    s.exit(0, 9);
    s.reregistered(&[]);
    check(
        &mut s,
        expect![[r#"
            > exit c0
            persist Update t1 Failed #a0
            persist ExecutorRemoved x
            master: ExitedExecutor x 9
            > reregistered
            master: Update t1 Failed #a0 ExecutorTerminated latest Failed
        "#]],
    );
}
