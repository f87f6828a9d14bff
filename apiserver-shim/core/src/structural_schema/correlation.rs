//! A value of an update together with the old value at the same place, so that errors of unchanged values are not reported
//! and rules in CEL can compare.

use serde_json::Value;

use super::props::Props;

/// A value, the value that it replaces, and their schema.
#[derive(Clone, Copy)]
pub(super) struct Correlated<'a> {
    schema: &'a Props,
    new: &'a Value,
    old: &'a Value,
    is_root: bool,
}

impl<'a> Correlated<'a> {
    /// A whole object.
    pub fn root(schema: &'a Props, new: &'a Value, old: &'a Value) -> Correlated<'a> {
        Correlated { schema, new, old, is_root: true }
    }

    /// The member called `name`, if both values have it.
    pub fn key(&self, name: &str) -> Option<Correlated<'a>> {
        let (old, new) = (self.old.as_object()?.get(name)?, self.new.as_object()?.get(name)?);
        Some(Correlated { schema: self.schema.child(name)?, new, old, is_root: false })
    }

    /// The member called `name` for validation by keywords: the type of the root is never compared, because conversion has
    /// made both alike.
    pub fn field(&self, name: &str) -> Option<Correlated<'a>> {
        let is_type = self.is_root && (name == "apiVersion" || name == "kind");
        if is_type { None } else { self.key(name) }
    }

    /// An element of a list, if it is identified by keys and the old list has one with the same keys.
    pub fn index(&self, at: usize) -> Option<Correlated<'a>> {
        let new = self.new.as_array()?.get(at)?;
        let old = element_like(self.schema, self.old, new)?;
        Some(Correlated { schema: self.schema.items.as_deref()?, new, old, is_root: false })
    }

    /// Whether both values are equal. The order of lists with keys does not matter.
    pub fn is_unchanged(&self) -> bool {
        match (self.new, self.old) {
            (Value::Array(new), Value::Array(old)) if self.has_keys() => {
                let same = |at| self.index(at).is_some_and(|element| element.is_unchanged());
                new.len() == old.len() && (0..new.len()).all(same)
            }
            (Value::Object(new), Value::Object(old)) => {
                // Members without a schema have no counterpart, so that objects with such are never equal.
                let same = |name: &String| self.key(name).is_some_and(|member| member.is_unchanged());
                new.len() == old.len() && new.keys().all(same)
            }
            (new, old) => new == old,
        }
    }

    fn has_keys(&self) -> bool {
        has_keys(self.schema)
    }
}

fn has_keys(schema: &Props) -> bool {
    schema.list_type.as_deref() == Some("map")
}

/// The element of `list` with the same keys as `element`.
pub(super) fn element_like<'v>(schema: &Props, list: &'v Value, element: &Value) -> Option<&'v Value> {
    let keys = &schema.map_keys;
    if !has_keys(schema) || keys.is_empty() {
        return None;
    }
    let scalar = |value: &Value| !value.is_null() && !value.is_object() && !value.is_array();
    if !keys.iter().all(|key| element.get(key).is_some_and(scalar)) {
        return None;
    }
    let same = |other: &&Value| keys.iter().all(|key| other.get(key) == element.get(key));
    list.as_array()?.iter().find(same)
}
