//! Repairs IPAddresses: every cluster IP of a Service has one that refers to the Service, and none that the allocator has made
//! refers to anything else. Both are written in one transaction, so this is work only after a change by hand or an upgrade.

use std::net::IpAddr;

use serde_json::Value;
use shim_model::access;
use shim_model::resource::GroupResource;

use super::{
    Action, CachedObject, Controller, EventRecord, EventSource, Input, Keys, ObjectChange, ObjectName, Plan,
    Propagation, Target, View, served,
};
use crate::rows::Seconds;
use crate::service_addresses::{cluster_ips, has_labels, ip_address, is_allocated, parent, prefixes};
use crate::service_cidr::ServiceCidr;

/// Repairs IPAddresses of Services.
pub struct IpAddressRepair {
    /// The range of the server, whose ServiceCIDR may not exist yet.
    pub service_cidr: ServiceCidr,
}

const GROUP: &str = "networking.k8s.io";
const ADDRESSES: GroupResource = served(GROUP, "ipaddresses");
const RANGES: GroupResource = served(GROUP, "servicecidrs");
const SERVICES: GroupResource = served("", "services");

/// How old an IPAddress is at least that is removed because its Service does not exist, in seconds (upstream's): another
/// informer may not have seen the Service.
const LEAKED_AFTER: Seconds = 60;
/// The same for one that its Service does not name.
const WRONG_AFTER: Seconds = 5;

impl Controller for IpAddressRepair {
    const NAME: &'static str = "ipallocator-repair-controller";
    const SERVICE_ACCOUNT: &'static str = "service-cidrs-controller";

    fn inputs(&self) -> Vec<Input> {
        vec![
            Input::headers("", "services"),
            Input::headers(GROUP, "ipaddresses"),
            Input::headers(GROUP, "servicecidrs"),
        ]
    }

    fn keys(&self, change: &ObjectChange, _: &View<'_>, keys: &mut Keys) {
        if change.is_of("", "services") {
            keys.insert(change.name());
            // An address that the Service has given up, or that it leaves behind.
            let before = change.previous.as_ref().unwrap_or(&change.object);
            let ips = cluster_ips(&before.value());
            keys.extend(ips.iter().map(|ip| ObjectName::new(ADDRESSES, "", &ip.to_string())));
        } else if change.is_of(GROUP, "ipaddresses") {
            keys.insert(change.name());
            let versions = [Some(&change.object), change.previous.as_ref()];
            for version in versions.into_iter().flatten() {
                if let Some((namespace, name)) = parent(&version.value()) {
                    keys.insert(ObjectName::new(SERVICES, namespace, name));
                }
            }
        }
    }

    fn reconcile(&self, view: &View<'_>, key: &ObjectName) -> Plan {
        let mut plan = Plan::default();
        match (view.named(key), key.resource == SERVICES) {
            (None, _) => {}
            (Some(service), true) => {
                let ips = cluster_ips(&service.value());
                ips.into_iter().for_each(|ip| self.repair(view, service, ip, &mut plan));
            }
            (Some(address), false) => collect(view, address, &mut plan),
        }
        plan
    }
}

fn warn(resource: GroupResource, about: &CachedObject, reason: &'static str, message: String) -> EventRecord {
    let source = EventSource::Component(IpAddressRepair::NAME);
    EventRecord { about: Target::of(resource, about.header()), warning: true, reason, message, source }
}

impl IpAddressRepair {
    /// Gives a Service the IPAddress of one of its cluster IPs.
    fn repair(&self, view: &View<'_>, service: &CachedObject, ip: IpAddr, plan: &mut Plan) {
        let header = service.header();
        let family = if ip.is_ipv4() { "IPv4" } else { "IPv6" };
        let warn = |reason, message| warn(SERVICES, service, reason, message);
        // Addresses outside of all ranges are reported when the server starts.
        if !self.is_in_range(view, ip) {
            return;
        }
        let create = Action::Create {
            resource: ADDRESSES,
            namespace: String::new(),
            object: ip_address(ip, &header.namespace, &header.name),
        };
        let Some(found) = view.object(&ADDRESSES, "", &ip.to_string()) else {
            let message = format!("Cluster IP [{family}]: {ip} is not allocated; repairing");
            plan.events.push(warn("ClusterIPNotAllocated", message));
            return plan.actions.push(create);
        };
        let object = found.value();
        let parent = parent(&object);
        if parent == Some((&header.namespace, &header.name)) {
            if !has_labels(found.header(), ip) {
                plan.actions.extend([delete(found), create]);
            }
            return;
        }
        let other = parent.and_then(|(namespace, name)| view.object(&SERVICES, namespace, name));
        // The address is another Service's: a key in the store keeps two from getting it, so one has been written by hand.
        if other.is_some_and(|other| cluster_ips(&other.value()).contains(&ip)) {
            return;
        }
        let message = format!(
            "the ClusterIP [{family}]: {ip} for Service {}/{} has a wrong reference; repairing",
            header.namespace, header.name
        );
        plan.events.push(warn("ClusterIPNotAllocated", message));
        plan.actions.extend([delete(found), create]);
    }

    fn is_in_range(&self, view: &View<'_>, ip: IpAddr) -> bool {
        let own = matches!(ip, IpAddr::V4(v4) if self.service_cidr.contains(v4));
        let ranges = || view.in_namespace(&RANGES, "").flat_map(|range| prefixes(&range.value()));
        own || ranges().any(|prefix| prefix.allocates(ip))
    }
}

