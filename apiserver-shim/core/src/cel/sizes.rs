//! How large values of a schema can become in a request, as upstream estimates it: by `maxLength`, `maxItems` and
//! `maxProperties`, or else by what a request can hold.

use std::collections::BTreeMap;

use serde_json::Value;

use super::types::{escape, is_escapable};

/// Bytes of a request.
const REQUEST_MAX: u64 = 3 << 20;
/// Bytes of the longest duration, date and time in JSON.
const DURATION_MAX: u64 = 32;
const DATE_SIZE: u64 = 12;
const TIME_MAX: u64 = 32;

/// The sizes of values of a schema and of everything within them.
#[derive(Debug, Default)]
pub(crate) struct Sizes {
    /// Characters, elements or members at most.
    pub most: u64,
    /// Bytes that a value takes in JSON at least.
    smallest: u64,
    /// Elements of a list, or values of a map.
    pub elements: Option<Box<Sizes>>,
    /// Whether it is a map, which has keys.
    pub is_map: bool,
    /// The members of an object, by their names in expressions.
    pub fields: BTreeMap<String, Sizes>,
}

impl Sizes {
    /// The sizes of a schema; `None` if expressions cannot use its values.
    pub fn of(schema: &Value, is_resource: bool) -> Option<Sizes> {
        let flag = |name: &str| schema.get(name) == Some(&Value::Bool(true));
        let limit = |name: &str| schema.get(name).and_then(Value::as_i64).map(|most| most.max(0) as u64);
        let whole = limit("maxLength").map(|most| most.saturating_mul(4));
        if flag("x-kubernetes-int-or-string") {
            return Some(Sizes::scalar(whole.unwrap_or(REQUEST_MAX - 2), 1));
        }
        match schema.get("type").and_then(Value::as_str).unwrap_or("") {
            "array" => {
                let elements = Sizes::of(schema.get("items")?, false)?;
                let most = limit("maxItems").unwrap_or((REQUEST_MAX - 2) / (elements.smallest + 1));
                Some(Sizes { most, smallest: 2, elements: Some(Box::new(elements)), ..Sizes::default() })
            }
            "boolean" => Some(Sizes::scalar(0, 4)),
            "integer" | "number" => Some(Sizes::scalar(0, 1)),
            "string" => Some(text(schema, limit("maxLength"), whole)),
            "object" => object(schema, is_resource || flag("x-kubernetes-embedded-resource"), limit),
            _ => None,
        }
    }

    fn scalar(most: u64, smallest: u64) -> Sizes {
        Sizes { most, smallest, ..Sizes::default() }
    }

    /// How many values a request can hold at most.
    pub fn cardinality(&self) -> u64 {
        REQUEST_MAX / (self.smallest + 1)
    }
}

fn text(schema: &Value, length: Option<u64>, whole: Option<u64>) -> Sizes {
    let longest = |item: &Value| item.as_str().map_or(0, str::len) as u64;
    let values = schema.get("enum").and_then(Value::as_array).filter(|values| !values.is_empty());
    match schema.get("format").and_then(Value::as_str).unwrap_or("") {
        "byte" => Sizes::scalar(length.unwrap_or(REQUEST_MAX - 2), 2),
        "duration" => Sizes::scalar(DURATION_MAX, 3),
        "date" => Sizes::scalar(DATE_SIZE, DATE_SIZE),
        "date-time" => Sizes::scalar(TIME_MAX, 21),
        _ => {
            let of_values = values.and_then(|values| values.iter().map(longest).max());
            Sizes::scalar(whole.or(of_values).unwrap_or(REQUEST_MAX - 2), 2)
        }
    }
}

fn object(schema: &Value, is_resource: bool, limit: impl Fn(&str) -> Option<u64>) -> Option<Sizes> {
    if let Some(further) = schema.get("additionalProperties").filter(|further| further.is_object()) {
        let elements = Sizes::of(further, false)?;
        // Upstream: the smallest value with its key, quotation marks, colon and comma.
        let most = limit("maxProperties").unwrap_or((REQUEST_MAX - 2) / (elements.smallest + 6));
        let elements = Some(Box::new(elements));
        return Some(Sizes { most, smallest: 2, elements, is_map: true, ..Sizes::default() });
    }
    let properties = schema.get("properties").and_then(Value::as_object);
    let required = schema.get("required").and_then(Value::as_array);
    let mut sizes = Sizes::scalar(0, 2);
    for (name, property) in properties.into_iter().flatten() {
        let Some(found) = Sizes::of(property, false) else { continue };
        let is_required = required.is_some_and(|names| names.iter().any(|known| known == name));
        if is_required && property.get("default").is_none_or(Value::is_null) {
            sizes.smallest += name.len() as u64 + found.smallest + 4;
        }
        if is_escapable(name) {
            sizes.fields.insert(escape(name), found);
        }
    }
    if is_resource {
        let text = || Sizes::scalar(REQUEST_MAX - 2, 2);
        let names = ["name", "generateName"].map(|name| (name.to_owned(), text()));
        let metadata = Sizes { smallest: 2, fields: names.into(), ..Sizes::default() };
        let members = [("apiVersion", text()), ("kind", text()), ("metadata", metadata)];
        sizes.fields.extend(members.map(|(name, sizes)| (name.to_owned(), sizes)));
    }
    Some(sizes)
}
