//! The paths of a resource: operations with the parameters and kinds from which kubectl derives the server's features.

use super::{DELETE_OPTIONS, PATCH, STATUS, document_path, group_version_kind, reference};
use crate::resource::{Resource, Verb};
use crate::schema::ObjectType;
use serde_json::{Map, Value, json};

/// Adds the resource's paths.
pub(super) fn add(resource: &Resource, paths: &mut Map<String, Value>) {
    let root = format!("/{}", document_path(&resource.group, &resource.version));
    let base = if resource.namespaced {
        format!("{root}/namespaces/{{namespace}}/{}", resource.plural)
    } else {
        format!("{root}/{}", resource.plural)
    };
    let scope: Vec<Value> = if resource.namespaced { vec![path_parameter("namespace")] } else { Vec::new() };
    let ty = &resource.object_type;
    let list = super::list_name(resource);
    let mut collection = Map::new();
    let mut object = Map::new();
    for verb in &resource.verbs {
        match verb {
            Verb::List => put(&mut collection, "get", operation("list", ty, &list, LIST)),
            Verb::Create => {
                put(&mut collection, "post", with_body(operation("post", ty, ty.name(), WRITE), ty.name()))
            }
            Verb::DeleteCollection => put(
                &mut collection,
                "delete",
                with_body(operation("deletecollection", ty, STATUS, LIST), DELETE_OPTIONS),
            ),
            Verb::Get => put(&mut object, "get", operation("get", ty, ty.name(), &[])),
            Verb::Update => {
                put(&mut object, "put", with_body(operation("put", ty, ty.name(), WRITE), ty.name()))
            }
            Verb::Patch => put(&mut object, "patch", patch(ty)),
            Verb::Delete => put(
                &mut object,
                "delete",
                with_body(
                    operation("delete", ty, STATUS, &["dryRun", "gracePeriodSeconds", "propagationPolicy"]),
                    DELETE_OPTIONS,
                ),
            ),
            Verb::Watch => {}
        }
    }
    insert(paths, base.clone(), collection, &scope);
    if resource.namespaced && resource.allows(Verb::List) {
        let mut all = Map::new();
        put(&mut all, "get", operation("list", ty, &list, LIST));
        insert(paths, format!("{root}/{}", resource.plural), all, &[]);
    }
    let named: Vec<Value> = scope.iter().cloned().chain([path_parameter("name")]).collect();
    insert(paths, format!("{base}/{{name}}"), object, &named);
    add_subresources(resource, &base, &named, paths);
}

fn add_subresources(resource: &Resource, base: &str, named: &[Value], paths: &mut Map<String, Value>) {
    for sub in &resource.subresources {
        let Some(ty) = &sub.object_type else { continue };
        let mut operations = Map::new();
        for verb in &sub.verbs {
            match verb {
                Verb::Get => put(&mut operations, "get", operation("get", ty, ty.name(), &[])),
                Verb::Update => {
                    put(&mut operations, "put", with_body(operation("put", ty, ty.name(), WRITE), ty.name()))
                }
                Verb::Patch => put(&mut operations, "patch", patch(ty)),
                Verb::Create => put(
                    &mut operations,
                    "post",
                    with_body(operation("post", ty, ty.name(), WRITE), ty.name()),
                ),
                _ => {}
            }
        }
        insert(paths, format!("{base}/{{name}}/{}", sub.name), operations, named);
    }
}

const WRITE: &[&str] = &["dryRun", "fieldManager", "fieldValidation"];
const LIST: &[&str] = &[
    "allowWatchBookmarks",
    "continue",
    "fieldSelector",
    "labelSelector",
    "limit",
    "resourceVersion",
    "resourceVersionMatch",
    "sendInitialEvents",
    "timeoutSeconds",
    "watch",
];

fn put(operations: &mut Map<String, Value>, method: &str, operation: Value) {
    operations.insert(method.to_owned(), operation);
}

fn insert(
    paths: &mut Map<String, Value>,
    path: String,
    mut operations: Map<String, Value>,
    parameters: &[Value],
) {
    if operations.is_empty() {
        return;
    }
    let pretty = json!({"name": "pretty", "in": "query", "schema": {"type": "string", "uniqueItems": true}});
    let parameters: Vec<Value> = parameters.iter().cloned().chain([pretty]).collect();
    operations.insert("parameters".to_owned(), parameters.into());
    paths.insert(path, Value::Object(operations));
}

fn path_parameter(name: &str) -> Value {
    json!({"name": name, "in": "path", "required": true, "schema": {"type": "string", "uniqueItems": true}})
}

fn query_parameter(name: &&str) -> Value {
    let ty = match *name {
        "limit" | "timeoutSeconds" | "gracePeriodSeconds" => "integer",
        "watch" | "allowWatchBookmarks" | "sendInitialEvents" | "force" => "boolean",
        _ => "string",
    };
    json!({"name": name, "in": "query", "schema": {"type": ty, "uniqueItems": true}})
}

fn operation(action: &str, ty: &ObjectType, answer: &str, parameters: &[&str]) -> Value {
    let kind = ty.kind();
    let content = json!({"schema": reference(answer)});
    json!({
        "operationId": format!("{action}{}{}", kind.version, kind.kind),
        "parameters": parameters.iter().map(query_parameter).collect::<Vec<_>>(),
        "responses": {
            "200": {"description": "OK", "content": {"application/json": content.clone(), "application/yaml": content}},
            "401": {"description": "Unauthorized"},
        },
        "x-kubernetes-action": action,
        "x-kubernetes-group-version-kind": group_version_kind(kind),
    })
}

fn with_body(mut operation: Value, body: &str) -> Value {
    operation["requestBody"] = json!({"content": {"*/*": {"schema": reference(body)}}});
    operation
}

fn patch(ty: &ObjectType) -> Value {
    let mut operation =
        operation("patch", ty, ty.name(), &["dryRun", "fieldManager", "fieldValidation", "force"]);
    let schema = json!({"schema": reference(PATCH)});
    let media_types = crate::patch::media_types(ty).iter();
    let content: Map<String, Value> = media_types.map(|m| ((*m).to_owned(), schema.clone())).collect();
    operation["requestBody"] = json!({"content": content, "required": true});
    operation
}
