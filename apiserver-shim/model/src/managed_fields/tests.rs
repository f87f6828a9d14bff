//! Tests of the managed fields after creates and updates.

use super::*;
use crate::resource::builtin;
use crate::schema::Type;
use crate::schema::testing::{object_type, schema};
use expect_test::{Expect, expect};
use proptest::prelude::*;
use serde_json::{Map, json};
use std::sync::LazyLock;

fn writer<'a>(manager: &'a str, subresource: &'a str, seconds: i64) -> Writer<'a> {
    static POD: LazyLock<ObjectType> = LazyLock::new(|| object_type("", "v1", "Pod"));
    let exclude: &[&[&str]] = if subresource == "status" { &[&["spec"]] } else { &[&["status"]] };
    let reset = ResetFields { exclude };
    let now = Instant::from_seconds(seconds);
    Writer { manager, ty: &POD, subresource, now, reset, versions: &OneVersion }
}

fn check(object: &Value, expect: Expect) {
    let lines: Vec<String> = access::list(object, &["metadata", "managedFields"])
        .iter()
        .map(|e| {
            format!(
                "{} {} {} {}",
                access::text(e, &["manager"]),
                access::text(e, &["subresource"]),
                access::text(e, &["time"]),
                e["fieldsV1"]
            )
        })
        .collect();
    expect.assert_eq(&lines.join("\n"));
}

#[test]
fn create_update_and_status() {
    let mut pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "labels": {"a": "b"}, "finalizers": ["x/y"]},
        "spec": {"containers": [{"name": "c", "image": "i", "resources": {}, "ports": [{"containerPort": 1, "protocol": "TCP"}], "args": ["a"]}], "securityContext": {}, "nodeSelector": {"x": "y"}}, "status": {"phase": "Pending"}});
    record_update(None, &mut pod, writer("one", "", 1));
    check(
        &pod,
        expect![[
            r#"one  1970-01-01T00:00:01Z {"f:metadata":{"f:finalizers":{".":{},"v:\"x/y\"":{}},"f:labels":{".":{},"f:a":{}}},"f:spec":{"f:containers":{"k:{\"name\":\"c\"}":{".":{},"f:args":{},"f:image":{},"f:name":{},"f:ports":{".":{},"k:{\"containerPort\":1,\"protocol\":\"TCP\"}":{".":{},"f:containerPort":{},"f:protocol":{}}},"f:resources":{}}},"f:nodeSelector":{},"f:securityContext":{}}}"#
        ]],
    );
    let old = pod.clone();
    pod["spec"]["containers"][0]["image"] = "j".into();
    pod["metadata"]["labels"] = json!({});
    access::remove(&mut pod, &["metadata", "labels"]);
    record_update(Some(&old), &mut pod, writer("two", "", 2));
    let old = pod.clone();
    pod["status"]["message"] = "m".into();
    record_update(Some(&old), &mut pod, writer("two", "status", 3));
    check(
        &pod,
        expect![[r#"
            one  1970-01-01T00:00:01Z {"f:metadata":{"f:finalizers":{".":{},"v:\"x/y\"":{}}},"f:spec":{"f:containers":{"k:{\"name\":\"c\"}":{".":{},"f:args":{},"f:name":{},"f:ports":{".":{},"k:{\"containerPort\":1,\"protocol\":\"TCP\"}":{".":{},"f:containerPort":{},"f:protocol":{}}},"f:resources":{}}},"f:nodeSelector":{},"f:securityContext":{}}}
            two  1970-01-01T00:00:02Z {"f:spec":{"f:containers":{"k:{\"name\":\"c\"}":{"f:image":{}}}}}
            two status 1970-01-01T00:00:03Z {"f:status":{"f:message":{}}}"#]],
    );
    let old = pod.clone();
    record_update(Some(&old), &mut pod, writer("three", "", 4));
    assert_eq!(old, pod, "an update that changes nothing records nothing");
    pod["metadata"]["managedFields"] = json!([]);
    record_update(Some(&old), &mut pod, writer("three", "", 5));
    check(&pod, expect![[""]]);
}

#[test]
fn times_are_kept_in_any_order_if_nothing_else_differs() {
    let entry = |manager: &str, time: &str| json!({"manager": manager, "operation": "Apply", "time": time});
    let object = |entries: [Value; 2]| json!({"metadata": {"name": "p", "managedFields": entries}});
    let old = object([entry("one", "1"), entry("two", "1")]);
    let mut new = object([entry("two", "1"), entry("one", "2")]);
    keep_times(&old, &mut new);
    assert_eq!(new, old);
    let other = object([entry("three", "1"), entry("one", "2")]);
    let mut new = other.clone();
    keep_times(&old, &mut new);
    assert_eq!(new, other);
}

/// An update of fields that the writer owns already takes a short cut, whose result is that of the long way.
#[test]
fn fields_that_are_set_again_change_the_time_only() {
    let mut pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "labels": {"a": "b"}},
        "spec": {"containers": [{"name": "c", "image": "i"}]}});
    record_update(None, &mut pod, writer("one", "", 1));
    let old = pod.clone();
    pod["metadata"]["labels"]["theirs"] = "1".into();
    record_update(Some(&old), &mut pod, writer("two", "", 2));
    type Edit = fn(&mut Value);
    let cases: [(&str, Edit, bool); 8] = [
        ("one", |pod| pod["metadata"]["labels"]["a"] = "c".into(), true),
        ("one", |pod| pod["spec"]["containers"][0]["image"] = "j".into(), true),
        ("two", |pod| pod["metadata"]["labels"]["theirs"] = "2".into(), true),
        ("one", |pod| pod["metadata"]["labels"]["theirs"] = "2".into(), false),
        ("two", |pod| pod["metadata"]["labels"]["a"] = "c".into(), false),
        ("one", |pod| pod["metadata"]["labels"]["new"] = "1".into(), false),
        ("one", |pod| drop(access::remove(pod, &["metadata", "labels", "a"])), false),
        ("one", |_| {}, false),
    ];
    for (manager, edit, is_short) in cases {
        let stored = access::list(&pod, &["metadata", "managedFields"]);
        let mut new = pod.clone();
        access::remove(&mut new, &["metadata", "managedFields"]);
        edit(&mut new);
        let short =
            set_again(stored, &compare(&object_type("", "v1", "Pod"), &pod, &new), writer(manager, "", 3));
        assert_eq!(short.is_some(), is_short, "{manager} {new}");
        let known = entries::parse(stored).unwrap();
        match record((&pod, &new), None, (known, false), writer(manager, "", 3)) {
            Some(Recorded::Entries(long)) => assert!(short.is_none_or(|short| short == long), "{new}"),
            Some(Recorded::Unchanged) | None => assert!(short.is_none()),
        }
    }
}

