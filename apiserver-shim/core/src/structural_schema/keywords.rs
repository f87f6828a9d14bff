//! The keywords that the schemas of a CRD may have, and how they go together.

use serde_json::Value;
use shim_model::field::FieldError;

use super::path::Path;
use super::props::{Additional, Props};
use super::prune;

/// Which rules apply, by what the stored definition breaks.
#[derive(Debug, Default)]
pub(super) struct Keywords {
    /// Types must be those of OpenAPI.
    pub valid_types: bool,
    /// Defaults must have no unknown fields.
    pub pruned_defaults: bool,
    /// Elements of sets must be atomic.
    pub atomic_sets: bool,
    /// Keys of lists that are maps must be required or have a default, and not be nullable.
    pub complete_map_keys: bool,
}

/// The types of OpenAPI.
const TYPES: [&str; 6] = ["array", "boolean", "integer", "number", "object", "string"];

/// What is special where a schema is.
#[derive(Clone, Copy)]
struct Place<'a> {
    is_root: bool,
    /// Why there may be no default.
    no_defaults: Option<&'a str>,
    /// Whether it describes the metadata or type of a resource.
    in_metadata: bool,
}

/// Whether a schema has extensions that need structural schemas.
pub(super) fn has_extensions(s: &Props) -> bool {
    s.embedded
        || s.preserve
        || s.preserve_false
        || s.int_or_string
        || !s.map_keys.is_empty()
        || s.list_type.is_some()
        || !s.rules.is_empty()
}

/// Whether a schema has a type that OpenAPI does not have.
pub(super) fn has_unknown_type(s: &Props) -> bool {
    !s.ty.is_empty() && !TYPES.contains(&s.ty.as_str())
}

/// Whether a schema is a set whose elements are not atomic.
pub(super) fn is_set_of_composites(s: &Props) -> bool {
    let mut errors = Vec::new();
    sets(s, &Path::ROOT, &mut errors);
    !errors.is_empty()
}

/// Whether a schema is a list whose keys may be absent.
pub(super) fn has_incomplete_keys(s: &Props) -> bool {
    let mut errors = Vec::new();
    complete_keys(s, &Path::ROOT, &mut errors);
    !errors.is_empty()
}

/// With a status subresource, only some keywords are allowed at the root.
pub(super) fn root_with_status(schema: &Value, at: &str, errors: &mut Vec<FieldError>) {
    const ALLOWED: &[(&str, &str)] = &[
        ("description", "Description"),
        ("type", "Type"),
        ("format", "Format"),
        ("title", "Title"),
        ("maximum", "Maximum"),
        ("exclusiveMaximum", "ExclusiveMaximum"),
        ("minimum", "Minimum"),
        ("exclusiveMinimum", "ExclusiveMinimum"),
        ("maxLength", "MaxLength"),
        ("minLength", "MinLength"),
        ("pattern", "Pattern"),
        ("maxItems", "MaxItems"),
        ("minItems", "MinItems"),
        ("uniqueItems", "UniqueItems"),
        ("multipleOf", "MultipleOf"),
        ("required", "Required"),
        ("items", "Items"),
        ("properties", "Properties"),
        ("externalDocs", "ExternalDocs"),
        ("example", "Example"),
        ("x-kubernetes-preserve-unknown-fields", "XPreserveUnknownFields"),
        ("x-kubernetes-validations", "XValidations"),
    ];
    let zero = |value: &Value| match value {
        Value::Null | Value::Bool(false) => true,
        Value::String(text) => text.is_empty(),
        _ => false,
    };
    if let Some(ty) = schema.get("type").filter(|ty| !zero(ty) && *ty != "object") {
        let why = "only \"object\" is allowed as the type at the root of the schema if the status subresource is enabled";
        errors.push(FieldError::invalid(format!("{at}.type"), ty.clone(), why));
    }
    let mut set = schema.as_object().into_iter().flatten().filter(|(_, value)| !zero(value));
    if set.any(|(name, _)| !ALLOWED.iter().any(|(known, _)| known == name)) {
        let names: Vec<&str> = ALLOWED.iter().map(|(_, name)| *name).collect();
        let why = format!(
            "only [{}] fields are allowed at the root of the schema if the status subresource is enabled",
            names.join(" ")
        );
        errors.push(FieldError::invalid(at, schema.clone(), why));
    }
}

