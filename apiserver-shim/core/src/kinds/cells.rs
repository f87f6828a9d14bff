//! Table cells that several kinds share.

use serde_json::Value;
use shim_model::access;
use shim_model::time::{self, Instant};

/// The object's name.
pub(super) fn name(object: &Value) -> Value {
    access::text(object, &["metadata", "name"]).into()
}

/// Age of the object.
pub(super) fn age(object: &Value, now: Instant) -> Value {
    time::age(access::text(object, &["metadata", "creationTimestamp"]), now).into()
}

/// `a=b,c=d`, or `<none>`.
pub(super) fn labels(map: Option<&Value>) -> String {
    let pairs: Vec<String> = map
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
        .map(|(k, v)| format!("{k}={}", v.as_str().unwrap_or("")))
        .collect();
    if pairs.is_empty() { "<none>".to_owned() } else { pairs.join(",") }
}

/// A `metav1.LabelSelector` as text.
pub(super) fn selector(selector: Option<&Value>) -> String {
    use shim_model::selector::LabelSelector;
    let Some(value) = selector else { return "<none>".to_owned() };
    match LabelSelector::from_value(value) {
        Ok(s) if s.is_everything() => "<none>".to_owned(),
        Ok(s) => s.to_string(),
        Err(_) => "<error>".to_owned(),
    }
}

/// Names and images of a Pod template's containers, separated by commas.
pub(super) fn containers(pod_spec: Option<&Value>) -> (String, String) {
    let list = pod_spec.map_or(&[][..], |s| access::list(s, &["containers"]));
    let join = |key: &str| list.iter().map(|c| access::text(c, &[key])).collect::<Vec<_>>().join(",");
    (join("name"), join("image"))
}

/// The text, or `<none>` if it is empty.
pub(super) fn or<'a>(text: &'a str, instead: &'a str) -> &'a str {
    if text.is_empty() { instead } else { text }
}

/// Number of members of the maps at `keys`.
pub(super) fn count(object: &Value, keys: &[&str]) -> Value {
    keys.iter().filter_map(|k| object.get(*k)?.as_object()).map(serde_json::Map::len).sum::<usize>().into()
}

/// `True` or `False`; `<unset>` if absent.
pub(super) fn flag(value: Option<&Value>) -> Value {
    match value.and_then(Value::as_bool) {
        None => "<unset>".into(),
        Some(true) => "True".into(),
        Some(false) => "False".into(),
    }
}

/// `a,b,c`, shortened to `most` items.
pub(super) fn first_of(all: &[String], most: usize, separator: &str) -> String {
    if all.len() <= most {
        return all.join(separator);
    }
    format!("{} + {} more...", all[..most].join(separator), all.len() - most)
}

/// The cells of kinds without columns of their own.
pub(super) fn name_and_creation(object: &Value) -> Vec<Value> {
    vec![name(object), access::text(object, &["metadata", "creationTimestamp"]).into()]
}
