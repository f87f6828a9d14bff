//! Field validation with `fieldValidation=Strict`: unknown and repeated fields of built-in and custom objects.

use http::Method;
use serde_json::{Value, json};

use crate::{
    Test,
    client::{Answer, Api},
    definitions::{Definition, anything},
};

pub const TESTS: &[Test] = &[
    ("custom_object_without_a_schema", custom_object_without_a_schema),
    ("valid_custom_object", valid_custom_object),
    ("unknown_field_of_a_custom_object", unknown_field_of_a_custom_object),
    ("repeated_field_of_a_custom_object", repeated_field_of_a_custom_object),
    ("unknown_and_repeated_field_of_a_deployment", unknown_and_repeated_field_of_a_deployment),
    ("unknown_metadata_of_a_custom_object", unknown_metadata_of_a_custom_object),
    ("unknown_metadata_of_a_deployment", unknown_metadata_of_a_deployment),
];

const STRICT: &str = "fieldManager=tests&fieldValidation=Strict";

/// A schema of what a thing specifies, with or without unknown fields.
fn schema(preserving: bool) -> Value {
    let port = json!({
        "type": "object", "required": ["containerPort", "protocol"],
        "properties": {
            "containerPort": {"type": "integer", "format": "int32"},
            "protocol": {"type": "string"},
            "name": {"type": "string"},
        },
    });
    let mut spec = json!({
        "type": "object",
        "properties": {
            "text": {"type": "string"},
            "times": {"type": "string", "pattern": "^[0-9*/]+( [0-9*/]+){4}$"},
            "ports": {
                "type": "array", "items": port,
                "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["containerPort", "protocol"],
            },
            "part": {
                "type": "object", "x-kubernetes-embedded-resource": true,
                "properties": {
                    "metadata": {"type": "object", "properties": {"name": {"type": "string"}}},
                    "spec": {"type": "object"},
                },
            },
        },
    });
    if preserving {
        spec["x-kubernetes-preserve-unknown-fields"] = json!(true);
    }
    json!({"type": "object", "properties": {"spec": spec}})
}

/// Applies YAML as the thing `one`, in strict validation.
fn applies(api: &Api, schema: Value, metadata: &str, root: &str, spec: &str) -> anyhow::Result<Answer> {
    let namespace = api.namespace("strict")?;
    let definition = Definition::of_things(api, schema)?;
    let yaml = format!(
        "apiVersion: {}/v1\nkind: Thing\nmetadata:\n  name: one\n{metadata}{root}spec:\n  text: some\n{spec}  times: '* * * * */5'\n  \
         ports:\n  - name: x\n    containerPort: 80\n    protocol: TCP\n",
        definition.group
    );
    let path = format!("{}/one?{STRICT}", definition.things("v1", &namespace.name));
    api.call(Method::PATCH, &path, &[("content-type", "application/apply-patch+yaml")], yaml)
}

fn custom_object_without_a_schema(api: &Api) -> anyhow::Result<()> {
    applies(api, anything(), "", "unknown: field\n", "  more: unknown\n")?.with(201).map(drop)
}

fn valid_custom_object(api: &Api) -> anyhow::Result<()> {
    applies(api, schema(false), "", "", "")?.with(201).map(drop)
}

fn unknown_field_of_a_custom_object(api: &Api) -> anyhow::Result<()> {
    let answer = applies(api, schema(false), "", "unknownField: unknown\n", "")?;
    answer.refused(500, &[".unknownField: field not declared in schema"]).map(drop)
}

fn repeated_field_of_a_custom_object(api: &Api) -> anyhow::Result<()> {
    let answer = applies(api, schema(true), "", "", "  unknown: one\n  text: other\n")?;
    answer.refused(400, &["line 8: key \"text\" already set in map"]).map(drop)
}

fn unknown_metadata_of_a_custom_object(api: &Api) -> anyhow::Result<()> {
    let part = "  part:\n    apiVersion: v1\n    kind: Part\n    metadata:\n      name: part\n      unknownOfPart: unknown\n";
    let answer = applies(api, schema(true), "", "", part)?;
    answer.refused(500, &[".spec.part.metadata.unknownOfPart: field not declared in schema"])?;
    let answer = applies(api, schema(true), "  unknownMeta: unknown\n", "", "")?;
    answer.refused(500, &[".metadata.unknownMeta: field not declared in schema"]).map(drop)
}

/// Creates a Deployment whose text has a mark replaced by these fields.
fn creates_deployment(api: &Api, metadata: &str, spec: &str) -> anyhow::Result<Answer> {
    let namespace = api.namespace("strict")?;
    let text = format!(
        r#"{{"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {{"name": "one"{metadata}}}, "spec": {{{spec}
        "selector": {{"matchLabels": {{"app": "some"}}}}, "template": {{"metadata": {{"labels": {{"app": "some"}}}},
        "spec": {{"containers": [{{"name": "main", "image": "some"}}]}}}}}}}}"#
    );
    let path = format!("{}?{STRICT}", namespace.path("apps/v1", "deployments"));
    api.call(Method::POST, &path, &[("content-type", "application/json")], text)
}

fn unknown_and_repeated_field_of_a_deployment(api: &Api) -> anyhow::Result<()> {
    let spec = r#""unknownField": "some", "replicas": 2, "replicas": 3,"#;
    let answer = creates_deployment(api, "", spec)?;
    let faults =
        "strict decoding error: unknown field \"spec.unknownField\", duplicate field \"spec.replicas\"";
    answer.refused(400, &[faults]).map(drop)
}

fn unknown_metadata_of_a_deployment(api: &Api) -> anyhow::Result<()> {
    let answer = creates_deployment(api, r#", "unknownMeta": "some""#, r#""replicas": 1,"#)?;
    answer.refused(400, &["strict decoding error: unknown field \"metadata.unknownMeta\""]).map(drop)
}
