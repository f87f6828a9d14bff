//! Jobs and CronJobs, and what the Job controller reads of Pods.

use std::sync::Arc;

use serde_json::Value;
use shim_model::{
    access,
    object::{Header, StoredObject},
};

use super::{LabelSelector, ObjectView, Seconds, decode_part, seconds};

/// The annotation and label with the completion index of a Pod.
pub const COMPLETION_INDEX: &str = "batch.kubernetes.io/job-completion-index";
/// The annotation with the number of failures of the index before this Pod.
pub const INDEX_FAILURES: &str = "batch.kubernetes.io/job-index-failure-count";
/// The annotation with the number of failures of the index that the Pod failure policy ignored.
pub const INDEX_IGNORED_FAILURES: &str = "batch.kubernetes.io/job-index-ignored-failure-count";

/// The annotation of a Job with the time in a CronJob's schedule that it was created for.
pub const SCHEDULED_TIMESTAMP: &str = "batch.kubernetes.io/cronjob-scheduled-timestamp";

/// A Job.
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub struct Job {
    pub object: Arc<StoredObject>,
    /// The store revision of the object.
    pub revision: u64,
    pub selector: LabelSelector,
    pub template: Value,
    pub completions: Option<i64>,
    pub parallelism: i64,
    pub backoff_limit: i64,
    pub backoff_limit_per_index: Option<i64>,
    pub max_failed_indexes: Option<i64>,
    /// Whether `spec.completionMode` is `Indexed`.
    pub indexed: bool,
    pub suspend: bool,
    pub active_deadline_seconds: Option<i64>,
    pub ttl_seconds_after_finished: Option<i64>,
    /// Whether a Pod is replaced only when it has failed, and not as soon as it is terminating.
    pub only_replace_failed: bool,
    /// `spec.podFailurePolicy`, or null.
    pub pod_failure_policy: Value,
    /// `spec.successPolicy`, or null.
    pub success_policy: Value,
    /// The time in a CronJob's schedule that it was created for.
    pub scheduled_at: Option<Seconds>,
    /// `spec.managedBy`.
    pub managed_by: Option<Box<str>>,
    /// `status` as written.
    pub status: Value,
}

impl Job {
    /// The header of the object.
    pub fn header(&self) -> &Header {
        &self.object.header
    }

    /// The condition that says that it has finished: `Complete` or `Failed`.
    pub fn finished(&self) -> Option<&Value> {
        let conditions = access::list(&self.status, &["conditions"]).iter();
        let mut finished = conditions.filter(|c| matches!(access::text(c, &["type"]), "Complete" | "Failed"));
        finished.find(|c| access::text(c, &["status"]) == "True")
    }

    /// The controller that it is left to; `None` if that is the built-in one.
    pub fn external_manager(&self) -> Option<&str> {
        self.managed_by.as_deref().filter(|name| *name != "kubernetes.io/job-controller")
    }

    /// Whether the built-in controller has something to do for it.
    pub fn is_managed(&self) -> bool {
        self.external_manager().is_none() && self.finished().is_none()
    }

    /// Whether the built-in controller adopts Pods for it.
    pub fn adopts(&self) -> bool {
        self.is_managed() && self.header().deletion_timestamp.is_none()
    }
}

impl ObjectView for Job {
    const GROUP: &'static str = "batch";
    const PLURAL: &'static str = "jobs";

