//! Tasks that hold other amounts than at their launch. Each step is audited, and with it the ledger.

use expect_test::{Expect, expect};
use kernel_model::{
    agent::ToMaster,
    caller::Caller,
    scheduler::{Operation, Subscribe},
    task::{Task, TaskState},
};

use super::cluster::*;
use crate::master::*;

fn check(cluster: &mut Cluster, expected: Expect) {
    expected.assert_eq(&cluster.log());
}

fn resize(c: &mut Cluster, amounts: &str) {
    let (framework_id, task_id) = ("m-0000".into(), "t".into());
    c.send_message(1, ToMaster::ResizeTask { framework_id, task_id, amounts: amounts.parse().unwrap() });
}

fn held(c: &Cluster) -> String {
    let framework = c.master.framework(&"m-0000".into()).unwrap();
    framework.tasks.get("t").unwrap().info.resources.to_string()
}

/// The task `t` with one of four CPUs; the rest is offered.
fn running() -> Cluster {
    let mut c = Cluster::new();
    c.subscribe("s1", framework("f", &["*"]));
    c.agent(1, "cpus:4;mem:1024");
    launch(&mut c);
    c
}

fn launch(c: &mut Cluster) {
    let tasks = vec![task("t", "m-S0", "cpus:1;mem:64")];
    c.accept("m-0000", "s1", 0, vec![Operation::Launch { tasks }]);
    c.update(1, "m-0000", "t", TaskState::Running);
    c.log();
}

#[test]
fn a_task_grows_into_what_is_free_and_shrinks() {
    let mut c = running();
    resize(&mut c, "cpus:2;mem:128");
    resize(&mut c, "cpus:0.5");
    resize(&mut c, "cpus:4;mem:64");
    resize(&mut c, "cpus:4.5;mem:32");
    check(
        &mut c,
        expect![[r#"
            l1 <- TaskResized t cpus(allocated: *):2; mem(allocated: *):128
            l1 <- TaskResized t cpus(allocated: *):0.5; mem(allocated: *):128
            s1 <- Offers [m-O1 of m-S0 for *: cpus:3.5; mem:896]
            s1 <- Rescind { offer_id: OfferId(m-O1) }
            l1 <- TaskResized t cpus(allocated: *):4; mem(allocated: *):64
            l1 <- TaskResized t cpus(allocated: *):4; mem(allocated: *):32
            s1 <- Offers [m-O2 of m-S0 for *: mem:992]
        "#]],
    );
}

#[test]
fn offers_are_rescinded_for_a_task_that_grows_if_that_suffices() {
    let mut c = running();
    c.subscribe("s2", framework("g", &["other"]));
    resize(&mut c, "cpus:5");
    resize(&mut c, "cpus:3");
    check(
        &mut c,
        expect![[r#"
            reply Stream
            s2 <- Subscribed m-0001
            s2 <- Offers [m-O1 of m-S0 for other: cpus:3; mem:960]
            l1 <- TaskResized t cpus(allocated: *):1; mem(allocated: *):64
            s2 <- Rescind { offer_id: OfferId(m-O1) }
            l1 <- TaskResized t cpus(allocated: *):3; mem(allocated: *):64
            s2 <- Offers [m-O2 of m-S0 for other: cpus:1; mem:960]
        "#]],
    );
}

#[test]
fn only_the_scheduler_of_this_process_grows_without_an_offer() {
    let mut c = Cluster::new();
    let subscribe = Subscribe {
        framework: framework("f", &["*"]),
        suppressed_roles: Default::default(),
        preferences: Default::default(),
    };
    let (request, caller) = (c.request(), Caller::Principal("p".into()));
    c.step(Event::Subscribe { request, stream: "s1".into(), caller, subscribe: subscribe.into() });
    c.agent(1, "cpus:4;mem:1024");
    launch(&mut c);
    resize(&mut c, "cpus:2;mem:32");
    check(
        &mut c,
        expect![[r#"
            l1 <- TaskResized t cpus(allocated: *):1; mem(allocated: *):32
            s1 <- Offers [m-O1 of m-S0 for *: cpus:3; mem:992]
        "#]],
    );
}

#[test]
fn an_agent_that_did_not_hear_of_a_grant_gives_it_back() {
    let mut c = running();
    let info = c.master.agents().next().unwrap().info.clone();
    let framework = c.master.framework(&"m-0000".into()).unwrap();
    let reported: Task = framework.tasks.get("t").unwrap().clone();
    let frameworks = vec![framework.info.clone()];
    resize(&mut c, "cpus:2");
    assert_eq!(held(&c), "cpus(allocated: *):2; mem(allocated: *):64");
    c.disconnect(1);
    let tasks = vec![reported];
    c.connect(
        2,
        ToMaster::Reregister { info, frameworks, executors: Vec::new(), tasks, operations: Vec::new() },
    );
    assert_eq!(held(&c), "cpus(allocated: *):1; mem(allocated: *):64");
}
