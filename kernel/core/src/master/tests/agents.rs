//! Registration, silence, return, replacement, and the master's own restart.

use std::time::Duration;

use expect_test::{Expect, expect};
use kernel_model::{
    agent::{AgentState, ToMaster},
    ids::UpdateId,
    scheduler::{Call, Operation},
    task::{Task, TaskState},
};

use super::cluster::*;
use crate::master::{FrameworkState, OperatorCall};

const RESOURCES: &str = "cpus:4;mem:1024";

fn check(cluster: &mut Cluster, expected: Expect) {
    expected.assert_eq(&cluster.log());
}

/// A framework m-0000 on s1 that runs t (cpus:1) on m-S0 (link 1).
fn running_cluster() -> Cluster {
    let mut c = Cluster::new();
    c.subscribe("s1", framework("f", &["*"]));
    c.agent(1, RESOURCES);
    let launch = Operation::Launch { tasks: vec![task("t", "m-S0", "cpus:1")] };
    c.accept("m-0000", "s1", 0, vec![launch]);
    c.update(1, "m-0000", "t", TaskState::Running);
    c.acknowledge("m-0000", "s1", "m-S0", "t", TaskState::Running);
    c.log();
    c
}

fn report(tasks: Vec<Task>) -> ToMaster {
    let mut info = agent_info(1, RESOURCES);
    info.id = Some("m-S0".into());
    let mut own = framework("f", &["*"]);
    own.id = Some("m-0000".into());
    let info = info.into();
    ToMaster::Reregister { info, frameworks: vec![own.into()], executors: vec![], tasks }
}

fn t() -> Task {
    running("m-0000", "t", "m-S0", "cpus:1")
}

