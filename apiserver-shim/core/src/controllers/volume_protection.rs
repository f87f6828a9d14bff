//! The PVC, PV and VAC protection controllers: a claim that a Pod uses, a volume that is bound, and a class of attributes
//! that a claim or volume has, stay while they are being deleted. Admission gives each new one a finalizer
//! ([`crate::kinds::admission::protect_storage`]); these controllers add it to older objects, and remove it from objects in
//! deletion that nothing uses.

use memchr::memmem;
use serde_json::{Value, json};
use shim_model::access;
use shim_model::object::Header;
use shim_model::resource::GroupResource;

use super::{
    Action, CachedObject, Change, Controller, Input, Keys, ObjectChange, ObjectName, Plan, Target, View,
    served,
};
use crate::kinds::admission::{ATTRIBUTES_CLASS_FINALIZER, CLAIM_FINALIZER, VOLUME_FINALIZER};
use crate::rows::{ObjectView, Pod, ephemeral_claim};

/// Protects PersistentVolumeClaims.
pub struct ClaimProtectionController;

/// Protects PersistentVolumes.
pub struct VolumeProtectionController;

/// Protects VolumeAttributesClasses.
pub struct AttributesClassProtectionController;

const CLASSES: GroupResource = served("storage.k8s.io", "volumeattributesclasses");
const CLAIMS: GroupResource = served("", "persistentvolumeclaims");
const VOLUMES: GroupResource = served("", "persistentvolumes");

impl Controller for ClaimProtectionController {
    const NAME: &'static str = "persistentvolumeclaim-protection-controller";
    const SERVICE_ACCOUNT: &'static str = "pvc-protection-controller";

    fn inputs(&self) -> Vec<Input> {
        vec![Input::headers("", "persistentvolumeclaims"), Input::views::<Pod>()]
    }

    fn keys(&self, change: &ObjectChange, _: &View<'_>, keys: &mut Keys) {
        if change.is_of("", "persistentvolumeclaims") {
            keys.insert(change.name());
        } else if !is_user(&change.object) || change.is_deletion() {
            let namespace = &change.header().namespace;
            let claims = claims_of(&change.object).into_iter();
            keys.extend(claims.map(|claim| ObjectName::new(CLAIMS, namespace, &claim)));
        }
    }

    fn reconcile(&self, view: &View<'_>, key: &ObjectName) -> Plan {
        let Some(claim) = view.named(key) else { return Plan::default() };
        // The Pods of the namespace are read only for a claim in deletion.
        let is_used = || {
            let name = &claim.header().name;
            let mut pods = view.in_namespace(&served("", "pods"), &claim.header().namespace);
            pods.any(|pod| is_user(pod) && claims_of(pod).contains(name))
        };
        protect(CLAIMS, claim, CLAIM_FINALIZER, is_used)
    }
}

impl Controller for VolumeProtectionController {
    const NAME: &'static str = "persistentvolume-protection-controller";
    const SERVICE_ACCOUNT: &'static str = "pv-protection-controller";

    fn inputs(&self) -> Vec<Input> {
        vec![Input::headers("", "persistentvolumes")]
    }

    fn keys(&self, change: &ObjectChange, _: &View<'_>, keys: &mut Keys) {
        keys.insert(change.name());
    }

    fn reconcile(&self, view: &View<'_>, key: &ObjectName) -> Plan {
        let Some(volume) = view.named(key) else { return Plan::default() };
        let is_bound = || access::text(&volume.value(), &["status", "phase"]) == "Bound";
        protect(VOLUMES, volume, VOLUME_FINALIZER, is_bound)
    }
}

impl Controller for AttributesClassProtectionController {
    const NAME: &'static str = "volumeattributesclass-protection-controller";
    const SERVICE_ACCOUNT: &'static str = "volumeattributesclass-protection-controller";

    fn inputs(&self) -> Vec<Input> {
        vec![
            Input::headers("storage.k8s.io", "volumeattributesclasses"),
            Input::headers("", "persistentvolumeclaims"),
            Input::headers("", "persistentvolumes"),
        ]
    }

    fn keys(&self, change: &ObjectChange, view: &View<'_>, keys: &mut Keys) {
        if change.is_of("storage.k8s.io", "volumeattributesclasses") {
            keys.insert(change.name());
            return;
        }
        // Few classes are ever in deletion.
        let leaving = view.everywhere(&CLASSES).filter(|class| class.header().deletion_timestamp.is_some());
        keys.extend(leaving.map(|class| ObjectName::new(CLASSES, "", &class.header().name)));
    }

    fn reconcile(&self, view: &View<'_>, key: &ObjectName) -> Plan {
        let Some(class) = view.named(key) else { return Plan::default() };
        let is_used = || {
            let name = class.header().name.as_str();
            let mut users = view.everywhere(&CLAIMS).chain(view.everywhere(&VOLUMES));
            users.any(|user| classes_of(&user.value()).contains(&name))
        };
        protect(CLASSES, class, ATTRIBUTES_CLASS_FINALIZER, is_used)
    }
}

/// The classes of attributes that a claim or volume has, had, or will have.
fn classes_of(user: &Value) -> [&str; 3] {
    [
        access::text(user, &["spec", "volumeAttributesClassName"]),
        access::text(user, &["status", "currentVolumeAttributesClassName"]),
        access::text(user, &["status", "modifyVolumeStatus", "targetVolumeAttributesClassName"]),
    ]
}

