//! Validation of a Pod spec: policies, names, then the parts in upstream's order.

use std::collections::BTreeSet;

use super::{affinity, containers, ports, security, validate_template_metadata, volumes, windows};
use serde_json::Value;
use shim_model::access::{self, Members};
use shim_model::field::{At, FieldError};
use shim_model::names;

/// Validates a template: metadata and spec.
pub(in super::super) fn validate_template(template: &Value, field: At<'_>) -> Vec<FieldError> {
    let mut errors = Vec::new();
    validate_template_metadata(template, field, &mut errors);
    errors.extend(validate_spec(&template["spec"], format_args!("{field}.spec"), SpecOf::Template));
    if access::get(template, &["spec", "ephemeralContainers"]).is_some_and(|e| !access::is_zero(e)) {
        let detail = "ephemeral containers not allowed in pod template";
        errors.push(FieldError::forbidden(format!("{field}.spec.ephemeralContainers"), detail));
    }
    errors
}

/// What a Pod spec is part of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum SpecOf {
    Pod,
    Template,
}

/// Validates a Pod spec.
pub(in super::super) fn validate_spec(spec: &Value, field: At<'_>, of: SpecOf) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let spec = &Members::of(spec);
    let volumes = volumes::validate(spec, field, &mut errors);
    let claims = spec.list("resourceClaims");
    super::resources::validate_pod_claims(claims, format_args!("{field}.resourceClaims"), &mut errors);
    containers::validate(spec, field, &volumes, &mut errors);
    if let Some(resources) = spec.get("resources") {
        super::resources::validate_pod_level(spec, resources, format_args!("{field}.resources"), &mut errors);
    }
    ports::host_network(spec, field, of, &mut errors);
    required_choice(spec, "restartPolicy", &["Always", "OnFailure", "Never"], field, &mut errors);
    required_choice(spec, "dnsPolicy", DNS_POLICIES, field, &mut errors);
    super::metadata::labels(spec.get("nodeSelector"), format_args!("{field}.nodeSelector"), &mut errors);
    security::validate_pod(spec, field, &mut errors);
    if let Some(affinity) = spec.get("affinity") {
        affinity::validate(affinity, format_args!("{field}.affinity"), &mut errors);
    }
    dns(spec, field, &mut errors);
    gates(spec, field, &mut errors);
    affinity::validate_spread(spec, field, &mut errors);
    windows::host_processes(spec, field, &mut errors);
    security::validate_host_users(spec, field, &mut errors);
    named_things(spec, field, &mut errors);
    if let Some(overhead) = spec.get("overhead") {
        super::resources::validate_overhead(overhead, format_args!("{field}.overhead"), &mut errors);
    }
    security::validate_os(spec, field, &mut errors);
    files_of_variables(spec, field, &mut errors);
    errors
}

/// Variables come from files of empty directories only.
fn files_of_variables(spec: &Members<'_>, field: At<'_>, errors: &mut Vec<FieldError>) {
    for list in ["initContainers", "containers", "ephemeralContainers"] {
        for (i, container) in spec.list(list).iter().enumerate() {
            for (j, variable) in access::list(container, &["env"]).iter().enumerate() {
                let Some(file) = access::get(variable, &["valueFrom", "fileKeyRef"]) else { continue };
                let name = access::text(file, &["volumeName"]);
                let at = format!("{field}.{list}[{i}].env[{j}].valueFrom.fileKeyRef.volumeName");
                match spec.list("volumes").iter().find(|volume| access::text(volume, &["name"]) == name) {
                    None => errors.push(FieldError::not_found(at, name)),
                    Some(volume) if access::get(volume, &["emptyDir"]).is_none() => {
                        let why = "referenced volume must be of type emptyDir";
                        errors.push(FieldError::invalid(at, name, why));
                    }
                    Some(_) => {}
                }
            }
        }
    }
}

const DNS_POLICIES: &[&str] = &["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"];

fn required_choice(
    spec: &Members<'_>,
    key: &str,
    choices: &[&str],
    field: At<'_>,
    errors: &mut Vec<FieldError>,
) {
    let value = spec.text(key);
    if value.is_empty() {
        errors.push(FieldError::required(format!("{field}.{key}"), ""));
    } else if !choices.contains(&value) {
        errors.push(FieldError::not_supported(format!("{field}.{key}"), value, choices));
    }
}

/// Limits of a Pod's DNS configuration: name servers, search paths, characters of all search paths.
const NAMESERVERS_MAX: usize = 3;
const SEARCHES_MAX: usize = 32;
const SEARCH_CHARS_MAX: usize = 2048;

