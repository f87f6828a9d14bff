//! Draining of agents: what runs there ends, and when it is over.

use std::time::Duration;

use expect_test::{Expect, expect};
use kernel_model::{
    agent::{DrainConfig, ToMaster},
    caller::IN_PROCESS_PRINCIPAL,
    framework::{FrameworkCapability, FrameworkInfo},
    scheduler::{Call, Operation},
    task::{TaskInfo, TaskState},
};

use super::{
    agents::{report, running_cluster, t},
    cluster::*,
};
use crate::master::OperatorCall;

const SECOND: Duration = Duration::from_secs(1);

fn check(c: &mut Cluster, expected: Expect) {
    expected.assert_eq(&c.log());
}

fn drain(c: &mut Cluster, config: DrainConfig) {
    c.operator(OperatorCall::DrainAgent { agent_id: "m-S0".into(), config });
}

fn reactivate(c: &mut Cluster) {
    c.operator(OperatorCall::ReactivateAgent { agent_id: "m-S0".into() });
}

fn is_drained(c: &Cluster) -> Option<bool> {
    let registered = c.master.agent(&"m-S0".into()).map(|agent| &agent.activation);
    let absent = || c.master.absent_agents().next().map(|agent| &agent.activation);
    registered.or_else(absent)?.drain().map(|drain| drain.is_drained)
}

