//! OpenAPI v2: all documents in one, for clients without OpenAPI v3.

pub mod protobuf;
mod shared;

use super::routes::Route;
use super::{DEFINITIONS, Described, custom, document_paths, endpoints, paths, references, schemas};
use crate::resource::split_api_version;
use serde_json::{Map, Value, json};

/// The OpenAPI v2 document of all `resources`.
pub fn document_2<'a, D: Into<Described<'a>>>(resources: impl IntoIterator<Item = D>) -> Value {
    let all: Vec<Described<'_>> = resources.into_iter().map(Into::into).collect();
    let versions = super::built_in_versions(&all);
    let mut routes: Vec<Route> = Vec::new();
    for path in document_paths(all.iter().map(|d| d.resource)) {
        let below = path.strip_prefix("apis/").or_else(|| path.strip_prefix("api/")).unwrap_or(&path);
        let (group, version) = split_api_version(below);
        let of_version = |d: &&Described<'_>| d.resource.group == group && d.resource.version == version;
        let own: Vec<Described<'_>> = all.iter().filter(of_version).copied().collect();
        routes.extend(super::routes_of(&own, group, version));
    }
    let mut groups: Vec<&str> = versions.iter().map(|(group, _)| group.as_str()).collect();
    groups.dedup();
    routes.extend(endpoints::routes(groups));
    let mut paths = paths::version_2(&routes);
    let newer = schemas(&all, &versions).into_iter();
    let mut definitions: Map<String, Value> = newer.map(|(name, schema)| (name, older(schema))).collect();
    for resource in all.iter().map(|d| d.resource) {
        if let Some(schema) = custom::version_2(resource) {
            definitions.insert(resource.object_type.name().to_owned(), schema);
        }
    }
    references::retain_used(&mut definitions, &paths, DEFINITIONS);
    let shared = shared::share(&mut paths);
    json!({
        "swagger": "2.0",
        "info": {"title": "Kubernetes", "version": super::VERSION},
        "paths": paths,
        "definitions": definitions,
        "parameters": shared,
        "securityDefinitions": {"BearerToken": super::bearer_token()},
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
