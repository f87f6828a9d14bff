//! The table of transitions.

use expect_test::expect;

use super::*;

#[test]
fn legal_transitions() {
    let line = |from: &TaskPhase| format!("{from:?} → {:?}", from.successors());
    let table: Vec<String> = TaskPhase::ALL.iter().map(line).collect();
    expect![[r#"
        Unscheduled → [Requested, Intended, Launched]
        Requested → [Unscheduled, Bound, Known, Ended]
        Intended → [Unscheduled, Requested, Launched]
        Launched → [Unscheduled, Requested, Binding, Bound]
        Binding → [Requested, Bound]
        Bound → [Unscheduled, Requested, Known, Ending, Ended]
        Known → [Unscheduled, Requested, Ending, Ended]
        Ending → [Requested, Ended]
        Ended → [Requested]"#]]
    .assert_eq(&table.join("\n"));
}

/// Nothing is sent before its intent is durable or the Pod is bound, and nothing is launched during reconciliation.
#[test]
fn a_launch_needs_an_intent_or_a_binding() {
    for from in TaskPhase::ALL {
        assert!(
            from == TaskPhase::Unscheduled
                || !from.may_become(TaskPhase::Intended)
                || from == TaskPhase::Intended
        );
        let sends = from.may_become(TaskPhase::Launched) && from != TaskPhase::Launched;
        assert!(!sends || matches!(from, TaskPhase::Unscheduled | TaskPhase::Intended), "{from:?}");
        assert!(from == TaskPhase::Unscheduled || from.may_become(TaskPhase::Requested));
    }
}
