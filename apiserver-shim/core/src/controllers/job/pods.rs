//! The Pods of a Job: which are its own, which go first, what new ones look like.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use shim_model::{access, object::Header};

use super::{FINALIZER, policies::FailureAction, policies::failure_action};
use crate::{
    controllers::{Action, Change, Plan, Target, owned_pods},
    rows::{COMPLETION_INDEX, INDEX_FAILURES, INDEX_IGNORED_FAILURES, Job, Phase, Pod, controller_reference},
};

/// The container variable with the completion index.
const INDEX_VARIABLE: &str = "JOB_COMPLETION_INDEX";
/// Bytes of `generateName`: a name has 63, of which 5 are generated.
const GENERATE_NAME_MAX: usize = 58;

/// A Pod of a Job.
#[derive(Debug, Clone, Copy)]
pub struct JobPod<'a> {
    pub pod: &'a Pod,
    /// Whether it has the tracking finalizer, which means that it is not counted yet.
    pub tracked: bool,
    /// The completion index; `None` if the Job has no indexes.
    pub index: Option<i64>,
}

impl JobPod<'_> {
    pub fn uid(&self) -> &str {
        self.pod.uid()
    }

    pub fn target(&self) -> Target {
        owned_pods::target(self.pod)
    }

    pub fn is_terminating(&self) -> bool {
        self.pod.deletion.is_some() && !self.pod.phase.is_terminal()
    }

    /// Whether it counts as failed. A terminating Pod does unless only failed ones are replaced: it may never be `Failed`.
    pub fn has_failed(&self, job: &Job) -> bool {
        match self.pod.phase {
            Phase::Failed => true,
            Phase::Succeeded => false,
            _ => self.pod.deletion.is_some() && !job.only_replace_failed,
        }
    }

    /// The completion index, if it is one that the Job has.
    pub fn valid_index(&self, job: &Job) -> Option<i64> {
        self.index.filter(|index| *index < job.completions.unwrap_or(0))
    }

    /// What the failure policy does about it.
    pub fn failure_action(&self, job: &Job) -> FailureAction {
        if job.pod_failure_policy.is_null() {
            FailureAction::Count
        } else {
            failure_action(&job.pod_failure_policy, self.pod)
        }
    }
}

/// Whether a Pod has the tracking finalizer.
pub fn is_tracked(pod: &Header) -> bool {
    pod.finalizers.iter().any(|finalizer| finalizer == FINALIZER)
}

/// The Pods of the Job, sorted by index: adopts orphans that match, and releases Pods that no longer match.
pub fn claim<'a>(job: &Job, candidates: &[&'a Pod], plan: &mut Plan) -> Vec<JobPod<'a>> {
    let (header, deleted) = (job.header(), job.header().deletion_timestamp.is_some());
    let mut ours = Vec::with_capacity(candidates.len());
    for &pod in candidates {
        let matches = job.selector.matches(&pod.header().labels);
        let index = if job.indexed { pod.job_details().index } else { None };
        let mut own = |tracked| ours.push(JobPod { pod, tracked, index });
        let changes = match pod.controller_uid() {
            Some(uid) if *uid != *header.uid => continue,
            Some(_) if matches => {
                own(is_tracked(pod.header()));
                continue;
            }
            Some(_) if !deleted => {
                vec![Change::RemoveOwners(vec![header.uid.clone()]), Change::RemoveFinalizer(FINALIZER)]
            }
            None if matches && !deleted && pod.deletion.is_none() => {
                own(true);
                let owner = controller_reference("batch/v1", "Job", header);
                vec![Change::AddOwner(owner), Change::AddFinalizer(FINALIZER)]
            }
            _ => continue,
        };
        let target = owned_pods::target(pod);
        plan.actions.push(Action::Change { target, subresource: None, changes });
    }
    ours.sort_by_key(|p| (p.index.unwrap_or(-1), p.pod.created));
    ours
}

