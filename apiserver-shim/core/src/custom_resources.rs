//! Custom resources: what a CustomResourceDefinition defines, as rows of the catalog with strategy and converter, and the
//! conditions of the definition itself. The kind CustomResourceDefinition is in `kinds`, schemas are in
//! `structural_schema`; the shell (`apiserver-shim/src/custom_resources`) installs and deletes.

pub mod approval;
mod columns;
pub mod conditions;
pub mod conversion;
mod json_path;
pub mod names;
pub mod review;
mod scale;
mod strategy;

use std::cmp::Reverse;
use std::sync::Arc;

use serde_json::Value;
use shim_model::access;
use shim_model::resource::priorities::version_order;
use shim_model::resource::{Custom, KindRef, Resource, ServedSubresource, Verb};
use shim_model::schema::{ObjectType, Schema};

use crate::converter::Converter;
use crate::definition::ResourceDefinition;
use crate::structural_schema::Structural;

pub use columns::PrinterColumn;
pub use json_path::JsonPath;
pub use scale::ScalePaths;
use strategy::{CustomResource, VersionSchema};

/// The verbs, in upstream's order.
const VERBS: [Verb; 8] = [
    Verb::Delete,
    Verb::DeleteCollection,
    Verb::Get,
    Verb::List,
    Verb::Patch,
    Verb::Create,
    Verb::Update,
    Verb::Watch,
];

/// Why a definition cannot be served.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotServable {
    /// The schema of a version is not structural.
    #[error("the schema of version {0} is not structural")]
    Schema(String),
    /// No version is the storage version.
    #[error("no version is marked as storage version")]
    NoStorageVersion,
    /// The names are not accepted yet.
    #[error("its names are not accepted")]
    NoNames,
}

/// Makes the converter of one version of a definition's objects.
pub type MakeConverter<'a> = dyn Fn(&Arc<Family>, &str) -> Arc<dyn Converter> + 'a;

/// What rows need that is not in their definition.
#[derive(Clone, Copy)]
pub struct Environment<'a> {
    /// Makes the converter of one version of the objects.
    pub converter: &'a MakeConverter<'a>,
    /// The type of a Scale.
    pub scale: &'a ObjectType,
}

/// What all versions of a custom resource share.
pub struct Family {
    /// API group.
    pub group: String,
    /// Kind of its objects.
    pub kind: String,
    /// The version that objects are written in.
    pub storage_version: String,
    /// Whether versions differ by name only, so that no webhook converts between them.
    pub renames: bool,
    versions: Vec<(String, Arc<Structural>)>,
}

impl Family {
    /// The schema of a version.
    pub fn schema(&self, version: &str) -> Option<&Arc<Structural>> {
        self.versions.iter().find(|(name, _)| name == version).map(|(_, schema)| schema)
    }

    /// The schema of the version that an object of this family is in.
    pub fn schema_of(&self, object: &Value) -> Option<&Arc<Structural>> {
        let (group, version) = shim_model::resource::split_api_version(access::text(object, &["apiVersion"]));
        self.schema(version).filter(|_| group == self.group)
    }
}

/// The versions of a definition whose names are accepted, the preferred one first, those that are not served included.
pub fn definitions(
    crd: &Value,
    environment: Environment<'_>,
) -> Result<Vec<ResourceDefinition>, NotServable> {
    let versions = access::list(crd, &["spec", "versions"]);
    let storage = versions.iter().find(|version| access::flag(version, &["storage"]));
    let storage = access::text(storage.ok_or(NotServable::NoStorageVersion)?, &["name"]);
    if access::text(crd, &["status", "acceptedNames", "plural"]).is_empty() {
        return Err(NotServable::NoNames);
    }
    let schemas = versions.iter().map(|version| {
        let name = access::text(version, &["name"]);
        let schema = match access::get(version, &["schema", "openAPIV3Schema"]) {
            None => Structural::open(),
            Some(schema) => Structural::new(schema).map_err(|_| NotServable::Schema(name.to_owned()))?,
        };
        Ok((name.to_owned(), Arc::new(schema)))
    });
    let family = Arc::new(Family {
        group: access::text(crd, &["spec", "group"]).to_owned(),
        kind: access::text(crd, &["status", "acceptedNames", "kind"]).to_owned(),
        storage_version: storage.to_owned(),
        renames: access::text(crd, &["spec", "conversion", "strategy"]) != "Webhook",
        versions: schemas.collect::<Result<_, _>>()?,
    });
    let mut wanted: Vec<&Value> = versions.iter().collect();
    wanted.sort_by_key(|version| Reverse(version_order(access::text(version, &["name"]))));
    wanted.into_iter().map(|version| row(crd, version, &family, environment)).collect()
}

/// Whether a version is served, and not only stored.
pub fn is_served(crd: &Value, version: &str) -> bool {
    let versions = access::list(crd, &["spec", "versions"]);
    versions.iter().any(|v| v["name"] == version && access::flag(v, &["served"]))
}

