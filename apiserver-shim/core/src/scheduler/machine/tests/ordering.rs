//! What must be durable before it is visible, and which write comes last.

use super::*;

#[test]
fn nothing_is_sent_before_its_intent_is_durable() {
    let mut f = Fixture::new();
    f.place();
    assert_eq!(f.phase(), TaskPhase::Intended);
    assert!(matches!(f.writes[..], [Write::Intent(_)]) && f.launches.is_empty());
    f.finish_write();
    assert_eq!((f.phase(), f.launched_tasks()), (TaskPhase::Launched, 1));
    assert!(f.writes.is_empty());
    f.answer(CallOutcome::Accepted);
    assert_eq!(f.phase(), TaskPhase::Binding);
    f.finish_write();
    assert_eq!(f.phase(), TaskPhase::Bound);
    assert_eq!(f.pod["spec"]["nodeName"], "n0");
}

#[test]
fn an_intent_that_is_not_durable_launches_nothing() {
    let mut f = Fixture::new();
    f.place();
    let Write::Intent(write) = f.writes.remove(0) else { panic!("an intent") };
    f.step(Event::IntentWritten { number: write.record.number, written: false });
    assert_eq!((f.phase(), f.launches.len()), (TaskPhase::Unscheduled, 0));
    assert!(f.calls.iter().any(|call| matches!(call, Call::Decline { .. })));
}

#[test]
fn a_pod_that_is_deleted_before_its_intent_is_durable_is_not_launched() {
    let mut f = Fixture::new();
    f.place();
    f.step(Event::PodGone(UID.into()));
    f.finish_write();
    assert!(f.launches.is_empty());
    assert_eq!(f.kills(), 0);
}

/// The defect of commit a84895e. A start is acknowledged before it is stored, so the next update can arrive while it
/// is being written. Of two concurrent writes the older could come last, and the Pod stayed Pending forever.
#[test]
fn an_older_status_never_overwrites_a_newer_one() {
    let mut f = Fixture::new();
    f.launch();
    f.answer(CallOutcome::Accepted);
    f.report(TaskState::Starting, "Pending");
    assert_eq!(f.acknowledged(), [1], "the start is acknowledged while the binding is being written");
    f.finish_write();
    assert!(matches!(f.writes[..], [Write::Status(_)]), "the start is being written");
    f.report(TaskState::Running, "Running");
    // Complete the writes in the worst order, newest first.
    while let Some(newest) = f.writes.pop() {
        f.finish(newest);
    }
    assert_eq!(f.pod["status"]["phase"], "Running");
    assert_eq!(f.acknowledged(), [1, 2]);
    assert_eq!(f.phase(), TaskPhase::Known);
}

/// A new subscription reconciles a Pod whose binding is still being written: the answer waits for that write.
#[test]
fn an_answer_waits_for_a_binding_of_the_previous_subscription() {
    let mut f = Fixture::new();
    f.launch();
    f.report(TaskState::Starting, "Pending");
    f.answer(CallOutcome::Accepted);
    assert!(matches!(f.writes[..], [Write::Bind(_)]));
    f.subscribe();
    f.report(TaskState::Running, "Running");
    assert_eq!(f.writes.len(), 1);
    while let Some(newest) = f.writes.pop() {
        f.finish(newest);
    }
    assert_eq!(f.pod["status"]["phase"], "Running");
    assert_eq!(f.phase(), TaskPhase::Known);
}

#[test]
fn an_update_is_acknowledged_after_it_is_stored() {
    let mut f = Fixture::new();
    f.launch();
    f.answer(CallOutcome::Accepted);
    f.finish_write();
    f.report(TaskState::Running, "Running");
    assert!(f.acknowledged().is_empty());
    f.finish_write();
    assert_eq!(f.acknowledged(), [1]);
    f.report(TaskState::Finished, "Succeeded");
    f.finish_write();
    assert_eq!((f.acknowledged(), f.phase()), (vec![1, 2], TaskPhase::Ended));
}

/// Found by seed 1107: the removal of a record overtook its write, and the record stayed in the store.
#[test]
fn an_intent_is_not_removed_while_it_is_written() {
    let mut f = Fixture::new();
    f.place();
    f.step(Event::PodGone(UID.into()));
    f.step(Event::Tick);
    f.step(Event::Cycle);
    // Whatever is under way is carried out in the worst order: the newest first.
    for _ in 0..3 {
        while let Some(newest) = f.writes.pop() {
            f.finish(newest);
        }
        f.now = f.now + Duration::from_secs(20);
        f.step(Event::Tick);
    }
    assert!(f.journal.is_empty() && f.writes.is_empty(), "{:?}", f.journal);
}

/// A client changes the Pod while its launch is on its way, and this process has seen that: the binding must keep the change.
#[test]
fn a_binding_keeps_what_has_changed_since_the_launch() {
    let mut f = Fixture::new();
    f.launch();
    f.pod["metadata"]["labels"] = json!({"a": "b"});
    f.revision += 1;
    f.show_pod();
    f.answer(CallOutcome::Accepted);
    f.finish_write();
    assert_eq!((&f.pod["spec"]["nodeName"], &f.pod["metadata"]["labels"]["a"]), (&json!("n0"), &json!("b")));
}

/// The same if the client has bound it elsewhere: its node counts, and the task of the launch ends.
#[test]
fn a_binding_does_not_replace_that_of_a_client() {
    let mut f = Fixture::new();
    f.launch();
    f.pod["spec"]["nodeName"] = json!("n1");
    f.revision += 1;
    f.show_pod();
    f.answer(CallOutcome::Accepted);
    f.finish_write();
    assert_eq!(f.pod["spec"]["nodeName"], "n1");
    assert_eq!(f.kills(), 1);
}