impl Keywords {
    /// The errors of a schema.
    pub fn validate(&self, root: &Props, path: &Path<'_>) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let place = Place { is_root: true, no_defaults: None, in_metadata: false };
        self.schema(root, path, place, &mut errors);
        errors
    }

    fn schema(&self, s: &Props, path: &Path<'_>, place: Place<'_>, errors: &mut Vec<FieldError>) {
        self.standard(s, path, place, errors);
        if s.unique_items {
            let why = "uniqueItems cannot be set to true since the runtime complexity becomes quadratic";
            errors.push(FieldError::forbidden(path.child("uniqueItems"), why));
        }
        let below = Place { is_root: false, ..place };
        self.members(s, path, place, errors);
        if let Some(not) = &s.not {
            self.schema(not, &path.child("not"), below, errors);
        }
        for (list, schemas) in [("allOf", &s.all_of), ("oneOf", &s.one_of), ("anyOf", &s.any_of)] {
            let at = path.child(list);
            for (i, schema) in schemas.iter().enumerate() {
                self.schema(schema, &at.index(i), below, errors);
            }
        }
        for (name, schema) in &s.beneath {
            self.schema(schema, &path.child(name), below, errors);
        }
        let at = path.child("items");
        if let Some(items) = &s.items {
            self.schema(items, &at, below, errors);
        }
        for (i, schema) in s.item_list.iter().enumerate() {
            self.schema(schema, &at.index(i), below, errors);
        }
        self.extensions(s, path, errors);
        rules(s, path, errors);
    }

    fn members(&self, s: &Props, path: &Path<'_>, place: Place<'_>, errors: &mut Vec<FieldError>) {
        let below = Place { is_root: false, ..place };
        if let Some(additional) = &s.additional {
            let at = path.child("additionalProperties");
            if !s.properties.is_empty() && !matches!(additional, Additional::Allowed(true)) {
                let why = "additionalProperties and properties are mutual exclusive";
                errors.push(FieldError::forbidden(at, why));
            }
            if let Additional::Schema(schema) = additional {
                let why =
                    place.in_metadata.then_some("inside additionalProperties applying to object metadata");
                let below = Place { no_defaults: why.or(below.no_defaults), ..below };
                self.schema(schema, &at, below, errors);
            }
        }
        for (name, property) in &s.properties {
            let is_meta = (place.is_root || s.embedded) && prune::is_meta(name);
            let why = format!("in top-level {name}");
            let no_defaults = (is_meta && place.is_root).then_some(why.as_str()).or(below.no_defaults);
            let below = Place { in_metadata: is_meta || below.in_metadata, no_defaults, ..below };
            self.schema(property, &path.child("properties").key(name), below, errors);
        }
    }

    fn standard(&self, s: &Props, path: &Path<'_>, place: Place<'_>, errors: &mut Vec<FieldError>) {
        if self.valid_types && has_unknown_type(s) {
            errors.push(FieldError::not_supported(path.child("type"), s.ty.as_str(), &TYPES));
        }
        if let Some(why) = place.no_defaults.filter(|_| s.default.is_some()) {
            errors.push(FieldError::forbidden(path.child("default"), format!("must not be set {why}")));
        }
        for keyword in ["id", "additionalItems", "patternProperties", "definitions", "dependencies", "$ref"] {
            if s.forbidden.contains(&keyword) {
                let why = format!("{keyword} is not supported");
                errors.push(FieldError::forbidden(path.child(keyword), why));
            }
        }
        if s.ty == "null" {
            let why = "type cannot be set to null, use nullable as an alternative";
            errors.push(FieldError::forbidden(path.child("type"), why));
        }
        if !s.item_list.is_empty() {
            let why = "items must be a schema object and not an array";
            errors.push(FieldError::forbidden(path.child("items"), why));
        }
        if place.in_metadata && s.embedded {
            let at = path.child("x-kubernetes-embedded-resource");
            errors.push(FieldError::forbidden(at, "must not be used inside of resource meta"));
        }
    }

