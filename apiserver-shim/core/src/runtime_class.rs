//! What a RuntimeClass means for a Pod: its overhead, node selector and tolerations. The names and messages are upstream's.

use serde_json::Value;
use shim_model::access;
use shim_model::go_quote::Quoted;

use crate::resource_list::ResourceList;

const MISMATCH: &str = "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead";

/// The RuntimeClass that a Pod names; the empty name is one too.
pub fn name_of(pod: &Value) -> Option<&str> {
    access::get(pod, &["spec", "runtimeClassName"])?.as_str()
}

/// Why a Pod that names a class that does not exist is refused.
pub fn not_found(name: &str) -> String {
    format!("pod rejected: RuntimeClass {name} not found", name = Quoted(name))
}

/// Gives a Pod the overhead of its class, its node selector and its tolerations.
pub fn apply(pod: &mut Value, class: &Value) -> Result<(), String> {
    set_overhead(pod, class)?;
    set_scheduling(pod, class)
}

/// Refuses a Pod whose overhead is not that of its class.
pub fn check_overhead(pod: &Value, class: Option<&Value>) -> Result<(), &'static str> {
    let own = access::get(pod, &["spec", "overhead"]).filter(|own| !own.is_null());
    match class.and_then(overhead_of) {
        Some(fixed) if ResourceList::decode(own) != ResourceList::decode(fixed) => Err(MISMATCH),
        None if own.is_some() => {
            Err("pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead")
        }
        _ => Ok(()),
    }
}

/// The amounts of a class's overhead; `None` if it defines no overhead, `Some(None)` if it defines an empty one.
fn overhead_of(class: &Value) -> Option<Option<&Value>> {
    access::get(class, &["overhead"]).filter(|overhead| overhead.is_object())?;
    Some(access::get(class, &["overhead", "podFixed"]))
}

fn set_overhead(pod: &mut Value, class: &Value) -> Result<(), String> {
    let Some(fixed) = overhead_of(class) else { return Ok(()) };
    let own = ResourceList::at(pod, &["spec", "overhead"]);
    if !own.is_empty() && own != ResourceList::decode(fixed) {
        return Err(MISMATCH.to_owned());
    }
    let spec = access::object_mut(pod, &["spec"]);
    match fixed.filter(|fixed| !access::is_zero(fixed)) {
        Some(fixed) => drop(spec.insert("overhead".into(), fixed.clone())),
        None => drop(spec.remove("overhead")),
    }
    Ok(())
}

fn set_scheduling(pod: &mut Value, class: &Value) -> Result<(), String> {
    for (key, value) in access::entries(class, &["scheduling", "nodeSelector"]) {
        let wanted = value.as_str().unwrap_or_default();
        let own = access::get(pod, &["spec", "nodeSelector", key]).and_then(Value::as_str);
        if let Some(own) = own.filter(|own| *own != wanted) {
            return Err(format!(
                "conflict: runtimeClass.scheduling.nodeSelector[{key}] = {wanted}; pod.spec.nodeSelector[{key}] = {own}"
            ));
        }
        access::object_mut(pod, &["spec", "nodeSelector"]).insert(key.to_owned(), wanted.into());
    }
    let more = access::list(class, &["scheduling", "tolerations"]);
    if access::get(class, &["scheduling"]).is_some_and(Value::is_object) {
        let merged = merge_tolerations(access::list(pod, &["spec", "tolerations"]), more);
        if !merged.is_empty() {
            access::object_mut(pod, &["spec"]).insert("tolerations".into(), merged.into());
        }
    }
    Ok(())
}

