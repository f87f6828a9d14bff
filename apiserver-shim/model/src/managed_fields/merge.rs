//! Merges an applied configuration into an object: its leaves replace those of the object, nothing is removed, and lists
//! whose elements have identities are merged element by element.

use super::node::{Keys, Place, Shape, is_empty};
use super::path::{PathElement, equal_values};
use crate::schema::{ItemId, ObjectType};
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};

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

/// An element with its identity.
struct Known<'a> {
    element: PathElement,
    value: &'a Value,
}

fn known<'a>(place: Place<'_>, (item, keys): (ItemId, Keys<'_>), list: &'a [Value]) -> Vec<Known<'a>> {
    let one = |value| Some(Known { element: place.element(item, keys, value).ok()?, value });
    list.iter().filter_map(one).collect()
}

/// The elements of a list by their identities: their values, or `None` for duplicates, which are replaced as a whole.
fn by_element<'l, 'a>(list: &'l [Known<'a>]) -> BTreeMap<&'l PathElement, Option<&'a Value>> {
    let mut out = BTreeMap::new();
    for Known { element, value } in list {
        out.entry(element).and_modify(|only| *only = None).or_insert(Some(*value));
    }
    out
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
    let (in_old, in_new) = (by_element(&old), by_element(&new));
    let live_of = |element: &PathElement| in_old.get(element).copied().flatten();
    // The shared elements in the order in which they are to come.
    let mut shared = new.iter().map(|k| &k.element).filter(|e| in_old.contains_key(e));
    let mut next = shared.next();
    let mut taken: BTreeSet<&PathElement> = BTreeSet::new();
    let mut out = Vec::new();
    let (mut l, mut r) = (0, 0);
    while l < old.len() || r < new.len() {
        if let (Some(mine), Some(theirs)) = (old.get(l), new.get(r)) {
            if mine.element == theirs.element {
                taken.insert(&theirs.element);
                out.extend(merged(below, live_of(&mine.element), Some(theirs.value)));
                (l, r) = (l + 1, r + 1);
                next = shared.next();
                continue;
            }
            if in_new.contains_key(&mine.element) && next.is_some_and(|next| *next != mine.element) {
                l += 1;
                continue;
            }
        }
        if let Some(mine) = old.get(l) {
            if !in_new.contains_key(&mine.element) {
                out.push(mine.value.clone());
                l += 1;
                continue;
            }
            if taken.contains(&mine.element) {
                l += 1;
            }
        }
        if let Some(theirs) = new.get(r) {
            taken.insert(&theirs.element);
            out.extend(merged(below, live_of(&theirs.element), Some(theirs.value)));
            r += 1;
            if next == Some(&theirs.element) {
                next = shared.next();
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
    // Where each element is; `None` for duplicates.
    let mut positions: BTreeMap<PathElement, Option<usize>> = BTreeMap::new();
    for (at, element) in live.iter().enumerate().filter_map(|(at, value)| Some((at, identity(value)?))) {
        positions.entry(element).and_modify(|only| *only = None).or_insert(Some(at));
    }
    let mut from = 0;
    config.iter().all(|value| {
        let Some(at) = identity(value).and_then(|e| *positions.get(&e)?) else { return false };
        let ordered = at >= from;
        from = at + 1;
        ordered && covered(place.item(item), Some(&live[at]), value)
    })
}

fn members_of(value: Option<&Value>) -> Option<&Map<String, Value>> {
    value.and_then(Value::as_object)
}

fn items_of(value: Option<&Value>) -> &[Value] {
    value.and_then(Value::as_array).map_or(&[], Vec::as_slice)
}
