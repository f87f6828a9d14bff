//! What makes a schema structural: every field has one type, named outside of `allOf`, `anyOf`, `oneOf` and `not`, which only
//! restrict values.

use serde_json::Value;
use shim_model::field::FieldError;

use super::path::Path;
use super::props::{Additional, Props};

/// Why a schema is not structural.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotStructural {
    /// It uses a keyword that structural schemas do not have.
    #[error("{0}")]
    Keyword(String),
    /// It breaks rules of structural schemas.
    #[error("the schema is not structural: {}", joined(.0))]
    Violations(Vec<FieldError>),
}

fn joined(errors: &[FieldError]) -> String {
    errors.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// Where in a schema a schema is.
#[derive(Clone, Copy, PartialEq)]
enum Level {
    Root,
    Item,
    Field,
}

/// Checks a schema.
pub(super) fn check(root: &Props) -> Result<(), NotStructural> {
    unsupported(root).map_or(Ok(()), |why| Err(NotStructural::Keyword(why)))?;
    let violations = violations(root, "");
    if violations.is_empty() { Ok(()) } else { Err(NotStructural::Violations(violations)) }
}

/// The rules of structural schemas that a schema breaks, sorted by text. `at` is its path.
pub fn structural_violations(schema: &Value, at: &str) -> Vec<FieldError> {
    let root = Props::parse(schema);
    match unsupported(&root) {
        Some(why) => vec![FieldError::invalid(at, "", why)],
        None => violations(&root, at),
    }
}

/// The first keyword that structural schemas do not have.
pub(super) fn unsupported(root: &Props) -> Option<String> {
    let mut found = None;
    root.any(&mut |schema| {
        if let Some(keyword) = schema.forbidden.first() {
            let name = if *keyword == "$schema" { "schema" } else { keyword };
            found = Some(format!("OpenAPIV3Schema '{name}' is not supported"));
        } else if !schema.item_list.is_empty() {
            found = Some("OpenAPIV3Schema 'items' must be a schema, but is an array".to_owned());
        } else if schema.preserve_false {
            let why = "internal error: 'x-kubernetes-preserve-unknown-fields' must be true or undefined";
            found = Some(why.to_owned());
        }
        found.is_some()
    });
    found
}

/// The rules that a schema breaks, sorted by text.
pub(super) fn violations(root: &Props, at: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let path = Path::text(at);
    invariants(root, Level::Root, &path, &mut errors);
    values_are_typed(root, Some(root), &path, &path, &mut errors);
    errors.sort_by_cached_key(ToString::to_string);
    errors
}

fn invariants(s: &Props, level: Level, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    if s.ty == "array" && s.items.is_none() {
        errors.push(FieldError::required(path.child("items"), "must be specified"));
    }
    if let Some(items) = &s.items {
        invariants(items, Level::Item, &path.child("items"), errors);
    }
    for (name, property) in &s.properties {
        invariants(property, Level::Field, &path.child("properties").key(name), errors);
    }
    if let Some(additional) = &s.additional {
        let path = path.child("additionalProperties");
        if level == Level::Root {
            errors.push(FieldError::forbidden(path, "must not be used at the root"));
        }
        if let Additional::Schema(schema) = additional {
            invariants(schema, Level::Field, &path, errors);
        }
    }
    extensions(s, path, errors);
    let first_all_of = s.all_of.first().is_some_and(|first| int_or_string(&first.any_of));
    restrictions(s, (int_or_string(&s.any_of), first_all_of), path, errors);
    types(s, level, path, errors);
    metadata(s, level, path, errors);
    if s.embedded && !s.preserve && s.properties.is_empty() {
        errors.push(FieldError::required(
            path.child("properties"),
            "must not be empty if x-kubernetes-embedded-resource is true without x-kubernetes-preserve-unknown-fields",
        ));
    }
}

fn extensions(s: &Props, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    let why = "must be false if x-kubernetes-int-or-string is true";
    if s.int_or_string && s.preserve {
        errors.push(FieldError::invalid(path.child("x-kubernetes-preserve-unknown-fields"), true, why));
    }
    if s.int_or_string && s.embedded {
        errors.push(FieldError::invalid(path.child("x-kubernetes-embedded-resource"), true, why));
    }
}

fn types(s: &Props, level: Level, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    let ty = path.child("type");
    if s.embedded && s.ty != "object" {
        let why = "must be object if x-kubernetes-embedded-resource is true";
        errors.push(match s.ty.as_str() {
            "" => FieldError::required(ty, why),
            other => FieldError::invalid(ty, other, why),
        });
    } else if s.ty.is_empty() && !s.int_or_string && !s.preserve {
        let why = match level {
            Level::Root => "must not be empty at the root",
            Level::Item => "must not be empty for specified array items",
            Level::Field => "must not be empty for specified object fields",
        };
        errors.push(FieldError::required(ty, why));
    }
    if s.embedded && s.additional.is_some() {
        let why = "must not be used if x-kubernetes-embedded-resource is set";
        errors.push(FieldError::forbidden(path.child("additionalProperties"), why));
    }
    if level == Level::Root && !s.ty.is_empty() && s.ty != "object" {
        errors.push(FieldError::invalid(ty, s.ty.as_str(), "must be object at the root"));
    }
}

fn metadata(s: &Props, level: Level, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    let resource = level == Level::Root || s.embedded;
    let properties = path.child("properties");
    for name in ["kind", "apiVersion"] {
        if let Some(property) = s.properties.get(name).filter(|p| resource && p.ty != "string") {
            let at = properties.key(name);
            errors.push(FieldError::invalid(at.child("type"), property.ty.as_str(), "must be string"));
        }
    }
    let Some(metadata) = s.properties.get("metadata") else { return };
    let at = properties.key("metadata");
    if resource && metadata.ty != "object" {
        errors.push(FieldError::invalid(at.child("type"), metadata.ty.as_str(), "must be object"));
    }
    if level == Level::Root && !restricts_names_only(metadata) {
        let why = "must not specify anything other than name and generateName, but metadata is implicitly specified";
        errors.push(FieldError::forbidden(at, why));
    }
}

/// Whether the schema of an object's metadata has nothing but its type and names.
fn restricts_names_only(metadata: &Props) -> bool {
    let known = |name: &String| name == "name" || name == "generateName";
    let mut rest = metadata.clone();
    if metadata.properties.keys().all(known) {
        rest.properties.clear();
    }
    (rest.ty, rest.default) = (String::new(), None);
    rest.is_empty()
}

/// Whether the alternatives are those that say "integer or string".
fn int_or_string(any_of: &[Props]) -> bool {
    let [integer, string] = any_of else { return false };
    let only = |schema: &Props, ty: &str| {
        let mut rest = schema.clone();
        rest.ty.clear();
        schema.ty == ty && rest.is_empty()
    };
    only(integer, "integer") && only(string, "string")
}

/// The rules of `allOf`, `anyOf`, `oneOf`, `not` and `pattern`. `skip` is whether `anyOf`, and that of the first of `allOf`,
/// say "integer or string".
fn restrictions(s: &Props, skip: (bool, bool), path: &Path<'_>, errors: &mut Vec<FieldError>) {
    if !skip.0 {
        let at = path.child("anyOf");
        for (i, nested) in s.any_of.iter().enumerate() {
            restriction(nested, false, &at.index(i), errors);
        }
    }
    for (list, schemas) in [("allOf", &s.all_of), ("oneOf", &s.one_of)] {
        let at = path.child(list);
        for (i, nested) in schemas.iter().enumerate() {
            restriction(nested, list == "allOf" && i == 0 && skip.1, &at.index(i), errors);
        }
    }
    if let Some(not) = &s.not {
        restriction(not, false, &path.child("not"), errors);
    }
    if let Some(pattern) = &s.pattern
        && let Err(why) = &pattern.compiled
    {
        let why = format!("must be a valid regular expression, but isn't: {why}");
        errors.push(FieldError::invalid(path.child("pattern"), pattern.text.as_str(), why));
    }
}

/// The rules of a schema within a restriction.
fn restriction(s: &Props, skip_any_of: bool, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    restrictions(s, (skip_any_of, false), path, errors);
    if let Some(items) = &s.items {
        restriction(items, false, &path.child("items"), errors);
    }
    for (name, property) in &s.properties {
        restriction(property, false, &path.child("properties").key(name), errors);
    }
    let set = [
        ("type", !s.ty.is_empty(), "must be empty to be structural"),
        (
            "additionalProperties",
            matches!(s.additional, Some(Additional::Schema(_) | Additional::Allowed(true))),
            "must be undefined to be structural",
        ),
        ("default", s.default.is_some(), "must be undefined to be structural"),
        ("title", !s.title.is_empty(), "must be empty to be structural"),
        ("description", !s.description.is_empty(), "must be empty to be structural"),
        ("nullable", s.nullable, "must be false to be structural"),
        ("x-kubernetes-preserve-unknown-fields", s.preserve, "must be false to be structural"),
        ("x-kubernetes-embedded-resource", s.embedded, "must be false to be structural"),
        ("x-kubernetes-int-or-string", s.int_or_string, "must be false to be structural"),
        ("x-kubernetes-list-map-keys", !s.map_keys.is_empty(), "must be empty to be structural"),
        ("x-kubernetes-list-type", s.list_type.is_some(), "must be undefined to be structural"),
        ("x-kubernetes-map-type", s.map_type.is_some(), "must be undefined to be structural"),
        ("x-kubernetes-validations", !s.rules.is_empty(), "must be empty to be structural"),
    ];
    for (keyword, is_set, why) in set {
        if is_set {
            errors.push(FieldError::forbidden(path.child(keyword), why));
        }
    }
    if s.properties.contains_key("metadata") {
        let at = path.child("properties");
        errors.push(FieldError::forbidden(at.key("metadata"), "must not be specified in a nested context"));
    }
}

/// Every field that a restriction of `v` names must be in `s`.
fn values_are_typed(
    v: &Props,
    s: Option<&Props>,
    s_path: &Path<'_>,
    v_path: &Path<'_>,
    errors: &mut Vec<FieldError>,
) {
    if let Some(not) = &v.not {
        nested_is_typed(not, s, s_path, &v_path.child("not"), errors);
    }
    for (list, schemas) in [("allOf", &v.all_of), ("anyOf", &v.any_of), ("oneOf", &v.one_of)] {
        let at = v_path.child(list);
        for (i, nested) in schemas.iter().enumerate() {
            nested_is_typed(nested, s, s_path, &at.index(i), errors);
        }
    }
}

fn nested_is_typed(
    v: &Props,
    s: Option<&Props>,
    s_path: &Path<'_>,
    v_path: &Path<'_>,
    errors: &mut Vec<FieldError>,
) {
    let Some(schema) = s else {
        errors.push(FieldError::required(s_path, format!("because it is defined in {v_path}")));
        return;
    };
    values_are_typed(v, s, s_path, v_path, errors);
    if let Some(items) = &v.items {
        let (s_path, v_path) = (s_path.child("items"), v_path.child("items"));
        nested_is_typed(items, schema.items.as_deref(), &s_path, &v_path, errors);
    }
    for (name, property) in &v.properties {
        let (s_path, v_path) = (s_path.child("properties"), v_path.child("properties"));
        let found = schema.properties.get(name);
        nested_is_typed(property, found, &s_path.key(name), &v_path.key(name), errors);
    }
}
