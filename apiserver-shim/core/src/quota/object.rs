//! A ResourceQuota and its scopes.

use serde_json::Value;
use shim_model::access;

use crate::resource_list::ResourceList;

/// One requirement on the objects that a quota counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScopeSelector {
    /// `Terminating`, `BestEffort`, `PriorityClass` …
    pub scope: String,
    /// `Exists`, `In`, `NotIn` or `DoesNotExist`.
    pub operator: String,
    /// The values of `In` and `NotIn`.
    pub values: Vec<String>,
}

impl ScopeSelector {
    /// Tests the value that an object has for the scope, if it has one.
    pub(super) fn test(&self, value: Option<&str>) -> bool {
        let listed = || value.is_some_and(|value| self.values.iter().any(|known| known == value));
        match self.operator.as_str() {
            "Exists" => value.is_some(),
            "DoesNotExist" => value.is_none(),
            "In" => listed(),
            "NotIn" => !listed(),
            _ => false,
        }
    }
}

/// A ResourceQuota.
#[derive(Debug, Clone, Default)]
pub struct Quota {
    /// Its name.
    pub name: String,
    /// `spec.scopes` and `spec.scopeSelector`; an object must meet all.
    pub scopes: Vec<ScopeSelector>,
    /// `spec.hard`.
    pub wanted: ResourceList,
    /// `status.hard`: the limits that apply.
    pub hard: ResourceList,
    /// `status.used`.
    pub used: ResourceList,
}

impl Quota {
    /// Reads a ResourceQuota.
    pub fn decode(quota: &Value) -> Quota {
        let exists = |scope: &Value| ScopeSelector {
            scope: scope.as_str().unwrap_or("").to_owned(),
            operator: "Exists".to_owned(),
            values: Vec::new(),
        };
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let selector = |term: &Value| ScopeSelector {
            scope: access::text(term, &["scopeName"]).to_owned(),
            operator: access::text(term, &["operator"]).to_owned(),
            values: access::list(term, &["values"]).iter().filter_map(text).collect(),
        };
        let plain = access::list(quota, &["spec", "scopes"]).iter().map(exists);
        let selectors =
            access::list(quota, &["spec", "scopeSelector", "matchExpressions"]).iter().map(selector);
        Quota {
            name: access::text(quota, &["metadata", "name"]).to_owned(),
            scopes: plain.chain(selectors).collect(),
            wanted: ResourceList::at(quota, &["spec", "hard"]),
            hard: ResourceList::at(quota, &["status", "hard"]),
            used: ResourceList::at(quota, &["status", "used"]),
        }
    }
}
