//! One reconcile of a Job: whether it ends, which Pods it needs, and the writes in an order that loses nothing.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use shim_model::access;

use super::{
    BURST_MAX, COMPONENT, FINALIZER, Snapshot, backoff,
    intervals::Intervals,
    pods::{self, JobPod},
    policies::{self, FailureAction},
    status::JobStatus,
    tracking,
};
use crate::{
    controllers::{
        Action, Change, CreationEvents, CreationText, EventRecord, EventSource, Plan, Propagation, Target,
        served,
    },
    rows::{Job, Phase, Seconds, rfc3339},
};

/// The condition that a Job is to end with.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Ending {
    pub kind: EndingKind,
    pub reason: String,
    pub message: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum EndingKind {
    /// Enough has succeeded: `SuccessCriteriaMet`, then `Complete`.
    Success,
    /// `FailureTarget` has to be written, then `Failed`.
    Failure,
    /// `FailureTarget` is written already.
    RecordedFailure,
}

impl Ending {
    fn new(kind: EndingKind, reason: &str, message: impl Into<String>) -> Ending {
        Ending { kind, reason: reason.to_owned(), message: message.into() }
    }

    fn recorded(kind: EndingKind, condition: &Value) -> Ending {
        Ending::new(kind, access::text(condition, &["reason"]), access::text(condition, &["message"]))
    }
}

/// A reconcile in progress.
pub(super) struct Sync<'a> {
    pub job: &'a Job,
    pub now: Seconds,
    pub pods: Vec<JobPod<'a>>,
    /// The status as stored.
    pub stored: JobStatus,
    /// The status to write.
    pub status: JobStatus,
    /// Pods that have succeeded, those that are in no counter yet included; indexes in an indexed Job.
    pub succeeded: i64,
    /// `status.completedIndexes` as stored.
    pub stored_indexes: Intervals,
    pub succeeded_indexes: Intervals,
    /// `None` without a limit per index.
    pub failed_indexes: Option<Intervals>,
    /// The last failed Pod of each index that needs a new one. It keeps its finalizer until the new Pod has taken over its
    /// count of failures.
    pub replaced: BTreeMap<i64, JobPod<'a>>,
    pub terminating: i64,
}

/// The Pods to delete and to create.
#[derive(Default)]
struct Work<'a> {
    deletions: Vec<JobPod<'a>>,
    creations: Vec<Value>,
}

