//! Patches: RFC 6902 (`json`), RFC 7386 (`merge`) and strategic merge (`strategic`), from a request's bytes to a
//! decoded object. Server-side apply is in `managed_fields`, because it decides by owners.

pub mod go_print;
pub mod json;
pub mod merge;
mod show;
pub mod strategic;

use crate::field::FieldError;
use crate::resource::KindRef;
use crate::schema::{Decoded, ObjectType, Strictness, decode};
use crate::status::{Status, bad_request, invalid, too_large, unprocessable};
use serde_json::Value;
use show::{Touch, show};

/// The patch language.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum PatchKind {
    Json,
    Merge,
    Strategic,
}

impl PatchKind {
    /// The kind of a media type (without parameters).
    pub fn from_media_type(media_type: &str) -> Option<Self> {
        match media_type {
            "application/json-patch+json" => Some(PatchKind::Json),
            "application/merge-patch+json" => Some(PatchKind::Merge),
            "application/strategic-merge-patch+json" => Some(PatchKind::Strategic),
            _ => None,
        }
    }
}

/// The media type of server-side apply.
pub const APPLY: &str = "application/apply-patch+yaml";

/// The media types of patches.
const MEDIA_TYPES: &[&str] = &[
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
    APPLY,
];
/// Those of custom resources, which have no strategic merge.
const STRUCTURAL: &[&str] = &["application/json-patch+json", "application/merge-patch+json", APPLY];

/// The media types of patches of a type.
pub fn media_types(ty: &ObjectType) -> &'static [&'static str] {
    if ty.schema().is_structural() { STRUCTURAL } else { MEDIA_TYPES }
}

/// Most operations in one JSON patch.
pub const OPERATIONS_MAX: usize = 10_000;

/// Applies a patch to an object of type `expected` and decodes the result as a request body is decoded. `current` must
/// be in served form (with apiVersion, kind and resourceVersion).
pub fn apply(
    kind: PatchKind,
    current: &Value,
    body: &[u8],
    expected: &ObjectType,
    strictness: Strictness,
) -> Result<Decoded, Status> {
    let mut duplicates = Vec::new();
    let patch = parse(kind, body, strictness, &mut duplicates)?;
    let mut complaints: Vec<String> =
        duplicates.iter().map(|path| format!("duplicate field \"{path}\"")).collect();
    let (mut value, shown) = match (kind, patch) {
        (PatchKind::Json, Value::Array(operations)) => {
            if operations.len() > OPERATIONS_MAX {
                return Err(too_many(operations.len()));
            }
            complaints = operations_unknown(&operations);
            let mut value = current.clone();
            json::apply(&mut value, &operations).map_err(|_| unprocessable(None))?;
            (value, Shown::Result(Touch::of_json(&operations)))
        }
        (PatchKind::Merge, patch) => {
            let mut value = current.clone();
            merge::apply(&mut value, &patch);
            (value, Shown::Result(Touch::of_merge(Some(current), &patch)))
        }
        (_, patch) => {
            let shown = go_print::print(&patch);
            let mut value = current.clone();
            strategic::apply(&mut value, patch, expected).map_err(|e| e.to_status())?;
            (value, Shown::Patch(shown))
        }
    };
    if let Some(object) = value.as_object_mut() {
        object.entry("apiVersion").or_insert_with(|| expected.kind().api_version().into());
        object.entry("kind").or_insert_with(|| expected.kind().kind.into());
    }
    finish(value, shown, expected, complaints, strictness)
}

/// What an error shows of a patch.
enum Shown {
    /// The patched object, of which this is changed.
    Result(Touch),
    /// The patch.
    Patch(String),
}

impl Shown {
    fn text(self, value: &Value, ty: &ObjectType) -> String {
        match self {
            Shown::Result(touch) => show(value, ty, &touch),
            Shown::Patch(text) => text,
        }
    }
}

