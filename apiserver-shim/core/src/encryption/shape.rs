//! The shape of an `EncryptionConfiguration`: which members there are, of which kinds. Serde would check it too, but its
//! messages quote values, which may be keys.

use serde_json::Value;
use shim_model::go_quote::Quoted;

/// What a value is.
enum Shape {
    Any,
    Text,
    List(&'static Shape),
    /// The members that there may be.
    Object(&'static [(&'static str, Shape)]),
}

use Shape::{Any, List, Object, Text};

const FILE: Shape = Object(&[("apiVersion", Text), ("kind", Text), ("resources", List(&Object(&ENTRY)))]);
const ENTRY: [(&str, Shape); 2] = [("resources", List(&Text)), ("providers", List(&Object(&PROVIDER)))];
const PROVIDER: [(&str, Shape); 5] =
    [("aesgcm", KEYS), ("aescbc", KEYS), ("secretbox", KEYS), ("identity", Object(&[])), ("kms", Any)];
const KEYS: Shape = Object(&[("keys", List(&Object(&[("name", Text), ("secret", Text)])))]);

/// The first member that is not known or of another kind than it must be.
pub(super) fn error(file: &Value) -> Option<String> {
    check(file, &FILE, String::new()).err()
}

/// `at` is the path of the value; empty for the file.
fn check(value: &Value, shape: &Shape, at: String) -> Result<(), String> {
    match (shape, value) {
        (Any, _) | (Text, Value::String(_)) => Ok(()),
        (List(element), Value::Array(list)) => {
            let mut elements = list.iter().enumerate();
            elements.try_for_each(|(i, value)| check(value, element, format!("{at}[{i}]")))
        }
        (Object(known), Value::Object(members)) => members.iter().try_for_each(|(name, value)| {
            let at = if at.is_empty() { name.clone() } else { format!("{at}.{name}") };
            match known.iter().find(|(known, _)| known == name) {
                None => Err(format!("unknown field {at}", at = Quoted(&at))),
                // An absent member.
                Some((_, List(_) | Object(_) | Any)) if value.is_null() => Ok(()),
                Some((_, shape)) => check(value, shape, at),
            }
        }),
        _ => Err(format!("{at}: expected {}, found {}", shape.noun(), noun(value))),
    }
}

impl Shape {
    fn noun(&self) -> &'static str {
        match self {
            Any => "anything",
            Text => "a string",
            List(_) => "a list",
            Object(_) => "an object",
        }
    }
}

fn noun(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}
