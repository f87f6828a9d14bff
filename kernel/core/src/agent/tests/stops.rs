//! The orderly stop: grace periods, the end of executors, and what the master is told.

use std::time::Duration;

use expect_test::expect;
use kernel_model::task::TaskState::*;

use super::{check, script::Script};

#[test]
fn a_second_stop_kills_at_once() {
    let mut s = Script::registered_agent();
    s.respawning = true;
    s.run_on("k", "p1", true);
    s.subscribe("k", 1);
    s.take_log();
    s.stop();
    s.stop();
    s.exit(0, 9);
    check(
        &mut s,
        expect![[r#"
        > stop
        master: Stopping
        terminate c0
        > stop
        destroy c0
        > exit c0
        close 1
        stopped
    "#]],
    );
}

#[test]
fn an_orderly_stop_kills_tasks_but_not_those_of_respawned_executors() {
    let mut s = Script::registered_agent();
    s.run_on("x", "t1", true);
    s.subscribe("x", 1);
    s.respawning = true;
    s.run_on("k", "p1", true);
    s.subscribe("k", 2);
    s.take_log();
    s.stop();
    s.update("x", "t1", Killed, 1);
    s.exit(0, 0);
    s.exit(1, 0);
    s.ack("t1", 1);
    s.crash(&[]);
    s.tick_after(0.25);
    check(
        &mut s,
        expect![[r#"
        > stop
        master: Stopping
        terminate c1
        1 <- Kill t1
        > update t1 Killed #1
        persist Update t1 Killed #1
        master: Update t1 Killed #1 latest Killed
        1 <- Acknowledged t1 #1
        limits c0 cpus 0.1 mem 32
        1 <- Shutdown
        reply ok
        > exit c0
        persist ExecutorRemoved x
        close 1
        master: ExitedExecutor x 0
        > exit c1
        close 2
        > ack t1 #1
        persist TaskRemoved t1
        stopped
        > crash, living containers []
        > tick
        persist Executor k c2
        start k c2 cpus 1.1 mem 96
    "#]],
    );
}

#[test]
fn a_stop_grants_each_task_its_own_grace_period() {
    let mut s = Script::registered_agent();
    for (id, seconds) in [("short", 2), ("long", 600)] {
        s.kill_grace = Some(Duration::from_secs(seconds));
        s.run_on(id, &format!("t-{id}"), true);
        s.subscribe(id, seconds);
    }
    s.respawning = true;
    s.run_on("pods", "p", true);
    s.subscribe("pods", 3);
    s.take_log();
    s.stop();
    s.tick_after(2.0);
    s.update("short", "t-short", Killed, 1);
    s.exit(0, 0);
    s.tick_after(598.0);
    s.tick_after(5.0);
    // The executor of Pods has some time after the longest grace period.
    s.tick_after(24.0);
    s.tick_after(2.0);
    check(
        &mut s,
        expect![[r#"
        > stop
        master: Stopping
        600 <- Kill t-long 600s
        terminate c2
        2 <- Kill t-short 2s
        > tick
        2 <- Shutdown
        > update t-short Killed #1
        persist Update t-short Killed #1
        master: Update t-short Killed #1 latest Killed
        2 <- Acknowledged t-short #1
        limits c0 cpus 0.1 mem 32
        reply ok
        > exit c0
        persist ExecutorRemoved short
        close 2
        master: ExitedExecutor short 0
        > tick
        drop link
        600 <- Shutdown
        > tick
        destroy c1
        > tick
        destroy c1
        > tick
        destroy c2
        destroy c1
    "#]],
    );
}

#[test]
fn a_stop_is_bounded_by_the_longest_grace_period_that_was_configured() {
    let mut s = Script::registered_agent();
    s.limit_stop(Duration::from_secs(1));
    s.kill_grace = Some(Duration::from_secs(600));
    s.run_on("x", "t", true);
    s.subscribe("x", 1);
    s.kill_grace = None;
    s.run_on("y", "u", true);
    s.subscribe("y", 2);
    s.take_log();
    s.stop();
    s.tick_after(1.0);
    s.tick_after(1.0);
    s.exit(0, 9);
    s.exit(1, 9);
    // Nobody acknowledges that both were killed.
    s.tick_after(2.0);
    s.tick_after(1.0);
    check(
        &mut s,
        expect![[r#"
        > stop
        master: Stopping
        1 <- Kill t 1s
        2 <- Kill u 1s
        > tick
        1 <- Shutdown
        2 <- Shutdown
        > tick
        destroy c0
        destroy c1
        > exit c0
        persist Update t Killed #a0
        persist ExecutorRemoved x
        close 1
        master: Update t Killed #a0 ExecutorTerminated latest Killed
        master: ExitedExecutor x 9
        > exit c1
        persist Update u Killed #a1
        persist ExecutorRemoved y
        close 2
        master: Update u Killed #a1 ExecutorTerminated latest Killed
        master: ExitedExecutor y 9
        > tick
        > tick
        stopped
    "#]],
    );
}

#[test]
fn a_master_that_comes_back_during_a_stop_is_told_again() {
    let mut s = Script::registered_agent();
    s.respawning = true;
    s.run_on("pods", "p", true);
    s.subscribe("pods", 1);
    s.take_log();
    s.stop();
    s.link_down();
    s.link_up();
    s.reregistered(&[]);
    check(
        &mut s,
        expect![[r#"
        > stop
        master: Stopping
        terminate c0
        > link down
        > link up
        master: Reregister executors=[pods] tasks=[p Staging]
        > reregistered
        master: Stopping
    "#]],
    );
}
