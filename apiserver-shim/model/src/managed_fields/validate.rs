//! Checks that an applied configuration has the shape of its type. Messages equal those of upstream's typed values.

use super::node::{ElementError, Keys, Place, Shape};
use super::path::PathElement;
use crate::patch::go_print;
use crate::schema::{ItemId, ObjectType, Type};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fmt;

/// The error of a configuration, with its path.
struct Problem {
    path: String,
    message: String,
}

/// Checks a configuration of type `ty`. The error lists everything that is wrong.
pub fn validate(ty: &ObjectType, config: &Value) -> Result<(), String> {
    let mut problems = Vec::new();
    check(Place::root(ty), config, At { parent: None, step: Step::Root }, &mut problems);
    let show = |problem: &Problem| match problem.path.as_str() {
        "" => problem.message.clone(),
        path => format!("{path}: {}", problem.message),
    };
    match &problems[..] {
        [] => Ok(()),
        [only] => Err(show(only)),
        all => {
            let lines: Vec<String> = all.iter().map(|problem| format!("\n  {}", show(problem))).collect();
            Err(format!("errors:{}", lines.concat()))
        }
    }
}

/// The paths of what a configuration sets that is owned as a whole although it has members or elements.
pub fn atomics(ty: &ObjectType, config: &Value) -> Vec<String> {
    let mut found = Vec::new();
    find_atomics(Place::root(ty), config, "", &mut found);
    found
}

fn find_atomics(place: Place<'_>, value: &Value, path: &str, found: &mut Vec<String>) {
    let is_whole = matches!(place.shape(Some(value)), Shape::Leaf);
    match value {
        Value::Object(members) => {
            if is_whole {
                found.push(path.to_owned());
            }
            for (name, inner) in members {
                if let Some(field) = place.known(name) {
                    find_atomics(place.field(field), inner, &format!("{path}.{name}"), found);
                }
            }
        }
        Value::Array(elements) => {
            if is_whole {
                found.push(path.to_owned());
            }
            let Type::List(item) = place.ty else { return };
            for (at, inner) in elements.iter().enumerate() {
                find_atomics(place.item(item), inner, &format!("{path}[{at}]"), found);
            }
        }
        _ => {}
    }
}

/// The error of a number with a fraction where the type has integers. It is found when the merged object is decoded.
pub(super) fn fraction(ty: &ObjectType, object: &Value) -> Option<String> {
    find_fraction(Place::root(ty), object)
}

fn find_fraction(place: Place<'_>, value: &Value) -> Option<String> {
    let integer = match place.ty {
        Type::Int32 | Type::IntOrString => "int32",
        _ => "int64",
    };
    match (place.ty, value) {
        (Type::Int32 | Type::Int64 | Type::IntOrString, Value::Number(number)) if number.is_f64() => {
            Some(format!("cannot convert float64 to {integer}"))
        }
        (Type::List(item), Value::Array(items)) => {
            items.iter().find_map(|inner| find_fraction(place.item(item), inner))
        }
        (Type::Struct(_) | Type::Map(_), Value::Object(members)) => {
            members.iter().find_map(|(name, inner)| find_fraction(place.member(name)?, inner))
        }
        _ => None,
    }
}

/// Where a value is. It is printed for what is wrong only.
#[derive(Clone, Copy)]
struct At<'a> {
    parent: Option<&'a At<'a>>,
    step: Step<'a>,
}

#[derive(Clone, Copy)]
enum Step<'a> {
    Root,
    Member(&'a str),
    Index(usize),
    Element(&'a PathElement),
}

impl<'a> At<'a> {
    fn below(&'a self, step: Step<'a>) -> At<'a> {
        At { parent: Some(self), step }
    }
}

impl fmt::Display for At<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(parent) = self.parent {
            parent.fmt(f)?;
        }
        match self.step {
            Step::Root => Ok(()),
            Step::Member(name) => write!(f, ".{name}"),
            Step::Index(at) => write!(f, "[{at}]"),
            Step::Element(element) => element.fmt(f),
        }
    }
}