#[test]
fn a_drained_agent_has_nothing_until_it_is_reactivated() {
    let mut c = running_cluster();
    drain(&mut c, DrainConfig::default());
    reactivate(&mut c);
    check(
        &mut c,
        expect![[r#"
            put Agent(AgentId(m-S0))
            l1 <- KillTask { framework_id: FrameworkId(m-0000), task_id: TaskId(t), grace: None }
            reply Done
            reply Invalid: Agent is still in the DRAINING state
        "#]],
    );
    assert_eq!(is_drained(&c), Some(false));
    c.update(1, "m-0000", "t", TaskState::Killed);
    assert_eq!(is_drained(&c), Some(false), "the end is not acknowledged");
    c.acknowledge("m-0000", "s1", "m-S0", "t", TaskState::Killed);
    assert_eq!(is_drained(&c), Some(true));
    c.advance(20 * SECOND);
    reactivate(&mut c);
    reactivate(&mut c);
    check(
        &mut c,
        expect![[r#"
            s1 <- Update t Killed by Executor AgentDraining (to acknowledge)
            put Agent(AgentId(m-S0))
            reply Accepted
            l1 <- Acknowledge { framework_id: FrameworkId(m-0000), task_id: TaskId(t), uuid: UpdateId(04040404040404040404040404040404) }
            l1 <- Ping
            put Agent(AgentId(m-S0))
            reply Done
            s1 <- Offers [m-O1 of m-S0 for *: cpus:4; mem:1024]
            reply Invalid: Agent is not deactivated
        "#]],
    );
    let agent_id = "other".into();
    c.operator(OperatorCall::DrainAgent { agent_id, config: DrainConfig::default() });
    check(
        &mut c,
        expect![[r#"
        reply Invalid: Unknown agent
    "#]],
    );
}

#[test]
fn an_empty_agent_is_drained_at_once_and_may_be_gone() {
    let mut c = Cluster::new();
    c.agent(1, "cpus:4");
    drain(&mut c, DrainConfig::default());
    assert_eq!(is_drained(&c), Some(true));
    c.operator(OperatorCall::DeactivateAgent { agent_id: "m-S0".into() });
    assert_eq!(is_drained(&c), Some(true), "it is deactivated already");
    c.log();
    drain(&mut c, DrainConfig { mark_gone: true, ..DrainConfig::default() });
    assert_eq!(is_drained(&c), None);
    check(
        &mut c,
        expect![[r#"
        put Agent(AgentId(m-S0))
        delete Agent(AgentId(m-S0))
        put GoneAgent(AgentId(m-S0))
        reply Done
        l1 <- Shutdown { message: "Agent has been marked gone" }
        l1 closed
    "#]],
    );
}

#[test]
fn the_grace_period_is_the_shorter_one() {
    let own = |id: &str, grace: Option<u64>| TaskInfo {
        kill_grace: grace.map(Duration::from_secs),
        ..task(id, "m-S0", "cpus:1")
    };
    let mut c = Cluster::new();
    c.subscribe("s1", framework("f", &["*"]));
    c.agent(1, "cpus:4");
    let tasks = vec![own("none", None), own("short", Some(5)), own("long", Some(60))];
    c.accept("m-0000", "s1", 0, vec![Operation::Launch { tasks }]);
    c.log();
    drain(&mut c, DrainConfig { max_grace: Some(10 * SECOND), ..DrainConfig::default() });
    check(
        &mut c,
        expect![[r#"
        put Agent(AgentId(m-S0))
        l1 <- KillTask { framework_id: FrameworkId(m-0000), task_id: TaskId(long), grace: Some(10s) }
        l1 <- KillTask { framework_id: FrameworkId(m-0000), task_id: TaskId(none), grace: Some(10s) }
        l1 <- KillTask { framework_id: FrameworkId(m-0000), task_id: TaskId(short), grace: None }
        reply Done
    "#]],
    );
}

#[test]
fn tasks_of_an_agent_that_will_be_gone_are_gone_by_operator() {
    for aware in [false, true] {
        let mut c = Cluster::new();
        let mut info = framework("f", &["*"]);
        if !aware {
            info.capabilities.remove(&FrameworkCapability::PartitionAware);
        }
        c.subscribe("s1", info);
        c.agent(1, "cpus:4");
        let tasks = vec![task("t", "m-S0", "cpus:1"), task("done", "m-S0", "cpus:1")];
        c.accept("m-0000", "s1", 0, vec![Operation::Launch { tasks }]);
        drain(&mut c, DrainConfig { mark_gone: true, ..DrainConfig::default() });
        c.update(1, "m-0000", "done", TaskState::Finished);
        c.acknowledge("m-0000", "s1", "m-S0", "done", TaskState::Finished);
        c.log();
        c.update(1, "m-0000", "t", TaskState::Killed);
        c.acknowledge("m-0000", "s1", "m-S0", "t", TaskState::Killed);
        match aware {
            false => check(
                &mut c,
                expect![[r#"
                    s1 <- Update t Killed by Executor AgentDraining (to acknowledge)
                    delete Agent(AgentId(m-S0))
                    put GoneAgent(AgentId(m-S0))
                    reply Accepted
                    l1 <- Acknowledge { framework_id: FrameworkId(m-0000), task_id: TaskId(t), uuid: UpdateId(04040404040404040404040404040404) }
                    l1 <- Shutdown { message: "Agent has been marked gone" }
                    l1 closed
                    s1 <- Failure { agent_id: Some(AgentId(m-S0)), executor_id: None, status: None }
                "#]],
            ),
            true => check(
                &mut c,
                expect![[r#"
                s1 <- Update t GoneByOperator by Executor AgentDraining (to acknowledge)
                delete Agent(AgentId(m-S0))
                put GoneAgent(AgentId(m-S0))
                reply Accepted
                l1 <- Acknowledge { framework_id: FrameworkId(m-0000), task_id: TaskId(t), uuid: UpdateId(04040404040404040404040404040404) }
                l1 <- Shutdown { message: "Agent has been marked gone" }
                l1 closed
                s1 <- Failure { agent_id: Some(AgentId(m-S0)), executor_id: None, status: None }
            "#]],
            ),
        }
        assert_eq!(is_drained(&c), None);
    }
}

#[test]
fn draining_outlives_the_connection_and_the_master() {
    let mut c = running_cluster();
    drain(&mut c, DrainConfig { max_grace: Some(SECOND), ..DrainConfig::default() });
    c.disconnect(1);
    c.log();
    c.connect(2, report(vec![t()]));
    check(
        &mut c,
        expect![[r#"
        l2 <- Reregistered m-S0 unknown []
        l2 <- KillTask { framework_id: FrameworkId(m-0000), task_id: TaskId(t), grace: Some(1s) }
        l2 <- Ping
    "#]],
    );
    c.restart("n");
    assert_eq!(is_drained(&c), Some(false));
    c.log();
    c.connect(3, report(vec![t()]));
    check(
        &mut c,
        expect![[r#"
        put AbsentFramework(FrameworkId(m-0000))
        l3 <- Reregistered m-S0 unknown []
        l3 <- KillTask { framework_id: FrameworkId(m-0000), task_id: TaskId(t), grace: Some(1s) }
        l3 <- Ping
    "#]],
    );
    c.restart("o");
    c.connect(4, report(vec![]));
    assert_eq!(is_drained(&c), Some(true));
    c.restart("p");
    assert_eq!(is_drained(&c), Some(true));
}

fn pods() -> FrameworkInfo {
    FrameworkInfo { principal: Some(IN_PROCESS_PRINCIPAL.to_owned()), ..framework("kubernetes", &["*"]) }
}

fn asked(c: &mut Cluster) -> Vec<String> {
    let log = c.log();
    assert!(!log.contains("KillTask"), "{log}");
    log.lines().filter(|line| line.contains("InverseOffers")).map(str::to_owned).collect()
}

#[test]
fn the_scheduler_of_pods_is_asked_until_they_end() {
    let mut c = Cluster::new();
    c.subscribe("s1", pods());
    c.agent(1, "cpus:4");
    let tasks = vec![task("p", "m-S0", "cpus:1"), task("q", "m-S0", "cpus:1")];
    c.accept("m-0000", "s1", 0, vec![Operation::Launch { tasks }]);
    c.log();
    drain(&mut c, DrainConfig::default());
    assert_eq!(asked(&mut c).len(), 2);
    c.call("m-0000", "s1", Call::AcceptInverseOffers { offer_ids: vec!["m-I0".into()] });
    c.call("m-0000", "s1", Call::DeclineInverseOffers { offer_ids: vec!["m-I1".into()] });
    c.advance(4 * SECOND);
    assert_eq!(asked(&mut c).len(), 0);
    c.advance(2 * SECOND);
    assert_eq!(asked(&mut c).len(), 1, "the declined one again");
    c.update(1, "m-0000", "p", TaskState::Killed);
    c.acknowledge("m-0000", "s1", "m-S0", "p", TaskState::Killed);
    c.send_message(1, ToMaster::Pong);
    c.advance(65 * SECOND);
    assert_eq!(asked(&mut c).len(), 1, "no answer came");
    c.send_message(1, ToMaster::Pong);
    c.update(1, "m-0000", "q", TaskState::Finished);
    c.acknowledge("m-0000", "s1", "m-S0", "q", TaskState::Finished);
    assert_eq!(is_drained(&c), Some(true));
    c.log();
    c.advance(65 * SECOND);
    assert_eq!(asked(&mut c).len(), 0);
}

#[test]
fn pods_are_asked_for_when_their_scheduler_is_back() {
    let mut c = Cluster::new();
    c.subscribe("s1", pods());
    c.agent(1, "cpus:4;mem:1024");
    c.accept("m-0000", "s1", 0, vec![Operation::Launch { tasks: vec![task("t", "m-S0", "cpus:1")] }]);
    drain(&mut c, DrainConfig::default());
    c.restart("n");
    let ToMaster::Reregister { info, executors, operations, .. } = report(vec![]) else { unreachable!() };
    let mut own = pods();
    own.id = Some("m-0000".into());
    let frameworks = vec![own.clone().into()];
    c.log();
    c.connect(2, ToMaster::Reregister { info, frameworks, executors, tasks: vec![t()], operations });
    assert_eq!(asked(&mut c).len(), 0);
    c.subscribe("s2", own);
    c.advance(6 * SECOND);
    assert_eq!(asked(&mut c).len(), 1);
}
