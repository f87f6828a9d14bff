//! StatefulSets.

pub(super) mod validation;

use super::rules::{self, Rule, Site};
use super::{CreateContext, Strategy, cells, persistent_volume_claim, pod_template, warnings, workload};
use serde_json::{Value, json};
use shim_model::access::{self, as_object, set_default, set_if_zero};
use shim_model::field::FieldError;
use shim_model::names;
use shim_model::time::Instant;

pub(super) struct StatefulSet;

impl Strategy for StatefulSet {
    fn default(&self, object: &mut Value) {
        let spec = access::object_mut(object, &["spec"]);
        set_if_zero(spec, "podManagementPolicy", "OrderedReady");
        let strategy = as_object(spec.entry("updateStrategy").or_insert_with(|| json!({})));
        // As upstream, a type that is given alone gets no partition.
        if strategy.get("type").is_none_or(access::is_zero) {
            strategy.insert("type".to_owned(), "RollingUpdate".into());
            strategy.entry("rollingUpdate").or_insert_with(|| json!({}));
        }
        let rolls = strategy["type"] == "RollingUpdate";
        if let Some(rolling) = strategy.get_mut("rollingUpdate").filter(|of| rolls && of.is_object()) {
            set_default(as_object(rolling), "partition", 0);
        }
        let retention =
            as_object(spec.entry("persistentVolumeClaimRetentionPolicy").or_insert_with(|| json!({})));
        set_if_zero(retention, "whenDeleted", "Retain");
        set_if_zero(retention, "whenScaled", "Retain");
        set_default(spec, "replicas", 1);
        set_default(spec, "revisionHistoryLimit", 10);
        pod_template::default_template(as_object(spec.entry("template").or_insert_with(|| json!({}))));
        for claim in access::list_mut(object, &["spec", "volumeClaimTemplates"]).into_iter().flatten() {
            persistent_volume_claim::default_claim(claim);
            as_object(claim).insert("apiVersion".into(), "v1".into());
            as_object(claim).insert("kind".into(), "PersistentVolumeClaim".into());
        }
    }

    fn has_generation(&self) -> bool {
        true
    }

    fn has_status(&self) -> bool {
        true
    }

    fn prepare_create(&self, object: &mut Value, _context: &CreateContext<'_>) {
        drop_disabled_fields(object);
        let status = access::object_mut(object, &["status"]);
        status.insert("replicas".into(), 0.into());
        status.insert("availableReplicas".into(), 0.into());
    }

    fn prepare_update(&self, new: &mut Value, _old: &Value) {
        drop_disabled_fields(new);
    }

    fn warnings(&self, new: &Value, old: Option<&Value>) -> Vec<String> {
        let mut out = Vec::new();
        warnings::template_warnings(new, old, "spec.template", &mut out);
        let root = Site::root(new);
        let spec = root.at("spec");
        for claim in spec.at("volumeClaimTemplates").items() {
            // As upstream, an update names the member like Go does.
            let path = format!("{claim}{}", if old.is_some() { ".Spec" } else { "" });
            warnings::claim_spec(&Site::below(&path, claim.at("spec").value), &mut out);
        }
        if spec.at("revisionHistoryLimit").int().is_some_and(|limit| limit < 0) {
            out.push("spec.revisionHistoryLimit: a negative value retains all historical revisions; a value >= 0 is recommended".to_owned());
        }
        out
    }

    fn validate_name(&self, name: &str) -> Vec<String> {
        names::dns_label(name)
    }

    fn validate_create(&self, object: &Value) -> Vec<FieldError> {
        validation::validate(object)
    }

    fn validate_update(&self, new: &Value, old: &Value) -> Vec<FieldError> {
        validation::change(new, old)
    }

    fn validate_status_update(&self, new: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = rules::validate(&[Rule::Within("status", validation::STATUS)], new);
        errors.extend(workload::decremented(new, old));
        errors
    }

    fn cells(&self, object: &Value, now: Instant) -> Vec<Value> {
        let ready = format!(
            "{}/{}",
            workload::number(object, &["status", "readyReplicas"]),
            workload::number(object, &["spec", "replicas"])
        );
        let [names, images, _] = workload::wide_cells(object);
        vec![cells::name(object), ready.into(), cells::age(object, now), names, images]
    }
}

/// Drops fields of features that are off by default.
fn drop_disabled_fields(object: &mut Value) {
    pod_template::drop_disabled_fields(object, &["spec", "template", "spec"]);
    access::remove(object, &["spec", "updateStrategy", "rollingUpdate", "maxUnavailable"]);
}