fn dns(spec: &Members<'_>, field: At<'_>, errors: &mut Vec<FieldError>) {
    let at = format_args!("{field}.dnsConfig");
    let none = spec.text("dnsPolicy") == "None";
    let Some(config) = spec.get("dnsConfig") else {
        if none {
            errors.push(FieldError::required(at, "must provide `dnsConfig` when `dnsPolicy` is None"));
        }
        return;
    };
    let servers = access::list(config, &["nameservers"]);
    if none && servers.is_empty() {
        let detail = "must provide at least one DNS nameserver when `dnsPolicy` is None";
        errors.push(FieldError::required(format!("{at}.nameservers"), detail));
    }
    if servers.len() > NAMESERVERS_MAX {
        let detail = format!("must not have more than {NAMESERVERS_MAX} nameservers");
        errors.push(FieldError::invalid(format!("{at}.nameservers"), Value::from(servers.to_vec()), detail));
    }
    for (i, server) in servers.iter().enumerate() {
        let text = server.as_str().unwrap_or("");
        errors.extend(
            names::ip(text)
                .into_iter()
                .map(|d| FieldError::invalid(format!("{at}.nameservers[{i}]"), text, d)),
        );
    }
    let searches = access::list(config, &["searches"]);
    if searches.len() > SEARCHES_MAX {
        let detail = format!("must not have more than {SEARCHES_MAX} search paths");
        errors.push(FieldError::invalid(format!("{at}.searches"), Value::from(searches.to_vec()), detail));
    }
    let length: usize = searches.iter().filter_map(Value::as_str).map(|s| s.len() + 1).sum();
    if length > SEARCH_CHARS_MAX + 1 {
        let detail = format!(
            "must not have more than {SEARCH_CHARS_MAX} characters (including spaces) in the search list"
        );
        errors.push(FieldError::invalid(format!("{at}.searches"), Value::from(searches.to_vec()), detail));
    }
    for (i, search) in searches.iter().enumerate() {
        let text = search.as_str().unwrap_or("");
        let bare = if text == "." { "" } else { text.strip_suffix('.').unwrap_or(text) };
        if text != "." {
            let wrong = names::dns_subdomain_underscore(bare);
            errors.extend(
                wrong.into_iter().map(|d| FieldError::invalid(format!("{at}.searches[{i}]"), bare, d)),
            );
        }
    }
    for (i, option) in access::list(config, &["options"]).iter().enumerate() {
        if access::text(option, &["name"]).is_empty() {
            errors.push(FieldError::required(format!("{at}.options[{i}]"), "must not be empty"));
        }
    }
}

/// Names and other short values, in upstream's order.
fn named_things(spec: &Members<'_>, field: At<'_>, errors: &mut Vec<FieldError>) {
    let format = |key: &str, check: fn(&str) -> Vec<String>, errors: &mut Vec<FieldError>| {
        let value = spec.text(key);
        if !value.is_empty() {
            let wrong = check(value).into_iter();
            errors.extend(wrong.map(|why| FieldError::invalid(format!("{field}.{key}"), value, why)));
        }
    };
    hostname_override(spec, field, errors);
    format("serviceAccountName", names::dns_subdomain, errors);
    format("nodeName", names::dns_subdomain, errors);
    if let Some(deadline) =
        spec.int("activeDeadlineSeconds").filter(|d| !(1..=i64::from(i32::MAX)).contains(d))
    {
        let detail = "must be between 1 and 2147483647, inclusive";
        errors.push(FieldError::invalid(format!("{field}.activeDeadlineSeconds"), deadline, detail));
    }
    format("hostname", names::dns_label, errors);
    format("subdomain", names::dns_label, errors);
    let tolerations = spec.list("tolerations");
    affinity::validate_tolerations(tolerations, format_args!("{field}.tolerations"), errors);
    host_aliases(spec, field, errors);
    format("priorityClassName", names::dns_subdomain, errors);
    if let Some(class) = spec.get("runtimeClassName").and_then(Value::as_str) {
        let at = format_args!("{field}.runtimeClassName");
        errors.extend(names::dns_subdomain(class).into_iter().map(|why| FieldError::invalid(at, class, why)));
    }
    if spec.get("preemptionPolicy").is_some() {
        required_choice(spec, "preemptionPolicy", &["PreemptLowerPriority", "Never"], field, errors);
    }
}

fn hostname_override(spec: &Members<'_>, field: At<'_>, errors: &mut Vec<FieldError>) {
    const LENGTH_MAX: usize = 64;
    let Some(name) = spec.get("hostnameOverride").and_then(Value::as_str) else { return };
    let at = format_args!("{field}.hostnameOverride");
    if spec.flag("setHostnameAsFQDN") {
        errors.push(FieldError::forbidden(at, "may not be specified when setHostnameAsFQDN is true"));
    }
    if spec.flag("hostNetwork") {
        errors.push(FieldError::forbidden(at, "may not be specified when hostNetwork is true"));
    }
    if name.len() > LENGTH_MAX {
        errors.push(FieldError::too_long(at, LENGTH_MAX));
    }
    errors.extend(names::dns_subdomain(name).into_iter().map(|why| FieldError::invalid(at, name, why)));
}

fn host_aliases(spec: &Members<'_>, field: At<'_>, errors: &mut Vec<FieldError>) {
    for (i, alias) in spec.list("hostAliases").iter().enumerate() {
        let at = format_args!("{field}.hostAliases[{i}]");
        let ip = access::text(alias, &["ip"]);
        errors.extend(names::ip(ip).into_iter().map(|why| FieldError::invalid(format!("{at}.ip"), ip, why)));
        for (j, host) in access::list(alias, &["hostnames"]).iter().enumerate() {
            let host = host.as_str().unwrap_or("");
            let wrong = names::dns_subdomain(host).into_iter();
            errors.extend(wrong.map(|d| FieldError::invalid(format!("{at}.hostnames[{j}]"), host, d)));
        }
    }
}

fn gates(spec: &Members<'_>, field: At<'_>, errors: &mut Vec<FieldError>) {
    for (i, gate) in spec.list("readinessGates").iter().enumerate() {
        let ty = access::text(gate, &["conditionType"]);
        let at = format_args!("{field}.readinessGates[{i}].conditionType");
        errors.extend(names::qualified(ty).into_iter().map(|d| FieldError::invalid(at, ty, d)));
    }
    let mut seen = BTreeSet::new();
    for (i, gate) in spec.list("schedulingGates").iter().enumerate() {
        let name = access::text(gate, &["name"]);
        let at = format_args!("{field}.schedulingGates[{i}]");
        errors.extend(names::qualified(name).into_iter().map(|d| FieldError::invalid(at, name, d)));
        if !seen.insert(name) {
            errors.push(FieldError::duplicate(at, name));
        }
    }
}
