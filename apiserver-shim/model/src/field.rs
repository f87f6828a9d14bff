//! One complaint about one field, printed as clients know it: `spec.containers[0].image: Required value`.
//! Validation collects these; `status::invalid` turns them into the answer.

use serde_json::Value;
use std::fmt::{self, Write as _};

/// Where a field is, as `format_args!` says it: nothing is printed before there is a complaint.
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

/// One complaint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldError {
    /// What kind of complaint.
    pub fault: Fault,
    /// Where, such as `spec.ports[0].name`.
    pub field: String,
    /// The offending value as printed; empty where the kind of complaint shows none.
    pub shown: String,
    /// What would be right.
    pub detail: String,
}

impl FieldError {
    fn new(fault: Fault, field: impl fmt::Display, shown: String, detail: impl Into<String>) -> Self {
        FieldError { fault, field: field.to_string(), shown, detail: detail.into() }
    }

    /// A value must be given.
    pub fn required(field: impl fmt::Display, detail: impl Into<String>) -> Self {
        Self::new(Fault::Required, field, String::new(), detail)
    }

    /// The value is wrong; `value` is shown.
    pub fn invalid(field: impl fmt::Display, value: impl Into<Value>, detail: impl Into<String>) -> Self {
        Self::new(Fault::Invalid, field, show(&value.into()), detail)
    }

    /// The value is wrong, with the value already printed.
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
            let _ = write!(detail, "{}\"{s}\"", if i == 0 { "supported values: " } else { ", " });
        }
        Self::new(Fault::NotSupported, field, show(&value.into()), detail)
    }

    /// The field may not be used (here, now).
    pub fn forbidden(field: impl fmt::Display, detail: impl Into<String>) -> Self {
        Self::new(Fault::Forbidden, field, String::new(), detail)
    }

    /// The value occurs twice where it must be unique.
    pub fn duplicate(field: impl fmt::Display, value: impl Into<Value>) -> Self {
        Self::new(Fault::Duplicate, field, show(&value.into()), "")
    }

    /// The value names something that is not there.
    pub fn not_found(field: impl fmt::Display, value: impl Into<Value>) -> Self {
        Self::new(Fault::NotFound, field, show(&value.into()), "")
    }

    /// The value has more than `most` bytes.
    pub fn too_long(field: impl fmt::Display, most: usize) -> Self {
        let detail = format!("may not be more than {most} bytes");
        Self::new(Fault::TooLong, field, String::new(), detail)
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
    value.to_string()
}

/// `name[key]`: the field of an element of a map or list.
pub fn index(field: &str, key: impl fmt::Display) -> String {
    format!("{field}[{key}]")
}
