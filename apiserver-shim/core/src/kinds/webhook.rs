//! Webhook configurations and admission policies of `admissionregistration.k8s.io`.

mod policies;
pub(super) mod validation;

use super::rules::{self, Check, Rule};
use super::{Strategy, cells, conditions, warnings};
use std::sync::Arc;

use serde_json::{Map, Value, json};
use shim_model::access::{self, as_object, set_default};
use shim_model::field::FieldError;
use shim_model::time::Instant;

/// A webhook configuration of either kind.
pub(super) struct WebhookConfiguration {
    /// Whether its webhooks may change objects.
    pub mutating: bool,
}

/// An admission policy of either kind.
pub(super) struct AdmissionPolicy {
    /// Whether it changes objects.
    pub mutating: bool,
}

/// A binding of a policy of either kind.
pub(super) struct AdmissionPolicyBinding {
    /// Whether the policy changes objects.
    pub mutating: bool,
}

/// The strategy of a kind of this group.
pub(super) fn builtin(kind: &str) -> Arc<dyn Strategy> {
    match kind {
        "ValidatingWebhookConfiguration" => Arc::new(WebhookConfiguration { mutating: false }),
        "MutatingWebhookConfiguration" => Arc::new(WebhookConfiguration { mutating: true }),
        "ValidatingAdmissionPolicy" => Arc::new(AdmissionPolicy { mutating: false }),
        "MutatingAdmissionPolicy" => Arc::new(AdmissionPolicy { mutating: true }),
        "ValidatingAdmissionPolicyBinding" => Arc::new(AdmissionPolicyBinding { mutating: false }),
        "MutatingAdmissionPolicyBinding" => Arc::new(AdmissionPolicyBinding { mutating: true }),
        other => super::unknown(other),
    }
}

impl Strategy for WebhookConfiguration {
    fn unconditional_update(&self) -> bool {
        false
    }

    fn default(&self, object: &mut Value) {
        for webhook in access::list_mut(object, &["webhooks"]).into_iter().flatten() {
            let webhook = as_object(webhook);
            set_default(webhook, "failurePolicy", "Fail");
            set_default(webhook, "timeoutSeconds", 10);
            if self.mutating {
                set_default(webhook, "reinvocationPolicy", "Never");
            }
            default_matching(webhook);
            for rule in webhook.get_mut("rules").and_then(Value::as_array_mut).into_iter().flatten() {
                set_default(as_object(rule), "scope", "*");
            }
            let service = webhook.get_mut("clientConfig").and_then(|config| config.get_mut("service"));
            if let Some(service) = service {
                set_default(as_object(service), "port", 443);
            }
        }
    }

    fn has_generation(&self) -> bool {
        true
    }

    fn changes_generation(&self, new: &Value, old: &Value) -> bool {
        new.get("webhooks") != old.get("webhooks")
    }

    fn warnings(&self, new: &Value, _old: Option<&Value>) -> Vec<String> {
        warnings::static_suffix(new)
    }

    fn validate_create(&self, object: &Value) -> Vec<FieldError> {
        validation::webhooks(object, self.mutating)
    }

    fn cells(&self, object: &Value, now: Instant) -> Vec<Value> {
        let count = access::list(object, &["webhooks"]).len();
        vec![cells::name(object), count.into(), cells::age(object, now)]
    }
}

fn default_matching(matching: &mut Map<String, Value>) {
    set_default(matching, "matchPolicy", "Equivalent");
    set_default(matching, "namespaceSelector", json!({}));
    set_default(matching, "objectSelector", json!({}));
}

fn default_match_resources(resources: &mut Value) {
    default_matching(as_object(resources));
    for list in ["resourceRules", "excludeResourceRules"] {
        for rule in access::list_mut(resources, &[list]).into_iter().flatten() {
            set_default(as_object(rule), "scope", "*");
        }
    }
}

/// The rules of a policy's status.
const STATUS: &[Rule] = &[
    Rule::Within(
        "typeChecking",
        &[Rule::Each(
            "expressionWarnings",
            &[Rule::Field("warning", &[Check::Required]), Rule::Field("fieldRef", &[Check::Required])],
        )],
    ),
    Rule::Field("conditions", &[Check::Code(conditions::validate)]),
];

