//! Validation of Jobs' status.

use std::collections::BTreeSet;

use super::super::pod::dump;
use super::super::rules::{Check, Rule, Site, apply};
use super::{indexes, is_condition_true};
use serde_json::Value;
use shim_model::access;
use shim_model::field::FieldError;
use shim_model::time::Instant;

/// The rules of a Job's status.
pub(in super::super) const STATUS: &[Rule] = &[
    Rule::Field("active", &[Check::NonNegative]),
    Rule::Field("succeeded", &[Check::NonNegative]),
    Rule::Field("failed", &[Check::NonNegative]),
    Rule::Field("ready", &[Check::NonNegative]),
    Rule::Field("terminating", &[Check::NonNegative]),
    Rule::Within("uncountedTerminatedPods", &[Rule::Code(uncounted)]),
];

fn uncounted(pods: &Site<'_>, errors: &mut Vec<FieldError>) {
    let mut seen: BTreeSet<&str> = BTreeSet::new();
    let lists = [pods.at("succeeded"), pods.at("failed")];
    for list in &lists {
        for uid in list.items() {
            let text = uid.value.as_str().unwrap_or("");
            if text.is_empty() {
                errors.push(uid.invalid("must not be empty"));
            } else if !seen.insert(text) {
                errors.push(uid.duplicate());
            }
        }
    }
}

/// Validates a status as it is. What a stored status breaks already does not refuse an update.
pub(super) fn validate(job: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let root = Site::root(job);
    let status = root.at("status");
    apply(STATUS, &status, &mut errors);
    let is = |condition: &str| is_condition_true(job, condition);
    let conditions = status.at("conditions");
    let finished = is("Complete") || is("Failed");
    conditions_of_complete(job, &status, &mut errors);
    if is("Failed") && !is("FailureTarget") {
        let why = "cannot set Failed=True condition without the FailureTarget=true condition";
        errors.push(conditions.wrong(why));
    }
    if is("Complete") && !is("SuccessCriteriaMet") {
        let why = "cannot set Complete=True condition without the SuccessCriteriaMet=true condition";
        errors.push(conditions.wrong(why));
    }
    if finished {
        finished_job(job, &status, &mut errors);
    }
    index_lists(job, &status, &mut errors);
    let terminating = status.at("terminating");
    if finished && terminating.int().unwrap_or(0) > 0 {
        errors.push(terminating.invalid("terminating>0 is invalid for finished job"));
    }
    if status.at("ready").int().unwrap_or(0) > status.at("active").int().unwrap_or(0) {
        errors.push(status.at("ready").invalid("cannot set more ready pods than active"));
    }
    for other in ["Failed", "FailureTarget"] {
        if is("SuccessCriteriaMet") && is(other) {
            let shown = if other == "Failed" { "Failed=true" } else { "FailureTarget=true" };
            errors
                .push(conditions.wrong(format!("cannot set SuccessCriteriaMet=True and {shown} conditions")));
        }
    }
    let policy = access::get(job, &["spec", "successPolicy"]).is_some();
    if policy && is("Complete") && !is("SuccessCriteriaMet") {
        let why = "cannot set Complete=True for Job with SuccessPolicy unless SuccessCriteriaMet=True";
        errors.push(conditions.wrong(why));
    }
    errors
}

fn conditions_of_complete(job: &Value, status: &Site<'_>, errors: &mut Vec<FieldError>) {
    let is = |condition: &str| is_condition_true(job, condition);
    let (conditions, completion) = (status.at("conditions"), status.at("completionTime"));
    if is("Complete") && is("Failed") {
        errors.push(conditions.wrong("cannot set Complete=True and Failed=true conditions"));
    }
    if is("Complete") && is("FailureTarget") {
        errors.push(conditions.wrong("cannot set Complete=True and FailureTarget=true conditions"));
    }
    match (is("Complete"), completion.is_set()) {
        (false, true) => {
            let why = "cannot set completionTime when there is no Complete=True condition";
            errors.push(completion.invalid(why));
        }
        (true, false) => {
            errors.push(completion.required("completionTime is required for Complete jobs"));
        }
        _ => {}
    }
    let time = |site: &Site<'_>| Instant::parse(site.text());
    if let (Some(start), Some(end)) = (time(&status.at("startTime")), time(&completion))
        && end < start
    {
        errors.push(completion.invalid("must be equal to or after `startTime`"));
    }
}

