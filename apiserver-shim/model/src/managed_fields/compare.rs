//! Which fields differ between two objects of a type. Embedded structs, which every object of the type has, count as
//! present on both sides, so that only explicit fields are recorded.

use super::field_set::{FieldSet, Subset};
use super::node::{Keys, Place, Shape, is_empty};
use super::path::{PathElement, equal_values};
use crate::schema::{DefaultValue, Field, ItemId, ObjectType, Type};
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

/// The difference of two objects. No path is in two of the sets.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes {
    /// Fields that only the new object has.
    pub added: FieldSet,
    /// Fields with another value.
    pub modified: FieldSet,
    /// Fields that only the old object has.
    pub removed: FieldSet,
}

impl Changes {
    /// The fields that were added or have another value.
    pub fn changed(&self) -> FieldSet {
        match (self.added.is_empty(), self.modified.is_empty()) {
            (true, _) => self.modified.clone(),
            (_, true) => self.added.clone(),
            _ => self.added.union(&self.modified),
        }
    }

    /// Applies `change` to each set.
    pub fn each(&mut self, change: impl Fn(&mut FieldSet)) {
        [&mut self.added, &mut self.modified, &mut self.removed].into_iter().for_each(change);
    }
}

static EMPTY_OBJECT: LazyLock<Value> = LazyLock::new(|| Value::Object(Map::new()));
static EMPTY_TEXT: LazyLock<Value> = LazyLock::new(|| Value::String(String::new()));
static ZERO: LazyLock<Value> = LazyLock::new(|| 0.into());
static EMPTY_LIST: LazyLock<Value> = LazyLock::new(|| Value::Array(Vec::new()));

/// Compares two objects of a type.
pub fn compare(ty: &ObjectType, old: &Value, new: &Value) -> Changes {
    let mut out = Out::default();
    walk(Place::root(ty), (Some(old), Some(new)), &mut out);
    Changes { added: out.added.below, modified: out.modified.below, removed: out.removed.below }
}

/// A value before and after.
type Pair<'a> = (Option<&'a Value>, Option<&'a Value>);

/// The three sets at one place.
#[derive(Default)]
struct Out {
    added: Subset,
    modified: Subset,
    removed: Subset,
}

impl Out {
    /// Adds what was found below an element.
    fn put(&mut self, element: impl FnOnce() -> PathElement, found: Out) {
        let Out { added, modified, removed } = found;
        if added.is_empty() && modified.is_empty() && removed.is_empty() {
            return;
        }
        let element = element();
        self.added.below.put(element.clone(), added);
        self.modified.below.put(element.clone(), modified);
        self.removed.below.put(element, removed);
    }

    fn presence(&mut self, pair: Pair<'_>) {
        self.added.own |= pair.0.is_none();
        self.removed.own |= pair.1.is_none();
    }

    fn leaf(&mut self, pair: Pair<'_>) {
        match pair {
            (None, _) => self.added.own = true,
            (_, None) => self.removed.own = true,
            (Some(old), Some(new)) => self.modified.own |= !equal_values(old, new),
        }
    }
}

fn walk(place: Place<'_>, pair: Pair<'_>, out: &mut Out) {
    let sample = pair.1.filter(|new| !new.is_null()).or(pair.0);
    let shape = place.shape(sample);
    if is_empty(pair.0) && is_empty(pair.1) {
        return out.leaf(pair);
    }
    match shape {
        Shape::Leaf => {
            if let (true, Some(old)) = (place.is_deduced(), pair.0.filter(|old| old.is_object())) {
                // An object became another value: its members are gone.
                members(place, (Some(old), None), out);
            }
            out.leaf(pair);
        }
        Shape::Members if !both_are(pair, Value::is_object) => out.leaf(pair),
        Shape::Elements(..) if !both_are(pair, Value::is_array) => out.leaf(pair),
        Shape::Members => {
            members(place, pair, out);
            out.presence(pair);
        }
        Shape::Elements(item, keys) => {
            list(place, (item, keys), pair, out);
            out.presence(pair);
        }
    }
}

