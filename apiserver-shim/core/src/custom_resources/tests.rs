//! Tests of what a definition defines: rows, names and conditions.

use expect_test::expect;
use serde_json::json;
use shim_model::schema::Schema;

use super::conversion::RenameVersion;
use super::names::TakenNames;
use super::*;
use crate::kinds::{self, CreateContext, Subresource};
use shim_model::time::Instant;

const TIME: &str = "2026-11-29T12:00:00Z";

fn crd() -> Value {
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "widgets.example.com"},
        "spec": {
            "group": "example.com", "scope": "Namespaced", "conversion": {"strategy": "None"},
            "names": {"plural": "widgets", "singular": "widget", "kind": "Widget", "listKind": "WidgetList", "shortNames": ["wd"]},
            "versions": [
                {"name": "v1beta1", "served": true, "storage": false, "deprecated": true, "schema": {"openAPIV3Schema": {
                    "type": "object", "properties": {"spec": {"type": "object", "properties": {"size": {"type": "integer"}}}}}}},
                {"name": "v1", "served": true, "storage": true,
                    "schema": {"openAPIV3Schema": {"type": "object", "properties": {
                        "spec": {"type": "object", "properties": {
                            "size": {"type": "integer", "default": 1, "maximum": 10}, "color": {"type": "string"}}},
                        "status": {"type": "object", "properties": {"replicas": {"type": "integer"}, "phase": {"type": "string"}}}}}},
                    "subresources": {"status": {}, "scale": {"specReplicasPath": ".spec.size", "statusReplicasPath": ".status.replicas"}},
                    "additionalPrinterColumns": [
                        {"name": "Size", "type": "integer", "jsonPath": ".spec.size"},
                        {"name": "Phase", "type": "string", "jsonPath": ".status.phase", "priority": 1}],
                    "selectableFields": [{"jsonPath": ".spec.color"}]},
            ],
        },
        "status": {"storedVersions": ["v1"]},
    })
}

fn accepted() -> Value {
    let mut crd = crd();
    names::accept(&mut crd, &TakenNames::default(), TIME);
    crd
}

fn rows(crd: &Value) -> Vec<ResourceDefinition> {
    let scale = Schema::builtin().object_type(scale::KIND).expect("Scale is built in");
    let converter = |family: &Arc<Family>, version: &str| -> Arc<dyn Converter> {
        RenameVersion::new(family.clone(), version)
    };
    definitions(crd, Environment { converter: &converter, scale: &scale })
        .expect("the definition is servable")
}

const CONTEXT: CreateContext<'static> =
    CreateContext { namespace: "default", uid: "u", now: Instant(0), suffix: "", is_unlabelled: true };

