//! IPAddresses of Services and the ServiceCIDRs that they come from: what such objects look like, and which ranges new
//! addresses are allocated from. The server writes an IPAddress in the transaction of its Service; two controllers
//! (`controllers::service_cidrs`, `controllers::ip_addresses`) protect the ranges and repair the rest.

use std::net::{IpAddr, Ipv4Addr};

use serde_json::{Value, json};
use shim_model::access;
use shim_model::object::Header;

use crate::controllers::condition;
use crate::service_cidr::ServiceCidr;

/// The ServiceCIDR of the server's own range.
pub const DEFAULT_NAME: &str = "kubernetes";
/// The label that says which allocator an IPAddress belongs to.
pub const MANAGED_BY: &str = "ipaddress.kubernetes.io/managed-by";
/// The label with the family of an IPAddress.
pub const FAMILY: &str = "ipaddress.kubernetes.io/ip-family";
/// The value of [`MANAGED_BY`] for addresses of Services.
pub const ALLOCATOR: &str = "ipallocator.k8s.io";

/// The IPAddress of a Service's cluster IP, without UID and times.
pub fn ip_address(address: IpAddr, namespace: &str, service: &str) -> Value {
    json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "IPAddress",
        "metadata": {
            "name": address.to_string(),
            "labels": {FAMILY: family(address), MANAGED_BY: ALLOCATOR},
        },
        "spec": {"parentRef": {"resource": "services", "namespace": namespace, "name": service}},
    })
}

fn family(address: IpAddr) -> &'static str {
    if address.is_ipv4() { "IPv4" } else { "IPv6" }
}

/// Whether the allocator of cluster IPs has made the IPAddress.
pub fn is_allocated(header: &Header) -> bool {
    header.labels.get(MANAGED_BY).is_some_and(|by| by == ALLOCATOR)
}

/// Whether an IPAddress has the labels that the allocator gives it.
pub fn has_labels(header: &Header, address: IpAddr) -> bool {
    is_allocated(header) && header.labels.get(FAMILY).is_some_and(|found| found == family(address))
}

/// Namespace and name of the Service that an IPAddress belongs to; `None` if it belongs to anything else.
pub fn parent(ip_address: &Value) -> Option<(&str, &str)> {
    let text = |key: &str| access::text(ip_address, &["spec", "parentRef", key]);
    (text("group").is_empty() && text("resource") == "services").then(|| (text("namespace"), text("name")))
}

/// The cluster IPs that a Service holds.
pub fn cluster_ips(service: &Value) -> Vec<IpAddr> {
    if access::text(service, &["spec", "type"]) == "ExternalName" {
        return Vec::new();
    }
    let first = access::text(service, &["spec", "clusterIP"]);
    let all = access::list(service, &["spec", "clusterIPs"]).iter().filter_map(Value::as_str);
    let mut out: Vec<IpAddr> = all.chain([first]).filter_map(|ip| ip.parse().ok()).collect();
    out.sort_unstable();
    out.dedup();
    out
}

/// The prefixes of a ServiceCIDR.
pub fn prefixes(service_cidr: &Value) -> Vec<Prefix> {
    let cidrs = access::list(service_cidr, &["spec", "cidrs"]).iter();
    cidrs.filter_map(|cidr| Prefix::parse(cidr.as_str()?)).collect()
}

/// An IP prefix of either family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prefix {
    address: IpAddr,
    bits: u8,
}

impl Prefix {
    /// Reads `10.0.0.0/8` or `2001:db8::/64`.
    pub fn parse(text: &str) -> Option<Prefix> {
        let (address, bits) = text.split_once('/')?;
        let (address, bits) = (address.parse::<IpAddr>().ok()?, bits.parse().ok()?);
        (bits <= if address.is_ipv4() { 32 } else { 128 }).then_some(Prefix { address, bits })
    }

    /// Whether the other prefix is a part of this one, or equal to it.
    pub fn contains(self, other: Prefix) -> bool {
        self.bits <= other.bits && self.has(other.address)
    }

    /// Whether an address is in the range, the first and the last one included.
    pub fn has(self, address: IpAddr) -> bool {
        let equal =
            |one: u128, other: u128, width: u8| (one ^ other).checked_shr(width.into()).unwrap_or(0) == 0;
        match (self.address, address) {
            (IpAddr::V4(one), IpAddr::V4(other)) => {
                equal(one.to_bits().into(), other.to_bits().into(), 32 - self.bits)
            }
            (IpAddr::V6(one), IpAddr::V6(other)) => equal(one.to_bits(), other.to_bits(), 128 - self.bits),
            _ => false,
        }
    }

    /// Whether a Service may have the address: as upstream, the first of a range is nobody's, nor is the last one of an IPv4
    /// range.
    pub fn allocates(self, address: IpAddr) -> bool {
        match (self.address, address) {
            (IpAddr::V4(first), IpAddr::V4(address)) => {
                ServiceCidr::of_any_size(first, self.bits).is_some_and(|range| range.contains(address))
            }
            _ => self.has(address) && self.address != address,
        }
    }
}

