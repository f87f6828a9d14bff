//! Validation of webhook configurations. What their rules share with policies is used by `policies`.

use std::collections::BTreeSet;

use super::super::rules::{Check, Rule, Site, apply};
use super::super::workload;
use crate::admission_webhook::condition_errors;
use serde_json::Value;
use shim_model::access;
use shim_model::field::FieldError;
use shim_model::names;

const OPERATIONS: &[&str] = &["*", "CONNECT", "CREATE", "DELETE", "UPDATE"];
pub(super) const MATCH_POLICIES: &[&str] = &["Equivalent", "Exact"];
const SCOPES: &[&str] = &["*", "Cluster", "Namespaced"];
pub(super) const FAILURE_POLICIES: &[&str] = &["Fail", "Ignore"];
pub(super) const REINVOCATION_POLICIES: &[&str] = &["IfNeeded", "Never"];
const REVIEW_VERSIONS: [&str; 2] = ["v1", "v1beta1"];
/// Seconds that a webhook may take.
const TIMEOUT_MAX: i64 = 30;
pub(super) const CONDITIONS_MAX: usize = 64;

/// The rules of a webhook.
pub(in super::super) const WEBHOOK: &[Rule] = &[
    Rule::Field("name", &[Check::Code(qualified_name)]),
    Rule::Each("rules", &[Rule::Code(operations_and_resources)]),
    Rule::Field("failurePolicy", &[Check::Enum(FAILURE_POLICIES)]),
    Rule::Field("matchPolicy", &[Check::Enum(MATCH_POLICIES)]),
    Rule::Code(side_effects),
    Rule::Field("timeoutSeconds", &[Check::Code(timeout)]),
    Rule::Field("namespaceSelector", &[Check::Code(selector)]),
    Rule::Field("objectSelector", &[Check::Code(selector)]),
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
    match names::dns_subdomain(name.text()) {
        wrong if !wrong.is_empty() => errors.push(name.invalid(wrong.join(","))),
        _ if name.text().split('.').count() < 3 => {
            errors.push(name.invalid("should be a domain with at least three segments separated by dots"));
        }
        _ => {}
    }
}

/// Moves the error of an expression to its place.
fn expression(
    expression: &Site<'_>,
    why: &str,
    compiled: &mut Vec<FieldError>,
    errors: &mut Vec<FieldError>,
) {
    if expression.text().trim().is_empty() {
        return errors.push(expression.required(why));
    }
    let path = expression.to_string();
    errors.extend(compiled.extract_if(.., |error| error.field == path));
}

fn conditions(holder: &Site<'_>, compiled: &mut Vec<FieldError>, errors: &mut Vec<FieldError>) {
    let conditions = holder.at("matchConditions");
    if conditions.len() > CONDITIONS_MAX {
        errors.push(FieldError::too_many(conditions, conditions.len(), CONDITIONS_MAX));
    }
    let mut seen: BTreeSet<&str> = BTreeSet::new();
    for condition in conditions.items() {
        let name = condition.at("name");
        expression(&condition.at("expression"), "", compiled, errors);
        let text = access::text(condition.value, &["name"]);
        if text.is_empty() {
            errors.push(name.required(""));
            continue;
        }
        errors.extend(name.format(names::qualified));
        if !seen.insert(text) {
            errors.push(name.duplicate());
        }
    }
}

