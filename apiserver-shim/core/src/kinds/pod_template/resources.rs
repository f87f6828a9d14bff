//! Validation of requests and limits.

use std::collections::{BTreeMap, BTreeSet};

use super::super::resource_names;
use super::containers::choice;
use serde_json::Value;
use shim_model::access::{self, Members};
use shim_model::field::{At, FieldError};
use shim_model::names;
use shim_model::quantity::Quantity;

const STANDARD: [&str; 3] = ["cpu", "memory", "ephemeral-storage"];

/// Whether a resource name is that of an extended resource.
pub(in super::super) fn is_extended(name: &str) -> bool {
    crate::resource_list::is_extended(name)
}

fn amount(value: Option<&Value>) -> Option<Quantity> {
    value?.as_str()?.parse().ok()
}

/// Validates what a Pod costs beside its containers, or the same of a RuntimeClass.
pub(in super::super) fn validate_overhead(overhead: &Value, at: At<'_>, errors: &mut Vec<FieldError>) {
    validate(&serde_json::json!({"limits": overhead}), at, errors);
}

/// The rules of the names of resources.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Names {
    Container,
    Pod,
}

/// Validates a container's resources.
pub(super) fn validate(resources: &Value, at: At<'_>, errors: &mut Vec<FieldError>) {
    requirements(resources, Names::Container, at, errors);
}

fn requirements(resources: &Value, kind: Names, at: At<'_>, errors: &mut Vec<FieldError>) {
    let Some(members) = resources.as_object() else { return };
    let limits = members.get("limits");
    for (name, value) in limits.and_then(Value::as_object).into_iter().flatten() {
        one(name, amount(Some(value)), kind, format_args!("{at}.limits[{name}]"), errors);
    }
    for (name, value) in members.get("requests").and_then(Value::as_object).into_iter().flatten() {
        let request = amount(Some(value));
        let place = format_args!("{at}.requests[{name}]");
        name_errors(name, kind, place, errors);
        let Some(request) = request else { continue };
        amount_errors(name, request, place, errors);
        let overcommit = !(is_extended(name) || name.starts_with("hugepages-"));
        let limit = amount(limits.and_then(|limits| limits.get(name)));
        let mut refuse = |detail: String| {
            errors.push(FieldError::invalid(format!("{at}.requests"), request.to_string(), detail));
        };
        match limit {
            Some(limit) if !overcommit && request != limit => {
                refuse(format!("must be equal to {name} limit of {limit}"));
            }
            Some(limit) if request > limit => {
                refuse(format!("must be less than or equal to {name} limit of {limit}"));
            }
            None if !overcommit => {
                let why = "Limit must be set for non overcommitable resources";
                errors.push(FieldError::required(format!("{at}.limits"), why));
            }
            _ => {}
        }
        page_errors(name, request, place, errors);
    }
    let names = || {
        let lists = ["limits", "requests"].into_iter();
        lists.flat_map(|list| {
            members.get(list).and_then(Value::as_object).into_iter().flatten().map(|(name, _)| name)
        })
    };
    if names().any(|name| name.starts_with("hugepages-"))
        && !names().any(|name| name == "cpu" || name == "memory")
    {
        errors.push(FieldError::forbidden(at, "HugePages require cpu or memory"));
    }
}

fn one(name: &str, amount: Option<Quantity>, kind: Names, at: At<'_>, errors: &mut Vec<FieldError>) {
    name_errors(name, kind, at, errors);
    let Some(amount) = amount else { return };
    amount_errors(name, amount, at, errors);
    page_errors(name, amount, at, errors);
}

fn name_errors(name: &str, kind: Names, at: At<'_>, errors: &mut Vec<FieldError>) {
    const POD_LEVEL: [&str; 3] = ["cpu", "hugepages-", "memory"];
    let before = errors.len();
    errors.extend(names::qualified(name).into_iter().map(|d| FieldError::invalid(at, name, d)));
    let is_qualified = errors.len() == before;
    if is_qualified && !name.contains('/') && !resource_names::is_standard(name) {
        errors.push(FieldError::invalid(at, name, "must be a standard resource type or fully qualified"));
    }
    match kind {
        Names::Container if !name.contains('/') => {
            if !name.starts_with("hugepages-") && !STANDARD.contains(&name) {
                errors.push(FieldError::invalid(at, name, "must be a standard resource for containers"));
            }
        }
        Names::Container if name.contains("kubernetes.io/") || is_extended(name) => {}
        Names::Container => {
            errors.push(FieldError::invalid(at, name, "doesn't follow extended resource name standard"));
        }
        Names::Pod => {
            let is_known = ["cpu", "memory"].contains(&name) || name.starts_with("hugepages-");
            if errors.len() == before && !is_known {
                errors.push(FieldError::not_supported(at, name, &POD_LEVEL));
            }
        }
    }
}

