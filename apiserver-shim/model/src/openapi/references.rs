//! References inside a document.

use serde_json::{Map, Value};

/// Calls `found` with the target of each reference.
pub(super) fn for_each(value: &Value, found: &mut dyn FnMut(&str)) {
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                match member {
                    Value::String(reference) if name == "$ref" => found(reference),
                    other => for_each(other, found),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| for_each(item, found)),
        _ => {}
    }
}

/// Drops the schemas that nothing in `paths` leads to. `prefix` is what stands before a schema's name in references.
pub(super) fn retain_used(schemas: &mut Map<String, Value>, paths: &Map<String, Value>, prefix: &str) {
    let mut kept = Map::new();
    let mut next: Vec<String> = Vec::new();
    let name_of = |reference: &str| reference.strip_prefix(prefix).map(str::to_owned);
    paths.values().for_each(|path| for_each(path, &mut |reference| next.extend(name_of(reference))));
    while let Some(name) = next.pop() {
        if let Some(schema) = schemas.remove(&name) {
            for_each(&schema, &mut |reference| next.extend(name_of(reference)));
            kept.insert(name, schema);
        }
    }
    *schemas = kept;
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_no_path_leads_to_is_dropped() {
        let reference = |name: &str| json!({"$ref": format!("#/s/{name}")});
        let object = |value: Value| value.as_object().cloned().unwrap();
        let mut schemas = object(json!({
            "A": {"items": reference("B")}, "B": {"properties": {"a": reference("A")}}, "C": reference("A"),
        }));
        retain_used(&mut schemas, &object(json!({"/a": {"get": reference("A")}})), "#/s/");
        assert_eq!(schemas.keys().collect::<Vec<_>>(), ["A", "B"]);
    }
}
