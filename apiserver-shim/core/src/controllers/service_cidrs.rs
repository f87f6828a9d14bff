//! The ServiceCIDR controller: every range is ready and has a finalizer. A range in deletion stays while a Service has an
//! address that only this range contains. The range of the server itself is created again if it is missing.

use serde_json::{Value, json};
use shim_model::access;
use shim_model::resource::GroupResource;

use super::{
    Action, CachedObject, Change, Condition, Controller, Input, Keys, ObjectChange, ObjectName, Plan, Target,
    View, applied_condition, condition, says, served,
};
use crate::rows::{Seconds, rfc3339};
use crate::service_addresses::{DEFAULT_NAME, Prefix, is_allocated, prefixes};
use crate::service_cidr::ServiceCidr;

/// Protects ServiceCIDRs.
pub struct ServiceCidrController {
    /// The range of the server.
    pub service_cidr: ServiceCidr,
}

const GROUP: &str = "networking.k8s.io";
const RANGES: GroupResource = served(GROUP, "servicecidrs");
const ADDRESSES: GroupResource = served(GROUP, "ipaddresses");
const FINALIZER: &str = "networking.k8s.io/service-cidr-finalizer";
/// How long a range in deletion stays at least, in seconds: until every server has stopped to allocate from it (upstream's).
const GRACE: Seconds = 10;

impl Controller for ServiceCidrController {
    const NAME: &'static str = "service-cidr-controller";
    const SERVICE_ACCOUNT: &'static str = "service-cidrs-controller";

    fn inputs(&self) -> Vec<Input> {
        vec![Input::headers(GROUP, "servicecidrs"), Input::headers(GROUP, "ipaddresses")]
    }

    fn keys(&self, change: &ObjectChange, view: &View<'_>, keys: &mut Keys) {
        // A new range may free another one, a released address too. There are few ranges.
        if change.is_of(GROUP, "servicecidrs") {
            keys.insert(change.name());
        } else if !is_allocated(change.header()) {
            return;
        }
        let ending =
            view.in_namespace(&RANGES, "").filter(|range| range.header().deletion_timestamp.is_some());
        keys.extend(ending.map(|range| ObjectName::of(RANGES, range.header())));
    }

    fn reconcile(&self, view: &View<'_>, key: &ObjectName) -> Plan {
        let mut plan = Plan::default();
        let Some(range) = view.named(key) else {
            if &*key.key.name == DEFAULT_NAME {
                let object = default_object(self.service_cidr);
                plan.actions.push(Action::Create { resource: RANGES, namespace: String::new(), object });
            }
            return plan;
        };
        let (header, object) = (range.header(), range.value());
        let protected = header.finalizers.iter().any(|own| own == FINALIZER);
        let target = || Target::of(RANGES, header);
        let change = |change| Action::Change { target: target(), subresource: None, changes: vec![change] };
        let apply = |configuration| Action::Apply {
            target: target(),
            subresource: Some("status"),
            manager: Self::NAME,
            configuration,
        };
        match &header.deletion_timestamp {
            Some(_) if !protected => {}
            Some(_) if is_needed(view, range) => {
                let message = "There are still IPAddresses referencing the ServiceCIDR, please remove them or create a new ServiceCIDR";
                let condition = Condition { kind: "Ready", status: "False", reason: "Terminating", message };
                plan.actions.extend(ready(&object, &condition, view.now).map(apply));
            }
            Some(since) => {
                let left = crate::rows::seconds(since).unwrap_or(view.now) + GRACE - view.now;
                match left > 0 {
                    true => plan.requeue_after(left),
                    false => plan.actions.push(change(Change::RemoveFinalizer(FINALIZER))),
                }
            }
            None => {
                if !protected {
                    let all = header.finalizers.iter().map(String::as_str).chain([FINALIZER]);
                    let all = json!(all.collect::<Vec<_>>());
                    plan.actions.push(change(Change::Put(&["metadata", "finalizers"], all)));
                }
                let message = "Kubernetes Service CIDR is ready";
                let condition = Condition { kind: "Ready", status: "True", reason: "", message };
                plan.actions.extend(ready(&object, &condition, view.now).map(apply));
            }
        }
        plan
    }
}

/// The ServiceCIDR of the server's range.
pub fn default_object(range: ServiceCidr) -> Value {
    json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "ServiceCIDR",
        "metadata": {"name": DEFAULT_NAME},
        "spec": {"cidrs": [range.to_string()]},
    })
}

