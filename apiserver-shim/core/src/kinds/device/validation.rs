//! Validation of the kinds of `resource.k8s.io`: what claims and classes have in common. `claim_status` has the rules of what
//! the scheduler and drivers write, `slice` those of ResourceSlices.

mod claim_status;
mod slice;

pub(in super::super) use claim_status::claim_status;
pub(in super::super) use slice::{SLICE, SLICE_DRIVER};

use std::collections::{BTreeSet, HashSet};

use super::super::persistent_volume::driver_name;
use super::super::rules::{Check, Rule, Site, apply};
use crate::cel::{Environment, Type};
use serde_json::Value;
use shim_model::access;
use shim_model::field::FieldError;
use shim_model::names;

/// Bounds of lists, keys and expressions.
const REQUESTS_MAX: usize = 32;
const CONSTRAINTS_MAX: usize = 32;
const CONFIGS_MAX: usize = 32;
const SELECTORS_MAX: usize = 32;
const SUBREQUESTS_MAX: usize = 8;
const EXPRESSION_MAX: usize = 10 * 1024;
const PARAMETERS_MAX: usize = 10 * 1024;
const DOMAIN_MAX: usize = 63;
const ID_MAX: usize = 32;
const POOL_NAME_MAX: usize = 253;
const BINDING_CONDITIONS_MAX: usize = 4;

const EFFECTS: [&str; 3] = ["NoExecute", "NoSchedule", "None"];

const SELECTOR: &[Rule] = &[Rule::Code(selector)];

const REQUEST: &[Rule] = &[
    Rule::Field("deviceClassName", &[Check::Required, Check::Format(names::dns_subdomain)]),
    Rule::Code(selectors),
    Rule::Code(allocation_mode),
    Rule::Each("tolerations", &[Rule::Code(toleration)]),
];

const OPAQUE: &[Rule] = &[Rule::Code(opaque)];

/// The rules of a claim's spec.
pub(in super::super) const CLAIM: &[Rule] =
    &[Rule::Within("devices", &[Rule::Code(requests), Rule::Code(constraints), Rule::Code(claim_config)])];

/// The rules of a class' spec.
pub(in super::super) const CLASS: &[Rule] =
    &[Rule::Code(selectors), Rule::Code(class_config), Rule::Code(extended_resource)];

/// Whether a list is short enough. The items of one that is too long are not validated.
fn is_bounded(list: &Site<'_>, most: usize, errors: &mut Vec<FieldError>) -> bool {
    if list.len() > most {
        errors.push(FieldError::too_many(list, list.len(), most));
    }
    list.len() <= most
}

/// Refuses items whose key occurs earlier in the list.
fn unique(list: &Site<'_>, key: fn(&Site<'_>) -> Value, errors: &mut Vec<FieldError>) {
    let mut seen: HashSet<Value> = HashSet::new();
    for item in list.items() {
        let key = key(&item);
        if seen.contains(&key) {
            errors.push(FieldError::duplicate(item, key));
        } else {
            seen.insert(key);
        }
    }
}

fn name_of(item: &Site<'_>) -> Value {
    item.at("name").text().into()
}

fn text_of(item: &Site<'_>) -> Value {
    item.text().into()
}

fn selectors(holder: &Site<'_>, errors: &mut Vec<FieldError>) {
    let list = holder.at("selectors");
    if is_bounded(&list, SELECTORS_MAX, errors) {
        list.items().for_each(|item| apply(SELECTOR, &item, errors));
    }
}

fn selector(selector: &Site<'_>, errors: &mut Vec<FieldError>) {
    let cel = selector.at("cel");
    if !cel.is_set() {
        return errors.push(cel.required(""));
    }
    let expression = cel.at("expression");
    if expression.text().len() > EXPRESSION_MAX {
        return errors.push(FieldError::too_long(expression, EXPRESSION_MAX));
    }
    let why = match device_environment().compile(expression.text()) {
        Err(error) => error.detail(),
        Ok(program) if matches!(program.result_type(), Type::Bool | Type::Dyn) => return,
        Ok(program) => {
            format!("must evaluate to bool or the unknown type, not {}", program.result_type())
        }
    };
    errors.push(FieldError::invalid(expression, expression.text(), why));
}

/// The names of an expression that selects devices.
fn device_environment() -> Environment {
    let by_domain = |value: Type| Type::map(Type::String, Type::map(Type::String, value));
    let device = Type::object(
        "kubernetes.DRADevice",
        &[
            ("driver", Type::String),
            ("allowMultipleAllocations", Type::Bool),
            ("attributes", by_domain(Type::Dyn)),
            ("capacity", by_domain(Type::Opaque("kubernetes.Quantity"))),
        ],
    );
    Environment::default().variable("device", device)
}

fn allocation_mode(request: &Site<'_>, errors: &mut Vec<FieldError>) {
    let (mode, count) = (request.at("allocationMode"), request.at("count"));
    let number = count.int().unwrap_or(0);
    match mode.text() {
        "All" if number != 0 => {
            errors.push(count.invalid("must not be specified when allocationMode is 'All'"));
        }
        "All" => {}
        "ExactCount" if number <= 0 => {
            errors.push(FieldError::invalid(count, number, "must be greater than zero"));
        }
        "ExactCount" => {}
        _ => errors.push(mode.not_supported(&["All", "ExactCount"])),
    }
}

