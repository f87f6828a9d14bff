//! The ClusterRole aggregation controller: the rules of a ClusterRole with an `aggregationRule` are those of all ClusterRoles
//! that its selectors match.

use memchr::memmem;
use serde_json::{Value, json};
use shim_model::access;
use shim_model::resource::GroupResource;
use shim_model::selector::LabelSelector;

use super::{
    Action, CachedObject, Controller, Input, Keys, ObjectChange, ObjectName, Plan, Target, View, served,
};
use crate::kinds::rbac::GROUP;

/// Fills in the rules of aggregated ClusterRoles.
pub struct ClusterRoleAggregationController;

const CLUSTER_ROLES: GroupResource = served(GROUP, "clusterroles");

/// Found in the bytes of aggregated ClusterRoles, which are few: the others need no decoding.
const MARK: &[u8] = b"\"aggregationRule\":{";

fn is_aggregated(role: &CachedObject) -> bool {
    memmem::find(&role.object.bytes, MARK).is_some()
}

impl Controller for ClusterRoleAggregationController {
    const NAME: &'static str = "clusterrole-aggregation-controller";
    const SERVICE_ACCOUNT: &'static str = "clusterrole-aggregation-controller";

    fn inputs(&self) -> Vec<Input> {
        vec![Input::headers(GROUP, "clusterroles")]
    }

    fn keys(&self, _: &ObjectChange, view: &View<'_>, keys: &mut Keys) {
        let aggregated = view.in_namespace(&CLUSTER_ROLES, "").filter(|role| is_aggregated(role));
        keys.extend(aggregated.map(|role| ObjectName::new(CLUSTER_ROLES, "", &role.header().name)));
    }

    fn reconcile(&self, view: &View<'_>, key: &ObjectName) -> Plan {
        let mut plan = Plan::default();
        let Some(role) = view.named(key).filter(|role| is_aggregated(role)) else { return plan };
        let object = role.value();
        let Some(rules) = aggregated_rules(view, &key.key.name, &object) else { return plan };
        if rules != access::list(&object, &["rules"]) {
            let target = Target::of(CLUSTER_ROLES, role.header());
            plan.actions.push(Action::Apply {
                target,
                subresource: None,
                manager: Self::NAME,
                configuration: json!({"rules": rules}),
            });
        }
        plan
    }
}

/// The rules of the matching ClusterRoles, selector by selector and by name, each once; `None` if a selector is invalid.
fn aggregated_rules(view: &View<'_>, name: &str, object: &Value) -> Option<Vec<Value>> {
    let mut rules: Vec<Value> = Vec::new();
    for selector in access::list(object, &["aggregationRule", "clusterRoleSelectors"]) {
        let selector = LabelSelector::from_value(selector).ok()?;
        let matching = view
            .in_namespace(&CLUSTER_ROLES, "")
            .filter(|role| role.header().name != name && selector.matches(&role.header().labels));
        for role in matching {
            for rule in access::list(&role.value(), &["rules"]) {
                if !rules.contains(rule) {
                    rules.push(rule.clone());
                }
            }
        }
    }
    Some(rules)
}

#[cfg(test)]
mod tests;
