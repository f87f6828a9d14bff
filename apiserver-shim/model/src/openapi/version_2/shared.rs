//! Parameters that many operations have are written once, and referred to. Clients that look for a feature read those that say
//! something about one kind or operation, which stay where they are.

use std::collections::BTreeMap;

use base64::Engine;
use serde_json::{Map, Value, json};

/// Moves what is shared from the paths to the `parameters` that are returned.
pub(super) fn share(paths: &mut Map<String, Value>) -> Map<String, Value> {
    let mut names: BTreeMap<String, String> = BTreeMap::new();
    let mut shared = Map::new();
    for list in paths.values_mut().flat_map(lists) {
        for parameter in list.iter_mut().filter(|p| is_shared(p)) {
            let text = parameter.to_string();
            let name = names.entry(text).or_insert_with_key(|text| {
                let name = format!("{}-{}", parameter["name"].as_str().unwrap_or("param"), hash(text));
                shared.insert(name.clone(), parameter.clone());
                name
            });
            *parameter = json!({"$ref": format!("#/parameters/{name}")});
        }
    }
    shared
}

/// The lists of parameters of a path: its own and those of its operations.
fn lists(path: &mut Value) -> Vec<&mut Vec<Value>> {
    let mut out = Vec::new();
    for (member, value) in path.as_object_mut().into_iter().flatten() {
        let list = if member == "parameters" { Some(value) } else { value.get_mut("parameters") };
        out.extend(list.and_then(Value::as_array_mut));
    }
    out
}

fn is_shared(parameter: &Value) -> bool {
    match (parameter["in"].as_str(), parameter["name"].as_str().unwrap_or("")) {
        (Some("body"), _) => {
            let of = parameter["schema"]["$ref"].as_str().unwrap_or("");
            of.starts_with("#/definitions/io.k8s.apimachinery")
        }
        (Some("query" | "path"), "name") | (Some("query"), "fieldValidation" | "dryRun") => false,
        _ => true,
    }
}

/// Eight characters of the FNV-1 hash, as upstream's names have.
fn hash(text: &str) -> String {
    let fnv = text
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| hash.wrapping_mul(0x0100_0000_01b3) ^ u64::from(byte));
    base64::engine::general_purpose::URL_SAFE.encode(&fnv.to_be_bytes()[..6])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_the_same_everywhere_is_shared() {
        let pretty = json!({"in": "query", "name": "pretty", "type": "string"});
        let dry_run = json!({"in": "query", "name": "dryRun", "type": "string"});
        let body = |name: &str| json!({"in": "body", "name": "body", "schema": {"$ref": format!("#/definitions/{name}")}});
        let mut paths = Map::new();
        paths.insert(
            "/a".to_owned(),
            json!({"parameters": [pretty], "get": {"parameters": [body("io.k8s.apimachinery.Patch"), dry_run]}}),
        );
        paths.insert(
            "/b".to_owned(),
            json!({"get": {"parameters": [body("io.k8s.api.core.v1.Pod"), pretty]}}),
        );
        let shared = share(&mut paths);
        let names: Vec<&str> = shared.keys().map(|name| name.split('-').next().unwrap()).collect();
        assert_eq!(names, ["body", "pretty"]);
        assert_eq!(paths["/a"]["parameters"][0], paths["/b"]["get"]["parameters"][1]);
        assert_eq!(paths["/a"]["get"]["parameters"][1], dry_run);
        assert_eq!(paths["/b"]["get"]["parameters"][0], body("io.k8s.api.core.v1.Pod"));
    }

    #[test]
    fn names_end_with_a_hash_of_the_parameter() {
        // A parameter as Go writes it, and the name that upstream gives to it.
        let patch = r##"{"name":"body","in":"body","required":true,"schema":{"$ref":"#/definitions/io.k8s.apimachinery.pkg.apis.meta.v1.Patch"}}"##;
        assert_eq!(hash(patch), "78PwaGsr");
    }
}
