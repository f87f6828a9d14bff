//! The v3 documents in protobuf: the messages of gnostic's OpenAPIv3.proto.

use serde_json::Value;

use super::message::Message;

/// The media type.
pub const MEDIA_TYPE: &str = "application/com.github.proto-openapi.spec.v3.v1.0+protobuf";

/// Encodes a v3 document given as JSON.
pub fn encode_3(document: &Value) -> Vec<u8> {
    let mut out = Message::default();
    out.text(1, &document["openapi"]);
    out.message(2, |info| {
        info.text(1, &document["info"]["title"]);
        info.text(6, &document["info"]["version"]);
    });
    if let Some(paths) = document["paths"].as_object() {
        out.message(4, |all| all.named(1, paths, path_item));
    }
    out.message(5, |components| {
        if let Some(schemas) = document["components"]["schemas"].as_object() {
            components.message(1, |all| all.named(1, schemas, schema_or_reference));
        }
        if let Some(schemes) = document["components"]["securitySchemes"].as_object() {
            components.message(7, |all| all.named(1, schemes, security_scheme));
        }
    });
    out.into_bytes()
}

fn security_scheme(out: &mut Message, value: &Value) {
    out.message(1, |scheme| {
        let members = [(1, "type"), (2, "description"), (3, "name"), (4, "in")];
        members.iter().for_each(|(field, member)| scheme.text(*field, &value[*member]));
    });
}

fn path_item(out: &mut Message, value: &Value) {
    let methods =
        [(4, "get"), (5, "put"), (6, "post"), (7, "delete"), (8, "options"), (9, "head"), (10, "patch")];
    for (field, method) in methods {
        if value[method].is_object() {
            out.message(field, |inner| operation(inner, &value[method]));
        }
    }
    parameters(out, 13, &value["parameters"]);
}

fn operation(out: &mut Message, value: &Value) {
    out.texts(1, &value["tags"]);
    out.text(3, &value["description"]);
    out.text(5, &value["operationId"]);
    parameters(out, 6, &value["parameters"]);
    if value["requestBody"].is_object() {
        let body = &value["requestBody"];
        out.message(7, |either| {
            either.message(1, |inner| {
                content(inner, 2, &body["content"]);
                inner.flag(3, &body["required"]);
            });
        });
    }
    if let Some(responses) = value["responses"].as_object() {
        out.message(8, |all| {
            all.named(2, responses, |either, response| {
                either.message(1, |inner| {
                    inner.text(1, &response["description"]);
                    content(inner, 3, &response["content"]);
                });
            });
        });
    }
    out.extensions(13, value);
}

fn content(out: &mut Message, field: u32, value: &Value) {
    if let Some(types) = value.as_object() {
        out.message(field, |all| all.named(1, types, |media, of| of_schema(media, 1, &of["schema"])));
    }
}

fn parameters(out: &mut Message, field: u32, list: &Value) {
    for parameter in list.as_array().into_iter().flatten() {
        out.message(field, |either| {
            either.message(1, |inner| {
                inner.text(1, &parameter["name"]);
                inner.text(2, &parameter["in"]);
                inner.text(3, &parameter["description"]);
                inner.flag(4, &parameter["required"]);
                of_schema(inner, 10, &parameter["schema"]);
            });
        });
    }
}

fn of_schema(out: &mut Message, field: u32, value: &Value) {
    if value.is_object() {
        out.message(field, |inner| schema_or_reference(inner, value));
    }
}

fn schema_or_reference(out: &mut Message, value: &Value) {
    match value.get("$ref") {
        Some(reference) => out.message(2, |inner| inner.text(1, reference)),
        None => out.message(1, |inner| schema(inner, value)),
    }
}

fn schema(out: &mut Message, value: &Value) {
    out.flag(1, &value["nullable"]);
    out.any(7, &value["example"]);
    out.text(9, &value["title"]);
    out.bounds(10, value);
    out.texts(23, &value["required"]);
    value["enum"].as_array().into_iter().flatten().for_each(|one| out.any(24, one));
    out.text(25, &value["type"]);
    for (field, keyword) in [(26, "allOf"), (27, "oneOf"), (28, "anyOf")] {
        value[keyword].as_array().into_iter().flatten().for_each(|part| of_schema(out, field, part));
    }
    if value["not"].is_object() {
        out.message(29, |inner| schema(inner, &value["not"]));
    }
    if value["items"].is_object() {
        out.message(30, |items| of_schema(items, 1, &value["items"]));
    }
    if let Some(properties) = value["properties"].as_object() {
        out.message(31, |all| all.named(1, properties, schema_or_reference));
    }
    match &value["additionalProperties"] {
        Value::Bool(_) => out.message(32, |item| item.flag(2, &value["additionalProperties"])),
        item => {
            if item.is_object() {
                out.message(32, |inner| of_schema(inner, 1, item));
            }
        }
    }
    out.scalar(33, &value["default"]);
    out.text(34, &value["description"]);
    out.text(35, &value["format"]);
    out.extensions(36, value);
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_document_is_encoded() {
        let document = json!({
            "openapi": "3.0.0", "info": {"title": "T", "version": "1"},
            "paths": {"/a": {"get": {"operationId": "g", "responses": {"200": {"description": "OK"}}}}},
            "components": {"schemas": {"S": {"type": "string", "default": ""}, "R": {"allOf": [{"$ref": "#/S"}], "default": {}}},
                "securitySchemes": {"Token": {"type": "apiKey"}}},
        });
        let encoded = encode_3(&document);
        assert!(encoded.starts_with(b"\n\x053.0.0\x12\x06\n\x01T2\x011\x22"));
        let has = |part: &[u8]| encoded.windows(part.len()).any(|window| window == part);
        assert!(has(b"\xca\x01\x06string\x8a\x02\x02\x1a\x00"), "the type, and an empty text as the default");
        assert!(
            has(b"\xd2\x01\x07\x12\x05\n\x03#/S\x8a\x02\x00"),
            "a reference, and an object as the default"
        );
        assert!(
            has(b"\x3a\x15\n\x13\n\x05Token\x12\x0a\n\x08\n\x06apiKey"),
            "security schemes are the seventh field"
        );
        assert!(has(b"\n\x03200\x12\x06\n\x04\n\x02OK"));
    }
}
