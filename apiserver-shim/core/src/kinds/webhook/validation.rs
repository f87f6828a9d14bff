//! Validation of webhook configurations. What their rules share with policies is used by `policies`.

use super::super::rules::{Check, Rule, Site, apply};
use super::super::workload;
use crate::admission_webhook::condition_errors;
use serde_json::Value;
use shim_model::field::FieldError;
use shim_model::names;

const OPERATIONS: &[&str] = &["*", "CONNECT", "CREATE", "DELETE", "UPDATE"];
const SCOPES: &[&str] = &["*", "Cluster", "Namespaced"];
pub(super) const FAILURE_POLICIES: &[&str] = &["Fail", "Ignore"];
pub(super) const MATCH_POLICIES: &[&str] = &["Equivalent", "Exact"];
pub(super) const REINVOCATION_POLICIES: &[&str] = &["IfNeeded", "Never"];
const REVIEW_VERSIONS: [&str; 2] = ["v1", "v1beta1"];
/// Seconds that a webhook may take.
const TIMEOUT_MAX: i64 = 30;
pub(super) const CONDITIONS_MAX: usize = 64;

/// The rules of a webhook.
pub(in super::super) const WEBHOOK: &[Rule] = &[
    Rule::Field("name", &[Check::Code(qualified_name)]),
    Rule::Code(conditions),
    Rule::Code(review_versions),
    Rule::Each("rules", &[Rule::Code(operations_and_resources)]),
    Rule::Field("failurePolicy", &[Check::Enum(FAILURE_POLICIES)]),
    Rule::Field("matchPolicy", &[Check::Enum(MATCH_POLICIES)]),
    Rule::Code(side_effects),
    Rule::Field("timeoutSeconds", &[Check::Code(timeout)]),
    Rule::Field("namespaceSelector", &[Check::Code(selector)]),
    Rule::Field("objectSelector", &[Check::Code(selector)]),
    Rule::Code(client_config),
];

/// The rules of a mutating webhook in addition.
pub(in super::super) const MUTATING: &[Rule] =
    &[Rule::Field("reinvocationPolicy", &[Check::Enum(REINVOCATION_POLICIES)])];

pub(super) fn selector(selector: &Site<'_>, errors: &mut Vec<FieldError>) {
    errors.extend(workload::label_selector(selector.value, format_args!("{selector}")));
}

fn qualified_name(name: &Site<'_>, errors: &mut Vec<FieldError>) {
    if name.text().is_empty() {
        return errors.push(name.required(""));
    }
    errors.extend(name.format(names::dns_subdomain));
    if name.text().split('.').count() < 3 {
        errors.push(name.invalid("should be a domain with at least three segments separated by dots"));
    }
}

fn conditions(holder: &Site<'_>, errors: &mut Vec<FieldError>) {
    let conditions = holder.at("matchConditions");
    if conditions.len() > CONDITIONS_MAX {
        errors.push(FieldError::too_many(conditions, conditions.len(), CONDITIONS_MAX));
    }
    let mut seen: Vec<&str> = Vec::new();
    for condition in conditions.items() {
        let (name, expression) = (condition.at("name"), condition.at("expression"));
        let text = name.value.as_str().unwrap_or("");
        if text.is_empty() {
            errors.push(name.required(""));
        } else {
            errors.extend(name.format(names::qualified));
        }
        if expression.text().trim().is_empty() {
            errors.push(expression.required(""));
        }
        if !text.is_empty() && seen.contains(&text) {
            errors.push(name.duplicate());
        }
        seen.push(condition.value.get("name").and_then(Value::as_str).unwrap_or(""));
    }
}

