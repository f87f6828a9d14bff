//! Example of a domain rule that scores: Pods of the app "spread" prefer zones, then hosts, with the fewest of them.

use serde_json::json;

use crate::{
    rows::LabelSelector,
    scheduler::{
        DomainCount, DomainQuery, PendingPod,
        framework::{DomainRule, MAX_SCORE, Plugin},
    },
};

#[derive(Debug)]
pub struct AppSpread;

impl Plugin for AppSpread {
    fn name(&self) -> &'static str {
        "AppSpread"
    }

    fn domain_rule(&self) -> Option<&dyn DomainRule> {
        Some(self)
    }
}

impl DomainRule for AppSpread {
    fn queries(&self, pod: &PendingPod) -> Vec<DomainQuery> {
        if pod.pod.header().labels.get("app").is_none_or(|app| app != "spread") {
            return Vec::new();
        }
        let query = |topology_key: &str| DomainQuery {
            topology_key: topology_key.into(),
            namespaces: Vec::new(),
            selector: LabelSelector::decode(Some(&json!({"matchLabels": {"app": "spread"}}))),
        };
        vec![query("zone"), query("host")]
    }

    fn class(&self, pod: &PendingPod) -> Option<Box<str>> {
        (!self.queries(pod).is_empty()).then(|| "spread".into())
    }

    /// One Pod more than the lowest count weighs ten times as much for a zone as for a host.
    fn score(&self, _pod: &PendingPod, counts: &[DomainCount]) -> i64 {
        let above = |count: &DomainCount| match count.in_domain {
            true => i64::from(count.pods - count.fewest),
            false => 50,
        };
        MAX_SCORE - 1000 * above(&counts[0]) - 100 * above(&counts[1])
    }
}
