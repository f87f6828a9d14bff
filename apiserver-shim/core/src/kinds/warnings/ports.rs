//! Warnings about ports that several containers of a Pod declare.

use std::collections::BTreeMap;

use serde_json::Value;
use shim_model::access;

use super::super::rules::Site;

/// A port and its path.
struct Declared<'a> {
    field: String,
    port: &'a Value,
}

impl Declared<'_> {
    fn number(&self, key: &str) -> i64 {
        access::int(self.port, &[key]).unwrap_or(0)
    }

    fn text(&self, key: &str) -> &str {
        access::text(self.port, &[key])
    }

    /// The port as upstream prints it: Go's form of the struct.
    fn shown(&self) -> String {
        format!(
            "{{Name:{} HostPort:{} ContainerPort:{} Protocol:{} HostIP:{}}}",
            self.text("name"),
            self.number("hostPort"),
            self.number("containerPort"),
            self.text("protocol"),
            self.text("hostIP"),
        )
    }
}

/// Warnings about the ports of the containers of a Pod.
pub(super) fn ports(containers: &[Site<'_>], out: &mut Vec<String>) {
    let mut declared: Vec<Declared<'_>> = Vec::new();
    for container in containers {
        for (at, port) in access::list(container.value, &["ports"]).iter().enumerate() {
            declared.push(Declared { field: format!("{container}.ports[{at}]"), port });
        }
    }
    let mut by_number: BTreeMap<(i64, &str), Vec<&Declared<'_>>> = BTreeMap::new();
    for port in &declared {
        if !port.text("hostIP").is_empty() && port.number("hostPort") == 0 {
            out.push(format!("{}: hostIP set without hostPort: {}", port.field, port.shown()));
        }
        let same = by_number.entry((port.number("containerPort"), port.text("protocol"))).or_default();
        out.extend(same.iter().filter_map(|other| clash(port, other)));
        same.push(port);
    }
    let mut first_of: BTreeMap<&str, &str> = BTreeMap::new();
    for port in declared.iter().filter(|port| !port.text("name").is_empty()) {
        let name = port.text("name");
        let first = *first_of.entry(name).or_insert(&port.field);
        if first != port.field {
            out.push(format!(
                "{}: duplicate port name \"{name}\" with {first}, services and probes that select ports by name will use {first}",
                port.field
            ));
        }
    }
}

/// What is said about a port with the number and protocol of an earlier one.
fn clash(port: &Declared<'_>, other: &Declared<'_>) -> Option<String> {
    let (host, its) = (port.number("hostPort"), other.number("hostPort"));
    let (address, its_address) = (port.text("hostIP"), other.text("hostIP"));
    let what = if host == its && address == its_address {
        "duplicate"
    } else if host == 0 || its == 0 {
        "overlapping"
    } else if host == its && address.is_empty() != its_address.is_empty() {
        "dangerously ambiguous"
    } else {
        return None;
    };
    Some(format!("{}: {what} port definition with {}", port.field, other.field))
}
