//! Endpoints and EndpointSlices.

use super::{Strategy, cells};
use serde_json::Value;
use shim_model::access;
use shim_model::field::FieldError;
use shim_model::names;
use shim_model::time::Instant;
use std::net::IpAddr;

pub(super) struct Endpoints;
pub(super) struct EndpointSlice;

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
                    address_errors(
                        access::text(address, &["ip"]),
                        &format!("{at}.{list}[{j}].ip"),
                        &mut errors,
                    );
                }
            }
            for (j, port) in access::list(subset, &["ports"]).iter().enumerate() {
                let n = access::int(port, &["port"]).unwrap_or(0);
                let field = format!("{at}.ports[{j}].port");
                errors.extend(
                    names::port_number(n).into_iter().map(|d| FieldError::invalid(field.clone(), n, d)),
                );
            }
        }
        errors
    }

    fn create_on_update(&self) -> bool {
        true
    }

    fn warnings(&self, _new: &Value, _old: Option<&Value>) -> Vec<String> {
        vec!["v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice".to_owned()]
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
        vec![cells::name(object), summary(&shown, "<none>").into(), cells::age(object, now)]
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

    fn changes_generation(&self, new: &Value, old: &Value) -> bool {
        let differs = |path: &[&str]| access::get(new, path) != access::get(old, path);
        differs(&["endpoints"])
            || differs(&["ports"])
            || differs(&["metadata", "labels"])
            || differs(&["metadata", "annotations"])
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
        for (i, endpoint) in access::list(object, &["endpoints"]).iter().enumerate() {
            let addresses = access::list(endpoint, &["addresses"]);
            if addresses.is_empty() {
                errors.push(FieldError::required(
                    format!("endpoints[{i}].addresses"),
                    "must contain at least 1 address",
                ));
            }
            for (j, address) in addresses.iter().enumerate() {
                slice_address(address.as_str().unwrap_or(""), family, i, j, &mut errors);
            }
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
            .map(|p| access::int(p, &["port"]).map_or_else(|| "*".to_owned(), |n| n.to_string()))
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

fn slice_address(address: &str, family: &str, i: usize, j: usize, errors: &mut Vec<FieldError>) {
    let field = format!("endpoints[{i}].addresses[{j}]");
    match (family, address.parse::<IpAddr>()) {
        ("FQDN", _) => errors.extend(
            names::dns_subdomain(address).into_iter().map(|d| FieldError::invalid(field.clone(), address, d)),
        ),
        ("IPv4", Ok(IpAddr::V6(_))) => errors.push(FieldError::invalid(
            format!("endpoints[{i}].addresses"),
            address,
            "must be an IPv4 address",
        )),
        ("IPv6", Ok(IpAddr::V4(_))) => errors.push(FieldError::invalid(
            format!("endpoints[{i}].addresses"),
            address,
            "must be an IPv6 address",
        )),
        _ => address_errors(address, &field, errors),
    }
}

/// Validates an endpoint address.
fn address_errors(address: &str, field: &str, errors: &mut Vec<FieldError>) {
    let Ok(ip) = address.parse::<IpAddr>() else {
        errors.extend(names::ip(address).into_iter().map(|d| FieldError::invalid(field, address, d)));
        return;
    };
    errors.extend(special(ip, true).map(|d| FieldError::invalid(field, address, d)));
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
