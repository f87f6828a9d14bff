//! Validation of the kinds of `networking.k8s.io`.

use super::super::rules::{Check, Rule, Site, apply, domain_prefixed_path};
use super::super::workload;
use serde_json::Value;
use shim_model::access;
use shim_model::field::FieldError;
use shim_model::names;

const CLASS_ANNOTATION: &str = "kubernetes.io/ingress.class";
const CLASS_CONTROLLER_MAX: usize = 250;
const PROTOCOLS: &[&str] = &["TCP", "UDP", "SCTP"];

/// The rules of an Ingress' spec.
pub(in super::super) const INGRESS: &[Rule] = &[
    Rule::Code(something_to_route),
    Rule::Within("defaultBackend", &[Rule::Code(backend)]),
    Rule::Each("rules", &[Rule::Field("host", &[Check::Code(host)]), Rule::Within("http", PATHS)]),
    Rule::Each(
        "tls",
        &[Rule::Each("hosts", &[Rule::Code(dns_name)]), Rule::Field("secretName", &[Check::Code(secret)])],
    ),
    Rule::Field("ingressClassName", &[Check::Format(names::dns_subdomain)]),
];

const PATHS: &[Rule] = &[Rule::Field("paths", &[Check::Required]), Rule::Each("paths", &[Rule::Code(path)])];

fn something_to_route(spec: &Site<'_>, errors: &mut Vec<FieldError>) {
    if spec.at("rules").len() == 0 && !spec.at("defaultBackend").is_set() {
        let why = "either `defaultBackend` or `rules` must be specified";
        let shown = if spec.at("rules").is_set() { "[]" } else { "null" };
        errors.push(FieldError::invalid_shown(spec, shown, why));
    }
}

fn host(host: &Site<'_>, errors: &mut Vec<FieldError>) {
    if host.text().is_empty() {
        return;
    }
    if host.text().parse::<std::net::IpAddr>().is_ok() {
        errors.push(host.invalid("must be a DNS name, not an IP address"));
    }
    dns_name(host, errors);
}

fn dns_name(host: &Site<'_>, errors: &mut Vec<FieldError>) {
    if host.text().contains('*') {
        errors.extend(host.format(names::wildcard_dns_subdomain));
    } else {
        errors.extend(host.format(names::dns_subdomain));
    }
}

fn secret(name: &Site<'_>, errors: &mut Vec<FieldError>) {
    if !name.text().is_empty() {
        errors.extend(name.format(names::dns_subdomain));
    }
}

fn path(rule: &Site<'_>, errors: &mut Vec<FieldError>) {
    const TYPES: &[&str] = &["Exact", "ImplementationSpecific", "Prefix"];
    const SEQUENCES: [&str; 5] = ["//", "/./", "/../", "%2f", "%2F"];
    let (kind, path) = (rule.at("pathType"), rule.at("path"));
    if !kind.is_set() {
        return errors.push(kind.required("pathType must be specified"));
    }
    match kind.text() {
        "Exact" | "Prefix" => {
            if !path.text().starts_with('/') {
                errors.push(FieldError::invalid(path, path.text(), "must be an absolute path"));
            }
            if !path.text().is_empty() {
                for sequence in SEQUENCES {
                    if path.text().contains(sequence) {
                        errors.push(path.invalid(format!("must not contain '{sequence}'")));
                    }
                }
                for end in ["/..", "/."] {
                    if path.text().ends_with(end) {
                        errors.push(path.invalid(format!("cannot end with '{end}'")));
                    }
                }
            }
        }
        "ImplementationSpecific" => {
            if !path.text().is_empty() && !path.text().starts_with('/') {
                errors.push(path.invalid("must be an absolute path"));
            }
        }
        _ => errors.push(kind.not_supported(TYPES)),
    }
    backend(&rule.at("backend"), errors);
}

fn backend(backend: &Site<'_>, errors: &mut Vec<FieldError>) {
    let (service, resource) = (backend.at("service"), backend.at("resource"));
    match (service.is_set(), resource.is_set()) {
        (true, true) => {
            errors.push(FieldError::invalid(backend, "", "cannot set both resource and service backends"));
        }
        (false, true) => typed_reference(&resource, errors),
        (false, false) => {
            errors.push(FieldError::invalid(backend, "", "resource or service backend is required"));
        }
        (true, false) => service_backend(backend, &service, errors),
    }
}

/// A reference to an object by its kind and name.
fn typed_reference(reference: &Site<'_>, errors: &mut Vec<FieldError>) {
    let group = reference.at("apiGroup");
    if group.is_set() {
        errors.extend(group.format(names::dns_subdomain));
    }
    for member in ["kind", "name"] {
        let member = reference.at(member);
        if member.text().is_empty() {
            errors.push(member.required(""));
        } else {
            errors.extend(member.format(names::path_segment));
        }
    }
}

