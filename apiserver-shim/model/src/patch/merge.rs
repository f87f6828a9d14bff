//! RFC 7396: members of the patch replace those of the object, objects are merged, null removes.

use serde_json::{Map, Value};

/// Applies `patch` to `target`. Returns whether anything changed.
pub fn apply(target: &mut Value, patch: &Value) -> bool {
    let Some(patch) = patch.as_object() else {
        let changed = target != patch;
        target.clone_from(patch);
        return changed;
    };
    let mut changed = !target.is_object();
    if changed {
        *target = Value::Object(Map::new());
    }
    let members = target.as_object_mut().expect("invariant: the line above made it an object");
    for (key, value) in patch {
        if value.is_null() {
            changed |= members.remove(key).is_some();
        } else if let Some(old) = members.get_mut(key) {
            changed |= apply(old, value);
        } else {
            let mut fresh = Value::Null;
            apply(&mut fresh, value);
            members.insert(key.clone(), fresh);
            changed = true;
        }
    }
    changed
}