fn toleration(toleration: &Site<'_>, errors: &mut Vec<FieldError>) {
    let (key, value, operator) = (toleration.at("key"), toleration.at("value"), toleration.at("operator"));
    if !key.text().is_empty() {
        errors.extend(key.format(names::qualified));
    }
    match operator.text() {
        "Exists" if !value.text().is_empty() => {
            errors.push(value.invalid("must be empty for operator `Exists`"));
        }
        "Exists" => {}
        "Equal" => errors.extend(value.format(names::label_value)),
        "" => errors.push(operator.required("")),
        _ => errors.push(operator.not_supported(&["Equal", "Exists"])),
    }
    let effect = toleration.at("effect");
    if !effect.text().is_empty() && !EFFECTS.contains(&effect.text()) {
        errors.push(effect.not_supported(&EFFECTS));
    }
}

fn requests(devices: &Site<'_>, errors: &mut Vec<FieldError>) {
    let list = devices.at("requests");
    if !is_bounded(&list, REQUESTS_MAX, errors) {
        return;
    }
    for request in list.items() {
        label(&request.at("name"), errors);
        let (exactly, first) = (request.at("exactly"), request.at("firstAvailable"));
        let why = "exactly one of `exactly` or `firstAvailable` is required";
        match (exactly.is_set(), first.len() > 0) {
            (false, false) => errors.push(request.required(why)),
            (true, true) => {
                let why = format!("{why}, but multiple fields are set");
                errors.push(FieldError::invalid_shown(request, "null", why));
            }
            (true, false) => apply(REQUEST, &exactly, errors),
            (false, true) => subrequests(&first, errors),
        }
    }
    unique(&list, name_of, errors);
}

fn subrequests(list: &Site<'_>, errors: &mut Vec<FieldError>) {
    if !is_bounded(list, SUBREQUESTS_MAX, errors) {
        return;
    }
    for request in list.items() {
        label(&request.at("name"), errors);
        apply(REQUEST, &request, errors);
    }
    unique(list, name_of, errors);
}

fn label(name: &Site<'_>, errors: &mut Vec<FieldError>) {
    let wrong = names::dns_label(name.text()).into_iter();
    errors.extend(wrong.map(|why| FieldError::invalid(name, name.text(), why)));
}

/// Whether a claim has a request of this name, or a request and a subrequest.
fn has_request(devices: &Value, name: &str) -> bool {
    let (request, sub) = name.split_once('/').map_or((name, None), |(r, s)| (r, Some(s)));
    let named =
        |list: &[Value], name: &str| list.iter().rfind(|item| access::text(item, &["name"]) == name).cloned();
    let found = named(access::list(devices, &["requests"]), request);
    match (found, sub) {
        (None, _) => false,
        (Some(_), None) => true,
        (Some(request), Some(sub)) => named(access::list(&request, &["firstAvailable"]), sub).is_some(),
    }
}

/// A reference to a request of the claim whose `devices` these are.
fn request_reference(name: &Site<'_>, devices: &Value, errors: &mut Vec<FieldError>) {
    let why = "must be the name of a request in the claim or the name of a request and a subrequest separated by '/'";
    let unknown = || FieldError::invalid(name, name.text(), why);
    let parts: Vec<&str> = name.text().split('/').collect();
    if parts.len() > 2 {
        return errors.push(unknown());
    }
    for part in parts {
        let wrong = names::dns_label(part).into_iter();
        errors.extend(wrong.map(|why| FieldError::invalid(name, part, why)));
    }
    if !has_request(devices, name.text()) {
        errors.push(unknown());
    }
}

fn request_references(list: &Site<'_>, devices: &Value, errors: &mut Vec<FieldError>) {
    if is_bounded(list, REQUESTS_MAX, errors) {
        list.items().for_each(|name| request_reference(&name, devices, errors));
        unique(list, text_of, errors);
    }
}

fn constraints(devices: &Site<'_>, errors: &mut Vec<FieldError>) {
    let list = devices.at("constraints");
    if !is_bounded(&list, CONSTRAINTS_MAX, errors) {
        return;
    }
    for constraint in list.items() {
        request_references(&constraint.at("requests"), devices.value, errors);
        let (same, distinct) = (constraint.at("matchAttribute"), constraint.at("distinctAttribute"));
        if same.is_set() {
            fully_qualified(&same, errors);
        } else if distinct.is_set() {
            fully_qualified(&distinct, errors);
        } else {
            let why = "exactly one of \"matchAttribute\" or \"distinctAttribute\" is required, but multiple fields are set";
            errors.push(constraint.required(why));
        }
    }
}

fn claim_config(devices: &Site<'_>, errors: &mut Vec<FieldError>) {
    let list = devices.at("config");
    if !is_bounded(&list, CONFIGS_MAX, errors) {
        return;
    }
    for config in list.items() {
        request_references(&config.at("requests"), devices.value, errors);
        apply(OPAQUE, &config, errors);
    }
}