fn service_backend(backend: &Site<'_>, service: &Site<'_>, errors: &mut Vec<FieldError>) {
    let name = service.at("name");
    if name.text().is_empty() {
        errors.push(name.required(""));
    } else {
        errors.extend(name.format(names::dns_label));
    }
    let port = service.at("port");
    let (by_name, number) = (port.at("name"), port.at("number"));
    let numbered = number.int().unwrap_or(0) != 0;
    match (by_name.text().is_empty(), numbered) {
        (false, true) => {
            errors.push(FieldError::invalid(backend, "", "cannot set both port name & port number"));
        }
        (false, false) => errors.extend(by_name.format(names::port_name)),
        (true, true) => errors
            .extend(names::port_number(number.int().unwrap_or(0)).into_iter().map(|why| number.invalid(why))),
        (true, false) => errors.push(backend.required("port name or number is required")),
    }
}

/// Validates an Ingress.
pub(super) fn ingress(object: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    apply(INGRESS, &Site::root(object).at("spec"), &mut errors);
    errors
}

/// Validates a new Ingress: its class may be in an annotation.
pub(super) fn new_ingress(object: &Value) -> Vec<FieldError> {
    let mut errors = ingress(object);
    let annotation = access::get(object, &["metadata", "annotations", CLASS_ANNOTATION]);
    let class = access::get(object, &["spec", "ingressClassName"]);
    if let (Some(annotation), Some(class)) = (annotation, class)
        && annotation != class
    {
        let field = format!("annotations.{CLASS_ANNOTATION}");
        let why = "must match `ingressClassName` when both are specified";
        errors.push(FieldError::invalid(field, annotation.clone(), why));
    }
    errors
}

/// The rules of an Ingress' status.
pub(in super::super) const INGRESS_STATUS: &[Rule] =
    &[Rule::Within("loadBalancer", &[Rule::Each("ingress", &[Rule::Code(load_balancer_point)])])];

fn load_balancer_point(point: &Site<'_>, errors: &mut Vec<FieldError>) {
    let (ip, host) = (point.at("ip"), point.at("hostname"));
    if !ip.text().is_empty() {
        errors.extend(ip.format(names::ip));
    }
    if !host.text().is_empty() {
        errors.extend(host.format(names::dns_subdomain));
        if host.text().parse::<std::net::IpAddr>().is_ok() {
            errors.push(host.invalid("must be a DNS name, not an IP address"));
        }
    }
}

/// The rules of an IngressClass' spec.
pub(in super::super) const CLASS: &[Rule] =
    &[Rule::Code(controller), Rule::Within("parameters", &[Rule::Code(class_parameters)])];

fn controller(spec: &Site<'_>, errors: &mut Vec<FieldError>) {
    let name = &spec.at("controller");
    if name.text().len() > CLASS_CONTROLLER_MAX {
        errors.push(FieldError::too_long(name, CLASS_CONTROLLER_MAX));
    }
    domain_prefixed_path(name, errors);
}

fn class_parameters(parameters: &Site<'_>, errors: &mut Vec<FieldError>) {
    typed_reference(parameters, errors);
    let (scope, namespace) = (parameters.at("scope"), parameters.at("namespace"));
    match scope.text() {
        "" => errors.push(scope.required("")),
        "Cluster" if namespace.is_set() => {
            errors.push(namespace.forbidden("`parameters.scope` is set to 'Cluster'"));
        }
        "Cluster" => {}
        "Namespace" => {
            if !namespace.is_set() {
                errors.push(namespace.required("`parameters.scope` is set to 'Namespace'"));
            } else {
                errors.extend(namespace.format(names::dns_label));
            }
        }
        _ => errors.push(scope.not_supported(&["Cluster", "Namespace"])),
    }
}

/// The rules of a NetworkPolicy's spec.
pub(in super::super) const POLICY: &[Rule] = &[
    Rule::Field("podSelector", &[Check::Code(selector)]),
    Rule::Each(
        "ingress",
        &[Rule::Each("ports", &[Rule::Code(port)]), Rule::Each("from", &[Rule::Code(peer)])],
    ),
    Rule::Each("egress", &[Rule::Each("ports", &[Rule::Code(port)]), Rule::Each("to", &[Rule::Code(peer)])]),
    Rule::Code(policy_types),
];

fn selector(selector: &Site<'_>, errors: &mut Vec<FieldError>) {
    errors.extend(workload::label_selector(selector.value, format_args!("{selector}")));
}

