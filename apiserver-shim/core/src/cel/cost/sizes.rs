//! Ranges of sizes and costs, and the sizes that a schema allows.

use serde_json::Value;

use crate::cel::types::{escape, is_escapable};

/// The largest request, in bytes: without further limits its parts have room for no more.
const REQUEST_BYTES_MAX: u64 = 3 << 20;
/// The longest duration or time in JSON.
const TIME_BYTES_MAX: u64 = 32;
/// A date in JSON.
const DATE_BYTES: u64 = 12;

/// From a least to a most, without overflow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Range {
    pub min: u64,
    pub max: u64,
}

impl Range {
    pub(super) const ZERO: Range = Range::fixed(0);
    pub(super) const ONE: Range = Range::fixed(1);
    pub(super) const UNKNOWN: Range = Range { min: 0, max: u64::MAX };

    pub(super) const fn fixed(value: u64) -> Range {
        Range { min: value, max: value }
    }

    pub(super) fn plus(self, other: Range) -> Range {
        Range { min: self.min.saturating_add(other.min), max: self.max.saturating_add(other.max) }
    }

    pub(super) fn times(self, other: Range) -> Range {
        Range { min: self.min.saturating_mul(other.min), max: self.max.saturating_mul(other.max) }
    }

    /// Rounded up.
    pub(super) fn scaled(self, factor: f64) -> Range {
        let scale = |value: u64| (value as f64 * factor).ceil() as u64;
        Range { min: scale(self.min), max: scale(self.max) }
    }

    pub(super) fn union(self, other: Range) -> Range {
        Range { min: self.min.min(other.min), max: self.max.max(other.max) }
    }

    pub(super) fn sum(all: impl Iterator<Item = Range>) -> Range {
        all.fold(Range::ZERO, Range::plus)
    }

    /// What encompasses all; zero for none.
    pub(super) fn union_all(all: impl Iterator<Item = Range>) -> Range {
        all.reduce(Range::union).unwrap_or(Range::ZERO)
    }
}

/// A value with a schema.
#[derive(Debug, Clone, Copy)]
pub struct Declared<'s>(Site<'s>);

#[derive(Debug, Clone, Copy)]
enum Site<'s> {
    Schema {
        schema: &'s Value,
        is_resource: bool,
    },
    /// The metadata that every resource has.
    Metadata,
    /// A text without a limit.
    Text,
    /// The key of a map, or another value without a size.
    Plain,
}

impl<'s> Declared<'s> {
    /// The values of a schema, which may be that of a whole resource.
    pub fn new(schema: &'s Value, is_resource: bool) -> Declared<'s> {
        let embedded = schema.get("x-kubernetes-embedded-resource") == Some(&Value::Bool(true));
        Declared(Site::Schema { schema, is_resource: is_resource || embedded })
    }

    fn below(schema: &'s Value) -> Declared<'s> {
        Declared::new(schema, false)
    }

    /// A field, by its name in expressions.
    pub(super) fn field(&self, name: &str) -> Option<Declared<'s>> {
        match self.0 {
            Site::Schema { schema, is_resource } => {
                match name {
                    "apiVersion" | "kind" if is_resource => return Some(Declared(Site::Text)),
                    "metadata" if is_resource => return Some(Declared(Site::Metadata)),
                    _ => {}
                }
                let properties = schema.get("properties")?.as_object()?;
                let mut named = properties.iter().filter(|(own, _)| is_escapable(own));
                named.find(|(own, _)| escape(own) == name).map(|(_, schema)| Declared::below(schema))
            }
            Site::Metadata if matches!(name, "name" | "generateName") => Some(Declared(Site::Text)),
            Site::Metadata | Site::Text | Site::Plain => None,
        }
    }

    /// The elements of a list, or the values of a map.
    pub(super) fn items(&self) -> Option<Declared<'s>> {
        let Site::Schema { schema, .. } = self.0 else { return None };
        let items = schema.get("items").or_else(|| further(schema));
        items.filter(|items| items.is_object()).map(Declared::below)
    }

    /// The keys of a map.
    pub(super) fn keys(&self) -> Option<Declared<'s>> {
        let Site::Schema { schema, .. } = self.0 else { return None };
        further(schema).map(|_| Declared(Site::Plain))
    }

    /// The largest size that is allowed.
    pub(super) fn size(&self) -> Range {
        let max = match self.0 {
            Site::Schema { schema, .. } => elements_max(schema),
            Site::Text => REQUEST_BYTES_MAX - 2,
            Site::Metadata | Site::Plain => 0,
        };
        Range { min: 0, max }
    }
}