fn finish(
    value: Value,
    shown: Shown,
    expected: &ObjectType,
    complaints: Vec<String>,
    strictness: Strictness,
) -> Result<Decoded, Status> {
    let refuse =
        |shown: String, why: String| Err(invalid("", "", "", &[FieldError::invalid("patch", shown, why)]));
    let text = |v: &Value, key: &str| v.get(key).and_then(Value::as_str).unwrap_or("").to_owned();
    let (api_version, kind) = (text(&value, "apiVersion"), text(&value, "kind"));
    if let Some(refusal) = other_version(expected, &value, &api_version, &kind) {
        return Err(refusal);
    }
    if api_version != expected.kind().api_version() || kind != expected.kind().kind {
        let why = foreign(expected, &value, &api_version, &kind);
        return refuse(shown.text(&value, expected), why);
    }
    // Errors print the object, and decoding may change it first, so the text is built from a copy only on failure.
    match decode::check_patched(value.clone(), expected, complaints, strictness) {
        Ok(decoded) => Ok(decoded),
        Err(why) => {
            let why = match shown {
                Shown::Patch(_) => unrestored(&value, &why).unwrap_or(why),
                Shown::Result(_) => why,
            };
            refuse(shown.text(&value, expected), why)
        }
    }
}

/// The error for a patch that changes the version of a custom resource within its group: the result is decoded, and validated then.
fn other_version(expected: &ObjectType, value: &Value, api_version: &str, kind: &str) -> Option<Status> {
    let wanted = expected.kind();
    let (group, version) = crate::resource::split_api_version(api_version);
    if !expected.schema().is_structural()
        || (group, kind) != (wanted.group, wanted.kind)
        || version == wanted.version
    {
        return None;
    }
    let why = format!("must be {}", wanted.api_version());
    let name = crate::access::text(value, &["metadata", "name"]);
    Some(invalid(group, kind, name, &[FieldError::invalid("apiVersion", api_version, why)]))
}

/// The error for a patch that changes the object's kind: the result is decoded as the kind that it names.
fn foreign(expected: &ObjectType, value: &Value, api_version: &str, kind: &str) -> String {
    let (group, version) = crate::resource::split_api_version(api_version);
    let Some(found) = expected.of_kind(KindRef { group, version, kind }) else {
        return format!(
            "no kind \"{kind}\" is registered for version \"{api_version}\" in scheme \"{}\"",
            crate::schema::scheme_name(expected.kind().group)
        );
    };
    let mismatch = crate::schema::check(&found, &mut value.clone()).mismatch;
    mismatch.unwrap_or_else(|| format!("converting ({version}.{kind}): unknown conversion"))
}

/// An error of decoding in the words of upstream's converter, which the result of a strategic patch goes through.
fn unrestored(value: &Value, why: &str) -> Option<String> {
    let (found, rest) = why.strip_prefix("json: cannot unmarshal ")?.split_once(" into Go struct field ")?;
    let (place, ty) = rest.rsplit_once(" of type ")?;
    let found = match found.split(' ').next()? {
        "object" => "map",
        "array" => "slice",
        "number" if has_fraction(value, &place.split('.').skip(1).collect::<Vec<_>>()) => "float64",
        "number" => "int64",
        word => word,
    };
    let is_integer = matches!(ty, "int32" | "int64");
    let is_text = ty == "string" || crate::schema::is_named(ty);
    Some(match (ty, found) {
        (ty, _) if ty.starts_with("[]") => format!("cannot restore slice from {found}"),
        (ty, _) if ty.starts_with("map[") => format!("cannot restore map from {found}"),
        ("bool" | "int32" | "int64" | "float64", _) => match found {
            "float64" if is_integer => format!("cannot convert {found} to {ty}"),
            _ => format!("unrecognized type: {ty}"),
        },
        (ty, "int64") if is_text => format!("cannot convert {found} to {ty}"),
        _ if is_text => "unrecognized type: string".to_owned(),
        _ => format!("cannot restore struct from: {found}"),
    })
}

