//! The Deployment controller: owns ReplicaSets, one per Pod template, and moves replicas from the old ones to the new one.
//!
//! Reading order: this file (`plan` lists the steps); `working` is the copy of the ReplicaSets that the steps change and
//! whose difference to the cache is the plan; `revision` finds or creates the new ReplicaSet; `scaling` follows a changed
//! size; `rollout` moves replicas; `status` reports progress. The steps change the working copy only and are repeated until
//! they change nothing. Upstream reaches the same state over several reconciles.

mod bounds;
mod revision;
mod rollout;
mod scaling;
mod status;
mod working;

pub use bounds::{max_surge, max_unavailable};

pub use revision::{REVISION_ANNOTATION, TEMPLATE_HASH_LABEL};

use std::collections::BTreeMap;

use shim_model::object::Header;

use crate::rows::{Deployment, Key, Pod, ReplicaSet, Seconds};

use super::{Controller, Input, Keys, ObjectChange, ObjectName, Plan, Target, View, served};
use working::Working;

/// The source of its Events.
pub const COMPONENT: &str = "deployment-controller";

/// Repetitions of a step until nothing moves. Each round but the last moves replicas, and a plan needs three at most: a new
/// size, the new ReplicaSet up, the old ones down. The rest is margin.
const ROUNDS_MAX: usize = 8;

/// Rolls out Deployments.
pub struct DeploymentController;

impl Controller for DeploymentController {
    const NAME: &'static str = "deployment-controller";
    const SERVICE_ACCOUNT: &'static str = "deployment-controller";

    fn inputs(&self) -> Vec<Input> {
        vec![Input::views::<Deployment>(), Input::views::<ReplicaSet>(), Input::views::<Pod>()]
    }

    fn keys(&self, change: &ObjectChange, view: &View<'_>, keys: &mut Keys) {
        match change.resource.resource() {
            "deployments" => {
                keys.insert(change.name());
            }
            "replicasets" => change.headers().for_each(|set| keys_of_replica_set(set, view, keys)),
            // A Deployment with the strategy Recreate waits until its old Pods are gone; their ReplicaSet may not change.
            "pods" if change.is_deletion() => {
                let pod = change.header();
                let owner = pod.controller().filter(|owner| owner.kind == "ReplicaSet");
                let set = owner.and_then(|o| view.get::<ReplicaSet>(&Key::new(&pod.namespace, &o.name)));
                if let Some(set) = set {
                    keys_of_replica_set(set.header(), view, keys);
                }
            }
            _ => {}
        }
    }

    fn reconcile(&self, view: &View<'_>, key: &ObjectName) -> Plan {
        let Some(deployment) = view.get::<Deployment>(&key.key) else { return Plan::default() };
        let replica_sets = related_replica_sets(view, deployment);
        let pods = replica_sets.iter().flat_map(|set| view.controlled::<Pod>(&set.header().uid)).collect();
        let refusal = view.refusal.filter(|refusal| refusal.creating && refusal.code != 409);
        plan(&Snapshot {
            deployment,
            replica_sets,
            pods,
            refused: refusal.map(|refusal| refusal.message.as_str()),
            now: view.now,
        })
    }
}

/// The Deployment that controls a ReplicaSet; for a ReplicaSet without a controller, every Deployment that selects it.
fn keys_of_replica_set(set: &Header, view: &View<'_>, keys: &mut Keys) {
    let resource = served("apps", "deployments");
    match set.controller() {
        Some(owner) if owner.kind == "Deployment" => {
            keys.insert(ObjectName::new(resource, &set.namespace, &owner.name));
        }
        Some(_) => {}
        None => {
            let adopters = view.selecting::<Deployment>(&set.namespace, &set.labels);
            keys.extend(adopters.into_iter().map(|d| ObjectName::of(resource.clone(), d.header())));
        }
    }
}

/// The ReplicaSets that the Deployment controls, those that it selects, and those whose names a new one could have.
fn related_replica_sets<'a>(view: &View<'a>, deployment: &Deployment) -> Vec<&'a ReplicaSet> {
    let header = deployment.header();
    let prefix = format!("{}-", header.name);
    let mut sets = BTreeMap::new();
    let mut add = |set: &'a ReplicaSet| {
        sets.insert(set.header().name.as_str(), set);
    };
    view.controlled::<ReplicaSet>(&header.uid).for_each(&mut add);
    view.matching::<ReplicaSet>(&header.namespace, &deployment.selector).into_iter().for_each(&mut add);
    view.with_name_prefix::<ReplicaSet>(&header.namespace, &prefix).for_each(&mut add);
    sets.into_values().collect()
}

/// What one reconcile of a Deployment reads.
struct Snapshot<'a> {
    deployment: &'a Deployment,
    /// Every ReplicaSet of the namespace that the Deployment controls or selects, or whose name a new one could have.
    replica_sets: Vec<&'a ReplicaSet>,
    /// Every Pod that one of them controls.
    pods: Vec<&'a Pod>,
    /// Why the last creation of a ReplicaSet was refused, if it was.
    refused: Option<&'a str>,
    now: Seconds,
}

fn plan(snapshot: &Snapshot<'_>) -> Plan {
    let deployment = snapshot.deployment;
    let mut work = Working::new(snapshot);
    if deployment.selector.is_empty() {
        // Validation refuses an empty selector; it would claim every ReplicaSet of the namespace.
        return Plan::default();
    }
    work.claim(snapshot);
    if deployment.header().deletion_timestamp.is_some() {
        status::sync(&mut work);
        return work.into_plan();
    }
    status::note_pause(&mut work);
    if deployment.paused {
        revision::find_new(&mut work);
        repeat(&mut work, scaling::scale);
        rollout::clean_up(&mut work);
        status::sync(&mut work);
        return work.into_plan();
    }
    roll(&mut work, snapshot);
    status::sync_rollout(&mut work, snapshot);
    work.into_plan()
}

fn roll(work: &mut Working<'_>, snapshot: &Snapshot<'_>) {
    revision::find_new(work);
    if scaling::size_changed(work) {
        repeat(work, scaling::scale);
    }
    match work.deployment.strategy {
        crate::rows::Strategy::Recreate => rollout::recreate(work, snapshot),
        crate::rows::Strategy::RollingUpdate { .. } => {
            revision::ensure_new(work);
            repeat(work, rollout::step);
        }
    }
    if status::is_complete(work) {
        rollout::clean_up(work);
    }
}

/// Repeats a step until it changes nothing.
fn repeat(work: &mut Working<'_>, step: fn(&mut Working<'_>) -> bool) {
    for _ in 0..ROUNDS_MAX {
        if !step(work) {
            return;
        }
    }
}

fn target(deployment: &Deployment) -> Target {
    Target::of(served("apps", "deployments"), deployment.header())
}

#[cfg(test)]
#[path = "deployment/tests.rs"]
mod tests;