fn further(schema: &Value) -> Option<&Value> {
    schema.get("additionalProperties").filter(|further| further.is_object())
}

fn number(schema: &Value, name: &str) -> Option<u64> {
    schema.get(name).and_then(Value::as_i64).map(|number| u64::try_from(number).unwrap_or(0))
}

fn text<'a>(schema: &'a Value, name: &str) -> &'a str {
    schema.get(name).and_then(Value::as_str).unwrap_or("")
}

/// The most elements of a list or map, or characters of a text.
fn elements_max(schema: &Value) -> u64 {
    let length = number(schema, "maxLength");
    // A character has up to four bytes.
    let of_length = || length.map(|length| length.saturating_mul(4));
    if schema.get("x-kubernetes-int-or-string") == Some(&Value::Bool(true)) {
        return of_length().unwrap_or(REQUEST_BYTES_MAX - 2);
    }
    match text(schema, "type") {
        "array" => number(schema, "maxItems").unwrap_or_else(|| {
            let least = schema.get("items").map_or(0, size_min);
            (REQUEST_BYTES_MAX - 2) / (least + 1)
        }),
        "object" => further(schema).map_or(0, |values| {
            let limit = number(schema, "maxProperties");
            limit.unwrap_or_else(|| (REQUEST_BYTES_MAX - 2) / (size_min(values) + 6))
        }),
        "string" => match text(schema, "format") {
            "byte" => length.unwrap_or(REQUEST_BYTES_MAX - 2),
            "duration" | "date-time" => TIME_BYTES_MAX,
            "date" => DATE_BYTES,
            _ => of_length().or_else(|| longest_value(schema)).unwrap_or(REQUEST_BYTES_MAX - 2),
        },
        _ => 0,
    }
}

fn longest_value(schema: &Value) -> Option<u64> {
    let values = schema.get("enum")?.as_array().filter(|values| !values.is_empty())?;
    let lengths = values.iter().filter_map(Value::as_str).map(|value| value.len() as u64);
    Some(lengths.max().unwrap_or(0))
}

/// The least size of a value in JSON.
fn size_min(schema: &Value) -> u64 {
    if schema.get("x-kubernetes-int-or-string") == Some(&Value::Bool(true)) {
        return 1;
    }
    match text(schema, "type") {
        "boolean" => 4,
        "integer" | "number" => 1,
        "string" => match text(schema, "format") {
            "duration" => 3,
            "date" => DATE_BYTES,
            "date-time" => 21,
            _ => 2,
        },
        "object" if further(schema).is_none() => {
            let required = schema.get("required").and_then(Value::as_array).into_iter().flatten();
            let sizes = required.filter_map(Value::as_str).filter_map(|name| {
                let property = schema.get("properties")?.get(name)?;
                // Defaults are filled in by the server.
                let counts = property.get("default").is_none();
                counts.then(|| name.len() as u64 + size_min(property) + 4)
            });
            2 + sizes.sum::<u64>()
        }
        _ => 2,
    }
}

/// How often a value of a schema may occur in one object, if no schema above limits it.
pub fn max_cardinality(schema: &Value) -> u64 {
    REQUEST_BYTES_MAX / (size_min(schema) + 1)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn sizes_are_those_that_a_request_has_room_for() {
        let cases = [
            (json!({"type": "string"}), 3_145_726),
            (json!({"type": "string", "maxLength": 10}), 40),
            (json!({"type": "string", "enum": ["a", "abc"]}), 3),
            (json!({"type": "string", "format": "byte", "maxLength": 10}), 10),
            (json!({"type": "string", "format": "date-time"}), 32),
            (json!({"type": "array", "items": {"type": "string"}}), 1_048_575),
            (json!({"type": "array", "items": {"type": "string"}, "maxItems": 5}), 5),
            (json!({"type": "object", "additionalProperties": {"type": "integer"}}), 449_389),
            (json!({"x-kubernetes-int-or-string": true}), 3_145_726),
            (json!({"type": "integer"}), 0),
            (
                json!({"type": "array", "items": {"type": "object", "required": ["name"],
                    "properties": {"name": {"type": "string"}, "more": {"type": "string"}}}}),
                242_055 - 13_447,
            ),
        ];
        for (schema, expected) in &cases[..cases.len() - 1] {
            assert_eq!(elements_max(schema), *expected, "{schema}");
        }
        // {"name":""} without its quotes is twelve bytes by the rule, and a comma.
        assert_eq!(elements_max(&cases[cases.len() - 1].0), (REQUEST_BYTES_MAX - 2) / 13);
    }
}
