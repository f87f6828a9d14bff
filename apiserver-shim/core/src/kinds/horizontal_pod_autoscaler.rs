//! HorizontalPodAutoscalers, in both served versions; they are stored as `autoscaling/v2`. Rules and cells of
//! `autoscaling/v1` are those of the converted object, as upstream has them on its internal type.

pub(crate) mod convert;
pub(super) mod validation;

use super::{Strategy, cells};
use serde_json::{Map, Value, json};
use shim_model::access::{self, as_object, set_default, set_if_zero};
use shim_model::field::FieldError;
use shim_model::time::Instant;

/// `autoscaling/v2`.
pub(super) struct HorizontalPodAutoscaler;

/// `autoscaling/v1`.
pub(super) struct HorizontalPodAutoscalerV1;

/// Metrics in a table cell.
const SHOWN_MAX: usize = 2;

impl Strategy for HorizontalPodAutoscaler {
    fn default(&self, object: &mut Value) {
        let spec = access::object_mut(object, &["spec"]);
        set_default(spec, "minReplicas", 1);
        set_if_zero(spec, "metrics", json!([convert::cpu_metric(convert::CPU_DEFAULT)]));
        if let Some(behavior) = spec.get_mut("behavior") {
            let behavior = as_object(behavior);
            let up = as_object(behavior.entry("scaleUp").or_insert_with(|| json!({})));
            set_default(up, "stabilizationWindowSeconds", 0);
            let policies = json!([policy("Pods", 4), policy("Percent", 100)]);
            default_rules(up, policies);
            let down = as_object(behavior.entry("scaleDown").or_insert_with(|| json!({})));
            default_rules(down, json!([policy("Percent", 100)]));
        }
    }

    fn has_status(&self) -> bool {
        true
    }

    fn prepare_create(&self, object: &mut Value, _context: &super::CreateContext<'_>) {
        let status = access::object_mut(object, &["status"]);
        status.insert("currentMetrics".into(), Value::Null);
        status.insert("desiredReplicas".into(), 0.into());
    }

    fn validate_create(&self, object: &Value) -> Vec<FieldError> {
        validation::validate(object)
    }

    fn validate_status_update(&self, new: &Value, _old: &Value) -> Vec<FieldError> {
        validation::status(new)
    }

    fn cells(&self, object: &Value, now: Instant) -> Vec<Value> {
        let text = |path: &[&str]| access::text(object, path);
        let target = ["spec", "scaleTargetRef"];
        let reference =
            format!("{}/{}", text(&[target[0], target[1], "kind"]), text(&[target[0], target[1], "name"]));
        let least = access::int(object, &["spec", "minReplicas"]);
        vec![
            cells::name(object),
            reference.into(),
            targets(object).into(),
            least.map_or_else(|| "<unset>".to_owned(), |n| n.to_string()).into(),
            access::int(object, &["spec", "maxReplicas"]).unwrap_or(0).into(),
            access::int(object, &["status", "currentReplicas"]).unwrap_or(0).into(),
            cells::age(object, now),
        ]
    }
}

fn policy(kind: &str, value: i64) -> Value {
    json!({"type": kind, "value": value, "periodSeconds": 15})
}

fn default_rules(rules: &mut Map<String, Value>, policies: Value) {
    set_default(rules, "selectPolicy", "Max");
    set_default(rules, "policies", policies);
}

impl Strategy for HorizontalPodAutoscalerV1 {
    fn default(&self, object: &mut Value) {
        let other_metrics = access::get(object, &["metadata", "annotations", convert::METRICS]).is_some();
        let spec = access::object_mut(object, &["spec"]);
        set_default(spec, "minReplicas", 1);
        if !other_metrics {
            set_default(spec, "targetCPUUtilizationPercentage", convert::CPU_DEFAULT);
        }
    }

    fn has_status(&self) -> bool {
        true
    }

    fn prepare_create(&self, object: &mut Value, _context: &super::CreateContext<'_>) {
        let status = access::object_mut(object, &["status"]);
        status.insert("currentReplicas".into(), 0.into());
        status.insert("desiredReplicas".into(), 0.into());
    }

    fn validate_create(&self, object: &Value) -> Vec<FieldError> {
        validation::validate(&convert::to_v2(object.clone()))
    }

    fn validate_status_update(&self, new: &Value, _old: &Value) -> Vec<FieldError> {
        validation::status(&convert::to_v2(new.clone()))
    }

    fn cells(&self, object: &Value, now: Instant) -> Vec<Value> {
        HorizontalPodAutoscaler.cells(&convert::to_v2(object.clone()), now)
    }
}

fn targets(object: &Value) -> String {
    let metrics = access::list(object, &["spec", "metrics"]);
    let current = access::list(object, &["status", "currentMetrics"]);
    if metrics.is_empty() {
        return "<none>".to_owned();
    }
    let shown: Vec<String> =
        metrics.iter().enumerate().map(|(i, metric)| target(metric, current.get(i))).collect();
    cells::first_of(&shown, SHOWN_MAX, ", ")
}

fn target(metric: &Value, current: Option<&Value>) -> String {
    let kind = access::text(metric, &["type"]);
    let member = match kind {
        "External" => "external",
        "Pods" => "pods",
        "Object" => "object",
        "Resource" => "resource",
        "ContainerResource" => "containerResource",
        _ => return "<unknown type>".to_owned(),
    };
    let wanted = |key: &str| access::get(metric, &[member, "target", key]).map(show);
    let now = |key: &str| {
        let value = current.and_then(|c| access::get(c, &[member, "current", key]));
        value.map_or_else(|| "<unknown>".to_owned(), show)
    };
    let percent = |text: String| if text == "<unknown>" { text } else { format!("{text}%") };
    let average = match (member, wanted("averageUtilization"), wanted("averageValue"), wanted("value")) {
        ("external" | "object", _, Some(average), _) => {
            format!("{}/{average} (avg)", now("averageValue"))
        }
        ("external" | "object", _, None, value) => {
            format!("{}/{}", now("value"), value.unwrap_or_else(|| "<auto>".to_owned()))
        }
        ("pods", _, average, _) => format!("{}/{}", now("averageValue"), average.unwrap_or_default()),
        (_, _, Some(average), _) => format!("{}/{average}", now("averageValue")),
        (_, utilization, None, _) => {
            let wanted = utilization.map_or_else(|| "<auto>".to_owned(), |u| format!("{u}%"));
            format!("{}/{wanted}", percent(now("averageUtilization")))
        }
    };
    match member {
        "resource" | "containerResource" => {
            format!("{}: {average}", access::text(metric, &[member, "name"]))
        }
        _ => average,
    }
}

fn show(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