    fn extensions(&self, s: &Props, path: &Path<'_>, errors: &mut Vec<FieldError>) {
        if s.preserve_false {
            let at = path.child("x-kubernetes-preserve-unknown-fields");
            errors.push(FieldError::invalid(at, false, "must be true or undefined"));
        }
        let wrong_type = |wanted: &str, extension: &str| {
            let (at, why) = (path.child("type"), format!("must be {wanted} if {extension} is specified"));
            match s.ty.as_str() {
                "" => FieldError::required(at, why),
                ty => FieldError::invalid(at, ty, why),
            }
        };
        if let Some(map_type) = &s.map_type {
            if s.ty != "object" {
                errors.push(wrong_type("object", "x-kubernetes-map-type"));
            }
            if map_type != "atomic" && map_type != "granular" {
                let at = path.child("x-kubernetes-map-type");
                errors.push(FieldError::not_supported(at, map_type.as_str(), &["atomic", "granular"]));
            }
        }
        if s.list_type.is_some() && s.ty != "array" {
            errors.push(wrong_type("array", "x-kubernetes-list-type"));
        } else if self.atomic_sets {
            sets(s, path, errors);
        }
        lists(s, path, errors);
        if self.complete_map_keys {
            complete_keys(s, path, errors);
        }
    }
}

/// Elements of a set are compared as a whole.
fn sets(s: &Props, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    let Some(items) = s.items.as_ref().filter(|_| s.list_type.as_deref() == Some("set")) else { return };
    let why = "must be atomic as item of a list with x-kubernetes-list-type=set";
    let (at, shown) = (path.child("items"), || items.list_type.clone().map_or(Value::Null, Value::from));
    match items.ty.as_str() {
        "array" if items.list_type.as_deref().is_some_and(|ty| ty != "atomic") => {
            errors.push(FieldError::invalid(at.child("x-kubernetes-list-type"), shown(), why));
        }
        "object" if items.map_type.as_deref() != Some("atomic") => {
            errors.push(FieldError::invalid(at.child("x-kubernetes-map-type"), shown(), why));
        }
        _ => {}
    }
}

fn lists(s: &Props, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    let (type_at, keys_at) = (path.child("x-kubernetes-list-type"), path.child("x-kubernetes-list-map-keys"));
    let list_type = s.list_type.as_deref();
    if let Some(other) = list_type.filter(|ty| !matches!(*ty, "atomic" | "set" | "map")) {
        errors.push(FieldError::not_supported(type_at, other, &["atomic", "set", "map"]));
    }
    if !s.map_keys.is_empty() {
        let why = "must be map if x-kubernetes-list-map-keys is non-empty";
        match list_type {
            None => errors.push(FieldError::required(type_at, why)),
            Some("map") => {}
            Some(other) => errors.push(FieldError::invalid(type_at, other, why)),
        }
    }
    if list_type != Some("map") {
        return;
    }
    if s.map_keys.is_empty() {
        let why = "must not be empty if x-kubernetes-list-type is map";
        errors.push(FieldError::required(keys_at, why));
    }
    let at = path.child("items");
    let Some(items) = &s.items else {
        let why = "must have a schema if x-kubernetes-list-type is map";
        return errors.push(FieldError::required(at, why));
    };
    if items.ty != "object" {
        let why = "must be object if parent array's x-kubernetes-list-type is map";
        return errors.push(FieldError::invalid(at.child("type"), items.ty.as_str(), why));
    }
    for (i, key) in s.map_keys.iter().enumerate() {
        match items.properties.get(key) {
            Some(property) if matches!(property.ty.as_str(), "array" | "object") => {
                let why = "must be a scalar type if parent array's x-kubernetes-list-type is map";
                let at = at.child("properties");
                errors.push(FieldError::invalid(at.key(key).child("type"), items.ty.as_str(), why));
            }
            Some(_) => {}
            None => {
                let why = "entries must all be names of item properties";
                errors.push(FieldError::invalid(keys_at, s.map_keys.clone(), why));
            }
        }
        if s.map_keys[..i].contains(key) {
            let why = "must not contain duplicate entries";
            errors.push(FieldError::invalid(keys_at, s.map_keys.clone(), why));
        }
    }
}

