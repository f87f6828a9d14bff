//! The resource claim controller: ends the reservations of Pods that are gone or will not run, frees the devices of claims that
//! nobody uses any more, and deletes claims that were made for such Pods. It makes no claims and allocates nothing.

use memchr::memmem;
use serde_json::Value;
use shim_model::access;
use shim_model::resource::GroupResource;

use super::{
    Action, CachedObject, Change, Controller, Input, Keys, ObjectChange, ObjectName, Plan, Propagation,
    Target, View, served,
};
use crate::rows::{ObjectView, Pod};

const CLAIMS: GroupResource = served("resource.k8s.io", "resourceclaims");
/// The finalizer of claims that are allocated by a scheduler (upstream's `resourceapi.Finalizer`).
pub(super) const FINALIZER: &str = "resource.kubernetes.io/delete-protection";
const CONSUMERS: [&str; 2] = ["status", "reservedFor"];
const ALLOCATION: [&str; 2] = ["status", "allocation"];

/// Ends reservations. Its keys are claims.
pub struct ResourceClaimController;

impl Controller for ResourceClaimController {
    const NAME: &'static str = "resourceclaim-controller";
    const SERVICE_ACCOUNT: &'static str = "resource-claim-controller";

    fn inputs(&self) -> Vec<Input> {
        vec![Input::headers("resource.k8s.io", "resourceclaims"), Input::views::<Pod>()]
    }

    fn keys(&self, change: &ObjectChange, view: &View<'_>, keys: &mut Keys) {
        if change.is_of("resource.k8s.io", "resourceclaims") {
            if !change.is_deletion() {
                keys.insert(change.name());
            }
            return;
        }
        if !change.is_deletion() && !is_done(&change.object) {
            return;
        }
        // The UID is in the claim as consumer or as owner.
        let pod = change.header();
        let uid = memmem::Finder::new(pod.uid.as_bytes());
        let claims = view.in_namespace(&CLAIMS, &pod.namespace);
        let named = claims.filter(|claim| uid.find(&claim.object.bytes).is_some());
        keys.extend(named.map(|claim| ObjectName::of(CLAIMS, claim.header())));
    }

    fn reconcile(&self, view: &View<'_>, key: &ObjectName) -> Plan {
        let mut plan = Plan::default();
        let Some(object) = view.named(key) else { return plan };
        let (header, claim) = (object.header(), object.value());
        let pod = |name: &str| {
            let found = view.object(&served("", "pods"), &header.namespace, name)?;
            Some((found.header().uid.as_str(), is_done(found)))
        };
        let consumers = access::list(&claim, &CONSUMERS);
        let is_unknown =
            |consumer: &Value| is_pod(consumer) && pod(access::text(consumer, &["name"])).is_none();
        if view.complete_to < object.revision && consumers.iter().any(is_unknown) {
            // The Pod may have been made just before it was reserved for.
            plan.needs_revision = Some(object.revision);
            return plan;
        }
        let is_gone = |consumer: &&Value| {
            let uid = access::text(consumer, &["uid"]);
            is_pod(consumer) && pod(access::text(consumer, &["name"])) != Some((uid, false))
        };
        let gone = consumers.iter().filter(is_gone).map(|pod| access::text(pod, &["uid"]).to_owned());
        let gone: Vec<String> = gone.collect();
        let is_unused = gone.len() == consumers.len();
        let is_protected = header.finalizers.iter().any(|own| own == FINALIZER);
        let is_leaving = is_protected && header.deletion_timestamp.is_some() && is_unused;
        let target = || Target::of(CLAIMS, header);
        let mut change = |subresource, change| {
            plan.actions.push(Action::Change { target: target(), subresource, changes: vec![change] });
        };
        let is_allocated = access::get(&claim, &ALLOCATION).is_some();
        if !gone.is_empty() || (is_leaving && is_allocated) {
            change(Some("status"), Change::EndReservations(gone.clone()));
        }
        if is_leaving || (is_protected && is_unused && !gone.is_empty()) {
            change(None, Change::UnprotectClaim);
        }
        // The garbage collector sees to claims whose Pod is gone.
        let owner = header.controller().filter(|owner| owner.kind == "Pod");
        let owning = owner.and_then(|owner| Some((owner, pod(&owner.name)?)));
        if is_unused
            && header.deletion_timestamp.is_none()
            && owning.is_some_and(|(owner, (uid, is_done))| owner.uid != uid || is_done)
        {
            let propagation = Propagation::Background;
            plan.actions.push(Action::Delete { target: target(), propagation, grace_seconds: None });
        }
        plan
    }
}

