//! Deployments: own ReplicaSets, one per Pod template, and move replicas from the old ones to the new one.
//!
//! Reading order: this file is the table of contents (`reconcile`); `working` is the copy of the ReplicaSets that the steps
//! change and that ends as a plan; `revision` finds or makes the new ReplicaSet; `scaling` follows a changed size;
//! `rollout` moves replicas; `status` says how far it is. A step leaves its marks on the working copy only, and the steps
//! are repeated until they change nothing: what upstream reaches by being woken by its own writes.

mod bounds;
mod revision;
mod rollout;
mod scaling;
mod status;
mod working;

pub use bounds::{max_surge, max_unavailable};
pub use revision::{REVISION_ANNOTATION, TEMPLATE_HASH_LABEL};

use crate::rows::{Deployment, Pod, ReplicaSet, Seconds};

use super::{Plan, Target, served};
use working::Working;

/// The controller's name in Events.
pub const COMPONENT: &str = "deployment-controller";

/// Rounds of the steps until nothing moves. Each round but the last moves replicas, and one plan can move them at most
/// through: a new size, the new ReplicaSet up, the old ones down; the rest is margin.
const ROUNDS_MAX: usize = 8;

/// All that one look at a Deployment sees.
#[derive(Debug)]
pub struct Snapshot<'a> {
    /// The Deployment.
    pub deployment: &'a Deployment,
    /// Every ReplicaSet of its namespace that it controls or that its selector matches.
    pub replica_sets: Vec<&'a ReplicaSet>,
    /// Every Pod controlled by one of them.
    pub pods: Vec<&'a Pod>,
    /// Why the last attempt to create a ReplicaSet was refused, if it was.
    pub refused: Option<&'a str>,
    /// The time.
    pub now: Seconds,
}

/// What to do next about a Deployment.
pub fn reconcile(snapshot: &Snapshot<'_>) -> Plan {
    let deployment = snapshot.deployment;
    let mut work = Working::new(snapshot);
    if deployment.selector.is_empty() {
        // Validation refuses it; an object of that kind would claim the whole namespace.
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
        settle(&mut work, scaling::scale);
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
        settle(work, scaling::scale);
    }
    match work.deployment.strategy {
        crate::rows::Strategy::Recreate => rollout::recreate(work, snapshot),
        crate::rows::Strategy::RollingUpdate { .. } => {
            revision::ensure_new(work);
            settle(work, rollout::step);
        }
    }
    if status::is_complete(work) {
        rollout::clean_up(work);
    }
}

/// Repeats a step until it changes nothing.
fn settle(work: &mut Working<'_>, step: fn(&mut Working<'_>) -> bool) {
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
