//! A PodDisruptionBudget, as its controller sees it.

use std::sync::Arc;

use serde_json::Value;
use shim_model::{
    access,
    object::{Header, StoredObject},
};

use super::{LabelSelector, ObjectView, decode_part};
use crate::disruption_budgets::Limit;

/// A PodDisruptionBudget.
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub struct DisruptionBudget {
    pub object: Arc<StoredObject>,
    /// The store revision of the object.
    pub revision: u64,
    pub selector: LabelSelector,
    pub limit: Limit,
    /// `status`.
    pub status: Value,
}

impl DisruptionBudget {
    /// The header of the object.
    pub fn header(&self) -> &Header {
        &self.object.header
    }

    /// The selector in the form that upstream's Events have it in.
    pub fn shown_selector(&self) -> String {
        let spec = decode_part(self.object.spec()).expect("invariant: the view was decoded from it");
        let Some(selector) = spec.get("selector") else { return "nil".to_owned() };
        let text = |value: &Value| value.as_str().unwrap_or("").to_owned();
        let labels = access::entries(selector, &["matchLabels"]);
        let labels: String = labels.map(|(key, value)| format!("{key}: {},", text(value))).collect();
        let expression = |term: &Value| {
            let values: Vec<String> = access::list(term, &["values"]).iter().map(text).collect();
            let (key, operator) = (access::text(term, &["key"]), access::text(term, &["operator"]));
            format!(
                "LabelSelectorRequirement{{Key:{key},Operator:{operator},Values:[{}],}},",
                values.join(" ")
            )
        };
        let expressions: String =
            access::list(selector, &["matchExpressions"]).iter().map(expression).collect();
        format!(
            "&LabelSelector{{MatchLabels:map[string]string{{{labels}}},MatchExpressions:[]LabelSelectorRequirement{{{expressions}}},}}"
        )
    }
}

impl ObjectView for DisruptionBudget {
    const GROUP: &'static str = "policy";
    const PLURAL: &'static str = "poddisruptionbudgets";

    fn parse(object: &Arc<StoredObject>, revision: u64) -> Result<Self, serde_json::Error> {
        let spec = decode_part(object.spec())?;
        Ok(DisruptionBudget {
            object: object.clone(),
            revision,
            selector: LabelSelector::decode(access::get(&spec, &["selector"])),
            limit: Limit::decode(&spec),
            status: decode_part(object.status())?,
        })
    }

    fn object(&self) -> &Arc<StoredObject> {
        &self.object
    }

    fn selector(&self) -> Option<&LabelSelector> {
        Some(&self.selector)
    }
}
