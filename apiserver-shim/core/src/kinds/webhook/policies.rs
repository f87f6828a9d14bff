//! Validation of admission policies and their bindings, in the order in which upstream reports errors.

use std::collections::BTreeSet;

use super::super::rules::Site;
use super::validation::{
    CONDITIONS_MAX, FAILURE_POLICIES, MATCH_POLICIES, REINVOCATION_POLICIES, operations_and_resources,
    selector,
};
use crate::admission_policy::Policy;
use crate::cel::is_reserved;
use serde_json::Value;
use shim_model::access;
use shim_model::field::FieldError;
use shim_model::names;

/// Audit annotations of one policy.
const ANNOTATIONS_MAX: usize = 20;
/// Bytes of the expression of an audit annotation.
const ANNOTATION_EXPRESSION_MAX: usize = 5 * 1024;
/// The operations that have an object to change.
const MUTATING_OPERATIONS: &[&str] = &["*", "CONNECT", "CREATE", "UPDATE"];
const PATCH_TYPES: &[&str] = &["ApplyConfiguration", "JSONPatch"];
const REASONS: &[&str] = &["Forbidden", "Invalid", "RequestEntityTooLarge"];
const ACTIONS: &[&str] = &["Audit", "Deny", "Warn"];

/// Validates a policy. Match conditions that an update leaves alone are not validated again.
pub(super) fn policy(object: &Value, old: Option<&Value>, mutating: bool) -> Vec<FieldError> {
    let root = Site::root(object);
    let spec = root.at("spec");
    let same = |member: &str| {
        let of = |object| access::get(object, &["spec", member]).filter(|value: &&Value| !value.is_null());
        old.is_some_and(|old| of(object) == of(old))
    };
    let mut validation = Validation { compiled: Policy::compile(object).errors(), errors: Vec::new() };
    validation.constraints(&spec, mutating);
    if !(same("paramKind") && same("matchConditions")) {
        validation.conditions(&spec.at("matchConditions"));
    }
    spec.at("variables").items().for_each(|item| validation.variable(&item));
    match mutating {
        true => validation.mutations(&spec),
        false => validation.validations(&spec, access::text(object, &["metadata", "name"])),
    }
    validation.errors
}

/// Validates a binding.
pub(super) fn binding(object: &Value, mutating: bool) -> Vec<FieldError> {
    let root = Site::root(object);
    let spec = root.at("spec");
    let mut errors = Vec::new();
    let name = spec.at("policyName");
    if name.text().is_empty() {
        errors.push(name.required(""));
    } else {
        errors.extend(name.format(names::dns_subdomain));
    }
    let reference = spec.at("paramRef");
    if reference.is_set() {
        param_ref(&reference, &mut errors);
    }
    let resources = spec.at("matchResources");
    if resources.is_set() {
        match_resources(&resources, &mut errors);
        if mutating {
            mutating_operations(&resources, &mut errors);
        }
    }
    if !mutating {
        actions(&spec.at("validationActions"), &mut errors);
    }
    errors
}

struct Validation {
    /// What is wrong with expressions, by their paths.
    compiled: Vec<FieldError>,
    errors: Vec<FieldError>,
}

impl Validation {
    fn push(&mut self, error: FieldError) {
        self.errors.push(error);
    }

    /// The error of an expression, which shows it as it was written.
    fn expression(&mut self, site: &Site<'_>, shown: &str) {
        let path = site.to_string();
        let found = self.compiled.iter().find(|error| error.field == path);
        self.errors.extend(found.map(|error| FieldError::invalid(site, shown, error.detail.as_str())));
    }

    fn constraints(&mut self, spec: &Site<'_>, mutating: bool) {
        let failure = spec.at("failurePolicy");
        if !failure.is_set() {
            self.push(failure.required(""));
        } else if !FAILURE_POLICIES.contains(&failure.text()) {
            self.push(failure.not_supported(FAILURE_POLICIES));
        }
        let kind = spec.at("paramKind");
        if kind.is_set() {
            param_kind(&kind, &mut self.errors);
        }
        let constraints = spec.at("matchConstraints");
        if !constraints.is_set() {
            return self.push(constraints.required(""));
        }
        match_resources(&constraints, &mut self.errors);
        if constraints.at("resourceRules").len() == 0 {
            self.push(constraints.at("resourceRules").required(""));
        }
        if mutating {
            mutating_operations(&constraints, &mut self.errors);
        }
    }

