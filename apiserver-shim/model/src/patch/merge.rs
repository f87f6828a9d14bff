//! RFC 7386: members of the patch replace those of the object, objects are merged, null removes.

use serde_json::{Map, Value};

/// Applies `patch` to `target`.
pub fn apply(target: &mut Value, patch: &Value) {
    let Some(members) = patch.as_object() else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let object = target.as_object_mut().expect("made an object above");
    for (key, value) in members {
        match value {
            Value::Null => {
                object.remove(key);
            }
            _ => apply(object.entry(key.as_str()).or_insert(Value::Null), value),
        }
    }
}