fn members(place: Place<'_>, pair: Pair<'_>, out: &mut Out) {
    let (old, new) = (object(pair.0), object(pair.1));
    for key in union(old, new) {
        let Some(below) = place.member(key) else { continue };
        let field = place.known(key);
        let pair = (value_of(old, key, field), value_of(new, key, field));
        if pair.0 == pair.1 {
            continue;
        }
        let mut found = Out::default();
        walk(below, pair, &mut found);
        out.put(|| PathElement::Field(key.clone()), found);
    }
}

fn list(place: Place<'_>, (item, keys): (ItemId, Keys<'_>), pair: Pair<'_>, out: &mut Out) {
    let (old, new) = (elements(place, (item, keys), pair.0), elements(place, (item, keys), pair.1));
    // In the order of the sets, so that their elements are appended.
    let all: BTreeSet<&PathElement> = old.keys().chain(new.keys()).collect();
    let none = Vec::new();
    for element in all {
        let pair = (old.get(element).unwrap_or(&none), new.get(element).unwrap_or(&none));
        element_pair(place.item(item), element, (pair.0, pair.1), out);
    }
}

/// Compares the elements with one identity. Several are compared as a whole.
fn element_pair(place: Place<'_>, element: &PathElement, (old, new): (&[&Value], &[&Value]), out: &mut Out) {
    let mut found = Out::default();
    match (old, new) {
        ([_, _, ..], [_, _, ..]) => {
            let same = old.len() == new.len() && old.iter().zip(new).all(|(a, b)| equal_values(a, b));
            found.modified.own = !same;
        }
        ([_, _, ..], _) => {
            if let Some(single) = new.first() {
                walk(place, (None, Some(single)), &mut found);
            }
            found.removed.own = true;
        }
        (_, [_, _, ..]) => {
            if let Some(single) = old.first() {
                walk(place, (Some(single), None), &mut found);
            }
            found.added.own = true;
        }
        _ => {
            let pair = (old.first().copied(), new.first().copied());
            if pair.0 == pair.1 {
                return;
            }
            walk(place, pair, &mut found);
        }
    }
    out.put(|| element.clone(), found);
}

/// The names of either side's members, each once.
fn union<'a>(old: Option<&'a Map<String, Value>>, new: Option<&'a Map<String, Value>>) -> Vec<&'a String> {
    let fresh = new.into_iter().flat_map(Map::keys).filter(|k| !old.is_some_and(|o| o.contains_key(*k)));
    let mut keys: Vec<&String> = old.into_iter().flat_map(Map::keys).chain(fresh).collect();
    keys.sort_unstable();
    keys
}

/// The elements of a list by their identities.
fn elements<'a>(
    place: Place<'_>,
    (item, keys): (ItemId, Keys<'_>),
    side: Option<&'a Value>,
) -> BTreeMap<PathElement, Vec<&'a Value>> {
    let mut out: BTreeMap<PathElement, Vec<&Value>> = BTreeMap::new();
    for value in side.and_then(Value::as_array).into_iter().flatten() {
        let Ok(element) = place.element(item, keys, value) else { continue };
        out.entry(element).or_default().push(value);
    }
    out
}

fn value_of<'a>(
    members: Option<&'a Map<String, Value>>,
    key: &str,
    field: Option<&Field>,
) -> Option<&'a Value> {
    let members = members?;
    members.get(key).or_else(|| implicit_default(field?))
}

/// The value that an absent member has implicitly if its object is present.
pub(super) fn implicit_default(field: &Field) -> Option<&'static Value> {
    match field.ty {
        Type::Struct(_) if field.embedded => Some(&EMPTY_OBJECT),
        Type::List(_) if field.embedded && field.written_default.is_none() => Some(&EMPTY_LIST),
        _ => match field.written_default? {
            DefaultValue::Null => Some(&Value::Null),
            DefaultValue::Text => Some(&EMPTY_TEXT),
            DefaultValue::Number => Some(&ZERO),
            DefaultValue::False => Some(&Value::Bool(false)),
            DefaultValue::Object => Some(&EMPTY_OBJECT),
        },
    }
}

fn object(side: Option<&Value>) -> Option<&Map<String, Value>> {
    side.and_then(Value::as_object)
}

fn both_are(pair: Pair<'_>, shape: fn(&Value) -> bool) -> bool {
    let fits = |side: Option<&Value>| side.is_none_or(|value| value.is_null() || shape(value));
    fits(pair.0) && fits(pair.1)
}