/// Whether the Pod will not run any more: it has ended, or it is deleted before it has a node.
fn is_done(pod: &CachedObject) -> bool {
    pod.view::<Pod>()
        .is_some_and(|pod| pod.phase.is_terminal() || (pod.deletion.is_some() && pod.node().is_none()))
}

fn is_pod(consumer: &Value) -> bool {
    access::text(consumer, &["apiGroup"]).is_empty() && access::text(consumer, &["resource"]) == "pods"
}

/// Removes the Pods with these UIDs from a claim's consumers. Frees its devices if those were the last, or if it is being
/// deleted and nobody uses it. See [`Change::EndReservations`].
pub(super) fn end_reservations(claim: &mut Value, gone: &[String]) -> bool {
    let before = access::list(claim, &CONSUMERS).len();
    let mut left = 0;
    if let Some(consumers) = access::list_mut(claim, &CONSUMERS) {
        consumers.retain(|one| !(is_pod(one) && gone.iter().any(|uid| uid == access::text(one, &["uid"]))));
        left = consumers.len();
    }
    let mut is_changed = left < before;
    if left == 0 {
        access::remove(claim, &CONSUMERS);
        let is_leaving = access::get(claim, &["metadata", "deletionTimestamp"]).is_some();
        if is_protected(claim) && (is_changed || is_leaving) {
            is_changed |= access::get(claim, &ALLOCATION).is_some();
            access::remove(claim, &ALLOCATION);
        }
    }
    is_changed
}

/// Removes the finalizer of a claim that has no devices and no consumers. See [`Change::UnprotectClaim`].
pub(super) fn unprotect(claim: &mut Value) -> bool {
    let is_used = access::get(claim, &ALLOCATION).is_some() || !access::list(claim, &CONSUMERS).is_empty();
    !is_used && Change::RemoveFinalizer(FINALIZER).apply(claim)
}

