//! Access reviews: their validation, and the selectors that they ask about.

use serde_json::{Value, json};
use shim_model::access;
use shim_model::field::FieldError;
use shim_model::names;
use shim_model::selector::{FieldSelector, FieldTerm, LabelSelector, Operator, Requirement};

/// The members of metadata in upstream's order, for messages.
const METADATA: [&str; 10] = [
    "name",
    "generateName",
    "namespace",
    "uid",
    "resourceVersion",
    "labels",
    "annotations",
    "ownerReferences",
    "finalizers",
    "managedFields",
];

/// Validates a SelfSubjectAccessReview, SubjectAccessReview or LocalSubjectAccessReview, named by its resource.
pub fn validate(plural: &str, review: &Value) -> Vec<FieldError> {
    let spec = &review["spec"];
    let (resource, path) = (&spec["resourceAttributes"], &spec["nonResourceAttributes"]);
    let mut errors = Vec::new();
    match (resource.is_object(), path.is_object()) {
        (true, true) => errors.push(FieldError::invalid_shown(
            "spec.nonResourceAttributes",
            shown_path(path),
            "cannot be specified in combination with resourceAttributes",
        )),
        (false, false) => errors.push(FieldError::invalid(
            "spec.resourceAttributes",
            Value::Null,
            "exactly one of nonResourceAttributes or resourceAttributes must be specified",
        )),
        _ => {}
    }
    let nobody = access::text(spec, &["user"]).is_empty() && access::list(spec, &["groups"]).is_empty();
    if plural != "selfsubjectaccessreviews" && nobody {
        let why = "at least one of user or group must be specified";
        errors.push(FieldError::invalid("spec.user", "", why));
    }
    validate_selectors(resource, &mut errors);
    let local = plural == "localsubjectaccessreviews";
    validate_metadata(&review["metadata"], local, &mut errors);
    if local {
        let asked = access::text(resource, &["namespace"]);
        if resource.is_object() && asked != access::text(review, &["metadata", "namespace"]) {
            let field = "spec.resourceAttributes.namespace";
            errors.push(FieldError::invalid(field, asked, "must match metadata.namespace"));
        }
        if path.is_object() {
            let why = "disallowed on this kind of request";
            errors.push(FieldError::invalid_shown("spec.nonResourceAttributes", shown_path(path), why));
        }
    }
    errors
}

/// Non-resource attributes as upstream prints them, with Go's member names.
fn shown_path(path: &Value) -> String {
    let (at, verb) = (access::text(path, &["path"]), access::text(path, &["verb"]));
    json!({"Path": at, "Verb": verb}).to_string()
}

fn validate_metadata(metadata: &Value, local: bool, errors: &mut Vec<FieldError>) {
    let set = |member: &&str| metadata.get(*member).is_some_and(|value| !access::is_zero(value));
    let allowed = |member: &&str| *member == "managedFields" || local && *member == "namespace";
    if !METADATA.iter().any(|member| set(member) && !allowed(member)) {
        return;
    }
    let shown = METADATA.iter().filter(|m| set(m)).map(|m| match (*m, &metadata[*m]) {
        ("managedFields", Value::Array(entries)) => {
            let entries: Vec<String> = entries.iter().map(shown_entry).collect();
            format!("\"{m}\":[{}]", entries.join(","))
        }
        (_, value) => format!("\"{m}\":{value}"),
    });
    let shown = format!("{{{}}}", shown.collect::<Vec<_>>().join(","));
    let why = if local { "must be empty except for namespace" } else { "must be empty" };
    errors.push(FieldError::invalid_shown("metadata", shown, why));
}

/// An entry of managed fields as Go prints it.
fn shown_entry(entry: &Value) -> String {
    const ORDER: [&str; 7] =
        ["manager", "operation", "apiVersion", "time", "fieldsType", "fieldsV1", "subresource"];
    let members = ORDER.iter().filter_map(|m| Some(format!("\"{m}\":{}", entry.get(*m)?)));
    format!("{{{}}}", members.collect::<Vec<_>>().join(","))
}

fn validate_selectors(resource: &Value, errors: &mut Vec<FieldError>) {
    for selector in ["fieldSelector", "labelSelector"] {
        let at = format!("spec.resourceAttributes.{selector}");
        let Some(asked) = resource.get(selector).filter(|asked| asked.is_object()) else { continue };
        let raw = access::text(asked, &["rawSelector"]);
        let requirements = access::list(asked, &["requirements"]);
        if !raw.is_empty() && !requirements.is_empty() {
            let why = "may not specified at the same time as requirements";
            errors.push(FieldError::invalid(format!("{at}.rawSelector"), raw, why));
        }
        if raw.is_empty() && requirements.is_empty() {
            let why = format!("when {at} is specified, requirements or rawSelector is required");
            errors.push(FieldError::required(format!("{at}.requirements"), why));
        }
        for (i, requirement) in requirements.iter().enumerate() {
            let at = format!("{at}.requirements[{i}]");
            validate_requirement(requirement, selector == "labelSelector", &at, errors);
        }
    }
}

