//! Tasks that are to hold other amounts.

use expect_test::expect;
use kernel_model::task::TaskState::*;

use super::{check, script::Script};

/// The task `p` on the executor `k`, which is connected.
fn running() -> Script {
    let mut s = Script::registered_agent();
    s.respawning = true;
    s.run_on("k", "p", true);
    s.subscribe("k", 1);
    s.take_log();
    s
}

#[test]
fn more_is_held_when_the_master_grants_it_and_less_at_once() {
    let mut s = running();
    s.resize("k", "p", "cpus:2;mem:32");
    s.task_resized("p", "cpus:2;mem:32");
    check(
        &mut s,
        expect![[r#"
            > resize p to cpus:2;mem:32
            persist Task p
            limits c0 cpus 1.1 mem 64
            master: ResizeTask p cpus:2; mem:32
            reply ok
            > task p resized
            persist Task p
            limits c0 cpus 2.1 mem 64
            1 <- TaskResized p cpus:2; mem:32
        "#]],
    );
}

#[test]
fn what_the_master_does_not_grant_is_not_held() {
    let mut s = running();
    s.resize("k", "p", "cpus:2");
    s.task_resized("p", "cpus:1;mem:64");
    // An answer to another request.
    s.task_resized("p", "cpus:3;mem:64");
    check(
        &mut s,
        expect![[r#"
            > resize p to cpus:2
            master: ResizeTask p cpus:2
            reply ok
            > task p resized
            1 <- TaskResized p cpus:1; mem:64
            > task p resized
            1 <- TaskResized p cpus:1; mem:64
        "#]],
    );
}

#[test]
fn a_resize_is_refused_without_a_master_and_of_foreign_and_ended_tasks() {
    let mut s = running();
    s.resize("k", "other", "cpus:2");
    s.update("k", "p", Finished, 1);
    s.resize("k", "p", "cpus:2");
    s.link_down();
    s.run_on("k", "q", false);
    s.resize("k", "q", "cpus:0.5");
    check(
        &mut s,
        expect![[r#"
            > resize other to cpus:2
            reply ok
            > update p Finished #1
            persist Update p Finished #1
            master: Update p Finished #1 latest Finished
            1 <- Acknowledged p #1
            limits c0 cpus 0.1 mem 32
            reply ok
            > resize p to cpus:2
            reply ok
            > link down
            > run q on k
            persist Task q
            limits c0 cpus 1.1 mem 96
            1 <- Launch q
            > resize q to cpus:0.5
            1 <- TaskResized q cpus:1; mem:64
            reply ok
        "#]],
    );
}

#[test]
fn a_resize_survives_a_crash() {
    let mut s = running();
    s.resize("k", "p", "cpus:2");
    s.task_resized("p", "cpus:2;mem:64");
    s.crash(&[0]);
    s.take_log();
    s.link_up();
    s.reregistered(&[]);
    s.subscribe("k", 2);
    s.resize("k", "p", "cpus:2");
    check(
        &mut s,
        expect![[r#"
            > link up
            master: Reregister executors=[k] tasks=[p Staging]
            > reregistered
            > subscribe k as 2
            reply ok
            2 <- Subscribed c0
            2 <- Launch p
            > resize p to cpus:2
            master: ResizeTask p cpus:2
            reply ok
        "#]],
    );
}
