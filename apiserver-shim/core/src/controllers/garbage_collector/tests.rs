//! Who goes, and who waits for whom.

use expect_test::{Expect, expect};

use super::*;
use crate::{controllers::served, rows::Key};

fn target(name: &str) -> Target {
    Target { resource: served("", "configmaps"), key: Key::new("ns", name), uid: name.to_owned() }
}

fn check(
    deleting: bool,
    finalizers: &[&str],
    owners: &[OwnerState],
    dependents: &[(bool, bool)],
    expected: Expect,
) {
    let finalizers: Vec<String> = finalizers.iter().map(|s| (*s).to_owned()).collect();
    let names = ["a", "b", "c"];
    let owners = owners.iter().zip(names).map(|(state, uid)| Owner { uid, state: *state }).collect();
    let dependents = dependents
        .iter()
        .map(|(blocks, deleting)| Dependent {
            target: target("dep"),
            blocks: *blocks,
            deleting_dependents: *deleting,
            deleting: *deleting,
        })
        .collect();
    let plan =
        reconcile(&Snapshot { target: target("o"), deleting, finalizers: &finalizers, owners, dependents });
    let text: Vec<String> = plan
        .actions
        .iter()
        .map(|a| match a {
            Action::Change { target, changes, .. } => format!("{} {changes:?}", target.uid),
            Action::Delete { target, propagation, .. } => format!("{} delete {propagation:?}", target.uid),
            Action::Create { .. } => "create".to_owned(),
        })
        .collect();
    expected.assert_eq(&text.join("; "));
}

#[test]
fn verdicts() {
    use OwnerState::*;
    check(false, &[], &[], &[], expect![""]);
    check(false, &[], &[Solid], &[], expect![""]);
    check(false, &[], &[Absent], &[], expect!["o delete Background"]);
    check(false, &[], &[Solid, Absent], &[], expect![[r#"o [RemoveOwners(["b"])]"#]]);
    check(false, &[], &[Waiting], &[], expect!["o delete Background"]);
    check(false, &[], &[Waiting], &[(true, false)], expect!["o delete Foreground"]);
    check(false, &[], &[Waiting], &[(true, true)], expect!["o [UnblockOwners]; o delete Foreground"]);
    check(false, &[ORPHAN], &[Absent], &[], expect!["o delete Orphan"]);
    check(true, &[], &[Absent], &[], expect![""]);
    check(
        true,
        &[ORPHAN],
        &[],
        &[(true, false)],
        expect![[r#"dep [RemoveOwners(["o"])]; o [RemoveFinalizer("orphan")]"#]],
    );
    check(true, &[FOREGROUND], &[], &[(true, false)], expect![""]);
    check(
        true,
        &[FOREGROUND],
        &[],
        &[(false, false)],
        expect![[r#"o [RemoveFinalizer("foregroundDeletion")]"#]],
    );
}