/// Operators that are not known are allowed: a newer client may know them.
fn validate_requirement(requirement: &Value, of_labels: bool, at: &str, errors: &mut Vec<FieldError>) {
    let values = access::list(requirement, &["values"]);
    let key = access::text(requirement, &["key"]);
    if !of_labels && key.is_empty() {
        errors.push(FieldError::required(format!("{at}.key"), "must be specified"));
    }
    match access::text(requirement, &["operator"]) {
        "In" | "NotIn" if values.is_empty() => {
            let why = "must be specified when `operator` is 'In' or 'NotIn'";
            errors.push(FieldError::required(format!("{at}.values"), why));
        }
        "Exists" | "DoesNotExist" if !values.is_empty() => {
            let why = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'";
            errors.push(FieldError::forbidden(format!("{at}.values"), why));
        }
        _ => {}
    }
    if of_labels {
        let wrong = names::qualified(key).into_iter();
        errors.extend(wrong.map(|why| FieldError::invalid(format!("{at}.key"), key, why)));
        for (i, value) in values.iter().filter_map(Value::as_str).enumerate() {
            let wrong = names::label_value(value).into_iter();
            errors.extend(wrong.map(|why| FieldError::invalid(format!("{at}.values[{i}]"), value, why)));
        }
    }
}

/// The selectors of a review's `resourceAttributes`.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Selectors {
    /// What the field selector requires.
    pub fields: Vec<FieldTerm>,
    /// What is ignored, as in `status.evaluationError`. The rest is decided, which can only allow less.
    pub errors: Vec<String>,
}

impl Selectors {
    /// Reads the selectors.
    pub fn of(resource: &Value) -> Selectors {
        let mut selectors = Selectors::default();
        let (fields, broken) = field_terms(&resource["fieldSelector"]);
        selectors.note("fieldSelector", broken, !fields.is_empty());
        selectors.fields = fields;
        let (some, broken) = label_requirements(&resource["labelSelector"]);
        selectors.note("labelSelector", broken, some);
        selectors
    }

    fn note(&mut self, selector: &str, broken: bool, partially: bool) {
        if broken {
            let partially = if partially { "partially " } else { "" };
            self.errors
                .push(format!("spec.resourceAttributes.{selector} {partially}ignored due to parse error"));
        }
    }
}

/// The valid terms, and whether there are others.
fn field_terms(selector: &Value) -> (Vec<FieldTerm>, bool) {
    let requirements = access::list(selector, &["requirements"]);
    if requirements.is_empty() {
        return match FieldSelector::parse(access::text(selector, &["rawSelector"])) {
            Ok(parsed) => (parsed.terms, false),
            Err(_) => (Vec::new(), true),
        };
    }
    let term = |requirement: &Value| {
        let equal = match access::text(requirement, &["operator"]) {
            "In" => true,
            "NotIn" => false,
            _ => return None,
        };
        let [value] = access::list(requirement, &["values"]) else { return None };
        let field = access::text(requirement, &["key"]).to_owned();
        Some(FieldTerm { field, equal, value: value.as_str()?.to_owned() })
    };
    let terms: Vec<FieldTerm> = requirements.iter().filter_map(term).collect();
    let broken = terms.len() < requirements.len();
    (terms, broken)
}

/// Whether there are valid requirements, and whether there are others.
fn label_requirements(selector: &Value) -> (bool, bool) {
    let requirements = access::list(selector, &["requirements"]);
    if requirements.is_empty() {
        let parsed = LabelSelector::parse(access::text(selector, &["rawSelector"]));
        return (parsed.as_ref().is_ok_and(|parsed| !parsed.is_everything()), parsed.is_err());
    }
    let is_valid = |requirement: &&Value| {
        let operator = match access::text(requirement, &["operator"]) {
            "In" => Operator::In,
            "NotIn" => Operator::NotIn,
            "Exists" => Operator::Exists,
            "DoesNotExist" => Operator::DoesNotExist,
            _ => return false,
        };
        let values =
            access::list(requirement, &["values"]).iter().filter_map(|v| v.as_str().map(str::to_owned));
        Requirement::new(access::text(requirement, &["key"]), operator, values.collect()).is_ok()
    };
    let valid = requirements.iter().filter(is_valid).count();
    (valid > 0, valid < requirements.len())
}
