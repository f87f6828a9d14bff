//! `metav1.LabelSelector`: equalities and set expressions on labels.

use std::collections::BTreeMap;

use serde_json::Value;
use shim_model::access;

/// How an expression tests a label.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Test {
    In(Vec<String>),
    NotIn(Vec<String>),
    Exists,
    DoesNotExist,
}

/// A label selector. An empty one matches everything; an undecodable expression matches nothing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LabelSelector {
    tests: Vec<(String, Test)>,
    never: bool,
}

impl LabelSelector {
    /// Reads `{matchLabels, matchExpressions}`; absent selects nothing, as for workloads.
    pub fn decode(value: Option<&Value>) -> Self {
        let Some(value) = value else { return Self { tests: Vec::new(), never: true } };
        let mut selector = Self::equalities(access::entries(value, &["matchLabels"]));
        for expression in access::list(value, &["matchExpressions"]) {
            let values = || {
                access::list(expression, &["values"])
                    .iter()
                    .filter_map(Value::as_str)
                    .map(str::to_owned)
                    .collect()
            };
            let test = match access::text(expression, &["operator"]) {
                "In" => Test::In(values()),
                "NotIn" => Test::NotIn(values()),
                "Exists" => Test::Exists,
                "DoesNotExist" => Test::DoesNotExist,
                _ => {
                    selector.never = true;
                    continue;
                }
            };
            selector.tests.push((access::text(expression, &["key"]).to_owned(), test));
        }
        selector
    }

    /// A selector that requires these labels.
    pub fn labels<const N: usize>(labels: [(&str, &str); N]) -> Self {
        let tests = labels.map(|(key, value)| (key.to_owned(), Test::In(vec![value.to_owned()])));
        Self { tests: tests.into(), never: false }
    }

    /// A plain map, as in a Service's `spec.selector`.
    pub fn equalities<'a>(entries: impl Iterator<Item = (&'a str, &'a Value)>) -> Self {
        let tests = entries.filter_map(|(k, v)| Some((k.to_owned(), Test::In(vec![v.as_str()?.to_owned()]))));
        Self { tests: tests.collect(), never: false }
    }

    /// The tests that require one of some values: `(key, values)`. An index looks objects up by them.
    pub fn required_values(&self) -> impl Iterator<Item = (&str, &[String])> {
        self.tests.iter().filter_map(|(key, test)| match test {
            Test::In(values) => Some((key.as_str(), values.as_slice())),
            Test::NotIn(_) | Test::Exists | Test::DoesNotExist => None,
        })
    }

    /// Whether it matches no object, whatever its labels.
    pub fn matches_nothing(&self) -> bool {
        self.never
    }

    /// Whether it has no test at all.
    pub fn is_empty(&self) -> bool {
        self.tests.is_empty()
    }

    /// Whether the labels pass.
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        !self.never
            && self.tests.iter().all(|(key, test)| {
                let found = labels.get(key);
                match test {
                    Test::In(values) => found.is_some_and(|v| values.contains(v)),
                    Test::NotIn(values) => found.is_none_or(|v| !values.contains(v)),
                    Test::Exists => found.is_some(),
                    Test::DoesNotExist => found.is_none(),
                }
            })
    }
}
