//! Endpoints and EndpointSlices.

use super::rules::Site;
use super::{Strategy, cells, metadata, warnings};
use serde_json::Value;
use shim_model::access;
use shim_model::field::{At, FieldError};
use shim_model::names;
use shim_model::time::Instant;
use std::collections::BTreeSet;
use std::net::IpAddr;

pub(super) struct Endpoints;
pub(super) struct EndpointSlice;

/// The label that names the controller of Endpoints.
const MANAGED_BY: &str = "endpoints.kubernetes.io/managed-by";
/// The label that names the controller of an EndpointSlice.
const SLICE_MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
/// Maximum number of addresses in a table cell.
const SHOWN_MAX: usize = 3;

impl Strategy for Endpoints {
    fn default(&self, object: &mut Value) {
        for subset in access::list_mut(object, &["subsets"]).into_iter().flatten() {
            for port in access::list_mut(subset, &["ports"]).into_iter().flatten() {
                access::set_if_zero(access::as_object(port), "protocol", "TCP");
            }
        }
    }

    fn warnings(&self, new: &Value, _old: Option<&Value>) -> Vec<String> {
        let mut out = Vec::new();
        if access::text(new, &["metadata", "labels", MANAGED_BY]) == "endpoint-controller" {
            return out;
        }
        let root = Site::root(new);
        for subset in root.at("subsets").items() {
            for list in ["addresses", "notReadyAddresses"] {
                let addresses = subset.at(list);
                addresses.items().for_each(|of| warnings::ip(of.at("ip"), of.at("ip").text(), &mut out));
            }
        }
        out
    }

    fn validate_create(&self, object: &Value) -> Vec<FieldError> {
        let mut errors = Vec::new();
        for (i, subset) in access::list(object, &["subsets"]).iter().enumerate() {
            let at = format!("subsets[{i}]");
            let (ready, not) =
                (access::list(subset, &["addresses"]), access::list(subset, &["notReadyAddresses"]));
            if ready.is_empty() && not.is_empty() {
                errors.push(FieldError::required(
                    at.clone(),
                    "must specify `addresses` or `notReadyAddresses`",
                ));
            }
            for (list, addresses) in [("addresses", ready), ("notReadyAddresses", not)] {
                for (j, address) in addresses.iter().enumerate() {
                    let at = format!("{at}.{list}[{j}]");
                    let (ip, field) = (access::text(address, &["ip"]), format!("{at}.ip"));
                    let wrong = names::ip(ip).into_iter();
                    errors.extend(wrong.map(|why| FieldError::invalid(&field, ip, why)));
                    let hostname = access::text(address, &["hostname"]);
                    named(hostname, format_args!("{at}.hostname"), names::dns_label, &mut errors);
                    set(
                        address,
                        "nodeName",
                        format_args!("{at}.nodeName"),
                        names::dns_subdomain,
                        &mut errors,
                    );
                    endpoint_address(ip, &field, &mut errors);
                }
            }
            let ports = access::list(subset, &["ports"]);
            for (j, port) in ports.iter().enumerate() {
                port_errors(port, ports.len() > 1, format_args!("{at}.ports[{j}]"), &mut errors);
            }
        }
        errors
    }

    fn create_on_update(&self) -> bool {
        true
    }

    fn deprecation(&self) -> Option<&'static str> {
        Some("v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice")
    }

    fn cells(&self, object: &Value, now: Instant) -> Vec<Value> {
        let mut shown = Vec::new();
        for subset in access::list(object, &["subsets"]) {
            let ports = access::list(subset, &["ports"]);
            for address in access::list(subset, &["addresses"]) {
                let ip = access::text(address, &["ip"]);
                if ports.is_empty() {
                    shown.push(ip.to_owned());
                }
                shown.extend(ports.iter().map(|p| join(ip, access::int(p, &["port"]).unwrap_or(0))));
            }
        }
        // Subsets without addresses have an empty text.
        let none = if access::list(object, &["subsets"]).is_empty() { "<none>" } else { "" };
        vec![cells::name(object), summary(&shown, none).into(), cells::age(object, now)]
    }
}

/// What is wrong with a name.
type Check = fn(&str) -> Vec<String>;

/// Validates a name that may be absent.
fn named(text: &str, at: At<'_>, check: Check, errors: &mut Vec<FieldError>) {
    if !text.is_empty() {
        errors.extend(check(text).into_iter().map(|d| FieldError::invalid(at, text, d)));
    }
}

