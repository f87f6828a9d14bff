//! One step of a field path, in the notations of `fieldsV1` (`f:name`, `k:{…}`, `v:…`, `i:…`) and of messages
//! (`.name`, `[key="x"]`, `[="x"]`, `[3]`), and the order of steps, which is that of upstream's sets.

use crate::patch::go_print;
use serde_json::{Map, Value};
use std::cmp::Ordering;
use std::fmt;

/// One step of a path.
#[derive(Debug, Clone)]
pub enum PathElement {
    /// A member of a struct or map.
    Field(String),
    /// An element of a list of objects by its keys, sorted by name.
    Key(Vec<(String, Value)>),
    /// An element of a set by its value.
    Value(Value),
    /// An element of a list by its index. Only clients write it.
    Index(i64),
}

/// Why an encoded element is not one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BadElement {
    /// Its notation is not known; newer servers may have more of them, so that such elements are skipped.
    Unknown,
    /// It is malformed.
    Malformed,
}

impl PathElement {
    /// Parses a member's name in `fieldsV1`.
    pub fn parse(text: &str) -> Result<PathElement, BadElement> {
        let bad = |_| BadElement::Malformed;
        let (kind, rest) = text.split_at_checked(2).ok_or(BadElement::Malformed)?;
        match kind {
            "f:" => Ok(PathElement::Field(rest.to_owned())),
            "v:" => serde_json::from_str(rest).map(PathElement::Value).map_err(|_| BadElement::Malformed),
            "k:" => {
                let keys: Map<String, Value> =
                    serde_json::from_str(rest).map_err(|_| BadElement::Malformed)?;
                Ok(PathElement::Key(keys.into_iter().collect()))
            }
            "i:" => rest.parse().map(PathElement::Index).map_err(bad),
            other if other.ends_with(':') => Err(BadElement::Unknown),
            _ => Err(BadElement::Malformed),
        }
    }

    /// The member's name in `fieldsV1`.
    pub fn encode(&self) -> String {
        match self {
            PathElement::Field(name) => {
                let mut out = String::with_capacity(2 + name.len());
                out.push_str("f:");
                out.push_str(name);
                out
            }
            PathElement::Key(keys) => encode_keys(keys.iter().map(|(name, value)| (name.as_str(), value))),
            PathElement::Value(value) => format!("v:{value}"),
            PathElement::Index(at) => format!("i:{at}"),
        }
    }

    fn rank(&self) -> u8 {
        match self {
            PathElement::Field(_) => 0,
            PathElement::Key(_) => 1,
            PathElement::Value(_) => 2,
            PathElement::Index(_) => 3,
        }
    }
}

/// Encodes the keys of a list element, sorted by name.
pub(super) fn encode_keys<'a>(keys: impl Iterator<Item = (&'a str, &'a Value)>) -> String {
    let mut out = Vec::with_capacity(64);
    out.extend_from_slice(b"k:{");
    for (name, value) in keys {
        if !out.ends_with(b"{") {
            out.push(b',');
        }
        serde_json::to_writer(&mut out, name).expect("invariant: a text always encodes into memory");
        out.push(b':');
        serde_json::to_writer(&mut out, value).expect("invariant: a JSON value always encodes into memory");
    }
    out.push(b'}');
    String::from_utf8(out).expect("invariant: JSON is text")
}

impl Ord for PathElement {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self, other) {
            (PathElement::Field(a), PathElement::Field(b)) => a.cmp(b),
            (PathElement::Key(a), PathElement::Key(b)) => {
                for ((a_name, a_value), (b_name, b_value)) in a.iter().zip(b) {
                    let order = a_name.cmp(b_name).then_with(|| compare_values(a_value, b_value));
                    if order.is_ne() {
                        return order;
                    }
                }
                a.len().cmp(&b.len())
            }
            (PathElement::Value(a), PathElement::Value(b)) => compare_values(a, b),
            (PathElement::Index(a), PathElement::Index(b)) => a.cmp(b),
            _ => self.rank().cmp(&other.rank()),
        }
    }
}

impl PartialOrd for PathElement {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for PathElement {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for PathElement {}

impl fmt::Display for PathElement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PathElement::Field(name) => write!(f, ".{name}"),
            PathElement::Key(keys) => {
                let keys: Vec<String> =
                    keys.iter().map(|(name, value)| format!("{name}={}", show(value))).collect();
                write!(f, "[{}]", keys.join(","))
            }
            PathElement::Value(value) => write!(f, "[={}]", show(value)),
            PathElement::Index(at) => write!(f, "[{at}]"),
        }
    }
}

/// The values of keys are scalars: texts are quoted.
fn show(value: &Value) -> String {
    match value {
        Value::String(text) => Value::from(text.as_str()).to_string(),
        Value::Null => "null".to_owned(),
        other => go_print::print(other),
    }
}

/// The order of values of any type: numbers, texts, booleans, lists, objects, null.
pub fn compare_values(a: &Value, b: &Value) -> Ordering {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => match (a.as_i64(), b.as_i64()) {
            (Some(a), Some(b)) => a.cmp(&b),
            _ => a.as_f64().unwrap_or(0.0).partial_cmp(&b.as_f64().unwrap_or(0.0)).unwrap_or(Ordering::Equal),
        },
        (Value::String(a), Value::String(b)) => a.cmp(b),
        (Value::Bool(a), Value::Bool(b)) => a.cmp(b),
        (Value::Array(a), Value::Array(b)) => {
            let different = a.iter().zip(b).map(|(a, b)| compare_values(a, b)).find(|order| order.is_ne());
            different.unwrap_or_else(|| a.len().cmp(&b.len()))
        }
        (Value::Object(a), Value::Object(b)) => {
            let pairs = a.iter().zip(b);
            let mut orders =
                pairs.map(|((ak, av), (bk, bv))| ak.cmp(bk).then_with(|| compare_values(av, bv)));
            orders.find(|order| order.is_ne()).unwrap_or_else(|| a.len().cmp(&b.len()))
        }
        _ => type_rank(a).cmp(&type_rank(b)),
    }
}

fn type_rank(value: &Value) -> u8 {
    match value {
        Value::Number(_) => 0,
        Value::String(_) => 1,
        Value::Bool(_) => 2,
        Value::Array(_) => 3,
        Value::Object(_) => 4,
        Value::Null => 5,
    }
}

/// Whether two values are equal; `1` and `1.0` are.
pub fn equal_values(a: &Value, b: &Value) -> bool {
    a == b || compare_values(a, b).is_eq()
}

/// A path as messages show it.
pub fn show_path(path: &[PathElement]) -> String {
    path.iter().map(PathElement::to_string).collect()
}
