//! Launches that the kernel refuses. No decision depends on the wording of a refusal.

use super::*;

/// The master refuses an ID that it has already, for instance because an agent returned after reconciliation was
/// answered. Only a new answer distinguishes a duplicate from an invalid task.
#[test]
fn a_duplicate_is_found_by_reconciliation() {
    let mut f = Fixture::new();
    f.launch();
    let before = f.questions();
    f.master_says(TaskState::Error, Reason::TaskInvalid, Some(AGENT));
    assert_eq!((f.phase(), f.questions()), (TaskPhase::Requested, before + 1));
    f.report(TaskState::Running, "Running");
    f.finish_write();
    assert_eq!(f.phase(), TaskPhase::Known);
    assert_eq!(f.pod["status"]["phase"], "Running");
}

#[test]
fn a_task_that_the_kernel_refuses_and_does_not_have_is_invalid() {
    let mut f = Fixture::new();
    f.launch();
    f.master_says(TaskState::Error, Reason::TaskInvalid, Some(AGENT));
    f.master_says(TaskState::Unknown, Reason::Reconciliation, None);
    f.finish_write();
    assert_eq!((f.phase(), &f.pod["status"]["reason"]), (TaskPhase::Ended, &json!("TaskInvalid")));
    assert_eq!(f.pod["status"]["message"], "whatever it says");
}

/// A refusal that arrives when the task is known concerns the launch and not the task: the Pod continues.
#[test]
fn a_refusal_does_not_end_a_task_that_is_known() {
    for (state, reason) in
        [(TaskState::Error, Reason::TaskInvalid), (TaskState::Dropped, Reason::InvalidOffers)]
    {
        let mut f = Fixture::new();
        f.launch();
        f.answer(CallOutcome::Accepted);
        f.finish_write();
        f.report(TaskState::Running, "Running");
        f.finish_write();
        f.show_pod();
        f.master_says(state, reason, Some(AGENT));
        assert_eq!(f.phase(), TaskPhase::Requested);
        f.master_says(TaskState::Running, Reason::Reconciliation, Some(AGENT));
        assert_eq!((f.phase(), f.kills()), (TaskPhase::Known, 0));
        assert!(f.writes.is_empty());
        assert_eq!(f.pod["status"]["phase"], "Running");
    }
}

#[test]
fn a_launch_on_invalid_offers_is_repeated() {
    let mut f = Fixture::new();
    f.launch();
    f.master_says(TaskState::Dropped, Reason::InvalidOffers, Some(AGENT));
    assert_eq!(f.phase(), TaskPhase::Unscheduled);
    f.answer(CallOutcome::Accepted);
    assert_eq!(f.phase(), TaskPhase::Unscheduled, "a launch that was refused is not bound");
    f.launch();
}

#[test]
fn an_update_of_an_earlier_launch_does_not_end_this_one() {
    let mut f = Fixture::new();
    f.launch();
    f.master_says(TaskState::Unknown, Reason::Reconciliation, Some(AGENT));
    f.master_says(TaskState::Dropped, Reason::AgentDisconnected, Some("S1"));
    assert_eq!(f.phase(), TaskPhase::Launched);
    f.answer(CallOutcome::Accepted);
    f.finish_write();
    assert_eq!((f.phase(), f.writes.len()), (TaskPhase::Bound, 0));
}
