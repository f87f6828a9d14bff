//! Resource lists (`{"cpu": "100m", "memory": "64Mi"}`) with the arithmetic of quotas and limits, exact and in the format
//! in which clients wrote the amounts.

use std::collections::BTreeMap;

use serde_json::Value;
use shim_model::access;
use shim_model::quantity::Quantity;

/// Amounts by resource name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ResourceList(BTreeMap<String, Quantity>);

impl ResourceList {
    /// Reads a resource list. What is no quantity is left out.
    pub fn decode(list: Option<&Value>) -> ResourceList {
        let members = list.and_then(Value::as_object).into_iter().flatten();
        ResourceList(members.filter_map(|(name, value)| Some((name.clone(), amount(value)?))).collect())
    }

    /// The resource list at a path of an object.
    pub fn at(object: &Value, path: &[&str]) -> ResourceList {
        ResourceList::decode(access::get(object, path))
    }

    /// The list as JSON.
    pub fn to_value(&self) -> Value {
        Value::Object(
            self.iter().map(|(name, amount)| (name.to_owned(), amount.to_string().into())).collect(),
        )
    }

    /// `a=1,b=2`, sorted by name.
    pub fn pretty(&self) -> String {
        self.iter().map(|(name, amount)| format!("{name}={amount}")).collect::<Vec<_>>().join(",")
    }

    /// The amount of a resource.
    pub fn get(&self, name: &str) -> Option<Quantity> {
        self.0.get(name).copied()
    }

    /// Sets the amount of a resource.
    pub fn set(&mut self, name: impl Into<String>, amount: Quantity) {
        self.0.insert(name.into(), amount);
    }

    /// Whether the list names a resource.
    pub fn contains(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// Whether the list names no resource.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The names, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// The names with their amounts, sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, Quantity)> {
        self.0.iter().map(|(name, amount)| (name.as_str(), *amount))
    }

    /// Adds each amount of `more`.
    pub fn add(&mut self, more: &ResourceList) {
        for (name, amount) in more.iter() {
            match self.0.get_mut(name) {
                Some(sum) => *sum = sum.plus(amount),
                None => self.set(name, amount),
            }
        }
    }

    /// Raises each amount to that of `other`.
    pub fn raise_to(&mut self, other: &ResourceList) {
        for (name, amount) in other.iter() {
            if self.get(name).is_none_or(|own| amount > own) {
                self.set(name, amount);
            }
        }
    }

    /// What is more than in `less`: no amount is negative, and a resource of either list is in the result.
    #[must_use]
    pub fn increase_over(&self, less: &ResourceList) -> ResourceList {
        let difference = |name: &str| {
            let rest = match (self.get(name), less.get(name)) {
                (Some(own), Some(less)) => own.minus(less),
                (Some(own), None) => own,
                (None, _) => Quantity::ZERO,
            };
            if rest.sign() > 0 { rest } else { Quantity::ZERO }
        };
        let names = self.0.keys().chain(less.0.keys());
        ResourceList(names.map(|name| (name.clone(), difference(name))).collect())
    }

    /// The resources for which `keep` is true.
    #[must_use]
    pub fn filtered(&self, keep: impl Fn(&str, Quantity) -> bool) -> ResourceList {
        ResourceList(self.iter().filter(|(n, q)| keep(n, *q)).map(|(n, q)| (n.to_owned(), q)).collect())
    }

    /// The resources that `other` names, too.
    #[must_use]
    pub fn masked_by(&self, other: &ResourceList) -> ResourceList {
        self.filtered(|name, _| other.contains(name))
    }
}

/// A quantity in JSON: a text or a number.
pub fn amount(value: &Value) -> Option<Quantity> {
    match value {
        Value::String(text) => text.parse().ok(),
        Value::Number(number) => number.to_string().parse().ok(),
        _ => None,
    }
}

impl<const N: usize> From<[(&str, Quantity); N]> for ResourceList {
    fn from(amounts: [(&str, Quantity); N]) -> Self {
        ResourceList(amounts.into_iter().map(|(name, amount)| (name.to_owned(), amount)).collect())
    }
}

/// Whether a resource name is one of Kubernetes' own: without a domain, or in one that ends with `kubernetes.io`.
pub fn is_native(name: &str) -> bool {
    !name.contains('/') || name.contains("kubernetes.io/")
}

/// Whether a resource name is that of an extended resource, such as `example.com/gpu`.
pub fn is_extended(name: &str) -> bool {
    let for_quota = || shim_model::names::qualified(&format!("requests.{name}")).is_empty();
    !is_native(name) && !name.starts_with("requests.") && for_quota()
}
