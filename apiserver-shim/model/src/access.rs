//! Reading and writing members of a JSON object by path, so that code on `Value`s stays as short as code on structs.
//! All readers are total: a missing or differently typed member reads as absent.

use serde_json::{Map, Value};

/// The member at `path`, if every step is an object that has it.
pub fn get<'a>(value: &'a Value, path: &[&str]) -> Option<&'a Value> {
    path.iter().try_fold(value, |at, key| at.get(*key))
}

/// The string at `path`, or `""`.
pub fn text<'a>(value: &'a Value, path: &[&str]) -> &'a str {
    get(value, path).and_then(Value::as_str).unwrap_or("")
}

/// The integer at `path`.
pub fn int(value: &Value, path: &[&str]) -> Option<i64> {
    get(value, path).and_then(Value::as_i64)
}

/// The boolean at `path`, or `false`.
pub fn flag(value: &Value, path: &[&str]) -> bool {
    get(value, path).and_then(Value::as_bool).unwrap_or(false)
}

/// The elements of the list at `path`, or none.
pub fn list<'a>(value: &'a Value, path: &[&str]) -> &'a [Value] {
    get(value, path).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// The members of the object at `path`, or none.
pub fn entries<'a>(value: &'a Value, path: &[&str]) -> impl Iterator<Item = (&'a str, &'a Value)> {
    get(value, path).and_then(Value::as_object).into_iter().flatten().map(|(k, v)| (k.as_str(), v))
}

/// The members of one object as a list, for a reader that looks up many names of which most are absent. Comparing name
/// lengths first makes a miss cheaper than a look-up in the object's map.
#[derive(Debug)]
pub struct Members<'a>(Vec<(&'a str, &'a Value)>);

impl<'a> Members<'a> {
    /// The members of `value`; empty if it is not an object.
    pub fn of(value: &'a Value) -> Self {
        Members(entries(value, &[]).collect())
    }

    /// The member called `name`.
    pub fn get(&self, name: &str) -> Option<&'a Value> {
        self.0.iter().find(|(known, _)| *known == name).map(|(_, value)| *value)
    }

    /// The string called `name`, or `""`.
    pub fn text(&self, name: &str) -> &'a str {
        self.get(name).and_then(Value::as_str).unwrap_or("")
    }

    /// The integer called `name`.
    pub fn int(&self, name: &str) -> Option<i64> {
        self.get(name).and_then(Value::as_i64)
    }

    /// The boolean called `name`, or `false`.
    pub fn flag(&self, name: &str) -> bool {
        self.get(name).and_then(Value::as_bool).unwrap_or(false)
    }

    /// The elements of the list called `name`, or none.
    pub fn list(&self, name: &str) -> &'a [Value] {
        self.get(name).and_then(Value::as_array).map_or(&[], Vec::as_slice)
    }
}

/// The object at `path`, created where it is missing. A value of another type on the way is replaced.
pub fn object_mut<'a>(value: &'a mut Value, path: &[&str]) -> &'a mut Map<String, Value> {
    let mut at = value;
    for key in path {
        at = as_object(at).entry(*key).or_insert_with(|| Value::Object(Map::new()));
    }
    as_object(at)
}

/// The list at `path`, if there is one.
pub fn list_mut<'a>(value: &'a mut Value, path: &[&str]) -> Option<&'a mut Vec<Value>> {
    let mut at = value;
    for key in path {
        at = at.get_mut(*key)?;
    }
    at.as_array_mut()
}

/// `value` as an object, replaced by an empty one if it is of another type.
pub fn as_object(value: &mut Value) -> &mut Map<String, Value> {
    if !value.is_object() {
        *value = Value::Object(Map::new());
    }
    value.as_object_mut().expect("just made an object")
}

/// Sets `key` unless it is present.
pub fn set_default(object: &mut Map<String, Value>, key: &str, value: impl Into<Value>) {
    if !object.contains_key(key) {
        object.insert(key.to_owned(), value.into());
    }
}

/// Sets `key` unless it has a value that is not zero (see [`is_zero`]).
pub fn set_if_zero(object: &mut Map<String, Value>, key: &str, value: impl Into<Value>) {
    if object.get(key).is_none_or(is_zero) {
        object.insert(key.to_owned(), value.into());
    }
}

/// Whether `value` is the zero value of its type: null, false, 0 or empty.
pub fn is_zero(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(b) => !b,
        Value::Number(n) => n.as_f64() == Some(0.0),
        Value::String(s) => s.is_empty(),
        Value::Array(a) => a.is_empty(),
        Value::Object(o) => o.is_empty(),
    }
}

/// Removes the member at `path` and returns it.
pub fn remove(value: &mut Value, path: &[&str]) -> Option<Value> {
    let (last, parents) = path.split_last()?;
    let mut at = value;
    for key in parents {
        at = at.get_mut(*key)?;
    }
    at.as_object_mut()?.remove(*last)
}

/// Copies the member at `path` from `from` to `to`; removes it in `to` if `from` has none.
pub fn copy(from: &Value, to: &mut Value, path: &[&str]) {
    let Some((last, parents)) = path.split_last() else { return };
    match get(from, path) {
        Some(member) => {
            object_mut(to, parents).insert((*last).to_owned(), member.clone());
        }
        None => {
            remove(to, path);
        }
    }
}
