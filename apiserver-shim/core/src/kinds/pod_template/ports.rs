//! Validation of container ports, and of host ports across containers.

use super::SpecOf;
use super::containers::choice;
use serde_json::Value;
use shim_model::access::{self, Members};
use shim_model::field::{At, FieldError};
use shim_model::names;
use std::collections::BTreeSet;

/// Validates the ports of a container.
pub(super) fn validate(container: &Members<'_>, at: At<'_>, errors: &mut Vec<FieldError>) {
    let mut seen = BTreeSet::new();
    for (i, port) in container.list("ports").iter().enumerate() {
        let at = format_args!("{at}.ports[{i}]");
        let name = access::text(port, &["name"]);
        if !name.is_empty() {
            let wrong = names::port_name(name);
            let fine = wrong.is_empty();
            errors.extend(wrong.into_iter().map(|d| FieldError::invalid(format!("{at}.name"), name, d)));
            if fine && !seen.insert(name) {
                errors.push(FieldError::duplicate(format!("{at}.name"), name));
            }
        }
        match access::int(port, &["containerPort"]).unwrap_or(0) {
            0 => errors.push(FieldError::required(format!("{at}.containerPort"), "")),
            n => errors.extend(
                names::port_number(n)
                    .into_iter()
                    .map(|d| FieldError::invalid(format!("{at}.containerPort"), n, d)),
            ),
        }
        if let Some(n) = access::int(port, &["hostPort"]).filter(|n| *n != 0) {
            errors.extend(
                names::port_number(n)
                    .into_iter()
                    .map(|d| FieldError::invalid(format!("{at}.hostPort"), n, d)),
            );
        }
        let protocol = access::text(port, &["protocol"]);
        choice(protocol, format_args!("{at}.protocol"), &["SCTP", "TCP", "UDP"], errors);
    }
}

/// Validates that no two containers have the same host port.
pub(super) fn unique_host_ports(containers: &[Value], field: At<'_>, errors: &mut Vec<FieldError>) {
    let mut seen = BTreeSet::new();
    for (i, container) in containers.iter().enumerate() {
        for (j, port) in access::list(container, &["ports"]).iter().enumerate() {
            let Some(n) = access::int(port, &["hostPort"]).filter(|n| *n != 0) else { continue };
            let key =
                format!("{}/{}/{n}", access::text(port, &["protocol"]), access::text(port, &["hostIP"]));
            if !seen.insert(key.clone()) {
                errors.push(FieldError::duplicate(format!("{field}[{i}].ports[{j}].hostPort"), key));
            }
        }
    }
}

/// With `hostNetwork` a container's ports are the node's. A template may omit `hostPort`: the Pod gets the default.
pub(super) fn host_network(spec: &Members<'_>, field: At<'_>, of: SpecOf, errors: &mut Vec<FieldError>) {
    if !spec.flag("hostNetwork") {
        return;
    }
    for (i, container) in spec.list("containers").iter().enumerate() {
        for (j, port) in access::list(container, &["ports"]).iter().enumerate() {
            let number = |key: &str| access::int(port, &[key]).unwrap_or(0);
            let (host, own) = (number("hostPort"), number("containerPort"));
            if (of == SpecOf::Pod || host != 0) && host != own {
                errors.push(FieldError::invalid(
                    format!("{field}.containers[{i}].ports[{j}].hostPort"),
                    host,
                    "must match `containerPort` when `hostNetwork` is true",
                ));
            }
        }
    }
}
