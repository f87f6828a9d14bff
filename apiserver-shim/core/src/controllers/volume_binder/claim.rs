//! The next step of a claim.

use serde_json::{Value, json};
use shim_model::access;

use super::{
    BIND_COMPLETED, BOUND_BY_CONTROLLER, CLAIMS, CLASSES, PersistentVolume, PersistentVolumeClaim, Pod,
    VOLUMES, View, claims_of, event, is_unbound, matching, served,
};
use crate::{
    controllers::{Action, CachedObject, Change, Plan, Target},
    default_classes,
    rows::{Key, SELECTED_NODE},
};

/// Annotations by which an external provisioner finds a claim.
const PROVISIONER: [&str; 2] =
    ["volume.beta.kubernetes.io/storage-provisioner", "volume.kubernetes.io/storage-provisioner"];

/// The next step.
pub fn plan(claim: &PersistentVolumeClaim, view: &View<'_>) -> Plan {
    let mut plan = Plan::default();
    match (is_unbound(claim), claim.volume.as_str()) {
        (true, "") => find(claim, view, &mut plan),
        (true, name) => match view.get::<PersistentVolume>(&Key::new("", name)) {
            None => stay_pending(claim, &mut plan),
            Some(volume) => take_wanted(claim, volume, &mut plan),
        },
        (false, "") => {
            lose(
                claim,
                "ClaimLost",
                "Bound claim has lost reference to PersistentVolume. Data on the volume is lost!",
                &mut plan,
            );
        }
        (false, name) => match view.get::<PersistentVolume>(&Key::new("", name)) {
            None => {
                // Other revisions of the cache may be older: the volume may be new.
                if view.complete_to < claim.revision {
                    plan.needs_revision = Some(claim.revision);
                } else {
                    let message = "Bound claim has lost its PersistentVolume. Data on the volume is lost!";
                    lose(claim, "ClaimLost", message, &mut plan);
                }
            }
            Some(volume) if volume.claim.is_none() || volume.is_of(claim.header()) => {
                bind(claim, volume, &mut plan)
            }
            Some(_) => {
                let message = "Two claims are bound to the same volume, this one is bound incorrectly";
                lose(claim, "ClaimMisbound", message, &mut plan);
            }
        },
    }
    plan
}

/// A claim that accepts any volume that suits.
fn find(claim: &PersistentVolumeClaim, view: &View<'_>, plan: &mut Plan) {
    let class = class_of(&claim.terms.class, view);
    let delayed = class
        .as_ref()
        .is_some_and(|class| access::text(class, &["volumeBindingMode"]) == "WaitForFirstConsumer");
    let consumers = if delayed { consumers(claim, view) } else { Vec::new() };
    let accepted = (!delayed || !consumers.is_empty()).then_some(consumers.as_slice());
    if let Some(volume) = matching::best(claim, accepted, view) {
        return bind(claim, volume, plan);
    }
    if !claim.has_class
        && let Some(class) = default_class(view)
    {
        plan.actions.push(change(
            claim,
            None,
            vec![Change::Merge(json!({"spec": {"storageClassName": class}}))],
        ));
        return;
    }
    let tell = |warning, reason, message| event(CLAIMS, claim.header(), warning, reason, message);
    match (&class, claim.terms.class.as_str()) {
        (Some(_), _) if delayed && !claim.annotations.contains_key(SELECTED_NODE) => {
            let names: Vec<&str> = consumers.iter().map(|pod| pod.header().name.as_str()).collect();
            let (reason, message) = match names[..] {
                [] => (
                    "WaitForFirstConsumer",
                    "waiting for first consumer to be created before binding".to_owned(),
                ),
                [name] => ("WaitForPodScheduled", format!("waiting for pod {name} to be scheduled")),
                _ => ("WaitForPodScheduled", format!("waiting for pods {} to be scheduled", names.join(","))),
            };
            plan.events.push(tell(false, reason, message));
        }
        (_, "") => {
            let message = "no persistent volumes available for this claim and no storage class is set";
            plan.events.push(tell(false, "FailedBinding", message.to_owned()));
        }
        (None, name) => {
            let message = format!("storageclass.storage.k8s.io \"{name}\" not found");
            plan.events.push(tell(true, "ProvisioningFailed", message));
        }
        (Some(class), _) => {
            let provisioner = access::text(class, &["provisioner"]);
            let mut patch = json!({});
            for name in PROVISIONER
                .iter()
                .filter(|name| claim.annotations.get(**name).is_none_or(|own| own != provisioner))
            {
                patch["metadata"]["annotations"][*name] = provisioner.into();
            }
            if patch != json!({}) {
                plan.actions.push(change(claim, None, vec![Change::Merge(patch)]));
            }
            let message = format!(
                "Waiting for a volume to be created either by the external provisioner '{provisioner}' or manually by the \
                 system administrator. If volume creation is delayed, please verify that the provisioner is running and \
                 correctly registered."
            );
            plan.events.push(tell(false, "ExternalProvisioning", message));
        }
    }
    stay_pending(claim, plan);
}