/// Validates a name that may be absent, but not empty.
fn set(object: &Value, member: &str, at: At<'_>, check: Check, errors: &mut Vec<FieldError>) {
    if let Some(text) = object.get(member).and_then(Value::as_str) {
        errors.extend(check(text).into_iter().map(|why| FieldError::invalid(at, text, why)));
    }
}

fn port_errors(port: &Value, needs_name: bool, at: At<'_>, errors: &mut Vec<FieldError>) {
    let name = access::text(port, &["name"]);
    if needs_name && name.is_empty() {
        errors.push(FieldError::required(format!("{at}.name"), ""));
    }
    named(name, format_args!("{at}.name"), names::dns_label, errors);
    let n = access::int(port, &["port"]).unwrap_or(0);
    let wrong = names::port_number(n);
    errors.extend(wrong.into_iter().map(|d| FieldError::invalid(format!("{at}.port"), n, d)));
    protocol_errors(port, at, errors);
}

fn protocol_errors(port: &Value, at: At<'_>, errors: &mut Vec<FieldError>) {
    const PROTOCOLS: &[&str] = &["SCTP", "TCP", "UDP"];
    let protocol = access::text(port, &["protocol"]);
    if protocol.is_empty() {
        errors.push(FieldError::required(format!("{at}.protocol"), ""));
    } else if !PROTOCOLS.contains(&protocol) {
        errors.push(FieldError::not_supported(format!("{at}.protocol"), protocol, PROTOCOLS));
    }
    if let Some(protocol) = port.get("appProtocol").and_then(Value::as_str) {
        let wrong = names::qualified(protocol);
        errors
            .extend(wrong.into_iter().map(|d| FieldError::invalid(format!("{at}.appProtocol"), protocol, d)));
    }
}

fn join(ip: &str, port: i64) -> String {
    if ip.contains(':') { format!("[{ip}]:{port}") } else { format!("{ip}:{port}") }
}

fn summary(all: &[String], none: &str) -> String {
    match all.len() {
        0 => none.to_owned(),
        n if n > SHOWN_MAX => format!("{} + {} more...", all[..SHOWN_MAX].join(","), n - SHOWN_MAX),
        _ => all.join(","),
    }
}

impl Strategy for EndpointSlice {
    fn lists_stored_as_null(&self) -> &'static [&'static [&'static str]] {
        &[&["endpoints"], &["ports"]]
    }

    fn default(&self, object: &mut Value) {
        for port in access::list_mut(object, &["ports"]).into_iter().flatten() {
            let port = access::as_object(port);
            access::set_default(port, "name", "");
            access::set_default(port, "protocol", "TCP");
        }
        for endpoint in access::list_mut(object, &["endpoints"]).into_iter().flatten() {
            access::object_mut(endpoint, &["conditions"]);
        }
    }

    fn has_generation(&self) -> bool {
        true
    }

    fn prepare_create(&self, object: &mut Value, _context: &super::CreateContext<'_>) {
        drop_topology(object);
    }

    fn prepare_update(&self, new: &mut Value, old: &Value) {
        if new.get("endpoints") != old.get("endpoints") {
            drop_topology(new);
        }
    }

    fn changes_generation(&self, new: &Value, old: &Value) -> bool {
        let differs = |path: &[&str]| access::get(new, path) != access::get(old, path);
        differs(&["endpoints"]) || differs(&["ports"]) || differs(&["metadata", "labels"])
    }

    fn warnings(&self, new: &Value, old: Option<&Value>) -> Vec<String> {
        const CONTROLLERS: [&str; 2] =
            ["endpointslice-controller.k8s.io", "endpointslicemirroring-controller.k8s.io"];
        let mut out = Vec::new();
        if old.is_none() && access::text(new, &["addressType"]) == "FQDN" {
            out.push("spec.addressType: FQDN endpoints are deprecated".to_owned());
        }
        if CONTROLLERS.contains(&access::text(new, &["metadata", "labels", SLICE_MANAGED_BY])) {
            return out;
        }
        let root = Site::root(new);
        for endpoint in root.at("endpoints").items() {
            let addresses = endpoint.at("addresses");
            addresses.items().for_each(|address| warnings::ip(address, address.text(), &mut out));
        }
        out
    }