#[test]
fn entries_are_bounded() {
    let mut pod =
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": {"containers": []}});
    for i in 0..20 {
        let old = pod.clone();
        access::object_mut(&mut pod, &["metadata", "labels"]).insert(format!("l{i}"), "x".into());
        record_update((i > 0).then_some(&old), &mut pod, writer(&format!("m{i:02}"), "", i));
    }
    let entries = access::list(&pod, &["metadata", "managedFields"]);
    assert_eq!(entries.len(), UPDATE_ENTRIES_MAX);
    assert_eq!(access::text(&entries[0], &["manager"]), "ancient-changes");
}

#[test]
fn manager_names() {
    assert_eq!(manager_name("", "kubectl/v1.36 (linux)"), "kubectl");
    assert_eq!(manager_name("", ""), "unknown");
    assert_eq!(manager_name("me", "kubectl/v1"), "me");
    assert_eq!(manager_name("", &"u".repeat(300)).len(), MANAGER_NAME_MAX);
}

/// A value that mostly fits the type, built from `choices`; when these are used up, values are empty.
fn value_of(ty: Type, choices: &mut impl Iterator<Item = u8>, depth: usize) -> Value {
    let Some(choice) = choices.next().filter(|_| depth < 12) else { return Value::Null };
    let tree = schema();
    match ty {
        _ if choice > 250 => json!({}),
        _ if choice > 245 => json!("odd"),
        Type::Struct(id) => {
            let fields = &tree.at(id).fields;
            let mut members = Map::new();
            for _ in 0..choice % 8 {
                let at = usize::from(choices.next().unwrap_or(0)) % fields.len().max(1);
                let Some(field) = fields.get(at) else { break };
                members.insert(field.name.clone(), value_of(field.ty, choices, depth + 1));
            }
            members.into()
        }
        Type::List(item) => (0..choice % 4).map(|_| value_of(tree.item(item), choices, depth + 1)).collect(),
        Type::Map(item) => {
            let key = |choice: Option<u8>| format!("k{}", choice.unwrap_or(0) % 3);
            let members: Map<_, _> = (0..choice % 4)
                .map(|_| (key(choices.next()), value_of(tree.item(item), choices, depth + 1)))
                .collect();
            members.into()
        }
        Type::Bool => (choice % 2 == 0).into(),
        Type::Int32 | Type::Int64 | Type::Float => (choice % 3).into(),
        _ => ["", "a", "b\"c"][usize::from(choice) % 3].into(),
    }
}

