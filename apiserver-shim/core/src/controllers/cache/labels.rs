//! Label pairs to names, of one resource in one namespace: the common half of the two selector indices.

use std::collections::BTreeMap;

use super::{Map, Set};
use crate::rows::LabelSelector;

/// Names by the value of one label key.
type NamesByValue = Map<Box<str>, Set<Box<str>>>;

/// Names by `key=value`.
#[derive(Debug, Clone, Default)]
pub(super) struct PairIndex {
    pairs: Map<Box<str>, NamesByValue>,
}

impl PairIndex {
    fn insert(&mut self, key: &str, value: &str, name: &str) {
        if !self.pairs.contains_key(key) {
            self.pairs.insert_mut(key.into(), NamesByValue::default());
        }
        let values = self.pairs.get_mut(key).expect("invariant: inserted above");
        if !values.contains_key(value) {
            values.insert_mut(value.into(), Set::default());
        }
        values.get_mut(value).expect("invariant: inserted above").insert_mut(name.into());
    }

    fn remove(&mut self, key: &str, value: &str, name: &str) {
        let Some(values) = self.pairs.get_mut(key) else { return };
        let Some(names) = values.get_mut(value) else { return };
        names.remove_mut(name);
        if names.is_empty() {
            values.remove_mut(value);
            if values.is_empty() {
                self.pairs.remove_mut(key);
            }
        }
    }

    fn len(&self, key: &str, value: &str) -> usize {
        self.pairs.get(key).and_then(|values| values.get(value)).map_or(0, Set::size)
    }

    fn names(&self, key: &str, value: &str) -> impl Iterator<Item = &str> {
        self.pairs.get(key).and_then(|values| values.get(value)).into_iter().flatten().map(|n| &**n)
    }

    fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }
}

/// Objects by their labels: narrows down which objects a selector may match.
#[derive(Debug, Clone, Default)]
pub(super) struct LabelIndex(PairIndex);

impl LabelIndex {
    pub fn insert(&mut self, labels: &BTreeMap<String, String>, name: &str) {
        labels.iter().for_each(|(key, value)| self.0.insert(key, value, name));
    }

    pub fn remove(&mut self, labels: &BTreeMap<String, String>, name: &str) {
        labels.iter().for_each(|(key, value)| self.0.remove(key, value, name));
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Names of the objects among which the selector's matches are: those with the rarest of the values that it
    /// requires. `None` if the selector requires no value, so that nothing narrows it down.
    pub fn candidates<'a>(&'a self, selector: &'a LabelSelector) -> Option<impl Iterator<Item = &'a str>> {
        let count = |(key, values): &(&str, &[String])| -> usize {
            values.iter().map(|value| self.0.len(key, value)).sum()
        };
        let (key, values) = selector.required_values().min_by_key(count)?;
        // A value may be repeated in the expression.
        let distinct = values.iter().enumerate().filter(move |(at, value)| !values[..*at].contains(value));
        Some(distinct.flat_map(move |(_, value)| self.0.names(key, value)))
    }
}

/// Selectors by a value that they require: narrows down which selectors may match an object's labels.
#[derive(Debug, Clone, Default)]
pub(super) struct SelectorIndex {
    required: PairIndex,
    /// Under which label key each selector is in `required`.
    filed_under: Map<Box<str>, Box<str>>,
    /// Selectors that require no value.
    unrestricted: Set<Box<str>>,
}

impl SelectorIndex {
    pub fn insert(&mut self, selector: &LabelSelector, name: &str) {
        if selector.matches_nothing() {
            return;
        }
        let count = |(key, values): &(&str, &[String])| -> usize {
            values.iter().map(|value| self.required.len(key, value)).sum()
        };
        let Some((key, values)) = selector.required_values().min_by_key(count) else {
            self.unrestricted.insert_mut(name.into());
            return;
        };
        values.iter().for_each(|value| self.required.insert(key, value, name));
        self.filed_under.insert_mut(name.into(), key.into());
    }

    pub fn remove(&mut self, selector: &LabelSelector, name: &str) {
        self.unrestricted.remove_mut(name);
        let Some(filed) = self.filed_under.get(name).cloned() else { return };
        self.filed_under.remove_mut(name);
        for (key, values) in selector.required_values().filter(|(key, _)| *key == &*filed) {
            values.iter().for_each(|value| self.required.remove(key, value, name));
        }
    }

    pub fn is_empty(&self) -> bool {
        self.filed_under.is_empty() && self.unrestricted.is_empty()
    }

    /// Names of the selectors among which those are that match these labels.
    pub fn candidates<'a>(&'a self, labels: &'a BTreeMap<String, String>) -> impl Iterator<Item = &'a str> {
        let required = labels.iter().flat_map(move |(key, value)| self.required.names(key, value));
        required.chain(self.unrestricted.iter().map(|name| &**name))
    }
}
