//! Who goes, and who waits for whom.

use std::collections::BTreeSet;

use expect_test::{Expect, expect};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::{
    controllers::{
        served,
        tests::{NOW, advances},
    },
    rows::{Key, rfc3339},
    testing::TestCluster,
};

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
        })
        .collect();
    let plan = plan(&Snapshot { target: target("o"), deleting, finalizers: &finalizers, owners, dependents });
    let text: Vec<String> = plan
        .actions
        .iter()
        .map(|a| match a {
            Action::Change { target, changes, .. } => format!("{} {changes:?}", target.uid),
            Action::Delete { target, propagation, .. } => format!("{} delete {propagation:?}", target.uid),
            Action::Create { .. } => "create".to_owned(),
            Action::Apply { .. } => "apply".to_owned(),
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

/// One object: its owners (by number; some do not exist), whether its references block, its finalizers, whether and how
/// it is being deleted.
type Owned = (Vec<usize>, bool, bool, Option<u8>);

fn add_owned(cluster: &mut TestCluster, at: usize, (owners, blocks, held, deleting): &Owned) {
    let owners: BTreeSet<usize> = owners.iter().copied().filter(|n| *n != at).collect();
    let references: Vec<Value> = owners
        .iter()
        .map(|n| {
            json!({"apiVersion": "v1", "kind": "ConfigMap", "name": format!("o{n}"), "uid": format!("uid-{:04}", n + 1),
                "blockOwnerDeletion": blocks})
        })
        .collect();
    let mut object =
        json!({"metadata": {"name": format!("o{at}"), "namespace": "ns", "ownerReferences": references}});
    let mut finalizers = Vec::new();
    if *held {
        finalizers.push("example.com/held");
    }
    match deleting {
        Some(0) => finalizers.push(FOREGROUND),
        Some(1) => finalizers.push(ORPHAN),
        _ => {}
    }
    object["metadata"]["finalizers"] = json!(finalizers);
    if deleting.is_some() && !finalizers.is_empty() {
        object["metadata"]["deletionTimestamp"] = json!(rfc3339(NOW));
    }
    cluster.add(served("", "configmaps"), object);
}

fn reconcile_owned(cluster: &TestCluster, name: &str) -> Plan {
    cluster.reconcile(&GarbageCollector, &ObjectName::new(served("", "configmaps"), "ns", name))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// INV-52.
    #[test]
    fn second_reconcile_of_owned_objects(
        objects in proptest::collection::vec(
            (proptest::collection::vec(0usize..8, 0..3), any::<bool>(), any::<bool>(), proptest::option::weighted(0.4, 0u8..3)),
            1..7),
    ) {
        let mut cluster = TestCluster { now: NOW, ..TestCluster::default() };
        objects.iter().enumerate().for_each(|(at, o)| add_owned(&mut cluster, at, o));
        let names: Vec<String> = (0..objects.len()).map(|n| format!("o{n}")).collect();
        for _ in 0..20 {
            let mut busy = false;
            for name in &names {
                busy |= advances(&mut cluster, |cluster| reconcile_owned(cluster, name))?;
            }
            if !busy {
                return Ok(());
            }
        }
        prop_assert!(false, "does not come to an end: {:#?}", cluster.all("configmaps"));
    }
}
