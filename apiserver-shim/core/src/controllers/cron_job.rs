//! The CronJob controller: creates Jobs at the times of a schedule.
//!
//! A Job's name has the minute that it is scheduled for, so that no time has two Jobs, and its annotation has the exact time.
//! `status.lastScheduleTime` is written with the creation. The Job is added to `status.active` by the next reconcile, which sees
//! its UID.

mod due;

use serde_json::{Value, json};
use shim_model::{
    access,
    time::{Zone, rfc1123},
};

use super::{
    Action, Change, Controller, EventRecord, EventSource, Input, Keys, ObjectChange, ObjectName, Plan,
    Propagation, Target, View, served,
};
use crate::{
    kinds::cron_job::schedule::Schedule,
    rows::{
        ConcurrencyPolicy, CronJob, Job, Key, SCHEDULED_TIMESTAMP, Seconds, controller_reference, rfc3339,
        seconds,
    },
};
use due::Due;

/// The source of its Events.
const COMPONENT: &str = "cronjob-controller";

/// Creates Jobs of CronJobs.
pub struct CronJobController;

impl Controller for CronJobController {
    const NAME: &'static str = "cronjob-controller";
    const SERVICE_ACCOUNT: &'static str = "cronjob-controller";

    fn inputs(&self) -> Vec<Input> {
        vec![Input::views::<CronJob>(), Input::views::<Job>()]
    }

    fn keys(&self, change: &ObjectChange, _: &View<'_>, keys: &mut Keys) {
        let resource = served("batch", "cronjobs");
        if change.resource == resource {
            keys.insert(change.name());
            return;
        }
        let owners = change.headers().filter_map(|job| Some((job, job.controller()?)));
        let cron_jobs = owners.filter(|(_, owner)| owner.kind == "CronJob");
        keys.extend(
            cron_jobs.map(|(job, owner)| ObjectName::new(resource.clone(), &job.namespace, &owner.name)),
        );
    }

    fn reconcile(&self, view: &View<'_>, key: &ObjectName) -> Plan {
        let Some(cron_job) = view.get::<CronJob>(&key.key) else { return Plan::default() };
        let mut sync = Sync::new(view, cron_job);
        if let Some(refusal) = view.refusal.filter(|refusal| refusal.creating) {
            sync.event(true, "FailedCreate", format!("Error creating job: {}", refusal.message));
        }
        sync.delete_old_jobs();
        sync.update_active();
        sync.start_due_job();
        sync.finish()
    }
}

/// A reconcile in progress.
struct Sync<'a> {
    view: &'a View<'a>,
    cron_job: &'a CronJob,
    jobs: Vec<&'a Job>,
    /// `status.active`.
    active: Vec<Value>,
    last_schedule: Option<Seconds>,
    last_success: Option<Seconds>,
    plan: Plan,
}