pub(super) fn plan(snapshot: &Snapshot<'_>) -> Plan {
    let mut plan = Plan::default();
    let job = snapshot.job;
    let mut sync = Sync::new(snapshot, &mut plan);
    let active: Vec<JobPod<'_>> = sync.pods.iter().filter(|p| p.pod.is_active()).copied().collect();
    let deleted = job.header().deletion_timestamp.is_some();
    if sync.status.start_time.is_none() && !job.suspend {
        sync.status.start_time = Some(rfc3339(sync.now));
    }
    let mut ending = sync.ending(&mut plan);
    let work = match &ending {
        Some(_) => Work { deletions: active.clone(), ..Work::default() },
        None if deleted => Work::default(),
        None => sync.work(&active, &mut plan),
    };
    let left = (active.len() - work.deletions.len()) as i64;
    let ready = |pods: &[JobPod<'_>]| pods.iter().filter(|p| p.pod.is_ready()).count() as i64;
    sync.terminating += work.deletions.len() as i64;
    // A refused creation probably will be refused again, and ends the plan: the bookkeeping comes first.
    let creations_first = !snapshot.refused.is_some_and(|refusal| refusal.creating);
    let created = if creations_first { work.creations.len() as i64 } else { 0 };
    sync.status.active = left + created;
    sync.status.ready = Some(ready(&active) - ready(&work.deletions));
    sync.status.terminating = Some(sync.terminating);
    let mut deletions = Vec::new();
    if ending.is_some() {
        // The decision is written before its consequences: terminating Pods must not count as failed after a success.
        deletions = work.deletions;
    } else {
        ending = sync.completion(left + work.creations.len() as i64);
        if ending.is_none() && !deleted {
            sync.note_suspension(&mut plan);
        }
        // These Pods are not to be counted, so they lose the finalizer before they end.
        plan.actions.extend(work.deletions.iter().filter(|p| p.tracked).map(release));
        sync.untrack(&work.deletions);
        delete(job, &work.deletions, &mut plan);
    }
    if creations_first {
        create(job, &work.creations, &mut plan);
    }
    tracking::track(&mut sync, ending, &deletions, &mut plan);
    if !creations_first {
        create(job, &work.creations, &mut plan);
    }
    plan
}

/// Removes the tracking finalizer of a Pod.
pub(super) fn release(pod: &JobPod<'_>) -> Action {
    let changes = vec![Change::RemoveFinalizer(FINALIZER)];
    Action::Change { target: pod.target(), subresource: None, changes }
}

/// Records an Event about the Job.
pub(super) fn record(
    job: &Job,
    plan: &mut Plan,
    warning: bool,
    reason: &'static str,
    message: impl Into<String>,
) {
    let about = Target::of(served("batch", "jobs"), job.header());
    let source = EventSource::Component(COMPONENT);
    plan.events.push(EventRecord { about, warning, reason, message: message.into(), source });
}

pub(super) fn delete(job: &Job, deletions: &[JobPod<'_>], plan: &mut Plan) {
    for pod in deletions {
        let message = format!("Deleted pod: {}", pod.pod.header().name);
        record(job, plan, false, "SuccessfulDelete", message);
        let (target, propagation) = (pod.target(), Propagation::Background);
        plan.actions.push(Action::Delete { target, propagation, grace_seconds: None });
    }
}

fn create(job: &Job, creations: &[Value], plan: &mut Plan) {
    let about = Target::of(served("batch", "jobs"), job.header());
    plan.creation_events = Some(CreationEvents { about, component: COMPONENT, text: CreationText::Pods });
    let namespace = &job.header().namespace;
    plan.actions.extend(creations.iter().map(|pod| Action::Create {
        resource: served("", "pods"),
        namespace: namespace.clone(),
        object: pod.clone(),
    }));
}

impl<'a> Sync<'a> {
    fn new(snapshot: &Snapshot<'a>, plan: &mut Plan) -> Sync<'a> {
        let job = snapshot.job;
        let pods = pods::claim(job, &snapshot.pods, plan);
        let stored = JobStatus::decode(&job.status);
        let terminating = pods.iter().filter(|p| p.is_terminating()).count() as i64;
        let mut sync = Sync {
            job,
            now: snapshot.now,
            status: stored.clone(),
            stored,
            succeeded: 0,
            stored_indexes: Intervals::default(),
            succeeded_indexes: Intervals::default(),
            failed_indexes: None,
            replaced: BTreeMap::new(),
            terminating,
            pods,
        };
        sync.count_successes();
        if job.backoff_limit_per_index.is_some() {
            sync.count_failed_indexes();
        }
        sync
    }

    fn untrack(&mut self, released: &[JobPod<'_>]) {
        let released: BTreeSet<&str> = released.iter().map(JobPod::uid).collect();
        self.pods.iter_mut().filter(|p| released.contains(p.uid())).for_each(|p| p.tracked = false);
    }

    /// The tracked Pods; those of an index that the Job does not have are left out.
    fn valid_pods(&self) -> impl Iterator<Item = &JobPod<'a>> {
        let job = self.job;
        self.pods.iter().filter(move |p| p.tracked && (!job.indexed || p.valid_index(job).is_some()))
    }

    fn count_successes(&mut self) {
        let status = &self.stored;
        let ended = |p: &&JobPod<'_>| p.pod.phase == Phase::Succeeded;
        if self.job.indexed {
            let completions = self.job.completions.unwrap_or(0);
            let new = self.valid_pods().filter(ended).filter_map(|p| p.index);
            let stored = Intervals::parse(&status.completed_indexes, completions);
            self.succeeded_indexes = stored.with_indexes(new);
            self.stored_indexes = stored;
            self.succeeded = self.succeeded_indexes.total();
        } else {
            let uncounted = &status.uncounted_succeeded;
            let new = self.valid_pods().filter(ended).filter(|p| !uncounted.iter().any(|uid| uid == p.uid()));
            self.succeeded = status.succeeded + new.count() as i64 + uncounted.len() as i64;
        }
    }

    /// Failed Pods, those that are in no counter yet included.
    fn failed(&self) -> i64 {
        let uncounted = &self.stored.uncounted_failed;
        let new = self.valid_pods().filter(|p| p.has_failed(self.job));
        let new = new.filter(|p| !uncounted.iter().any(|uid| uid == p.uid()));
        let counted = new.filter(|p| p.failure_action(self.job) != FailureAction::Ignore);
        self.stored.failed + counted.count() as i64 + uncounted.len() as i64
    }

    fn count_failed_indexes(&mut self) {
        let (job, completions) = (self.job, self.job.completions.unwrap_or(0));
        let limit = job.backoff_limit_per_index.unwrap_or(0);
        let is_final = |p: &&JobPod<'_>| {
            p.has_failed(job)
                && match p.failure_action(job) {
                    FailureAction::FailIndex => true,
                    FailureAction::Ignore => false,
                    _ => p.pod.job_details().index_failures >= limit,
                }
        };
        let stored = Intervals::parse(self.stored.failed_indexes.as_deref().unwrap_or(""), completions);
        let failed = stored.with_indexes(self.valid_pods().filter(is_final).filter_map(|p| p.index));
        let active = self.pods.iter().filter(|p| p.pod.is_active()).copied().collect::<Vec<_>>();
        let over = self.succeeded_indexes.union(&failed).with_indexes(pods::indexes(&active));
        let mut replaced: BTreeMap<i64, JobPod<'a>> = BTreeMap::new();
        for pod in self.valid_pods().filter(|p| p.has_failed(job)) {
            let Some(index) = pod.index.filter(|index| !over.contains(*index)) else { continue };
            let order = |p: &JobPod<'_>| {
                let details = p.pod.job_details();
                (details.all_index_failures(), details.finished_at)
            };
            if replaced.get(&index).is_none_or(|other| order(other) <= order(pod)) {
                replaced.insert(index, *pod);
            }
        }
        self.replaced = replaced;
        self.failed_indexes = Some(failed);
    }

    /// Whether the Job ends: by an earlier decision, or because it has failed, or because its success policy is met.
    fn ending(&self, plan: &mut Plan) -> Option<Ending> {
        let job = self.job;
        if let Some(condition) = self.status.true_condition("SuccessCriteriaMet") {
            return Some(Ending::recorded(EndingKind::Success, condition));
        }
        if let Some(condition) = self.status.true_condition("FailureTarget") {
            return Some(Ending::recorded(EndingKind::RecordedFailure, condition));
        }
        let fail = |reason, message: &str| Some(Ending::new(EndingKind::Failure, reason, message));
        let mut failed = self.pods.iter().filter(|p| !job.pod_failure_policy.is_null() && p.has_failed(job));
        let fatal = failed.find_map(|p| match p.failure_action(job) {
            FailureAction::FailJob(message) => Some(message),
            _ => None,
        });
        if let Some(message) = fatal {
            return fail("PodFailurePolicy", &message);
        }
        if self.failed() > job.backoff_limit || self.restarts_exceed_limit() {
            return fail("BackoffLimitExceeded", "Job has reached the specified backoff limit");
        }
        if let Some(left) = self.seconds_to_deadline() {
            if left <= 0 {
                return fail("DeadlineExceeded", "Job was active longer than specified deadline");
            }
            plan.requeue_after(left);
        }
        let completions = job.completions.unwrap_or(0);
        if let Some(failed) = &self.failed_indexes {
            let count = failed.total();
            if job.max_failed_indexes.is_some_and(|max| count > max) {
                let message = "Job has exceeded the specified maximal number of failed indexes";
                return fail("MaxFailedIndexesExceeded", message);
            }
            if count > 0 && count + self.succeeded_indexes.total() >= completions {
                return fail("FailedIndexes", "Job has failed indexes");
            }
        }
        let message = policies::success(&job.success_policy, completions, &self.succeeded_indexes)?;
        Some(Ending::new(EndingKind::Success, "SuccessPolicy", message))
    }

    /// Whether containers that are restarted in place have been restarted too often.
    fn restarts_exceed_limit(&self) -> bool {
        if access::text(&self.job.template, &["spec", "restartPolicy"]) != "OnFailure" {
            return false;
        }
        let running = self.pods.iter().filter(|p| !p.pod.phase.is_terminal());
        let restarts: i64 = running.map(|p| p.pod.job_details().restarts).sum();
        restarts >= self.job.backoff_limit.max(1)
    }

    fn seconds_to_deadline(&self) -> Option<Seconds> {
        let limit = self.job.active_deadline_seconds.filter(|_| !self.job.suspend)?;
        Some(self.status.started()?.saturating_add(limit).saturating_sub(self.now))
    }

    /// Whether enough Pods have succeeded and none is active.
    fn completion(&self, active: i64) -> Option<Ending> {
        let enough = self.job.completions.map_or(self.succeeded > 0, |wanted| self.succeeded >= wanted);
        let message = "Reached expected number of succeeded pods";
        (enough && active == 0).then(|| Ending::new(EndingKind::Success, "CompletionsReached", message))
    }

    fn note_suspension(&mut self, plan: &mut Plan) {
        let now = self.now;
        if self.job.suspend {
            let why = ("JobSuspended", "Job suspended");
            if self.status.set_condition(("Suspended", "True"), why, now) {
                record(self.job, plan, false, "Suspended", "Job suspended");
                self.status.start_time = None;
            }
        } else if self.status.set_condition(("Suspended", "False"), ("JobResumed", "Job resumed"), now) {
            record(self.job, plan, false, "Resumed", "Job resumed");
            // The deadline counts from the resumption.
            self.status.start_time = Some(rfc3339(now));
        }
    }

    /// The Pods that a Job that goes on has to delete or to create. One plan does either.
    fn work(&self, active: &[JobPod<'a>], plan: &mut Plan) -> Work<'a> {
        let (job, now) = (self.job, self.now);
        if job.suspend {
            return Work { deletions: pods::surplus(job, active, active.len()), creations: Vec::new() };
        }
        let count = active.len() as i64;
        let wanted = match job.completions {
            None if self.succeeded > 0 => count,
            None => job.parallelism,
            Some(completions) => (completions - self.succeeded).min(job.parallelism).max(0),
        };
        let mut deletions = pods::surplus(job, active, usize::try_from(count - wanted).unwrap_or(0));
        deletions.truncate(BURST_MAX);
        if !deletions.is_empty() {
            return Work { deletions, creations: Vec::new() };
        }
        let awaited = if job.only_replace_failed { self.terminating } else { 0 };
        let missing = usize::try_from(wanted - awaited - count).unwrap_or(0).min(BURST_MAX);
        let per_index = job.backoff_limit_per_index.is_some();
        let delay = if missing == 0 || per_index { 0 } else { backoff::of_job(&self.pods, now) };
        if delay > 0 {
            plan.requeue_after(delay);
            return Work::default();
        }
        if !job.indexed {
            let creations = vec![pods::new_pod(job); missing];
            return Work { deletions, creations };
        }
        let mut delays = Vec::new();
        let mut creations = Vec::new();
        for index in self.pending_indexes(active, missing) {
            let failed = self.replaced.get(&index);
            match failed.map_or(0, |failed| backoff::of_index(failed, now)) {
                0 => creations.push(pods::new_indexed_pod(job, index, failed)),
                delay => delays.push(delay),
            }
        }
        delays.into_iter().for_each(|delay| plan.requeue_after(delay));
        Work { deletions, creations }
    }

    /// The first indexes that need a Pod.
    fn pending_indexes(&self, active: &[JobPod<'_>], count: usize) -> Vec<i64> {
        let mut taken = self.succeeded_indexes.with_indexes(pods::indexes(active));
        if self.job.only_replace_failed {
            let terminating: Vec<JobPod<'_>> =
                self.pods.iter().filter(|p| p.is_terminating()).copied().collect();
            taken = taken.with_indexes(pods::indexes(&terminating));
        }
        if let Some(failed) = &self.failed_indexes {
            taken = taken.union(failed);
        }
        taken.missing(self.job.completions.unwrap_or(0), count)
    }
}
