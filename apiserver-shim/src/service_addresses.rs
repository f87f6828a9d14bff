//! Which keys a Service claims in the store: one for its cluster address, one for each node port. They are written
//! in the same transaction as the Service, so that two Services can never have the same.

use serde_json::Value;
use shim_model::access;
use shim_model::resource::Resource;
use store::Key;

const CLUSTER_IP_PREFIX: &str = "/catamaran/claims/cluster-ip/";
const NODE_PORT_PREFIX: &str = "/catamaran/claims/node-port/";

/// The claims that an object holds.
pub fn claims_of(resource: &Resource, value: &Value) -> Vec<Key> {
    if !(resource.group.is_empty() && resource.plural == "services") {
        return Vec::new();
    }
    let ip = access::text(value, &["spec", "clusterIP"]);
    let mut out = Vec::new();
    if !ip.is_empty() && ip != "None" {
        out.push(cluster_ip_key(ip));
    }
    let mut ports: Vec<i64> = access::list(value, &["spec", "ports"])
        .iter()
        .filter_map(|p| access::int(p, &["nodePort"]))
        .chain(access::int(value, &["spec", "healthCheckNodePort"]))
        .filter(|p| *p > 0)
        .collect();
    // The same node port may serve TCP and UDP of one Service.
    ports.sort_unstable();
    ports.dedup();
    out.extend(ports.into_iter().map(node_port_key));
    out
}

/// The claim on a cluster address.
pub fn cluster_ip_key(ip: &str) -> Key {
    Key::from(format!("{CLUSTER_IP_PREFIX}{ip}"))
}

/// The claim on a node port.
pub fn node_port_key(port: i64) -> Key {
    Key::from(format!("{NODE_PORT_PREFIX}{port}"))
}
