//! The subsets of Endpoints in canonical form, grouped as EndpointSlices are: by address family and set of ports. As
//! upstream, ports with the same addresses are one subset however they are written, and an address that is both ready
//! and not ready is not ready.

use std::{collections::BTreeMap, net::IpAddr};

use serde_json::{Value, json};
use shim_model::access;

/// Maximum number of addresses of a subset that are mirrored (upstream's default).
pub const ADDRESSES_MAX: usize = 1000;

/// An address family of a slice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum Family {
    V4,
    V6,
    Other,
}

impl Family {
    /// As in `addressType`.
    pub fn as_str(self) -> &'static str {
        match self {
            Family::V4 => "IPv4",
            Family::V6 => "IPv6",
            Family::Other => "FQDN",
        }
    }
}

/// What distinguishes the slices of one Endpoints object.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct GroupKey {
    pub family: Family,
    /// The ports, sorted.
    ports: Vec<String>,
}

impl GroupKey {
    fn new(family: Family, ports: &[Value]) -> Self {
        let mut ports: Vec<String> = ports.iter().map(Value::to_string).collect();
        ports.sort();
        GroupKey { family, ports }
    }

    /// The key of a slice.
    pub fn of_slice(slice: &Value) -> Self {
        let family = match access::text(slice, &["addressType"]) {
            "IPv4" => Family::V4,
            "IPv6" => Family::V6,
            _ => Family::Other,
        };
        GroupKey::new(family, access::list(slice, &["ports"]))
    }
}

/// The content of a slice.
#[derive(Debug, Default)]
pub struct Group {
    pub ports: Vec<Value>,
    /// Sorted by [`identity`].
    pub endpoints: Vec<Value>,
}

/// The slices that Endpoints should have.
#[derive(Debug, Default)]
pub struct Groups {
    pub groups: BTreeMap<GroupKey, Group>,
    /// Addresses beyond [`ADDRESSES_MAX`].
    pub skipped: usize,
}

/// What identifies an endpoint of a slice: two with the same identity are one.
pub fn identity(endpoint: &Value) -> (String, String, String, String) {
    let text = |path: &[&str]| access::text(endpoint, path).to_owned();
    let address = access::list(endpoint, &["addresses"]).first().map(Value::to_string).unwrap_or_default();
    (address, text(&["hostname"]), text(&["targetRef", "namespace"]), text(&["targetRef", "name"]))
}

/// An address of a subset: it is told apart by its text and by the UID of what it refers to.
type AddressKey = (String, String);

/// Groups the addresses of Endpoints.
pub fn groups(endpoints: &Value) -> Groups {
    let mut addresses: BTreeMap<AddressKey, &Value> = BTreeMap::new();
    let mut by_port: BTreeMap<String, (Option<Value>, BTreeMap<AddressKey, bool>)> = BTreeMap::new();
    for subset in access::list(endpoints, &["subsets"]) {
        let ports = access::list(subset, &["ports"]).iter().map(|port| Some(slice_port(port)));
        let mut ports: Vec<Option<Value>> = ports.collect();
        if ports.is_empty() {
            ports.push(None);
        }
        for port in ports {
            let name = port.as_ref().map(Value::to_string).unwrap_or_default();
            let (_, known) = by_port.entry(name).or_insert_with(|| (port, BTreeMap::new()));
            for (list, ready) in [("addresses", true), ("notReadyAddresses", false)] {
                for address in access::list(subset, &[list]) {
                    let uid = access::text(address, &["targetRef", "uid"]).to_owned();
                    let key = (access::text(address, &["ip"]).to_owned(), uid);
                    addresses.entry(key.clone()).or_insert(address);
                    known.entry(key).and_modify(|was| *was &= ready).or_insert(ready);
                }
            }
        }
    }
    let mut subsets: BTreeMap<BTreeMap<AddressKey, bool>, Vec<Value>> = BTreeMap::new();
    for (port, members) in by_port.into_values() {
        subsets.entry(members).or_default().extend(port);
    }
    let mut out = Groups::default();
    for (members, ports) in subsets {
        add_subset(&members, &ports, &addresses, &mut out);
    }
    out
}

fn add_subset(
    members: &BTreeMap<AddressKey, bool>,
    ports: &[Value],
    addresses: &BTreeMap<AddressKey, &Value>,
    out: &mut Groups,
) {
    out.skipped += members.len().saturating_sub(ADDRESSES_MAX);
    let ready = members.iter().filter(|(_, ready)| **ready);
    for (key, ready) in ready.chain(members.iter().filter(|(_, ready)| !**ready)).take(ADDRESSES_MAX) {
        let Ok(ip) = key.0.parse::<IpAddr>() else { continue };
        let family = if ip.is_ipv4() { Family::V4 } else { Family::V6 };
        let group = out.groups.entry(GroupKey::new(family, ports)).or_default();
        group.ports = ports.to_vec();
        group.endpoints.push(endpoint(&ip, addresses[key], *ready));
    }
    for group in out.groups.values_mut() {
        group.endpoints.sort_by_key(identity);
        group.endpoints.dedup_by_key(|endpoint| identity(endpoint));
    }
}

fn slice_port(port: &Value) -> Value {
    let protocol = Some(access::text(port, &["protocol"])).filter(|p| !p.is_empty()).unwrap_or("TCP");
    let mut out = json!({"name": access::text(port, &["name"]), "port": port["port"], "protocol": protocol});
    if let Some(protocol) = port.get("appProtocol") {
        out["appProtocol"] = protocol.clone();
    }
    out
}

fn endpoint(ip: &IpAddr, address: &Value, ready: bool) -> Value {
    let mut out = json!({"addresses": [ip.to_string()], "conditions": {"ready": ready}});
    for key in ["targetRef", "nodeName", "hostname"] {
        if let Some(value) = address.get(key).filter(|value| !access::is_zero(value)) {
            out[key] = value.clone();
        }
    }
    out
}
