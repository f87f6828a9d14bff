//! The status of a Deployment: counts, and the conditions that `kubectl rollout status` reads.

use serde_json::{Value, json};
use shim_model::access;

use super::{Snapshot, max_unavailable, working::Working};
use crate::{
    controllers::{Condition, condition, remove_condition, set_condition},
    rows::{rfc3339, seconds},
};

const PROGRESSING: &str = "Progressing";
const TIMED_OUT: &str = "ProgressDeadlineExceeded";
const PAUSED: &str = "DeploymentPaused";
const NEW_AVAILABLE: &str = "NewReplicaSetAvailable";

/// Sets the `Progressing` condition if there is a progress deadline.
pub(super) fn progress(work: &mut Working<'_>, status: &str, reason: &str, message: &str) {
    if deadline(work).is_some() {
        let new = Condition { kind: PROGRESSING, status, reason, message };
        set_condition(&mut work.status, &new, work.now, true);
    }
}

fn deadline(work: &Working<'_>) -> Option<i64> {
    work.deployment.progress_deadline_seconds.filter(|d| *d < i64::from(i32::MAX))
}

fn progressing_reason(status: &Value) -> Option<&str> {
    condition(status, PROGRESSING).map(|c| access::text(c, &["reason"]))
}

/// Records that a rollout was paused or resumed, so that the deadline does not run while it is paused.
pub(super) fn note_pause(work: &mut Working<'_>) {
    let reason = progressing_reason(&work.status).map(str::to_owned);
    if deadline(work).is_none() || reason.as_deref() == Some(TIMED_OUT) {
        return;
    }
    match (work.deployment.paused, reason.as_deref() == Some(PAUSED)) {
        (true, false) => progress(work, "Unknown", PAUSED, "Deployment is paused"),
        (false, true) => progress(work, "Unknown", "DeploymentResumed", "Deployment is resumed"),
        _ => {}
    }
}

/// Whether every replica has the new template and is available.
pub(super) fn is_complete(work: &Working<'_>) -> bool {
    let wanted = work.deployment.replicas;
    let updated = work.new.map_or(0, |n| work.sets[n].counted("replicas"));
    updated == wanted && work.counted("replicas") == wanted && work.counted("availableReplicas") == wanted
}

/// Updates counts and availability.
pub(super) fn sync(work: &mut Working<'_>) {
    let updated = work.new.map_or(0, |n| work.sets[n].counted("replicas"));
    let available = work.counted("availableReplicas");
    let counts = [
        ("replicas", work.counted("replicas")),
        ("updatedReplicas", updated),
        ("readyReplicas", work.counted("readyReplicas")),
        ("availableReplicas", available),
        ("unavailableReplicas", (work.wanted() - available).max(0)),
        ("observedGeneration", work.deployment.header().generation),
    ];
    let terminating = work.counted("terminatingReplicas");
    let enough = available >= work.deployment.replicas - max_unavailable(work.deployment);
    let status = access::object_mut(&mut work.status, &[]);
    for (field, count) in counts {
        if count == 0 {
            status.remove(field);
        } else {
            status.insert(field.to_owned(), Value::from(count));
        }
    }
    status.insert("terminatingReplicas".to_owned(), Value::from(terminating));
    let new = if enough {
        Condition {
            kind: "Available",
            status: "True",
            reason: "MinimumReplicasAvailable",
            message: "Deployment has minimum availability.",
        }
    } else {
        Condition {
            kind: "Available",
            status: "False",
            reason: "MinimumReplicasUnavailable",
            message: "Deployment does not have minimum availability.",
        }
    };
    set_condition(&mut work.status, &new, work.now, true);
}

