//! Paths of fields (`.spec.color`, `.spec['a.b']`) in rules and selectable fields.

use std::collections::BTreeSet;

use serde_json::Value;
use shim_model::field::FieldError;

use super::props::{Additional, Props};

/// Most selectable fields of a version.
const SELECTABLE_MAX: usize = 8;

/// A path that was found in a schema: as errors print it, its first name, and the schema at its end.
#[derive(Debug)]
pub(super) struct Resolved<'a> {
    pub path: String,
    pub first: String,
    pub schema: &'a Props,
}

/// Resolves a path. `brackets` is whether names in brackets are allowed.
pub(super) fn resolve<'a>(text: &str, schema: &'a Props, brackets: bool) -> Result<Resolved<'a>, String> {
    let end = || "unexpected end of JSON path".to_owned();
    let mut at = Resolved { path: String::new(), first: String::new(), schema };
    let mut tokens = tokens(text).into_iter();
    while let Some(token) = tokens.next() {
        let name = match token {
            "[" if !brackets => return Err("array notation is not allowed".to_owned()),
            "[" => {
                let quoted = tokens.next().ok_or_else(end)?;
                let inner = quoted.strip_prefix('\'').and_then(|q| q.strip_suffix('\''));
                let inner = inner.ok_or_else(|| format!("expected single quoted string but got {quoted}"))?;
                unescape(inner)?
            }
            "." => tokens.next().ok_or_else(end)?.to_owned(),
            other => return Err(format!("expected [ or . but got: {other}")),
        };
        enter(&mut at, &name)?;
        if token == "[" {
            match tokens.next() {
                None => return Err(end()),
                Some("]") => {}
                Some(other) => return Err(format!("expected ] but got {other}")),
            }
        }
    }
    Ok(at)
}

fn enter(at: &mut Resolved<'_>, name: &str) -> Result<(), String> {
    let invalid = || "does not refer to a valid field".to_owned();
    if at.path.is_empty() {
        at.first = name.to_owned();
    }
    if !at.schema.properties.is_empty() {
        at.schema = at.schema.properties.get(name).ok_or_else(invalid)?;
        let dot = if at.path.is_empty() { "" } else { "." };
        at.path.push_str(&format!("{dot}{name}"));
    } else if let Some(Additional::Schema(schema)) = &at.schema.additional {
        at.schema = schema;
        at.path.push_str(&format!("[{name}]"));
    } else {
        return Err(invalid());
    }
    Ok(())
}

/// Splits a path at `.`, `[` and `]`, which are tokens themselves; quoted names are one token.
fn tokens(text: &str) -> Vec<&str> {
    let mut tokens = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let width = if let Some(quoted) = rest.strip_prefix('\'') {
            let bytes = quoted.as_bytes();
            let end = (0..bytes.len()).find(|i| bytes[*i] == b'\'' && (*i == 0 || bytes[i - 1] != b'\\'));
            end.map_or(rest.len(), |end| end + 2)
        } else {
            match rest.find(['.', '[', ']']) {
                Some(0) => 1,
                Some(at) => at,
                None => rest.len(),
            }
        };
        tokens.push(&rest[..width]);
        rest = &rest[width..];
    }
    tokens
}

fn unescape(text: &str) -> Result<String, String> {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        out.push(match chars.next() {
            Some('a') => '\x07',
            Some('b') => '\x08',
            Some('f') => '\x0c',
            Some('n') => '\n',
            Some('r') => '\r',
            Some('t') => '\t',
            Some('v') => '\x0b',
            Some('\'') => '\'',
            Some('\\') => '\\',
            other => {
                let other = other.map(String::from).unwrap_or_default();
                return Err(format!("invalid string literal: invalid escape char \\{other}"));
            }
        });
    }
    Ok(out)
}

/// The errors of a list of selectable fields at `path`. `stored_too_many` is whether the stored definition has more than are
/// allowed, and the same.
pub fn selectable_field_errors(
    fields: &Value,
    schema: &Value,
    path: &str,
    stored_too_many: bool,
) -> Vec<FieldError> {
    let root = Props::parse(schema);
    let mut errors = Vec::new();
    let mut seen: BTreeSet<String> = BTreeSet::new();
    for (i, field) in fields.as_array().into_iter().flatten().enumerate() {
        let at = format!("{path}[{i}].jsonPath");
        let text = field.get("jsonPath").and_then(Value::as_str).unwrap_or("");
        if text.is_empty() {
            errors.push(FieldError::required(at, ""));
            continue;
        }
        let found = match resolve(text, &root, false) {
            Ok(found) => found,
            Err(why) => {
                errors.push(FieldError::invalid(at, text, format!("is an invalid path: {why}")));
                continue;
            }
        };
        if found.first == "metadata" {
            errors.push(FieldError::invalid(&at, text, "must not point to fields in metadata"));
        }
        if !matches!(found.schema.ty.as_str(), "string" | "boolean" | "integer") {
            let why = "must point to a field of type string, boolean or integer. Enum string fields and strings with formats are allowed.";
            errors.push(FieldError::invalid(&at, text, why));
        }
        if !seen.insert(found.path) {
            errors.push(FieldError::duplicate(at, text));
        }
    }
    if seen.len() > SELECTABLE_MAX && !stored_too_many {
        errors.push(FieldError::too_many(path, seen.len(), SELECTABLE_MAX));
    }
    errors
}
