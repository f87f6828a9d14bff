//! The whole decision table.

use expect_test::expect;

use super::*;

#[test]
fn every_case() {
    let pods = [
        ("no pod", None),
        ("unbound", Some(PodView { node: None, ended: false, started: false, deleting: false })),
        ("bound", Some(PodView { node: Some("n"), ended: false, started: false, deleting: false })),
        ("running", Some(PodView { node: Some("n"), ended: false, started: true, deleting: false })),
        ("ended", Some(PodView { node: Some("n"), ended: true, started: true, deleting: false })),
        ("deleting", Some(PodView { node: Some("n"), ended: false, started: true, deleting: true })),
    ];
    use ObservedTaskState::*;
    let mut out = String::new();
    for (name, pod) in pods {
        for known in [Alive, Unreachable, Finished, Failed, Killed, Invalid, NeverStarted, Gone, Unknown] {
            let by_node = matches!(known, Alive | Finished | Failed | Killed);
            let task = TaskView { observed: known, node: Some("n"), has_status: by_node };
            out += &format!("{name:8} {:12} {:?}\n", format!("{known:?}"), resolve_task_status(task, pod));
        }
    }
    expect![[r#"
        no pod   Alive        [Kill]
        no pod   Unreachable  []
        no pod   Finished     []
        no pod   Failed       []
        no pod   Killed       []
        no pod   Invalid      []
        no pod   NeverStarted []
        no pod   Gone         []
        no pod   Unknown      []
        unbound  Alive        [Bind, WriteStatus]
        unbound  Unreachable  [Bind]
        unbound  Finished     [Bind, WriteStatus]
        unbound  Failed       [Bind, WriteStatus]
        unbound  Killed       [Bind, WriteStatus]
        unbound  Invalid      [End { succeeded: false, reason: "TaskInvalid" }]
        unbound  NeverStarted [Forget]
        unbound  Gone         [Bind, End { succeeded: false, reason: "NodeLost" }]
        unbound  Unknown      [Forget]
        bound    Alive        [WriteStatus]
        bound    Unreachable  []
        bound    Finished     [WriteStatus]
        bound    Failed       [WriteStatus]
        bound    Killed       [WriteStatus]
        bound    Invalid      [End { succeeded: false, reason: "TaskInvalid" }]
        bound    NeverStarted [Relaunch]
        bound    Gone         [End { succeeded: false, reason: "NodeLost" }]
        bound    Unknown      [Relaunch]
        running  Alive        [WriteStatus]
        running  Unreachable  []
        running  Finished     [WriteStatus]
        running  Failed       [WriteStatus]
        running  Killed       [WriteStatus]
        running  Invalid      [End { succeeded: false, reason: "TaskInvalid" }]
        running  NeverStarted [End { succeeded: false, reason: "NodeLost" }]
        running  Gone         [End { succeeded: false, reason: "NodeLost" }]
        running  Unknown      [End { succeeded: false, reason: "NodeLost" }]
        ended    Alive        [Kill]
        ended    Unreachable  []
        ended    Finished     []
        ended    Failed       []
        ended    Killed       []
        ended    Invalid      []
        ended    NeverStarted []
        ended    Gone         []
        ended    Unknown      []
        deleting Alive        [WriteStatus, Kill]
        deleting Unreachable  []
        deleting Finished     [WriteStatus, Remove]
        deleting Failed       [WriteStatus, Remove]
        deleting Killed       [WriteStatus, Remove]
        deleting Invalid      [Remove]
        deleting NeverStarted [Remove]
        deleting Gone         [Remove]
        deleting Unknown      [Remove]
    "#]]
    .assert_eq(&out);
}

#[test]
fn the_node_in_the_api_prevails() {
    let task = TaskView { observed: ObservedTaskState::Alive, node: Some("m"), has_status: true };
    let pod = PodView { node: Some("n"), ended: false, started: false, deleting: false };
    assert_eq!(resolve_task_status(task, Some(pod)), [Step::Kill]);
}

#[test]
fn a_report_of_an_earlier_launch_changes_nothing() {
    let pod = PodView { node: Some("n"), ended: false, started: true, deleting: false };
    for known in [
        ObservedTaskState::NeverStarted,
        ObservedTaskState::Unknown,
        ObservedTaskState::Gone,
        ObservedTaskState::Killed,
        ObservedTaskState::Invalid,
    ] {
        let task = TaskView { observed: known, node: Some("another"), has_status: false };
        assert_eq!(resolve_task_status(task, Some(pod)), [], "{known:?}");
    }
}

#[test]
fn a_pod_that_is_deleted_before_it_is_bound_runs_nowhere() {
    use ObservedTaskState::*;
    let pod = PodView { node: None, ended: false, started: false, deleting: true };
    for (observed, steps) in [
        (Alive, vec![Step::Kill]),
        (Unreachable, vec![]),
        (Killed, vec![Step::Remove]),
        (Unknown, vec![Step::Remove]),
        (Invalid, vec![Step::Remove]),
    ] {
        let task = TaskView { observed, node: Some("n"), has_status: false };
        assert_eq!(resolve_task_status(task, Some(pod)), steps, "{observed:?}");
    }
}

/// The agent is known before its Node: this does not cause a launch elsewhere.
#[test]
fn a_task_on_an_unknown_node_is_reconciled_again() {
    use ObservedTaskState::*;
    let pod = PodView { node: None, ended: false, started: false, deleting: false };
    let resolve =
        |observed| resolve_task_status(TaskView { observed, node: None, has_status: false }, Some(pod));
    assert_eq!(resolve(Alive), []);
    assert_eq!(resolve(Unreachable), []);
    assert_eq!(resolve(Finished), [Step::End { succeeded: true, reason: "Completed" }]);
    assert_eq!(resolve(Unknown), [Step::Forget]);
}