    fn validate_create(&self, object: &Value) -> Vec<FieldError> {
        const FAMILIES: &[&str] = &["FQDN", "IPv4", "IPv6"];
        let mut errors = Vec::new();
        let family = access::text(object, &["addressType"]);
        if family.is_empty() {
            errors.push(FieldError::required("addressType", ""));
        } else if !FAMILIES.contains(&family) {
            errors.push(FieldError::not_supported("addressType", family, FAMILIES));
        }
        slice_ports(access::list(object, &["ports"]), &mut errors);
        let endpoints = access::list(object, &["endpoints"]);
        if endpoints.len() > ENDPOINTS_MAX {
            errors.push(FieldError::too_many("endpoints", endpoints.len(), ENDPOINTS_MAX));
        }
        let endpoints = if endpoints.len() > ENDPOINTS_MAX { &[] } else { endpoints };
        for (i, endpoint) in endpoints.iter().enumerate() {
            let addresses = access::list(endpoint, &["addresses"]);
            let at = format!("endpoints[{i}]");
            if addresses.is_empty() {
                let detail = "must contain at least 1 address";
                errors.push(FieldError::required(format!("{at}.addresses"), detail));
            } else if addresses.len() > ADDRESSES_MAX {
                errors.push(FieldError::too_many(format!("{at}.addresses"), addresses.len(), ADDRESSES_MAX));
            }
            for (j, address) in addresses.iter().enumerate() {
                slice_address(address.as_str().unwrap_or(""), family, i, j, &mut errors);
            }
            endpoint_errors(endpoint, &at, &mut errors);
        }
        errors
    }

    fn validate_update(&self, new: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = self.validate_create(new);
        if new.get("addressType") != old.get("addressType") {
            errors.push(FieldError::invalid("addressType", new["addressType"].clone(), "field is immutable"));
        }
        errors
    }

    fn cells(&self, object: &Value, now: Instant) -> Vec<Value> {
        let ports: Vec<String> = access::list(object, &["ports"])
            .iter()
            .map(|port| match (access::int(port, &["port"]), access::text(port, &["name"])) {
                (Some(number), _) => number.to_string(),
                (None, "") => "*".to_owned(),
                (None, name) => name.to_owned(),
            })
            .collect();
        let addresses: Vec<String> = access::list(object, &["endpoints"])
            .iter()
            .flat_map(|e| access::list(e, &["addresses"]))
            .filter_map(|a| a.as_str().map(str::to_owned))
            .collect();
        vec![
            cells::name(object),
            object["addressType"].clone(),
            summary(&ports, "<unset>").into(),
            summary(&addresses, "<unset>").into(),
            cells::age(object, now),
        ]
    }
}

/// Drops what this version of the API does not write.
fn drop_topology(slice: &mut Value) {
    for endpoint in access::list_mut(slice, &["endpoints"]).into_iter().flatten() {
        access::remove(endpoint, &["deprecatedTopology"]);
    }
}

/// Upstream's limits of an EndpointSlice.
const ENDPOINTS_MAX: usize = 1000;
const ADDRESSES_MAX: usize = 100;
const PORTS_MAX: usize = 20_000;
const TOPOLOGY_LABELS_MAX: usize = 16;
const HINTS_MAX: usize = 8;

fn endpoint_errors(endpoint: &Value, at: &str, errors: &mut Vec<FieldError>) {
    set(endpoint, "nodeName", format_args!("{at}.nodeName"), names::dns_subdomain, errors);
    if let Some(topology) = endpoint.get("deprecatedTopology") {
        let count = topology.as_object().map_or(0, serde_json::Map::len);
        if count > TOPOLOGY_LABELS_MAX {
            let at = format!("{at}.deprecatedTopology");
            errors.push(FieldError::too_many(at, count, TOPOLOGY_LABELS_MAX));
        }
        metadata::labels(Some(topology), format_args!("{at}.deprecatedTopology"), errors);
    }
    set(endpoint, "hostname", format_args!("{at}.hostname"), names::dns_label, errors);
    let checks: [(&str, Check); 2] = [("forZones", names::label_value), ("forNodes", names::dns_subdomain)];
    for (list, check) in checks {
        let (hints, at) = (access::list(endpoint, &["hints", list]), format!("{at}.hints.{list}"));
        if hints.len() > HINTS_MAX {
            errors.push(FieldError::too_many(at, hints.len(), HINTS_MAX));
            continue;
        }
        let mut seen = BTreeSet::new();
        for (i, hint) in hints.iter().enumerate() {
            let (at, name) = (format!("{at}[{i}].name"), access::text(hint, &["name"]));
            if !seen.insert(name) {
                errors.push(FieldError::duplicate(&at, name));
            }
            errors.extend(check(name).into_iter().map(|d| FieldError::invalid(&at, name, d)));
        }
    }
}

