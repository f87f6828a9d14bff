//! Breaks each part of each invariant on purpose, and expects the auditor to report that invariant.

use std::sync::Arc;

use kernel_model::{
    agent::AgentState,
    ids::UpdateId,
    quota::{Quantities, Quota},
    resources::Resources,
    roles::Role,
    scheduler::{Call, Operation},
    task::TaskState,
};

use super::audit;
use crate::{
    effect::LinkId,
    master::{
        AbsentAgent, FrameworkState, Op, Record, RecordKey,
        tests::{cluster::*, tampering::Tables},
    },
};

/// Tampers with a consistent master (task `t` with an executor on m-S0, the rest on offer) and returns the invariants
/// that the auditor reports.
fn broken(tamper: impl FnOnce(&mut Tables<'_>)) -> Vec<&'static str> {
    let mut c = Cluster::new();
    c.subscribe("s1", framework("f", &["*"]));
    c.agent(1, "cpus:4;mem:1024");
    let run = on_executor(task("t", "m-S0", "cpus:1"), executor("e", "cpus:0.5"));
    c.accept("m-0000", "s1", 0, vec![Operation::Launch { tasks: vec![run] }]);
    c.call("m-0000", "s1", Call::Revive { roles: vec![] });
    assert_eq!(audit(&c.master), []);
    tamper(&mut c.master.tables());
    let mut found: Vec<_> = audit(&c.master).into_iter().map(|violation| violation.invariant).collect();
    found.sort_unstable();
    found.dedup();
    found
}

fn resources(text: &str) -> Resources {
    text.parse().unwrap()
}

#[test]
fn inv_01_capacity() {
    let shrunk =
        |t: &mut Tables<'_>| Arc::make_mut(&mut t.agent().info).resources = resources("cpus:3.9;mem:1024");
    assert_eq!(broken(shrunk), ["INV-01"]);
    assert!(
        broken(|t| t.agent().offered += &resources("cpus:1").allocated_to(&Role::any())).contains(&"INV-01")
    );
}

#[test]
fn inv_02_usage() {
    assert_eq!(broken(|t| t.agent().executors.clear()), ["INV-02"]);
    let found = broken(|t| {
        let task = t.framework().tasks.values_mut().next().unwrap();
        task.state = TaskState::Finished;
        task.unacknowledged = Some((TaskState::Finished, Some(UpdateId([0; 16]))));
    });
    assert_eq!(found, ["INV-02"], "a terminal task holds nothing");
    let found = broken(|t| {
        let extra = resources("cpus:0.1").allocated_to(&Role::any());
        *t.agent().allocated.values_mut().next().unwrap() += &extra;
    });
    assert!(found.contains(&"INV-02"), "more is allocated than tasks and executors hold");
}

#[test]
fn inv_03_one_place() {
    assert!(broken(|t| t.agent().tasks.clear()).contains(&"INV-03"), "the agent does not list it");
    assert!(broken(|t| t.framework().tasks.clear()).contains(&"INV-03"), "the framework does not know it");
    let found = broken(|t| {
        let mut duplicate = t.agent().clone();
        duplicate.id = "m-S9".into();
        t.agents.insert(duplicate.id.clone(), duplicate);
    });
    assert!(found.contains(&"INV-03"), "two agents list it");
    let found = broken(|t| {
        let task = t.framework().tasks.values_mut().next().unwrap();
        Arc::make_mut(&mut task.info).agent_id = "m-S9".into();
    });
    assert!(found.contains(&"INV-03"), "it is on another agent");
}

#[test]
fn inv_04_offers() {
    assert_eq!(broken(|t| t.agent().activation = kernel_model::agent::Activation::Deactivated), ["INV-04"]);
    let found = broken(|t| Arc::make_mut(&mut t.framework().info).roles.clear());
    assert_eq!(found, ["INV-04"], "the framework is not in the role");
    let disconnected = broken(|t| {
        t.framework().state = FrameworkState::Disconnected;
        t.streams.clear();
    });
    assert_eq!(disconnected, ["INV-04"]);
    let other_role = broken(|t| {
        let role = Role::parse("other").unwrap();
        t.offer.resources = t.offer.resources.allocated_to(&role);
    });
    assert!(other_role.contains(&"INV-04"), "the resources are allocated to another role");
}

#[test]
fn inv_05_ended_tasks() {
    let found = broken(|t| t.framework().tasks.values_mut().next().unwrap().state = TaskState::Finished);
    assert!(found.contains(&"INV-05"), "nothing is to be acknowledged");
    let found = broken(|t| {
        let task = t.framework().tasks.values_mut().next().unwrap();
        (task.state, task.unacknowledged) = (TaskState::Finished, Some((TaskState::Finished, None)));
    });
    assert!(found.contains(&"INV-05"), "an update without a uuid cannot be acknowledged");
}

#[test]
fn inv_06_offered() {
    assert!(broken(|t| t.agent().offered = Resources::new()).contains(&"INV-06"));
    assert!(
        broken(|t| t.offer.resources = resources("cpus:1").allocated_to(&Role::any())).contains(&"INV-06")
    );
}

#[test]
fn inv_07_unreachable() {
    let found = broken(|t| {
        let task = t.framework().tasks.values().next().unwrap().clone();
        t.framework().unreachable_tasks.push_back(task.into());
    });
    assert_eq!(found, ["INV-07"]);
}

#[test]
fn inv_08_ledger() {
    assert!(broken(|t| t.agent().allocated.clear()).contains(&"INV-08"), "the agent holds less");
    let found = broken(|t| {
        let (slot, client) = (t.agent().slot, *t.framework().clients.values().next().unwrap());
        t.allocator.recover(slot, client, &resources("cpus:0.5").allocated_to(&Role::any()));
    });
    assert_eq!(found, ["INV-08"], "the allocator holds less");
    let found = broken(|t| {
        let slot = t.agent().slot;
        t.allocator.set_total(slot, &resources("cpus:5;mem:1024"));
    });
    assert_eq!(found, ["INV-08"], "the allocator has more available");
}

#[test]
fn inv_09_membership() {
    assert_eq!(broken(|t| t.agent().link = Some(LinkId(99))), ["INV-09"]);
    assert!(broken(|t| t.agent().state = AgentState::Disconnected).contains(&"INV-09"));
    let unregistered = broken(|t| {
        t.registry.apply(&Op::Delete(RecordKey::Agent("m-S0".into())));
    });
    assert_eq!(unregistered, ["INV-09"]);
    let gone = broken(|t| {
        let since = kernel_model::time::Time(1);
        t.registry.apply(&Op::Put(Record::GoneAgent { agent_id: "m-S0".into(), since }));
    });
    assert_eq!(gone, ["INV-09"]);
    let absent = broken(|t| {
        let info = t.agent().info.clone();
        let absent = AbsentAgent {
            info,
            activation: Default::default(),
            unreachable_since: None,
            operations: Vec::new(),
        };
        t.absent.insert("m-S0".into(), absent);
    });
    assert_eq!(absent, ["INV-09"]);
    assert!(broken(|t| t.frameworks.clear()).contains(&"INV-09"), "an ended framework holds resources");
}

#[test]
fn inv_10_streams() {
    let other = broken(|t| t.framework().state = FrameworkState::Connected("x".into()));
    assert_eq!(other, ["INV-10"]);
    assert_eq!(broken(|t| t.streams.clear()), ["INV-10"]);
    let two = broken(|t| {
        t.streams.insert("s2".into(), "m-0000".into());
    });
    assert_eq!(two, ["INV-10"]);
    let ended = broken(|t| {
        t.streams.insert("s2".into(), "m-0009".into());
    });
    assert_eq!(ended, ["INV-10"], "a stream of a framework that has ended");
}

#[test]
fn inv_11_quotas() {
    let of = |text: &str| Quantities::of(&resources(text), |_| true);
    let quota = |guarantees: &str, limits: &str| {
        let quota = Quota { guarantees: of(guarantees), limits: of(limits) };
        Op::Put(Record::Quota { role: Role::any(), quota })
    };
    let found = broken(|t| {
        t.registry.apply(&quota("", "cpus:9"));
        t.agent().allocated.clear();
    });
    assert!(found.contains(&"INV-11"), "the allocator counts more");
    let found = broken(|t| {
        t.registry.apply(&quota("cpus:9", "cpus:8"));
    });
    assert_eq!(found, ["INV-11"], "more is guaranteed than allowed");
}

#[test]
fn inv_13_reservations() {
    let found = broken(|t| t.agent().offered += &resources("cpus(eng):1").allocated_to(&Role::any()));
    assert!(found.contains(&"INV-13"), "what is reserved for eng is offered to another role");
    let below = Role::parse("eng/dev").unwrap();
    let found = broken(|t| t.agent().offered += &resources("cpus(eng):1").allocated_to(&below));
    assert!(!found.contains(&"INV-13"), "{found:?}");
}
