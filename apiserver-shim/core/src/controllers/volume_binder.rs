//! The PersistentVolume controller: binds claims to volumes that somebody has made, keeps the phases of both, and says what
//! becomes of a volume whose claim is gone.
//!
//! A volume is taken in a first step, with a change that does nothing if another claim was faster; the claim is bound when
//! the cache shows that the volume is its own. Claims of a class with `WaitForFirstConsumer` wait for a Pod that uses them and
//! get a volume that a node for this Pod can use. Volumes are not provisioned here: an external provisioner finds the claim by
//! its annotation, which a claim that waits for a Pod gets when the scheduler has chosen the node.

mod claim;
mod matching;
mod volume;

use serde_json::{Value, json};
use shim_model::{access, object::Header, resource::GroupResource};

use super::{
    CachedObject, Controller, EventRecord, EventSource, Input, Keys, ObjectChange, ObjectName, Plan, Target,
    View, served, volume_protection::claims_of,
};
use crate::rows::{BIND_COMPLETED, Key, Node, PersistentVolume, PersistentVolumeClaim, Pod};

/// The source of its Events.
pub const COMPONENT: &str = "persistentvolume-controller";

const CLAIMS: GroupResource = served("", "persistentvolumeclaims");
const VOLUMES: GroupResource = served("", "persistentvolumes");
const CLASSES: GroupResource = served("storage.k8s.io", "storageclasses");

/// The annotation of a claim or volume whose binding was this controller's choice.
const BOUND_BY_CONTROLLER: &str = "pv.kubernetes.io/bound-by-controller";

/// Binds claims to volumes. Its keys are both.
pub struct VolumeBinder;

impl Controller for VolumeBinder {
    const NAME: &'static str = "persistentvolume-binder-controller";
    const SERVICE_ACCOUNT: &'static str = "persistent-volume-binder";

    fn inputs(&self) -> Vec<Input> {
        vec![
            Input::views::<PersistentVolumeClaim>(),
            Input::views::<PersistentVolume>(),
            Input::headers("storage.k8s.io", "storageclasses"),
            Input::views::<Pod>(),
            Input::views::<Node>(),
        ]
    }

    fn keys(&self, change: &ObjectChange, view: &View<'_>, keys: &mut Keys) {
        match change.resource.resource() {
            "persistentvolumeclaims" => keys_of_claim(change, view, keys),
            "persistentvolumes" => keys_of_volume(change, view, keys),
            "storageclasses" => {
                let class = &change.header().name;
                keys.extend(
                    unbound(view)
                        .filter(|claim| claim.terms.class == *class || !claim.has_class)
                        .map(name_of),
                );
            }
            "pods" => keys_of_pod(change, view, keys),
            _ => {}
        }
    }

    fn reconcile(&self, view: &View<'_>, key: &ObjectName) -> Plan {
        if key.resource == CLAIMS {
            let claim = view.get::<PersistentVolumeClaim>(&key.key);
            claim.map(|claim| claim::plan(claim, view)).unwrap_or_default()
        } else {
            let volume = view.get::<PersistentVolume>(&key.key);
            volume.map(|volume| volume::plan(volume, view)).unwrap_or_default()
        }
    }
}

fn keys_of_claim(change: &ObjectChange, view: &View<'_>, keys: &mut Keys) {
    keys.insert(change.name());
    for object in [Some(&change.object), change.previous.as_ref()].into_iter().flatten() {
        let Some(claim) = object.view::<PersistentVolumeClaim>() else { continue };
        if !claim.volume.is_empty() {
            keys.insert(ObjectName::new(VOLUMES, "", &claim.volume));
        } else if change.is_deletion() {
            let taken = view.all::<PersistentVolume>().filter(|volume| volume.is_of(claim.header()));
            keys.extend(taken.map(|volume| ObjectName::of(VOLUMES, volume.header())));
        }
    }
}

