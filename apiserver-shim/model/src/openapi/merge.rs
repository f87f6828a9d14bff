//! Merges the OpenAPI v2 documents of aggregated API servers into this server's, as upstream's kube-aggregator: of each document
//! the paths of its group-version, with the definitions and parameters that they use. What has the same name and is different
//! gets another name.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::references::for_each as for_each_reference;

const DEFINITIONS: &str = "#/definitions/";
const PARAMETERS: &str = "#/parameters/";
const KINDS: &str = "x-kubernetes-group-version-kind";

/// The part of a document with the paths that `keeps` accepts. Definitions are dropped if only other paths use them.
pub fn filter(document: &Value, keeps: impl Fn(&str) -> bool) -> Value {
    let mut out = document.clone();
    let Some(paths) = out.get_mut("paths").and_then(Value::as_object_mut) else { return out };
    paths.retain(|path, _| keeps(path));
    let (before, after) = (used(document), used(&out));
    if let Some(definitions) = out.get_mut("definitions").and_then(Value::as_object_mut) {
        definitions.retain(|name, _| after.contains(name) || !before.contains(name));
    }
    out
}

/// The names of the definitions that the paths of a document lead to.
fn used(document: &Value) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut next = Vec::new();
    for_each_reference(&document["paths"], &mut |reference| next.push(reference.to_owned()));
    while let Some(reference) = next.pop() {
        let target = if let Some(name) = reference.strip_prefix(DEFINITIONS) {
            if !found.insert(name.to_owned()) {
                continue;
            }
            &document["definitions"][name]
        } else if let Some(name) = reference.strip_prefix(PARAMETERS) {
            &document["parameters"][name]
        } else {
            continue;
        };
        for_each_reference(target, &mut |reference| next.push(reference.to_owned()));
    }
    found
}

/// Adds the paths of `source` that `document` does not have, with what they use.
pub fn merge(document: &mut Value, source: &Value) {
    let Some(paths) = source["paths"].as_object() else { return };
    let is_new = |path: &str| document["paths"].get(path).is_none();
    let kept = paths.keys().filter(|path| is_new(path)).count();
    if kept == 0 {
        return;
    }
    let mut source = match kept == paths.len() {
        true => source.clone(),
        false => filter(source, is_new),
    };
    let renamed = new_names(&document["definitions"], &source["definitions"], is_same_definition);
    rename(&mut source, "definitions", DEFINITIONS, &renamed);
    let renamed = new_names(&document["parameters"], &source["parameters"], |a, b| a == b);
    rename(&mut source, "parameters", PARAMETERS, &renamed);
    for (name, definition) in taken(&mut source, "definitions") {
        match section(document, "definitions").get_mut(&name) {
            Some(own) => add_kinds(own, &definition),
            None => drop(section(document, "definitions").insert(name, definition)),
        }
    }
    for member in ["parameters", "paths"] {
        for (name, value) in taken(&mut source, member) {
            section(document, member).entry(name).or_insert(value);
        }
    }
}

fn taken(source: &mut Value, member: &str) -> Map<String, Value> {
    match source.get_mut(member).map(Value::take) {
        Some(Value::Object(members)) => members,
        _ => Map::new(),
    }
}

fn section<'a>(document: &'a mut Value, member: &str) -> &'a mut Map<String, Value> {
    crate::access::object_mut(document, &[member])
}

/// The names of what `source` has under a name that is something else in `document`.
fn new_names(
    document: &Value,
    source: &Value,
    is_same: impl Fn(&Value, &Value) -> bool,
) -> BTreeMap<String, String> {
    let mut renamed = BTreeMap::new();
    let mut used = BTreeSet::new();
    for (name, value) in source.as_object().into_iter().flatten() {
        if document.get(name).is_none_or(|own| is_same(own, value)) {
            continue;
        }
        let names = (2..).map(|number| format!("{name}_v{number}"));
        let fits = |new: &String| match document.get(new) {
            // Renamed in the same way before.
            Some(own) => is_same(own, value),
            None => !used.contains(new) && source.get(new).is_none(),
        };
        if let Some(new) = names.into_iter().find(fits) {
            used.insert(new.clone());
            renamed.insert(name.clone(), new);
        }
    }
    renamed
}

fn rename(source: &mut Value, member: &str, prefix: &str, renamed: &BTreeMap<String, String>) {
    if renamed.is_empty() {
        return;
    }
    let new_name = |name: &str| renamed.get(name).cloned();
    change_references(source, &|reference| {
        reference.strip_prefix(prefix).and_then(new_name).map(|new| format!("{prefix}{new}"))
    });
    for (name, value) in taken(source, member) {
        section(source, member).insert(new_name(&name).unwrap_or(name), value);
    }
}