fn row(
    crd: &Value,
    version: &Value,
    family: &Arc<Family>,
    environment: Environment<'_>,
) -> Result<ResourceDefinition, NotServable> {
    let name = access::text(version, &["name"]);
    let unknown = || NotServable::Schema(name.to_owned());
    let schema = family.schema(name).ok_or_else(unknown)?;
    let kind = KindRef { group: &family.group, version: name, kind: &family.kind };
    let compact = Schema::structural(kind, schema.definition()).map_err(|_| unknown())?;
    let coercion = Arc::new(VersionSchema(schema.clone()));
    let object_type = compact.object_type(kind).ok_or_else(unknown)?.coerced_by(coercion);
    let columns = columns::of_version(version);
    let strategy = CustomResource::new(crd, version, family.clone(), columns.clone());
    let converter = (environment.converter)(family, name);
    let types = (object_type, environment.scale.clone());
    let resource = resource(crd, version, (family, types), &columns);
    let definition = ResourceDefinition::new(resource, Arc::new(strategy));
    let needs_converter = !definition.is_stored_version();
    Ok(if needs_converter { definition.converted_by(converter) } else { definition })
}

fn resource(
    crd: &Value,
    version: &Value,
    (family, (object_type, scale)): (&Family, (ObjectType, ObjectType)),
    columns: &[PrinterColumn],
) -> Resource {
    let name = access::text(version, &["name"]);
    let accepted = |member: &str| access::text(crd, &["status", "acceptedNames", member]).to_owned();
    let texts = |member: &str| {
        let list = access::list(crd, &["status", "acceptedNames", member]);
        list.iter().filter_map(Value::as_str).map(str::to_owned).collect()
    };
    let kind = object_type.kind().to_owned();
    let subresource = |name: &str, kind, object_type| ServedSubresource {
        name: name.to_owned(),
        kind,
        object_type,
        verbs: vec![Verb::Get, Verb::Patch, Verb::Update],
    };
    let mut subresources = Vec::new();
    if access::get(version, &["subresources", "status"]).is_some() {
        subresources.push(subresource("status", kind.clone(), Some(object_type.clone())));
    }
    if access::get(version, &["subresources", "scale"]).is_some() {
        subresources.push(subresource("scale", scale::KIND.to_owned(), Some(scale)));
    }
    let preserves = access::flag(crd, &["spec", "preserveUnknownFields"]);
    let selectable = access::list(version, &["selectableFields"]).iter();
    let selectable = selectable.map(|f| access::text(f, &["jsonPath"]).trim_start_matches('.').to_owned());
    let has_schema = access::get(version, &["schema", "openAPIV3Schema"]).is_some();
    let published = |publish: &dyn Fn(&Structural) -> Value| match family.schema(name) {
        Some(schema) if has_schema => publish(schema),
        _ => Value::Null,
    };
    Resource {
        group: family.group.clone(),
        version: name.to_owned(),
        plural: accepted("plural"),
        singular: accepted("singular"),
        kind: family.kind.clone(),
        list_kind: accepted("listKind"),
        namespaced: access::text(crd, &["spec", "scope"]) == "Namespaced",
        short_names: texts("shortNames"),
        categories: texts("categories"),
        verbs: VERBS.to_vec(),
        subresources,
        storage_group: family.group.clone(),
        storage_version: family.storage_version.clone(),
        object_type,
        columns: columns::table_columns(columns),
        custom: Some(Custom {
            is_served: access::flag(version, &["served"]),
            deprecation: deprecation(crd, version),
            terminating: conditions::is_true(crd, "Terminating"),
            mixed_storage: !family.renames && access::list(crd, &["status", "storedVersions"]).len() > 1,
            selectable_fields: selectable.collect(),
            schema_v3: published(&|schema| schema.published()),
            schema_v2: published(&|schema| schema.published_v2(preserves)),
        }),
    }
}

/// The warning of a deprecated version.
fn deprecation(crd: &Value, version: &Value) -> Option<String> {
    if !access::flag(version, &["deprecated"]) {
        return None;
    }
    if let Some(warning) = version.get("deprecationWarning").and_then(Value::as_str) {
        return Some(warning.to_owned());
    }
    let (group, kind) =
        (access::text(crd, &["spec", "group"]), access::text(crd, &["spec", "names", "kind"]));
    let name = access::text(version, &["name"]);
    let newer = access::list(crd, &["spec", "versions"]).iter().filter(|other| {
        access::flag(other, &["served"])
            && !access::flag(other, &["deprecated"])
            && version_order(access::text(other, &["name"])) > version_order(name)
    });
    let newest = newer.map(|other| access::text(other, &["name"])).max_by_key(|other| version_order(other));
    let instead = newest.map(|newest| format!("; use {group}/{newest} {kind}")).unwrap_or_default();
    Some(format!("{group}/{name} {kind} is deprecated{instead}"))
}

/// The type of a value as Go prints it.
fn go_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "<nil>",
        Value::Bool(_) => "bool",
        Value::Number(n) if n.is_f64() => "float64",
        Value::Number(_) => "int64",
        Value::String(_) => "string",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
    }
}

#[cfg(test)]
#[path = "custom_resources/tests.rs"]
mod tests;