/// The configuration that sets the condition `Ready`, unless the range has it.
fn ready(object: &Value, new: &Condition<'_>, now: Seconds) -> Option<Value> {
    let status = &object["status"];
    let old = condition(status, new.kind);
    if old.is_some_and(|old| says(old, new)) {
        return None;
    }
    let since = match old.filter(|old| access::text(old, &["status"]) == new.status) {
        Some(old) => access::text(old, &["lastTransitionTime"]).to_owned(),
        None => rfc3339(now),
    };
    Some(applied_condition(new, &since))
}

/// Whether a Service has an address of the range that no other range contains.
fn is_needed(view: &View<'_>, range: &CachedObject) -> bool {
    let own = prefixes(&range.value());
    let name = &range.header().name;
    let others: Vec<Prefix> = view
        .in_namespace(&RANGES, "")
        .filter(|other| other.header().name != *name)
        .flat_map(|other| prefixes(&other.value()))
        .collect();
    if own.iter().all(|prefix| others.iter().any(|other| other.contains(*prefix))) {
        return false;
    }
    let allocated = view.in_namespace(&ADDRESSES, "").filter(|address| is_allocated(address.header()));
    allocated.filter_map(|address| address.header().name.parse().ok()).any(|address| {
        own.iter().any(|prefix| prefix.has(address)) && !others.iter().any(|prefix| prefix.has(address))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controllers::Registration;
    use crate::service_addresses::ip_address;
    use crate::testing::TestCluster;

    fn run(cluster: &mut TestCluster) {
        cluster.run(&[Registration::new(ServiceCidrController { service_cidr: ServiceCidr::default() })]);
    }

    fn range<'c>(cluster: &'c mut TestCluster, name: &str) -> &'c mut Value {
        let key = crate::rows::Key::new("", name);
        cluster.objects.get_mut(&("servicecidrs".to_owned(), key)).expect("it exists")
    }

    fn state(cluster: &mut TestCluster, name: &str) -> String {
        run(cluster);
        let object = range(cluster, name);
        let ready = condition(&object["status"], "Ready").map_or("", |c| access::text(c, &["status"]));
        format!("{ready} {}", access::list(object, &["metadata", "finalizers"]).len())
    }

    fn add(cluster: &mut TestCluster, name: &str, cidr: &str) {
        cluster.add(RANGES, json!({"metadata": {"name": name}, "spec": {"cidrs": [cidr]}}));
    }

    #[test]
    fn a_range_stays_while_it_is_needed() {
        let mut cluster = TestCluster { now: 1_000, ..TestCluster::default() };
        add(&mut cluster, "a", "10.0.0.0/24");
        assert_eq!(state(&mut cluster, "a"), "True 1");
        cluster.add(ADDRESSES, ip_address("10.0.0.5".parse().unwrap(), "ns", "s"));
        range(&mut cluster, "a")["metadata"]["deletionTimestamp"] = json!(rfc3339(1_000));
        assert_eq!(state(&mut cluster, "a"), "False 1");
        add(&mut cluster, "b", "10.0.0.0/16");
        assert_eq!(state(&mut cluster, "a"), "False 1", "within the grace period");
        cluster.now += GRACE;
        assert_eq!(state(&mut cluster, "a"), "False 0");
        assert_eq!(state(&mut cluster, "b"), "True 1");
    }

    #[test]
    fn a_free_range_goes_after_the_grace_period() {
        let mut cluster = TestCluster { now: 1_000, ..TestCluster::default() };
        add(&mut cluster, "a", "10.0.0.0/24");
        run(&mut cluster);
        range(&mut cluster, "a")["metadata"]["deletionTimestamp"] = json!(rfc3339(1_000));
        let controller = ServiceCidrController { service_cidr: ServiceCidr::default() };
        let plan = cluster.reconcile(&controller, &ObjectName::new(RANGES, "", "a"));
        assert!(plan.is_empty() && plan.requeue_after == Some(GRACE));
        cluster.now += GRACE;
        assert_eq!(state(&mut cluster, "a"), "True 0");
    }

    #[test]
    fn the_own_range_is_created_again() {
        let cluster = TestCluster::default();
        let controller = ServiceCidrController { service_cidr: ServiceCidr::default() };
        let plan = |name| cluster.reconcile(&controller, &ObjectName::new(RANGES, "", name));
        assert_eq!((plan(DEFAULT_NAME).actions.len(), plan("other").actions.len()), (1, 0));
    }
}
