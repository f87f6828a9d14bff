//! OpenAPI v3 documents, one per group-version, and one for each path of discovery: component schemas with descriptions and Kubernetes' extensions, and
//! the paths with what kubectl needs. They are built on request; the caller caches the bytes.

mod custom;
mod endpoints;
pub mod merge;
mod paths;
mod published;
pub mod version_2;

pub use endpoints::{endpoint_document, endpoint_paths};
pub use version_2::{document_2, encode_2};

use crate::resource::{KindRef, Resource};
use crate::schema::{ListKind, ObjectType, Schema, Struct};
use serde_json::{Map, Value, json};

/// The group-versions with a document: `api/v1`, `apis/apps/v1`, …
pub fn document_paths<'a>(resources: impl IntoIterator<Item = &'a Resource>) -> Vec<String> {
    let paths = resources.into_iter().map(|r| document_path(&r.group, &r.version));
    let mut out: Vec<String> = paths.collect();
    out.sort();
    out.dedup();
    out
}

/// `api/v1` or `apis/group/version`.
pub fn document_path(group: &str, version: &str) -> String {
    if group.is_empty() { format!("api/{version}") } else { format!("apis/{group}/{version}") }
}

/// The document of a group-version, or `None` if none of `resources` is served there.
pub fn document<'a>(
    resources: impl IntoIterator<Item = &'a Resource>,
    group: &str,
    version: &str,
) -> Option<Value> {
    let resources: Vec<&Resource> =
        resources.into_iter().filter(|r| r.group == group && r.version == version).collect();
    if resources.is_empty() {
        return None;
    }
    let mut components = Map::new();
    for types in by_schema(&resources) {
        let kinds: Vec<KindRef<'_>> = types.iter().map(|ty| ty.kind()).collect();
        let schema = types[0].schema();
        let mut own = schema.components(&kinds);
        own.iter_mut().for_each(|(name, component)| annotate(schema, name, component));
        components.extend(own);
    }
    for resource in &resources {
        if let Some(schema) = custom::version_3(resource) {
            components.insert(resource.object_type.name().to_owned(), schema);
        }
        add_list(resource, &mut components);
    }
    add_shared(&mut components);
    let mut paths = Map::new();
    for resource in &resources {
        paths::add(resource, &mut paths);
    }
    Some(json!({
        "openapi": "3.0.0",
        "info": {"title": "Kubernetes", "version": "1.36"},
        "paths": paths,
        "components": {"schemas": components},
    }))
}

/// The types that the resources need, those of one schema together.
fn by_schema<'a>(resources: &[&'a Resource]) -> Vec<Vec<&'a ObjectType>> {
    let subresources = resources.iter().flat_map(|r| &r.subresources).filter_map(|s| s.object_type.as_ref());
    let mut sorted: Vec<Vec<&ObjectType>> = Vec::new();
    for ty in resources.iter().map(|r| &r.object_type).chain(subresources) {
        match sorted.iter_mut().find(|types| types[0].shares_schema(ty)) {
            Some(types) => types.push(ty),
            None => sorted.push(vec![ty]),
        }
    }
    sorted
}

fn reference(name: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{name}")})
}

fn group_version_kind(kind: KindRef<'_>) -> Value {
    json!({"group": kind.group, "version": kind.version, "kind": kind.kind})
}

/// Adds Kubernetes' extensions to a component.
fn annotate(schema: &Schema, name: &str, component: &mut Value) {
    let kind = match name {
        DELETE_OPTIONS => Some(KindRef { group: "meta.k8s.io", version: "v1", kind: "DeleteOptions" }),
        OBJECT_META => None,
        other => schema.kind_of(other),
    };
    if let Some(kind) = kind {
        component["x-kubernetes-group-version-kind"] = json!([group_version_kind(kind)]);
    }
    if name.ends_with(".apiextensions.v1.JSON") {
        // Any JSON: it has no type.
        component.as_object_mut().map(|members| members.remove("type"));
    }
    let Some(ty) = schema.named(name).map(|id| schema.at(id)) else {
        // Quantities and int-or-string values have two types; times have one.
        if component.get("x-kubernetes-int-or-string").is_some() {
            let alternatives = json!([{"type": "integer"}, {"type": "string"}]);
            component["oneOf"] = if name.ends_with("Quantity") {
                json!([{"type": "string"}, {"type": "number"}])
            } else {
                alternatives
            };
            component.as_object_mut().map(|c| c.remove("x-kubernetes-int-or-string"));
        }
        return;
    };
    if ty.atomic {
        component["x-kubernetes-map-type"] = "atomic".into();
    }
    annotate_fields(ty, component);
    published::add(name, component);
}

