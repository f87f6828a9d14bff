//! Merges an applied configuration into an object: its leaves replace those of the object, nothing is removed, and lists
//! whose elements have identities are merged element by element.

use super::node::{Keys, Place, Shape, is_empty};
use super::path::{PathElement, equal_values};
use crate::schema::{ItemId, ObjectType};
use serde_json::{Map, Value};
use std::collections::VecDeque;

/// The object with the configuration merged into it. Both are of type `ty`; the configuration has no duplicates.
pub fn merge(ty: &ObjectType, live: &Value, config: &Value) -> Value {
    merged(Place::root(ty), Some(live), Some(config)).unwrap_or_default()
}

/// Whether merging the configuration changes nothing.
pub fn covers(ty: &ObjectType, live: &Value, config: &Value) -> bool {
    covered(Place::root(ty), Some(live), config)
}

fn merged(place: Place<'_>, live: Option<&Value>, config: Option<&Value>) -> Option<Value> {
    let leaf = || config.or(live).cloned();
    if is_empty(live) && is_empty(config) {
        return leaf();
    }
    // A null says nothing about members and elements.
    let sample = config.filter(|config| !config.is_null()).or(live);
    match place.shape(sample) {
        Shape::Leaf => leaf(),
        Shape::Members => {
            let (old, new) = (members_of(live), members_of(config));
            let mut out = Map::new();
            for (name, value) in old.into_iter().flatten() {
                let theirs = new.and_then(|new| new.get(name));
                let below = place.member(name).unwrap_or(place);
                let value = match theirs {
                    None => Some(value.clone()),
                    Some(_) => merged(below, Some(value), theirs),
                };
                out.extend(value.map(|value| (name.clone(), value)));
            }
            for (name, value) in
                new.into_iter().flatten().filter(|(n, _)| old.is_none_or(|o| !o.contains_key(*n)))
            {
                let below = place.member(name).unwrap_or(place);
                out.extend(merged(below, None, Some(value)).map(|value| (name.clone(), value)));
            }
            (!out.is_empty()).then_some(Value::Object(out))
        }
        Shape::Elements(item, keys) => {
            let (old, new) = (items_of(live), items_of(config));
            let out = merged_list(place, (item, keys), old, new);
            (!out.is_empty()).then_some(Value::Array(out))
        }
    }
}

/// An element with its identity; `None` as value if it occurs several times, because such elements are not merged.
struct Known<'a> {
    element: PathElement,
    value: &'a Value,
}

fn known<'a>(place: Place<'_>, (item, keys): (ItemId, Keys<'_>), list: &'a [Value]) -> Vec<Known<'a>> {
    let one = |value| Some(Known { element: place.element(item, keys, value).ok()?, value });
    list.iter().filter_map(one).collect()
}

fn find<'a>(list: &[Known<'a>], element: &PathElement) -> Option<&'a Value> {
    let mut all = list.iter().filter(|k| k.element == *element);
    match (all.next(), all.next()) {
        (Some(only), None) => Some(only.value),
        // Duplicates are replaced as a whole.
        _ => None,
    }
}

/// The order is that of the object where the configuration changes nothing, and that of the configuration among its own
/// elements.
fn merged_list(
    place: Place<'_>,
    (item, keys): (ItemId, Keys<'_>),
    live: &[Value],
    config: &[Value],
) -> Vec<Value> {
    let (old, new) = (known(place, (item, keys), live), known(place, (item, keys), config));
    let below = place.item(item);
    let in_old = |element: &PathElement| old.iter().any(|k| k.element == *element);
    let in_new = |element: &PathElement| new.iter().any(|k| k.element == *element);
    // The shared elements in the order in which they are to come.
    let mut shared: VecDeque<&PathElement> = new.iter().map(|k| &k.element).filter(|e| in_old(e)).collect();
    let mut next = shared.pop_front();
    let mut taken: Vec<&PathElement> = Vec::new();
    let mut out = Vec::new();
    let (mut l, mut r) = (0, 0);
    while l < old.len() || r < new.len() {
        if let (Some(mine), Some(theirs)) = (old.get(l), new.get(r)) {
            if mine.element == theirs.element {
                taken.push(&theirs.element);
                out.extend(merged(below, find(&old, &mine.element), Some(theirs.value)));
                (l, r) = (l + 1, r + 1);
                next = shared.pop_front();
                continue;
            }
            if in_new(&mine.element) && next.is_some_and(|next| *next != mine.element) {
                l += 1;
                continue;
            }
        }
        if let Some(mine) = old.get(l) {
            if !in_new(&mine.element) {
                out.push(mine.value.clone());
                l += 1;
                continue;
            }
            if taken.contains(&&mine.element) {
                l += 1;
            }
        }
        if let Some(theirs) = new.get(r) {
            taken.push(&theirs.element);
            out.extend(merged(below, find(&old, &theirs.element), Some(theirs.value)));
            r += 1;
            if next == Some(&theirs.element) {
                next = shared.pop_front();
            }
        }
    }
    out
}

fn covered(place: Place<'_>, live: Option<&Value>, config: &Value) -> bool {
    let Some(live) = live else { return false };
    if is_empty(Some(live)) && is_empty(Some(config)) {
        return live == config;
    }
    let sample = if config.is_null() { live } else { config };
    match place.shape(Some(sample)) {
        Shape::Leaf => equal_values(live, config),
        Shape::Members => members_of(Some(config)).into_iter().flatten().all(|(name, value)| {
            let below = place.member(name).unwrap_or(place);
            covered(below, live.get(name), value)
        }),
        Shape::Elements(item, keys) => {
            let (old, new) = (items_of(Some(live)), items_of(Some(config)));
            covered_list(place, (item, keys), old, new)
        }
    }
}

/// Whether the configuration's elements occur in the object, once each and in the same order.
fn covered_list(
    place: Place<'_>,
    (item, keys): (ItemId, Keys<'_>),
    live: &[Value],
    config: &[Value],
) -> bool {
    let identity = |value| place.element(item, keys, value).ok();
    let old: Vec<Option<PathElement>> = live.iter().map(identity).collect();
    let mut from = 0;
    config.iter().all(|value| {
        let element = identity(value);
        let mut all = old.iter().enumerate().filter(|(_, e)| **e == element).map(|(at, _)| at);
        let (Some(at), None) = (all.next(), all.next()) else { return false };
        let ordered = at >= from;
        from = at + 1;
        ordered && element.is_some() && covered(place.item(item), Some(&live[at]), value)
    })
}

fn members_of(value: Option<&Value>) -> Option<&Map<String, Value>> {
    value.and_then(Value::as_object)
}

fn items_of(value: Option<&Value>) -> &[Value] {
    value.and_then(Value::as_array).map_or(&[], Vec::as_slice)
}
