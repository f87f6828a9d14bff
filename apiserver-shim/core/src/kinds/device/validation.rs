//! Validation of the kinds of `resource.k8s.io`. Expressions in CEL are bounded in length and not compiled yet.

use super::super::persistent_volume::driver_name;
use super::super::pod_template;
use super::super::rules::{Check, Rule, Site, apply};
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
const DOMAIN_MAX: usize = 63;
const ID_MAX: usize = 32;
const POOL_NAME_MAX: usize = 253;
const DEVICES_MAX: usize = 128;
const ATTRIBUTES_MAX: usize = 32;
const VALUE_MAX: usize = 64;
const TAINTS_MAX: usize = 16;
const CONSUMERS_MAX: usize = 256;

const SELECTORS: &[Rule] = &[
    Rule::Field("selectors", &[Check::MaxItems(SELECTORS_MAX)]),
    Rule::Each("selectors", &[Rule::Field("cel", &[Check::Code(expression)]), Rule::Code(cel)]),
];

const REQUEST: &[Rule] = &[
    Rule::Field("deviceClassName", &[Check::Required, Check::Format(names::dns_subdomain)]),
    Rule::Code(selectors),
    Rule::Code(allocation_mode),
    Rule::Each("tolerations", &[Rule::Code(toleration)]),
];

const OPAQUE: &[Rule] = &[
    Rule::Code(opaque),
    Rule::Within("opaque", &[Rule::Field("driver", &[Check::Code(driver_name)]), Rule::Code(parameters)]),
];

/// The rules of a claim's spec.
pub(in super::super) const CLAIM: &[Rule] = &[Rule::Within(
    "devices",
    &[
        Rule::Code(requests),
        Rule::Field("constraints", &[Check::MaxItems(CONSTRAINTS_MAX)]),
        Rule::Code(constraints),
        Rule::Field("config", &[Check::MaxItems(CONFIGS_MAX)]),
        Rule::Each("config", OPAQUE),
    ],
)];

/// The rules of a class' spec.
pub(in super::super) const CLASS: &[Rule] = &[
    Rule::Code(selectors),
    Rule::Field("config", &[Check::MaxItems(CONFIGS_MAX)]),
    Rule::Each("config", OPAQUE),
];

fn selectors(holder: &Site<'_>, errors: &mut Vec<FieldError>) {
    apply(SELECTORS, holder, errors);
}

fn cel(selector: &Site<'_>, errors: &mut Vec<FieldError>) {
    if !selector.at("cel").is_set() {
        errors.push(selector.at("cel").required(""));
    }
}

fn expression(cel: &Site<'_>, errors: &mut Vec<FieldError>) {
    let expression = cel.at("expression");
    if expression.text().len() > EXPRESSION_MAX {
        errors.push(FieldError::too_long(expression, EXPRESSION_MAX));
    }
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
    if operator.text() != "Exists" && key.text().is_empty() {
        errors.push(operator.invalid(
            "operator must be Exists when `key` is empty, which means \"match all values and all keys\"",
        ));
    }
    let effect = toleration.at("effect");
    if !["", "NoExecute", "NoSchedule"].contains(&effect.text()) {
        errors.push(effect.not_supported(&["NoExecute", "NoSchedule"]));
    }
}

fn unique_names(list: &Site<'_>, errors: &mut Vec<FieldError>) {
    let mut seen: Vec<&str> = Vec::new();
    for item in list.items() {
        let name = access::text(item.value, &["name"]);
        if seen.contains(&name) {
            errors.push(FieldError::duplicate(item, name));
        }
        seen.push(name);
    }
}

fn too_many(list: &Site<'_>, most: usize, errors: &mut Vec<FieldError>) {
    if list.len() > most {
        errors.push(FieldError::too_many(list, list.len(), most));
    }
}

fn requests(devices: &Site<'_>, errors: &mut Vec<FieldError>) {
    let requests = devices.at("requests");
    for request in requests.items() {
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
            (false, true) => {
                too_many(&first, SUBREQUESTS_MAX, errors);
                for sub in first.items() {
                    label(&sub.at("name"), errors);
                    apply(REQUEST, &sub, errors);
                }
                unique_names(&first, errors);
            }
        }
    }
    too_many(&requests, REQUESTS_MAX, errors);
    unique_names(&requests, errors);
}

fn label(name: &Site<'_>, errors: &mut Vec<FieldError>) {
    let wrong = names::dns_label(name.text()).into_iter();
    errors.extend(wrong.map(|why| FieldError::invalid(name, name.text(), why)));
}

/// Whether a claim has a request of this name, or a request and a subrequest.
fn has_request(devices: &Site<'_>, name: &str) -> bool {
    let (request, sub) = name.split_once('/').map_or((name, None), |(r, s)| (r, Some(s)));
    let named =
        |list: &[Value], name: &str| list.iter().find(|item| access::text(item, &["name"]) == name).cloned();
    let found = named(access::list(devices.value, &["requests"]), request);
    match (found, sub) {
        (None, _) => false,
        (Some(_), None) => true,
        (Some(request), Some(sub)) => named(access::list(&request, &["firstAvailable"]), sub).is_some(),
    }
}