fn annotate_fields(ty: &Struct, component: &mut Value) {
    let Some(properties) = component.get_mut("properties").and_then(Value::as_object_mut) else { return };
    for (name, property) in properties {
        let (Some(field), Some(property)) = (ty.field(name), property.as_object_mut()) else { continue };
        // A reference with sibling keywords is written as allOf, which every client understands.
        if let Some(target) = property.remove("$ref") {
            property.insert("allOf".to_owned(), json!([{"$ref": target}]));
        }
        let mut put = |key: &str, value: Value| property.insert(format!("x-kubernetes-{key}"), value);
        let strategies: Vec<&str> = [
            (field.patch.merge, "merge"),
            (field.patch.retain_keys, "retainKeys"),
            (field.patch.replace, "replace"),
        ]
        .iter()
        .filter_map(|(set, word)| set.then_some(*word))
        .collect();
        if !strategies.is_empty() {
            put("patch-strategy", strategies.join(",").into());
        }
        if !field.patch.merge_key.is_empty() {
            put("patch-merge-key", field.patch.merge_key.as_str().into());
        }
        match (&field.list, field.ty) {
            (ListKind::Map(keys), _) => {
                put("list-type", "map".into());
                put("list-map-keys", json!(keys));
            }
            (ListKind::Set, _) => {
                put("list-type", "set".into());
            }
            (ListKind::Atomic, crate::schema::Type::List(_)) if field.atomic => {
                put("list-type", "atomic".into());
            }
            (ListKind::Atomic, _) if field.atomic => {
                put("map-type", "atomic".into());
            }
            _ => {}
        }
    }
}

/// The full name of the type of lists.
fn list_name(resource: &Resource) -> String {
    let item = resource.object_type.name();
    let package = item.strip_suffix(resource.kind.as_str()).unwrap_or(item);
    format!("{package}{}", resource.list_kind)
}

fn add_list(resource: &Resource, components: &mut Map<String, Value>) {
    let item = resource.object_type.name();
    let kind = &resource.list_kind;
    let list = json!({
        "description": format!("{kind} is a list of {}.", resource.plural),
        "type": "object",
        "required": ["items"],
        "properties": {
            "apiVersion": {"type": "string", "description": "Version of the schema of this object."},
            "kind": {"type": "string", "description": "Kind of this object."},
            "metadata": {"allOf": [reference(LIST_META)], "description": "Metadata of the list."},
            "items": {"type": "array", "items": reference(item), "description": format!("The {}.", resource.plural)},
        },
        "x-kubernetes-group-version-kind": [{"group": resource.group, "version": resource.version, "kind": kind}],
    });
    components.insert(list_name(resource), list);
}

pub(crate) const LIST_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ListMeta";
pub(crate) const STATUS: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.Status";
pub(crate) const PATCH: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.Patch";
pub(crate) const OBJECT_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";
pub(crate) const DELETE_OPTIONS: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions";

fn add_shared(components: &mut Map<String, Value>) {
    let text = json!({"type": "string"});
    let mut put = |name: &str, schema: Value| {
        components.entry(name.to_owned()).or_insert(schema);
    };
    put(
        LIST_META,
        json!({"type": "object", "description": "Metadata of a list.", "properties": {
        "continue": text, "resourceVersion": text, "selfLink": text, "remainingItemCount": {"type": "integer", "format": "int64"}}}),
    );
    put(
        STATUS,
        json!({"type": "object", "description": "The outcome of a call that does not return an object.", "properties": {
        "apiVersion": text, "kind": text, "status": text, "message": text, "reason": text, "code": {"type": "integer", "format": "int32"},
        "metadata": {"allOf": [reference(LIST_META)]}, "details": {"type": "object"}},
        "x-kubernetes-group-version-kind": [{"group": "", "version": "v1", "kind": "Status"}]}),
    );
    put(PATCH, json!({"type": "object", "description": "A patch in one of the accepted media types."}));
}

#[cfg(test)]
#[path = "openapi/tests.rs"]
mod tests;
