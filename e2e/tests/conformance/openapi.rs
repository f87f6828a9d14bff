//! What is published about custom resources in OpenAPI documents, and what kubectl makes of it.

use std::{io::Write, thread, time::Duration};

use anyhow::{Context, bail, ensure};
use e2e::program::wait_for;
use serde_json::{Value, json};

use crate::{
    Test,
    client::{Api, DEADLINE, Namespace, Patch},
    definitions::{Definition, anything, things, unused_group},
};

pub const TESTS: &[Test] = &[
    ("version_that_is_no_longer_served", version_that_is_no_longer_served),
    ("renamed_version", renamed_version),
    ("unknown_fields_at_the_root", unknown_fields_at_the_root),
    ("unknown_fields_in_an_embedded_object", unknown_fields_in_an_embedded_object),
    ("schema_of_a_definition", schema_of_a_definition),
    ("definition_without_a_schema", definition_without_a_schema),
    ("several_groups", several_groups),
    ("several_kinds", several_kinds),
    ("several_versions", several_versions),
];

fn schema() -> Value {
    let part = json!({
        "type": "object", "required": ["name"],
        "properties": {
            "name": {"type": "string", "description": "How the part is called."},
            "age": {"type": "string", "description": "How old the part is."},
            "mood": {"type": "string", "description": "How the part feels.", "enum": ["Great", "Down"]},
            "holds": {"type": "array", "description": "Other parts.", "items": {"type": "string"}},
        },
    });
    json!({
        "type": "object", "description": "A thing of tests.",
        "properties": {
            "spec": {"type": "object", "description": "What is wanted.", "properties": {
                "parts": {"type": "array", "description": "All parts.", "items": part},
            }},
            "status": {"type": "object", "description": "What is there.", "properties": {
                "parts": {"type": "array", "description": "The names of the parts.", "items": {"type": "string"}},
            }},
        },
    })
}

fn other_schema() -> Value {
    json!({
        "type": "object", "description": "Another thing of tests.",
        "properties": {"dummy": {"type": "string", "description": "A field."}},
    })
}

/// The name of a definition in the document: the group's labels in reverse order, version and kind.
fn key(group: &str, version: &str, kind: &str) -> String {
    let reversed: Vec<&str> = group.rsplit('.').collect();
    format!("{}.{version}.{kind}", reversed.join("."))
}

fn definitions(api: &Api) -> anyhow::Result<Value> {
    Ok(api.get("/openapi/v2")?.ok()?["definitions"].take())
}

/// Waits until the document has the definition with at least what the schema says.
fn is_published(api: &Api, key: &str, schema: &Value) -> anyhow::Result<Value> {
    let found = wait_for(&format!("the definition {key}"), DEADLINE, || {
        let found = definitions(api)?[key].take();
        Ok((!found.is_null()).then_some(found))
    })?;
    crate::operations::contains(&found, schema).with_context(|| format!("{key}: {found}"))?;
    Ok(found)
}

fn is_withdrawn(api: &Api, key: &str) -> anyhow::Result<()> {
    wait_for(&format!("the definition {key} to be gone"), DEADLINE, || {
        Ok(definitions(api)?[key].is_null().then_some(()))
    })
}

fn several_groups(api: &Api) -> anyhow::Result<()> {
    let first = Definition::create(api, &things(&unused_group(), &[("v1", schema())]))?;
    let second = Definition::create(api, &things(&unused_group(), &[("v1beta1", other_schema())]))?;
    is_published(api, &key(&first.group, "v1", "Thing"), &schema())?;
    is_published(api, &key(&second.group, "v1beta1", "Thing"), &other_schema()).map(drop)
}

fn several_versions(api: &Api) -> anyhow::Result<()> {
    let group = unused_group();
    let both = Definition::create(api, &things(&group, &[("v2", schema()), ("v3", schema())]))?;
    for version in ["v2", "v3"] {
        is_published(api, &key(&group, version, "Thing"), &schema())?;
    }
    drop(both);
    is_withdrawn(api, &key(&group, "v2", "Thing"))
}