impl<'a> Sync<'a> {
    fn new(view: &'a View<'a>, cron_job: &'a CronJob) -> Sync<'a> {
        let time = |name: &str| seconds(access::text(&cron_job.status, &[name]));
        Sync {
            view,
            cron_job,
            jobs: view.controlled::<Job>(&cron_job.header().uid).collect(),
            active: access::list(&cron_job.status, &["active"]).to_vec(),
            last_schedule: time("lastScheduleTime"),
            last_success: time("lastSuccessfulTime"),
            plan: Plan::default(),
        }
    }

    fn event(&mut self, warning: bool, reason: &'static str, message: impl Into<String>) {
        let about = Target::of(served("batch", "cronjobs"), self.cron_job.header());
        let source = EventSource::Component(COMPONENT);
        self.plan.events.push(EventRecord { about, warning, reason, message: message.into(), source });
    }

    fn is_active(&self, uid: &str) -> bool {
        self.active.iter().any(|job| access::text(job, &["uid"]) == uid)
    }

    fn forget(&mut self, uid: &str) {
        self.active.retain(|job| access::text(job, &["uid"]) != uid);
    }

    fn delete_job(&mut self, job: &Job) {
        let header = job.header();
        self.forget(&header.uid);
        // Something may hold a Job that is deleted already.
        if header.deletion_timestamp.is_none() {
            let target = Target::of(served("batch", "jobs"), header);
            let propagation = Propagation::Background;
            self.plan.actions.push(Action::Delete { target, propagation, grace_seconds: None });
            self.event(false, "SuccessfulDelete", format!("Deleted job {}", header.name));
        }
    }

    /// Deletes the oldest finished Jobs beyond the limits.
    fn delete_old_jobs(&mut self) {
        let limits = [
            ("Complete", self.cron_job.successful_jobs_history_limit),
            ("Failed", self.cron_job.failed_jobs_history_limit),
        ];
        for (kind, limit) in limits {
            let Some(limit) = limit.and_then(|limit| usize::try_from(limit).ok()) else { continue };
            let ended = |job: &&&Job| job.finished().is_some_and(|c| access::text(c, &["type"]) == kind);
            let mut ended: Vec<&Job> = self.jobs.iter().filter(ended).copied().collect();
            ended.sort_by_key(|job| {
                let started = seconds(access::text(&job.status, &["startTime"]));
                (started.is_none(), started, job.header().name.clone())
            });
            let surplus = ended.len().saturating_sub(limit);
            ended.into_iter().take(surplus).for_each(|job| self.delete_job(job));
        }
    }

    /// Adds and removes Jobs in `status.active`.
    fn update_active(&mut self) {
        for job in self.jobs.clone() {
            let header = job.header();
            let (listed, own) = (self.is_active(&header.uid), self.is_own(job));
            if own {
                // The process may have ended after the creation.
                self.last_schedule = self.last_schedule.max(job.scheduled_at);
            }
            match job.finished() {
                None if listed || header.deletion_timestamp.is_some() => {}
                None if own => self.active.push(reference(job)),
                None => {
                    let message =
                        format!("Saw a job that the controller did not create or forgot: {}", header.name);
                    self.event(true, "UnexpectedJob", message);
                }
                Some(condition) => {
                    let kind = access::text(condition, &["type"]);
                    if listed {
                        self.forget(&header.uid);
                        let message = format!("Saw completed job: {}, condition: {kind}", header.name);
                        self.event(false, "SawCompletedJob", message);
                    }
                    let completed = seconds(access::text(&job.status, &["completionTime"]));
                    if kind == "Complete" && completed > self.last_success {
                        self.last_success = completed;
                    }
                }
            }
        }
        let exists = |uid: &str| self.jobs.iter().any(|job| job.header().uid == uid);
        let missing: Vec<Value> =
            self.active.iter().filter(|job| !exists(access::text(job, &["uid"]))).cloned().collect();
        for job in missing {
            self.forget(access::text(&job, &["uid"]));
            self.event(
                false,
                "MissingJob",
                format!("Active job went missing: {}", access::text(&job, &["name"])),
            );
        }
    }

    /// Whether this controller has created a Job.
    fn is_own(&self, job: &Job) -> bool {
        job.scheduled_at.is_some_and(|at| job.header().name == self.job_name(at))
    }

    /// The name of the Job of a time: it ends with the minute.
    fn job_name(&self, at: Seconds) -> String {
        format!("{}-{}", self.cron_job.header().name, at.div_euclid(60))
    }

    /// Creates the Job of the last time that is due, unless that is too late, done, or not allowed.
    fn start_due_job(&mut self) {
        let (cron_job, now) = (self.cron_job, self.view.now);
        if cron_job.header().deletion_timestamp.is_some() {
            return;
        }
        let name = cron_job.time_zone.as_deref().unwrap_or("UTC");
        let Some(zone) = Zone::get(name) else {
            return self.event(
                true,
                "UnknownTimeZone",
                format!("invalid timeZone: \"{name}\": unknown time zone {name}"),
            );
        };
        if cron_job.suspend {
            return;
        }
        let schedule = match Schedule::parse(&cron_job.schedule) {
            Ok(schedule) => schedule,
            Err(why) => {
                let message = format!("unparseable schedule: \"{}\" : {why}", cron_job.schedule);
                return self.event(true, "UnparseableSchedule", message);
            }
        };
        let created = seconds(&cron_job.header().creation_timestamp).unwrap_or(0);
        let since = self.last_schedule.unwrap_or(created);
        let deadline = cron_job.starting_deadline_seconds;
        match due::last(&schedule, &zone, deadline.map_or(since, |limit| since.max(now - limit)), now) {
            Err(why) => {
                let message = format!("invalid schedule: {} : {why}", cron_job.schedule);
                return self.event(true, "InvalidSchedule", message);
            }
            Ok(Due { at: None, .. }) => {}
            Ok(Due { at: Some(at), too_many }) => {
                if too_many {
                    let message = "too many missed start times. Set or decrease .spec.startingDeadlineSeconds or check clock skew";
                    self.event(true, "TooManyMissedTimes", message);
                }
                if deadline.is_some_and(|limit| at.saturating_add(limit) < now) {
                    self.event(
                        true,
                        "MissSchedule",
                        format!("Missed scheduled time to start a job: {}", rfc1123(at)),
                    );
                } else {
                    self.start(at, &zone);
                }
            }
        }
        let since = self.last_schedule.unwrap_or(created);
        self.plan.requeue_after(due::next(&schedule, &zone, since, now) - now);
    }

    /// Creates the Job of a time.
    fn start(&mut self, at: Seconds, zone: &Zone) {
        let name = self.job_name(at);
        let namespace = self.cron_job.header().namespace.clone();
        // The Job of somebody else, who has taken the name.
        if self.view.get::<Job>(&Key::new(&namespace, &name)).is_some() {
            return;
        }
        match self.cron_job.concurrency_policy {
            ConcurrencyPolicy::Forbid if !self.active.is_empty() => {
                let message =
                    "Not starting job because prior execution is running and concurrency policy is Forbid";
                return self.event(false, "JobAlreadyActive", message);
            }
            ConcurrencyPolicy::Replace => {
                let active = self.jobs.iter().filter(|job| self.is_active(&job.header().uid));
                active.copied().collect::<Vec<_>>().into_iter().for_each(|job| self.delete_job(job));
            }
            ConcurrencyPolicy::Allow | ConcurrencyPolicy::Forbid => {}
        }
        self.event(false, "SuccessfulCreate", format!("Created job {name}"));
        self.last_schedule = Some(at);
        self.plan.actions.push(Action::Create {
            resource: served("batch", "jobs"),
            object: self.new_job(&name, at, zone),
            namespace,
        });
    }

    fn new_job(&self, name: &str, at: Seconds, zone: &Zone) -> Value {
        let header = self.cron_job.header();
        let template = &self.cron_job.job_template;
        let mut job = json!({
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": {
                "name": name,
                "namespace": header.namespace,
                "annotations": template["metadata"]["annotations"],
                "ownerReferences": [controller_reference("batch/v1", "CronJob", header)],
            },
            "spec": template["spec"],
        });
        if let Some(labels) = access::get(template, &["metadata", "labels"]) {
            job["metadata"]["labels"] = labels.clone();
        }
        let annotations = access::object_mut(&mut job, &["metadata", "annotations"]);
        annotations.insert(SCHEDULED_TIMESTAMP.to_owned(), zone.rfc3339(at).into());
        job
    }

