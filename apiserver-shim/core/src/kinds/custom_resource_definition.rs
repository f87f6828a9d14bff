//! CustomResourceDefinitions of `apiextensions.k8s.io`. What they define is in `custom_resources`.

pub mod validation;

use serde_json::{Map, Value, json};
use shim_model::access::{self, as_object, set_default, set_if_zero};
use shim_model::field::FieldError;
use shim_model::resource::Resource;
use shim_model::status::{self, Status};
use shim_model::time::Instant;

use super::{CreateContext, Strategy, cells};
use crate::custom_resources::conditions::{self, Condition};
use crate::structural_schema;

/// Holds a definition until its objects are deleted.
pub const CLEANUP_FINALIZER: &str = "customresourcecleanup.apiextensions.k8s.io";

pub(super) struct CustomResourceDefinition;

impl Strategy for CustomResourceDefinition {
    fn default(&self, object: &mut Value) {
        let names = access::object_mut(object, &["spec", "names"]);
        let kind = names.get("kind").and_then(Value::as_str).unwrap_or("").to_owned();
        if !kind.is_empty() {
            set_if_zero(names, "singular", kind.to_lowercase());
            set_if_zero(names, "listKind", format!("{kind}List"));
        }
        let spec = access::object_mut(object, &["spec"]);
        let conversion = spec.entry("conversion").or_insert_with(|| json!({"strategy": "None"}));
        let config = conversion.get_mut("webhook").and_then(|webhook| webhook.get_mut("clientConfig"));
        if let Some(service) = config.and_then(|config| config.get_mut("service")) {
            set_default(as_object(service), "port", 443);
        }
        if access::list(object, &["status", "storedVersions"]).is_empty() {
            add_stored_version(object);
        }
    }

    fn has_generation(&self) -> bool {
        true
    }

    fn has_status(&self) -> bool {
        true
    }

    fn prepare_create(&self, object: &mut Value, _context: &CreateContext<'_>) {
        let status = access::object_mut(object, &["status"]);
        *status = empty_status();
        add_stored_version(object);
    }

    fn prepare_update(&self, new: &mut Value, _old: &Value) {
        add_stored_version(new);
    }

    fn validate_create(&self, object: &Value) -> Vec<FieldError> {
        validation::create(object)
    }

    fn validate_update(&self, new: &Value, old: &Value) -> Vec<FieldError> {
        validation::update(new, old)
    }

    fn validate_status_update(&self, new: &Value, _old: &Value) -> Vec<FieldError> {
        validation::status(new)
    }

    /// Validation compares the schemas of both objects itself.
    fn ratchets_itself(&self) -> bool {
        true
    }

    fn warnings(&self, new: &Value, old: Option<&Value>) -> Vec<String> {
        let known = old.map(unrecognized_formats).unwrap_or_default();
        let formats = unrecognized_formats(new).into_iter().filter(|format| !known.contains(format));
        formats.map(|format| format!("unrecognized format \"{format}\"")).collect()
    }

    fn unconditional_update(&self) -> bool {
        false
    }

    /// A definition stays until its objects are gone.
    fn is_held(&self, object: &Value) -> bool {
        access::text(object, &["metadata", "deletionTimestamp"]).is_empty()
    }

    fn begin_deletion(&self, object: &mut Value) {
        let deleted = access::text(object, &["metadata", "deletionTimestamp"]).to_owned();
        let metadata = access::object_mut(object, &["metadata"]);
        metadata.remove("deletionGracePeriodSeconds");
        if let Some(generation) = metadata.get("generation").and_then(Value::as_i64) {
            // Only a change of the spec counts.
            metadata.insert("generation".into(), (generation - 1).max(1).into());
        }
        let finalizers = metadata.entry("finalizers").or_insert_with(|| json!([]));
        if let Some(list) = finalizers.as_array_mut().filter(|l| !l.iter().any(|f| f == CLEANUP_FINALIZER)) {
            list.push(CLEANUP_FINALIZER.into());
        }
        conditions::set(object, &Condition::DELETION_PENDING, &deleted);
    }

    fn precondition_failed(
        &self,
        resource: &Resource,
        name: &str,
        what: &str,
        wanted: &str,
        found: &str,
    ) -> Status {
        status::precondition_conflict(resource, name, what, wanted, found)
    }

    fn cells(&self, object: &Value, _now: Instant) -> Vec<Value> {
        cells::name_and_creation(object)
    }
}

fn empty_status() -> Map<String, Value> {
    let status =
        json!({"acceptedNames": {"kind": "", "plural": ""}, "conditions": null, "storedVersions": null});
    match status {
        Value::Object(members) => members,
        _ => Map::new(),
    }
}

/// Remembers that objects are written in the storage version.
fn add_stored_version(object: &mut Value) {
    let versions = access::list(object, &["spec", "versions"]);
    let Some(storage) = versions.iter().find(|version| access::flag(version, &["storage"])) else { return };
    let storage = Value::from(access::text(storage, &["name"]));
    let stored = access::object_mut(object, &["status"]).entry("storedVersions").or_insert(Value::Null);
    match stored {
        Value::Array(list) if list.contains(&storage) => {}
        Value::Array(list) => list.push(storage),
        other => *other = json!([storage]),
    }
}

/// The formats in the schemas that nothing checks, once each.
fn unrecognized_formats(object: &Value) -> Vec<String> {
    let mut found = Vec::new();
    let versions = access::list(object, &["spec", "versions"]);
    let hoisted = object.get("spec").is_some_and(|spec| structural_schema::is_hoisted(spec, "schema"));
    for version in versions.iter().take(if hoisted { 1 } else { versions.len() }) {
        if let Some(schema) = access::get(version, &["schema", "openAPIV3Schema"]) {
            formats_of(schema, &mut found);
        }
    }
    found
}

fn formats_of(schema: &Value, found: &mut Vec<String>) {
    let format = access::text(schema, &["format"]);
    if !format.is_empty() && !is_recognized(format) {
        found.push(format.to_owned());
    }
    for list in ["allOf", "anyOf", "oneOf"] {
        access::list(schema, &[list]).iter().for_each(|schema| formats_of(schema, found));
    }
    for map in ["properties", "patternProperties", "definitions"] {
        access::entries(schema, &[map]).for_each(|(_, schema)| formats_of(schema, found));
    }
    for single in ["items", "not", "additionalProperties", "additionalItems"] {
        if let Some(schema) = schema.get(single).filter(|schema| schema.is_object()) {
            formats_of(schema, found);
        }
    }
}

fn is_recognized(format: &str) -> bool {
    const FORMATS: &[&str] = &[
        "bsonobjectid",
        "uri",
        "email",
        "hostname",
        "ipv4",
        "ipv6",
        "cidr",
        "mac",
        "uuid",
        "uuid3",
        "uuid4",
        "uuid5",
        "isbn",
        "isbn10",
        "isbn13",
        "creditcard",
        "ssn",
        "hexcolor",
        "rgbcolor",
        "byte",
        "password",
        "date",
        "duration",
        "datetime",
        "date-time",
        "int32",
        "int64",
        "float",
        "double",
        "k8s-short-name",
        "k8s-long-name",
    ];
    FORMATS.contains(&format)
}