/// The ranges that new cluster IPs come from, in the order in which they are tried: the server's own first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ranges(Vec<ServiceCidr>);

impl Ranges {
    /// The ranges of the ready ServiceCIDRs, and the server's own unless its object is being deleted.
    pub fn of<'a>(own: ServiceCidr, service_cidrs: impl IntoIterator<Item = &'a Value>) -> Ranges {
        let (mut ready, mut own_ends) = (Vec::new(), false);
        for object in service_cidrs {
            let ranges = prefixes(object).into_iter().filter_map(|prefix| match prefix.address {
                IpAddr::V4(first) => ServiceCidr::of_any_size(first, prefix.bits),
                IpAddr::V6(_) => None,
            });
            match is_ready(object) {
                true => ready.extend(ranges),
                false => own_ends |= ranges.into_iter().any(|range| range == own),
            }
        }
        let own_remains = !own_ends || ready.contains(&own);
        ready.retain(|range| *range != own);
        Ranges(Vec::from_iter(own_remains.then_some(own)).into_iter().chain(ready).collect())
    }

    /// The ranges.
    pub fn iter(&self) -> impl Iterator<Item = ServiceCidr> {
        self.0.iter().copied()
    }

    /// Why no Service may have this address; `None` if one may.
    pub fn refusal(&self, address: Ipv4Addr) -> Option<String> {
        if self.iter().any(|range| range.contains(address)) {
            return None;
        }
        Some("the provided network does not match the current range".to_owned())
    }

    /// The same in a dry run, which looks at the first range only.
    pub fn dry_refusal(&self, address: Ipv4Addr) -> Option<String> {
        let first = self.0.first().filter(|first| !first.contains(address))?;
        Some(format!(
            "the provided IP ({address}) is not in the valid range. The range of valid IPs is {first}"
        ))
    }
}

/// Whether addresses of a ServiceCIDR are allocated: it is not being deleted, and nobody has found it unusable.
pub fn is_ready(service_cidr: &Value) -> bool {
    let deleted = access::get(service_cidr, &["metadata", "deletionTimestamp"]).is_some();
    let ready = condition(&service_cidr["status"], "Ready");
    !deleted && ready.is_none_or(|ready| access::text(ready, &["status"]) == "True")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service_cidr(cidr: &str, ready: Option<&str>) -> Value {
        let mut object = json!({"metadata": {"name": "x"}, "spec": {"cidrs": [cidr]}});
        if let Some(status) = ready {
            object["status"] = json!({"conditions": [{"type": "Ready", "status": status}]});
        }
        object
    }

    fn shown(ranges: &Ranges) -> Vec<String> {
        ranges.iter().map(|range| range.to_string()).collect()
    }

    #[test]
    fn addresses_come_from_ready_ranges() {
        let own = ServiceCidr::default();
        assert_eq!(shown(&Ranges::of(own, [])), ["10.96.0.0/12"]);
        let mut objects = [
            service_cidr("203.0.113.0/24", Some("True")),
            service_cidr("203.0.114.0/30", None),
            service_cidr("203.0.115.0/24", Some("False")),
            service_cidr("203.0.116.1/32", None),
            service_cidr("2001:db8::/64", None),
            service_cidr("10.96.0.0/12", Some("True")),
        ];
        let all = ["10.96.0.0/12", "203.0.113.0/24", "203.0.114.0/30"];
        assert_eq!(shown(&Ranges::of(own, &objects)), all);
        objects[5]["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        assert_eq!(shown(&Ranges::of(own, &objects)), all[1..]);
    }

    #[test]
    fn addresses_outside_are_refused() {
        let ranges = Ranges::of(ServiceCidr::default(), &[service_cidr("203.0.113.0/24", None)]);
        let why = |address: [u8; 4]| ranges.refusal(address.into()).unwrap_or_default();
        assert_eq!(why([203, 0, 113, 1]), "");
        assert_eq!(why([10, 96, 0, 1]), "");
        assert_eq!(why([1, 2, 3, 4]), "the provided network does not match the current range");
        assert_eq!(why([203, 0, 113, 255]), "the provided network does not match the current range");
    }

    #[test]
    fn prefixes_contain_each_other() {
        let prefix = |text: &str| Prefix::parse(text).unwrap();
        assert!(prefix("10.0.0.0/8").contains(prefix("10.1.0.0/16")));
        assert!(prefix("0.0.0.0/0").contains(prefix("10.1.0.0/16")));
        assert!(prefix("::/0").has("2001:db8::1".parse().unwrap()));
        assert!(!prefix("10.1.0.0/16").contains(prefix("10.0.0.0/8")));
        assert!(!prefix("10.0.0.0/8").contains(prefix("2001:db8::/64")));
        assert!(Prefix::parse("10.0.0.0/33").is_none() && Prefix::parse("10.0.0.0").is_none());
        assert!(!prefix("2001:db8::/64").allocates("2001:db8::".parse().unwrap()));
        assert!(prefix("10.0.0.0/24").allocates("10.0.0.1".parse().unwrap()));
        assert!(!prefix("10.0.0.0/24").allocates("10.0.0.255".parse().unwrap()));
    }
}