#[test]
fn silence_makes_unreachable_and_return_restores() {
    let mut c = running_cluster();
    c.operators = true;
    c.pass(Duration::from_secs(60));
    assert_eq!(c.master.agent(&"m-S0".into()).unwrap().state, AgentState::Connected);
    c.log();
    c.pass(Duration::from_secs(35));
    check(
        &mut c,
        expect![[r#"
        l1 <- Ping
        put Agent(AgentId(m-S0))
        s1 <- Rescind { offer_id: OfferId(m-O1) }
        operators <- task updated t Unreachable
        s1 <- Update t Unreachable by Master AgentRemoved 'Agent h1 is unreachable: health check timed out'
        l1 closed
        operators <- agent updated m-S0 Unreachable
        s1 <- Failure { agent_id: Some(AgentId(m-S0)), executor_id: None, status: None }
    "#]],
    );
    c.connect(2, report(vec![t()]));
    check(
        &mut c,
        expect![[r#"
            put Agent(AgentId(m-S0))
            l2 <- Reregistered m-S0 unknown []
            operators <- agent added m-S0 Connected
            s1 <- Update t Running by Master AgentReregistered
            operators <- task added t
            l2 <- Ping
            s1 <- Offers [m-O2 of m-S0 for *: cpus:3; mem:1024]
            operators <- agent updated m-S0 Connected
        "#]],
    );
}

#[test]
fn any_word_is_a_sign_of_life() {
    let mut c = running_cluster();
    for _ in 0..20 {
        c.pass(Duration::from_secs(60));
        c.say(1, ToMaster::Pong);
    }
    assert_eq!(c.master.agent(&"m-S0".into()).unwrap().state, AgentState::Connected);
    // The word of before counts when the link is cut, too.
    c.cut(1);
    c.pass(Duration::from_secs(60));
    assert_eq!(c.master.agent(&"m-S0".into()).unwrap().state, AgentState::Disconnected);
}

#[test]
fn what_does_not_return_is_gone() {
    let mut c = running_cluster();
    c.cut(1);
    c.pass(Duration::from_secs(95));
    c.log();
    c.connect(2, report(vec![]));
    check(
        &mut c,
        expect![[r#"
            put Agent(AgentId(m-S0))
            l2 <- Reregistered m-S0 unknown []
            s1 <- Update t Gone by Master Reconciliation 'Reconciliation: Task is unknown to the agent'
            l2 <- Ping
            s1 <- Offers [m-O1 of m-S0 for *: cpus:4; mem:1024]
        "#]],
    );
}

#[test]
fn a_cut_link_waits_for_the_agent() {
    let mut c = running_cluster();
    c.call("m-0000", "s1", Call::Revive { roles: vec![] });
    c.log();
    c.cut(1);
    check(
        &mut c,
        expect![[r#"
        s1 <- Rescind { offer_id: OfferId(m-O1) }
    "#]],
    );
    // The launch was lost with the link: the agent is asked.
    c.connect(2, report(vec![]));
    check(
        &mut c,
        expect![[r#"
            l2 <- Reregistered m-S0 unknown [TaskId(t)]
            l2 <- Ping
            s1 <- Offers [m-O2 of m-S0 for *: cpus:3; mem:1024]
        "#]],
    );
    c.update(2, "m-0000", "t", TaskState::Dropped);
    c.acknowledge("m-0000", "s1", "m-S0", "t", TaskState::Dropped);
    check(
        &mut c,
        expect![[r#"
        s1 <- Update t Dropped by Executor (to acknowledge)
        s1 <- Offers [m-O3 of m-S0 for *: cpus:1]
        reply Accepted
        l2 <- Acknowledge { framework_id: FrameworkId(m-0000), task_id: TaskId(t), uuid: UpdateId(09090909090909090909090909090909) }
    "#]],
    );
}

#[test]
fn a_new_link_ends_the_old_one() {
    let mut c = running_cluster();
    c.connect(2, report(vec![t()]));
    c.cut(1);
    c.update(1, "m-0000", "t", TaskState::Failed);
    check(
        &mut c,
        expect![[r#"
            l1 closed
            l2 <- Reregistered m-S0 unknown []
            l2 <- Ping
        "#]],
    );
    assert_eq!(c.master.agent(&"m-S0".into()).unwrap().state, AgentState::Connected);
}

#[test]
fn frameworks_that_do_not_checkpoint_lose_with_the_link() {
    let mut c = Cluster::new();
    let mut info = framework("f", &["*"]);
    info.checkpoint = false;
    c.subscribe("s1", info);
    c.agent(1, RESOURCES);
    c.accept("m-0000", "s1", 0, vec![Operation::Launch { tasks: vec![task("t", "m-S0", "cpus:1")] }]);
    c.log();
    c.cut(1);
    check(
        &mut c,
        expect![[r#"
        s1 <- Update t Lost by Master AgentDisconnected 'Agent h1 disconnected'
    "#]],
    );
    c.connect(2, report(vec![t()]));
    check(
        &mut c,
        expect![[r#"
        l2 <- Reregistered m-S0 unknown []
        l2 <- KillTask { framework_id: FrameworkId(m-0000), task_id: TaskId(t), grace: None }
        l2 <- UpdateFramework f
        l2 <- Ping
    "#]],
    );
}

#[test]
fn the_master_restarts() {
    let mut c = running_cluster();
    c.restart("n");
    assert_eq!(c.master.recovered_agents().count(), 1);
    c.connect(7, report(vec![t()]));
    assert_eq!(c.master.framework(&"m-0000".into()).unwrap().state, FrameworkState::Recovered);
    check(
        &mut c,
        expect![[r#"
        l7 <- Reregistered m-S0 unknown []
        l7 <- Ping
    "#]],
    );
    let mut info = framework("f", &["*"]);
    info.id = Some("m-0000".into());
    c.subscribe("s2", info);
    check(
        &mut c,
        expect![[r#"
        reply Stream
        s2 <- Subscribed m-0000
        l7 <- UpdateFramework f
        s2 <- Offers [n-O0 of m-S0 for *: cpus:3; mem:1024]
    "#]],
    );
    c.update(7, "m-0000", "t", TaskState::Finished);
    c.acknowledge("m-0000", "s2", "m-S0", "t", TaskState::Finished);
    check(
        &mut c,
        expect![[r#"
        s2 <- Update t Finished by Executor (to acknowledge)
        s2 <- Offers [n-O1 of m-S0 for *: cpus:1]
        reply Accepted
        l7 <- Acknowledge { framework_id: FrameworkId(m-0000), task_id: TaskId(t), uuid: UpdateId(02020202020202020202020202020202) }
    "#]],
    );
}

#[test]
fn unacknowledged_ends_survive_the_master() {
    let mut c = running_cluster();
    c.update(1, "m-0000", "t", TaskState::Finished);
    c.restart("n");
    c.log();
    let uuid = UpdateId([TaskState::Finished as u8; 16]);
    let unacknowledged = Some((TaskState::Finished, Some(uuid)));
    c.connect(7, report(vec![Task { state: TaskState::Finished, unacknowledged, ..t() }]));
    let mut info = framework("f", &["*"]);
    info.id = Some("m-0000".into());
    c.subscribe("s2", info);
    c.update(7, "m-0000", "t", TaskState::Finished);
    c.acknowledge("m-0000", "s2", "m-S0", "t", TaskState::Finished);
    check(
        &mut c,
        expect![[r#"
        l7 <- Reregistered m-S0 unknown []
        l7 <- Ping
        reply Stream
        s2 <- Subscribed m-0000
        l7 <- UpdateFramework f
        s2 <- Offers [n-O0 of m-S0 for *: cpus:4; mem:1024]
        s2 <- Update t Finished by Executor (to acknowledge)
        reply Accepted
        l7 <- Acknowledge { framework_id: FrameworkId(m-0000), task_id: TaskId(t), uuid: UpdateId(02020202020202020202020202020202) }
    "#]],
    );
    assert!(c.master.framework(&"m-0000".into()).unwrap().tasks.is_empty());
}

#[test]
fn agents_that_stay_away_after_a_restart() {
    let mut c = running_cluster();
    c.restart("n");
    c.subscribe("s1", framework("g", &["*"]));
    c.log();
    c.pass(Duration::from_secs(601));
    check(
        &mut c,
        expect![[r#"
        put Agent(AgentId(m-S0))
        s1 <- Failure { agent_id: Some(AgentId(m-S0)), executor_id: None, status: None }
    "#]],
    );
}

#[test]
fn ended_frameworks_are_shut_down_where_they_turn_up() {
    let mut c = running_cluster();
    c.cut(1);
    c.call("m-0000", "s1", Call::Teardown);
    c.restart("n");
    c.log();
    c.connect(2, report(vec![t()]));
    check(
        &mut c,
        expect![[r#"
        l2 <- Reregistered m-S0 unknown []
        l2 <- ShutdownFramework { framework_id: FrameworkId(m-0000) }
        l2 <- Ping
    "#]],
    );
}

#[test]
fn gone_is_for_good() {
    let mut c = running_cluster();
    c.operators = true;
    c.operator(OperatorCall::MarkAgentGone { agent_id: "m-S0".into() });
    c.operator(OperatorCall::MarkAgentGone { agent_id: "m-S0".into() });
    check(
        &mut c,
        expect![[r#"
        delete Agent(AgentId(m-S0))
        put GoneAgent(AgentId(m-S0))
        l1 <- Shutdown { message: "Agent has been marked gone" }
        operators <- task updated t GoneByOperator
        s1 <- Update t GoneByOperator by Master AgentRemovedByOperator 'Agent has been marked gone'
        l1 closed
        operators <- agent updated m-S0 Gone
        s1 <- Failure { agent_id: Some(AgentId(m-S0)), executor_id: None, status: None }
        reply Done
        reply Done
    "#]],
    );
    c.connect(2, report(vec![t()]));
    check(
        &mut c,
        expect![[r#"
        l2 <- Shutdown { message: "Agent has been marked gone" }
        l2 closed
    "#]],
    );
}

#[test]
fn an_agent_without_memory_replaces_its_earlier_self() {
    let mut c = running_cluster();
    c.agent(2, RESOURCES);
    c.log();
    c.connect(3, ToMaster::Register { info: agent_info(1, RESOURCES).into() });
    check(
        &mut c,
        expect![[r#"
        delete Agent(AgentId(m-S0))
        put Agent(AgentId(m-S2))
        s1 <- Update t Lost by Master AgentRemoved 'Agent h1 removed: a new agent registered at the same address'
        l1 closed
        s1 <- Failure { agent_id: Some(AgentId(m-S0)), executor_id: None, status: None }
        l3 <- Registered m-S2
        l3 <- Ping
        s1 <- Offers [m-O2 of m-S2 for *: cpus:4; mem:1024]
    "#]],
    );
    c.say(3, ToMaster::Unregister);
    check(
        &mut c,
        expect![[r#"
        delete Agent(AgentId(m-S2))
        s1 <- Rescind { offer_id: OfferId(m-O2) }
        l3 closed
        s1 <- Failure { agent_id: Some(AgentId(m-S2)), executor_id: None, status: None }
    "#]],
    );
}

#[test]
fn an_id_that_was_used_again_meanwhile() {
    let mut c = running_cluster();
    c.cut(1);
    c.restart("n");
    c.agent(5, RESOURCES);
    let mut info = framework("f", &["*"]);
    info.id = Some("m-0000".into());
    c.subscribe("s2", info);
    let offer_ids = vec!["n-O0".into()];
    let operations = vec![Operation::Launch { tasks: vec![task("t", "n-S0", "cpus:1")] }];
    c.call("m-0000", "s2", Call::Accept { offer_ids, operations, filters: Default::default() });
    c.log();
    c.connect(2, report(vec![t()]));
    c.update(2, "m-0000", "t", TaskState::Killed);
    check(
        &mut c,
        expect![[r#"
        l2 <- Reregistered m-S0 unknown []
        l2 <- KillTask { framework_id: FrameworkId(m-0000), task_id: TaskId(t), grace: None }
        l2 <- Ping
        s2 <- Offers [n-O1 of m-S0 for *: cpus:4; mem:1024]
        l2 <- Acknowledge { framework_id: FrameworkId(m-0000), task_id: TaskId(t), uuid: UpdateId(04040404040404040404040404040404) }
    "#]],
    );
}