    fn parse(object: &Arc<StoredObject>, revision: u64) -> Result<Self, serde_json::Error> {
        let mut spec = decode_part(object.spec())?;
        let metadata = decode_part(object.metadata())?;
        let int = |name: &str| access::int(&spec, &[name]);
        let text = |name: &str| access::text(&spec, &[name]);
        let mut job = Job {
            object: object.clone(),
            revision,
            selector: LabelSelector::decode(access::get(&spec, &["selector"])),
            template: Value::Null,
            completions: int("completions"),
            parallelism: int("parallelism").unwrap_or(1),
            backoff_limit: int("backoffLimit").unwrap_or(6),
            backoff_limit_per_index: int("backoffLimitPerIndex"),
            max_failed_indexes: int("maxFailedIndexes"),
            indexed: text("completionMode") == "Indexed",
            suspend: access::flag(&spec, &["suspend"]),
            active_deadline_seconds: int("activeDeadlineSeconds"),
            ttl_seconds_after_finished: int("ttlSecondsAfterFinished"),
            only_replace_failed: text("podReplacementPolicy") == "Failed",
            pod_failure_policy: Value::Null,
            success_policy: Value::Null,
            scheduled_at: seconds(access::text(&metadata, &["annotations", SCHEDULED_TIMESTAMP])),
            managed_by: Some(text("managedBy")).filter(|name| !name.is_empty()).map(Box::from),
            status: decode_part(object.status())?,
        };
        job.template = spec["template"].take();
        job.pod_failure_policy = spec["podFailurePolicy"].take();
        job.success_policy = spec["successPolicy"].take();
        job.only_replace_failed |= !job.pod_failure_policy.is_null();
        Ok(job)
    }

    fn object(&self) -> &Arc<StoredObject> {
        &self.object
    }

    fn selector(&self) -> Option<&LabelSelector> {
        Some(&self.selector)
    }
}

/// A CronJob.
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub struct CronJob {
    pub object: Arc<StoredObject>,
    pub schedule: Box<str>,
    pub time_zone: Option<Box<str>>,
    pub starting_deadline_seconds: Option<i64>,
    pub concurrency_policy: ConcurrencyPolicy,
    pub suspend: bool,
    pub job_template: Value,
    pub successful_jobs_history_limit: Option<i64>,
    pub failed_jobs_history_limit: Option<i64>,
    /// `status` as written.
    pub status: Value,
}

/// What happens to Jobs that still run when the next is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum ConcurrencyPolicy {
    Allow,
    Forbid,
    Replace,
}

impl CronJob {
    /// The header of the object.
    pub fn header(&self) -> &Header {
        &self.object.header
    }
}

impl ObjectView for CronJob {
    const GROUP: &'static str = "batch";
    const PLURAL: &'static str = "cronjobs";

    fn parse(object: &Arc<StoredObject>, _: u64) -> Result<Self, serde_json::Error> {
        let mut spec = decode_part(object.spec())?;
        let int = |name: &str| access::int(&spec, &[name]);
        let text = |name: &str| access::text(&spec, &[name]);
        let mut cron_job = CronJob {
            object: object.clone(),
            schedule: text("schedule").into(),
            time_zone: Some(text("timeZone")).filter(|zone| !zone.is_empty()).map(Box::from),
            starting_deadline_seconds: int("startingDeadlineSeconds"),
            concurrency_policy: match text("concurrencyPolicy") {
                "Forbid" => ConcurrencyPolicy::Forbid,
                "Replace" => ConcurrencyPolicy::Replace,
                _ => ConcurrencyPolicy::Allow,
            },
            suspend: access::flag(&spec, &["suspend"]),
            job_template: Value::Null,
            successful_jobs_history_limit: int("successfulJobsHistoryLimit"),
            failed_jobs_history_limit: int("failedJobsHistoryLimit"),
            status: decode_part(object.status())?,
        };
        cron_job.job_template = spec["jobTemplate"].take();
        Ok(cron_job)
    }

    fn object(&self) -> &Arc<StoredObject> {
        &self.object
    }
}

/// A container that has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct EndedContainer {
    pub name: Box<str>,
    pub exit_code: i64,
}

/// What the Job controller reads of a Pod, beside its row.
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub struct JobPodDetails {
    /// The completion index; `None` without a valid one.
    pub index: Option<i64>,
    /// Failures of the index before this Pod that count.
    pub index_failures: i64,
    /// Failures of the index before this Pod that the failure policy ignored.
    pub ignored_index_failures: i64,
    /// Restarts of all containers, those of init containers included.
    pub restarts: i64,
    /// When it ended, as far as that is known; for a Pod that has not ended, its creation.
    pub finished_at: Seconds,
    /// The ended containers; those of `containerStatuses` first.
    pub ended: Vec<EndedContainer>,
    /// Type and status of each condition.
    pub conditions: Vec<(Box<str>, Box<str>)>,
}