/// The keys of a list's elements, and the elements of a set, are always present.
fn complete_keys(s: &Props, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    let (Some(items), Some(list_type @ ("set" | "map"))) = (&s.items, s.list_type.as_deref()) else { return };
    let at = path.child("items");
    if items.nullable {
        let why = format!("cannot be nullable when x-kubernetes-list-type is {list_type}");
        errors.push(FieldError::forbidden(at.child("nullable"), why));
    }
    if list_type == "set" {
        return;
    }
    for key in &s.map_keys {
        let Some(property) = items.properties.get(key) else { continue };
        let at = at.child("properties");
        let at = at.key(key);
        if !items.required.contains(key) && property.default.is_none() {
            let why = "this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property";
            errors.push(FieldError::required(at.child("default"), why));
        }
        if property.nullable {
            let why = "this property is in x-kubernetes-list-map-keys, so it cannot be nullable";
            errors.push(FieldError::forbidden(at.child("nullable"), why));
        }
    }
}

/// The reasons that a rule may give.
const REASONS: [&str; 4] =
    ["FieldValueDuplicate", "FieldValueForbidden", "FieldValueInvalid", "FieldValueRequired"];

/// The rules of `x-kubernetes-validations`, except for their expressions.
fn rules(s: &Props, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    let list = path.child("x-kubernetes-validations");
    let has_lines = |text: &str| text.contains(['\n', '\r']);
    for (i, rule) in s.rules.iter().enumerate() {
        let at = list.index(i);
        let (text, message) = (rule.rule.trim(), rule.message.trim());
        if text.is_empty() {
            errors.push(FieldError::required(at.child("rule"), "rule is not specified"));
        } else if !rule.message.is_empty() && message.is_empty() {
            let why = "must be non-empty if specified";
            errors.push(FieldError::invalid(at.child("message"), rule.message.as_str(), why));
        } else if has_lines(message) {
            let why = "must not contain line breaks";
            errors.push(FieldError::invalid(at.child("message"), rule.message.as_str(), why));
        } else if has_lines(text) && message.is_empty() {
            let why = "message must be specified if rule contains line breaks";
            errors.push(FieldError::required(at.child("message"), why));
        }
        if !rule.message_expression.is_empty() && rule.message_expression.trim().is_empty() {
            let why = "messageExpression must be non-empty if specified";
            errors.push(FieldError::required(at.child("messageExpression"), why));
        }
        if let Some(reason) = rule.reason.as_deref().filter(|reason| !REASONS.contains(reason)) {
            errors.push(FieldError::not_supported(at.child("reason"), reason, &REASONS));
        }
        let field_path = rule.field_path.as_str();
        if !field_path.is_empty() {
            let at = at.child("fieldPath");
            if field_path.trim().is_empty() {
                errors.push(FieldError::invalid(at, field_path, "must be non-empty if specified"));
            }
            if has_lines(field_path) {
                errors.push(FieldError::invalid(at, field_path, "must not contain line breaks"));
            }
            if super::selectable::resolve(field_path, s, true).is_err() {
                errors.push(FieldError::invalid(at, field_path, "must be a valid path"));
            }
        }
    }
}