fn protect(
    resource: GroupResource,
    object: &CachedObject,
    finalizer: &'static str,
    is_used: impl FnOnce() -> bool,
) -> Plan {
    let Header { finalizers, deletion_timestamp, .. } = object.header();
    let change = match (deletion_timestamp, finalizers.iter().any(|own| own == finalizer)) {
        (None, false) => {
            let all = finalizers.iter().map(String::as_str).chain([finalizer]);
            Change::Put(&["metadata", "finalizers"], json!(all.collect::<Vec<_>>()))
        }
        (Some(_), true) if !is_used() => Change::RemoveFinalizer(finalizer),
        _ => return Plan::default(),
    };
    let target = Target::of(resource, object.header());
    let action = Action::Change { target, subresource: None, changes: vec![change] };
    Plan { actions: vec![action], ..Plan::default() }
}

/// Whether the Pod may use its volumes: it is bound and has not ended.
fn is_user(pod: &CachedObject) -> bool {
    pod.view::<Pod>().is_some_and(|pod| pod.node().is_some() && !pod.phase.is_terminal())
}

/// The names of the claims of a Pod's volumes. Few Pods have any; the others are not decoded.
pub(super) fn claims_of(pod: &CachedObject) -> Vec<String> {
    const MARKS: [&[u8]; 2] = [b"\"persistentVolumeClaim\":", b"\"ephemeral\":"];
    let spec = pod.object.spec();
    if MARKS.iter().all(|mark| memmem::find(spec, mark).is_none()) {
        return Vec::new();
    }
    let claim = |volume: &Value| match access::text(volume, &["persistentVolumeClaim", "claimName"]) {
        "" => {
            volume.get("ephemeral")?;
            Some(ephemeral_claim(&pod.header().name, volume))
        }
        name => Some(name.to_owned()),
    };
    access::list(&pod.value(), &["spec", "volumes"]).iter().filter_map(claim).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controllers::Registration;
    use crate::testing::TestCluster;

    fn controllers() -> [Registration; 3] {
        [
            Registration::new(ClaimProtectionController),
            Registration::new(VolumeProtectionController),
            Registration::new(AttributesClassProtectionController),
        ]
    }

    fn object<'c>(cluster: &'c mut TestCluster, resource: &GroupResource) -> &'c mut Value {
        let found = cluster.objects.iter_mut().find(|((plural, _), _)| plural == resource.resource());
        found.expect("there is one").1
    }

    fn finalizers(cluster: &mut TestCluster, resource: &GroupResource) -> Vec<Value> {
        cluster.run(&controllers());
        access::list(object(cluster, resource), &["metadata", "finalizers"]).to_vec()
    }

    fn delete(object: &mut Value) {
        object["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    }

    fn user(phase: &str) -> Value {
        json!({
            "metadata": {"name": "user", "namespace": "ns"},
            "spec": {"nodeName": "n", "volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "x"}}]},
            "status": {"phase": phase},
        })
    }

    #[test]
    fn a_claim_stays_until_no_pod_uses_it() {
        let mut cluster = TestCluster::default();
        cluster.add(CLAIMS, json!({"metadata": {"name": "x", "namespace": "ns"}, "spec": {}}));
        cluster.add(served("", "pods"), user("Running"));
        assert_eq!(finalizers(&mut cluster, &CLAIMS), [CLAIM_FINALIZER]);
        delete(object(&mut cluster, &CLAIMS));
        assert_eq!(finalizers(&mut cluster, &CLAIMS), [CLAIM_FINALIZER]);
        object(&mut cluster, &served("", "pods"))["status"]["phase"] = "Succeeded".into();
        assert_eq!(finalizers(&mut cluster, &CLAIMS), [Value::Null; 0]);
    }

    #[test]
    fn a_bound_volume_stays() {
        let mut cluster = TestCluster::default();
        cluster.add(VOLUMES, json!({"metadata": {"name": "x"}, "spec": {}, "status": {"phase": "Bound"}}));
        assert_eq!(finalizers(&mut cluster, &VOLUMES), [VOLUME_FINALIZER]);
        delete(object(&mut cluster, &VOLUMES));
        assert_eq!(finalizers(&mut cluster, &VOLUMES), [VOLUME_FINALIZER]);
        object(&mut cluster, &VOLUMES)["status"]["phase"] = "Released".into();
        assert_eq!(finalizers(&mut cluster, &VOLUMES), [Value::Null; 0]);
    }

    #[test]
    fn a_class_stays_until_no_claim_has_it() {
        let mut cluster = TestCluster::default();
        cluster.add(CLASSES, json!({"metadata": {"name": "c"}, "driverName": "d", "parameters": {"a": "b"}}));
        let spec = json!({"volumeAttributesClassName": "c"});
        cluster.add(CLAIMS, json!({"metadata": {"name": "x", "namespace": "ns"}, "spec": spec}));
        assert_eq!(finalizers(&mut cluster, &CLASSES), [ATTRIBUTES_CLASS_FINALIZER]);
        delete(object(&mut cluster, &CLASSES));
        assert_eq!(finalizers(&mut cluster, &CLASSES), [ATTRIBUTES_CLASS_FINALIZER]);
        object(&mut cluster, &CLAIMS)["spec"] = json!({});
        assert_eq!(finalizers(&mut cluster, &CLASSES), [Value::Null; 0]);
    }
}