fn port(rule: &Site<'_>, errors: &mut Vec<FieldError>) {
    let (protocol, port, end) = (rule.at("protocol"), rule.at("port"), rule.at("endPort"));
    if protocol.is_set() && !PROTOCOLS.contains(&protocol.text()) {
        errors.push(protocol.not_supported(PROTOCOLS));
    }
    if !port.is_set() {
        if end.is_set() {
            errors.push(end.invalid("may not be specified when `port` is not specified"));
        }
        return;
    }
    if let Some(number) = port.int() {
        errors.extend(names::port_number(number).into_iter().map(|why| port.invalid(why)));
        if let Some(last) = end.int() {
            if last < number {
                errors.push(FieldError::invalid(end, number, "must be greater than or equal to `port`"));
            }
            errors.extend(names::port_number(last).into_iter().map(|why| end.invalid(why)));
        }
    } else {
        if end.is_set() {
            errors.push(end.invalid("may not be specified when `port` is non-numeric"));
        }
        errors.extend(port.format(names::port_name));
    }
}

fn peer(peer: &Site<'_>, errors: &mut Vec<FieldError>) {
    let (pods, namespaces, block) =
        (peer.at("podSelector"), peer.at("namespaceSelector"), peer.at("ipBlock"));
    for labels in [&pods, &namespaces] {
        if labels.is_set() {
            selector(labels, errors);
        }
    }
    if block.is_set() {
        ip_block(&block, errors);
    }
    match (block.is_set(), pods.is_set() || namespaces.is_set()) {
        (false, false) => errors.push(peer.required("must specify a peer")),
        (true, true) => errors.push(peer.forbidden("may not specify both ipBlock and another peer")),
        _ => {}
    }
}

fn ip_block(block: &Site<'_>, errors: &mut Vec<FieldError>) {
    let cidr = block.at("cidr");
    if cidr.text().is_empty() {
        return errors.push(cidr.required(""));
    }
    errors.extend(cidr.format(names::cidr));
    let Some(whole) = super::Cidr::parse(cidr.text()) else { return };
    for except in block.at("except").items() {
        errors.extend(except.format(names::cidr));
        match super::Cidr::parse(except.text()) {
            Some(part) if !whole.strictly_contains(&part) => {
                errors.push(except.invalid("must be a strict subset of `cidr`"));
            }
            _ => {}
        }
    }
}

fn policy_types(spec: &Site<'_>, errors: &mut Vec<FieldError>) {
    let types = spec.at("policyTypes");
    if types.len() > 2 {
        let why = "may not specify more than two policyTypes";
        return errors.push(types.invalid(why));
    }
    for kind in types.items() {
        if !["Ingress", "Egress"].contains(&kind.text()) {
            errors.push(kind.not_supported(&["Ingress", "Egress"]));
        }
    }
}

/// The rules of an IPAddress.
pub(in super::super) const ADDRESS: &[Rule] = &[Rule::Code(parent)];

fn parent(spec: &Site<'_>, errors: &mut Vec<FieldError>) {
    let parent = spec.at("parentRef");
    if !parent.is_set() {
        return errors.push(parent.required(""));
    }
    let (group, resource, name, namespace) =
        (parent.at("group"), parent.at("resource"), parent.at("name"), parent.at("namespace"));
    if !group.text().is_empty() {
        errors.extend(group.format(names::dns_subdomain));
    }
    for member in [&resource, &name] {
        if member.text().is_empty() {
            errors.push(member.required(""));
        } else {
            errors.extend(member.format(names::path_segment));
        }
    }
    if !namespace.text().is_empty() {
        errors.extend(namespace.format(names::path_segment));
    }
}

/// The rules of a ServiceCIDR's spec.
pub(in super::super) const SERVICE_CIDR: &[Rule] = &[Rule::Code(cidrs)];

fn cidrs(spec: &Site<'_>, errors: &mut Vec<FieldError>) {
    let list = spec.at("cidrs");
    if list.len() == 0 {
        return errors.push(list.required("at least one CIDR required"));
    }
    if list.len() > 2 {
        let shown = format!("{{\"CIDRs\":{}}}", list.value);
        return errors.push(FieldError::invalid_shown(list, shown, "may only hold up to 2 values"));
    }
    list.items().for_each(|cidr| errors.extend(cidr.format(super::canonical_cidr)));
    let families: Vec<bool> =
        list.items().filter_map(|c| super::Cidr::parse(c.text())).map(|c| c.is_ipv4()).collect();
    if families.len() == 2 && families[0] == families[1] {
        errors.push(list.invalid(
            "may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64",
        ));
    }
}
