//! OpenAPI v3 documents, one per group-version, and one for each path of discovery: component schemas with descriptions and Kubernetes' extensions, and
//! the paths with what kubectl needs. They are built on request; the caller caches the bytes.

mod complete;
mod custom;
mod endpoints;
pub mod merge;
mod message;
mod meta_types;
mod operation_id;
mod parameters;
mod paths;
mod published;
mod references;
mod routes;
pub mod version_2;
mod version_3_protobuf;

pub use endpoints::{endpoint_document, endpoint_paths};
pub use version_2::{document_2, encode_2};
pub use version_3_protobuf::{MEDIA_TYPE as PROTOBUF_3, encode_3};

use crate::resource::{KindRef, Resource};
use crate::schema::rules::short;
use crate::schema::{ListKind, ObjectType, Schema, Struct, Type};
use operation_id::operation_id;
use routes::Route;
use serde_json::{Map, Value, json};

/// A resource with what documents say of it beyond its row.
#[derive(Debug, Clone, Copy)]
pub struct Described<'a> {
    /// The resource.
    pub resource: &'a Resource,
    /// Whether a delete answers with the object rather than with a `Status`.
    pub returns_deleted: bool,
}

impl<'a> From<&'a Resource> for Described<'a> {
    fn from(resource: &'a Resource) -> Self {
        Described { resource, returns_deleted: false }
    }
}

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
pub fn document<'a, D: Into<Described<'a>>>(
    resources: impl IntoIterator<Item = D>,
    group: &str,
    version: &str,
) -> Option<Value> {
    let all: Vec<Described<'_>> = resources.into_iter().map(Into::into).collect();
    let of_version = |d: &&Described<'_>| d.resource.group == group && d.resource.version == version;
    let own: Vec<Described<'_>> = all.iter().filter(of_version).copied().collect();
    if own.is_empty() {
        return None;
    }
    let versions = match is_custom(&own) {
        // Clients' decoders know the options of each built-in version.
        true => built_in_versions(&all),
        false => vec![(group.to_owned(), version.to_owned())],
    };
    let routes = routes_of(&own, group, version);
    let paths = paths::version_3(&routes);
    let mut schemas = schemas(&own, &versions);
    references::retain_used(&mut schemas, &paths, SCHEMAS);
    Some(top_3(paths, schemas, is_custom(&own)))
}

