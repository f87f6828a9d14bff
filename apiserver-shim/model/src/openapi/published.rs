//! What the schemas of built-in types say to clients, and to nobody here: the values of texts, defaults, and which fields clients
//! must set (`data/published.tsv`).

use std::collections::BTreeMap;
use std::sync::LazyLock;

use crate::schema::rules::short;
use serde_json::Value;

const TABLE: &str = include_str!("../../data/published.tsv");

/// Field, word and value of the rows of each type.
type Rows = BTreeMap<&'static str, Vec<(&'static str, &'static str, Value)>>;

static ROWS: LazyLock<Rows> = LazyLock::new(|| {
    let mut rows = Rows::new();
    for line in TABLE.lines().filter(|line| !line.starts_with('#')) {
        let mut cells = line.split('\t');
        let (Some(ty), Some(field), Some(word), Some(json)) =
            (cells.next(), cells.next(), cells.next(), cells.next())
        else {
            continue;
        };
        let value = serde_json::from_str(json).expect("invariant: a test reads the embedded table");
        rows.entry(ty).or_default().push((field, word, value));
    }
    rows
});

/// Adds to the component of a built-in type which fields are required.
pub(super) fn add(name: &str, component: &mut Value) {
    require(component, "metadata", false);
    for (field, _, value) in rows(name).filter(|(_, word, _)| *word == "required") {
        require(component, field, value == &Value::Bool(true));
    }
}

/// Adds to the component of a built-in type the values of texts, and defaults.
pub(super) fn add_values(name: &str, component: &mut Value) {
    for (field, word, value) in rows(name) {
        if *field == "-" {
            let word = if *word == "order" { "required" } else { word };
            component[word] = value.clone();
            continue;
        }
        let property = component.get_mut("properties").and_then(|properties| properties.get_mut(*field));
        let (key, schema) = match *word {
            "required" => continue,
            "items" => ("enum", property.and_then(|list| list.get_mut("items"))),
            "values" => ("enum", property.and_then(|map| map.get_mut("additionalProperties"))),
            word => (word, property),
        };
        if let Some(schema) = schema.and_then(Value::as_object_mut) {
            schema.insert(key.to_owned(), value.clone());
        }
    }
}

fn rows(name: &str) -> impl Iterator<Item = &'static (&'static str, &'static str, Value)> {
    ROWS.get(short(name).as_str()).into_iter().flatten()
}

fn require(component: &mut Value, field: &str, required: bool) {
    let Some(members) = component.as_object_mut() else { return };
    let mut names = match members.remove("required") {
        Some(Value::Array(names)) => names,
        _ => Vec::new(),
    };
    names.retain(|name| name != field);
    if required {
        names.push(field.into());
    }
    if !names.is_empty() {
        members.insert("required".to_owned(), Value::Array(names));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::openapi::{document, document_paths};
    use crate::resource::builtin;
    use crate::schema::testing::schema;
    use serde_json::json;

    /// Each row names a field that is published.
    #[test]
    fn rows_name_fields() {
        let resources = builtin(schema());
        let mut published = BTreeMap::new();
        for path in document_paths(&resources) {
            let parts: Vec<&str> = path.split('/').collect();
            let (group, version) = if parts.len() == 3 { (parts[1], parts[2]) } else { ("", parts[1]) };
            let mut document = document(&resources, group, version).unwrap();
            if let Value::Object(schemas) = document["components"]["schemas"].take() {
                published.extend(schemas.into_iter().map(|(name, schema)| (short(&name), schema)));
            }
        }
        for (ty, rows) in ROWS.iter() {
            let schema = published.get(*ty).unwrap_or_else(|| panic!("no type {ty}"));
            for (field, word, value) in rows {
                let property = &schema["properties"][field];
                let shown = match *word {
                    "order" => schema["required"] == *value,
                    word if *field == "-" => schema[word] == *value,
                    "enum" | "default" => property[word] == *value,
                    "items" => property["items"]["enum"] == *value,
                    "values" => property["additionalProperties"]["enum"] == *value,
                    "required" => {
                        let names = schema["required"].as_array();
                        names.is_some_and(|names| names.contains(&json!(field))) == *value
                    }
                    _ => false,
                };
                assert!(shown, "{ty} {field} {word}: {schema}");
            }
        }
    }

    #[test]
    fn a_component_is_completed() {
        let mut port = json!({"properties": {"protocol": {"type": "string"}}, "required": ["containerPort"]});
        add_values("io.k8s.api.core.v1.ContainerPort", &mut port);
        assert_eq!(
            port,
            json!({
                "properties": {"protocol": {"type": "string", "default": "TCP", "enum": ["SCTP", "TCP", "UDP"]}},
                "required": ["containerPort"],
            })
        );
        let mut pod = json!({"properties": {"metadata": {}}, "required": ["metadata"]});
        add("io.k8s.api.core.v1.Pod", &mut pod);
        assert_eq!(pod, json!({"properties": {"metadata": {}}}));
        let mut event = json!({"required": ["involvedObject", "metadata"]});
        add("io.k8s.api.core.v1.Event", &mut event);
        assert_eq!(event["required"], json!(["involvedObject", "metadata"]));
    }
}
