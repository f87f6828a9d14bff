//! ResourceQuotas.

use std::collections::BTreeSet;

use serde_json::Value;
use shim_model::access;
use shim_model::field::FieldError;
use shim_model::time::Instant;

use super::pod::dump;
use super::pod_template::round_list;
use super::rules::Site;
use super::{Strategy, cells, resource_names};
use crate::resource_list::ResourceList;

pub(super) struct ResourceQuota;

const SCOPES: [&str; 7] = [
    "Terminating",
    "NotTerminating",
    "BestEffort",
    "NotBestEffort",
    "PriorityClass",
    "VolumeAttributesClass",
    "CrossNamespacePodAffinity",
];
const EXCLUSIVE: [[&str; 2]; 2] = [["BestEffort", "NotBestEffort"], ["Terminating", "NotTerminating"]];

/// Whether a scope selects objects that a limit counts.
fn applies(scope: &str, limit: &str) -> bool {
    let compute = ["cpu", "memory", "limits.cpu", "limits.memory", "requests.cpu", "requests.memory"];
    match scope {
        "BestEffort" => limit == "pods",
        "VolumeAttributesClass" => ["persistentvolumeclaims", "requests.storage"].contains(&limit),
        scope if SCOPES.contains(&scope) => limit == "pods" || compute.contains(&limit),
        _ => true,
    }
}

/// Validates the names and amounts of a resource list.
fn amounts(list: &Site<'_>, errors: &mut Vec<FieldError>) {
    for (name, amount) in list.entries() {
        let at = amount.to_string();
        errors.extend(resource_names::validate(name, &at));
        if !name.contains('/') && !resource_names::is_standard_for_quota(name) {
            errors.push(FieldError::invalid(&at, name, "must be a standard resource for quota"));
        }
        let Some(quantity) = crate::resource_list::amount(amount.value) else { continue };
        let invalid = |why: &str| FieldError::invalid(&at, quantity.to_string(), why);
        if quantity.sign() < 0 {
            errors.push(invalid("must be greater than or equal to 0"));
        }
        if resource_names::is_integer(name) && quantity.milli() % 1000 != 0 {
            errors.push(invalid("must be an integer"));
        }
    }
}

fn scopes(spec: &Site<'_>, errors: &mut Vec<FieldError>) {
    let list = spec.at("scopes");
    let known: Vec<&str> = list.items().map(|scope| scope.value.as_str().unwrap_or("")).collect();
    let hard = spec.at("hard");
    for scope in &known {
        if !SCOPES.contains(scope) {
            errors.push(list.invalid("unsupported scope"));
        }
        for (limit, _) in hard.entries() {
            if resource_names::is_standard_for_quota(limit) && !applies(scope, limit) {
                errors.push(list.invalid("unsupported scope applied to resource"));
            }
        }
    }
    conflicts(&known, &list, errors);
}

fn conflicts(known: &[&str], list: &Site<'_>, errors: &mut Vec<FieldError>) {
    for pair in EXCLUSIVE {
        if pair.iter().all(|scope| known.contains(scope)) {
            errors.push(list.invalid("conflicting scopes"));
        }
    }
}

