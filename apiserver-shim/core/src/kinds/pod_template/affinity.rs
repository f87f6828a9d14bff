//! Validation of affinity, tolerations and topology spread constraints.

use std::collections::{BTreeSet, HashMap, HashSet};

use super::super::selector_requirements;
use super::super::workload::label_selector;
use serde_json::Value;
use shim_model::access::{self, Members};
use shim_model::field::{At, FieldError};
use shim_model::names;

/// Validates `spec.affinity`.
pub(super) fn validate(affinity: &Value, at: At<'_>, errors: &mut Vec<FieldError>) {
    if let Some(node) = affinity.get("nodeAffinity") {
        node_affinity(node, format_args!("{at}.nodeAffinity"), errors);
    }
    for kind in ["podAffinity", "podAntiAffinity"] {
        let Some(pods) = affinity.get(kind) else { continue };
        let at = format_args!("{at}.{kind}");
        for (i, term) in
            access::list(pods, &["requiredDuringSchedulingIgnoredDuringExecution"]).iter().enumerate()
        {
            pod_term(term, format_args!("{at}.requiredDuringSchedulingIgnoredDuringExecution[{i}]"), errors);
        }
        for (i, weighted) in
            access::list(pods, &["preferredDuringSchedulingIgnoredDuringExecution"]).iter().enumerate()
        {
            let at = format_args!("{at}.preferredDuringSchedulingIgnoredDuringExecution[{i}]");
            weight(weighted, at, errors);
            pod_term(&weighted["podAffinityTerm"], format_args!("{at}.podAffinityTerm"), errors);
        }
    }
}

fn weight(value: &Value, at: At<'_>, errors: &mut Vec<FieldError>) {
    let weight = access::int(value, &["weight"]).unwrap_or(0);
    if !(1..=100).contains(&weight) {
        errors.push(FieldError::invalid(format!("{at}.weight"), weight, "must be in the range 1-100"));
    }
}

fn node_affinity(node: &Value, at: At<'_>, errors: &mut Vec<FieldError>) {
    if let Some(required) = node.get("requiredDuringSchedulingIgnoredDuringExecution") {
        let at = format_args!("{at}.requiredDuringSchedulingIgnoredDuringExecution");
        validate_node_selector(required, at, errors);
    }
    for (i, preferred) in
        access::list(node, &["preferredDuringSchedulingIgnoredDuringExecution"]).iter().enumerate()
    {
        let at = format_args!("{at}.preferredDuringSchedulingIgnoredDuringExecution[{i}]");
        weight(preferred, at, errors);
        node_term(&preferred["preference"], format_args!("{at}.preference"), errors);
    }
}

/// Validates a node selector.
pub(in super::super) fn validate_node_selector(selector: &Value, at: At<'_>, errors: &mut Vec<FieldError>) {
    let at = format_args!("{at}.nodeSelectorTerms");
    let terms = access::list(selector, &["nodeSelectorTerms"]);
    if terms.is_empty() {
        errors.push(FieldError::required(at, "must have at least one node selector term"));
    }
    for (i, term) in terms.iter().enumerate() {
        node_term(term, format_args!("{at}[{i}]"), errors);
    }
}

fn node_term(term: &Value, at: At<'_>, errors: &mut Vec<FieldError>) {
    for (i, requirement) in access::list(term, &["matchExpressions"]).iter().enumerate() {
        selector_requirements::validate(
            requirement,
            format_args!("{at}.matchExpressions[{i}]"),
            true,
            errors,
        );
    }
    for (i, requirement) in access::list(term, &["matchFields"]).iter().enumerate() {
        match_field(requirement, format_args!("{at}.matchFields[{i}]"), errors);
    }
}