fn constraints(devices: &Site<'_>, errors: &mut Vec<FieldError>) {
    let why = "must be the name of a request in the claim or the name of a request and a subrequest separated by '/'";
    for list in ["constraints", "config"] {
        let list = devices.at(list);
        for item in list.items() {
            for name in item.at("requests").items() {
                let parts: Vec<&str> = name.text().split('/').collect();
                if parts.len() > 2 {
                    errors.push(name.invalid(why));
                    continue;
                }
                for part in parts {
                    let wrong = names::dns_label(part).into_iter();
                    errors.extend(wrong.map(|why| FieldError::invalid(name, part, why)));
                }
                if !has_request(devices, name.text()) {
                    errors.push(name.invalid(why));
                }
            }
        }
    }
    for constraint in devices.at("constraints").items() {
        let (same, distinct) = (constraint.at("matchAttribute"), constraint.at("distinctAttribute"));
        if same.is_set() {
            qualified(&same, errors);
        } else if distinct.is_set() {
            qualified(&distinct, errors);
        } else {
            errors.push(same.required(""));
        }
    }
}

/// A domain and an identifier of C, separated by a slash.
fn qualified(name: &Site<'_>, errors: &mut Vec<FieldError>) {
    match name.text().split_once('/') {
        None => {
            errors.push(
                name.invalid("a fully qualified name must be a domain and a name separated by a slash"),
            );
        }
        Some((domain, id)) => {
            domain_errors(name, domain, errors);
            id_errors(name, id, errors);
        }
    }
}

fn domain_errors(site: &Site<'_>, domain: &str, errors: &mut Vec<FieldError>) {
    if domain.is_empty() {
        errors.push(site.required("the domain must not be empty"));
    }
    if domain.len() > DOMAIN_MAX {
        errors.push(FieldError::too_long(site, DOMAIN_MAX));
    }
    let wrong = names::dns_subdomain(domain).into_iter();
    errors.extend(wrong.filter(|_| !domain.is_empty()).map(|why| FieldError::invalid(site, domain, why)));
}

fn id_errors(site: &Site<'_>, id: &str, errors: &mut Vec<FieldError>) {
    if id.is_empty() {
        errors.push(site.required("the name must not be empty"));
    }
    if id.len() > ID_MAX {
        errors.push(FieldError::too_long(site, ID_MAX));
    }
    let wrong = names::c_identifier(id).into_iter();
    errors.extend(wrong.filter(|_| !id.is_empty()).map(|why| FieldError::invalid(site, id, why)));
}

fn opaque(config: &Site<'_>, errors: &mut Vec<FieldError>) {
    if !config.at("opaque").is_set() {
        errors.push(config.at("opaque").required(""));
    }
}

fn parameters(opaque: &Site<'_>, errors: &mut Vec<FieldError>) {
    let parameters = opaque.at("parameters");
    if !parameters.is_set() {
        errors.push(parameters.required(""));
    } else if !parameters.value.is_object() {
        errors.push(parameters.wrong("parameters must be a valid JSON object"));
    }
}

/// The rules of a claim's status.
pub(in super::super) const CLAIM_STATUS: &[Rule] = &[
    Rule::Field("reservedFor", &[Check::MaxItems(CONSUMERS_MAX)]),
    Rule::Each(
        "reservedFor",
        &[
            Rule::Field("resource", &[Check::Required]),
            Rule::Field("name", &[Check::Required]),
            Rule::Field("uid", &[Check::Required]),
        ],
    ),
    Rule::Code(reserved),
];

fn reserved(status: &Site<'_>, errors: &mut Vec<FieldError>) {
    let mut seen: Vec<&str> = Vec::new();
    let consumers = status.at("reservedFor");
    for consumer in consumers.items() {
        let uid = access::text(consumer.value, &["uid"]);
        if seen.contains(&uid) {
            errors.push(FieldError::duplicate(consumer, uid));
        }
        seen.push(uid);
    }
    if !seen.is_empty() && !status.at("allocation").is_set() {
        let why = "may not be specified when `allocated` is not set";
        errors.push(status.at("reservedFor").forbidden(why));
    }
}

/// The rules of a slice's spec, before and after those of its update.
pub(in super::super) const SLICE_DRIVER: &[Rule] =
    &[Rule::Field("driver", &[Check::Code(driver_name)]), Rule::Within("pool", POOL)];
pub(in super::super) const SLICE: &[Rule] = &[
    Rule::Code(slice_nodes),
    Rule::Code(devices_or_counters),
    Rule::Field("devices", &[Check::MaxItems(DEVICES_MAX)]),
    Rule::Code(devices),
];

