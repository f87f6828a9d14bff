//! What follows from a type's message: the defaults of its members, and the order in which required ones are listed.

use serde_json::{Value, json};

use crate::protobuf;

/// Completes the schema of the type whose message has this package and name. Types without a message keep their schema, but for
/// references, which have keywords beside them only in an `allOf`.
pub(super) fn complete(message: &str, schema: &mut Value) {
    let members = protobuf::members(message);
    for member in &members {
        let property = schema.get_mut("properties").and_then(|all| all.get_mut(member.name));
        let (Some(property), Some(default)) = (property.and_then(Value::as_object_mut), &member.default)
        else {
            continue;
        };
        let is_text = property.contains_key("type");
        let refers = property.contains_key("$ref") || property.contains_key("allOf");
        if if default.is_object() { refers } else { is_text } {
            property.insert("default".to_owned(), default.clone());
        }
    }
    let position = |name: &Value| members.iter().position(|member| Some(member.name) == name.as_str());
    if let Some(required) = schema.get_mut("required").and_then(Value::as_array_mut) {
        required.sort_by_key(|name| position(name).unwrap_or(usize::MAX));
    }
    for (_, property) in schema.get_mut("properties").and_then(Value::as_object_mut).into_iter().flatten() {
        wrap_reference(property);
    }
}

/// A reference with other keywords is written as `allOf`, because readers ignore what stands beside a reference.
pub(super) fn wrap_reference(property: &mut Value) {
    let Some(members) = property.as_object_mut().filter(|members| members.len() > 1) else { return };
    if let Some(target) = members.remove("$ref") {
        members.insert("allOf".to_owned(), json!([{"$ref": target}]));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_get_defaults_and_required_ones_an_order() {
        let mut port = json!({
            "required": ["containerPort", "protocol"],
            "properties": {"containerPort": {"type": "integer"}, "name": {"type": "string"}},
        });
        complete("core.v1.ContainerPort", &mut port);
        assert_eq!(
            port["properties"],
            json!({"containerPort": {"type": "integer", "default": 0}, "name": {"type": "string"}})
        );
        let mut pod = json!({"properties": {"spec": {"$ref": "S"}, "other": {"$ref": "O"}}});
        complete("core.v1.Pod", &mut pod);
        assert_eq!(
            pod["properties"],
            json!({"spec": {"allOf": [{"$ref": "S"}], "default": {}}, "other": {"$ref": "O"}})
        );
        let mut status = json!({"required": ["image", "name"]});
        complete("core.v1.ContainerStatus", &mut status);
        assert_eq!(status["required"], json!(["name", "image"]));
    }
}