fn is_protected(claim: &Value) -> bool {
    access::list(claim, &["metadata", "finalizers"]).iter().any(|own| own == FINALIZER)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{controllers::Registration, testing::TestCluster};

    const PODS: GroupResource = served("", "pods");

    fn consumer(name: &str) -> Value {
        json!({"resource": "pods", "name": name, "uid": format!("uid-{name}")})
    }

    /// A cluster with Pods, and a claim that is allocated and reserved for these.
    fn cluster(reserved_for: &[&str]) -> TestCluster {
        let mut cluster = TestCluster::default();
        for name in ["runs", "ended", "left"] {
            cluster.add(
                PODS,
                json!({
                    "metadata": {"name": name, "namespace": "ns"},
                    "spec": {}, "status": {"phase": if name == "ended" { "Succeeded" } else { "Running" }},
                }),
            );
            cluster.edit("pods", name, |pod| pod["metadata"]["uid"] = json!(format!("uid-{name}")));
        }
        cluster.edit("pods", "left", |pod| {
            pod["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        });
        let consumers: Vec<Value> = reserved_for.iter().map(|name| consumer(name)).collect();
        let device = json!({"driver": "d", "pool": "p", "device": "one", "request": "r"});
        cluster.add(CLAIMS, json!({
            "metadata": {"name": "c", "namespace": "ns", "finalizers": [FINALIZER]},
            "spec": {}, "status": {"reservedFor": consumers, "allocation": {"devices": {"results": [device]}}},
        }));
        cluster
    }

    fn run(cluster: &mut TestCluster) -> Value {
        cluster.run(&[Registration::new(ResourceClaimController)]);
        cluster.get("resourceclaims", "c").clone()
    }

    #[test]
    fn reservations_of_pods_that_do_not_run_end() {
        let mut cluster = cluster(&["runs", "ended", "left", "gone"]);
        cluster.edit("resourceclaims", "c", |claim| {
            let other = json!({"apiGroup": "example.com", "resource": "jobs", "name": "j", "uid": "u"});
            claim["status"]["reservedFor"].as_array_mut().unwrap().push(other);
        });
        let claim = run(&mut cluster);
        let names = access::list(&claim, &CONSUMERS).iter().map(|one| access::text(one, &["name"]));
        assert_eq!(names.collect::<Vec<_>>(), ["runs", "j"]);
        assert!(access::get(&claim, &ALLOCATION).is_some() && is_protected(&claim));
    }

    #[test]
    fn a_reservation_stays_until_the_pods_are_known() {
        let cluster = cluster(&["runs", "new"]);
        let cache = cluster.cache();
        let key = ObjectName::new(CLAIMS, "ns", "c");
        let revision = View::new(&cache, 0, None).named(&key).unwrap().revision;
        let plan =
            ResourceClaimController.reconcile(&View::new(&cache, 0, None).complete_to(revision - 1), &key);
        assert!(plan.is_empty());
        assert_eq!(plan.needs_revision, Some(revision));
        let plan = ResourceClaimController.reconcile(&View::new(&cache, 0, None).complete_to(revision), &key);
        assert_eq!((plan.actions.len(), plan.needs_revision), (1, None));
    }

    #[test]
    fn a_pod_of_the_same_name_is_another_one() {
        let mut cluster = cluster(&["runs"]);
        cluster.edit("pods", "runs", |pod| pod["metadata"]["uid"] = json!("uid-later"));
        let claim = run(&mut cluster);
        assert_eq!(claim["status"], json!({}), "the last consumer was the only one");
        assert!(!is_protected(&claim));
    }

    #[test]
    fn a_claim_that_nobody_has_used_keeps_its_devices_until_it_is_deleted() {
        let mut cluster = cluster(&[]);
        let claim = run(&mut cluster);
        assert!(access::get(&claim, &ALLOCATION).is_some() && is_protected(&claim));
        cluster.edit("resourceclaims", "c", |claim| {
            claim["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        });
        cluster.run(&[Registration::new(ResourceClaimController)]);
        let left = cluster.all("resourceclaims");
        assert!(left.iter().all(|claim| !is_protected(claim) && access::get(claim, &ALLOCATION).is_none()));
    }

    #[test]
    fn devices_without_the_finalizer_are_left_to_who_allocated_them() {
        let mut cluster = cluster(&["ended"]);
        cluster.edit("resourceclaims", "c", |claim| claim["metadata"]["finalizers"] = json!([]));
        let claim = run(&mut cluster);
        assert!(access::list(&claim, &CONSUMERS).is_empty() && access::get(&claim, &ALLOCATION).is_some());
    }

    #[test]
    fn claims_made_for_a_pod_go_when_it_has_ended() {
        for (owner, is_left) in [("runs", true), ("ended", false), ("gone", true)] {
            let mut cluster = cluster(&[]);
            cluster.edit("resourceclaims", "c", |claim| {
                claim["metadata"]["finalizers"] = json!([]);
                claim["metadata"]["ownerReferences"] = json!([{
                    "apiVersion": "v1", "kind": "Pod", "name": owner, "uid": format!("uid-{owner}"), "controller": true,
                }]);
            });
            cluster.run(&[Registration::new(ResourceClaimController)]);
            assert_eq!(cluster.all("resourceclaims").len(), usize::from(is_left), "{owner}");
        }
    }

    #[test]
    fn a_consumer_that_comes_meanwhile_keeps_the_devices() {
        let mut claim = cluster(&["ended", "runs"]).get("resourceclaims", "c").clone();
        assert!(end_reservations(&mut claim, &["uid-ended".to_owned()]));
        assert!(!unprotect(&mut claim) && access::get(&claim, &ALLOCATION).is_some());
        assert!(!end_reservations(&mut claim, &["uid-ended".to_owned()]), "idempotent");
        assert!(end_reservations(&mut claim, &["uid-runs".to_owned()]) && unprotect(&mut claim));
    }

    #[test]
    fn the_end_of_a_pod_names_its_claims() {
        let cache = cluster(&["ended", "runs"]).cache();
        let view = View::new(&cache, 0, None);
        let mut named = Vec::new();
        for change in cache.all_as_added().filter(|change| change.is_of("", "pods")) {
            let mut keys = Keys::default();
            ResourceClaimController.keys(&change, &view, &mut keys);
            named.extend(keys.iter().map(|key| format!("{} {}", change.header().name, key.key)));
        }
        assert_eq!(named, ["ended ns/c"]);
    }
}