fn change_references(value: &mut Value, change: &dyn Fn(&str) -> Option<String>) {
    match value {
        Value::Object(members) => {
            for (name, member) in members.iter_mut() {
                match member {
                    Value::String(reference) if name == "$ref" => {
                        if let Some(new) = change(reference) {
                            *reference = new;
                        }
                    }
                    other => change_references(other, change),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| change_references(item, change)),
        _ => {}
    }
}

/// Whether two definitions are the same but for the kinds that have them.
fn is_same_definition(a: &Value, b: &Value) -> bool {
    let (Some(a), Some(b)) = (a.as_object(), b.as_object()) else { return a == b };
    let size = |members: &Map<String, Value>| members.len() - usize::from(members.contains_key(KINDS));
    size(a) == size(b) && a.iter().all(|(name, value)| name == KINDS || b.get(name) == Some(value))
}

/// Adds the kinds of `other` to those of a definition.
fn add_kinds(definition: &mut Value, other: &Value) {
    let Some(more) = other.get(KINDS).and_then(Value::as_array) else { return };
    let kinds = section_list(definition);
    let before = kinds.len();
    for kind in more {
        if !kinds.contains(kind) {
            kinds.push(kind.clone());
        }
    }
    if kinds.len() > before {
        let text = |kind: &Value, member: &str| crate::access::text(kind, &[member]).to_owned();
        kinds.sort_by_cached_key(|kind| {
            format!("{}/{}.{}", text(kind, "group"), text(kind, "version"), text(kind, "kind"))
        });
    }
}

fn section_list(definition: &mut Value) -> &mut Vec<Value> {
    let list =
        crate::access::object_mut(definition, &[]).entry(KINDS).or_insert_with(|| Value::Array(Vec::new()));
    if !list.is_array() {
        *list = Value::Array(Vec::new());
    }
    list.as_array_mut().expect("invariant: the line above made it a list")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn path(definition: &str) -> Value {
        json!({"get": {"responses": {"200": {"schema": {"$ref": format!("{DEFINITIONS}{definition}")}}}}})
    }

    #[test]
    fn the_paths_of_a_group_version_come_with_what_they_use() {
        let document = json!({
            "paths": {"/apis/a/v1/": path("A"), "/apis/b/v1/": path("B"), "/version": path("Shared")},
            "definitions": {
                "A": {"properties": {"s": {"$ref": "#/definitions/Shared"}}},
                "B": {"type": "object"}, "Shared": {"type": "string"}, "Unused": {},
            },
        });
        let kept = filter(&document, |path| path.starts_with("/apis/a/v1/"));
        assert_eq!(kept["paths"].as_object().unwrap().keys().collect::<Vec<_>>(), ["/apis/a/v1/"]);
        assert_eq!(
            kept["definitions"].as_object().unwrap().keys().collect::<Vec<_>>(),
            ["A", "Shared", "Unused"]
        );
    }

    #[test]
    fn other_definitions_of_the_same_name_are_renamed() {
        let kinds = |kind: &str| json!([{"group": "", "kind": kind, "version": "v1"}]);
        let mut document = json!({
            "swagger": "2.0",
            "paths": {"/own": path("D")},
            "definitions": {"D": {"type": "string"}, "Same": {"type": "object", KINDS: kinds("B")}, "D_v2": {"type": "integer"}},
            "parameters": {"p": {"in": "query"}},
        });
        let source = json!({
            "swagger": "2.0",
            "paths": {"/own": path("Same"), "/new": {"parameters": [{"$ref": "#/parameters/p"}], "get": path("D")["get"], "put": path("Same")["get"]}},
            "definitions": {"D": {"type": "object", "items": {"$ref": "#/definitions/D"}}, "Same": {"type": "object", KINDS: kinds("A")}},
            "parameters": {"p": {"in": "body"}},
        });
        merge(&mut document, &source);
        let once = document.clone();
        assert_eq!(document["paths"]["/own"], path("D"));
        assert_eq!(document["paths"]["/new"]["get"], path("D_v3")["get"]);
        assert_eq!(document["paths"]["/new"]["parameters"][0]["$ref"], "#/parameters/p_v2");
        assert_eq!(
            document["definitions"]["D_v3"],
            json!({"type": "object", "items": {"$ref": "#/definitions/D_v3"}})
        );
        assert_eq!(document["definitions"]["Same"][KINDS], json!([kinds("A")[0], kinds("B")[0]]));
        assert_eq!(document["parameters"]["p_v2"], json!({"in": "body"}));
        merge(&mut document, &source);
        assert_eq!(document, once, "all paths are there");
        merge(&mut document, &json!({"swagger": "2.0"}));
        assert_eq!(document, once);
    }
}
