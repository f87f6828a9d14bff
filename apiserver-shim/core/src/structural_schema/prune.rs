//! Removes fields that a schema does not specify.

use serde_json::Value;

use super::props::{Additional, Props};

/// The members of every resource.
pub(super) fn is_meta(name: &str) -> bool {
    matches!(name, "apiVersion" | "kind" | "metadata")
}

/// Removes unknown fields and returns their paths, sorted.
pub(super) fn prune(root: &Props, object: &mut Value) -> Vec<String> {
    let mut pruner = Pruner { path: String::new(), unknown: Vec::new() };
    pruner.prune(object, Some(root));
    pruner.unknown.sort_unstable();
    pruner.unknown
}

struct Pruner {
    /// The path of the current value.
    path: String,
    unknown: Vec<String>,
}

impl Pruner {
    fn prune(&mut self, value: &mut Value, schema: Option<&Props>) {
        let preserve = schema.is_some_and(|s| s.preserve);
        match value {
            Value::Object(members) => members.retain(|name, value| {
                if schema.is_some_and(|s| s.embedded) && is_meta(name) {
                    return true;
                }
                let length = self.path.len();
                let known = schema.and_then(|s| s.properties.get(name));
                match (known, schema.and_then(|s| s.additional.as_ref())) {
                    (Some(property), _) => {
                        self.enter(name);
                        self.prune(value, Some(property));
                    }
                    (None, Some(additional)) => {
                        self.enter(name);
                        let schema = match additional {
                            Additional::Schema(schema) => Some(&**schema),
                            Additional::Allowed(_) => None,
                        };
                        self.prune(value, schema);
                    }
                    (None, None) if preserve => {}
                    (None, None) => {
                        if !(is_meta(name) && length == 0) {
                            self.enter(name);
                            self.unknown.push(self.path.clone());
                            self.path.truncate(length);
                        }
                        return false;
                    }
                }
                self.path.truncate(length);
                true
            }),
            Value::Array(items) => {
                let length = self.path.len();
                for (at, item) in items.iter_mut().enumerate() {
                    self.path.push_str(&format!("[{at}]"));
                    match schema.and_then(|s| s.items.as_deref()) {
                        None if preserve => {}
                        // Elements of a list whose unknown fields are kept keep theirs.
                        Some(items) if preserve => self.keep(item, items),
                        items => self.prune(item, items),
                    }
                    self.path.truncate(length);
                }
            }
            _ => {}
        }
    }

    /// As `prune`, but unknown fields of this value are kept.
    fn keep(&mut self, value: &mut Value, schema: &Props) {
        let length = self.path.len();
        match value {
            Value::Object(members) => {
                for (name, value) in members.iter_mut() {
                    if schema.embedded && is_meta(name) {
                        continue;
                    }
                    if let Some(below) = schema.child(name) {
                        self.enter(name);
                        self.prune(value, Some(below));
                        self.path.truncate(length);
                    } else if schema.additional.is_some() {
                        self.enter(name);
                        self.prune(value, None);
                        self.path.truncate(length);
                    }
                }
            }
            Value::Array(items) => {
                for (at, item) in items.iter_mut().enumerate() {
                    if let Some(schema) = &schema.items {
                        self.path.push_str(&format!("[{at}]"));
                        self.keep(item, schema);
                        self.path.truncate(length);
                    }
                }
            }
            _ => {}
        }
    }

    fn enter(&mut self, name: &str) {
        if !self.path.is_empty() {
            self.path.push('.');
        }
        self.path.push_str(name);
    }
}
