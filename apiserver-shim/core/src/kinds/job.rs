//! Jobs.

mod indexes;
pub(super) mod status;
pub(super) mod validation;

use super::{CreateContext, FieldName, Strategy, cells, named, pod_template, warnings, workload};
use serde_json::{Map, Value, json};
use shim_model::access::{self, as_object, set_default, set_if_zero};
use shim_model::field::FieldError;
use shim_model::time::{Instant, human_duration};

pub(super) struct Job;

const CONTROLLER_UID: &str = "batch.kubernetes.io/controller-uid";
const JOB_NAME: &str = "batch.kubernetes.io/job-name";
/// The labels from before they had a prefix.
const OLD_CONTROLLER_UID: &str = "controller-uid";
const OLD_JOB_NAME: &str = "job-name";

/// The field selector of the number of Pods that succeeded.
const SUCCESSFUL: &str = "status.successful";

impl Strategy for Job {
    fn default(&self, object: &mut Value) {
        let labels = access::get(object, &["spec", "template", "metadata", "labels"]).cloned();
        if let Some(labels) = labels.filter(|l| !access::is_zero(l)) {
            set_if_zero(access::object_mut(object, &["metadata"]), "labels", labels);
        }
        let spec = access::object_mut(object, &["spec"]);
        if !spec.contains_key("completions") && !spec.contains_key("parallelism") {
            spec.insert("completions".into(), 1.into());
        }
        set_default(spec, "parallelism", 1);
        let limit = if spec.contains_key("backoffLimitPerIndex") { i64::from(i32::MAX) } else { 6 };
        set_default(spec, "backoffLimit", limit);
        set_default(spec, "completionMode", "NonIndexed");
        set_default(spec, "suspend", false);
        set_default(spec, "manualSelector", false);
        let replaced = if spec.contains_key("podFailurePolicy") { "Failed" } else { "TerminatingOrFailed" };
        set_default(spec, "podReplacementPolicy", replaced);
        default_spec(spec);
    }

    fn has_generation(&self) -> bool {
        true
    }

    fn has_status(&self) -> bool {
        true
    }

    fn prepare_create(&self, object: &mut Value, context: &CreateContext<'_>) {
        pod_template::drop_disabled_fields(object, &["spec", "template", "spec"]);
        if !access::flag(object, &["spec", "manualSelector"]) {
            generate_selector(object, context);
        }
    }

    fn selectable(&self, object: &Value) -> Vec<(FieldName, String)> {
        let succeeded = access::int(object, &["status", "succeeded"]).unwrap_or(0);
        named([(SUCCESSFUL, succeeded.to_string())])
    }

    fn selectable_fields(&self) -> Vec<&str> {
        vec![SUCCESSFUL]
    }

    fn unknown_selector(&self, field: &str) -> Option<String> {
        Some(format!("field label \"{field}\" not supported for Job"))
    }

    fn prepare_update(&self, new: &mut Value, _old: &Value) {
        pod_template::drop_disabled_fields(new, &["spec", "template", "spec"]);
    }

    fn orphans_dependents(&self) -> bool {
        true
    }

    fn orphaning_warning(&self) -> Option<&'static str> {
        Some(
            "child pods are preserved by default when jobs are deleted; set propagationPolicy=Background to remove them or set propagationPolicy=Orphan to suppress this warning",
        )
    }

    fn warnings(&self, new: &Value, old: Option<&Value>) -> Vec<String> {
        job_warnings(new, old, "spec")
    }

    fn validate_create(&self, object: &Value) -> Vec<FieldError> {
        let mut errors = validation::identity(object);
        errors.extend(validation::spec(object));
        errors.extend(validation::host_names(object));
        errors
    }

    fn validate_update(&self, new: &Value, old: &Value) -> Vec<FieldError> {
        // Upstream validates the spec twice.
        let mut errors = self.validate_create(new);
        errors.extend(validation::spec(new));
        errors.extend(validation::change(new, old));
        errors
    }

    fn validate_status_update(&self, new: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = status::validate(new);
        errors.extend(status::change(new, old));
        errors
    }

    fn cells(&self, object: &Value, now: Instant) -> Vec<Value> {
        let [names, images, selector] = workload::wide_cells(object);
        vec![
            cells::name(object),
            state(object).into(),
            completions(object).into(),
            duration(object, now).into(),
            cells::age(object, now),
            names,
            images,
            selector,
        ]
    }
}

