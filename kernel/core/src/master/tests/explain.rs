//! What is said about frameworks, roles and tasks that wait.

use std::time::Duration;

use kernel_model::{
    scheduler::{Call, Operation},
    task::TaskState,
};

use super::cluster::*;
use crate::{
    allocator::WaitReason,
    master::{ClientWait, Event, TaskCause, WaitCause},
};

/// The causes of each role, and the offers.
fn shown(clients: &[ClientWait]) -> Vec<(String, usize, Vec<WaitCause>)> {
    clients.iter().map(|client| (client.role.to_string(), client.offers, client.reasons.clone())).collect()
}

#[test]
fn frameworks_wait_for_what_others_hold_or_for_themselves() {
    let mut c = Cluster::new();
    c.subscribe("s1", framework("first", &["team/a"]));
    c.agent(1, "cpus:4;mem:1024");
    c.subscribe("s2", framework("second", &["team/b"]));
    let used_up = vec![WaitCause::Allocation(WaitReason::AgentsUsedUp(1))];
    assert_eq!(shown(&c.master.explain_framework("first")), [("team/a".to_owned(), 1, used_up.clone())]);
    assert_eq!(shown(&c.master.explain_framework("m-0001")), [("team/b".to_owned(), 0, used_up.clone())]);
    assert_eq!(c.master.explain_framework("nobody"), []);
    let role = |name: &str| kernel_model::roles::Role::parse(name).unwrap();
    assert_eq!(c.master.explain_role_of(&"m-0001".into(), &role("team/b")), used_up);
    assert_eq!(c.master.explain_role_of(&"m-0001".into(), &role("team/a")), []);

    let role = c.master.explain_role("team").expect("it has roles below it");
    assert_eq!((role.dominant_share, role.view.weight), (1.0, 1.0));
    assert_eq!(role.view.offered.to_string(), "cpus:4; mem:1024");
    assert_eq!(
        role.clients.iter().map(|client| client.name.as_str()).collect::<Vec<_>>(),
        ["first", "second"]
    );
    assert_eq!(c.master.explain_role("team/b").map(|role| role.clients.len()), Some(1));
    assert_eq!(c.master.explain_role("nobody"), None);

    c.call("m-0001", "s2", Call::Suppress { roles: vec![] });
    assert_eq!(c.master.explain_framework("second")[0].reasons, [WaitCause::Suppressed]);
    c.step(Event::SchedulerClosed { stream: "s2".into() });
    let waiting = &c.master.explain_framework("second")[0];
    assert_eq!(waiting.reasons, [WaitCause::Disconnected]);
    assert_eq!((waiting.reasons[0].code(), waiting.reasons[0].agents()), ("DISCONNECTED", None));
}

#[test]
fn tasks_wait_for_their_agent_and_their_framework() {
    let mut c = Cluster::new();
    c.subscribe("s1", framework("f", &["*"]));
    c.agent(1, "cpus:4;mem:1024");
    c.accept("m-0000", "s1", 0, vec![Operation::Launch { tasks: vec![task("t", "m-S0", "cpus:1;mem:32")] }]);
    let cause = |c: &Cluster| c.master.explain_task("t")[0].cause;
    assert_eq!(cause(&c), Some(TaskCause::Launch));
    c.update(1, "m-0000", "t", TaskState::Running);
    assert_eq!(cause(&c), None);
    c.disconnect(1);
    assert_eq!(cause(&c), Some(TaskCause::AgentDisconnected));
    let task = &c.master.explain_task("t")[0];
    assert_eq!((task.agent.as_str(), task.name.as_str(), task.state), ("m-S0", "f", TaskState::Running));
    c.advance(Duration::from_secs(1000));
    assert!(matches!(cause(&c), Some(TaskCause::AgentUnreachable(Some(_)))), "{:?}", cause(&c));
    assert_eq!(c.master.explain_task("other"), []);
}

#[test]
fn an_ended_task_waits_for_its_acknowledgement() {
    let mut c = Cluster::new();
    c.subscribe("s1", framework("f", &["*"]));
    c.agent(1, "cpus:4;mem:1024");
    c.accept("m-0000", "s1", 0, vec![Operation::Launch { tasks: vec![task("t", "m-S0", "cpus:1;mem:32")] }]);
    c.update(1, "m-0000", "t", TaskState::Finished);
    assert_eq!(c.master.explain_task("t")[0].cause, Some(TaskCause::Acknowledgement(TaskState::Finished)));
    c.acknowledge("m-0000", "s1", "m-S0", "t", TaskState::Finished);
    assert_eq!(c.master.explain_task("t"), [], "it is forgotten");
}

#[test]
fn an_answer_is_bounded() {
    let mut c = Cluster::new();
    let roles: Vec<String> = (0..150).map(|number| format!("team/r{number:03}")).collect();
    let roles: Vec<&str> = roles.iter().map(String::as_str).collect();
    c.subscribe("s1", framework("many", &roles));
    assert_eq!(c.master.explain_framework("many").len(), 100);
    let role = c.master.explain_role("team").unwrap();
    assert_eq!((role.clients.len(), role.omitted), (100, 50));
}
