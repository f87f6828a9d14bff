//! CustomResourceDefinitions, and the objects that they define.

use anyhow::{Context, ensure};
use serde_json::json;

use crate::{
    Test,
    client::{Api, Patch, name},
    definitions::{DEFINITIONS, Definition, anything, things, unused_group},
    operations::resource,
};

pub const TESTS: &[Test] = &[
    ("objects_are_watched", objects_are_watched),
    ("definition_is_created_and_deleted", definition_is_created_and_deleted),
    ("definitions_are_listed_and_deleted_together", definitions_are_listed_and_deleted_together),
    ("status_of_a_definition_is_written", status_of_a_definition_is_written),
    ("defaults_for_requests_and_from_the_store", defaults_for_requests_and_from_the_store),
    ("definitions_are_in_discovery", definitions_are_in_discovery),
];

fn objects_are_watched(api: &Api) -> anyhow::Result<()> {
    let namespace = api.namespace("custom")?;
    let definition = Definition::of_things(api, anything())?;
    let things = definition.things("v1", &namespace.name);
    let watches = ["a", "b"].map(|name| api.watch(&format!("{things}?fieldSelector=metadata.name%3D{name}")));
    let [a, b] = watches;
    let (a, b) = (a?, b?);
    for name in ["a", "b"] {
        api.create(&things, &definition.thing(name, json!({"content": {"key": "value"}})))?.with(201)?;
        api.merge(&format!("{things}/{name}"), &json!({"content": {"key": "changed"}}))?;
        api.delete(&format!("{things}/{name}"))?.ok()?;
    }
    for (watch, expected) in [(a, "a"), (b, "b")] {
        let added = watch.expect("ADDED")?;
        ensure!(name(&added) == expected, "{added}");
        let changed = watch.expect("MODIFIED")?;
        ensure!(changed["content"]["key"] == "changed", "{changed}");
        watch.expect("DELETED")?;
    }
    Ok(())
}

fn definition_is_created_and_deleted(api: &Api) -> anyhow::Result<()> {
    let definition = Definition::of_things(api, anything())?;
    api.delete(&definition.path)?.ok()?;
    api.wait_gone(&definition.path)
}

fn definitions_are_listed_and_deleted_together(api: &Api) -> anyhow::Result<()> {
    const COUNT: usize = 5;
    let label = unused_group();
    let mut definitions = Vec::new();
    for _ in 0..COUNT {
        let mut definition = things(&unused_group(), &[("v1", anything())]);
        definition["metadata"]["labels"] = json!({"listed": label});
        definitions.push(Definition::create(api, &definition)?);
    }
    let selected = format!("{DEFINITIONS}?labelSelector=listed%3D{label}");
    ensure!(api.list(&selected)?.len() == COUNT, "not all are listed");
    api.delete(&selected)?.ok()?;
    for definition in &definitions {
        api.wait_gone(&definition.path)?;
    }
    ensure!(api.list(&selected)?.is_empty(), "some are left");
    Ok(())
}

fn status_of_a_definition_is_written(api: &Api) -> anyhow::Result<()> {
    let definition = Definition::of_things(api, anything())?;
    let status = format!("{}/status", definition.path);
    let read = api.get(&status)?.ok()?;
    ensure!(read["spec"]["names"] == definition.created["spec"]["names"], "{read}");
    let condition = |kind: &str| json!({"type": kind, "status": "True", "reason": "Test", "message": kind, "lastTransitionTime": null});
    let updated = api.change(&status, |definition| {
        if let Some(conditions) = definition["status"]["conditions"].as_array_mut() {
            conditions.push(condition("Updated"));
        }
    })?;
    let conditions = updated["status"]["conditions"].as_array().context("conditions")?;
    ensure!(conditions.iter().any(|condition| condition["message"] == "Updated"), "{updated}");
    let patch = json!([{"op": "add", "path": "/status/conditions", "value": [condition("Patched")]}]);
    let patched = api.patch(&status, Patch::Json, &patch)?.ok()?;
    ensure!(patched["status"]["conditions"][0]["message"] == "Patched", "{patched}");
    Ok(())
}

fn defaults_for_requests_and_from_the_store(api: &Api) -> anyhow::Result<()> {
    let namespace = api.namespace("custom")?;
    let schema = json!({"type": "object", "properties": {"a": {"type": "string"}, "b": {"type": "string"}}});
    let definition = Definition::of_things(api, schema)?;
    let things = definition.things("v1", &namespace.name);
    let created = api.create(&things, &definition.thing("first", json!({})))?.with(201)?;
    ensure!(created["a"].is_null(), "{created}");
    let default_of =
        |property: &str| format!("/spec/versions/0/schema/openAPIV3Schema/properties/{property}/default");
    let patch = json!([{"op": "add", "path": default_of("a"), "value": "A"}]);
    api.patch(&definition.path, Patch::Json, &patch)?.ok()?;
    let first = format!("{things}/first");
    api.wait(&first, "a default for what is stored", |thing| thing["a"] == "A")?;
    let second = api.create(&things, &definition.thing("second", json!({})))?.with(201)?;
    ensure!(second["a"] == "A" && second["b"].is_null(), "{second}");
    let patch = json!([
        {"op": "add", "path": default_of("b"), "value": "B"},
        {"op": "remove", "path": default_of("a")},
    ]);
    api.patch(&definition.path, Patch::Json, &patch)?.ok()?;
    let first = api.wait(&first, "the other default", |thing| thing["b"] == "B")?;
    ensure!(first["a"].is_null(), "a default that was never written has become part of it: {first}");
    let second = api.get(&format!("{things}/second"))?.ok()?;
    ensure!(second["a"] == "A" && second["b"] == "B", "{second}");
    Ok(())
}

fn definitions_are_in_discovery(api: &Api) -> anyhow::Result<()> {
    let groups = api.get("/apis")?.ok()?;
    let mut listed = groups["groups"].as_array().context("groups")?.iter();
    let found = listed.find(|group| group["name"] == "apiextensions.k8s.io").context("not in /apis")?;
    ensure!(found["versions"][0]["groupVersion"] == "apiextensions.k8s.io/v1", "{found}");
    let group = api.get("/apis/apiextensions.k8s.io")?.ok()?;
    ensure!(group["versions"][0]["version"] == "v1", "{group}");
    resource(api, "apiextensions.k8s.io/v1", "customresourcedefinitions").map(drop)
}
