//! Required node affinity: node selector terms over labels and `metadata.name`.

use serde_json::Value;
use shim_model::{access, object::Header};

/// A node selector: one of the terms must match.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct NodeAffinity {
    /// The terms; an empty list matches nothing.
    pub terms: Vec<Term>,
}

/// A node selector term: all requirements must hold. An empty term matches nothing.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[allow(missing_docs)]
pub struct Term {
    pub labels: Vec<Requirement>,
    /// Requirements on `metadata.name`.
    pub fields: Vec<Requirement>,
}

/// A requirement on one label or field.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs)]
pub struct Requirement {
    pub key: Box<str>,
    pub test: Test,
}

/// The operator with its values.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs)]
pub enum Test {
    In(Vec<Box<str>>),
    NotIn(Vec<Box<str>>),
    Exists,
    DoesNotExist,
    Above(i64),
    Below(i64),
    /// An invalid requirement, which nothing satisfies.
    Never,
}

impl NodeAffinity {
    /// Decodes `requiredDuringSchedulingIgnoredDuringExecution`.
    pub fn decode(value: &Value) -> NodeAffinity {
        let requirements = |term: &Value, member: &str| {
            access::list(term, &[member]).iter().map(Requirement::decode).collect::<Vec<_>>()
        };
        let terms = access::list(value, &["nodeSelectorTerms"]);
        let term = |t: &Value| Term {
            labels: requirements(t, "matchExpressions"),
            fields: requirements(t, "matchFields"),
        };
        NodeAffinity { terms: terms.iter().map(term).collect() }
    }

    /// Whether a Node matches.
    pub fn matches(&self, node: &Header) -> bool {
        self.terms.iter().any(|term| {
            let label = |r: &Requirement| r.holds(node.labels.get(&*r.key).map(String::as_str));
            let field = |r: &Requirement| r.holds((&*r.key == "metadata.name").then_some(node.name.as_str()));
            !(term.labels.is_empty() && term.fields.is_empty())
                && term.labels.iter().all(label)
                && term.fields.iter().all(field)
        })
    }
}

impl Requirement {
    fn decode(value: &Value) -> Requirement {
        let values: Vec<Box<str>> =
            access::list(value, &["values"]).iter().filter_map(Value::as_str).map(Box::from).collect();
        let number = || values.first().and_then(|v| v.parse::<i64>().ok());
        let test = match access::text(value, &["operator"]) {
            "In" => Test::In(values),
            "NotIn" => Test::NotIn(values),
            "Exists" => Test::Exists,
            "DoesNotExist" => Test::DoesNotExist,
            "Gt" => number().map_or(Test::Never, Test::Above),
            "Lt" => number().map_or(Test::Never, Test::Below),
            _ => Test::Never,
        };
        Requirement { key: access::text(value, &["key"]).into(), test }
    }

    fn holds(&self, found: Option<&str>) -> bool {
        let number = || found.and_then(|v| v.parse::<i64>().ok());
        match &self.test {
            Test::In(values) => found.is_some_and(|v| values.iter().any(|w| **w == *v)),
            Test::NotIn(values) => found.is_none_or(|v| !values.iter().any(|w| **w == *v)),
            Test::Exists => found.is_some(),
            Test::DoesNotExist => found.is_none(),
            Test::Above(limit) => number().is_some_and(|n| n > *limit),
            Test::Below(limit) => number().is_some_and(|n| n < *limit),
            Test::Never => false,
        }
    }
}