fn class_config(class: &Site<'_>, errors: &mut Vec<FieldError>) {
    let list = class.at("config");
    if is_bounded(&list, CONFIGS_MAX, errors) {
        list.items().for_each(|config| apply(OPAQUE, &config, errors));
    }
}

fn extended_resource(class: &Site<'_>, errors: &mut Vec<FieldError>) {
    let name = class.at("extendedResourceName");
    if name.is_set() && !super::super::pod_template::is_extended(name.text()) {
        errors.push(FieldError::invalid(name, name.text(), "must be a valid extended resource name"));
    }
}

/// A name of an attribute or capacity: an identifier of C, which may have a domain.
fn qualified(site: &Site<'_>, name: &str, errors: &mut Vec<FieldError>) {
    let parts: Vec<&str> = name.split('/').collect();
    let (domain, id) = match parts[..] {
        [id] => (None, id),
        [domain, id] => (Some(domain), id),
        // Upstream accepts names with more slashes.
        _ => return,
    };
    match domain {
        None => {}
        Some("") => errors.push(FieldError::invalid(site, "", "the domain must not be empty")),
        Some(domain) => domain_errors(site, domain, errors),
    }
    if id.is_empty() && domain.is_some() {
        return errors.push(FieldError::invalid(site, "", "the name must not be empty"));
    }
    if id.len() > ID_MAX {
        errors.push(FieldError::too_long(site, ID_MAX));
    }
    errors.extend(names::c_identifier(id).into_iter().map(|why| FieldError::invalid(site, id, why)));
}

fn domain_errors(site: &Site<'_>, domain: &str, errors: &mut Vec<FieldError>) {
    if domain.len() > DOMAIN_MAX {
        errors.push(FieldError::too_long(site, DOMAIN_MAX));
    }
    let wrong = names::dns_subdomain(&domain.to_lowercase()).into_iter();
    errors.extend(wrong.map(|why| FieldError::invalid(site, domain, why)));
}

fn fully_qualified(name: &Site<'_>, errors: &mut Vec<FieldError>) {
    qualified(name, name.text(), errors);
    if !name.text().contains('/') {
        let why = "a fully qualified name must be a domain and a name separated by a slash";
        errors.push(FieldError::invalid(name, name.text(), why));
    }
}

fn opaque(config: &Site<'_>, errors: &mut Vec<FieldError>) {
    let opaque = config.at("opaque");
    if !opaque.is_set() {
        return errors.push(opaque.required(""));
    }
    driver_name(&opaque.at("driver"), errors);
    json_object(&opaque.at("parameters"), PARAMETERS_MAX, errors);
}

/// Data of a driver: an object of at most so many bytes.
fn json_object(data: &Site<'_>, most: usize, errors: &mut Vec<FieldError>) {
    if !data.is_set() {
        errors.push(data.required(""));
    } else if data.value.to_string().len() > most {
        errors.push(FieldError::too_long(data, most));
    } else if !data.value.is_object() {
        errors.push(FieldError::invalid(data, "<value omitted>", "must be a valid JSON object"));
    }
}

fn pool_name(name: &Site<'_>, errors: &mut Vec<FieldError>) {
    if name.text().is_empty() {
        return errors.push(name.required(""));
    }
    if name.text().len() > POOL_NAME_MAX {
        errors.push(FieldError::too_long(name, POOL_NAME_MAX));
    }
    for part in name.text().split('/') {
        let wrong = names::dns_subdomain(part).into_iter();
        errors.extend(wrong.map(|why| FieldError::invalid(name, part, why)));
    }
}

/// The conditions that hold up a Pod until its device is ready, and those that end the wait.
fn binding_conditions(device: &Site<'_>, errors: &mut Vec<FieldError>) {
    let (ready, failed) = (device.at("bindingConditions"), device.at("bindingFailureConditions"));
    for list in [&ready, &failed] {
        if is_bounded(list, BINDING_CONDITIONS_MAX, errors) {
            list.items().for_each(|name| {
                let wrong = names::qualified(name.text()).into_iter();
                errors.extend(wrong.map(|why| FieldError::invalid(name, name.text(), why)));
            });
        }
    }
    unique(&ready, text_of, errors);
    let mut seen: BTreeSet<&str> = BTreeSet::new();
    for name in failed.items() {
        if !seen.insert(name.text()) {
            errors.push(name.duplicate());
        }
        if ready.items().any(|other| other.text() == name.text()) {
            let why = "bindingFailureConditions must not overlap with bindingConditions";
            errors.push(name.invalid(why));
        }
    }
    match (ready.len(), failed.len()) {
        (0, 1..) => {
            let why = "bindingConditions are required to use bindingFailureConditions";
            errors.push(ready.invalid(why));
        }
        (1.., 0) => {
            let why = "bindingFailureConditions are required to use bindingConditions";
            errors.push(failed.invalid(why));
        }
        _ => {}
    }
}
