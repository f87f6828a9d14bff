//! The next step of a volume.

use serde_json::json;

use super::{BOUND_BY_CONTROLLER, PersistentVolume, PersistentVolumeClaim, VOLUMES, View, event};
use crate::{
    controllers::{Action, Change, Plan, Target},
    rows::{Key, rfc3339},
};

/// The annotation of a volume that an external provisioner made, and deletes.
const PROVISIONED_BY: &str = "pv.kubernetes.io/provisioned-by";

/// The next step.
pub fn plan(volume: &PersistentVolume, view: &View<'_>) -> Plan {
    let mut plan = Plan::default();
    let Some(own) = volume.claim.as_ref().filter(|own| !own.uid.is_empty()) else {
        // Free, or reserved for a claim that has not been bound to it yet.
        set_phase(volume, "Available", "", view, &mut plan);
        return plan;
    };
    let claim = view.get::<PersistentVolumeClaim>(&Key::new(&own.namespace, &own.name));
    match claim.filter(|claim| claim.header().uid == own.uid) {
        // The claim may be newer than what the cache has of claims.
        None if view.complete_to < volume.revision => plan.needs_revision = Some(volume.revision),
        None => release(volume, view, &mut plan),
        // The claim's own step binds it.
        Some(claim) if claim.volume.is_empty() => {}
        Some(claim) if claim.volume == volume.name() => set_phase(volume, "Bound", "", view, &mut plan),
        Some(_) => unbind(volume, view, &mut plan),
    }
    plan
}

/// The claim is gone.
fn release(volume: &PersistentVolume, view: &View<'_>, plan: &mut Plan) {
    let failed = |plan: &mut Plan, reason, message: String| {
        if volume.phase != "Failed" {
            set_phase(volume, "Failed", &message, view, plan);
            plan.events.push(event(VOLUMES, volume.header(), true, reason, message));
        }
    };
    match volume.reclaim_policy.as_str() {
        "Recycle" => {
            failed(plan, "VolumeFailedRecycle", "No recycler plugin found for the volume!".to_owned());
        }
        "Delete" if !volume.annotations.contains_key(PROVISIONED_BY) => {
            let message = format!(
                "error getting deleter volume plugin for volume \"{}\": no deletable volume plugin matched",
                volume.name()
            );
            failed(plan, "VolumeFailedDelete", message);
        }
        _ if volume.phase == "Failed" => {}
        _ => set_phase(volume, "Released", "", view, plan),
    }
}

/// The claim was bound to another volume.
fn unbind(volume: &PersistentVolume, view: &View<'_>, plan: &mut Plan) {
    let patch = match volume.annotations.contains_key(BOUND_BY_CONTROLLER) {
        true => json!({
            "metadata": {"annotations": {BOUND_BY_CONTROLLER: null}},
            "spec": {"claimRef": null},
        }),
        // Its maker has reserved it for the claim.
        false => json!({"spec": {"claimRef": {"uid": null}}}),
    };
    plan.actions.push(Action::Change {
        target: Target::of(VOLUMES, volume.header()),
        subresource: None,
        changes: vec![Change::Merge(patch)],
    });
    set_phase(volume, "Available", "", view, plan);
}

fn set_phase(volume: &PersistentVolume, phase: &str, message: &str, view: &View<'_>, plan: &mut Plan) {
    if volume.phase == phase {
        return;
    }
    let message = if message.is_empty() { serde_json::Value::Null } else { message.into() };
    let patch = json!({"status": {
        "phase": phase, "message": message, "lastPhaseTransitionTime": rfc3339(view.now),
    }});
    plan.actions.push(Action::Change {
        target: Target::of(VOLUMES, volume.header()),
        subresource: Some("status"),
        changes: vec![Change::Merge(patch)],
    });
}