fn check(place: Place<'_>, value: &Value, at: At<'_>, problems: &mut Vec<Problem>) {
    let mut report = |message: String| problems.push(Problem { path: at.to_string(), message });
    if value.is_null() {
        return;
    }
    match (place.ty, value) {
        (Type::Struct(_) | Type::Map(_), Value::Object(members)) => {
            for (name, inner) in members {
                let path = at.below(Step::Member(name));
                match place.member(name) {
                    Some(below) => check(below, inner, path, problems),
                    None => {
                        let message = "field not declared in schema".to_owned();
                        problems.push(Problem { path: path.to_string(), message });
                        // Upstream stops at the first unknown member of an object.
                        break;
                    }
                }
            }
        }
        (Type::Struct(_) | Type::Map(_), other) => report(format!("expected map, got {}", pointer(other))),
        (Type::List(item), Value::Array(elements)) => match place.shape(None) {
            Shape::Elements(item, keys) => list(place, (item, keys), elements, at, problems),
            _ => {
                for (index, inner) in elements.iter().enumerate() {
                    check(place.item(item), inner, at.below(Step::Index(index)), problems);
                }
            }
        },
        (Type::List(_), other) => report(format!("expected list, got {}", pointer(other))),
        (Type::Any, _) => {}
        (Type::String | Type::Bytes, Value::String(_)) | (Type::Bool, Value::Bool(_)) => {}
        (Type::Int32 | Type::Int64 | Type::Float, Value::Number(_)) => {}
        (Type::IntOrString | Type::Quantity | Type::Time | Type::MicroTime, scalar)
            if !scalar.is_object() && !scalar.is_array() => {}
        (Type::String | Type::Bytes, other) => {
            report(format!("expected string, got &value.valueUnstructured{{Value:{}}}", go_syntax(other)));
        }
        (Type::Bool, other) => report(format!("expected boolean, got {}", pointer(other))),
        (Type::Int32 | Type::Int64 | Type::Float, other) => {
            report(format!("expected numeric (int or float), got {}", go_type(other)));
        }
        (_, other) => report(format!("expected any scalar, got {}", pointer(other))),
    }
}

fn list(
    place: Place<'_>,
    (item, keys): (ItemId, Keys<'_>),
    elements: &[Value],
    at: At<'_>,
    problems: &mut Vec<Problem>,
) {
    let mut seen: BTreeSet<PathElement> = BTreeSet::new();
    for (index, inner) in elements.iter().enumerate() {
        let element: Result<PathElement, ElementError> = place.element(item, keys, inner);
        let element = match element {
            Ok(element) => element,
            Err(why) => {
                let message = format!("element {index}: {why}");
                return problems.push(Problem { path: at.to_string(), message });
            }
        };
        if seen.contains(&element) {
            let message = format!("duplicate entries for key {element}");
            problems.push(Problem { path: at.to_string(), message });
        }
        check(place.item(item), inner, at.below(Step::Element(&element)), problems);
        seen.insert(element);
    }
}

/// Go's `%v` of a pointer to a struct with the value.
fn pointer(value: &Value) -> String {
    format!("&{{{}}}", go_print::print(value))
}

/// Go's `%#v` of a decoded value.
fn go_syntax(value: &Value) -> String {
    match value {
        Value::Null => "interface {}(nil)".to_owned(),
        Value::Array(items) => {
            format!("[]interface {{}}{{{}}}", items.iter().map(go_syntax).collect::<Vec<_>>().join(", "))
        }
        Value::Object(members) => {
            let members =
                members.iter().map(|(name, v)| format!("{}:{}", Value::from(name.as_str()), go_syntax(v)));
            format!("map[string]interface {{}}{{{}}}", members.collect::<Vec<_>>().join(", "))
        }
        scalar => scalar.to_string(),
    }
}

/// Go's `%T` of a decoded value.
fn go_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "<nil>",
        Value::Bool(_) => "bool",
        Value::Number(_) => "float64",
        Value::String(_) => "string",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
    }
}
