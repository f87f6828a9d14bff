//! A set of field paths as a tree, in the notation of `fieldsV1`: `f:name` for members, `k:{…}` for list elements by
//! their keys, `v:…` for elements of sets, `.` for the path itself.

use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// Maximum depth of a parsed path; real ones stay below 20.
const DEPTH_MAX: usize = 64;

/// A set of paths.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FieldSet {
    /// Whether this path itself is in the set.
    pub(super) own: bool,
    pub(super) members: BTreeMap<String, FieldSet>,
}

impl FieldSet {
    /// Whether the set has no path.
    pub fn is_empty(&self) -> bool {
        !self.own && self.members.values().all(FieldSet::is_empty)
    }

    /// Parses `fieldsV1`.
    pub fn parse(value: &Value) -> Option<Self> {
        Self::parse_at(value, 0).map(|mut set| {
            set.own = false;
            set
        })
    }

    fn parse_at(value: &Value, depth: usize) -> Option<Self> {
        let object = value.as_object().filter(|_| depth < DEPTH_MAX)?;
        let mut set = FieldSet { own: object.is_empty(), members: BTreeMap::new() };
        for (key, member) in object {
            if key == "." {
                set.own = true;
            } else {
                set.members.insert(key.clone(), Self::parse_at(member, depth + 1)?);
            }
        }
        Some(set)
    }

    /// Encodes as `fieldsV1`.
    pub fn into_value(self) -> Value {
        self.into_members().unwrap_or_else(|| Value::Object(Map::new()))
    }

    /// The encoded set; `None` if it has no path.
    fn into_members(self) -> Option<Value> {
        let members =
            self.members.into_iter().filter_map(|(key, member)| Some((key, member.into_members()?)));
        let mut out: Map<String, Value> = members.collect();
        if self.own && !out.is_empty() {
            out.insert(".".to_owned(), Value::Object(Map::new()));
        }
        (self.own || !out.is_empty()).then_some(Value::Object(out))
    }

    /// Adds every path of `other`.
    pub fn unite(&mut self, other: &FieldSet) {
        self.own |= other.own;
        for (key, member) in &other.members {
            match self.members.get_mut(key) {
                Some(mine) => mine.unite(member),
                None => {
                    self.members.insert(key.clone(), member.clone());
                }
            }
        }
    }

    /// Removes every path of `other`.
    pub fn subtract(&mut self, other: &FieldSet) {
        self.own &= !other.own;
        self.members.retain(|key, member| {
            if let Some(theirs) = other.members.get(key) {
                member.subtract(theirs);
            }
            !member.is_empty()
        });
    }

    /// Removes the path and all paths below it.
    pub fn remove(&mut self, path: &[&str]) {
        let Some((first, rest)) = path.split_first().filter(|_| !self.members.is_empty()) else { return };
        let key = format!("f:{first}");
        if rest.is_empty() {
            self.members.remove(&key);
        } else if let Some(member) = self.members.get_mut(&key) {
            member.remove(rest);
        }
    }

    /// Adds `set` below `key` unless it is empty; the key is built only when needed.
    pub(super) fn put(&mut self, key: impl FnOnce() -> String, set: FieldSet) {
        if set.own || !set.members.is_empty() {
            self.members.insert(key(), set);
        }
    }
}