/// Both lists without those that another one includes. Of equal ones the first remains.
fn merge_tolerations(first: &[Value], second: &[Value]) -> Vec<Value> {
    let all: Vec<(&Value, Toleration<'_>)> =
        first.iter().chain(second).map(|value| (value, Toleration::of(value))).collect();
    let mut merged: Vec<(&Value, Toleration<'_>)> = Vec::new();
    for (at, (value, toleration)) in all.iter().enumerate() {
        let before = merged.iter().any(|(_, other)| other.includes(toleration));
        let after =
            || all[at + 1..].iter().any(|(_, other)| other != toleration && other.includes(toleration));
        if !before && !after() {
            merged.push((value, *toleration));
        }
    }
    merged.into_iter().map(|(value, _)| value.clone()).collect()
}

/// A toleration as upstream compares it: a missing operator differs from `Equal`.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Toleration<'a> {
    key: &'a str,
    operator: &'a str,
    value: &'a str,
    effect: &'a str,
    seconds: Option<i64>,
}

impl<'a> Toleration<'a> {
    fn of(value: &'a Value) -> Toleration<'a> {
        Toleration {
            key: access::text(value, &["key"]),
            operator: access::text(value, &["operator"]),
            value: access::text(value, &["value"]),
            effect: access::text(value, &["effect"]),
            seconds: access::int(value, &["tolerationSeconds"]),
        }
    }

    /// Whether it tolerates everything that `other` tolerates.
    fn includes(&self, other: &Toleration<'_>) -> bool {
        if self == other {
            return true;
        }
        let any_key = self.key.is_empty() && self.operator == "Exists";
        let as_long = self.effect != "NoExecute"
            || self.seconds.is_none_or(|own| other.seconds.is_some_and(|theirs| theirs <= own));
        let value = match self.operator {
            "Exists" => true,
            "Equal" | "" => other.operator == "Equal" && other.value == self.value,
            _ => false,
        };
        (any_key || self.key == other.key)
            && (self.effect.is_empty() || self.effect == other.effect)
            && as_long
            && value
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn class() -> Value {
        json!({"handler": "h", "overhead": {"podFixed": {"cpu": "100m"}},
            "scheduling": {"nodeSelector": {"a": "b"}, "tolerations": [{"key": "k", "operator": "Exists"}]}})
    }

    #[test]
    fn a_pod_gets_overhead_selector_and_tolerations() {
        let mut pod = json!({"spec": {"runtimeClassName": "r", "nodeSelector": {"c": "d"},
            "tolerations": [{"key": "k", "operator": "Equal", "value": "v", "effect": "NoSchedule"}, {"key": "z", "operator": "Exists"}]}});
        apply(&mut pod, &class()).unwrap();
        let expected = json!({"spec": {"runtimeClassName": "r", "nodeSelector": {"a": "b", "c": "d"}, "overhead": {"cpu": "100m"},
            "tolerations": [{"key": "z", "operator": "Exists"}, {"key": "k", "operator": "Exists"}]}});
        assert_eq!(pod, expected);
        assert_eq!(check_overhead(&pod, Some(&class())), Ok(()));
        // A second look changes nothing.
        apply(&mut pod, &class()).unwrap();
        assert_eq!(pod, expected);
        assert_eq!((name_of(&pod), name_of(&json!({"spec": {}}))), (Some("r"), None));
        assert_eq!(not_found("x\"y"), r#"pod rejected: RuntimeClass "x\"y" not found"#);
    }

    #[test]
    fn an_overhead_must_be_that_of_the_class() {
        let with = |overhead: Value| json!({"spec": {"overhead": overhead}});
        assert_eq!(apply(&mut with(json!({"cpu": "0.1"})), &class()), Ok(()));
        assert_eq!(apply(&mut with(json!({"cpu": "1"})), &class()), Err(MISMATCH.to_owned()));
        let bare = json!({"handler": "h"});
        let without =
            Err("pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead");
        let table = [
            (json!({"cpu": "0.1"}), Some(class()), Ok(())),
            (json!({"cpu": "0.2"}), Some(class()), Err(MISMATCH)),
            (Value::Null, Some(class()), Err(MISMATCH)),
            (json!({"cpu": "1"}), Some(bare.clone()), without),
            (json!({}), Some(bare.clone()), without),
            (json!({}), None, without),
            (Value::Null, None, Ok(())),
            (Value::Null, Some(bare), Ok(())),
            (Value::Null, Some(json!({"overhead": {}})), Ok(())),
        ];
        for (overhead, class, expected) in table {
            assert_eq!(
                check_overhead(&with(overhead.clone()), class.as_ref()),
                expected,
                "{overhead} {class:?}"
            );
        }
        let mut empty = with(json!({}));
        apply(&mut empty, &json!({"overhead": {"podFixed": {}}})).unwrap();
        assert_eq!(empty, json!({"spec": {}}));
    }

    #[test]
    fn selectors_that_contradict_are_refused() {
        let mut pod = json!({"spec": {"nodeSelector": {"a": "x"}}});
        assert_eq!(
            apply(&mut pod, &class()).unwrap_err(),
            "conflict: runtimeClass.scheduling.nodeSelector[a] = b; pod.spec.nodeSelector[a] = x"
        );
    }

    #[test]
    fn tolerations_that_others_include_are_left_out() {
        let all = json!({"operator": "Exists"});
        let key = json!({"key": "a", "operator": "Exists"});
        let equal = json!({"key": "a", "operator": "Equal", "value": "v"});
        let implicit = json!({"key": "a", "value": "v"});
        let brief = json!({"key": "a", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 5});
        let long = json!({"key": "a", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 9});
        let table: [(&[&Value], &[&Value], &[&Value]); 7] = [
            (&[&key], &[&key], &[&key]),
            (&[&equal], &[&key], &[&key]),
            (&[&key], &[&equal], &[&key]),
            (&[&equal, &brief], &[&all], &[&all]),
            (&[&brief], &[&long], &[&long]),
            (&[&equal], &[&implicit], &[&implicit]),
            (&[&implicit], &[], &[&implicit]),
        ];
        let owned = |list: &[&Value]| list.iter().map(|value| (*value).clone()).collect::<Vec<_>>();
        for (first, second, expected) in table {
            assert_eq!(
                merge_tolerations(&owned(first), &owned(second)),
                owned(expected),
                "{first:?} {second:?}"
            );
        }
    }
}