/// Removes an IPAddress of the allocator that no Service has.
fn collect(view: &View<'_>, address: &CachedObject, plan: &mut Plan) {
    let header = address.header();
    if !is_allocated(header) {
        return;
    }
    let (name, object) = (&header.name, address.value());
    let warn = |reason, message| warn(ADDRESSES, address, reason, message);
    let Some((namespace, service)) = parent(&object) else {
        let message =
            format!("IPAddress {name} appears to have been modified, not referencing a Service: cleaning up");
        plan.events.push(warn("IPAddressNotAllocated", message));
        return plan.actions.push(delete(address));
    };
    let age = view.now - created(&object, view.now);
    let (after, reason, what) = match view.object(&SERVICES, namespace, service).map(CachedObject::value) {
        Some(found) if cluster_ips(&found).iter().any(|ip| ip.to_string() == *name) => return,
        None => (LEAKED_AFTER, "IPAddressNotAllocated", "appears to have leaked"),
        Some(found) if access::text(&found, &["spec", "type"]) == "ExternalName" => {
            (LEAKED_AFTER, "IPAddressWrongReference", "has a wrong reference")
        }
        Some(_) => (WRONG_AFTER, "IPAddressWrongReference", "has a wrong reference"),
    };
    if age < after {
        return plan.requeue_after(after - age);
    }
    let message = format!("IPAddress: {name} for Service {namespace}/{service} {what}; cleaning up");
    plan.events.push(warn(reason, message));
    plan.actions.push(delete(address));
}

fn delete(address: &CachedObject) -> Action {
    let target = Target::of(ADDRESSES, address.header());
    Action::Delete { target, propagation: Propagation::Background, grace_seconds: None }
}

fn created(object: &Value, now: Seconds) -> Seconds {
    crate::rows::seconds(access::text(object, &["metadata", "creationTimestamp"])).unwrap_or(now)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controllers::Registration;
    use crate::testing::TestCluster;
    use serde_json::json;

    fn repair() -> IpAddressRepair {
        IpAddressRepair { service_cidr: ServiceCidr::default() }
    }

    fn cluster() -> TestCluster {
        let mut cluster = TestCluster { now: 1_000, ..TestCluster::default() };
        cluster.add(RANGES, json!({"metadata": {"name": "kubernetes"}, "spec": {"cidrs": ["10.0.0.0/24"]}}));
        cluster.add(
            SERVICES,
            json!({"metadata": {"name": "s", "namespace": "ns"},
                "spec": {"type": "ClusterIP", "clusterIP": "10.0.0.5", "clusterIPs": ["10.0.0.5"]}}),
        );
        cluster
    }

    fn parents(cluster: &mut TestCluster) -> Vec<String> {
        cluster.run(&[Registration::new(repair())]);
        let shown = |ip: &&Value| {
            let (namespace, name) = parent(ip).unwrap_or_default();
            format!("{} {namespace}/{name}", access::text(ip, &["metadata", "name"]))
        };
        cluster.all("ipaddresses").iter().map(shown).collect()
    }

    #[test]
    fn a_missing_address_is_created() {
        assert_eq!(parents(&mut cluster()), ["10.0.0.5 ns/s"]);
    }

    #[test]
    fn a_wrong_address_is_replaced() {
        for wrong in ["other", "s"] {
            let mut cluster = cluster();
            let mut address = ip_address("10.0.0.5".parse().unwrap(), "ns", wrong);
            if wrong == "s" {
                address["metadata"]["labels"] = json!({});
            }
            cluster.add(ADDRESSES, address);
            assert_eq!(parents(&mut cluster), ["10.0.0.5 ns/s"]);
            assert_eq!(cluster.all("ipaddresses")[0]["metadata"]["labels"].as_object().unwrap().len(), 2);
        }
    }

    #[test]
    fn a_leaked_address_is_removed_later() {
        let mut cluster = cluster();
        cluster.add(ADDRESSES, ip_address("10.0.0.6".parse().unwrap(), "ns", "gone"));
        cluster.add(ADDRESSES, ip_address("10.0.0.7".parse().unwrap(), "ns", "s"));
        let mut foreign = ip_address("10.0.0.8".parse().unwrap(), "ns", "gone");
        foreign["metadata"]["labels"] = json!({});
        cluster.add(ADDRESSES, foreign);
        assert_eq!(parents(&mut cluster).len(), 4);
        cluster.now += WRONG_AFTER;
        assert_eq!(parents(&mut cluster), ["10.0.0.5 ns/s", "10.0.0.6 ns/gone", "10.0.0.8 ns/gone"]);
        cluster.now += LEAKED_AFTER;
        assert_eq!(parents(&mut cluster), ["10.0.0.5 ns/s", "10.0.0.8 ns/gone"]);
    }

    #[test]
    fn the_address_of_another_service_stays() {
        let mut cluster = cluster();
        parents(&mut cluster);
        cluster.add(
            SERVICES,
            json!({"metadata": {"name": "t", "namespace": "ns"}, "spec": {"clusterIP": "10.0.0.5"}}),
        );
        assert_eq!(parents(&mut cluster).len(), 1);
        let plan = cluster.reconcile(&repair(), &ObjectName::new(SERVICES, "ns", "t"));
        assert!(plan.is_empty());
    }
}
