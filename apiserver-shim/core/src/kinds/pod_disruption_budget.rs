//! PodDisruptionBudgets.

use super::pod::dump;
use super::rules::{self, Check, Rule, Site};
use super::{CreateContext, Strategy, cells, conditions, workload};
use serde_json::Value;
use shim_model::access;
use shim_model::field::FieldError;
use shim_model::names;
use shim_model::time::Instant;

pub(super) struct PodDisruptionBudget;

/// The rules of a budget.
pub(super) const BUDGET: &[Rule] = &[Rule::Within(
    "spec",
    &[
        Rule::Code(one_amount),
        Rule::Field("minAvailable", &[Check::Code(amount)]),
        Rule::Field("maxUnavailable", &[Check::Code(amount)]),
        Rule::Field("selector", &[Check::Code(selector)]),
        Rule::Field("unhealthyPodEvictionPolicy", &[Check::Enum(&["AlwaysAllow", "IfHealthyBudget"])]),
    ],
)];

/// The rules of a status.
pub(super) const STATUS: &[Rule] = &[
    Rule::Field("conditions", &[Check::Code(conditions::validate)]),
    Rule::Field("disruptionsAllowed", &[Check::NonNegative]),
    Rule::Field("currentHealthy", &[Check::NonNegative]),
    Rule::Field("desiredHealthy", &[Check::NonNegative]),
    Rule::Field("expectedPods", &[Check::NonNegative]),
];

fn one_amount(spec: &Site<'_>, errors: &mut Vec<FieldError>) {
    if spec.at("minAvailable").is_set() && spec.at("maxUnavailable").is_set() {
        let shown = dump::compact("PodDisruptionBudgetSpec", spec.value);
        let why = "minAvailable and maxUnavailable cannot be both set";
        errors.push(FieldError::invalid_shown(spec, shown, why));
    }
}

fn amount(amount: &Site<'_>, errors: &mut Vec<FieldError>) {
    errors.extend(workload::count_or_percent(amount.value, &amount.to_string()));
    errors.extend(workload::at_most_everything(amount));
}

fn selector(selector: &Site<'_>, errors: &mut Vec<FieldError>) {
    errors.extend(workload::label_selector(selector.value, format_args!("{selector}")));
}

impl Strategy for PodDisruptionBudget {
    fn unconditional_update(&self) -> bool {
        false
    }

    fn has_generation(&self) -> bool {
        true
    }

    fn has_status(&self) -> bool {
        true
    }

    fn prepare_create(&self, object: &mut Value, _context: &CreateContext<'_>) {
        let status = access::object_mut(object, &["status"]);
        for count in ["disruptionsAllowed", "currentHealthy", "desiredHealthy", "expectedPods"] {
            status.insert(count.into(), 0.into());
        }
    }

    fn validate_name(&self, name: &str) -> Vec<String> {
        names::path_segment(name)
    }

    fn validates_metadata(&self) -> bool {
        false
    }

    fn validate_create(&self, object: &Value) -> Vec<FieldError> {
        rules::validate(BUDGET, object)
    }

    fn validate_status_update(&self, new: &Value, _old: &Value) -> Vec<FieldError> {
        rules::validate(&[Rule::Within("status", STATUS)], new)
    }

    fn cells(&self, object: &Value, now: Instant) -> Vec<Value> {
        let amount = |key: &str| match access::get(object, &["spec", key]) {
            None => "N/A".to_owned(),
            Some(Value::String(text)) => text.clone(),
            Some(other) => other.to_string(),
        };
        vec![
            cells::name(object),
            amount("minAvailable").into(),
            amount("maxUnavailable").into(),
            workload::number(object, &["status", "disruptionsAllowed"]).into(),
            cells::age(object, now),
        ]
    }
}