fn finished_job(job: &Value, status: &Site<'_>, errors: &mut Vec<FieldError>) {
    if status.at("active").int().unwrap_or(0) > 0 {
        errors.push(status.at("active").invalid("active>0 is invalid for finished job"));
    }
    let empty =
        access::flag(job, &["spec", "suspend"]) && access::int(job, &["spec", "completions"]) == Some(0);
    if !status.at("startTime").is_set() && !empty {
        errors.push(status.at("startTime").required("startTime is required for finished job"));
    }
    let uncounted = status.at("uncountedTerminatedPods");
    if ["succeeded", "failed"].iter().any(|list| uncounted.at(list).len() > 0) {
        let shown = dump::compact("UncountedTerminatedPods", uncounted.value);
        errors.push(FieldError::invalid_shown(uncounted, shown, "must be empty for finished job"));
    }
}

fn index_lists(job: &Value, status: &Site<'_>, errors: &mut Vec<FieldError>) {
    let (completed, failed) = (status.at("completedIndexes"), status.at("failedIndexes"));
    let completions = access::int(job, &["spec", "completions"]);
    let limited = access::get(job, &["spec", "backoffLimitPerIndex"]).is_some();
    let parsed = |site: &Site<'_>, name: &str, errors: &mut Vec<FieldError>| match indexes::intervals(
        site.text(),
        completions?,
    ) {
        Ok(intervals) => Some(intervals),
        Err(why) => {
            errors.push(site.invalid(format!("error parsing {name}: {why}")));
            None
        }
    };
    let first = parsed(&completed, "completedIndexes", errors);
    let second = if limited && failed.is_set() { parsed(&failed, "failedIndexes", errors) } else { None };
    if !completed.text().is_empty() && access::text(job, &["spec", "completionMode"]) != "Indexed" {
        let why = "cannot set non-empty completedIndexes when non-indexed completion mode";
        errors.push(completed.invalid(why));
    }
    if failed.is_set() && !limited {
        let why = "cannot set non-null failedIndexes when backoffLimitPerIndex is null";
        errors.push(failed.invalid(why));
    }
    if let (Some(first), Some(second)) = (first, second)
        && let Some(index) = indexes::overlap(&first, &second)
    {
        let why = format!("failedIndexes and completedIndexes overlap at index: {index}");
        errors.push(failed.invalid(why));
    }
}

/// Validates the change of a status.
pub(super) fn change(new: &Value, old: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let root = Site::root(new);
    let status = root.at("status");
    let (now, before) = (|c: &str| is_condition_true(new, c), |c: &str| is_condition_true(old, c));
    for terminal in ["Failed", "Complete", "FailureTarget"] {
        if before(terminal) && !now(terminal) {
            let why = format!("cannot disable the terminal {terminal}=True condition");
            errors.push(status.at("conditions").wrong(why));
        }
    }
    let spec = |key: &str| access::int(new, &["spec", key]);
    let scaled = access::text(new, &["spec", "completionMode"]) == "Indexed"
        && spec("completions") == spec("parallelism");
    for (counter, fixed) in [("failed", true), ("succeeded", !scaled)] {
        let of = |job| access::int(job, &["status", counter]).unwrap_or(0);
        if fixed && of(new) < of(old) {
            let why = format!("cannot decrease the {counter} counter");
            errors.push(FieldError::invalid(format!("status.{counter}"), of(new), why));
        }
    }
    let time = |job, key: &str| access::get(job, &["status", key]).cloned();
    let (end, ended) = (time(new, "completionTime"), time(old, "completionTime"));
    if let (Some(end), Some(ended)) = (end, ended)
        && end != ended
    {
        errors.push(status.at("completionTime").invalid("field is immutable"));
    }
    let (start, started) = (time(new, "startTime"), time(old, "startTime"));
    if started.is_some() && started != start && !access::flag(new, &["spec", "suspend"]) {
        let why = "startTime cannot be removed for unsuspended job";
        errors.push(status.at("startTime").required(why));
    }
    if before("SuccessCriteriaMet") && !now("SuccessCriteriaMet") {
        errors.push(status.at("conditions").wrong("cannot disable the SuccessCriteriaMet=True condition"));
    }
    if before("Complete") && !before("SuccessCriteriaMet") && now("SuccessCriteriaMet") {
        let why = "cannot set SuccessCriteriaMet=True for Job already has Complete=true conditions";
        errors.push(status.at("conditions").wrong(why));
    }
    errors
}
