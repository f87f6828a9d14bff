//! The v2 document in protobuf, for kubectl before 1.29: the messages of gnostic's OpenAPIv2.proto. The encoder is
//! written by hand, because it writes this one document only and nothing is decoded.

use serde_json::Value;

use super::super::message::Message;

/// The media type.
pub const MEDIA_TYPE: &str = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";

/// Encodes a document given as JSON.
pub(super) fn encode(document: &Value) -> Vec<u8> {
    let mut out = Message::default();
    out.text(1, &document["swagger"]);
    out.message(2, |info| {
        info.text(1, &document["info"]["title"]);
        info.text(2, &document["info"]["version"]);
    });
    if let Some(paths) = document["paths"].as_object() {
        out.message(8, |all| all.named(2, paths, path_item));
    }
    if let Some(definitions) = document["definitions"].as_object() {
        out.message(9, |all| all.named(1, definitions, schema));
    }
    if let Some(all) = document["parameters"].as_object() {
        out.message(10, |inner| inner.named(1, all, write_parameter));
    }
    for requirement in document["security"].as_array().into_iter().flatten().filter_map(Value::as_object) {
        out.message(12, |inner| inner.named(1, requirement, |scopes, list| scopes.texts(1, list)));
    }
    if let Some(all) = document["securityDefinitions"].as_object() {
        out.message(13, |inner| inner.named(1, all, api_key));
    }
    out.into_bytes()
}

fn api_key(out: &mut Message, value: &Value) {
    out.message(2, |key| {
        let members = [(1, "type"), (2, "name"), (3, "in"), (4, "description")];
        members.iter().for_each(|(field, member)| key.text(*field, &value[*member]));
    });
}

fn schema(out: &mut Message, value: &Value) {
    out.text(1, &value["$ref"]);
    out.text(2, &value["format"]);
    out.text(3, &value["title"]);
    out.text(4, &value["description"]);
    out.any(5, &value["default"]);
    out.bounds(6, value);
    out.texts(19, &value["required"]);
    value["enum"].as_array().into_iter().flatten().for_each(|one| out.any(20, one));
    match &value["additionalProperties"] {
        Value::Bool(_) => out.message(21, |item| item.flag(2, &value["additionalProperties"])),
        Value::Object(_) => {
            out.message(21, |item| item.message(1, |inner| schema(inner, &value["additionalProperties"])));
        }
        _ => {}
    }
    if value["type"].is_string() {
        out.message(22, |item| item.text(1, &value["type"]));
    }
    if value["items"].is_object() {
        out.message(23, |item| item.message(1, |inner| schema(inner, &value["items"])));
    }
    for part in value["allOf"].as_array().into_iter().flatten() {
        out.message(24, |inner| schema(inner, part));
    }
    if let Some(properties) = value["properties"].as_object() {
        out.message(25, |all| all.named(1, properties, schema));
    }
    out.any(30, &value["example"]);
    out.extensions(31, value);
}

fn path_item(out: &mut Message, value: &Value) {
    let methods =
        [(2, "get"), (3, "put"), (4, "post"), (5, "delete"), (6, "options"), (7, "head"), (8, "patch")];
    for (field, method) in methods {
        if value[method].is_object() {
            out.message(field, |inner| operation(inner, &value[method]));
        }
    }
    parameters(out, 9, &value["parameters"]);
}

fn operation(out: &mut Message, value: &Value) {
    out.texts(1, &value["tags"]);
    out.text(3, &value["description"]);
    out.text(5, &value["operationId"]);
    out.texts(6, &value["produces"]);
    out.texts(7, &value["consumes"]);
    parameters(out, 8, &value["parameters"]);
    if let Some(responses) = value["responses"].as_object() {
        out.message(9, |all| {
            all.named(1, responses, |answer, response| {
                answer.message(1, |inner| {
                    inner.text(1, &response["description"]);
                    if response["schema"].is_object() {
                        inner.message(2, |item| item.message(1, |of| schema(of, &response["schema"])));
                    }
                });
            });
        });
    }
    out.texts(10, &value["schemes"]);
    out.extensions(13, value);
}

fn parameters(out: &mut Message, field: u32, list: &Value) {
    for parameter in list.as_array().into_iter().flatten() {
        out.message(field, |item| match parameter.get("$ref") {
            Some(reference) => item.message(2, |inner| inner.text(1, reference)),
            None => item.message(1, |inner| write_parameter(inner, parameter)),
        });
    }
}

fn write_parameter(out: &mut Message, value: &Value) {
    let place = value["in"].as_str().unwrap_or("");
    if place == "body" {
        out.message(1, |body| {
            body.text(1, &value["description"]);
            body.text(2, &value["name"]);
            body.text(3, &value["in"]);
            body.flag(4, &value["required"]);
            body.message(5, |inner| schema(inner, &value["schema"]));
        });
        return;
    }
    // Both have the same members; the numbers of the query's members are higher by one.
    let (field, ty, unique) = if place == "query" { (3, 6, 20) } else { (4, 5, 19) };
    out.message(2, |item| {
        item.message(field, |inner| {
            inner.flag(1, &value["required"]);
            inner.text(2, &value["in"]);
            inner.text(3, &value["description"]);
            inner.text(4, &value["name"]);
            inner.text(ty, &value["type"]);
            inner.flag(unique, &value["uniqueItems"]);
        });
    });
}
