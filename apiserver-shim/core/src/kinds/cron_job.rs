//! CronJobs.

pub(crate) mod schedule;

use super::rules::{self, Check, Rule, Site};
use super::{CreateContext, Strategy, cells, job, pod_template};
use serde_json::{Value, json};
use shim_model::access::{self, as_object, set_default, set_if_zero};
use shim_model::field::FieldError;
use shim_model::time::{self, Instant};

pub(super) struct CronJob;

/// Characters of a name: a Job's adds eleven, and may have 63.
const NAME_MAX: usize = 52;

/// The rules of a CronJob.
pub(super) const CRON_JOB: &[Rule] = &[Rule::Within(
    "spec",
    &[
        Rule::Field("schedule", &[Check::Required, Check::Code(schedule)]),
        Rule::Field("startingDeadlineSeconds", &[Check::NonNegative]),
        Rule::Field("timeZone", &[Check::Code(zone)]),
        Rule::Field("concurrencyPolicy", &[Check::Required, Check::Enum(&["Allow", "Forbid", "Replace"])]),
        Rule::Within("jobTemplate", &[Rule::Within("spec", job::validation::SPEC), Rule::Code(own_selector)]),
        Rule::Field("successfulJobsHistoryLimit", &[Check::NonNegative]),
        Rule::Field("failedJobsHistoryLimit", &[Check::NonNegative]),
    ],
)];

fn schedule(schedule: &Site<'_>, errors: &mut Vec<FieldError>) {
    if let Err(why) = schedule::Schedule::parse(schedule.text()) {
        errors.push(schedule.invalid(why));
    }
    if schedule.text().contains("TZ") {
        errors.push(schedule.invalid("cannot use TZ or CRON_TZ in schedule, use timeZone field instead"));
    }
}

fn zone(zone: &Site<'_>, errors: &mut Vec<FieldError>) {
    if let Err(why) = time_zone(zone.text()) {
        errors.push(zone.invalid(why));
    }
}

/// What is wrong with the name of a time zone.
fn time_zone(name: &str) -> Result<(), String> {
    /// Bytes of a part of a name.
    const PART_MAX: usize = 14;
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b".-_+".contains(&b);
    let valid = |part: &str| {
        (1..=PART_MAX).contains(&part.len())
            && part != "."
            && part != ".."
            && !part.starts_with('-')
            && part.bytes().all(allowed)
    };
    if name.is_empty() {
        return Err("timeZone must be nil or non-empty string".to_owned());
    }
    if !name.split('/').all(valid) {
        return Err(format!("unknown time zone {name}"));
    }
    if name.eq_ignore_ascii_case("local") {
        let why = "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones";
        return Err(why.to_owned());
    }
    match time::Zone::get(name) {
        Some(_) => Ok(()),
        None => Err(format!("unknown time zone {name}")),
    }
}

/// Jobs of a CronJob select their Pods by a generated selector.
fn own_selector(template: &Site<'_>, errors: &mut Vec<FieldError>) {
    let spec = template.at("spec");
    let (selector, manual) = (spec.at("selector"), spec.at("manualSelector"));
    if selector.is_set() {
        errors.push(selector.invalid("`selector` will be auto-generated"));
    }
    if manual.flag() {
        errors.push(manual.not_supported(&["nil", "false"]));
    }
}

const TEMPLATE: [&str; 5] = ["spec", "jobTemplate", "spec", "template", "spec"];

impl Strategy for CronJob {
    fn default(&self, object: &mut Value) {
        let spec = access::object_mut(object, &["spec"]);
        set_if_zero(spec, "concurrencyPolicy", "Allow");
        set_default(spec, "suspend", false);
        set_default(spec, "successfulJobsHistoryLimit", 3);
        set_default(spec, "failedJobsHistoryLimit", 1);
        let template = as_object(spec.entry("jobTemplate").or_insert_with(|| json!({})));
        template.entry("metadata").or_insert_with(|| json!({}));
        job::default_spec(as_object(template.entry("spec").or_insert_with(|| json!({}))));
    }

    fn has_generation(&self) -> bool {
        true
    }

    fn has_status(&self) -> bool {
        true
    }

    fn prepare_create(&self, object: &mut Value, _context: &CreateContext<'_>) {
        pod_template::drop_disabled_fields(object, &TEMPLATE);
    }

    fn prepare_update(&self, new: &mut Value, _old: &Value) {
        pod_template::drop_disabled_fields(new, &TEMPLATE);
    }

    fn warnings(&self, new: &Value, old: Option<&Value>) -> Vec<String> {
        let mut out = job::job_warnings(new, old, "spec.jobTemplate.spec");
        if old.is_some() && access::text(new, &["spec", "schedule"]).contains("TZ") {
            out.push("cannot use TZ or CRON_TZ in spec.spec.schedule, use timeZone instead, see https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/ for more details".to_owned());
        }
        out
    }

    fn validate_create(&self, object: &Value) -> Vec<FieldError> {
        let mut errors = rules::validate(CRON_JOB, object);
        let name = access::text(object, &["metadata", "name"]);
        if name.len() > NAME_MAX {
            let why = format!("must be no more than {NAME_MAX} characters");
            errors.push(FieldError::invalid("metadata.name", name, why));
        }
        errors
    }

    fn validate_update(&self, new: &Value, _old: &Value) -> Vec<FieldError> {
        rules::validate(CRON_JOB, new)
    }

    fn cells(&self, object: &Value, now: Instant) -> Vec<Value> {
        let or_none = |text: &str| Value::from(cells::or(text, "<none>"));
        let last = access::text(object, &["status", "lastScheduleTime"]);
        let last = if last.is_empty() { "<none>".to_owned() } else { time::age(last, now) };
        let (names, images) = cells::containers(access::get(object, &TEMPLATE));
        let selector = cells::selector(access::get(object, &["spec", "jobTemplate", "spec", "selector"]));
        vec![
            cells::name(object),
            access::text(object, &["spec", "schedule"]).into(),
            or_none(access::text(object, &["spec", "timeZone"])),
            cells::flag(access::get(object, &["spec", "suspend"])),
            access::list(object, &["status", "active"]).len().into(),
            last.into(),
            cells::age(object, now),
            names.into(),
            images.into(),
            selector.into(),
        ]
    }
}
