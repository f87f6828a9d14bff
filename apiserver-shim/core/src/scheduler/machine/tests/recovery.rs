//! Recovery after a crash from the store and the kernel alone.

use super::*;

/// INV-37 at every point of a launch: a Pod that may have been launched is reconciled, and not launched again before
/// the kernel has answered.
#[test]
fn no_crash_point_launches_twice() {
    for crash_after in 0..4 {
        let mut f = Fixture::new();
        f.place();
        if crash_after > 0 {
            f.finish_write();
        }
        if crash_after > 1 {
            f.answer(CallOutcome::Accepted);
        }
        if crash_after > 2 {
            f.finish_write();
        }
        f.crash();
        if crash_after == 0 {
            assert_eq!(f.phase(), TaskPhase::Unscheduled, "nothing was durable, nothing was sent");
            continue;
        }
        f.place();
        assert_eq!((f.phase(), f.launches.len()), (TaskPhase::Requested, 0), "crash after {crash_after}");
        assert!(f.questions() > 0);
        f.report(TaskState::Running, "Running");
        f.finish_write();
        assert_eq!((f.phase(), f.launches.len()), (TaskPhase::Known, 0));
        assert_eq!(f.pod["spec"]["nodeName"], "n0");
        assert_eq!(f.pod["status"]["phase"], "Running");
    }
}

#[test]
fn a_launch_that_was_never_sent_is_repeated_after_reconciliation() {
    let mut f = Fixture::new();
    f.place();
    f.finish_write();
    f.crash();
    f.master_says(TaskState::Gone, Reason::Reconciliation, Some(AGENT));
    assert_eq!(f.phase(), TaskPhase::Unscheduled);
    f.launch();
}

#[test]
fn an_unanswered_launch_is_reconciled() {
    let mut f = Fixture::new();
    f.launch();
    f.answer(CallOutcome::Unanswered);
    assert_eq!(f.phase(), TaskPhase::Requested);
    f.place();
    assert!(f.launches.is_empty());
}

#[test]
fn a_pod_that_was_bound_elsewhere_meanwhile_runs_there_after_its_task_has_ended() {
    let mut f = Fixture::new();
    f.launch();
    f.pod["spec"]["nodeName"] = json!("n1");
    f.revision += 1;
    f.answer(CallOutcome::Accepted);
    f.finish_write();
    assert_eq!((f.phase(), f.kills()), (TaskPhase::Requested, 1));
    f.show_pod();
    let asked = f.questions();
    f.report(TaskState::Killed, "Failed");
    assert_eq!(f.phase(), TaskPhase::Requested, "an end on the other node is not the Pod's");
    assert_eq!((f.questions(), &f.pod["status"]["phase"]), (asked + 1, &json!("Pending")));
    f.master_says(TaskState::Gone, Reason::Reconciliation, Some("S1"));
    assert_eq!(f.phase(), TaskPhase::Unscheduled, "it is to be launched where it is bound");
}