fn class_of(name: &str, view: &View<'_>) -> Option<Value> {
    Some(view.object(&CLASSES, "", name).filter(|_| !name.is_empty())?.value())
}

/// The newest class that is marked as the default one.
fn default_class(view: &View<'_>) -> Option<String> {
    let classes = view.in_namespace(&CLASSES, "").map(CachedObject::value);
    let marked: Vec<Value> = classes.filter(default_classes::is_default_storage_class).collect();
    default_classes::newest(&marked).map(str::to_owned)
}

/// The unbound Pods that use a claim.
fn consumers<'a>(claim: &PersistentVolumeClaim, view: &View<'a>) -> Vec<&'a Pod> {
    let header = claim.header();
    let pods = view.in_namespace(&served("", "pods"), &header.namespace);
    let waiting = pods.filter(|object| object.view::<Pod>().is_some_and(Pod::wants_node));
    waiting
        .filter(|object| claims_of(object).contains(&header.name))
        .filter_map(|object| object.view())
        .collect()
}

/// A claim that names its volume.
fn take_wanted(claim: &PersistentVolumeClaim, volume: &PersistentVolume, plan: &mut Plan) {
    let tell = |reason, message| event(CLAIMS, claim.header(), true, reason, message);
    if volume.is_of(claim.header()) {
        return bind(claim, volume, plan);
    }
    if volume.claim.is_some() {
        let message = format!("volume \"{}\" already bound to a different claim.", volume.name());
        plan.events.push(tell("FailedBinding", message));
        return stay_pending(claim, plan);
    }
    match matching::mismatch(volume, claim) {
        None => bind(claim, volume, plan),
        Some(why) => {
            let message = format!("Cannot bind to requested volume \"{}\": {why}", volume.name());
            plan.events.push(tell("VolumeMismatch", message));
            stay_pending(claim, plan);
        }
    }
}

/// Takes the volume; when it is taken, binds the claim.
fn bind(claim: &PersistentVolumeClaim, volume: &PersistentVolume, plan: &mut Plan) {
    let header = claim.header();
    let target = Target::of(VOLUMES, volume.header());
    if volume.claim.as_ref().is_none_or(|own| own.uid != header.uid) {
        let reference = json!({
            "kind": "PersistentVolumeClaim",
            "namespace": header.namespace,
            "name": header.name,
            "uid": header.uid,
            "apiVersion": "v1",
            "resourceVersion": claim.revision.to_string(),
        });
        let changes = vec![Change::ClaimVolume(reference)];
        plan.actions.push(Action::Change { target, subresource: None, changes });
        return;
    }
    let mut patch = json!({});
    if claim.volume != volume.name() {
        patch["spec"]["volumeName"] = volume.name().into();
        patch["metadata"]["annotations"][BOUND_BY_CONTROLLER] = "yes".into();
    }
    if is_unbound(claim) {
        patch["metadata"]["annotations"][BIND_COMPLETED] = "yes".into();
    }
    if patch != json!({}) {
        plan.actions.push(change(claim, None, vec![Change::Merge(patch)]));
    }
    let mut status = claim.status.clone();
    if !status.is_object() {
        status = json!({});
    }
    if access::text(&status, &["phase"]) != "Bound" {
        status["capacity"] = volume.capacity.clone();
    }
    status["phase"] = "Bound".into();
    status["accessModes"] = volume.access_modes.clone();
    set_status(claim, status, plan);
}

fn stay_pending(claim: &PersistentVolumeClaim, plan: &mut Plan) {
    set_status(claim, without_volume(claim, "Pending"), plan);
}

fn lose(claim: &PersistentVolumeClaim, reason: &'static str, message: &str, plan: &mut Plan) {
    if claim.phase() != "Lost" {
        plan.events.push(event(CLAIMS, claim.header(), true, reason, message.to_owned()));
        set_status(claim, without_volume(claim, "Lost"), plan);
    }
}

fn without_volume(claim: &PersistentVolumeClaim, phase: &str) -> Value {
    let mut status = if claim.status.is_object() { claim.status.clone() } else { json!({}) };
    for member in ["accessModes", "capacity", "currentVolumeAttributesClassName"] {
        access::object_mut(&mut status, &[]).remove(member);
    }
    status["phase"] = phase.into();
    status
}

fn set_status(claim: &PersistentVolumeClaim, status: Value, plan: &mut Plan) {
    if status != claim.status {
        plan.actions.push(change(claim, Some("status"), vec![Change::Put(&["status"], status)]));
    }
}

fn change(claim: &PersistentVolumeClaim, subresource: Option<&'static str>, changes: Vec<Change>) -> Action {
    Action::Change { target: Target::of(CLAIMS, claim.header()), subresource, changes }
}
