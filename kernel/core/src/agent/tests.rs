//! Scenario tests of the agent: scripts of events, and the log of their effects.

mod operations;
mod oversubscription;
mod random;
mod recovery;
mod resizes;
mod script;
mod stops;

use expect_test::{Expect, expect};
use kernel_model::task::TaskState::*;

use script::Script;

fn check(script: &mut Script, expected: Expect) {
    expected.assert_eq(&script.take_log());
}

#[test]
fn registers_with_back_off_until_admitted() {
    let mut s = Script::new();
    s.link_up();
    s.tick_after(1.0);
    s.tick_after(2.0);
    s.registered();
    s.link_down();
    s.link_up();
    check(
        &mut s,
        expect![[r#"
            > link up
            master: Register
            > tick
            master: Register
            > tick
            master: Register
            > registered
            persist Identity A0
            > link down
            > link up
            master: Reregister executors=[] tasks=[]
        "#]],
    );
}

#[test]
fn a_command_task_from_launch_to_acknowledged_end() {
    let mut s = Script::registered_agent();
    s.run_command("t1");
    s.subscribe("t1", 1);
    s.update("t1", "t1", Starting, 1);
    s.update("t1", "t1", Running, 2);
    s.update("t1", "t1", Running, 2);
    s.ack("t1", 1);
    s.update("t1", "t1", Finished, 3);
    s.exit(0, 0);
    s.ack("t1", 2);
    s.ack("t1", 3);
    check(
        &mut s,
        expect![[r#"
            > run t1
            persist Framework F
            persist Executor t1 c0
            persist Task t1
            start t1 c0 cpus 1.1 mem 96
            > subscribe t1 as 1
            reply ok
            1 <- Subscribed c0
            1 <- Launch t1
            > update t1 Starting #1
            persist Update t1 Starting #1
            master: Update t1 Starting #1 latest Starting
            1 <- Acknowledged t1 #1
            reply ok
            > update t1 Running #2
            persist Update t1 Running #2
            1 <- Acknowledged t1 #2
            reply ok
            > update t1 Running #2
            1 <- Acknowledged t1 #2
            reply ok
            > ack t1 #1
            persist UpdateDone t1 #1
            master: Update t1 Running #2 latest Running
            > update t1 Finished #3
            persist Update t1 Finished #3
            1 <- Acknowledged t1 #3
            reply ok
            > exit c0
            persist ExecutorRemoved t1
            close 1
            > ack t1 #2
            persist UpdateDone t1 #2
            master: Update t1 Finished #3 latest Finished
            > ack t1 #3
            persist TaskRemoved t1
            persist FrameworkRemoved F
        "#]],
    );
}

#[test]
fn an_update_is_sent_again_until_it_is_acknowledged() {
    let mut s = Script::registered_agent();
    s.run_command("t1");
    s.subscribe("t1", 1);
    s.update("t1", "t1", Running, 1);
    s.take_log();
    s.tick_after(9.9);
    s.tick_after(0.1);
    s.tick_after(19.9);
    s.tick_after(0.1);
    s.ack("t1", 9);
    s.link_down();
    s.tick_after(100.0);
    s.link_up();
    s.reregistered(&[]);
    check(
        &mut s,
        expect![[r#"
            > tick
            > tick
            master: Update t1 Running #1 latest Running
            > tick
            > tick
            master: Update t1 Running #1 latest Running
            > ack t1 #9
            > link down
            > tick
            > link up
            master: Reregister executors=[] tasks=[t1 Running unacknowledged Running #1]
            > reregistered
            master: Update t1 Running #1 latest Running
        "#]],
    );
}

#[test]
fn kills_before_during_and_after() {
    let mut s = Script::registered_agent();
    s.run_on("x", "t1", true);
    s.run_on("x", "t2", false);
    s.kill("t1", None);
    s.subscribe("x", 1);
    s.kill("t2", Some(30));
    s.kill("t2", Some(1));
    s.update("x", "t2", Killed, 1);
    s.kill("t2", None);
    s.kill("nobody", None);
    check(
        &mut s,
        expect![[r#"
            > run t1 on x
            persist Framework F
            persist Executor x c0
            persist Task t1
            start x c0 cpus 1.1 mem 96
            > run t2 on x
            persist Task t2
            limits c0 cpus 2.1 mem 160
            > kill t1
            persist Update t1 Killed #a0
            master: Update t1 Killed #a0 TaskKilledDuringLaunch latest Killed
            limits c0 cpus 1.1 mem 96
            > subscribe x as 1
            reply ok
            1 <- Subscribed c0
            1 <- Launch t2
            > kill t2
            persist Kill t2
            1 <- Kill t2 30s
            > kill t2
            persist Kill t2
            1 <- Kill t2 1s
            > update t2 Killed #1
            persist Update t2 Killed #1
            master: Update t2 Killed #1 latest Killed
            1 <- Acknowledged t2 #1
            limits c0 cpus 0.1 mem 32
            reply ok
            > kill t2
            > kill nobody
            persist Update nobody Dropped #a1
            master: Update nobody Dropped #a1 ExecutorTerminated latest Dropped
        "#]],
    );
}

#[test]
fn an_executor_whose_only_task_was_killed_is_not_kept() {
    let mut s = Script::registered_agent();
    s.run_on("x", "t1", true);
    s.take_log();
    s.kill("t1", None);
    s.exit(0, 9);
    check(
        &mut s,
        expect![[r#"
            > kill t1
            persist Update t1 Killed #a0
            master: Update t1 Killed #a0 TaskKilledDuringLaunch latest Killed
            destroy c0
            > exit c0
            persist ExecutorRemoved x
            master: ExitedExecutor x 9
        "#]],
    );
}

#[test]
fn an_executor_that_never_subscribes_is_destroyed() {
    let mut s = Script::registered_agent();
    s.run_on("x", "t1", true);
    s.take_log();
    s.tick_after(60.0);
    s.exit(0, 9);
    check(
        &mut s,
        expect![[r#"
            > tick
            destroy c0
            > exit c0
            persist Update t1 Failed #a0
            persist ExecutorRemoved x
            master: Update t1 Failed #a0 ExecutorRegistrationTimeout latest Failed
            master: ExitedExecutor x 9
        "#]],
    );
}

#[test]
fn shutdown_of_an_executor_and_of_a_framework() {
    let mut s = Script::registered_agent();
    s.run_on("x", "t1", true);
    s.subscribe("x", 1);
    s.run_on("y", "t2", true);
    s.take_log();
    s.end_executor("x");
    s.run_on("x", "t3", false);
    s.tick_after(5.0);
    s.exit(0, 9);
    s.end_framework();
    s.exit(1, 9);
    check(
        &mut s,
        expect![[r#"
            > end executor x
            1 <- Shutdown
            > run t3 on x
            persist Update t3 Dropped #a0
            master: Update t3 Dropped #a0 ExecutorTerminated latest Dropped
            > tick
            destroy c0
            > exit c0
            persist Update t1 Failed #a1
            persist ExecutorRemoved x
            close 1
            master: Update t1 Failed #a1 ExecutorTerminated latest Failed
            master: ExitedExecutor x 9
            > end framework
            destroy c1
            > exit c1
            persist ExecutorRemoved y
            persist FrameworkRemoved F
            master: ExitedExecutor y 9
        "#]],
    );
}

#[test]
fn a_silent_master_is_disconnected() {
    let mut s = Script::registered_agent();
    s.tick_after(74.0);
    s.ping();
    s.tick_after(74.0);
    s.tick_after(1.0);
    check(
        &mut s,
        expect![[r#"
            > tick
            > ping
            master: Pong
            > tick
            > tick
            drop link
        "#]],
    );
}

#[test]
fn a_group_is_delivered_together() {
    let mut s = Script::registered_agent();
    s.run_group("x", &["a", "b"]);
    s.kill("b", None);
    s.exit(0, 9);
    s.run_group("x", &["c", "d"]);
    s.take_log();
    s.subscribe("x", 1);
    check(
        &mut s,
        expect![[r#"
        > subscribe x as 1
        reply ok
        1 <- Subscribed c1
        1 <- LaunchGroup c d
    "#]],
    );
}
