//! Example of a domain rule that filters: at most one Pod of an app per zone or host.

use serde_json::json;

use crate::{
    rows::LabelSelector,
    scheduler::{
        DomainCount, DomainQuery, PendingPod, Reason,
        framework::{DomainRule, EventSet, Plugin, Refusal},
    },
};

#[derive(Debug)]
pub struct OnePerDomain;

/// The app of a Pod that the rule applies to, and the topology key.
fn concerned(pod: &PendingPod) -> Option<(&str, &'static str)> {
    let app = pod.pod.header().labels.get("app")?;
    if app.starts_with("one-per-zone") {
        Some((app, "zone"))
    } else if app == "one-per-host" {
        Some((app, "host"))
    } else {
        None
    }
}

impl Plugin for OnePerDomain {
    fn name(&self) -> &'static str {
        "OnePerDomain"
    }

    fn events(&self) -> EventSet {
        EventSet::NODE_ADD | EventSet::NODE_LABELS | EventSet::POD_DELETE | EventSet::POD_LABELS
    }

    fn domain_rule(&self) -> Option<&dyn DomainRule> {
        Some(self)
    }
}

impl DomainRule for OnePerDomain {
    fn queries(&self, pod: &PendingPod) -> Vec<DomainQuery> {
        let query = |(app, topology_key): (&str, &str)| DomainQuery {
            topology_key: topology_key.into(),
            namespaces: vec![pod.pod.header().namespace.as_str().into()],
            selector: LabelSelector::decode(Some(&json!({"matchLabels": {"app": app}}))),
        };
        concerned(pod).map(query).into_iter().collect()
    }

    fn class(&self, pod: &PendingPod) -> Option<Box<str>> {
        concerned(pod).map(|(app, _)| app.into())
    }

    fn filter(&self, _pod: &PendingPod, counts: &[DomainCount]) -> Result<(), Refusal> {
        let text = "node(s) had a pod of the app in their domain";
        match counts.iter().all(|count| count.in_domain && count.pods == 0) {
            true => Ok(()),
            false => Err(Refusal::resolvable(Reason::Plugin { plugin: "OnePerDomain", text })),
        }
    }
}