fn amount_errors(name: &str, amount: Quantity, at: At<'_>, errors: &mut Vec<FieldError>) {
    if amount.sign() < 0 {
        errors.push(FieldError::invalid(at, amount.to_string(), "must be greater than or equal to 0"));
    }
    if resource_names::is_integer(name) && !amount.is_whole() {
        errors.push(FieldError::invalid(at, amount.to_string(), "must be an integer"));
    }
}

fn page_errors(name: &str, amount: Quantity, at: At<'_>, errors: &mut Vec<FieldError>) {
    let Some(page) = name.strip_prefix("hugepages-").map(str::parse::<Quantity>) else { return };
    let is_multiple = page.is_ok_and(|page| {
        amount.is_whole() && page.is_whole() && page.units() > 0 && amount.units() % page.units() == 0
    });
    if !is_multiple {
        let detail = format!("{amount} is not positive integer multiple of {name}");
        errors.push(FieldError::invalid(at, amount.to_string(), detail));
    }
}

/// Validates the resource claims of a container, which are claims of the Pod.
pub(super) fn validate_claims(
    resources: &Value,
    of_pod: &BTreeSet<&str>,
    at: At<'_>,
    errors: &mut Vec<FieldError>,
) {
    let mut seen = BTreeSet::new();
    for (i, claim) in access::list(resources, &["claims"]).iter().enumerate() {
        let at = format_args!("{at}.claims[{i}]");
        let name = access::text(claim, &["name"]);
        if name.is_empty() {
            errors.push(FieldError::required(at, ""));
            continue;
        }
        let request = access::text(claim, &["request"]);
        if !request.is_empty() {
            let wrong = names::dns_label(request).into_iter();
            errors.extend(wrong.map(|why| FieldError::invalid(format!("{at}.request"), request, why)));
        }
        if !seen.insert((name, request)) {
            let twice = if request.is_empty() { name.to_owned() } else { format!("{name}/{request}") };
            errors.push(FieldError::duplicate(at, twice));
        }
        if !of_pod.contains(name) {
            let known: Vec<&str> = of_pod.iter().copied().collect();
            let known = if known.is_empty() {
                " which is empty".to_owned()
            } else {
                format!(": {}", known.join(", "))
            };
            let detail = format!("must be one of the names in pod.spec.resourceClaims{known}");
            errors.push(FieldError::not_found(at, name).with_detail(detail));
        }
    }
}

/// Validates the resource claims of a Pod.
pub(super) fn validate_pod_claims(claims: &[Value], at: At<'_>, errors: &mut Vec<FieldError>) {
    let mut seen = BTreeSet::new();
    for (i, claim) in claims.iter().enumerate() {
        let at = format_args!("{at}[{i}]");
        let name = access::text(claim, &["name"]);
        if name.is_empty() {
            errors.push(FieldError::required(format!("{at}.name"), ""));
        } else if !seen.insert(name) {
            errors.push(FieldError::duplicate(format!("{at}.name"), name));
        } else {
            let wrong = names::dns_label(name);
            errors.extend(wrong.into_iter().map(|d| FieldError::invalid(format!("{at}.name"), name, d)));
        }
        let keys = ["resourceClaimName", "resourceClaimTemplateName"];
        let [own, template] = keys.map(|key| claim.get(key).filter(|name| !name.is_null()));
        let shown = || {
            let or_null = |value: Option<&Value>| value.unwrap_or(&Value::Null).to_string();
            format!(
                "{{\"Name\":{},\"ResourceClaimName\":{},\"ResourceClaimTemplateName\":{}}}",
                Value::from(name),
                or_null(own),
                or_null(template)
            )
        };
        if own.is_some() && template.is_some() {
            let detail = "at most one of `resourceClaimName` or `resourceClaimTemplateName` may be specified";
            errors.push(FieldError::invalid_shown(at, shown(), detail));
        } else if own.is_none() && template.is_none() {
            let detail = "must specify one of: `resourceClaimName`, `resourceClaimTemplateName`";
            errors.push(FieldError::invalid_shown(at, shown(), detail));
        }
        for (key, value) in keys.iter().zip([own, template]) {
            let value = value.and_then(Value::as_str).unwrap_or("");
            if claim.get(*key).is_some_and(Value::is_string) {
                let wrong = names::dns_subdomain(value);
                errors
                    .extend(wrong.into_iter().map(|d| FieldError::invalid(format!("{at}.{key}"), value, d)));
            }
        }
    }
}