impl Strategy for AdmissionPolicy {
    fn unconditional_update(&self) -> bool {
        false
    }

    fn default(&self, object: &mut Value) {
        let spec = access::object_mut(object, &["spec"]);
        set_default(spec, "failurePolicy", "Fail");
        spec.get_mut("matchConstraints").into_iter().for_each(default_match_resources);
    }

    fn has_generation(&self) -> bool {
        true
    }

    fn has_status(&self) -> bool {
        !self.mutating
    }

    fn warnings(&self, new: &Value, _old: Option<&Value>) -> Vec<String> {
        warnings::static_suffix(new)
    }

    fn validate_create(&self, object: &Value) -> Vec<FieldError> {
        policies::policy(object, None, self.mutating)
    }

    fn validate_update(&self, new: &Value, old: &Value) -> Vec<FieldError> {
        policies::policy(new, Some(old), self.mutating)
    }

    fn validate_status_update(&self, new: &Value, _old: &Value) -> Vec<FieldError> {
        rules::validate(&[Rule::Within("status", STATUS)], new)
    }

    fn cells(&self, object: &Value, now: Instant) -> Vec<Value> {
        let list = if self.mutating { "mutations" } else { "validations" };
        let kind = match access::get(object, &["spec", "paramKind"]) {
            None => "<unset>".to_owned(),
            Some(kind) => {
                format!("{}/{}", access::text(kind, &["apiVersion"]), access::text(kind, &["kind"]))
            }
        };
        let count = access::list(object, &["spec", list]).len();
        vec![cells::name(object), count.into(), kind.into(), cells::age(object, now)]
    }
}

impl Strategy for AdmissionPolicyBinding {
    fn unconditional_update(&self) -> bool {
        false
    }

    fn default(&self, object: &mut Value) {
        let resources = object.get_mut("spec").and_then(|spec| spec.get_mut("matchResources"));
        resources.into_iter().for_each(default_match_resources);
    }

    fn has_generation(&self) -> bool {
        true
    }

    fn warnings(&self, new: &Value, _old: Option<&Value>) -> Vec<String> {
        warnings::static_suffix(new)
    }

    fn validate_create(&self, object: &Value) -> Vec<FieldError> {
        policies::binding(object, self.mutating)
    }

    fn cells(&self, object: &Value, now: Instant) -> Vec<Value> {
        let parameters = match access::get(object, &["spec", "paramRef"]) {
            None => "<unset>".to_owned(),
            Some(reference) => match (access::text(reference, &["name"]), reference.get("selector")) {
                ("", None) => "<unset>".to_owned(),
                ("", Some(selector)) => go_selector(selector),
                (name, _) => match access::text(reference, &["namespace"]) {
                    // Parameters without a namespace may have any.
                    "" => format!("*/{name}"),
                    namespace => format!("{namespace}/{name}"),
                },
            },
        };
        vec![
            cells::name(object),
            access::text(object, &["spec", "policyName"]).into(),
            parameters.into(),
            cells::age(object, now),
        ]
    }
}

/// A label selector as Go prints the struct.
fn go_selector(selector: &Value) -> String {
    let labels = access::entries(selector, &["matchLabels"]);
    let labels: String =
        labels.map(|(key, value)| format!("{key}: {},", value.as_str().unwrap_or(""))).collect();
    let expression = |of: &Value| {
        let text = |key: &str| access::text(of, &[key]).to_owned();
        let values = access::list(of, &["values"]).iter().filter_map(Value::as_str);
        let values: Vec<&str> = values.collect();
        let (key, operator) = (text("key"), text("operator"));
        format!("LabelSelectorRequirement{{Key:{key},Operator:{operator},Values:[{}],}},", values.join(" "))
    };
    let expressions: String = access::list(selector, &["matchExpressions"]).iter().map(expression).collect();
    format!(
        "&LabelSelector{{MatchLabels:map[string]string{{{labels}}},MatchExpressions:[]LabelSelectorRequirement{{{expressions}}},}}"
    )
}