    fn conditions(&mut self, conditions: &Site<'_>) {
        if conditions.len() > CONDITIONS_MAX {
            self.push(FieldError::too_many(conditions, conditions.len(), CONDITIONS_MAX));
        }
        let mut seen: BTreeSet<&str> = BTreeSet::new();
        for condition in conditions.items() {
            let (name, expression) = (condition.at("name"), condition.at("expression"));
            match expression.text().trim() {
                "" => self.push(expression.required("")),
                trimmed => self.expression(&expression, trimmed),
            }
            let text = condition.value.get("name").and_then(Value::as_str).unwrap_or("");
            if text.is_empty() {
                self.push(name.required(""));
                continue;
            }
            self.errors.extend(name.format(names::qualified));
            if !seen.insert(text) {
                self.push(name.duplicate());
            }
        }
    }

    fn variable(&mut self, variable: &Site<'_>) {
        let (name, expression) = (variable.at("name"), variable.at("expression"));
        if name.text().trim().is_empty() {
            self.push(name.required("name is not specified"));
        } else if !is_identifier(name.text()) {
            self.push(name.invalid("must be a valid CEL identifier"));
        }
        if expression.text().trim().is_empty() {
            self.push(expression.required("expression is not specified"));
        } else {
            self.expression(&expression, expression.text());
        }
    }

    fn validations(&mut self, spec: &Site<'_>, policy: &str) {
        let (validations, annotations) = (spec.at("validations"), spec.at("auditAnnotations"));
        if validations.len() == 0 && annotations.len() == 0 {
            let why = "validations or auditAnnotations must contain at least one item";
            self.push(validations.required(why));
            return self.push(annotations.required(why));
        }
        validations.items().for_each(|item| self.validation(&item));
        if annotations.len() > ANNOTATIONS_MAX {
            self.push(
                annotations.invalid(format!("must not have more than {ANNOTATIONS_MAX} auditAnnotations")),
            );
        }
        let mut seen: BTreeSet<&str> = BTreeSet::new();
        for annotation in annotations.items() {
            self.annotation(&annotation, policy);
            let key = annotation.value.get("key").and_then(Value::as_str).unwrap_or("");
            if !seen.insert(key) {
                self.push(annotation.at("key").duplicate());
            }
        }
    }

    fn validation(&mut self, validation: &Site<'_>) {
        let expression = validation.at("expression");
        match expression.text().trim() {
            "" => self.push(expression.required("expression is not specified")),
            _ => self.expression(&expression, expression.text()),
        }
        let empty = "must be non-empty if specified";
        let made = validation.at("messageExpression");
        match (made.text(), made.text().trim()) {
            ("", _) => {}
            (_, "") => self.push(made.invalid(empty)),
            (text, _) => self.expression(&made, text),
        }
        let message = validation.at("message");
        match (message.text(), message.text().trim()) {
            ("", _) => {}
            (_, "") => self.push(message.invalid(empty)),
            (_, text) if text.contains(['\n', '\r']) => {
                self.push(message.invalid("must not contain line breaks"));
            }
            _ => {}
        }
        let reason = validation.at("reason");
        if reason.is_set() && !REASONS.contains(&reason.text()) {
            self.push(reason.not_supported(REASONS));
        }
    }

    fn annotation(&mut self, annotation: &Site<'_>, policy: &str) {
        let (key, expression) = (annotation.at("key"), annotation.at("valueExpression"));
        if policy.is_empty() {
            self.push(FieldError::invalid(key, key.text(), "requires metadata.name be non-empty"));
        } else {
            let whole = format!("{policy}/{}", key.text());
            let wrong = names::qualified(&whole).into_iter();
            self.errors.extend(wrong.map(|why| FieldError::invalid(key, whole.as_str(), why)));
        }
        match expression.text().trim() {
            "" => self.push(expression.required("valueExpression is not specified")),
            long if long.len() > ANNOTATION_EXPRESSION_MAX => {
                let why = format!("must not exceed {ANNOTATION_EXPRESSION_MAX} bytes in length");
                self.push(expression.required(&why));
            }
            _ => self.expression(&expression, expression.text()),
        }
    }

    fn mutations(&mut self, spec: &Site<'_>) {
        let mutations = spec.at("mutations");
        if mutations.len() == 0 {
            self.push(mutations.required("mutations must contain at least one item"));
        }
        mutations.items().for_each(|item| self.mutation(&item));
        let reinvocation = spec.at("reinvocationPolicy");
        if reinvocation.text().is_empty() {
            self.push(reinvocation.required(""));
        } else if !REINVOCATION_POLICIES.contains(&reinvocation.text()) {
            self.push(reinvocation.not_supported(REINVOCATION_POLICIES));
        }
    }

