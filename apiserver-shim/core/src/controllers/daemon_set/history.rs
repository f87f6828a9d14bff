//! The revision of the present template, and the old ones.

use serde_json::{Value, json};

use super::{Snapshot, owned_pods};
use crate::{
    controllers::{
        Action, Change, Plan,
        revisions::{self, REVISION_LABEL, RevisionOwner},
        template_hash::template_hash,
    },
    rows::{ControllerRevision, DaemonSet, Pod},
};

/// The history of a DaemonSet.
pub struct History<'a> {
    /// What the Pods of the present template have as [`REVISION_LABEL`].
    pub hash: String,
    /// The revisions of other templates, oldest first.
    pub old: Vec<&'a ControllerRevision>,
}

/// Finds the revision of the template, or creates it. Adopts, releases and labels revisions.
pub fn find<'a>(snapshot: &Snapshot<'a>, pods: &[&Pod], status: &mut Value, plan: &mut Plan) -> History<'a> {
    let set = snapshot.set;
    let data = revisions::data_of(&set.template);
    let claimed = claim(snapshot, plan);
    let (current, old): (Vec<_>, Vec<_>) =
        claimed.into_iter().partition(|revision| revisions::equal(&revision.data, &data));
    let number = revisions::next_number(&old);
    let Some(&kept) = current.iter().max_by_key(|revision| revision.revision) else {
        let hash = create(snapshot, data, number, status, plan);
        return History { hash, old };
    };
    let hash = hash_of(kept).to_owned();
    if kept.revision < number {
        plan.actions.push(revisions::renumber(kept, number));
    }
    let duplicates: Vec<_> = current.into_iter().filter(|revision| revision.name() != kept.name()).collect();
    if !duplicates.is_empty() {
        let label = json!({"metadata": {"labels": {REVISION_LABEL: hash}}});
        for pod in pods.iter().filter(|pod| pod.header().labels.get(REVISION_LABEL) != Some(&hash)) {
            plan.actions.push(Action::Change {
                target: owned_pods::target(pod),
                subresource: None,
                changes: vec![Change::Merge(label.clone())],
            });
        }
        plan.actions.extend(duplicates.into_iter().map(revisions::delete));
    }
    History { hash, old }
}

fn hash_of(revision: &ControllerRevision) -> &str {
    revision.header().labels.get(REVISION_LABEL).map_or(revision.name(), String::as_str)
}

/// The revisions that the set controls: adopts those that match and have no controller, releases those that match no
/// longer, and gives a hash to those without one.
fn claim<'a>(snapshot: &Snapshot<'a>, plan: &mut Plan) -> Vec<&'a ControllerRevision> {
    let set = snapshot.set;
    let mut ours = Vec::new();
    for &revision in &snapshot.revisions.known {
        let matches = set.selector.matches(&revision.header().labels);
        let mut changes = Vec::new();
        match revision.header().controller() {
            Some(_) if !matches => {
                let release = Change::RemoveOwners(vec![set.header().uid.clone()]);
                plan.actions.push(revisions::change(revision, vec![release]));
                continue;
            }
            Some(_) => {}
            None if revision.header().deletion_timestamp.is_some() => continue,
            None => changes.push(Change::AddOwner(owner(set).reference())),
        }
        if !revision.header().labels.contains_key(REVISION_LABEL) {
            let labels = json!({"metadata": {"labels": {REVISION_LABEL: revision.name()}}});
            changes.push(Change::Merge(labels));
        }
        if !changes.is_empty() {
            plan.actions.push(revisions::change(revision, changes));
        }
        ours.push(revision);
    }
    ours
}

/// Creates the revision of the template. Returns its hash.
fn create(snapshot: &Snapshot<'_>, data: Value, number: i64, status: &mut Value, plan: &mut Plan) -> String {
    let set = snapshot.set;
    let mut collisions = shim_model::access::int(status, &["collisionCount"]).unwrap_or(0);
    let (hash, name) = loop {
        let hash = template_hash(&set.template, collisions);
        let name = revisions::name(&set.header().name, &hash);
        match snapshot.revisions.named(&name) {
            None => break (hash, name),
            Some(_) => {
                collisions += 1;
                status["collisionCount"] = Value::from(collisions);
            }
        }
    };
    plan.actions.push(owner(set).create(&name, data, number, (REVISION_LABEL, &hash)));
    hash
}

fn owner(set: &DaemonSet) -> RevisionOwner<'_> {
    RevisionOwner {
        header: set.header(),
        kind: "DaemonSet",
        annotations: &set.annotations,
        template: &set.template,
    }
}

/// Deletes the oldest revisions beyond the history limit that no Pod has.
pub fn clean_up(set: &DaemonSet, history: &History<'_>, pods: &[&Pod]) -> Vec<Action> {
    let limit = usize::try_from(set.revision_history_limit.unwrap_or(10)).unwrap_or(0);
    let excess = history.old.len().saturating_sub(limit);
    let used = |revision: &&&ControllerRevision| {
        pods.iter().any(|pod| {
            pod.header().labels.get(REVISION_LABEL).is_some_and(|label| *label == hash_of(revision))
        })
    };
    let unused = history.old.iter().filter(|revision| !used(revision));
    unused.take(excess).map(|revision| revisions::delete(revision)).collect()
}