fn review_versions(webhook: &Site<'_>, errors: &mut Vec<FieldError>) {
    let versions = webhook.at("admissionReviewVersions");
    if versions.len() == 0 {
        return errors.push(versions.required("must specify one of v1, v1beta1"));
    }
    let mut seen: Vec<&str> = Vec::new();
    for version in versions.items() {
        let text = version.value.as_str().unwrap_or("");
        if seen.contains(&text) {
            errors.push(FieldError::invalid(version, text, "duplicate version"));
            continue;
        }
        errors.extend(version.format(names::dns_label));
        seen.push(text);
    }
    if !seen.iter().any(|version| REVIEW_VERSIONS.contains(version)) {
        errors.push(versions.invalid("must include at least one of v1, v1beta1"));
    }
}

/// A rule of a webhook or policy: operations, groups, versions, resources and scope.
pub(super) fn operations_and_resources(rule: &Site<'_>, errors: &mut Vec<FieldError>) {
    let operations = rule.at("operations");
    if operations.len() == 0 {
        errors.push(operations.required(""));
    }
    star_alone(&operations, "operations", errors);
    for operation in operations.items().filter(|o| !OPERATIONS.contains(&o.text())) {
        errors.push(operation.not_supported(OPERATIONS));
    }
    resources(rule, errors);
}

fn star_alone(list: &Site<'_>, what: &str, errors: &mut Vec<FieldError>) {
    if list.len() > 1 && list.items().any(|item| item.text() == "*") {
        errors.push(list.invalid(format!("if '*' is present, must not specify other {what}")));
    }
}

fn resources(rule: &Site<'_>, errors: &mut Vec<FieldError>) {
    for (member, what) in [("apiGroups", "API groups"), ("apiVersions", "API versions")] {
        let list = rule.at(member);
        if list.len() == 0 {
            errors.push(list.required(""));
        }
        star_alone(&list, what, errors);
        if member == "apiVersions" {
            for version in list.items().filter(|version| version.text().is_empty()) {
                errors.push(version.required(""));
            }
        }
    }
    let list = rule.at("resources");
    if list.len() == 0 {
        errors.push(list.required(""));
    }
    resource_names(&list, errors);
    let scope = rule.at("scope");
    if scope.is_set() && !SCOPES.contains(&scope.text()) {
        errors.push(scope.not_supported(SCOPES));
    }
}

/// Which resources exclude others in the same list, in the order of the list.
fn resource_names(list: &Site<'_>, errors: &mut Vec<FieldError>) {
    let (mut all_below, mut all_of): (Vec<&str>, Vec<&str>) = (Vec::new(), Vec::new());
    let (mut everything, mut wildcard, mut whole) = (false, false, false);
    for item in list.items() {
        let name = item.text();
        if name.is_empty() {
            errors.push(item.required(""));
            continue;
        }
        everything |= name == "*/*";
        wildcard |= name == "*";
        let Some((resource, sub)) = name.split_once('/') else {
            // As upstream, only the last one without a subresource counts.
            whole = name != "*";
            continue;
        };
        if all_below.contains(&resource) {
            errors.push(item.invalid(format!("if '{resource}/*' is present, must not specify {name}")));
        }
        if all_of.contains(&sub) {
            errors.push(item.invalid(format!("if '*/{sub}' is present, must not specify {name}")));
        }
        if sub == "*" {
            all_below.push(resource);
        }
        if resource == "*" {
            all_of.push(sub);
        }
    }
    if list.len() > 1 && everything {
        errors.push(list.invalid("if '*/*' is present, must not specify other resources"));
    }
    if wildcard && whole {
        errors.push(list.invalid("if '*' is present, must not specify other resources without subresources"));
    }
}

fn side_effects(webhook: &Site<'_>, errors: &mut Vec<FieldError>) {
    const KNOWN: &[&str] = &["None", "NoneOnDryRun"];
    let effects = webhook.at("sideEffects");
    if !effects.is_set() {
        errors.push(effects.required("must specify one of None, NoneOnDryRun"));
    } else if !KNOWN.contains(&effects.text()) {
        errors.push(effects.not_supported(KNOWN));
    }
}