    /// The plan, with the status if it has changed.
    fn finish(mut self) -> Plan {
        let mut status = self.cron_job.status.clone();
        let members = access::object_mut(&mut status, &[]);
        members.remove("active");
        if !self.active.is_empty() {
            members.insert("active".to_owned(), Value::from(self.active));
        }
        for (name, time) in
            [("lastScheduleTime", self.last_schedule), ("lastSuccessfulTime", self.last_success)]
        {
            if let Some(time) = time {
                members.insert(name.to_owned(), rfc3339(time).into());
            }
        }
        let empty =
            self.cron_job.status.is_null() && status.as_object().is_some_and(serde_json::Map::is_empty);
        if status != self.cron_job.status && !empty {
            let target = Target::of(served("batch", "cronjobs"), self.cron_job.header());
            let changes = vec![Change::Put(&["status"], status)];
            self.plan.actions.push(Action::Change { target, subresource: Some("status"), changes });
        }
        self.plan
    }
}

/// A reference to a Job, as in `status.active`.
fn reference(job: &Job) -> Value {
    let header = job.header();
    json!({
        "apiVersion": "batch/v1",
        "kind": "Job",
        "name": header.name,
        "namespace": header.namespace,
        "resourceVersion": job.revision.to_string(),
        "uid": header.uid,
    })
}

#[cfg(test)]
#[path = "cron_job/tests.rs"]
mod tests;