/// Sets the defaults of a Job's spec that a CronJob's template has too.
pub(super) fn default_spec(spec: &mut Map<String, Value>) {
    pod_template::default_template(as_object(spec.entry("template").or_insert_with(|| json!({}))));
    let rules = spec.get_mut("podFailurePolicy").and_then(|policy| access::list_mut(policy, &["rules"]));
    for rule in rules.into_iter().flatten() {
        for condition in access::list_mut(rule, &["onPodConditions"]).into_iter().flatten() {
            set_if_zero(as_object(condition), "status", "True");
        }
    }
}

/// Labels the template with the Job's identity, and selects Pods by it.
fn generate_selector(job: &mut Value, context: &CreateContext<'_>) {
    let uid = context.uid;
    let name = access::text(job, &["metadata", "name"]).to_owned();
    let labels = access::object_mut(job, &["spec", "template", "metadata", "labels"]);
    for (key, value) in
        [(CONTROLLER_UID, uid), (JOB_NAME, &name), (OLD_CONTROLLER_UID, uid), (OLD_JOB_NAME, &name)]
    {
        labels.insert(key.into(), value.into());
    }
    set_default(access::object_mut(job, &["spec", "selector", "matchLabels"]), CONTROLLER_UID, uid);
    // The Job's labels are those of its template unless it came with some of its own.
    if context.is_unlabelled {
        let labels =
            access::get(job, &["spec", "template", "metadata", "labels"]).cloned().unwrap_or_default();
        access::object_mut(job, &["metadata"]).insert("labels".to_owned(), labels);
    }
}

pub(super) fn is_condition_true(object: &Value, condition: &str) -> bool {
    let conditions = access::list(object, &["status", "conditions"]);
    conditions
        .iter()
        .any(|c| access::text(c, &["type"]) == condition && access::text(c, &["status"]) == "True")
}

fn state(job: &Value) -> &'static str {
    let deleted = !access::text(job, &["metadata", "deletionTimestamp"]).is_empty();
    match () {
        () if is_condition_true(job, "Complete") => "Complete",
        () if is_condition_true(job, "Failed") => "Failed",
        () if deleted => "Terminating",
        () if is_condition_true(job, "Suspended") => "Suspended",
        () if is_condition_true(job, "FailureTarget") => "FailureTarget",
        () if is_condition_true(job, "SuccessCriteriaMet") => "SuccessCriteriaMet",
        () => "Running",
    }
}

fn completions(job: &Value) -> String {
    let succeeded = workload::number(job, &["status", "succeeded"]);
    match access::int(job, &["spec", "completions"]) {
        Some(wanted) => format!("{succeeded}/{wanted}"),
        None => match workload::number(job, &["spec", "parallelism"]) {
            parallelism @ 2.. => format!("{succeeded}/1 of {parallelism}"),
            _ => format!("{succeeded}/1"),
        },
    }
}

fn duration(job: &Value, now: Instant) -> String {
    let time = |key: &str| Instant::parse(access::text(job, &["status", key]));
    let Some(start) = time("startTime") else { return String::new() };
    human_duration(time("completionTime").unwrap_or(now).since(start))
}

/// Completions and parallelism above which failed indexes may be too many to be recorded.
const INDEXES_SOFT_MAX: (i64, i64) = (100_000, 10_000);

/// Warnings about a Job, or about the one in the template of a CronJob; `path` is that of its spec.
pub(super) fn job_warnings(new: &Value, old: Option<&Value>, path: &str) -> Vec<String> {
    let mut out = Vec::new();
    if old.is_some_and(|old| !warnings::is_new_generation(new, old)) {
        return out;
    }
    if old.is_none() {
        out.extend(warnings::host_name(new, "Pod names and hostnames"));
    }
    let members: Vec<&str> = path.split('.').collect();
    let spec = access::get(new, &members).unwrap_or(&Value::Null);
    let number = |member: &str| access::int(spec, &[member]).unwrap_or(0);
    let (completions, parallelism) = INDEXES_SOFT_MAX;
    let is_large = number("completions") > completions && number("parallelism") > parallelism;
    if access::text(spec, &["completionMode"]) == "Indexed" && is_large {
        out.push(format!("{path}: In Indexed Jobs with a number of completions higher than 10^5 and a parallelism higher than 10^4, Kubernetes might not be able to track completedIndexes when a big number of indexes fail"));
    }
    warnings::template_warnings(new, old, &format!("{path}.template"), &mut out);
    out
}