fn scope_selector(spec: &Site<'_>, errors: &mut Vec<FieldError>) {
    let selector = spec.at("scopeSelector");
    let terms = selector.at("matchExpressions");
    let hard = spec.at("hard");
    let mut known = Vec::new();
    for term in terms.items() {
        let text = |name: &str| access::text(term.value, &[name]).to_owned();
        let (scope, operator) = (text("scopeName"), text("operator"));
        if !SCOPES.contains(&&*scope) {
            errors.push(FieldError::invalid(terms.at("scopeName"), &*scope, "unsupported scope"));
        }
        for (limit, _) in hard.entries() {
            if resource_names::is_standard_for_quota(limit) && !applies(&scope, limit) {
                let shown = dump::compact("ScopeSelector", selector.value);
                let why = "unsupported scope applied to resource";
                errors.push(FieldError::invalid_shown(terms, shown, why));
            }
        }
        let has_values = !["PriorityClass", "VolumeAttributesClass"].contains(&&*scope);
        if SCOPES.contains(&&*scope) && has_values && operator != "Exists" {
            let why = "must be 'Exists' when scope is any of ResourceQuotaScopeTerminating, ResourceQuotaScopeNotTerminating, ResourceQuotaScopeBestEffort, ResourceQuotaScopeNotBestEffort or ResourceQuotaScopeCrossNamespacePodAffinity";
            errors.push(FieldError::invalid(terms.at("operator"), &*operator, why));
        }
        let values = term.at("values");
        match operator.as_str() {
            "In" | "NotIn" if values.len() == 0 => {
                let why = "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector";
                errors.push(FieldError::required(terms.at("values"), why));
            }
            "In" | "NotIn" => {}
            "Exists" | "DoesNotExist" if values.len() != 0 => {
                let why = "must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector";
                errors.push(FieldError::invalid(terms.at("values"), values.value.clone(), why));
            }
            "Exists" | "DoesNotExist" => {}
            _ => {
                let why = "not a valid selector operator";
                errors.push(FieldError::invalid(terms.at("operator"), &*operator, why));
            }
        }
        known.push(scope);
    }
    let known: Vec<&str> = known.iter().map(String::as_str).collect();
    conflicts(&known, &spec.at("scopes"), errors);
}

fn validate_status(object: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let root = Site::root(object);
    let status = root.at("status");
    amounts(&status.at("hard"), &mut errors);
    amounts(&status.at("used"), &mut errors);
    errors
}

impl Strategy for ResourceQuota {
    fn returns_deleted_object(&self) -> bool {
        true
    }

    fn default(&self, object: &mut Value) {
        for (part, list) in [("spec", "hard"), ("status", "hard"), ("status", "used")] {
            round_list(object.get_mut(part).and_then(|part| part.get_mut(list)));
        }
    }

    fn has_status(&self) -> bool {
        true
    }

    fn validate_create(&self, object: &Value) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let root = Site::root(object);
        let spec = root.at("spec");
        amounts(&spec.at("hard"), &mut errors);
        scopes(&spec, &mut errors);
        scope_selector(&spec, &mut errors);
        errors
    }

    fn validate_update(&self, new: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = self.validate_create(new);
        let scopes = |quota| access::list(quota, &["spec", "scopes"]).iter().filter_map(Value::as_str);
        if scopes(new).collect::<BTreeSet<_>>() != scopes(old).collect::<BTreeSet<_>>() {
            let shown = access::get(new, &["spec", "scopes"]).cloned().unwrap_or_default();
            errors.push(FieldError::invalid("spec.scopes", shown, "field is immutable"));
        }
        errors
    }

    fn validate_status_update(&self, new: &Value, _old: &Value) -> Vec<FieldError> {
        validate_status(new)
    }

    fn warnings(&self, new: &Value, old: Option<&Value>) -> Vec<String> {
        if old.is_some() {
            return Vec::new();
        }
        let hard = ResourceList::at(new, &["spec", "hard"]);
        let warn = |name: &&str| {
            let mut request_name = format!("requests.{name}");
            if !hard.contains(&request_name) && ["cpu", "memory"].contains(name) {
                request_name = (*name).to_owned();
            }
            let limit_name = format!("limits.{name}");
            let (request, limit) = (hard.get(&request_name)?, hard.get(&limit_name)?);
            let text = format!(
                "ResourceQuota {request_name} ({request}) should be less than {limit_name} ({limit})"
            );
            (request > limit).then_some(text)
        };
        ["cpu", "memory", "storage", "ephemeral-storage"].iter().filter_map(warn).collect()
    }

    fn cells(&self, object: &Value, now: Instant) -> Vec<Value> {
        let [hard, used] = ["hard", "used"].map(|list| ResourceList::at(object, &["status", list]));
        let (mut requests, mut limits) = (Vec::new(), Vec::new());
        for (name, most) in hard.iter() {
            let used = used.get(name).map_or_else(|| "0".to_owned(), |used| used.to_string());
            let column = if name.starts_with("limits.") { &mut limits } else { &mut requests };
            column.push(format!("{name}: {used}/{most}"));
        }
        vec![
            cells::name(object),
            requests.join(", ").into(),
            limits.join(", ").into(),
            cells::age(object, now),
        ]
    }
}
