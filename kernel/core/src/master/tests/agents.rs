//! Registration, lost agents, their return and replacement, and restarts of the master.

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
pub(super) fn running_cluster() -> Cluster {
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

pub(super) fn report(tasks: Vec<Task>) -> ToMaster {
    let mut info = agent_info(1, RESOURCES);
    info.id = Some("m-S0".into());
    let mut own = framework("f", &["*"]);
    own.id = Some("m-0000".into());
    let info = info.into();
    ToMaster::Reregister {
        info,
        frameworks: vec![own.into()],
        executors: vec![],
        tasks,
        operations: Vec::new(),
    }
}

pub(super) fn t() -> Task {
    running("m-0000", "t", "m-S0", "cpus:1")
}

#[test]
fn silent_agents_become_unreachable_and_return() {
    let mut c = running_cluster();
    c.operators = true;
    c.advance(Duration::from_secs(60));
    assert_eq!(c.master.agent(&"m-S0".into()).unwrap().state, AgentState::Connected);
    c.log();
    c.advance(Duration::from_secs(35));
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
fn any_message_counts_as_a_pong() {
    let mut c = running_cluster();
    for _ in 0..20 {
        c.advance(Duration::from_secs(60));
        c.send_message(1, ToMaster::Pong);
    }
    assert_eq!(c.master.agent(&"m-S0".into()).unwrap().state, AgentState::Connected);
    // A message before the disconnection counts too.
    c.disconnect(1);
    c.advance(Duration::from_secs(60));
    assert_eq!(c.master.agent(&"m-S0".into()).unwrap().state, AgentState::Disconnected);
}

#[test]
fn tasks_that_do_not_return_are_gone() {
    let mut c = running_cluster();
    c.disconnect(1);
    c.advance(Duration::from_secs(95));
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
fn a_disconnected_agent_keeps_its_tasks() {
    let mut c = running_cluster();
    c.call("m-0000", "s1", Call::Revive { roles: vec![] });
    c.log();
    c.disconnect(1);
    check(
        &mut c,
        expect![[r#"
        s1 <- Rescind { offer_id: OfferId(m-O1) }
    "#]],
    );
    // The launch was lost with the link: the agent is asked about it.
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
fn a_new_link_replaces_the_old_one() {
    let mut c = running_cluster();
    c.connect(2, report(vec![t()]));
    c.disconnect(1);
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
fn frameworks_without_checkpoint_lose_tasks_with_the_link() {
    let mut c = Cluster::new();
    let mut info = framework("f", &["*"]);
    info.checkpoint = false;
    c.subscribe("s1", info);
    c.agent(1, RESOURCES);
    c.accept("m-0000", "s1", 0, vec![Operation::Launch { tasks: vec![task("t", "m-S0", "cpus:1")] }]);
    c.log();
    c.disconnect(1);
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
            put AbsentFramework(FrameworkId(m-0000))
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
            delete AbsentFramework(FrameworkId(m-0000))
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
fn unacknowledged_terminal_updates_survive_a_master_restart() {
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
            put AbsentFramework(FrameworkId(m-0000))
            l7 <- Reregistered m-S0 unknown []
            l7 <- Ping
            delete AbsentFramework(FrameworkId(m-0000))
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
    c.advance(Duration::from_secs(601));
    check(
        &mut c,
        expect![[r#"
        put Agent(AgentId(m-S0))
        s1 <- Failure { agent_id: Some(AgentId(m-S0)), executor_id: None, status: None }
    "#]],
    );
}

#[test]
fn ended_frameworks_are_shut_down_on_reregistration() {
    let mut c = running_cluster();
    c.disconnect(1);
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
fn gone_agents_stay_gone() {
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
fn an_agent_without_id_replaces_the_one_at_its_address() {
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
    c.send_message(3, ToMaster::Unregister);
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
fn a_stopped_agent_is_unreachable_when_its_link_closes_and_may_come_back() {
    let mut c = running_cluster();
    c.send_message(1, ToMaster::Stopping);
    check(&mut c, expect![[r#""#]]);
    assert_eq!(c.master.agent(&"m-S0".into()).unwrap().snapshot().state, AgentState::Stopping);
    c.disconnect(1);
    check(
        &mut c,
        expect![[r#"
        put Agent(AgentId(m-S0))
        s1 <- Update t Unreachable by Master AgentRemoved 'Agent h1 is unreachable: the agent was stopped'
        s1 <- Failure { agent_id: Some(AgentId(m-S0)), executor_id: None, status: None }
    "#]],
    );
    assert_eq!(c.master.absent_agents().next().unwrap().snapshot().state, AgentState::Unreachable);
}

#[test]
fn a_task_id_that_was_reused_meanwhile() {
    let mut c = running_cluster();
    c.disconnect(1);
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
