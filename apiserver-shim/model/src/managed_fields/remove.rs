//! Removes fields from an object: what an applier owned before and no longer applies.

use super::field_set::{FieldSet, Node};
use super::node::{Place, Shape};
use super::path::PathElement;
use crate::schema::{ObjectType, Type};
use serde_json::{Map, Value};

/// The object without the members and elements in `fields`.
pub fn remove_items(ty: &ObjectType, object: &Value, fields: &FieldSet) -> Value {
    removed(Place::root(ty), object, fields)
}

fn removed(place: Place<'_>, value: &Value, fields: &FieldSet) -> Value {
    match (place.shape(Some(value)), value) {
        (Shape::Members, Value::Object(members)) if !members.is_empty() => {
            let mut out = Map::new();
            for (name, inner) in members {
                let element = PathElement::Field(name.clone());
                let kept = match fields.node(&element) {
                    Some(node) if node.member => continue,
                    Some(node) if !node.below.is_empty() => {
                        removed(place.member(name).unwrap_or(place), inner, &node.below)
                    }
                    _ => inner.clone(),
                };
                out.insert(name.clone(), kept);
            }
            if out.is_empty() { Value::Null } else { Value::Object(out) }
        }
        (Shape::Elements(item, keys), Value::Array(elements)) if !elements.is_empty() => {
            let mut out = Vec::new();
            for inner in elements {
                let node = place.element(item, keys, inner).ok().and_then(|element| fields.node(&element));
                match node {
                    Some(node) if node.member => {}
                    Some(node) if !node.below.is_empty() => {
                        out.push(removed(place.item(item), inner, &node.below));
                    }
                    _ => out.push(inner.clone()),
                }
            }
            if out.is_empty() { Value::Null } else { Value::Array(out) }
        }
        // Nothing is left of a leaf below which something is to be removed, unless it is a scalar.
        (_, Value::Object(_) | Value::Array(_)) => Value::Null,
        _ => value.clone(),
    }
}

/// The set with the members of structs that its paths pass through: to remove `a.b` is to remove `a` if it is a field.
pub fn with_named_fields(ty: &ObjectType, fields: &FieldSet) -> FieldSet {
    named(Some(Place::root(ty)), fields)
}

fn named(place: Option<Place<'_>>, fields: &FieldSet) -> FieldSet {
    FieldSet::of(fields.nodes().iter().map(|node| {
        let passed_through = !node.below.nodes().is_empty();
        let field = match &node.element {
            PathElement::Field(name) => place.and_then(|place| place.known(name)),
            _ => None,
        };
        let below = place.and_then(|place| match (&node.element, place.ty) {
            (PathElement::Field(name), Type::Struct(_) | Type::Map(_)) => place.member(name),
            (PathElement::Key(_), Type::List(item)) => Some(place.item(item)),
            _ => None,
        });
        Node {
            element: node.element.clone(),
            member: node.member || passed_through && field.is_some(),
            below: named(below, &node.below),
        }
    }))
}

/// The set as the schema of today has it: where it has paths below a value that is owned as a whole by now, it has the
/// path of the value. `None` if nothing changes.
pub fn with_atomics(ty: &ObjectType, fields: &FieldSet) -> Option<FieldSet> {
    let mut changed = false;
    let out = atomics(Place::root(ty), fields, &mut changed);
    changed.then_some(out)
}

fn atomics(place: Place<'_>, fields: &FieldSet, changed: &mut bool) -> FieldSet {
    FieldSet::of(fields.nodes().iter().map(|node| {
        let below = match (&node.element, place.ty) {
            (PathElement::Field(name), Type::Struct(_) | Type::Map(_)) => place.member(name),
            (PathElement::Key(_) | PathElement::Value(_), Type::List(item)) => Some(place.item(item)),
            _ => None,
        };
        let Some(below) = below.filter(|below| below.ty != Type::Any) else { return node.clone() };
        let container = matches!(below.ty, Type::Struct(_) | Type::Map(_) | Type::List(_));
        if container && matches!(below.shape(None), Shape::Leaf) && !node.below.is_empty() {
            *changed = true;
            return Node { element: node.element.clone(), member: true, below: FieldSet::default() };
        }
        Node { below: atomics(below, &node.below, changed), ..node.clone() }
    }))
}
