//! Validation of webhook configurations, admission policies and their bindings.

use super::super::rules::{Check, Rule, Site, apply};
use super::super::workload;
use crate::admission_policy::Policy;
use crate::admission_webhook::condition_errors;
use serde_json::Value;
use shim_model::field::FieldError;
use shim_model::names;

const OPERATIONS: &[&str] = &["*", "CONNECT", "CREATE", "DELETE", "UPDATE"];
const SCOPES: &[&str] = &["*", "Cluster", "Namespaced"];
const FAILURE_POLICIES: &[&str] = &["Fail", "Ignore"];
const MATCH_POLICIES: &[&str] = &["Equivalent", "Exact"];
const REINVOCATION_POLICIES: &[&str] = &["IfNeeded", "Never"];
const REVIEW_VERSIONS: [&str; 2] = ["v1", "v1beta1"];
/// Seconds that a webhook may take.
const TIMEOUT_MAX: i64 = 30;
const CONDITIONS_MAX: usize = 64;
const LIST_MAX: usize = 1024;

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

fn selector(selector: &Site<'_>, errors: &mut Vec<FieldError>) {
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
fn operations_and_resources(rule: &Site<'_>, errors: &mut Vec<FieldError>) {
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
    let names: Vec<&str> = list.value.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let split = |name: &str| name.split_once('/').map(|(r, s)| (r.to_owned(), s.to_owned()));
    for (item, name) in list.items().zip(&names) {
        if name.is_empty() {
            errors.push(item.required(""));
        }
        let Some((resource, sub)) = split(name) else { continue };
        let twice = names.contains(&"*/*")
            || names.contains(&format!("{resource}/*").as_str()) && sub != "*"
            || names.contains(&format!("*/{sub}").as_str()) && resource != "*";
        if *name != "*/*" && twice {
            let by = [format!("{resource}/*"), format!("*/{sub}")]
                .into_iter()
                .find(|p| names.contains(&p.as_str()) && p != name)
                .unwrap_or_default();
            errors.push(item.invalid(format!("if '{by}' is present, must not specify {name}")));
        }
    }
    if names.len() > 1 && names.contains(&"*/*") {
        errors.push(list.invalid("if '*/*' is present, must not specify other resources"));
    }
    let whole = names.iter().filter(|name| !name.contains('/')).count();
    if names.contains(&"*") && whole > 1 {
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

/// The rules of an admission policy's spec.
pub(in super::super) const POLICY: &[Rule] = &[
    Rule::Field("failurePolicy", &[Check::Required, Check::Enum(FAILURE_POLICIES)]),
    Rule::Within("paramKind", &[Rule::Code(param_kind)]),
    Rule::Field("matchConstraints", &[Check::Required]),
    Rule::Within("matchConstraints", &[Rule::Code(match_constraints)]),
    Rule::Code(conditions),
    Rule::Each("variables", &[Rule::Code(variable)]),
];

/// The rules of what a validating policy says.
pub(in super::super) const VALIDATING_POLICY: &[Rule] = &[
    Rule::Code(validations_or_annotations),
    Rule::Each(
        "validations",
        &[Rule::Field("expression", &[Check::RequiredBecause("expression is not specified")])],
    ),
    Rule::Each(
        "auditAnnotations",
        &[
            Rule::Field("key", &[Check::Required, Check::Format(names::qualified)]),
            Rule::Field("valueExpression", &[Check::RequiredBecause("valueExpression is not specified")]),
        ],
    ),
];

/// The rules of what a mutating policy says.
pub(in super::super) const MUTATING_POLICY: &[Rule] = &[
    Rule::Field("mutations", &[Check::RequiredBecause("mutations must contain at least one item")]),
    Rule::Each("mutations", &[Rule::Code(mutation)]),
    Rule::Field("reinvocationPolicy", &[Check::Required, Check::Enum(REINVOCATION_POLICIES)]),
];

fn validations_or_annotations(spec: &Site<'_>, errors: &mut Vec<FieldError>) {
    if spec.at("validations").len() == 0 && spec.at("auditAnnotations").len() == 0 {
        let why = "validations or auditAnnotations must contain at least one item";
        errors.push(spec.at("validations").required(why));
    }
}

fn mutation(mutation: &Site<'_>, errors: &mut Vec<FieldError>) {
    let kind = mutation.at("patchType");
    let of = |member: &str, errors: &mut Vec<FieldError>| {
        let site = mutation.at(member);
        if !site.is_set() {
            errors.push(site.required(&format!("must be specified when patchType is {}", kind.text())));
        } else if site.at("expression").text().trim().is_empty() {
            errors.push(site.at("expression").required("expression is not specified"));
        }
    };
    match kind.text() {
        "ApplyConfiguration" => of("applyConfiguration", errors),
        "JSONPatch" => of("jsonPatch", errors),
        "" => errors.push(kind.required("")),
        _ => errors.push(kind.not_supported(&["ApplyConfiguration", "JSONPatch"])),
    }
}

fn param_kind(kind: &Site<'_>, errors: &mut Vec<FieldError>) {
    let (version, name) = (kind.at("apiVersion"), kind.at("kind"));
    if version.text().is_empty() {
        errors.push(version.required(""));
    } else if version.text().matches('/').count() > 1 {
        errors.push(version.invalid(format!("unexpected GroupVersion string: {}", version.text())));
    }
    if name.text().is_empty() {
        errors.push(name.required(""));
    } else {
        let lower = name.text().to_lowercase();
        let wrong = names::dns_1035_label(&lower).into_iter();
        errors.extend(
            wrong.map(|why| name.invalid(format!("may have mixed case, but should otherwise match: {why}"))),
        );
    }
}

fn match_constraints(resources: &Site<'_>, errors: &mut Vec<FieldError>) {
    match_resources(resources, errors);
    if resources.at("resourceRules").len() == 0 {
        errors.push(resources.at("resourceRules").required(""));
    }
}

fn match_resources(resources: &Site<'_>, errors: &mut Vec<FieldError>) {
    let policy = resources.at("matchPolicy");
    if !policy.is_set() {
        errors.push(policy.required(""));
    } else if !MATCH_POLICIES.contains(&policy.text()) {
        errors.push(policy.not_supported(MATCH_POLICIES));
    }
    for labels in ["namespaceSelector", "objectSelector"] {
        let labels = resources.at(labels);
        if labels.is_set() {
            selector(&labels, errors);
        } else {
            errors.push(labels.required(""));
        }
    }
    for list in ["resourceRules", "excludeResourceRules"] {
        let list = resources.at(list);
        list.items().for_each(|rule| operations_and_resources(&rule, errors));
        if list.len() > LIST_MAX {
            errors.push(FieldError::too_many(list, list.len(), LIST_MAX));
        }
    }
}

fn variable(variable: &Site<'_>, errors: &mut Vec<FieldError>) {
    let (name, expression) = (variable.at("name"), variable.at("expression"));
    if name.text().is_empty() {
        errors.push(name.required("name is not specified"));
    } else if !names::c_identifier(name.text()).is_empty() {
        errors.push(name.invalid("name is not a valid CEL identifier"));
    }
    if expression.text().trim().is_empty() {
        errors.push(expression.required("expression is not specified"));
    }
}

/// The rules of a binding's spec.
pub(in super::super) const BINDING: &[Rule] = &[
    Rule::Field("policyName", &[Check::Required, Check::Format(names::dns_subdomain)]),
    Rule::Within("paramRef", &[Rule::Code(param_ref)]),
    Rule::Within("matchResources", &[Rule::Code(match_resources)]),
];

/// The rules of a validating binding in addition.
pub(in super::super) const VALIDATING_BINDING: &[Rule] = &[Rule::Code(actions)];

fn param_ref(reference: &Site<'_>, errors: &mut Vec<FieldError>) {
    let (name, labels) = (reference.at("name"), reference.at("selector"));
    match (name.text().is_empty(), labels.is_set()) {
        (true, false) => errors.push(reference.required("one of name or selector must be specified")),
        (false, true) => {
            errors.push(name.forbidden("name and selector are mutually exclusive"));
        }
        (true, true) => selector(&labels, errors),
        (false, false) => errors.extend(name.format(names::path_segment)),
    }
    let action = reference.at("parameterNotFoundAction");
    if !action.is_set() {
        errors.push(action.required(""));
    } else if !["Allow", "Deny"].contains(&action.text()) {
        errors.push(action.not_supported(&["Deny", "Allow"]));
    }
}

fn actions(spec: &Site<'_>, errors: &mut Vec<FieldError>) {
    const KNOWN: &[&str] = &["Audit", "Deny", "Warn"];
    let actions = spec.at("validationActions");
    if actions.len() == 0 {
        return errors.push(actions.required(""));
    }
    let mut seen: Vec<&str> = Vec::new();
    for action in actions.items() {
        let text = action.value.as_str().unwrap_or("");
        if !KNOWN.contains(&text) {
            errors.push(action.not_supported(KNOWN));
        }
        if seen.contains(&text) {
            errors.push(action.duplicate());
        }
        seen.push(text);
    }
    if seen.contains(&"Deny") && seen.contains(&"Warn") {
        errors.push(actions.invalid("must not contain both Deny and Warn (repeating the same validation failure information in the API response and headers serves no purpose)"));
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

/// Validates a policy.
pub(super) fn policy(object: &Value, mutating: bool) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let root = Site::root(object);
    let spec = root.at("spec");
    apply(POLICY, &spec, &mut errors);
    apply(if mutating { MUTATING_POLICY } else { VALIDATING_POLICY }, &spec, &mut errors);
    errors.extend(Policy::compile(object).errors());
    errors
}

/// Validates a binding.
pub(super) fn binding(object: &Value, mutating: bool) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let root = Site::root(object);
    let spec = root.at("spec");
    apply(BINDING, &spec, &mut errors);
    if !mutating {
        apply(VALIDATING_BINDING, &spec, &mut errors);
    }
    errors
}