const POOL: &[Rule] = &[
    Rule::Code(pool_name),
    Rule::Field("resourceSliceCount", &[Check::AtLeast(1, "must be greater than zero")]),
    Rule::Field("generation", &[Check::AtLeast(0, "must be greater than or equal to zero")]),
];

fn pool_name(pool: &Site<'_>, errors: &mut Vec<FieldError>) {
    let name = pool.at("name");
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

/// Which of the members that say on which nodes devices are is set.
fn node_choice(site: &Site<'_>, flags: &[&'static str], errors: &mut Vec<FieldError>) -> Vec<String> {
    let mut set = Vec::new();
    let (name, selector) = (site.at("nodeName"), site.at("nodeSelector"));
    if name.is_set() {
        if name.text().is_empty() {
            errors.push(name.invalid("must be either unset or set to a non-empty string"));
        } else {
            set.push("`nodeName`".to_owned());
            errors.extend(name.format(names::dns_subdomain));
        }
    }
    if selector.is_set() {
        set.push("`nodeSelector`".to_owned());
        pod_template::validate_node_selector(selector.value, format_args!("{selector}"), errors);
    }
    for flag in flags {
        let site = site.at(flag);
        if site.flag() {
            set.push(format!("`{flag}`"));
        } else if site.is_set() {
            errors.push(site.invalid("must be either unset or set to true"));
        }
    }
    set
}

fn slice_nodes(spec: &Site<'_>, errors: &mut Vec<FieldError>) {
    let why = "exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required";
    let set = node_choice(spec, &["allNodes", "perDeviceNodeSelection"], errors);
    match set.len() {
        0 => errors.push(spec.required(why)),
        1 => {}
        _ => {
            let shown = format!("{{{}}}", set.join(", "));
            let why = format!("{why}, but multiple fields are set");
            errors.push(FieldError::invalid(spec, shown, why));
        }
    }
}

fn devices_or_counters(spec: &Site<'_>, errors: &mut Vec<FieldError>) {
    if spec.at("sharedCounters").is_set() && spec.at("devices").is_set() {
        errors.push(FieldError::invalid(spec, "", "only one of `sharedCounters` or `devices` is allowed"));
    }
}

fn devices(spec: &Site<'_>, errors: &mut Vec<FieldError>) {
    let per_device = spec.at("perDeviceNodeSelection").flag();
    let list = spec.at("devices");
    for device in list.items() {
        label(&device.at("name"), errors);
        let (attributes, capacity) = (device.at("attributes"), device.at("capacity"));
        let total = attributes.len() + capacity.len();
        if total > ATTRIBUTES_MAX {
            let why =
                format!("the total number of attributes and capacities must not exceed {ATTRIBUTES_MAX}");
            errors.push(FieldError::invalid(device, total, why));
        }
        for (key, attribute) in attributes.entries() {
            key_errors(&attribute, key, errors);
            attribute_value(&attribute, errors);
        }
        for (key, amount) in capacity.entries() {
            key_errors(&amount, key, errors);
        }
        too_many(&device.at("taints"), TAINTS_MAX, errors);
        device_nodes(&device, per_device, errors);
    }
    unique_names(&list, errors);
}

fn key_errors(site: &Site<'_>, key: &str, errors: &mut Vec<FieldError>) {
    match key.split_once('/') {
        None => id_errors(site, key, errors),
        Some((domain, id)) => {
            domain_errors(site, domain, errors);
            id_errors(site, id, errors);
        }
    }
}

fn attribute_value(attribute: &Site<'_>, errors: &mut Vec<FieldError>) {
    let set = ["bool", "int", "string", "version"].into_iter().filter(|v| attribute.at(v).is_set()).count();
    for text in ["string", "version"] {
        if attribute.at(text).text().len() > VALUE_MAX {
            errors.push(FieldError::too_long(attribute.at(text), VALUE_MAX));
        }
    }
    if set != 1 {
        errors.push(FieldError::invalid(attribute, "", "exactly one value must be specified"));
    }
}

fn device_nodes(device: &Site<'_>, per_device: bool, errors: &mut Vec<FieldError>) {
    let choices = ["nodeName", "nodeSelector", "allNodes"];
    if !per_device {
        if choices.iter().any(|choice| device.at(choice).is_set()) {
            let why = "`nodeName`, `nodeSelector` and `allNodes` can only be set if `perDeviceNodeSelection` is set to true in the ResourceSlice spec";
            errors.push(FieldError::invalid_shown(device, "null", why));
        }
        return;
    }
    let why = "exactly one of `nodeName`, `nodeSelector`, or `allNodes` is required when `perDeviceNodeSelection` is set to true in the ResourceSlice spec";
    let set = node_choice(device, &["allNodes"], errors);
    match set.len() {
        0 => errors.push(device.required(why)),
        1 => {}
        _ => errors.push(FieldError::invalid(device, format!("{{{}}}", set.join(", ")), why)),
    }
}
