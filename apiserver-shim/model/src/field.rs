//! A validation error of one field, printed as upstream does: `spec.containers[0].image: Required value`. Validation
//! collects them; `status::invalid` makes the response.

use crate::go_quote::{Quoted, go_quote};
use serde_json::Value;
use std::fmt::{self, Write as _};

/// A field path as `format_args!`, formatted only if there is an error.
pub type At<'a> = fmt::Arguments<'a>;

/// What is wrong with a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum Fault {
    Required,
    Invalid,
    NotSupported,
    Forbidden,
    Duplicate,
    NotFound,
    TooLong,
    TooMany,
    TypeInvalid,
    Internal,
}

impl Fault {
    /// The machine-readable reason in `details.causes`.
    pub const fn reason(self) -> &'static str {
        match self {
            Fault::Required => "FieldValueRequired",
            Fault::Invalid => "FieldValueInvalid",
            Fault::NotSupported => "FieldValueNotSupported",
            Fault::Forbidden => "FieldValueForbidden",
            Fault::Duplicate => "FieldValueDuplicate",
            Fault::NotFound => "FieldValueNotFound",
            Fault::TooLong => "FieldValueTooLong",
            Fault::TooMany => "FieldValueTooMany",
            Fault::TypeInvalid => "FieldValueTypeInvalid",
            Fault::Internal => "InternalError",
        }
    }

    const fn words(self) -> &'static str {
        match self {
            Fault::Required => "Required value",
            Fault::Invalid => "Invalid value",
            Fault::NotSupported => "Unsupported value",
            Fault::Forbidden => "Forbidden",
            Fault::Duplicate => "Duplicate value",
            Fault::NotFound => "Not found",
            Fault::TooLong => "Too long",
            Fault::TooMany => "Too many",
            Fault::TypeInvalid => "Invalid value",
            Fault::Internal => "Internal error",
        }
    }
}

/// A validation error of one field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldError {
    /// The kind of error.
    pub fault: Fault,
    /// The field's path, such as `spec.ports[0].name`.
    pub field: String,
    /// The invalid value as printed; empty for kinds that print no value.
    pub shown: String,
    /// What is expected.
    pub detail: String,
}

impl FieldError {
    fn new(fault: Fault, field: impl fmt::Display, shown: String, detail: impl Into<String>) -> Self {
        FieldError { fault, field: field.to_string(), shown, detail: detail.into() }
    }

    /// A required value is missing.
    pub fn required(field: impl fmt::Display, detail: impl Into<String>) -> Self {
        Self::new(Fault::Required, field, String::new(), detail)
    }

    /// The value is invalid.
    pub fn invalid(field: impl fmt::Display, value: impl Into<Value>, detail: impl Into<String>) -> Self {
        Self::new(Fault::Invalid, field, show(&value.into()), detail)
    }

    /// The value is invalid; `shown` is the printed value.
    pub fn invalid_shown(
        field: impl fmt::Display,
        shown: impl Into<String>,
        detail: impl Into<String>,
    ) -> Self {
        Self::new(Fault::Invalid, field, shown.into(), detail)
    }

    /// The value is not one of a closed set, listed in `supported` in the order given.
    pub fn not_supported(field: impl fmt::Display, value: impl Into<Value>, supported: &[&str]) -> Self {
        let mut detail = String::new();
        for (i, s) in supported.iter().enumerate() {
            let _ = write!(detail, "{}{}", if i == 0 { "supported values: " } else { ", " }, Quoted(s));
        }
        Self::new(Fault::NotSupported, field, show(&value.into()), detail)
    }

    /// The field must not be set or changed here.
    pub fn forbidden(field: impl fmt::Display, detail: impl Into<String>) -> Self {
        Self::new(Fault::Forbidden, field, String::new(), detail)
    }

    /// The value occurs twice where it must be unique.
    pub fn duplicate(field: impl fmt::Display, value: impl Into<Value>) -> Self {
        Self::new(Fault::Duplicate, field, show(&value.into()), "")
    }

    /// The value refers to something that does not exist.
    pub fn not_found(field: impl fmt::Display, value: impl Into<Value>) -> Self {
        Self::new(Fault::NotFound, field, show(&value.into()), "")
    }

    /// The value has more than `most` bytes.
    pub fn too_long(field: impl fmt::Display, most: usize) -> Self {
        let detail = format!("may not be more than {most} bytes");
        Self::new(Fault::TooLong, field, String::new(), detail)
    }

    /// The list has `count` elements, more than `most`.
    pub fn too_many(field: impl fmt::Display, count: usize, most: usize) -> Self {
        let items = if most == 1 { "item" } else { "items" };
        let detail = format!("must have at most {most} {items}");
        Self::new(Fault::TooMany, field, count.to_string(), detail)
    }

    /// The value could not be checked.
    pub fn internal(field: impl fmt::Display, detail: impl Into<String>) -> Self {
        Self::new(Fault::Internal, field, String::new(), detail)
    }

    /// The same error with other words about it.
    #[must_use]
    pub fn with_detail(self, detail: impl Into<String>) -> Self {
        FieldError { detail: detail.into(), ..self }
    }

    /// The message without the field: what `details.causes` carries.
    pub fn body(&self) -> String {
        let mut out = String::from(self.fault.words());
        if !self.shown.is_empty() {
            let _ = write!(out, ": {}", self.shown);
        }
        if !self.detail.is_empty() {
            let _ = write!(out, ": {}", self.detail);
        }
        out
    }
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.body())
    }
}

/// How a value is shown in a message: strings quoted, everything else as JSON.
pub fn show(value: &Value) -> String {
    match value {
        Value::Array(_) | Value::Object(_) => {
            let text = value.to_string();
            // Members are in the order of their names, which is upstream's for no type but this common one.
            if !text.contains("\"matchExpressions\"") {
                return escaped(&text);
            }
            let mut out = String::with_capacity(text.len());
            show_ordered(value, &mut out);
            escaped(&out)
        }
        Value::String(text) => go_quote(text),
        scalar => scalar.to_string(),
    }
}

/// A value as Go's JSON package prints it: what HTML gives a meaning is escaped.
pub fn go_json(value: &Value) -> String {
    escaped(&value.to_string())
}

fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            other => out.push(other),
        }
    }
    out
}

/// Prints a value, `matchLabels` first in each selector.
fn show_ordered(value: &Value, out: &mut String) {
    let join = |out: &mut String, at: usize| out.push_str(if at == 0 { "" } else { "," });
    match value {
        Value::Object(members) => {
            out.push('{');
            let (labels, others): (Vec<_>, Vec<_>) =
                members.iter().partition(|(name, _)| *name == "matchLabels");
            for (at, (name, value)) in labels.into_iter().chain(others).enumerate() {
                join(out, at);
                let _ = write!(out, "{}:", Value::from(name.as_str()));
                show_ordered(value, out);
            }
            out.push('}');
        }
        Value::Array(items) => {
            out.push('[');
            for (at, item) in items.iter().enumerate() {
                join(out, at);
                show_ordered(item, out);
            }
            out.push(']');
        }
        other => {
            let _ = write!(out, "{other}");
        }
    }
}

/// `name[key]`: the field of an element of a map or list.
pub fn index(field: &str, key: impl fmt::Display) -> String {
    format!("{field}[{key}]")
}