/// Whether the first number at a path, which leads through all elements of lists, has a fraction.
fn has_fraction(value: &Value, path: &[&str]) -> bool {
    fn number<'v>(value: &'v Value, path: &[&str]) -> Option<&'v serde_json::Number> {
        match (value, path) {
            (Value::Number(number), []) => Some(number),
            (Value::Array(items), path) => items.iter().find_map(|item| number(item, path)),
            (Value::Object(members), [name, rest @ ..]) => number(members.get(*name)?, rest),
            _ => None,
        }
    }
    number(value, path).is_some_and(serde_json::Number::is_f64)
}

fn parse(
    kind: PatchKind,
    body: &[u8],
    strictness: Strictness,
    duplicates: &mut Vec<String>,
) -> Result<Value, Status> {
    // Only those who want to know about fields have the body decoded before the patch is applied.
    let is_lenient = strictness == Strictness::Ignore;
    let wrong = |why: String| {
        bad_request(match kind {
            PatchKind::Strategic => why,
            PatchKind::Merge if is_lenient => "Invalid JSON Patch".to_owned(),
            PatchKind::Json if is_lenient => why,
            _ => format!("error decoding patch: {why}"),
        })
    };
    let value = decode::parse_plain(body, duplicates).map_err(wrong)?;
    let (fits, go_type) = match kind {
        PatchKind::Json if is_lenient => (value.is_array() || value.is_null(), "jsonpatch.Patch"),
        PatchKind::Json => (value.is_array() || value.is_null(), "[]handlers.jsonPatchOp"),
        _ => (value.is_object() || value.is_null(), "map[string]interface {}"),
    };
    if !fits {
        let found = decode::kind_word(&value);
        return Err(wrong(format!("json: cannot unmarshal {found} into Go value of type {go_type}")));
    }
    if let (PatchKind::Json, Value::Array(operations)) = (kind, &value)
        && let Some(why) = operations.iter().find_map(|operation| wrong_operation(operation, is_lenient))
    {
        return Err(wrong(why));
    }
    Ok(match (kind, value) {
        (PatchKind::Merge, Value::Null) => return Err(bad_request("Invalid JSON Patch")),
        (PatchKind::Json, Value::Null) => Value::Array(Vec::new()),
        (_, Value::Null) => Value::Object(serde_json::Map::new()),
        (_, value) => value,
    })
}

/// Why an operation cannot be decoded.
fn wrong_operation(operation: &Value, is_lenient: bool) -> Option<String> {
    let Value::Object(members) = operation else {
        let found = decode::kind_word(operation);
        let ty = if is_lenient { "jsonpatch.Operation" } else { "handlers.jsonPatchOp" };
        let why = || format!("json: cannot unmarshal {found} into Go value of type {ty}");
        return (!operation.is_null()).then(why);
    };
    if is_lenient {
        return None;
    }
    ["op", "path", "from"].into_iter().find_map(|name| {
        let value = members.get(name).filter(|value| !value.is_string() && !value.is_null())?;
        let found = decode::kind_word(value);
        Some(format!("json: cannot unmarshal {found} into Go struct field jsonPatchOp.{name} of type string"))
    })
}

/// The members of operations that no operation has.
fn operations_unknown(operations: &[Value]) -> Vec<String> {
    let mut unknown = Vec::new();
    for (at, operation) in operations.iter().enumerate() {
        for name in operation.as_object().into_iter().flat_map(serde_json::Map::keys) {
            if !["op", "path", "from", "value"].contains(&name.as_str()) {
                unknown.push(format!("json patch unknown field \"[{at}].{name}\""));
            }
        }
    }
    unknown
}

fn too_many(count: usize) -> Status {
    let message = format!("The allowed maximum operations in a JSON patch is {OPERATIONS_MAX}, got {count}");
    Status { message, ..too_large(0) }
}

#[cfg(test)]
#[path = "patch/tests.rs"]
mod tests;
