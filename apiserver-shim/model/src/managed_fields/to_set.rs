//! The paths that an applied configuration sets: every leaf, every list element, and members of maps.

use super::field_set::{FieldSet, Subset};
use super::node::{Keys, Place, Shape};
use super::path::PathElement;
use crate::schema::{ItemId, ObjectType};
use serde_json::Value;
use std::collections::BTreeMap;

/// The fields of a configuration of type `ty`.
pub fn to_field_set(ty: &ObjectType, value: &Value) -> FieldSet {
    subset(Place::root(ty), value).below
}

pub(super) fn subset(place: Place<'_>, value: &Value) -> Subset {
    match (place.shape(Some(value)), value) {
        (Shape::Members, Value::Object(_)) => members(place, value),
        (Shape::Elements(item, keys), Value::Array(elements)) => list(place, (item, keys), elements),
        (Shape::Members | Shape::Elements(..), Value::Null) => Subset::default(),
        _ => Subset::leaf(),
    }
}

fn members(place: Place<'_>, value: &Value) -> Subset {
    let mut out = Subset::default();
    for (name, inner) in value.as_object().into_iter().flatten() {
        let Some(below) = place.member(name) else { continue };
        let mut found = subset(below, inner);
        let empty = inner.is_null() || inner.as_object().is_some_and(serde_json::Map::is_empty);
        // Members of structs are in the set only by what is below them; those of maps are elements.
        found.own |= empty || place.known(name).is_none();
        out.below.put(PathElement::Field(name.clone()), found);
    }
    out
}

fn list(place: Place<'_>, (item, keys): (ItemId, Keys<'_>), elements: &[Value]) -> Subset {
    let mut out = Subset::default();
    let known = elements.iter().filter_map(|e| Some((place.element(item, keys, e).ok()?, e)));
    let mut by_element: BTreeMap<PathElement, Vec<&Value>> = BTreeMap::new();
    for (element, value) in known {
        by_element.entry(element).or_default().push(value);
    }
    for (element, values) in by_element {
        // Elements that occur several times are owned together and as a whole.
        let mut found = match values[..] {
            [value] => subset(place.item(item), value),
            _ => Subset::default(),
        };
        found.own = true;
        out.below.put(element, found);
    }
    out
}