/// A requirement on a field of a Node: only its name can be selected.
fn match_field(requirement: &Value, at: At<'_>, errors: &mut Vec<FieldError>) {
    let values = access::list(requirement, &["values"]);
    match access::text(requirement, &["operator"]) {
        "In" | "NotIn" if values.len() != 1 => {
            let why = "must be only one value when `operator` is 'In' or 'NotIn' for node field selector";
            errors.push(FieldError::required(format!("{at}.values"), why));
        }
        "In" | "NotIn" => {}
        other => {
            let why = "not a valid selector operator";
            errors.push(FieldError::invalid(format!("{at}.operator"), other, why));
        }
    }
    let key = access::text(requirement, &["key"]);
    if key != "metadata.name" {
        return errors.push(FieldError::invalid(format!("{at}.key"), key, "not a valid field selector key"));
    }
    for (j, value) in values.iter().filter_map(Value::as_str).enumerate() {
        let wrong = names::dns_subdomain(value).into_iter();
        errors.extend(wrong.map(|why| FieldError::invalid(format!("{at}.values[{j}]"), value, why)));
    }
}

/// Keys of labels whose values are those of the Pod itself.
fn label_keys(holder: &Value, lists: [&str; 2], at: At<'_>, errors: &mut Vec<FieldError>) {
    let selector = holder.get("labelSelector");
    for list in lists {
        let keys = access::list(holder, &[list]);
        if !keys.is_empty() && selector.is_none() {
            let why = "must not be specified when labelSelector is not set";
            errors.push(FieldError::forbidden(format!("{at}.{list}"), why));
            continue;
        }
        for (i, key) in keys.iter().filter_map(Value::as_str).enumerate() {
            let wrong = names::qualified(key).into_iter();
            errors.extend(wrong.map(|why| FieldError::invalid(format!("{at}.{list}[{i}]"), key, why)));
        }
    }
    let [keys, others] = lists.map(|list| access::list(holder, &[list]));
    let last_of: HashMap<&str, usize> =
        keys.iter().enumerate().filter_map(|(i, key)| Some((key.as_str()?, i))).collect();
    let mut seen: BTreeSet<&str> = selector
        .map(|s| access::entries(s, &["matchLabels"]).map(|(key, _)| key).collect())
        .unwrap_or_default();
    for expression in selector.into_iter().flat_map(|s| access::list(s, &["matchExpressions"])) {
        let key = access::text(expression, &["key"]);
        let is_repeated = !seen.insert(key);
        if let Some(i) = last_of.get(key).filter(|_| is_repeated) {
            let why = "exists in both matchLabelKeys and labelSelector";
            errors.push(FieldError::invalid(format!("{at}[{i}]"), key, why));
        }
    }
    let others: HashSet<&Value> = others.iter().collect();
    for (i, key) in keys.iter().enumerate().filter(|(_, key)| others.contains(key)) {
        let why = "exists in both matchLabelKeys and mismatchLabelKeys";
        errors.push(FieldError::invalid(format!("{at}.{}[{i}]", lists[0]), key.clone(), why));
    }
}

fn pod_term(term: &Value, at: At<'_>, errors: &mut Vec<FieldError>) {
    for key in ["labelSelector", "namespaceSelector"] {
        if let Some(selector) = term.get(key) {
            errors.extend(label_selector(selector, format_args!("{at}.{key}")));
        }
    }
    for namespace in access::list(term, &["namespaces"]) {
        let name = namespace.as_str().unwrap_or("");
        errors.extend(
            names::dns_label(name)
                .into_iter()
                .map(|d| FieldError::invalid(format!("{at}.namespace"), name, d)),
        );
    }
    label_keys(term, ["matchLabelKeys", "mismatchLabelKeys"], at, errors);
    let key = access::text(term, &["topologyKey"]);
    if key.is_empty() {
        errors.push(FieldError::required(format!("{at}.topologyKey"), "can not be empty"));
    }
    errors.extend(
        names::qualified(key).into_iter().map(|d| FieldError::invalid(format!("{at}.topologyKey"), key, d)),
    );
}