/// Whether resources are those of CustomResourceDefinitions; no group-version has both.
fn is_custom(resources: &[Described<'_>]) -> bool {
    resources.iter().all(|d| d.resource.custom.is_some())
}

fn built_in_versions(resources: &[Described<'_>]) -> Vec<(String, String)> {
    let built_in = resources.iter().filter(|d| d.resource.custom.is_none());
    let mut out: Vec<_> = built_in.map(|d| (d.resource.group.clone(), d.resource.version.clone())).collect();
    out.sort();
    out.dedup();
    out
}

/// The routes of a group-version's resources and of the list of them.
fn routes_of(resources: &[Described<'_>], group: &str, version: &str) -> Vec<Route> {
    let mut out: Vec<Route> = resources.iter().flat_map(routes::of_resource).collect();
    if !is_custom(resources) {
        out.push(endpoints::resource_list(group, version));
    }
    out
}

/// All schemas that the paths of these resources may use.
fn schemas(described: &[Described<'_>], versions: &[(String, String)]) -> Map<String, Value> {
    let resources: Vec<&Resource> = described.iter().map(|d| d.resource).collect();
    let mut out = Map::new();
    for types in by_schema(&resources) {
        let kinds: Vec<KindRef<'_>> = types.iter().map(|ty| ty.kind()).collect();
        let schema = types[0].schema();
        let mut own = schema.components(&kinds);
        own.iter_mut().for_each(|(name, component)| annotate(schema, name, component));
        out.extend(own);
    }
    out.extend(meta_types::all(versions));
    for resource in &resources {
        if let Some(schema) = custom::version_3(resource) {
            out.insert(resource.object_type.name().to_owned(), schema);
        }
        add_list(resource, &mut out);
    }
    out
}

/// An OpenAPI v3 document. Those of custom resources are named differently upstream, and have no security schemes.
fn top_3(paths: Map<String, Value>, schemas: Map<String, Value>, is_custom: bool) -> Value {
    let mut components = Map::new();
    if !schemas.is_empty() {
        components.insert("schemas".to_owned(), Value::Object(schemas));
    }
    let info = match is_custom {
        true => json!({"title": "Kubernetes CRD Swagger", "version": "v0.1.0"}),
        false => json!({"title": "Kubernetes", "version": VERSION}),
    };
    if !is_custom {
        components.insert("securitySchemes".to_owned(), json!({"BearerToken": bearer_token()}));
    }
    json!({"openapi": "3.0.0", "info": info, "paths": paths, "components": components})
}

/// The version in the documents: that of Kubernetes, without a patch.
const VERSION: &str = "1.36";

fn bearer_token() -> Value {
    json!({"type": "apiKey", "description": "Bearer Token authentication", "name": "authorization", "in": "header"})
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

const SCHEMAS: &str = "#/components/schemas/";
const DEFINITIONS: &str = "#/definitions/";

fn reference(name: &str) -> Value {
    json!({"$ref": format!("{SCHEMAS}{name}")})
}

/// A reference in OpenAPI v2.
fn definition(name: &str) -> Value {
    json!({"$ref": format!("{DEFINITIONS}{name}")})
}

fn group_version_kind(kind: KindRef<'_>) -> Value {
    json!({"group": kind.group, "version": kind.version, "kind": kind.kind})
}

/// Adds Kubernetes' extensions to a component.
fn annotate(schema: &Schema, name: &str, component: &mut Value) {
    let kind = if name == OBJECT_META { None } else { schema.kind_of(name) };
    if let Some(kind) = kind {
        component["x-kubernetes-group-version-kind"] = json!([group_version_kind(kind)]);
    }
    if name
        .rsplit_once(".apiextensions.v1.")
        .is_some_and(|(_, ty)| ty.starts_with("JSON") && ty != "JSONSchemaProps")
    {
        // Any JSON, or a schema and something else: there is no type for it.
        if let Some(members) = component.as_object_mut() {
            members.retain(|keyword, _| keyword == "description");
        }
    }
    let Some(ty) = schema.named(name).map(|id| schema.at(id)) else {
        // Quantities and int-or-string values have two types; times have one.
        if component.get("x-kubernetes-int-or-string").is_some() {
            if name.ends_with("Quantity") {
                component["oneOf"] = json!([{"type": "string"}, {"type": "number"}]);
            } else {
                component["oneOf"] = json!([{"type": "integer"}, {"type": "string"}]);
                component["format"] = "int-or-string".into();
            }
            component.as_object_mut().map(|c| c.remove("x-kubernetes-int-or-string"));
        }
        return;
    };
    if ty.atomic {
        component["x-kubernetes-map-type"] = "atomic".into();
    }
    annotate_fields(ty, component);
    published::add(name, component);
    complete::complete(&short(name), component);
    published::add_values(name, component);
}

fn annotate_fields(ty: &Struct, component: &mut Value) {
    let Some(properties) = component.get_mut("properties").and_then(Value::as_object_mut) else { return };
    for (name, property) in properties {
        let (Some(field), Some(property)) = (ty.field(name), property.as_object_mut()) else { continue };
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
            // Bytes are a list in Go.
            (ListKind::Atomic, Type::List(_) | Type::Bytes) if field.atomic => {
                put("list-type", "atomic".into());
            }
            (ListKind::Atomic, _) if field.atomic => {
                put("map-type", "atomic".into());
            }
            _ if field.granular => {
                put("map-type", "granular".into());
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
    let metadata = json!({"description": "Metadata of the list.", "$ref": format!("{SCHEMAS}{LIST_META}")});
    let name = list_name(resource);
    let mut list = json!({
        "description": format!("{kind} is a list of {}.", resource.plural),
        "type": "object",
        "required": ["items"],
        "properties": {
            "apiVersion": {"type": "string", "description": "Version of the schema of this object."},
            "kind": {"type": "string", "description": "Kind of this object."},
            "metadata": metadata,
            "items": {"type": "array", "items": reference(item), "description": format!("The {}.", resource.plural)},
        },
        "x-kubernetes-group-version-kind": [{"group": resource.group, "version": resource.version, "kind": kind}],
    });
    complete::complete(&short(&name), &mut list);
    components.insert(name, list);
}

pub(crate) const LIST_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ListMeta";
pub(crate) const STATUS: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.Status";
pub(crate) const PATCH: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.Patch";
pub(crate) const OBJECT_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";
pub(crate) const DELETE_OPTIONS: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions";
pub(crate) const WATCH_EVENT: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.WatchEvent";

#[cfg(test)]
#[path = "openapi/tests.rs"]
mod tests;
