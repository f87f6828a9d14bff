//! The counting: ended Pods are noted in the status, lose the finalizer, and are then added to the counters.

use std::collections::BTreeSet;

use super::{
    pods::JobPod,
    policies::FailureAction,
    status::JobStatus,
    sync::{Ending, EndingKind, Sync, delete, record, release},
};
use crate::{
    controllers::{Action, Change, Plan, Target, served},
    rows::{Phase, rfc3339},
};

/// Uncounted Pods that a status may have, which is some 20 kB of UIDs. As upstream; the next reconcile continues.
const UNCOUNTED_MAX: usize = 500;

/// Adds the writes of the status and of the finalizers to the plan. `deletions` are the active Pods of a Job that ends.
pub(super) fn track(sync: &mut Sync<'_>, ending: Option<Ending>, deletions: &[JobPod<'_>], plan: &mut Plan) {
    let mut tracked: BTreeSet<&str> = sync.pods.iter().filter(|p| p.tracked).map(|p| p.pod.uid()).collect();
    sync.status.count_released(|uid| tracked.contains(uid));
    let (releases, all) = note_ended_pods(sync, ending.as_ref());
    if let Some(ending) = &ending {
        note_ending(sync, ending);
    }
    put_status(sync, &sync.stored, plan);
    delete(sync.job, deletions, plan);
    plan.actions.extend(releases.iter().map(release));
    let noted = sync.status.clone();
    for pod in &releases {
        tracked.remove(pod.pod.uid());
    }
    sync.status.count_released(|uid| tracked.contains(uid));
    if let Some(ending) = ending.filter(|_| all) {
        finish(sync, &ending, plan);
    }
    put_status(sync, &noted, plan);
}

/// Writes the status if it differs from `before`.
fn put_status(sync: &Sync<'_>, before: &JobStatus, plan: &mut Plan) {
    if sync.status == *before {
        return;
    }
    let target = Target::of(served("batch", "jobs"), sync.job.header());
    let changes = vec![Change::Put(&["status"], sync.status.encode())];
    plan.actions.push(Action::Change { target, subresource: Some("status"), changes });
}

/// Notes the ended Pods in the status. Returns the Pods that may lose the finalizer then, and whether those are all.
fn note_ended_pods<'a>(sync: &mut Sync<'a>, ending: Option<&Ending>) -> (Vec<JobPod<'a>>, bool) {
    let job = sync.job;
    let mut releases = Vec::new();
    let mut new_indexes = Vec::new();
    let all_fail = ending.is_some_and(|ending| ending.kind != EndingKind::Success);
    let mut all = true;
    for pod in &sync.pods {
        if !pod.tracked || !may_release(sync, ending, pod) {
            continue;
        }
        releases.push(*pod);
        let listed = |uids: &[String]| uids.iter().any(|uid| uid == pod.uid());
        let valid = pod.valid_index(job);
        if pod.pod.phase == Phase::Succeeded && !listed(&sync.stored.uncounted_failed) {
            // An index is counted once by itself.
            if job.indexed {
                new_indexes.extend(valid.filter(|index| !sync.stored_indexes.contains(*index)));
            } else if !listed(&sync.stored.uncounted_succeeded) {
                sync.status.uncounted_succeeded.push(pod.uid().to_owned());
            }
        } else if (pod.has_failed(job) || all_fail)
            && !listed(&sync.stored.uncounted_failed)
            && (!job.indexed || valid.is_some())
            && pod.failure_action(job) != FailureAction::Ignore
        {
            sync.status.uncounted_failed.push(pod.uid().to_owned());
        }
        let status = &sync.status;
        let noted = new_indexes.len() + status.uncounted_succeeded.len() + status.uncounted_failed.len();
        if noted >= UNCOUNTED_MAX {
            all = false;
            break;
        }
    }
    if job.indexed {
        // Only what loses its finalizer now is recorded; the rest follows.
        let recorded = sync.stored_indexes.with_indexes(new_indexes);
        sync.status.succeeded = recorded.total();
        sync.status.completed_indexes = recorded.to_string();
        sync.status.failed_indexes = sync.failed_indexes.as_ref().map(ToString::to_string);
    }
    (releases, all)
}

/// Whether a Pod may lose the finalizer once it is noted.
fn may_release(sync: &Sync<'_>, ending: Option<&Ending>, pod: &JobPod<'_>) -> bool {
    let deleted = sync.job.header().deletion_timestamp.is_some();
    if deleted || ending.is_some() || pod.pod.phase == Phase::Succeeded {
        return true;
    }
    let replaced = pod.index.and_then(|index| sync.replaced.get(&index));
    pod.has_failed(sync.job) && replaced.is_none_or(|replaced| replaced.uid() != pod.uid())
}

/// Records that the Job is to end, before the Pods that say why are released.
fn note_ending(sync: &mut Sync<'_>, ending: &Ending) {
    let kind = match ending.kind {
        EndingKind::Success => "SuccessCriteriaMet",
        EndingKind::Failure => "FailureTarget",
        EndingKind::RecordedFailure => return,
    };
    if sync.status.true_condition(kind).is_none() {
        sync.status.set_condition((kind, "True"), (&ending.reason, &ending.message), sync.now);
    }
}

/// Ends the Job when every Pod is counted and none is terminating.
fn finish(sync: &mut Sync<'_>, ending: &Ending, plan: &mut Plan) {
    let status = &mut sync.status;
    let uncounted = status.uncounted_succeeded.len() + status.uncounted_failed.len();
    if uncounted > 0 || sync.terminating > 0 {
        return;
    }
    let kind = if ending.kind == EndingKind::Success { "Complete" } else { "Failed" };
    status.set_condition((kind, "True"), (&ending.reason, &ending.message), sync.now);
    if ending.kind != EndingKind::Success {
        record(sync.job, plan, true, event_reason(&ending.reason), ending.message.clone());
        return;
    }
    status.completion_time = Some(rfc3339(sync.now));
    if sync.job.completions.is_some_and(|wanted| status.succeeded > wanted) {
        let message = "Too many succeeded pods running after completion count reached";
        record(sync.job, plan, true, "TooManySucceededPods", message);
    }
    record(sync.job, plan, false, "Completed", "Job completed");
}

/// The reason of the Event of a failed Job, which is that of the condition.
fn event_reason(reason: &str) -> &'static str {
    let known = [
        "BackoffLimitExceeded",
        "DeadlineExceeded",
        "PodFailurePolicy",
        "MaxFailedIndexesExceeded",
        "FailedIndexes",
    ];
    // Only another writer of the status can have chosen another reason.
    known.into_iter().find(|known| *known == reason).unwrap_or("Failed")
}