fn widget(spec: Value) -> Value {
    json!({"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "a", "namespace": "default"}, "spec": spec})
}

#[test]
fn a_definition_has_a_row_for_each_version() {
    let rows = rows(&accepted());
    let versions: Vec<(&str, bool)> =
        rows.iter().map(|row| (row.version.as_str(), row.is_storage_version())).collect();
    assert_eq!(versions, [("v1", true), ("v1beta1", false)]);
    let (newer, older) = (&rows[0], &rows[1]);
    assert_eq!(
        (newer.plural.as_str(), newer.list_kind.as_str(), newer.namespaced),
        ("widgets", "WidgetList", true)
    );
    let names =
        |row: &ResourceDefinition| row.subresources.iter().map(|s| s.name.clone()).collect::<Vec<_>>();
    assert_eq!((names(newer), names(older)), (vec!["status".to_owned(), "scale".to_owned()], vec![]));
    let deprecation = older.custom.as_ref().and_then(|custom| custom.deprecation.clone());
    assert_eq!(
        deprecation.as_deref(),
        Some("example.com/v1beta1 Widget is deprecated; use example.com/v1 Widget")
    );
    let columns = |row: &ResourceDefinition| row.columns.iter().map(|c| c.name.clone()).collect::<Vec<_>>();
    assert_eq!(
        (columns(newer), columns(older)),
        (
            vec!["Name".to_owned(), "Size".to_owned(), "Phase".to_owned()],
            vec!["Name".to_owned(), "Age".to_owned()]
        )
    );
}

#[test]
fn a_definition_without_accepted_names_has_no_rows() {
    let scale = Schema::builtin().object_type(scale::KIND).expect("Scale is built in");
    let converter = |family: &Arc<Family>, version: &str| -> Arc<dyn Converter> {
        RenameVersion::new(family.clone(), version)
    };
    let refused = definitions(&crd(), Environment { converter: &converter, scale: &scale });
    assert_eq!(refused.map(drop), Err(NotServable::NoNames));
}

#[test]
fn objects_are_defaulted_validated_and_prepared() {
    let rows = rows(&accepted());
    let row = &rows[0];
    let mut object = widget(json!({"color": "red"}));
    object["status"] = json!({"phase": "Lies"});
    row.strategy().default(&mut object);
    kinds::begin_create(row, &mut object, &CONTEXT).expect("the object is valid");
    assert_eq!(object["spec"], json!({"color": "red", "size": 1}));
    assert_eq!((&object["metadata"]["generation"], object.get("status")), (&json!(1), None));
    let mut wrong = widget(json!({"size": 11}));
    let refused = kinds::begin_create(row, &mut wrong, &CONTEXT).expect_err("the size is too large");
    expect![[r#"Widget.example.com "a" is invalid: spec.size: Invalid value: 11: spec.size in body should be less than or equal to 10"#]]
        .assert_eq(&refused.message);
    let mut negative = widget(json!({"size": -1}));
    let refused = kinds::begin_create(row, &mut negative, &CONTEXT).expect_err("replicas are not negative");
    expect![[r#"Widget.example.com "a" is invalid: .spec.size: Invalid value: -1: should be a non-negative integer"#]]
        .assert_eq(&refused.message);
}

#[test]
fn the_generation_grows_with_everything_but_metadata_and_status() {
    let rows = rows(&accepted());
    let row = &rows[0];
    let mut old = widget(json!({"size": 1}));
    old["metadata"]["generation"] = 1.into();
    old["status"] = json!({"phase": "Ready"});
    let generation = |part, change: &dyn Fn(&mut Value)| {
        let mut new = old.clone();
        change(&mut new);
        kinds::begin_update(row, part, &mut new, &old).expect("the update is valid");
        (new["metadata"]["generation"].clone(), new["spec"]["size"].clone(), new["status"]["phase"].clone())
    };
    let wanted = |generation: i64, size: i64, phase: &str| (generation.into(), size.into(), phase.into());
    assert_eq!(generation(Subresource::Main, &|o| o["spec"]["size"] = 2.into()), wanted(2, 2, "Ready"));
    assert_eq!(generation(Subresource::Main, &|o| o["status"]["phase"] = "x".into()), wanted(1, 1, "Ready"));
    assert_eq!(
        generation(Subresource::Main, &|o| o["metadata"]["labels"] = json!({"a": "b"})),
        wanted(1, 1, "Ready")
    );
    let both = |o: &mut Value| {
        o["spec"]["size"] = 2.into();
        o["status"]["phase"] = "x".into();
    };
    assert_eq!(generation(Subresource::Status, &both), wanted(1, 1, "x"));
}

#[test]
fn stored_objects_are_restored_to_the_storage_version() {
    let rows = rows(&accepted());
    let mut object = json!({"apiVersion": "example.com/v1beta1", "kind": "Widget", "metadata": {"name": "a"}, "spec": {"size": 2, "old": 1}});
    assert!(rows[0].strategy().restore(&mut object));
    assert_eq!(
        object,
        json!({"apiVersion": "example.com/v1", "kind": "Widget",
        "metadata": {"name": "a", "generation": 1}, "spec": {"size": 2}})
    );
    assert!(!rows[0].strategy().restore(&mut object));
}

#[test]
fn nothing_is_created_while_the_definition_is_terminating() {
    let mut crd = accepted();
    conditions::set(&mut crd, &conditions::Condition::DELETION_PENDING, TIME);
    let rows = rows(&crd);
    let refused = kinds::begin_create(&rows[0], &mut widget(json!({})), &CONTEXT).expect_err("it terminates");
    expect![[r#"widgets.example.com "a" is forbidden: create not allowed while custom resource definition is terminating"#]]
        .assert_eq(&refused.message);
    let verbs: Vec<&str> = rows[0].discovered_verbs().iter().map(|verb| verb.as_str()).collect();
    assert_eq!(verbs, ["delete", "deletecollection", "get", "list", "watch"]);
}

#[test]
fn names_of_others_are_not_accepted() {
    let mut taken = TakenNames::default();
    let mut other = accepted();
    other["status"]["acceptedNames"] = json!({"plural": "gadgets", "singular": "gadget", "kind": "Widget", "listKind": "GadgetList", "shortNames": ["wd"]});
    taken.add_definition(&other);
    let mut refused = crd();
    names::accept(&mut refused, &taken, TIME);
    expect![[r#"{"acceptedNames":{"listKind":"WidgetList","plural":"widgets","singular":"widget"},"conditions":[{"lastTransitionTime":"2026-11-29T12:00:00Z","message":"\"Widget\" is already in use","reason":"KindConflict","status":"False","type":"NamesAccepted"},{"lastTransitionTime":"2026-11-29T12:00:00Z","message":"not all names are accepted","reason":"NotAccepted","status":"False","type":"Established"}],"storedVersions":["v1"]}"#]]
        .assert_eq(&refused["status"].to_string());
    names::accept(&mut refused, &TakenNames::default(), TIME);
    assert!(conditions::is_true(&refused, "NamesAccepted") && conditions::is_true(&refused, "Established"));
    let settled = refused.clone();
    names::accept(&mut refused, &TakenNames::default(), "2027-01-01T00:00:00Z");
    assert_eq!(refused, settled, "accepted names stay as they are");
}

#[test]
fn groups_of_the_project_need_an_approval() {
    let state = |group: &str, annotation: &str| {
        let mut crd = accepted();
        crd["spec"]["group"] = group.into();
        crd["metadata"]["annotations"] = json!({approval::ANNOTATION: annotation});
        conditions::set_approval(&mut crd, TIME);
        let found = conditions::find(&crd, "KubernetesAPIApprovalPolicyConformant");
        found
            .map(|c| format!("{} {}", c["status"].as_str().unwrap_or(""), c["reason"].as_str().unwrap_or("")))
    };
    assert_eq!(state("example.com", ""), None);
    assert_eq!(state("notk8s.io", ""), None);
    assert_eq!(state("x.k8s.io", "https://github.com/x").as_deref(), Some("True ApprovedAnnotation"));
    assert_eq!(state("x.kubernetes.io", "unapproved, a test").as_deref(), Some("False UnapprovedAnnotation"));
    assert_eq!(state("k8s.io", "").as_deref(), Some("False MissingAnnotation"));
    assert_eq!(state("k8s.io", "whatever").as_deref(), Some("False InvalidAnnotation"));
}