/// Validates tolerations.
pub(in super::super) fn validate_tolerations(list: &[Value], field: At<'_>, errors: &mut Vec<FieldError>) {
    for (i, toleration) in list.iter().enumerate() {
        let at = format_args!("{field}[{i}]");
        let text = |key: &str| access::text(toleration, &[key]);
        let (key, operator, effect, value) = (text("key"), text("operator"), text("effect"), text("value"));
        if !key.is_empty() {
            errors.extend(
                names::qualified(key).into_iter().map(|d| FieldError::invalid(format!("{at}.key"), key, d)),
            );
        }
        if key.is_empty() && operator != "Exists" {
            let detail =
                "operator must be Exists when `key` is empty, which means \"match all values and all keys\"";
            errors.push(FieldError::invalid(format!("{at}.operator"), operator, detail));
        }
        if effect != "NoExecute" && toleration.get("tolerationSeconds").is_some() {
            let detail = "effect must be 'NoExecute' when `tolerationSeconds` is set";
            errors.push(FieldError::invalid(format!("{at}.effect"), effect, detail));
        }
        match operator {
            "" | "Equal" => {
                let wrong = names::label_value(value);
                if !wrong.is_empty() {
                    errors.push(FieldError::invalid(format!("{at}.operator"), value, wrong.join(";")));
                }
            }
            "Exists" if !value.is_empty() => {
                let why = "value must be empty when `operator` is 'Exists'";
                errors.push(FieldError::invalid(format!("{at}.operator"), value, why));
            }
            "Exists" => {}
            // Comparisons are a feature that is off.
            "Lt" | "Gt" => {
                let known = ["Equal", "Exists", "Lt", "Gt"];
                errors.push(FieldError::not_supported(format!("{at}.operator"), operator, &known));
            }
            other => {
                errors.push(FieldError::not_supported(format!("{at}.operator"), other, &["Equal", "Exists"]))
            }
        }
        const EFFECTS: &[&str] = &["NoSchedule", "PreferNoSchedule", "NoExecute"];
        if !effect.is_empty() && !EFFECTS.contains(&effect) {
            errors.push(FieldError::not_supported(format!("{at}.effect"), effect, EFFECTS));
        }
    }
}

/// Validates topology spread constraints.
pub(super) fn validate_spread(spec: &Members<'_>, field: At<'_>, errors: &mut Vec<FieldError>) {
    for (i, constraint) in spec.list("topologySpreadConstraints").iter().enumerate() {
        let at = format_args!("{field}.topologySpreadConstraints[{i}]");
        let skew = access::int(constraint, &["maxSkew"]).unwrap_or(0);
        if skew <= 0 {
            errors.push(FieldError::invalid(format!("{at}.maxSkew"), skew, "must be greater than zero"));
        }
        let key = access::text(constraint, &["topologyKey"]);
        if key.is_empty() {
            errors.push(FieldError::required(format!("{at}.topologyKey"), "can not be empty"));
        }
        let when = access::text(constraint, &["whenUnsatisfiable"]);
        if !["DoNotSchedule", "ScheduleAnyway"].contains(&when) {
            errors.push(FieldError::not_supported(
                format!("{at}.whenUnsatisfiable"),
                when,
                &["DoNotSchedule", "ScheduleAnyway"],
            ));
        }
        let later = &spec.list("topologySpreadConstraints")[i + 1..];
        let alike = |other: &Value| {
            access::text(other, &["topologyKey"]) == key
                && access::text(other, &["whenUnsatisfiable"]) == when
        };
        if later.iter().any(alike) {
            let at = format!("{at}.{{topologyKey, whenUnsatisfiable}}");
            errors.push(FieldError::duplicate(at, format!("{{{key}, {when}}}")));
        }
        if let Some(domains) = access::int(constraint, &["minDomains"]) {
            if domains <= 0 {
                errors.push(FieldError::invalid(
                    format!("{at}.minDomains"),
                    domains,
                    "must be greater than zero",
                ));
            }
            if when != "DoNotSchedule" {
                let detail =
                    format!("can only use minDomains if whenUnsatisfiable=DoNotSchedule, not {when}");
                errors.push(FieldError::invalid(format!("{at}.minDomains"), domains, detail));
            }
        }
        for key in ["nodeAffinityPolicy", "nodeTaintsPolicy"] {
            let policies = ["Honor", "Ignore"];
            let policy = constraint.get(key).and_then(Value::as_str);
            if let Some(policy) = policy.filter(|policy| !policies.contains(policy)) {
                errors.push(FieldError::not_supported(format!("{at}.{key}"), policy, &policies));
            }
        }
        label_keys(constraint, ["matchLabelKeys", ""], at, errors);
        if let Some(selector) = constraint.get("labelSelector") {
            errors.extend(label_selector(selector, format_args!("{at}.labelSelector")));
        }
    }
}