/// Sorts active Pods so that the first is deleted first, as upstream: not bound, pending, not ready, ready for a shorter time,
/// more restarts, younger.
fn rank(pods: &mut [JobPod<'_>]) {
    pods.sort_by_key(|JobPod { pod, .. }| {
        let phase = match pod.phase {
            Phase::Pending => 0,
            Phase::Unknown => 1,
            _ => 2,
        };
        let ready = pod.ready_since.map(Reverse);
        (pod.node.is_some(), phase, pod.is_ready(), ready, Reverse(pod.restarts), Reverse(pod.created))
    });
}

/// The active Pods to delete: those without the finalizer, which cannot be counted (the process has ended before it deleted
/// them), those without a valid index, all but one of an index, and further ones up to `at_least`.
pub fn surplus<'a>(job: &Job, active: &[JobPod<'a>], at_least: usize) -> Vec<JobPod<'a>> {
    let (mut left, mut remove): (Vec<JobPod<'a>>, Vec<JobPod<'a>>) = active.iter().partition(|p| p.tracked);
    if job.indexed {
        let mut by_index: BTreeMap<i64, Vec<JobPod<'a>>> = BTreeMap::new();
        for pod in std::mem::take(&mut left) {
            match pod.valid_index(job) {
                Some(index) => by_index.entry(index).or_default().push(pod),
                None => remove.push(pod),
            }
        }
        for mut same in by_index.into_values() {
            rank(&mut same);
            left.extend(same.pop());
            remove.append(&mut same);
        }
    }
    if remove.len() < at_least {
        rank(&mut left);
        let more = at_least - remove.len();
        remove.extend(left.into_iter().take(more));
    }
    remove
}

/// The indexes of some Pods.
pub fn indexes(pods: &[JobPod<'_>]) -> BTreeSet<i64> {
    pods.iter().filter_map(|p| p.index).collect()
}

/// A new Pod of a Job without indexes.
pub fn new_pod(job: &Job) -> Value {
    let header = job.header();
    let reference = controller_reference("batch/v1", "Job", header);
    let mut object = owned_pods::from_template_with_generated_name(header, reference, &job.template);
    Change::AddFinalizer(FINALIZER).apply(&mut object);
    object
}

/// A new Pod with a completion index. `failed` is the Pod that it replaces in a Job with a limit per index.
pub fn new_indexed_pod(job: &Job, index: i64, failed: Option<&JobPod<'_>>) -> Value {
    let mut pod = new_pod(job);
    for list in ["initContainers", "containers"] {
        access::list_mut(&mut pod, &["spec", list]).into_iter().flatten().for_each(add_index_variable);
    }
    let name = &job.header().name;
    pod["spec"]["hostname"] = format!("{name}-{index}").into();
    pod["metadata"]["generateName"] = generate_name(name, index).into();
    let annotations = access::object_mut(&mut pod, &["metadata", "annotations"]);
    annotations.insert(COMPLETION_INDEX.to_owned(), index.to_string().into());
    if job.backoff_limit_per_index.is_some() {
        let (failures, ignored) = failed.map_or((0, 0), |failed| {
            let details = failed.pod.job_details();
            match failed.failure_action(job) {
                FailureAction::Ignore => (details.index_failures, details.ignored_index_failures + 1),
                _ => (details.index_failures + 1, details.ignored_index_failures),
            }
        });
        annotations.insert(INDEX_FAILURES.to_owned(), failures.to_string().into());
        if ignored > 0 {
            annotations.insert(INDEX_IGNORED_FAILURES.to_owned(), ignored.to_string().into());
        }
    }
    let labels = access::object_mut(&mut pod, &["metadata", "labels"]);
    labels.insert(COMPLETION_INDEX.to_owned(), index.to_string().into());
    pod
}

/// `NAME-INDEX-`, with a name short enough that the generated part remains.
fn generate_name(job: &str, index: i64) -> String {
    let suffix = format!("-{index}-");
    let name = &job[..job.len().min(GENERATE_NAME_MAX - suffix.len())];
    format!("{name}{suffix}")
}

fn add_index_variable(container: &mut Value) {
    if access::list(container, &["env"]).iter().any(|v| access::text(v, &["name"]) == INDEX_VARIABLE) {
        return;
    }
    let field = json!({"fieldRef": {"fieldPath": format!("metadata.labels['{COMPLETION_INDEX}']")}});
    let variable = json!({"name": INDEX_VARIABLE, "valueFrom": field});
    let env = access::object_mut(container, &[]).entry("env").or_insert_with(|| json!([]));
    if let Some(env) = env.as_array_mut() {
        env.push(variable);
    }
}