fn keys_of_volume(change: &ObjectChange, view: &View<'_>, keys: &mut Keys) {
    keys.insert(change.name());
    let volume = |object: &CachedObject| object.view::<PersistentVolume>().cloned();
    let versions = [volume(&change.object), change.previous.as_ref().and_then(volume)];
    for claim in versions.iter().flatten().filter_map(|volume| volume.claim.as_ref()) {
        keys.insert(ObjectName::new(CLAIMS, &claim.namespace, &claim.name));
    }
    let Some(free) = versions[0].as_ref().filter(|volume| volume.claim.is_none()) else {
        // A claim may be bound to, or want, a volume that is gone.
        if change.is_deletion() {
            keys.extend(wanting(view, &change.header().name).map(name_of));
        }
        return;
    };
    if change.is_deletion() {
        return keys.extend(wanting(view, free.name()).map(name_of));
    }
    let same = versions[1].as_ref().is_some_and(|before| {
        before.claim.is_none()
            && before.phase == free.phase
            && before.object.spec() == free.object.spec()
            && before.header().labels == free.header().labels
    });
    if !same {
        keys.extend(unbound(view).filter(|claim| claim.terms.class == free.terms.class).map(name_of));
    }
}

/// Claims that wait for a Pod are tried when one comes.
fn keys_of_pod(change: &ObjectChange, view: &View<'_>, keys: &mut Keys) {
    let is_new = change.previous.is_none() && !change.is_deletion();
    if !is_new || change.object.view::<Pod>().is_none_or(|pod| pod.node.is_some()) {
        return;
    }
    let namespace = &change.header().namespace;
    for name in claims_of(&change.object) {
        let claim = view.get::<PersistentVolumeClaim>(&Key::new(namespace, &name));
        keys.extend(claim.filter(|claim| is_unbound(claim)).map(name_of));
    }
}

fn is_unbound(claim: &PersistentVolumeClaim) -> bool {
    !claim.annotations.contains_key(BIND_COMPLETED)
}

/// Every claim that has not been bound yet.
fn unbound<'v>(view: &'v View<'_>) -> impl Iterator<Item = &'v PersistentVolumeClaim> {
    view.all::<PersistentVolumeClaim>().filter(|claim| is_unbound(claim))
}

fn wanting<'v>(view: &'v View<'_>, volume: &'v str) -> impl Iterator<Item = &'v PersistentVolumeClaim> {
    view.all::<PersistentVolumeClaim>().filter(move |claim| claim.volume == volume)
}

fn name_of(claim: &PersistentVolumeClaim) -> ObjectName {
    ObjectName::of(CLAIMS, claim.header())
}

/// [`super::Change::ClaimVolume`].
pub fn claim_volume(volume: &mut Value, reference: &Value) -> bool {
    let text = |value: &Value, member| access::text(value, &[member]).to_owned();
    let own = access::get(volume, &["spec", "claimRef"]).filter(|own| own.is_object()).cloned();
    let same = |member| own.as_ref().is_some_and(|own| text(own, member) == text(reference, member));
    let reserved = same("namespace") && same("name");
    let unbound = own.as_ref().is_none_or(|own| text(own, "uid").is_empty());
    if own.is_some() && !(reserved && (unbound || same("uid"))) {
        return false;
    }
    if same("uid") {
        return false;
    }
    access::object_mut(volume, &["spec"]).insert("claimRef".to_owned(), reference.clone());
    if own.is_none() {
        access::object_mut(volume, &["metadata", "annotations"])
            .insert(BOUND_BY_CONTROLLER.to_owned(), json!("yes"));
    }
    true
}

fn event(
    resource: GroupResource,
    about: &Header,
    warning: bool,
    reason: &'static str,
    message: String,
) -> EventRecord {
    let source = EventSource::Component(COMPONENT);
    EventRecord { about: Target::of(resource, about), warning, reason, message, source }
}

#[cfg(test)]
#[path = "volume_binder/tests.rs"]
mod tests;