    fn mutation(&mut self, mutation: &Site<'_>) {
        let kind = mutation.at("patchType");
        let (wanted, other) = match kind.text() {
            "ApplyConfiguration" => ("applyConfiguration", "jsonPatch"),
            "JSONPatch" => ("jsonPatch", "applyConfiguration"),
            "" => return self.push(kind.required("")),
            _ => return self.push(kind.not_supported(PATCH_TYPES)),
        };
        let site = mutation.at(wanted);
        let expression = site.at("expression");
        if !site.is_set() {
            self.push(site.required(&format!("must be specified when patchType is {}", kind.text())));
        } else {
            match expression.text().trim() {
                "" => self.push(expression.required("")),
                trimmed => self.expression(&expression, trimmed),
            }
        }
        let other_site = mutation.at(other);
        if other_site.is_set() {
            let why = format!("must not be specified when patchType is {}", kind.text());
            self.push(FieldError::invalid(other_site, format!("{{{other}}}"), why));
        }
    }
}

/// Whether a name is one of CEL's identifiers.
fn is_identifier(name: &str) -> bool {
    let starts = name.starts_with(|c: char| c == '_' || c.is_ascii_alphabetic());
    starts && name.chars().all(|c| c == '_' || c.is_ascii_alphanumeric()) && !is_reserved(name)
}

fn param_kind(kind: &Site<'_>, errors: &mut Vec<FieldError>) {
    let (api_version, name) = (kind.at("apiVersion"), kind.at("kind"));
    let text = api_version.text();
    if text.is_empty() {
        errors.push(api_version.required(""));
    } else if text.matches('/').count() > 1 {
        errors.push(api_version.invalid(format!("unexpected GroupVersion string: {text}")));
    } else {
        let (group, version) = text.split_once('/').unwrap_or(("", text));
        let mut wrong = |part: &str, why: Vec<String>| {
            if !why.is_empty() {
                errors.push(FieldError::invalid(api_version, part, why.join(",")));
            }
        };
        if !group.is_empty() {
            wrong(group, names::dns_subdomain(group));
        }
        match version {
            "" => wrong(text, vec!["version must be specified".to_owned()]),
            _ => wrong(version, names::dns_1035_label(version)),
        }
    }
    if name.text().is_empty() {
        return errors.push(name.required(""));
    }
    let wrong = names::dns_1035_label(&name.text().to_lowercase());
    if !wrong.is_empty() {
        let why = wrong.join(",");
        errors.push(name.invalid(format!("may have mixed case, but should otherwise match: {why}")));
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
        for rule in resources.at(list).items() {
            object_names(&rule.at("resourceNames"), errors);
            operations_and_resources(&rule, errors);
        }
    }
}

fn object_names(list: &Site<'_>, errors: &mut Vec<FieldError>) {
    let mut seen: BTreeSet<&str> = BTreeSet::new();
    for name in list.items() {
        errors.extend(name.format(names::path_segment));
        let text = name.value.as_str().unwrap_or("");
        if !seen.insert(text) {
            errors.push(name.duplicate());
        }
    }
}

/// Only what has an object can be changed.
fn mutating_operations(resources: &Site<'_>, errors: &mut Vec<FieldError>) {
    let rules = resources.at("resourceRules");
    let path = format!("{rules}.operations");
    for rule in rules.items() {
        for operation in rule.at("operations").items() {
            if !MUTATING_OPERATIONS.contains(&operation.text()) {
                let value = operation.value.clone();
                errors.push(FieldError::not_supported(&path, value, MUTATING_OPERATIONS));
            }
        }
    }
}

fn param_ref(reference: &Site<'_>, errors: &mut Vec<FieldError>) {
    let (name, labels) = (reference.at("name"), reference.at("selector"));
    let (has_name, has_labels) = (!name.text().is_empty(), labels.is_set());
    let exclusive = "name and selector are mutually exclusive";
    if has_name {
        errors.extend(name.format(names::path_segment));
        if has_labels {
            errors.push(name.forbidden(exclusive));
        }
    }
    if has_labels {
        selector(&labels, errors);
        if has_name {
            errors.push(labels.forbidden(exclusive));
        }
    }
    if !has_name && !has_labels {
        errors.push(reference.required("one of name or selector must be specified"));
    }
    let action = reference.at("parameterNotFoundAction");
    if action.text().is_empty() {
        errors.push(action.required(""));
    } else if !["Allow", "Deny"].contains(&action.text()) {
        errors.push(action.not_supported(&["Deny", "Allow"]));
    }
}

fn actions(actions: &Site<'_>, errors: &mut Vec<FieldError>) {
    let mut seen: BTreeSet<&str> = BTreeSet::new();
    for action in actions.items() {
        let text = action.value.as_str().unwrap_or("");
        if !ACTIONS.contains(&text) {
            errors.push(action.not_supported(ACTIONS));
        }
        if !seen.insert(text) {
            errors.push(action.duplicate());
        }
    }
    if seen.contains(&"Deny") && seen.contains(&"Warn") {
        errors.push(actions.invalid("must not contain both Deny and Warn (repeating the same validation failure information in the API response and headers serves no purpose)"));
    }
    if seen.is_empty() {
        errors.push(actions.required("at least one validation action is required"));
    }
}

#[cfg(test)]
mod tests;