fn review_versions(webhook: &Site<'_>, errors: &mut Vec<FieldError>) {
    let versions = webhook.at("admissionReviewVersions");
    if versions.len() == 0 {
        return errors.push(versions.required("must specify one of v1, v1beta1"));
    }
    let mut seen: BTreeSet<&str> = BTreeSet::new();
    for version in versions.items() {
        let text = version.value.as_str().unwrap_or("");
        if !seen.insert(text) {
            errors.push(FieldError::invalid(version, text, "duplicate version"));
            continue;
        }
        errors.extend(version.format(names::dns_1035_label));
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

fn resource_names(list: &Site<'_>, errors: &mut Vec<FieldError>) {
    let (mut of_resource, mut of_sub): (Vec<String>, Vec<String>) = (Vec::new(), Vec::new());
    let (mut star, mut whole) = (false, false);
    for item in list.items() {
        let name = item.text();
        let Some((resource, sub)) = name.split_once('/') else {
            match name {
                "" => errors.push(item.required("")),
                "*" => (star, whole) = (true, false),
                _ => whole = true,
            }
            continue;
        };
        if of_resource.iter().any(|known| known == resource) {
            errors.push(item.invalid(format!("if '{resource}/*' is present, must not specify {name}")));
        }
        if of_sub.iter().any(|known| known == sub) {
            errors.push(item.invalid(format!("if '*/{sub}' is present, must not specify {name}")));
        }
        if sub == "*" {
            of_resource.push(resource.to_owned());
        }
        if resource == "*" {
            of_sub.push(sub.to_owned());
        }
    }
    if list.len() > 1 && list.items().any(|item| item.text() == "*/*") {
        errors.push(list.invalid("if '*/*' is present, must not specify other resources"));
    }
    // Upstream looks at the last resource without subresource only.
    if star && whole {
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
    let (before, fragment) = url.text().split_once('#').unwrap_or((url.text(), ""));
    let (before, query) = before.split_once('?').unwrap_or((before, ""));
    let (scheme, rest) = match before.split_once(':') {
        Some((scheme, rest)) if scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b)) => {
            (scheme, rest)
        }
        _ => ("", before),
    };
    if scheme != "https" {
        let why = format!("'https' is the only allowed URL scheme{form}");
        errors.push(FieldError::invalid(url, scheme, why));
    }
    let authority = rest.strip_prefix("//").map_or("", |rest| rest.split('/').next().unwrap_or(""));
    let (user, host) =
        authority.rsplit_once('@').map_or((None, authority), |(user, host)| (Some(user), host));
    if host.is_empty() {
        errors.push(FieldError::invalid(url, "", format!("host must be specified{form}")));
    }
    if let Some(user) = user {
        errors.push(FieldError::invalid(url, user, "user information is not permitted in the URL"));
    }
    if !fragment.is_empty() {
        errors.push(FieldError::invalid(url, fragment, "fragments are not permitted in the URL"));
    }
    if !query.is_empty() {
        errors.push(FieldError::invalid(url, query, "query parameters are not permitted in the URL"));
    }
}

/// Errors of the Service of a webhook.
pub(in super::super) fn webhook_service(service: &Site<'_>, errors: &mut Vec<FieldError>) {
    // Upstream mixes up the two.
    for (member, shown) in [("namespace", "name"), ("name", "namespace")] {
        if service.at(member).text().is_empty() {
            errors.push(service.at(shown).required(""));
        }
    }
    let port = service.at("port");
    let number = port.int().unwrap_or(443);
    if !names::port_number(number).is_empty() {
        errors.push(port.invalid("port is not valid: must be between 1 and 65535, inclusive"));
    }
    let path = service.at("path");
    let text = path.text();
    match text {
        "" | "/" => return,
        "//" => return errors.push(path.invalid("segment[0] may not be empty")),
        _ if !text.starts_with('/') => errors.push(path.invalid("must start with a '/'")),
        _ => {}
    }
    let checked = text.get(1..).unwrap_or("");
    for (i, step) in checked.strip_suffix('/').unwrap_or(checked).split('/').enumerate() {
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
    let mut seen: BTreeSet<&str> = BTreeSet::new();
    for webhook in list.items() {
        apply(WEBHOOK, &webhook, &mut errors);
        if mutating {
            apply(MUTATING, &webhook, &mut errors);
        }
        client_config(&webhook, &mut errors);
        conditions(&webhook, &mut condition_errors(webhook.value, &webhook.to_string()), &mut errors);
        review_versions(&webhook, &mut errors);
        let name = access::text(webhook.value, &["name"]);
        if !seen.insert(name) && !name.is_empty() {
            errors.push(webhook.at("name").duplicate());
        }
    }
    errors
}
