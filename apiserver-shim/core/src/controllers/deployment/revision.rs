//! Finds or creates the ReplicaSet with the Deployment's template, and keeps the revisions that `kubectl rollout` reads.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use shim_model::{access, object::string_map};

use super::{
    max_surge,
    status::progress,
    working::{DESIRED_ANNOTATION, MAX_ANNOTATION, NewReplicaSet, Set, Working},
};
use crate::controllers::template_hash::template_hash;
use crate::controllers::{condition, equal_ignoring_empty};

/// The annotation with the revision of a Deployment or ReplicaSet.
pub const REVISION_ANNOTATION: &str = "deployment.kubernetes.io/revision";
/// The annotation with the earlier revisions of a ReplicaSet.
const HISTORY_ANNOTATION: &str = "deployment.kubernetes.io/revision-history";
/// The label with the hash of the Pod template.
pub const TEMPLATE_HASH_LABEL: &str = "pod-template-hash";
/// Annotations of a Deployment that its ReplicaSets do not inherit.
const NOT_INHERITED: [&str; 6] = [
    "kubectl.kubernetes.io/last-applied-configuration",
    REVISION_ANNOTATION,
    HISTORY_ANNOTATION,
    DESIRED_ANNOTATION,
    MAX_ANNOTATION,
    "deprecated.deployment.rollback.to",
];
/// The longest revision history kept on a ReplicaSet, in bytes.
const HISTORY_MAX: usize = 2000;

/// Finds the oldest ReplicaSet with the Deployment's template, and updates its annotations and the Deployment's revision.
pub(super) fn find_new(work: &mut Working<'_>) {
    let template = without_hash(&work.deployment.template);
    work.new = work.sets.iter().position(|s| {
        s.found.is_some_and(|f| equal_ignoring_empty(&without_hash(&f.template), &template)) && !s.delete
    });
    let Some(new) = work.new else { return };
    let revision = next_revision(work);
    inherit(&work.deployment.annotations, &mut work.sets[new].annotations);
    raise_revision(&mut work.sets[new].annotations, revision);
    work.sets[new].min_ready_seconds = work.deployment.min_ready_seconds;
    record_revision(work, new);
    if condition(&work.status, "Progressing").is_none() {
        let message = format!("Found new replica set \"{}\"", work.sets[new].name);
        progress(work, "True", "FoundNewReplicaSet", &message);
    }
}

/// Adds the new ReplicaSet if none was found.
pub(super) fn ensure_new(work: &mut Working<'_>) {
    if work.new.is_some() {
        return;
    }
    let deployment = work.deployment;
    let mut collisions = access::int(&work.status, &["collisionCount"]).unwrap_or(0);
    let (hash, set_name) = loop {
        let hash = template_hash(&deployment.template, collisions);
        let set_name = format!("{}-{hash}", deployment.header().name);
        let taken =
            work.taken_names.contains(&set_name.as_str()) || work.sets.iter().any(|s| s.name == set_name);
        if !taken {
            break (hash, set_name);
        }
        collisions += 1;
        work.status["collisionCount"] = Value::from(collisions);
    };
    let mut annotations = BTreeMap::new();
    inherit(&deployment.annotations, &mut annotations);
    annotations.insert(REVISION_ANNOTATION.to_owned(), next_revision(work).to_string());
    annotations.insert(DESIRED_ANNOTATION.to_owned(), deployment.replicas.to_string());
    annotations.insert(MAX_ANNOTATION.to_owned(), (deployment.replicas + max_surge(deployment)).to_string());
    let mut template = deployment.template.clone();
    access::object_mut(&mut template, &["metadata", "labels"])
        .insert(TEMPLATE_HASH_LABEL.into(), json!(hash));
    let mut selector = deployment.selector_value.clone();
    access::object_mut(&mut selector, &["matchLabels"]).insert(TEMPLATE_HASH_LABEL.into(), json!(hash));
    let labels = template["metadata"]["labels"].clone();
    let message = format!("Created new replica set \"{set_name}\"");
    work.sets.push(Set {
        found: None,
        name: set_name,
        replicas: 0,
        annotations,
        min_ready_seconds: deployment.min_ready_seconds,
        adopt: false,
        delete: false,
        created: work.now,
        new_replica_set: Some(NewReplicaSet { labels, selector, template }),
    });
    let new = work.sets.len() - 1;
    work.new = Some(new);
    record_revision(work, new);
    progress(work, "True", "NewReplicaSetCreated", &message);
}

/// The revision in the annotations; 0 if absent.
pub(super) fn revision_of(annotations: &BTreeMap<String, String>) -> i64 {
    annotations.get(REVISION_ANNOTATION).and_then(|v| v.parse().ok()).unwrap_or(0)
}

fn next_revision(work: &Working<'_>) -> i64 {
    work.old().into_iter().map(|i| revision_of(&work.sets[i].annotations)).max().unwrap_or(0) + 1
}

fn record_revision(work: &mut Working<'_>, new: usize) {
    if let Some(revision) = work.sets[new].annotations.get(REVISION_ANNOTATION).cloned() {
        work.annotations.insert(REVISION_ANNOTATION.to_owned(), revision);
    }
}

fn inherit(from: &BTreeMap<String, String>, to: &mut BTreeMap<String, String>) {
    for (key, value) in from {
        if !NOT_INHERITED.contains(&key.as_str()) {
            to.insert(key.clone(), value.clone());
        }
    }
}

/// Sets the newest revision on a ReplicaSet and moves the previous one to its history.
fn raise_revision(annotations: &mut BTreeMap<String, String>, revision: i64) {
    let before = annotations.get(REVISION_ANNOTATION).cloned();
    if revision_of(annotations) >= revision {
        return;
    }
    annotations.insert(REVISION_ANNOTATION.to_owned(), revision.to_string());
    let Some(before) = before else { return };
    let history = match annotations.get(HISTORY_ANNOTATION) {
        Some(history) if !history.is_empty() => format!("{history},{before}"),
        _ => before,
    };
    let cut = history.len().saturating_sub(HISTORY_MAX);
    let kept =
        if cut == 0 { &history[..] } else { history[cut..].split_once(',').map_or("", |(_, rest)| rest) };
    annotations.insert(HISTORY_ANNOTATION.to_owned(), kept.to_owned());
}

fn without_hash(template: &Value) -> Value {
    let mut template = template.clone();
    if string_map(&template["metadata"]["labels"]).contains_key(TEMPLATE_HASH_LABEL) {
        access::object_mut(&mut template, &["metadata", "labels"]).remove(TEMPLATE_HASH_LABEL);
    }
    template
}
