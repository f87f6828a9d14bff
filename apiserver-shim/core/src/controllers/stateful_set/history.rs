//! The revision that the Pods have, and the one that an update gives them.

use serde_json::Value;
use shim_model::access;

use super::{Snapshot, identity};
use crate::{
    controllers::{
        Action, Change, Plan,
        revisions::{self, RevisionOwner},
    },
    rows::{Pod, StatefulSet},
};

/// The label of a revision that has its hash.
const HASH_LABEL: &str = "controller.kubernetes.io/hash";

/// A template with the name of its revision.
pub struct Template {
    /// The name of the ControllerRevision.
    pub revision: String,
    /// The Pod template.
    pub value: Value,
}

/// The revisions of a StatefulSet.
pub struct History {
    /// What Pods below the partition have.
    pub current: Template,
    /// The present template.
    pub update: Template,
    /// `status.collisionCount`.
    pub collisions: i64,
}

/// Finds the revision of the template, or creates it. Adopts revisions.
pub fn find(snapshot: &Snapshot<'_>, plan: &mut Plan) -> History {
    let set = snapshot.set;
    let known = &snapshot.revisions.known;
    for revision in known.iter().filter(|revision| revision.header().controller().is_none()) {
        plan.actions.push(revisions::change(revision, vec![Change::AddOwner(owner(set).reference())]));
    }
    let mut collisions = access::int(&set.status, &["collisionCount"]).unwrap_or(0);
    let data = revisions::data_of(&set.template);
    let equal = known.iter().rfind(|revision| revisions::equal(&revision.data, &data));
    let update = match (equal, known.last()) {
        (Some(equal), Some(last)) => {
            if !revisions::equal(&last.data, &data) {
                // The template is an earlier one: its revision becomes the newest.
                plan.actions.push(revisions::renumber(equal, revisions::next_number(known)));
                equal.name().to_owned()
            } else {
                last.name().to_owned()
            }
        }
        _ => create(snapshot, data, &mut collisions, plan),
    };
    let update = Template { revision: update, value: set.template.clone() };
    let current = access::text(&set.status, &["currentRevision"]);
    let current = match known.iter().find(|revision| revision.name() == current) {
        Some(found) => Template { revision: current.to_owned(), value: revisions::template_of(&found.data) },
        None => Template { revision: update.revision.clone(), value: update.value.clone() },
    };
    History { current, update, collisions }
}

/// Creates the revision of the template. Returns its name.
fn create(snapshot: &Snapshot<'_>, data: Value, collisions: &mut i64, plan: &mut Plan) -> String {
    let set = snapshot.set;
    let number = revisions::next_number(&snapshot.revisions.known);
    let hash = revisions::hash(&data, *collisions);
    loop {
        let name = revisions::name(set.name(), &revisions::hash(&data, *collisions));
        match snapshot.revisions.named(&name) {
            Some(other) if revisions::equal(&other.data, &data) => return name,
            Some(_) => *collisions += 1,
            None => {
                plan.actions.push(owner(set).create(&name, data, number, (HASH_LABEL, &hash)));
                return name;
            }
        }
    }
}

fn owner(set: &StatefulSet) -> RevisionOwner<'_> {
    RevisionOwner {
        header: set.header(),
        kind: "StatefulSet",
        annotations: &set.annotations,
        template: &set.template,
    }
}

/// Deletes the oldest revisions beyond the history limit that neither the status nor a Pod names.
pub fn clean_up(snapshot: &Snapshot<'_>, history: &History, pods: &[&Pod]) -> Vec<Action> {
    let Ok(limit) = usize::try_from(snapshot.set.revision_history_limit.unwrap_or(10)) else {
        return Vec::new();
    };
    let live = |name: &str| {
        name == history.current.revision
            || name == history.update.revision
            || pods.iter().any(|pod| identity::revision_of(pod) == name)
    };
    let old: Vec<_> = snapshot.revisions.known.iter().filter(|revision| !live(revision.name())).collect();
    let excess = old.len().saturating_sub(limit);
    old.into_iter().take(excess).map(|revision| revisions::delete(revision)).collect()
}
