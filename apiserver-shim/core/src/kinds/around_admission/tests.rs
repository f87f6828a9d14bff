//! Metadata before and after admission.

use serde_json::json;

use super::*;

#[test]
fn owner_references_that_occur_twice_are_removed_with_a_warning() {
    let owner = |uid: &str, name: &str| json!({"apiVersion": "v1", "kind": "Pod", "name": name, "uid": uid});
    let mut object =
        json!({"metadata": {"ownerReferences": [owner("1", "a"), owner("2", "b"), owner("1", "a")]}});
    let warning = deduplicate_owners(&mut object, true).expect("a warning");
    assert!(warning.contains("after mutating admission happens"), "{warning}");
    assert!(warning.ends_with("duplicate UID(s) observed: 1"), "{warning}");
    assert_eq!(object["metadata"]["ownerReferences"], json!([owner("1", "a"), owner("2", "b")]));
    assert_eq!(deduplicate_owners(&mut object, true), None);
    let mut other = json!({"metadata": {"ownerReferences": [owner("1", "a"), owner("1", "b")]}});
    assert_eq!(deduplicate_owners(&mut other, false), None, "only equal ones are duplicates");
}

/// Takes a moment; a comparison of each pair would take minutes.
#[test]
fn many_owner_references_are_compared_with_what_was_seen_and_not_with_each_other() {
    let owner = |at: usize| json!({"apiVersion": "v1", "kind": "Pod", "name": "a", "uid": at.to_string()});
    let owners: Vec<Value> = (0..30_000).chain([7]).map(owner).collect();
    let mut object = json!({"metadata": {"ownerReferences": owners}});
    let warning = deduplicate_owners(&mut object, false).expect("a warning");
    assert!(warning.ends_with("duplicate UID(s) observed: 7"), "{warning}");
    assert_eq!(access::list(&object, &OWNERS).len(), 30_000);
}

#[test]
fn invalid_managed_fields_are_restored_with_a_warning() {
    let entry = json!({"manager": "m", "operation": "Update", "apiVersion": "v1", "fieldsType": "FieldsV1",
        "fieldsV1": {"f:data": {}}});
    let before = json!([entry]);
    let with = |change: &dyn Fn(&mut Value)| {
        let mut changed = entry.clone();
        change(&mut changed);
        let mut object = json!({"metadata": {"managedFields": [entry, changed]}});
        let warning = restore_managed_fields(&mut object, Some(before.clone()));
        if warning.is_some() {
            assert_eq!(object["metadata"]["managedFields"], before);
        }
        warning.map(|text| text.split_once("requests: ").map_or(text.clone(), |(_, why)| why.to_owned()))
    };
    assert_eq!(with(&|_| {}), None);
    assert_eq!(
        with(&|e| e["operation"] = "Delete".into()).as_deref(),
        Some("operation must be `Apply` or `Update`")
    );
    assert_eq!(with(&|e| e["apiVersion"] = "".into()).as_deref(), Some("apiVersion must not be empty"));
    assert_eq!(
        with(&|e| e["fieldsType"] = "".into()).as_deref(),
        Some("missing fieldsType in managed fields entry 1")
    );
    assert_eq!(
        with(&|e| e["fieldsType"] = "F2".into()).as_deref(),
        Some("invalid fieldsType \"F2\" in managed fields entry 1")
    );
}

#[test]
fn a_new_object_has_its_namespace_and_nothing_of_the_servers() {
    let mut object =
        json!({"metadata": {"name": "a", "uid": "1", "creationTimestamp": "2026-01-01T00:00:00Z"}});
    let builtin = crate::definition::builtin();
    let resource = builtin.iter().find(|definition| definition.is("", "configmaps")).expect("it is served");
    begin_admission(resource, "ns", &mut object).expect("no error");
    assert_eq!(object, json!({"metadata": {"name": "a", "namespace": "ns"}}));
    let mut other = json!({"metadata": {"name": "a", "namespace": "other"}});
    assert!(begin_admission(resource, "ns", &mut other).is_err());
}