fn slice_ports(ports: &[Value], errors: &mut Vec<FieldError>) {
    if ports.len() > PORTS_MAX {
        return errors.push(FieldError::too_many("ports", ports.len(), PORTS_MAX));
    }
    let mut seen = BTreeSet::new();
    for (i, port) in ports.iter().enumerate() {
        let (at, name) = (format!("ports[{i}]"), access::text(port, &["name"]));
        named(name, format_args!("{at}.name"), names::dns_label, errors);
        if !seen.insert(name) {
            errors.push(FieldError::duplicate(format!("{at}.name"), name));
        }
        protocol_errors(port, format_args!("{at}"), errors);
    }
}

fn slice_address(address: &str, family: &str, i: usize, j: usize, errors: &mut Vec<FieldError>) {
    let field = format!("endpoints[{i}].addresses[{j}]");
    match (family, address.parse::<IpAddr>()) {
        ("FQDN", _) => errors.extend(domain_error(address, &field)),
        ("IPv4" | "IPv6", Err(_)) => {
            errors
                .extend(names::ip(address).into_iter().map(|why| FieldError::invalid(&field, address, why)));
        }
        ("IPv4" | "IPv6", Ok(ip)) => {
            let odd = if family == "IPv6" { names::canonical_ip(address) } else { names::ip(address) };
            if !odd.is_empty() {
                errors.extend(odd.into_iter().map(|why| FieldError::invalid(&field, address, why)));
                return;
            }
            if ip.is_ipv4() != (family == "IPv4") {
                let why = format!("must be an {family} address");
                errors.push(FieldError::invalid(format!("endpoints[{i}].addresses"), address, why));
            }
            endpoint_address(address, &field, errors);
        }
        // An unknown family is refused itself.
        _ => {}
    }
}

/// The error of a text that is no fully qualified domain name; it may end in a dot.
fn domain_error(text: &str, field: &str) -> Option<FieldError> {
    if text.is_empty() {
        return Some(FieldError::required(field, ""));
    }
    let name = text.strip_suffix('.').unwrap_or(text);
    let wrong = names::dns_subdomain(name);
    if !wrong.is_empty() {
        return Some(FieldError::invalid(field, name, wrong.join(",")));
    }
    if !name.contains('.') {
        let why = "should be a domain with at least two segments separated by dots";
        return Some(FieldError::invalid(field, name, why));
    }
    let label = name.split('.').find(|label| !names::dns_label(label).is_empty())?;
    Some(FieldError::invalid(field, label, names::dns_label(label).join(",")))
}

/// Validates an endpoint's address.
fn endpoint_address(address: &str, field: &str, errors: &mut Vec<FieldError>) {
    match address.parse::<IpAddr>() {
        Ok(ip) => errors.extend(special(ip, true).map(|why| FieldError::invalid(field, address, why))),
        Err(_) => errors.push(FieldError::invalid(field, address, "must be a valid IP address")),
    }
}

/// The error for an address that no endpoint may have (loopback, multicast …).
pub(super) fn special(ip: IpAddr, loopback: bool) -> Option<String> {
    let link_local = match ip {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.segments()[0] & 0xffc0 == 0xfe80,
    };
    let link_local_multicast = match ip {
        IpAddr::V4(v4) => v4.octets()[..3] == [224, 0, 0],
        IpAddr::V6(v6) => v6.segments()[0] & 0xff0f == 0xff02,
    };
    let text = match ip {
        _ if ip.is_unspecified() => format!("may not be unspecified ({ip})"),
        _ if loopback && ip.is_loopback() => {
            "may not be in the loopback range (127.0.0.0/8, ::1/128)".to_owned()
        }
        _ if link_local => "may not be in the link-local range (169.254.0.0/16, fe80::/10)".to_owned(),
        _ if link_local_multicast => {
            "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)".to_owned()
        }
        _ => return None,
    };
    Some(text)
}