proptest! {
    #[test]
    fn created_fields_equal_the_difference_with_an_empty_object(
        resource in 0..builtin(schema()).len(),
        choices in proptest::collection::vec(any::<u8>(), 0..600),
        status in any::<bool>(),
    ) {
        let ty = &builtin(schema())[resource].object_type.clone();
        let object = value_of(Type::Struct(ty.root()), &mut choices.into_iter(), 0);
        let object = if object.is_object() { object } else { json!({}) };
        let reset = ResetFields { exclude: if status { &[&["spec"]] } else { &[] } };
        let mut changes = compare(ty, &json!({}), &object);
        changes.each(disown_system_fields);
        changes.each(|set| reset.filter(set));
        prop_assert!(changes.removed.is_empty());
        let fields = created::fields(ty, &object, reset);
        prop_assert_eq!(fields.is_none(), changes.changed().is_empty());
        prop_assert_eq!(fields.unwrap_or_else(|| json!({})), changes.changed().to_value());
    }
}

#[test]
fn nobody_owns_what_the_schema_of_a_custom_resource_does_not_describe() {
    let kind = crate::resource::KindRef { group: "e.com", version: "v1", kind: "W" };
    let definition = json!({"type": "object", "properties": {"spec": {"type": "object", "properties": {"d": {"type": "string"}}}}});
    let ty = crate::schema::Schema::structural(kind, definition).unwrap().object_type(kind).unwrap();
    let owners = |d: Value| {
        let mut object =
            json!({"apiVersion": "e.com/v1", "kind": "W", "metadata": {"name": "w"}, "spec": {"d": d}});
        let writer = Writer { ty: &ty, ..writer("m", "", 1) };
        record_update(None, &mut object, writer);
        object["metadata"].get("managedFields").is_some()
    };
    assert!(owners("x".into()) && owners(Value::Null) && !owners(json!(["x"])));
}

/// Takes a second; work for each pair of elements would take minutes.
#[test]
fn long_lists_are_applied_and_compared_without_looking_at_each_pair() {
    let kind = crate::resource::KindRef { group: "e.com", version: "v1", kind: "W" };
    let definition = json!({"type": "object", "properties": {
        "map": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"],
            "items": {"type": "object", "properties": {"k": {"type": "string"}, "v": {"type": "string"}}}},
        "set": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}}}});
    let ty = crate::schema::Schema::structural(kind, definition).unwrap().object_type(kind).unwrap();
    let object = |v: &str, from: usize| {
        // Not in the order of the identities.
        let names: Vec<String> = (from..from + 20_000).rev().map(|at| format!("x{at}")).collect();
        let map: Vec<Value> = names.iter().map(|name| json!({"k": name, "v": v})).collect();
        json!({"map": map, "set": names})
    };
    let (old, new) = (object("a", 0), object("b", 10_000));
    assert_eq!(validate::validate(&ty, &new), Ok(()));
    assert!(covers(&ty, &old, &old) && !covers(&ty, &old, &new));
    let merged = merge(&ty, &old, &new);
    assert_eq!(merged["map"].as_array().map(Vec::len), Some(30_000));
    assert_eq!(merged["set"].as_array().map(Vec::len), Some(30_000));
    assert_eq!(to_field_set(&ty, &new).paths().len(), 60_000 + 20_000);
    let changes = compare(&ty, &old, &new);
    assert_eq!(
        [&changes.added, &changes.modified, &changes.removed].map(|set| set.paths().len()),
        [30_000 + 10_000, 10_000, 30_000 + 10_000]
    );
}
