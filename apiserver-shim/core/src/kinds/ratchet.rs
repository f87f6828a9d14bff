//! Ratcheting validation: an update is not refused for an error that the stored object has already.
//!
//! A rule that is added or tightened would otherwise block every later write of an object that was stored before it: its
//! controller could neither scale nor release it. Upstream has two forms of the same idea. Declarative validation skips the
//! rules of a field whose value an update leaves as it was. Hand-written validation has an option for each tightened rule,
//! which is set when the old object breaks it. Here one comparison serves all kinds: the errors of the update are compared
//! with those of the stored object, and only when there are any.
//!
//! Rules about the change itself (immutable fields, Pods' few mutable ones) are never ratcheted: they are no errors of the
//! stored object.

use serde_json::Value;
use shim_model::access;
use shim_model::field::FieldError;

/// Removes the errors of an update that the stored object has too: the same rule, at the same field, about an unchanged
/// value. `stored_errors` validates the stored object as it is; it is called only if there is something to compare.
pub(crate) fn drop_unchanged(
    errors: &mut Vec<FieldError>,
    new: &Value,
    old: &Value,
    stored_errors: impl FnOnce() -> Vec<FieldError>,
) {
    if errors.is_empty() {
        return;
    }
    let stored = stored_errors();
    errors.retain(|error| !stored.iter().any(|known| is_same(error, new, known, old)));
}

fn is_same(error: &FieldError, new: &Value, known: &FieldError, old: &Value) -> bool {
    if (error.fault, &error.shown, &error.detail) != (known.fault, &known.shown, &known.detail) {
        return false;
    }
    let (at, before) = (resolve(new, &error.field), resolve(old, &known.field));
    at.path == before.path && at.value == before.value
}

/// Where an error's path leads in an object.
struct Place<'a> {
    /// The path with list items named by their key, so that an item that moved is still the same.
    path: String,
    /// The value there; null for an absent member, which errors name too.
    value: &'a Value,
}

fn resolve<'a>(object: &'a Value, field: &str) -> Place<'a> {
    let mut place = Place { path: String::new(), value: object };
    for step in steps(field) {
        let next = match step {
            Step::Member(name) => place.value.get(name),
            Step::Index(text) => {
                text.parse::<usize>().map_or_else(|_| place.value.get(text), |i| place.value.get(i))
            }
        };
        place.path.push('/');
        match (step, next) {
            (Step::Index(_), Some(item)) if !item_key(item).is_empty() => place.path.push_str(item_key(item)),
            (Step::Index(text) | Step::Member(text), _) => place.path.push_str(text),
        }
        place.value = next.unwrap_or(&Value::Null);
    }
    place
}

/// What names an item of a list: upstream's lists of objects are keyed by one of these.
fn item_key(item: &Value) -> &str {
    let keys = ["name", "type", "uid", "mountPath", "topologyKey", "key"];
    keys.iter().map(|key| access::text(item, &[key])).find(|text| !text.is_empty()).unwrap_or("")
}

#[derive(Clone, Copy)]
enum Step<'f> {
    /// `.name`
    Member(&'f str),
    /// `[2]` of a list, or `[key]` of a map.
    Index(&'f str),
}

/// The steps of a path such as `spec.containers[0].resources.limits[cpu]`.
fn steps(field: &str) -> impl Iterator<Item = Step<'_>> {
    let mut rest = field;
    std::iter::from_fn(move || {
        rest = rest.strip_prefix('.').unwrap_or(rest);
        if let Some((inside, after)) = rest.strip_prefix('[').and_then(|r| r.split_once(']')) {
            rest = after;
            return Some(Step::Index(inside));
        }
        let end = rest.find(['.', '[']).unwrap_or(rest.len()).max(1).min(rest.len());
        let (name, after) = rest.split_at(end);
        rest = after;
        (!name.is_empty()).then_some(Step::Member(name))
    })
}

#[cfg(test)]
#[path = "ratchet/tests.rs"]
mod tests;