/// Validates that the Pod's own requests cover those of its containers, and that no container's limit exceeds the Pod's.
fn covers_containers(spec: &Members<'_>, resources: &Value, at: At<'_>, errors: &mut Vec<FieldError>) {
    let own = |list: &str, name: &str| amount(access::get(resources, &[list, name]));
    for list in ["requests", "limits"] {
        for (name, sum) in of_containers(spec, list) {
            // Containers may share what the Pod's limit of other resources leaves.
            let counts = list == "requests" || name.starts_with("hugepages-");
            if let Some(own) = own(list, &name).filter(|own| counts && sum > *own) {
                let detail = format!("must be greater than or equal to aggregate container {list} of {sum}");
                errors.push(FieldError::invalid(format!("{at}.{list}[{name}]"), own.to_string(), detail));
            }
        }
    }
    for (i, container) in spec.list("containers").iter().enumerate() {
        for (name, limit) in access::entries(container, &["resources", "limits"]) {
            let (Some(limit), Some(own)) = (amount(Some(limit)), own("limits", name)) else { continue };
            if limit > own {
                let at = format!("{at}.containers[{i}][{name}].limits");
                let detail = format!("must be less than or equal to pod limits of {own}");
                errors.push(FieldError::invalid(at, limit.to_string(), detail));
            }
        }
    }
}

/// What the containers request (or are limited to) at once at any time, by resource.
fn of_containers(spec: &Members<'_>, list: &str) -> BTreeMap<String, Quantity> {
    type Amounts = BTreeMap<String, Quantity>;
    let of = |container: &Value| -> Amounts {
        let path = ["resources", list];
        let amounts = access::entries(container, &path);
        amounts.filter_map(|(name, value)| Some((name.to_owned(), amount(Some(value))?))).collect()
    };
    let add = |to: &mut Amounts, more: &Amounts| {
        for (name, more) in more {
            let sum = to.entry(name.clone()).or_insert(Quantity::ZERO);
            *sum = sum.plus(*more);
        }
    };
    let (mut sidecars, mut peak) = (Amounts::new(), Amounts::new());
    for container in spec.list("initContainers") {
        let mut moment = of(container);
        if access::text(container, &["restartPolicy"]) == "Always" {
            add(&mut sidecars, &moment);
            moment = sidecars.clone();
        } else {
            add(&mut moment, &sidecars);
        }
        for (name, amount) in moment {
            let highest = peak.entry(name).or_insert(Quantity::ZERO);
            *highest = (*highest).max(amount);
        }
    }
    let mut total = sidecars;
    spec.list("containers").iter().for_each(|container| add(&mut total, &of(container)));
    for (name, amount) in peak {
        let sum = total.entry(name).or_insert(Quantity::ZERO);
        *sum = (*sum).max(amount);
    }
    total
}

/// Validates Pod-level resources.
pub(super) fn validate_pod_level(
    spec: &Members<'_>,
    resources: &Value,
    at: At<'_>,
    errors: &mut Vec<FieldError>,
) {
    if spec.get("os").is_some_and(|os| access::text(os, &["name"]) == "windows") {
        return errors.push(FieldError::forbidden(at, "may not be set for a windows pod"));
    }
    if resources.get("claims").is_some_and(|claims| !claims.is_null()) {
        let detail = "claims may not be set for Resources at pod-level";
        errors.push(FieldError::forbidden(format!("{at}.claims"), detail));
    }
    requirements(resources, Names::Pod, at, errors);
    let claims = spec.list("resourceClaims").iter().map(|claim| access::text(claim, &["name"]));
    let claims = claims.filter(|name| !name.is_empty()).collect();
    validate_claims(resources, &claims, at, errors);
    covers_containers(spec, resources, at, errors);
}

/// Validates a container's resize policy.
pub(super) fn validate_resize_policy(
    container: &Members<'_>,
    at: At<'_>,
    never_restarts: bool,
    errors: &mut Vec<FieldError>,
) {
    let mut seen = BTreeSet::new();
    for (i, policy) in container.list("resizePolicy").iter().enumerate() {
        let (resource, restart) =
            (access::text(policy, &["resourceName"]), access::text(policy, &["restartPolicy"]));
        if !seen.insert(resource) {
            errors.push(FieldError::duplicate(format!("{at}.resizePolicy[{i}]"), resource));
        }
        choice(resource, format_args!("{at}.resizePolicy"), &["cpu", "memory"], errors);
        let restarts = ["NotRequired", "RestartContainer"];
        choice(restart, format_args!("{at}.resizePolicy"), &restarts, errors);
        if never_restarts && restart != "NotRequired" {
            let detail = "must be 'NotRequired' when pod `restartPolicy` is 'Never'";
            errors.push(FieldError::invalid(format!("{at}.resizePolicy"), restart, detail));
        }
    }
}