/// Seeds 402, 663 and 884. The agent that accepted the launch is away when a client binds the Pod to another node.
/// The task may run there, also after a crash, so the intent stays open until that agent has answered.
#[test]
fn a_pod_that_may_run_on_another_node_is_not_launched_where_it_is_bound() {
    let mut f = Fixture::new();
    f.launch();
    f.answer(CallOutcome::Unanswered);
    f.pod["spec"]["nodeName"] = json!("n1");
    f.revision += 1;
    f.show_pod();
    f.crash();
    assert_eq!(f.phase(), TaskPhase::Requested);
    let agents = |f: &Fixture| {
        let asked = |call: &Call| match call {
            Call::Reconcile { tasks } => tasks.first().and_then(|(_, agent)| agent.clone()),
            _ => None,
        };
        f.calls.iter().filter_map(asked).map(|agent| agent.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(agents(&f), [AGENT]);
    f.master_says(TaskState::Gone, Reason::Reconciliation, Some(AGENT));
    assert_eq!((f.phase(), agents(&f)), (TaskPhase::Requested, vec![AGENT.to_owned(), "S1".to_owned()]));
    f.master_says(TaskState::Gone, Reason::Reconciliation, Some("S1"));
    assert_eq!(f.phase(), TaskPhase::Unscheduled);
}

#[test]
fn a_task_without_a_pod_is_killed() {
    let mut f = Fixture::new();
    f.step(Event::PodGone(UID.into()));
    f.report(TaskState::Running, "Running");
    assert_eq!((f.kills(), f.acknowledged()), (1, vec![1]));
}

/// After a restore from a backup the stored status is older than what the executor has reported.
#[test]
fn the_executor_confirms_the_status_of_a_pod_that_was_bound_before() {
    let mut f = Fixture::new();
    f.launch();
    f.answer(CallOutcome::Accepted);
    f.finish_write();
    f.show_pod();
    f.report(TaskState::Running, "Running");
    f.finish_write();
    let messages = |f: &Fixture| -> Vec<String> {
        let text = |call: &Call| match call {
            Call::Message { data, .. } => Some(String::from_utf8_lossy(&data[..10]).into_owned()),
            _ => None,
        };
        f.calls.iter().filter_map(text).collect()
    };
    f.master_says(TaskState::Running, Reason::Reconciliation, Some(AGENT));
    assert_eq!(messages(&f), [""; 0], "this process has stored what was reported");
    f.crash();
    f.master_says(TaskState::Running, Reason::Reconciliation, Some(AGENT));
    assert_eq!(messages(&f), ["{\"stored\":"]);
    f.master_says(TaskState::Running, Reason::Reconciliation, Some(AGENT));
    assert_eq!(messages(&f).len(), 1, "once");
    f.crash();
    f.report(TaskState::Running, "Running");
    f.finish_write();
    f.master_says(TaskState::Running, Reason::Reconciliation, Some(AGENT));
    assert_eq!(messages(&f), [""; 0], "it has reported by itself");
}

/// The kill of a task without Pod is lost. Its updates are acknowledged, so nothing else tells that it runs.
#[test]
fn a_lost_kill_of_a_task_without_pod_is_repeated() {
    let mut f = Fixture::new();
    f.launch();
    f.answer(CallOutcome::Accepted);
    f.step(Event::PodGone(UID.into()));
    f.report(TaskState::Running, "Running");
    let (kills, questions) = (f.kills(), f.questions());
    assert!(kills > 0);
    f.now = f.now + Duration::from_secs(20);
    f.step(Event::Tick);
    assert_eq!(f.questions(), questions + 1, "the kernel is asked whether it has ended");
    f.master_says(TaskState::Running, Reason::Reconciliation, Some(AGENT));
    assert_eq!(f.kills(), kills + 1);
    f.report(TaskState::Killed, "Failed");
    f.now = f.now + Duration::from_secs(20);
    f.step(Event::Tick);
    assert_eq!(f.questions(), questions + 1, "nothing is left to ask about");
}

/// An agent that was away while this process began has tasks that nobody has told it of.
#[test]
fn all_tasks_are_reconciled_once_agents_have_joined() {
    let mut f = Fixture::new();
    let all = |f: &Fixture| {
        let implicit = |call: &&Call| matches!(call, Call::Reconcile { tasks } if tasks.is_empty());
        f.calls.iter().filter(implicit).count()
    };
    assert_eq!(all(&f), 1, "with the subscription");
    for id in ["S2", "S3"] {
        let joined = agent(id, "n2");
        f.step(Event::Cluster(kernel_model::operator::Event::AgentAdded { agent: joined }));
        f.now = f.now + Duration::from_secs(2);
        f.step(Event::Tick);
    }
    assert_eq!(all(&f), 1);
    for _ in 0..3 {
        f.now = f.now + Duration::from_secs(5);
        f.step(Event::Tick);
    }
    assert_eq!(all(&f), 2);
}