fn several_kinds(api: &Api) -> anyhow::Result<()> {
    let group = unused_group();
    let first = Definition::create(api, &things(&group, &[("v1", schema())]))?;
    let mut other = things(&group, &[("v1", other_schema())]);
    other["metadata"]["name"] = json!(format!("items.{group}"));
    other["spec"]["names"] =
        json!({"plural": "items", "singular": "item", "kind": "Item", "listKind": "ItemList"});
    let second = Definition::create(api, &other)?;
    is_published(api, &key(&group, "v1", "Thing"), &schema())?;
    is_published(api, &key(&group, "v1", "Item"), &other_schema())?;
    drop((first, second));
    is_withdrawn(api, &key(&group, "v1", "Item"))
}

fn renamed_version(api: &Api) -> anyhow::Result<()> {
    let group = unused_group();
    let definition = Definition::create(api, &things(&group, &[("v2", schema()), ("v3", schema())]))?;
    is_published(api, &key(&group, "v3", "Thing"), &schema())?;
    let before = definitions(api)?[key(&group, "v2", "Thing")].take();
    let patch = json!([{"op": "replace", "path": "/spec/versions/1/name", "value": "v4"}]);
    api.patch(&definition.path, Patch::Json, &patch)?.ok()?;
    is_published(api, &key(&group, "v4", "Thing"), &schema())?;
    is_withdrawn(api, &key(&group, "v3", "Thing"))?;
    let after = definitions(api)?[key(&group, "v2", "Thing")].take();
    ensure!(before == after, "the other version has changed: {before} to {after}");
    Ok(())
}

fn version_that_is_no_longer_served(api: &Api) -> anyhow::Result<()> {
    let group = unused_group();
    let definition = Definition::create(api, &things(&group, &[("v5", schema()), ("v6", schema())]))?;
    is_published(api, &key(&group, "v6", "Thing"), &schema())?;
    let patch = json!([{"op": "replace", "path": "/spec/versions/1/served", "value": false}]);
    api.patch(&definition.path, Patch::Json, &patch)?.ok()?;
    is_withdrawn(api, &key(&group, "v6", "Thing"))?;
    is_published(api, &key(&group, "v5", "Thing"), &schema()).map(drop)
}

/// kubectl with an object in a file: whether it succeeded, and what it printed.
fn with_file(
    api: &Api,
    namespace: &Namespace<'_>,
    verb: &str,
    object: &Value,
) -> anyhow::Result<(bool, String)> {
    let mut file = tempfile::Builder::new().suffix(".json").tempfile()?;
    file.write_all(object.to_string().as_bytes())?;
    let path = file.path().to_string_lossy();
    let output = api.cluster.try_kubectl(&["--namespace", &namespace.name, verb, "-f", &path])?;
    Ok((output.status.success(), output.stdout + &output.stderr))
}

fn accepts(api: &Api, namespace: &Namespace<'_>, object: &Value, resource: &str) -> anyhow::Result<()> {
    for verb in ["create", "apply"] {
        let (done, output) = with_file(api, namespace, verb, object)?;
        ensure!(done, "kubectl {verb}: {output}");
        let name = crate::client::name(object);
        api.kubectl(&["--namespace", &namespace.name, "delete", resource, name])?;
    }
    Ok(())
}

fn refuses(api: &Api, namespace: &Namespace<'_>, object: &Value, part: &str) -> anyhow::Result<()> {
    for verb in ["create", "apply"] {
        let (done, output) = with_file(api, namespace, verb, object)?;
        ensure!(!done && output.contains(part), "kubectl {verb} printed no {part:?}: {output}");
    }
    Ok(())
}

/// `kubectl explain` prints these parts, in this order. Its document may be a moment old.
fn explains(api: &Api, definition: &Definition<'_>, what: &str, parts: &[&str]) -> anyhow::Result<()> {
    const ATTEMPTS: u32 = 20;
    let version = format!("--api-version={}/v1", definition.group);
    let mut output = String::new();
    for _ in 0..ATTEMPTS {
        let printed = api.cluster.try_kubectl(&["explain", &version, what])?;
        output = printed.stdout + &printed.stderr;
        let mut rest = output.as_str();
        let in_order = parts.iter().all(|part| match rest.split_once(part) {
            Some((_, after)) => {
                rest = after;
                true
            }
            None => false,
        });
        if in_order {
            return Ok(());
        }
        thread::sleep(Duration::from_millis(500));
    }
    bail!("kubectl explain {what} prints not {parts:?} but {output}")
}

