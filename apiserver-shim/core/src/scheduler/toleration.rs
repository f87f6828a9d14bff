//! Tolerations of Pods.

use serde_json::Value;
use shim_model::access;

use crate::rows::{Taint, TaintEffect};

/// A toleration of a Pod.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs)]
pub struct Toleration {
    /// The key; empty matches every key.
    pub key: Box<str>,
    /// The value; `None` means operator `Exists`, which matches every value.
    pub value: Option<Box<str>>,
    /// The effect; `None` matches every effect.
    pub effect: Option<TaintEffect>,
    /// `tolerationSeconds` of a `NoExecute` toleration; `None` means forever.
    pub seconds: Option<i64>,
}

impl Toleration {
    /// Decodes an element of `spec.tolerations`.
    pub fn decode(value: &Value) -> Option<Toleration> {
        let effect = match access::text(value, &["effect"]) {
            "" => None,
            text => Some(TaintEffect::parse(text)?),
        };
        let equal = access::text(value, &["operator"]) != "Exists";
        Some(Toleration {
            key: access::text(value, &["key"]).into(),
            value: equal.then(|| access::text(value, &["value"]).into()),
            effect,
            seconds: access::int(value, &["tolerationSeconds"]),
        })
    }

    /// Whether it tolerates the taint.
    pub fn tolerates(&self, taint: &Taint) -> bool {
        self.effect.is_none_or(|e| e == taint.effect)
            && (self.key.is_empty() && self.value.is_none() || self.key == taint.key)
            && self.value.as_ref().is_none_or(|v| *v == taint.value)
    }
}