fn timeout(seconds: &Site<'_>, errors: &mut Vec<FieldError>) {
    if !(1..=TIMEOUT_MAX).contains(&seconds.int().unwrap_or(0)) {
        errors
            .push(seconds.invalid(format!("the timeout value must be between 1 and {TIMEOUT_MAX} seconds")));
    }
}

fn client_config(webhook: &Site<'_>, errors: &mut Vec<FieldError>) {
    let config = webhook.at("clientConfig");
    let (url, service) = (config.at("url"), config.at("service"));
    if url.is_set() == service.is_set() {
        errors.push(config.required("exactly one of url or service is required"));
    } else if url.is_set() {
        webhook_url(&url, errors);
    } else {
        webhook_service(&service, errors);
    }
}

/// Errors of the URL of a webhook.
pub(in super::super) fn webhook_url(url: &Site<'_>, errors: &mut Vec<FieldError>) {
    let form = "; desired format: https://host[/path]";
    let text = url.text();
    let (scheme, rest) = text.split_once("://").unwrap_or(("", text));
    if scheme != "https" {
        let why = format!("'https' is the only allowed URL scheme{form}");
        errors.push(FieldError::invalid(url, scheme, why));
    }
    let (host, path) = rest.split_once('/').map_or((rest, ""), |(host, path)| (host, path));
    if host.is_empty() {
        errors.push(FieldError::invalid(url, "", format!("host must be specified{form}")));
    }
    if let Some((user, _)) = host.split_once('@') {
        errors.push(FieldError::invalid(url, user, "user information is not permitted in the URL"));
    }
    if let Some((_, fragment)) = path.split_once('#') {
        errors.push(FieldError::invalid(url, fragment, "fragments are not permitted in the URL"));
    }
    if let Some((_, query)) = path.split_once('#').map_or(path, |(path, _)| path).split_once('?') {
        errors.push(FieldError::invalid(url, query, "query parameters are not permitted in the URL"));
    }
}

/// Errors of the Service of a webhook.
pub(in super::super) fn webhook_service(service: &Site<'_>, errors: &mut Vec<FieldError>) {
    for (member, why) in
        [("name", "service name is required"), ("namespace", "service namespace is required")]
    {
        let member = service.at(member);
        if member.text().is_empty() {
            errors.push(member.required(why));
        }
    }
    let port = service.at("port");
    let number = port.int().unwrap_or(443);
    if !names::port_number(number).is_empty() {
        errors.push(port.invalid("port is not valid: must be between 1 and 65535, inclusive"));
    }
    let path = service.at("path");
    let text = path.text();
    if !path.is_set() || text == "/" {
        return;
    }
    if !text.starts_with('/') {
        errors.push(path.invalid("must start with a '/'"));
    }
    let steps: Vec<&str> = text.trim_start_matches('/').split('/').collect();
    for (i, step) in steps.iter().enumerate() {
        if i == steps.len() - 1 && step.is_empty() {
            continue;
        }
        if step.is_empty() {
            errors.push(path.invalid(format!("segment[{i}] may not be empty")));
        } else {
            let wrong = names::dns_subdomain(step).into_iter();
            errors.extend(wrong.map(|why| path.invalid(format!("segment[{i}]: {why}"))));
        }
    }
}

/// Validates a webhook configuration.
pub(super) fn webhooks(object: &Value, mutating: bool) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let root = Site::root(object);
    let list = root.at("webhooks");
    let mut seen: Vec<&str> = Vec::new();
    for webhook in list.items() {
        apply(WEBHOOK, &webhook, &mut errors);
        if mutating {
            apply(MUTATING, &webhook, &mut errors);
        }
        errors.extend(condition_errors(webhook.value, &webhook.to_string()));
        let name = webhook.value.get("name").and_then(Value::as_str).unwrap_or("");
        if !name.is_empty() && seen.contains(&name) {
            errors.push(webhook.at("name").duplicate());
        }
        seen.push(name);
    }
    errors
}