/// Updates counts, availability and progress.
pub(super) fn sync_rollout(work: &mut Working<'_>, snapshot: &Snapshot<'_>) {
    sync(work);
    let Some(deadline) = deadline(work) else {
        remove_condition(&mut work.status, PROGRESSING);
        sync_failure(work, snapshot);
        return;
    };
    let count = |status: &Value, field: &str| access::int(status, &[field]).unwrap_or(0);
    let done = count(&work.status, "replicas") == count(&work.status, "updatedReplicas")
        && progressing_reason(&work.deployment.status) == Some(NEW_AVAILABLE)
        && progressing_reason(&work.status) == Some(NEW_AVAILABLE);
    if !done {
        let what = match work.new {
            Some(new) => format!("ReplicaSet \"{}\"", work.sets[new].name),
            None => format!("Deployment \"{}\"", work.deployment.header().name),
        };
        if is_complete(work) {
            progress(work, "True", NEW_AVAILABLE, &format!("{what} has successfully progressed."));
        } else if advanced(&work.deployment.status, &work.status) {
            restart_clock(work, &format!("{what} is progressing."));
        } else if timed_out(work, deadline) {
            progress(work, "False", TIMED_OUT, &format!("{what} has timed out progressing."));
        }
    }
    sync_failure(work, snapshot);
    requeue_at_deadline(work, deadline);
}

/// Whether the rollout progressed since the status was last written.
fn advanced(old: &Value, new: &Value) -> bool {
    let count = |status: &Value, field: &str| access::int(status, &[field]).unwrap_or(0);
    let old_ones = |status: &Value| count(status, "replicas") - count(status, "updatedReplicas");
    let grew = |field: &str| count(new, field) > count(old, field);
    grew("updatedReplicas")
        || old_ones(new) < old_ones(old)
        || grew("readyReplicas")
        || grew("availableReplicas")
}

/// Records progress: the deadline restarts, and a true condition keeps its `lastTransitionTime`.
fn restart_clock(work: &mut Working<'_>, message: &str) {
    let now = rfc3339(work.now);
    let since = condition(&work.status, PROGRESSING)
        .filter(|c| access::text(c, &["status"]) == "True")
        .and_then(|c| c.get("lastTransitionTime").cloned())
        .unwrap_or_else(|| Value::from(now.clone()));
    remove_condition(&mut work.status, PROGRESSING);
    progress(work, "True", "ReplicaSetUpdated", message);
    if let Some(list) = access::list_mut(&mut work.status, &["conditions"])
        && let Some(last) = list.last_mut()
    {
        last["lastTransitionTime"] = since;
    }
}

fn updated_at(status: &Value) -> Option<i64> {
    condition(status, PROGRESSING).and_then(|c| seconds(access::text(c, &["lastUpdateTime"])))
}

fn timed_out(work: &Working<'_>, deadline: i64) -> bool {
    match progressing_reason(&work.status) {
        None | Some(NEW_AVAILABLE) => false,
        Some(TIMED_OUT) => true,
        Some(_) => updated_at(&work.status).is_some_and(|from| from + deadline < work.now),
    }
}

fn requeue_at_deadline(work: &mut Working<'_>, deadline: i64) {
    if is_complete(work) || matches!(progressing_reason(&work.status), None | Some(TIMED_OUT)) {
        return;
    }
    if let Some(from) = updated_at(&work.status) {
        let after = from + deadline - work.now + 1;
        work.requeue_after(after);
    }
}

/// Reports refused creations: of Pods, from the ReplicaSets' conditions; of a ReplicaSet, from the last plan.
fn sync_failure(work: &mut Working<'_>, snapshot: &Snapshot<'_>) {
    if let Some(refusal) = snapshot.refused {
        progress(
            work,
            "False",
            "ReplicaSetCreateError",
            &format!("Failed to create new replica set: {refusal}"),
        );
    }
    let failure =
        |i: &usize| work.sets[*i].found.and_then(|f| condition(&f.status, "ReplicaFailure")).cloned();
    let found = work.new.as_ref().and_then(failure).or_else(|| work.old().iter().find_map(failure));
    match found {
        Some(failure) => {
            let text = |field| access::text(&failure, &[field]).to_owned();
            let (status, reason, message) = (text("status"), text("reason"), text("message"));
            let new =
                Condition { kind: "ReplicaFailure", status: &status, reason: &reason, message: &message };
            set_condition(&mut work.status, &new, work.now, true);
        }
        None => remove_condition(&mut work.status, "ReplicaFailure"),
    }
    if work.status == json!({}) {
        work.status = Value::Null;
    }
}
