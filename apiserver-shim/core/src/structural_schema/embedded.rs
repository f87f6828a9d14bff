//! Embedded resources: their `apiVersion`, `kind` and `metadata` have the types that those of every object have.

use std::sync::LazyLock;

use serde_json::{Map, Value, json};
use shim_model::field::FieldError;
use shim_model::names;
use shim_model::resource::KindRef;
use shim_model::schema::{self, ObjectType, Schema};

use super::path::Path;
use super::props::Props;
use crate::kinds;

/// A type with nothing but metadata.
static METADATA: LazyLock<ObjectType> = LazyLock::new(|| {
    let kind = KindRef { group: "meta.k8s.io", version: "v1", kind: "EmbeddedResource" };
    let schema = Schema::structural(kind, json!({"type": "object", "properties": {}}));
    let schema = schema.expect("invariant: the schema is that of an object");
    schema.object_type(kind).expect("invariant: the schema has this kind")
});

/// Checks the types of metadata and removes its unknown members, whose paths it returns, sorted.
pub(super) fn coerce(
    root: &Props,
    object: &mut Value,
    drop_invalid: bool,
) -> Result<Vec<String>, FieldError> {
    let mut unknown = Vec::new();
    Coercer { drop_invalid, unknown: &mut unknown }.coerce(root, object, &Path::ROOT)?;
    unknown.sort_unstable();
    Ok(unknown)
}

struct Coercer<'a> {
    drop_invalid: bool,
    unknown: &'a mut Vec<String>,
}

impl Coercer<'_> {
    fn coerce(&mut self, schema: &Props, value: &mut Value, path: &Path<'_>) -> Result<(), FieldError> {
        match value {
            Value::Object(members) => {
                if schema.embedded {
                    self.resource(members, path)?;
                }
                for (name, value) in members.iter_mut() {
                    if let Some(property) = schema.properties.get(name) {
                        self.coerce(property, value, &path.child(name))?;
                    } else if let Some(further) = schema.further() {
                        self.coerce(further, value, &path.key(name))?;
                    }
                }
            }
            Value::Array(items) => {
                let Some(schema) = &schema.items else { return Ok(()) };
                for (at, item) in items.iter_mut().enumerate() {
                    self.coerce(schema, item, &path.index(at))?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn resource(&mut self, members: &mut Map<String, Value>, path: &Path<'_>) -> Result<(), FieldError> {
        for name in ["apiVersion", "kind"] {
            let Some(value) = members.get(name).filter(|value| !value.is_string()) else { continue };
            if !self.drop_invalid {
                return Err(FieldError::invalid(path.child(name), value.clone(), "must be a string"));
            }
            members.remove(name);
        }
        let Some(found) = members.get("metadata") else { return Ok(()) };
        let at = path.child("metadata");
        match typed(found) {
            Ok((metadata, unknown)) => {
                self.unknown.extend(unknown.into_iter().map(|name| format!("{}.{name}", at.plain())));
                members.insert("metadata".to_owned(), metadata);
                Ok(())
            }
            Err(_) if self.drop_invalid => {
                let kept = one_by_one(found);
                members.insert("metadata".to_owned(), kept);
                Ok(())
            }
            Err(why) => Err(FieldError::invalid(at, found.clone(), why)),
        }
    }
}

/// The metadata as its type encodes it, and the paths of unknown members.
fn typed(metadata: &Value) -> Result<(Value, Vec<String>), String> {
    let mut object = json!({ "metadata": metadata });
    let issues = schema::check(&METADATA, &mut object);
    if let Some(why) = issues.mismatch {
        return Err(why.replace("ObjectMeta.metadata.", "ObjectMeta."));
    }
    let unknown = issues.unknown.iter();
    let unknown = unknown.map(|path| path.strip_prefix("metadata.").unwrap_or(path).to_owned()).collect();
    let mut metadata = object.get_mut("metadata").map(Value::take).unwrap_or_default();
    if let Value::Object(members) = &mut metadata
        && members.get("creationTimestamp").is_some_and(Value::is_null)
    {
        members.remove("creationTimestamp");
    }
    Ok((metadata, unknown))
}

/// The members that have the right type.
fn one_by_one(metadata: &Value) -> Value {
    let mut kept = Map::new();
    for (name, value) in metadata.as_object().into_iter().flatten() {
        if let Ok((Value::Object(member), _)) = typed(&json!({ name.as_str(): value })) {
            kept.extend(member);
        }
    }
    Value::Object(kept)
}

/// The errors of embedded resources; the object itself is validated as a resource elsewhere.
pub(super) fn validate(root: &Props, object: &Value, errors: &mut Vec<FieldError>) {
    members(root, object, &Path::ROOT, errors);
}

/// The errors of embedded resources and of the object as one.
pub(super) fn validate_resource(root: &Props, object: &Value, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    of_value(root, object, path, errors);
}

fn of_value(schema: &Props, value: &Value, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    if schema.embedded
        && let Value::Object(resource) = value
    {
        of_resource(resource, path, errors);
    }
    members(schema, value, path, errors);
}

fn members(schema: &Props, value: &Value, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    match value {
        Value::Object(members) => {
            for (name, value) in members {
                if let Some(property) = schema.properties.get(name) {
                    of_value(property, value, &path.child(name), errors);
                } else if let Some(further) = schema.further() {
                    of_value(further, value, &path.key(name), errors);
                }
            }
        }
        Value::Array(items) => {
            let Some(schema) = &schema.items else { return };
            for (at, item) in items.iter().enumerate() {
                of_value(schema, item, &path.index(at), errors);
            }
        }
        _ => {}
    }
}

fn of_resource(resource: &Map<String, Value>, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    for name in ["apiVersion", "kind"] {
        let at = path.child(name);
        match resource.get(name) {
            None => errors.push(FieldError::required(at, "")),
            Some(Value::String(text)) if text.is_empty() => {
                errors.push(FieldError::invalid(at, "", "must not be empty"));
            }
            Some(Value::String(text)) => {
                let why = if name == "kind" { kind_error(text) } else { version_error(text) };
                errors.extend(why.map(|why| FieldError::invalid(at, text.as_str(), why)));
            }
            Some(other) => errors.push(FieldError::invalid(at, other.clone(), "must be a string")),
        }
    }
    let Some(metadata) = resource.get("metadata") else { return };
    let at = path.child("metadata");
    match typed(metadata) {
        Err(why) => errors.push(FieldError::invalid(at, metadata.clone(), why)),
        Ok((metadata, _)) => {
            for name in ["name", "namespace"] {
                let text = metadata.get(name).and_then(Value::as_str).unwrap_or("");
                let check = if name == "name" { names::path_segment } else { names::dns_label };
                let faults = if text.is_empty() { Vec::new() } else { check(text) };
                errors.extend(faults.into_iter().map(|why| FieldError::invalid(at.child(name), text, why)));
            }
            let found = kinds::metadata_errors(&json!({ "metadata": metadata }));
            errors.extend(found.into_iter().map(|error| {
                let below = error.field.strip_prefix("metadata.").unwrap_or(&error.field);
                FieldError { field: at.child(below).to_string(), ..error }
            }));
        }
    }
}

fn kind_error(kind: &str) -> Option<String> {
    let faults = names::dns_1035_label(&kind.to_lowercase());
    let joined = faults.join(",");
    (!faults.is_empty()).then(|| format!("may have mixed case, but should otherwise match: {joined}"))
}

fn version_error(version: &str) -> Option<String> {
    (version.matches('/').count() > 1).then(|| format!("unexpected GroupVersion string: {version}"))
}
