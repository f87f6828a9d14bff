//! CronJobs.

use super::{CreateContext, Strategy, cells, job, pod_template};
use serde_json::{Value, json};
use shim_model::access::{self, as_object, set_default, set_if_zero};
use shim_model::time::{self, Instant};

pub(super) struct CronJob;

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
        const PATH: [&str; 4] = ["spec", "jobTemplate", "spec", "template"];
        let template = |object| access::get(object, &PATH);
        pod_template::warnings(template(new), old.and_then(template), "spec.jobTemplate.spec.template")
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
