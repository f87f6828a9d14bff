//! Breaks each invariant on purpose and expects the auditor to report it.

use std::sync::Arc;

use kernel_model::{agent::AgentState, scheduler::Operation, task::TaskState};

use super::audit;
use crate::{
    effect::LinkId,
    master::{Agent, Framework, FrameworkState, tests::cluster::*},
};

/// Tampers with a consistent master (task `t` with an executor on m-S0, the rest on offer) and returns the invariants
/// that the auditor reports.
fn broken(tamper: impl FnOnce(&mut Agent, &mut Framework)) -> Vec<&'static str> {
    let mut c = Cluster::new();
    c.subscribe("s1", framework("f", &["*"]));
    c.agent(1, "cpus:4;mem:1024");
    let run = on_executor(task("t", "m-S0", "cpus:1"), executor("e", "cpus:0.5"));
    c.accept("m-0000", "s1", 0, vec![Operation::Launch { tasks: vec![run] }]);
    c.call("m-0000", "s1", kernel_model::scheduler::Call::Revive { roles: vec![] });
    assert_eq!(audit(&c.master), []);
    let (agents, frameworks) = c.master.tables_mut();
    tamper(agents.values_mut().next().unwrap(), frameworks.values_mut().next().unwrap());
    let mut found: Vec<_> = audit(&c.master).into_iter().map(|violation| violation.invariant).collect();
    found.dedup();
    found
}

#[test]
fn inv_01_capacity() {
    let found =
        broken(|agent, _| Arc::make_mut(&mut agent.info).resources = "cpus:3.9;mem:1024".parse().unwrap());
    assert_eq!(found, ["INV-01"]);
}

#[test]
fn inv_02_usage() {
    assert_eq!(broken(|agent, _| agent.executors.clear()), ["INV-02"]);
    let found = broken(|_, framework| {
        let task = framework.tasks.values_mut().next().unwrap();
        task.state = TaskState::Finished;
        task.unacknowledged = Some((TaskState::Finished, Some(kernel_model::ids::UpdateId([0; 16]))));
    });
    assert_eq!(found, ["INV-02"]);
}

#[test]
fn inv_03_one_place() {
    assert!(broken(|agent, _| agent.tasks.clear()).contains(&"INV-03"));
    assert!(broken(|_, framework| framework.tasks.clear()).contains(&"INV-03"));
}

#[test]
fn inv_04_offers() {
    assert!(broken(|agent, _| agent.deactivated = true).contains(&"INV-04"));
    assert!(broken(|_, framework| Arc::make_mut(&mut framework.info).roles.clear()).contains(&"INV-04"));
    assert!(broken(|_, framework| framework.state = FrameworkState::Disconnected).contains(&"INV-04"));
}

#[test]
fn inv_05_ended_tasks() {
    let found = broken(|_, framework| {
        framework.tasks.values_mut().next().unwrap().state = TaskState::Finished;
    });
    assert!(found.contains(&"INV-05"));
}

#[test]
fn inv_06_offered() {
    assert!(broken(|agent, _| agent.offered = Default::default()).contains(&"INV-06"));
}

#[test]
fn inv_07_unreachable() {
    let found = broken(|_, framework| {
        let task = framework.tasks.values().next().unwrap().clone();
        framework.unreachable_tasks.push_back(task.into());
    });
    assert_eq!(found, ["INV-07"]);
}

#[test]
fn inv_08_ledger() {
    assert!(broken(|agent, _| agent.allocated.clear()).contains(&"INV-08"));
}

#[test]
fn inv_09_membership() {
    assert_eq!(broken(|agent, _| agent.link = Some(LinkId(99))), ["INV-09"]);
    assert!(broken(|agent, _| agent.state = AgentState::Disconnected).contains(&"INV-09"));
}

#[test]
fn inv_10_streams() {
    assert!(
        broken(|_, framework| framework.state = FrameworkState::Connected("x".into())).contains(&"INV-10")
    );
}