fn schema_of_a_definition(api: &Api) -> anyhow::Result<()> {
    let namespace = api.namespace("openapi")?;
    let definition = Definition::of_things(api, schema())?;
    is_published(api, &key(&definition.group, "v1", "Thing"), &schema())?;
    let resource = format!("things.{}", definition.group);
    let thing = |spec: Value| definition.thing("one", json!({"spec": spec}));
    accepts(api, &namespace, &thing(json!({"parts": [{"name": "some"}]})), &resource)?;
    let mood = thing(json!({"parts": [{"name": "some", "mood": "Odd"}]}));
    refuses(api, &namespace, &mood, "Unsupported value: \"Odd\"")?;
    refuses(api, &namespace, &thing(json!({"wheels": true})), "unknown field \"spec.wheels\"")?;
    let nameless = thing(json!({"parts": [{"age": "10"}]}));
    refuses(api, &namespace, &nameless, "spec.parts[0].name: Required value")?;
    let fields =
        ["DESCRIPTION:", "A thing of tests.", "FIELDS:", "apiVersion", "<string>", "spec", "<Object>"];
    explains(api, &definition, "things", &fields)?;
    explains(
        api,
        &definition,
        "things.metadata",
        &["DESCRIPTION:", "FIELDS:", "creationTimestamp", "<string>"],
    )?;
    explains(api, &definition, "things.spec", &["What is wanted.", "parts", "<[]Object>", "All parts."])?;
    let parts = ["All parts.", "age", "<string>", "How old the part is.", "name", "<string> -required-"];
    explains(api, &definition, "things.spec.parts", &parts)?;
    let version = format!("--api-version={}/v1", definition.group);
    let unknown = api.cluster.try_kubectl(&["explain", &version, "things.spec.parts2"])?;
    ensure!(!unknown.status.success() && unknown.stderr.contains("does not exist"), "{unknown:?}");
    Ok(())
}

fn definition_without_a_schema(api: &Api) -> anyhow::Result<()> {
    let namespace = api.namespace("openapi")?;
    let definition = Definition::of_things(api, anything())?;
    let resource = format!("things.{}", definition.group);
    is_published(api, &key(&definition.group, "v1", "Thing"), &json!({}))?;
    let object = definition.thing("one", json!({"a": {"b": "c"}}));
    accepts(api, &namespace, &object, &resource)?;
    explains(api, &definition, "things", &["KIND:", "Thing", "DESCRIPTION:", "<empty>"])
}

fn unknown_fields_at_the_root(api: &Api) -> anyhow::Result<()> {
    let namespace = api.namespace("openapi")?;
    let mut schema = schema();
    schema["x-kubernetes-preserve-unknown-fields"] = json!(true);
    let definition = Definition::of_things(api, schema)?;
    let resource = format!("things.{}", definition.group);
    is_published(api, &key(&definition.group, "v1", "Thing"), &json!({}))?;
    let object = definition.thing("one", json!({"spec": {"parts": [{"name": "some"}]}, "a": {"b": "c"}}));
    accepts(api, &namespace, &object, &resource)?;
    explains(api, &definition, "things", &["KIND:", "Thing"])
}

fn unknown_fields_in_an_embedded_object(api: &Api) -> anyhow::Result<()> {
    let namespace = api.namespace("openapi")?;
    let preserving =
        json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true, "description": "Open."});
    let properties =
        json!({"spec": preserving, "status": {"type": "object", "properties": {"a": {"type": "string"}}}});
    let schema =
        json!({"type": "object", "description": "A thing with an open part.", "properties": properties});
    let definition = Definition::of_things(api, schema.clone())?;
    let resource = format!("things.{}", definition.group);
    let found = is_published(api, &key(&definition.group, "v1", "Thing"), &json!({}))?;
    ensure!(found["description"] == schema["description"], "{found}");
    let object = definition.thing("one", json!({"spec": {"a": null, "b": [{"c": "d"}]}}));
    accepts(api, &namespace, &object, &resource)?;
    explains(
        api,
        &definition,
        "things",
        &["DESCRIPTION:", "A thing with an open part.", "FIELDS:", "spec", "<Object>", "Open."],
    )
}
