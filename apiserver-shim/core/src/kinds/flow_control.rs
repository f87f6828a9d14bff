//! Kinds of `flowcontrol.apiserver.k8s.io`.

pub(super) mod validation;

use super::{Strategy, cells, metadata};
use serde_json::{Value, json};
use shim_model::access::{self, as_object, set_default, set_if_zero};
use shim_model::field::FieldError;
use shim_model::time::Instant;

pub(super) struct FlowSchema;
pub(super) struct PriorityLevelConfiguration;

impl Strategy for FlowSchema {
    fn default(&self, object: &mut Value) {
        set_if_zero(access::object_mut(object, &["spec"]), "matchingPrecedence", 1000);
    }

    fn has_generation(&self) -> bool {
        true
    }

    fn has_status(&self) -> bool {
        true
    }

    fn validate_create(&self, object: &Value) -> Vec<FieldError> {
        validation::schema(object)
    }

    fn prepare_status_update(&self, new: &mut Value, old: &Value) {
        access::copy(old, new, &["spec"]);
        metadata::restore(new, old);
    }

    fn cells(&self, object: &Value, now: Instant) -> Vec<Value> {
        let method = access::text(object, &["spec", "distinguisherMethod", "type"]);
        let dangling = access::list(object, &["status", "conditions"])
            .iter()
            .find(|c| access::text(c, &["type"]) == "Dangling")
            .map_or("?", |c| access::text(c, &["status"]));
        vec![
            cells::name(object),
            access::text(object, &["spec", "priorityLevelConfiguration", "name"]).into(),
            object["spec"]["matchingPrecedence"].clone(),
            cells::or(method, "<none>").into(),
            cells::age(object, now),
            dangling.into(),
        ]
    }
}

impl Strategy for PriorityLevelConfiguration {
    fn default(&self, object: &mut Value) {
        let spec = access::object_mut(object, &["spec"]);
        let exempt = spec.get("type").is_some_and(|t| t == "Exempt");
        if exempt {
            let exempt = as_object(spec.entry("exempt").or_insert_with(|| json!({})));
            set_default(exempt, "nominalConcurrencyShares", 0);
            set_default(exempt, "lendablePercent", 0);
        }
        if let Some(limited) = spec.get_mut("limited") {
            let limited = as_object(limited);
            if limited.get("nominalConcurrencyShares").is_none_or(Value::is_null) {
                limited.insert("nominalConcurrencyShares".into(), 30.into());
            }
            set_default(limited, "lendablePercent", 0);
            let response = as_object(limited.entry("limitResponse").or_insert_with(|| json!({})));
            if let Some(queuing) = response.get_mut("queuing") {
                let queuing = as_object(queuing);
                set_if_zero(queuing, "queues", 64);
                set_if_zero(queuing, "queueLengthLimit", 50);
                set_if_zero(queuing, "handSize", 8);
            }
        }
    }

    fn has_generation(&self) -> bool {
        true
    }

    fn has_status(&self) -> bool {
        true
    }

    fn validate_create(&self, object: &Value) -> Vec<FieldError> {
        validation::priority_level(object)
    }

    fn prepare_status_update(&self, new: &mut Value, old: &Value) {
        access::copy(old, new, &["spec"]);
        metadata::restore(new, old);
    }

    fn cells(&self, object: &Value, now: Instant) -> Vec<Value> {
        let shown = |path: &[&str]| match access::int(object, path) {
            Some(number) => Value::from(number),
            None => "<none>".into(),
        };
        let queuing = |key: &str| shown(&["spec", "limited", "limitResponse", "queuing", key]);
        vec![
            cells::name(object),
            access::text(object, &["spec", "type"]).into(),
            shown(&["spec", "limited", "nominalConcurrencyShares"]),
            queuing("queues"),
            queuing("handSize"),
            queuing("queueLengthLimit"),
            cells::age(object, now),
        ]
    }
}