impl JobPodDetails {
    /// Reads them from a Pod.
    pub fn of(pod: &StoredObject) -> Result<JobPodDetails, serde_json::Error> {
        let metadata = decode_part(pod.metadata())?;
        let (spec, status) = (decode_part(pod.spec())?, decode_part(pod.status())?);
        let annotation = |name: &str| access::text(&metadata, &["annotations", name]);
        let count = |name: &str| {
            let count: Option<i32> = annotation(name).parse().ok();
            i64::from(count.filter(|count| *count >= 0).unwrap_or(0))
        };
        let containers = access::list(&status, &["containerStatuses"]);
        let init = access::list(&status, &["initContainerStatuses"]);
        let both = || containers.iter().chain(init);
        let pair = |c: &Value| (access::text(c, &["type"]).into(), access::text(c, &["status"]).into());
        Ok(JobPodDetails {
            index: annotation(COMPLETION_INDEX).parse().ok().filter(|index: &i64| *index >= 0),
            index_failures: count(INDEX_FAILURES),
            ignored_index_failures: count(INDEX_IGNORED_FAILURES),
            restarts: both().filter_map(|c| access::int(c, &["restartCount"])).sum(),
            finished_at: finished_at(&pod.header, &spec, &status),
            ended: both().filter_map(ended_container).collect(),
            conditions: access::list(&status, &["conditions"]).iter().map(pair).collect(),
        })
    }

    /// All failures of the index before this Pod.
    pub fn all_index_failures(&self) -> i64 {
        self.index_failures + self.ignored_index_failures
    }
}

fn ended_container(status: &Value) -> Option<EndedContainer> {
    let exit_code = access::int(status, &["state", "terminated", "exitCode"])
        .or_else(|| access::get(status, &["state", "terminated"]).map(|_| 0))?;
    Some(EndedContainer { name: access::text(status, &["name"]).into(), exit_code })
}

/// When a Pod ended: with its last container, or else when it stopped being ready, when its deletion was requested, or when
/// it was created.
fn finished_at(header: &Header, spec: &Value, status: &Value) -> Seconds {
    let sidecars: Vec<&str> = access::list(spec, &["initContainers"])
        .iter()
        .filter(|c| access::text(c, &["restartPolicy"]) == "Always")
        .map(|c| access::text(c, &["name"]))
        .collect();
    let is_sidecar = |c: &&Value| sidecars.contains(&access::text(c, &["name"]));
    let containers = latest_end(access::list(status, &["containerStatuses"]).iter());
    let init = || access::list(status, &["initContainerStatuses"]).iter().filter(is_sidecar);
    // A sidecar ends after the containers.
    let sidecar_runs = init().any(|c| end(c).is_none());
    let ended = if sidecar_runs { None } else { containers.max(latest_end(init())) };
    let unready = || {
        let conditions = access::list(status, &["conditions"]).iter();
        let mut ready = conditions.filter(|c| access::text(c, &["type"]) == "Ready");
        let unready = ready.find(|c| access::text(c, &["status"]) == "False")?;
        seconds(access::text(unready, &["lastTransitionTime"]))
    };
    let deleted = || {
        let deadline = header.deletion_timestamp.as_deref().and_then(seconds)?;
        Some(deadline - header.deletion_grace_period_seconds.unwrap_or(0))
    };
    let created = || seconds(&header.creation_timestamp).unwrap_or(0);
    ended.or_else(unready).or_else(deleted).unwrap_or_else(created)
}

fn end(container: &Value) -> Option<Seconds> {
    seconds(access::text(container, &["state", "terminated", "finishedAt"]))
}

/// When the last of these containers ended; `None` if one has not.
fn latest_end<'a>(statuses: impl Iterator<Item = &'a Value>) -> Option<Seconds> {
    statuses.map(end).collect::<Option<Vec<Seconds>>>()?.into_iter().max()
}
