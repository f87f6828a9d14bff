//! ReplicationControllers.

use super::{CreateContext, FieldName, Strategy, cells, named, pod_template, workload};
use serde_json::{Value, json};
use shim_model::access::{self, as_object, set_default, set_if_zero};
use shim_model::time::Instant;

pub(super) struct ReplicationController;

impl Strategy for ReplicationController {
    fn default(&self, object: &mut Value) {
        let labels = access::get(object, &["spec", "template", "metadata", "labels"]).cloned();
        if let Some(labels) = labels.filter(|l| !access::is_zero(l)) {
            set_if_zero(access::object_mut(object, &["spec"]), "selector", labels.clone());
            set_if_zero(access::object_mut(object, &["metadata"]), "labels", labels);
        }
        let spec = access::object_mut(object, &["spec"]);
        set_default(spec, "replicas", 1);
        pod_template::default_template(as_object(spec.entry("template").or_insert_with(|| json!({}))));
    }

    fn has_generation(&self) -> bool {
        true
    }

    fn has_status(&self) -> bool {
        true
    }

    fn prepare_create(&self, object: &mut Value, _context: &CreateContext<'_>) {
        pod_template::drop_disabled_fields(object, &["spec", "template", "spec"]);
        access::object_mut(object, &["status"]).insert("replicas".into(), 0.into());
    }

    fn prepare_update(&self, new: &mut Value, _old: &Value) {
        pod_template::drop_disabled_fields(new, &["spec", "template", "spec"]);
    }

    fn warnings(&self, new: &Value, old: Option<&Value>) -> Vec<String> {
        workload::template_warnings(new, old)
    }

    fn cells(&self, object: &Value, now: Instant) -> Vec<Value> {
        let count = |path: &[&str]| Value::from(workload::number(object, path));
        let (names, images) = cells::containers(access::get(object, &["spec", "template", "spec"]));
        vec![
            cells::name(object),
            count(&["spec", "replicas"]),
            count(&["status", "replicas"]),
            count(&["status", "readyReplicas"]),
            cells::age(object, now),
            names.into(),
            images.into(),
            cells::labels(access::get(object, &["spec", "selector"])).into(),
        ]
    }

    fn selectable(&self, object: &Value) -> Vec<(FieldName, String)> {
        let replicas = workload::number(object, &["status", "replicas"]).to_string();
        named([
            ("name", access::text(object, &["metadata", "name"]).to_owned()),
            ("status.replicas", replicas),
        ])
    }

    fn selectable_fields(&self) -> Vec<&str> {
        vec!["name", "status.replicas"]
    }
}
