//! The IPAddresses of Services, written in the transaction of the Service, and the ranges that cluster IPs come from.

use std::net::IpAddr;

use serde_json::Value;
use shim_core::controllers::served;
use shim_core::service_addresses::{Ranges, cluster_ips, ip_address, parent};
use shim_model::access;
use shim_model::resource::{GroupResource, Resource};

use crate::storage::preconditions::Preconditions;
use crate::storage::registry::{Registry, now};

const ADDRESSES: GroupResource = served("networking.k8s.io", "ipaddresses");

/// The ranges of cluster IPs at present.
pub(super) fn ranges(registry: &Registry) -> Ranges {
    let objects = registry.cache(served("networking.k8s.io", "servicecidrs")).list(None);
    let objects: Vec<Value> = objects.iter().map(|object| object.value()).collect();
    Ranges::of(registry.service_cidr(), &objects)
}

/// Whether there is an IPAddress of this address, whoever made it.
pub(super) fn is_taken(registry: &Registry, address: IpAddr) -> bool {
    registry.peek(&ADDRESSES, "", &address.to_string()).is_some()
}

/// Creates the IPAddresses of the cluster IPs that a Service gets, and removes those that it gives up. `new` has its final
/// name.
pub fn record(
    registry: &Registry,
    resource: &Resource,
    (new, old): (Option<&Value>, Option<&Value>),
    preconditions: &mut Preconditions,
) {
    if !super::concerns(resource) {
        return;
    }
    let of = |service: Option<&Value>| service.map(cluster_ips).unwrap_or_default();
    let (wanted, had) = (of(new), of(old));
    for address in wanted.iter().filter(|address| !had.contains(address)) {
        let Some(service) = new else { continue };
        let text = |key| access::text(service, &["metadata", key]);
        let mut object = ip_address(*address, text("namespace"), text("name"));
        let metadata = access::object_mut(&mut object, &["metadata"]);
        metadata.insert("uid".into(), uuid::Uuid::new_v4().to_string().into());
        metadata.insert("creationTimestamp".into(), now().to_rfc3339().into());
        preconditions.create(&registry.builtin(&ADDRESSES), &object);
    }
    for address in had.iter().filter(|address| !wanted.contains(address)) {
        if let Some(service) = old {
            release(registry, *address, service, preconditions);
        }
    }
}

/// Removes the IPAddress of a Service. One that belongs to anything else stays; so does one with finalizers, which the
/// repair controller deletes.
fn release(registry: &Registry, address: IpAddr, service: &Value, preconditions: &mut Preconditions) {
    let Some(found) = registry.peek(&ADDRESSES, "", &address.to_string()) else { return };
    let text = |key| access::text(service, &["metadata", key]);
    if parent(&found.value()) == Some((text("namespace"), text("name")))
        && found.header().finalizers.is_empty()
    {
        let key = registry.builtin(&ADDRESSES).key("", found.name());
        preconditions.require_revision(key.clone(), found.revision);
        preconditions.release(key);
    }
}
