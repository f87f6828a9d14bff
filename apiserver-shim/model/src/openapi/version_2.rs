//! OpenAPI v2: all documents in one, for clients without OpenAPI v3.

pub mod protobuf;

use super::{custom, document, document_paths};
use crate::resource::{Resource, split_api_version};
use serde_json::{Map, Value, json};

/// The OpenAPI v2 document of all `resources`.
pub fn document_2(resources: &[&Resource], server_version: &str) -> Value {
    let mut definitions = Map::new();
    let mut paths = Map::new();
    for path in document_paths(resources.iter().copied()) {
        let below = path.strip_prefix("apis/").or_else(|| path.strip_prefix("api/")).unwrap_or(&path);
        let (group, version) = split_api_version(below);
        let Some(mut newer) = document(resources.iter().copied(), group, version) else { continue };
        if let Value::Object(schemas) = newer["components"]["schemas"].take() {
            definitions.extend(schemas.into_iter().map(|(name, schema)| (name, older(schema))));
        }
        for resource in resources.iter().filter(|r| r.group == group && r.version == version) {
            if let Some(schema) = custom::version_2(resource) {
                definitions.insert(resource.object_type.name().to_owned(), schema);
            }
        }
        if let Value::Object(operations) = newer["paths"].take() {
            paths.extend(operations.into_iter().map(|(path, item)| (path, path_item(item))));
        }
    }
    json!({
        "swagger": "2.0",
        "info": {"title": "Kubernetes", "version": server_version},
        "paths": paths,
        "definitions": definitions,
        "securityDefinitions": {"BearerToken": {
            "description": "A bearer token.", "type": "apiKey", "name": "authorization", "in": "header"}},
        "security": [{"BearerToken": []}],
    })
}

/// An OpenAPI v2 document in protobuf.
pub fn encode_2(document: &Value) -> Vec<u8> {
    protobuf::encode(document)
}

/// Keywords whose members are schemas by name.
const NAMED: [&str; 2] = ["properties", "definitions"];

/// Whether alternatives are texts and numbers, for which v2 has a format. Others have no type in v2.
fn are_scalars(alternatives: &Value) -> bool {
    let scalar = |schema: &Value| matches!(schema["type"].as_str(), Some("string" | "integer" | "number"));
    alternatives.as_array().is_some_and(|all| all.iter().all(scalar))
}

/// Converts a schema to v2: references to `definitions`, no allOf around them, no alternatives.
fn older(schema: Value) -> Value {
    match schema {
        Value::Object(mut members) => {
            if let Some(Value::Array(wrapped)) = members.remove("allOf") {
                members.extend(
                    wrapped
                        .into_iter()
                        .filter_map(|w| match w {
                            Value::Object(inner) => Some(inner),
                            _ => None,
                        })
                        .flatten(),
                );
            }
            if let Some(alternatives) = members.remove("oneOf").filter(are_scalars) {
                members.insert("type".into(), "string".into());
                if alternatives.to_string().contains("integer") {
                    members.insert("format".into(), "int-or-string".into());
                }
            }
            ["nullable", "default"].iter().for_each(|key| drop(members.remove(*key)));
            Value::Object(
                members
                    .into_iter()
                    .map(|(key, member)| {
                        let member = match member {
                            Value::String(target) if key == "$ref" => {
                                target.replace("#/components/schemas/", "#/definitions/").into()
                            }
                            // The names of properties are no keywords, whatever they are.
                            Value::Object(named) if NAMED.contains(&key.as_str()) => {
                                named.into_iter().map(|(name, schema)| (name, older(schema))).collect()
                            }
                            member => older(member),
                        };
                        (key, member)
                    })
                    .collect(),
            )
        }
        Value::Array(items) => items.into_iter().map(older).collect(),
        other => other,
    }
}

fn path_item(item: Value) -> Value {
    let Value::Object(members) = item else { return item };
    let members = members.into_iter().map(|(method, mut operation)| {
        if method == "parameters" {
            return (method, parameters(operation));
        }
        let mut all = parameters(operation["parameters"].take());
        let mut consumes = vec!["*/*".to_owned()];
        if let Value::Object(body) = operation["requestBody"].take() {
            let contents = body.get("content").and_then(Value::as_object);
            consumes = contents.into_iter().flat_map(Map::keys).cloned().collect();
            let schema =
                contents.and_then(|c| c.values().next()).map_or(Value::Null, |c| older(c["schema"].clone()));
            let body = json!({"name": "body", "in": "body", "required": true, "schema": schema});
            if let Some(list) = all.as_array_mut() {
                list.insert(0, body);
            }
        }
        let mut responses = Map::new();
        for (code, response) in operation["responses"].as_object().into_iter().flatten() {
            let mut answer = json!({"description": response["description"]});
            let schema = &response["content"]["application/json"]["schema"];
            if !schema.is_null() {
                answer["schema"] = older(schema.clone());
            }
            responses.insert(code.clone(), answer);
        }
        let mut out = json!({
            "consumes": consumes,
            "produces": ["application/json", "application/yaml"],
            "schemes": ["https"],
            "parameters": all,
            "responses": responses,
        });
        for key in ["operationId", "description", "x-kubernetes-action", "x-kubernetes-group-version-kind"] {
            if let Some(member) = operation.get(key).filter(|m| !m.is_null()) {
                out[key] = member.clone();
            }
        }
        (method, out)
    });
    Value::Object(members.collect())
}

/// Converts parameters to v2, where the type is beside the name.
fn parameters(list: Value) -> Value {
    let Value::Array(list) = list else { return json!([]) };
    let flat = list.into_iter().map(|mut parameter| {
        let schema = parameter["schema"].take();
        if let Some(members) = parameter.as_object_mut() {
            members.remove("schema");
            members.extend(schema.as_object().cloned().unwrap_or_default());
        }
        parameter
    });
    flat.collect()
}
