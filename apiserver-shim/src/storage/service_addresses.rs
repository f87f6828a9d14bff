//! Allocation of cluster IPs and node ports. Each allocation is a key, written in the Service's own transaction, so
//! that two Services never get the same one. So is the IPAddress object of each cluster IP (`ip_addresses`).

use shim_model::go_quote::Quoted;
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};

use serde_json::{Value, json};
use shim_core::kinds::service::{begin_allocation, begin_reallocation};
use shim_core::service_addresses::Ranges;
pub use shim_core::service_cidr::{DEFAULT_SERVICE_CIDR, ServiceCidr};
use shim_model::access;
use shim_model::field::FieldError;
use shim_model::resource::Resource;
use shim_model::status::{self, Status};
use store::Key;

use crate::storage::preconditions::Preconditions;
use crate::storage::registry::Registry;

mod held_keys;
mod ip_addresses;

pub use held_keys::ServiceKeys;
use held_keys::Taken;
pub use ip_addresses::record;

const CLUSTER_IP_PREFIX: &str = "/catamaran/claims/cluster-ip/";
const NODE_PORT_PREFIX: &str = "/catamaran/claims/node-port/";

/// Whether objects of a resource have cluster IPs or node ports.
pub fn concerns(resource: &Resource) -> bool {
    resource.group.is_empty() && resource.plural == "services"
}

/// The allocation keys that an object holds.
pub fn claims_of(resource: &Resource, value: &Value) -> Vec<Key> {
    if concerns(resource) { claims_in(value) } else { Vec::new() }
}

/// The allocation keys that a Service holds.
fn claims_in(value: &Value) -> Vec<Key> {
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
    // TCP and UDP ports of one Service may share a node port.
    ports.sort_unstable();
    ports.dedup();
    out.extend(ports.into_iter().map(node_port_key));
    out
}

/// Releases all allocations of an object in the transaction that removes it.
pub fn release_all(
    registry: &Registry,
    resource: &Resource,
    value: &Value,
    preconditions: &mut Preconditions,
) {
    claims_of(resource, value).into_iter().for_each(|key| preconditions.release(key));
    record(registry, resource, (None, Some(value)), preconditions);
}

/// Whether a key is an allocation of a cluster IP or node port.
pub fn is_claim(key: &Key) -> bool {
    [CLUSTER_IP_PREFIX, NODE_PORT_PREFIX].iter().any(|prefix| key.as_str().starts_with(prefix))
}

/// The key of a cluster IP.
pub fn cluster_ip_key(ip: &str) -> Key {
    Key::from(format!("{CLUSTER_IP_PREFIX}{ip}"))
}

/// The key of a node port.
pub fn node_port_key(port: i64) -> Key {
    Key::from(format!("{NODE_PORT_PREFIX}{port}"))
}

/// The node port range (upstream's default).
pub const NODE_PORTS: std::ops::RangeInclusive<i64> = 30_000..=32_767;
/// The node ports that agents offer to frameworks by default: a Service gets one of them only if it asks for it, or if there is no other.
const OFFERED_PORTS: std::ops::RangeInclusive<i64> = 31_000..=32_000;
/// Candidates tried before the range counts as full.
const TRIES_MAX: usize = 4096;

/// An attempt to allocate.
#[derive(Clone, Copy)]
pub struct Attempt<'a> {
    /// The condition that failed in the previous attempt, possibly because another Service holds the key.
    pub broken: Option<&'a Key>,
    /// As upstream, a dry run accepts allocated addresses and ports, and ports of any range.
    pub dry_run: bool,
}

/// Allocates cluster IP and node ports of a Service. The result is only a proposal: the conditions of the transaction
/// decide. `old` is the stored Service.
pub fn allocate(
    (registry, keys): (&Registry, &ServiceKeys),
    resource: &Resource,
    service: &mut Value,
    old: Option<&Value>,
    attempt: Attempt<'_>,
) -> Result<Preconditions, Status> {
    let mut preconditions = Preconditions::default();
    if !concerns(resource) {
        return Ok(preconditions);
    }
    let had = old.map(|o| claims_of(resource, o)).unwrap_or_default();
    let taken = keys.taken(&had, attempt.broken);
    if old.is_none() {
        check_families(service)?;
    }
    keep_old(service, old);
    if let Some(old) = old {
        let errors = begin_reallocation(service, old);
        if !errors.is_empty() {
            let name = access::text(service, &["metadata", "name"]);
            return Err(status::invalid("", "Service", name, &errors));
        }
    }
    if !changes_cluster_ip(service, old) {
        cluster_ip(service, registry, (&taken, &had), attempt.dry_run)?;
    }
    node_ports(service, &taken, attempt.dry_run)?;
    health_check_port(service, old, &taken, attempt.dry_run)?;
    drop(taken);
    let wants = claims_of(resource, service);
    let (kept, given_back): (Vec<Key>, Vec<Key>) = had.into_iter().partition(|key| wants.contains(key));
    given_back.into_iter().for_each(|key| preconditions.release(key));
    wants.into_iter().filter(|key| !kept.contains(key)).for_each(|key| preconditions.claim(key));
    Ok(preconditions)
}

fn service_type(service: &Value) -> &str {
    match access::text(service, &["spec", "type"]) {
        "" => "ClusterIP",
        other => other,
    }
}

/// Whether an update changes the cluster IP; validation refuses that.
fn changes_cluster_ip(service: &Value, old: Option<&Value>) -> bool {
    let had = old.map_or("", |o| access::text(o, &["spec", "clusterIP"]));
    let external = old.is_some_and(|o| service_type(o) == "ExternalName");
    !had.is_empty() && !external && access::text(service, &["spec", "clusterIP"]) != had
}

/// Copies allocated values that the update omits, and removes those that the Service type does not use.
fn keep_old(service: &mut Value, old: Option<&Value>) {
    let Some(old) = old else { return };
    let external = service_type(service) == "ExternalName";
    let old_ip = access::text(old, &["spec", "clusterIP"]).to_owned();
    let ip = access::text(service, &["spec", "clusterIP"]).to_owned();
    let spec = access::object_mut(service, &["spec"]);
    if external && (ip == old_ip || ip.is_empty()) {
        spec.remove("clusterIP");
        spec.remove("clusterIPs");
    } else if !external && ip.is_empty() && !old_ip.is_empty() {
        spec.insert("clusterIP".into(), old_ip.into());
        if let Some(all) = old["spec"].get("clusterIPs") {
            spec.insert("clusterIPs".into(), all.clone());
        }
    }
    let ported = matches!(service_type(service), "NodePort" | "LoadBalancer");
    let old_ports = access::list(old, &["spec", "ports"]).to_vec();
    let Some(ports) = access::list_mut(service, &["spec", "ports"]) else { return };
    for port in ports {
        let same = |o: &&Value| o["port"] == port["port"] && protocol(o) == protocol(port);
        let Some(before) = old_ports.iter().find(same).map(|o| o["nodePort"].clone()) else { continue };
        let Some(port) = port.as_object_mut() else { continue };
        let asked = port.get("nodePort").and_then(Value::as_i64).unwrap_or(0);
        if ported && asked == 0 && before.is_i64() {
            port.insert("nodePort".into(), before);
        } else if !ported && Some(asked) == before.as_i64() {
            port.remove("nodePort");
        }
    }
}

fn protocol(port: &Value) -> &str {
    port["protocol"].as_str().unwrap_or("TCP")
}

/// `taken` are the keys of other Services, `had` those that the Service has.
fn cluster_ip(
    service: &mut Value,
    registry: &Registry,
    (taken, had): (&Taken<'_>, &[Key]),
    dry_run: bool,
) -> Result<(), Status> {
    if service_type(service) == "ExternalName" {
        return Ok(());
    }
    let spec = access::object_mut(service, &["spec"]);
    let mut ip = spec.get("clusterIP").and_then(Value::as_str).unwrap_or("").to_owned();
    if ip.is_empty() {
        let first = spec.get("clusterIPs").and_then(|all| all.get(0)).and_then(Value::as_str);
        ip = first.unwrap_or("").to_owned();
    }
    let is_taken = |address: Ipv4Addr| {
        let key = cluster_ip_key(&address.to_string());
        taken.contains(&key) || !had.contains(&key) && ip_addresses::is_taken(registry, IpAddr::V4(address))
    };
    if ip.is_empty() {
        let free = free_address(&ip_addresses::ranges(registry), is_taken);
        ip = free.ok_or_else(|| no_address(service))?.to_string();
    } else if let Ok(address) = ip.parse::<Ipv4Addr>() {
        let ranges = ip_addresses::ranges(registry);
        let refusal = match dry_run {
            true => ranges.dry_refusal(address),
            false => ranges.refusal(address),
        };
        let taken = || (!dry_run && is_taken(address)).then(|| "provided IP is already allocated".to_owned());
        if let Some(why) = refusal.or_else(taken) {
            return Err(refused_address(service, address, &why));
        }
    }
    let spec = access::object_mut(service, &["spec"]);
    if ip == "None" && spec.get("selector").is_none_or(access::is_zero) {
        // The backends of a headless Service without a selector are unknown, so both families are allowed.
        access::set_if_zero(spec, "ipFamilies", json!(["IPv4", "IPv6"]));
        access::set_if_zero(spec, "ipFamilyPolicy", "RequireDualStack");
    }
    access::set_if_zero(spec, "clusterIPs", json!([ip]));
    spec.insert("clusterIP".into(), ip.into());
    access::set_if_zero(spec, "ipFamilies", json!(["IPv4"]));
    access::set_if_zero(spec, "ipFamilyPolicy", "SingleStack");
    Ok(())
}

/// Only IPv4 is supported. A headless Service without a selector may name any family, because the user manages its
/// endpoints.
fn check_families(service: &mut Value) -> Result<(), Status> {
    let mut errors = begin_allocation(service);
    let name = access::text(service, &["metadata", "name"]);
    let refusal = |errors: &[FieldError]| match errors {
        [] => Ok(()),
        errors => Err(status::invalid("", "Service", name, errors)),
    };
    let spec = &service["spec"];
    if service_type(service) == "ExternalName" {
        return Ok(());
    }
    refusal(&errors)?;
    let (ips, families) = (access::list(spec, &["clusterIPs"]), access::list(spec, &["ipFamilies"]));
    let free = access::text(spec, &["clusterIP"]) == "None" && access::is_zero(&spec["selector"]);
    let policy = match access::text(spec, &["ipFamilyPolicy"]) {
        "" if free => "RequireDualStack",
        "" => "SingleStack",
        policy => policy,
    };
    let mut refuse =
        |field: String, value: Value, why: &str| errors.push(FieldError::invalid(field, value, why));
    for (list, what) in [(ips, "cluster IPs"), (families, "IP families")] {
        if policy == "SingleStack" && list.len() == 2 {
            let why =
                format!("must be 'RequireDualStack' or 'PreferDualStack' when multiple {what} are specified");
            refuse("spec.ipFamilyPolicy".into(), policy.into(), &why);
        }
    }
    for (i, ip) in ips.iter().enumerate().skip(families.len()) {
        if ip.as_str().is_some_and(|ip| ip.contains(':')) {
            refuse(format!("spec.clusterIPs[{i}]"), ips.into(), "IPv6 is not configured on this cluster");
        }
    }
    if free || !errors.is_empty() {
        return refusal(&errors);
    }
    let mut refuse =
        |field: String, value: &str, why: &str| errors.push(FieldError::invalid(field, value, why));
    if policy == "RequireDualStack" {
        let why = "this cluster is not configured for dual-stack services";
        refuse("spec.ipFamilyPolicy".into(), policy, why);
    }
    for (i, _) in families.iter().enumerate().filter(|(_, family)| family.as_str() == Some("IPv6")) {
        refuse(format!("spec.ipFamilies[{i}]"), "IPv6", "not configured on this cluster");
    }
    refusal(&errors)
}

fn refused_address(service: &Value, address: Ipv4Addr, why: &str) -> Status {
    let why = format!("failed to allocate IP {address}: {why}");
    refused(service, FieldError::invalid("spec.clusterIPs", json!([address.to_string()]), why))
}

fn no_address(service: &Value) -> Status {
    let name = access::text(service, &["metadata", "name"]);
    status::internal(format!(
        "failed to allocate a serviceIP for Service {name}: range is full",
        name = Quoted(name)
    ))
}

fn node_ports(service: &mut Value, taken: &Taken<'_>, dry_run: bool) -> Result<(), Status> {
    if !matches!(service_type(service), "NodePort" | "LoadBalancer") {
        return Ok(());
    }
    let wanted = match service_type(service) {
        "NodePort" => true,
        "LoadBalancer" => service["spec"]["allocateLoadBalancerNodePorts"] != json!(false),
        _ => false,
    };
    let asked: Vec<(usize, i64)> = access::list(service, &["spec", "ports"])
        .iter()
        .enumerate()
        .filter_map(|(i, p)| access::int(p, &["nodePort"]).filter(|n| *n != 0).map(|n| (i, n)))
        .collect();
    for (i, port) in asked.iter().filter(|_| !dry_run) {
        let field = format!("spec.ports[{i}].nodePort");
        if !NODE_PORTS.contains(port) {
            let why = format!(
                "provided port is not in the valid range. The range of valid ports is {}-{}",
                NODE_PORTS.start(),
                NODE_PORTS.end()
            );
            return Err(refused(service, FieldError::invalid(field, *port, why)));
        }
        if taken.contains(&node_port_key(*port)) {
            let error = FieldError::invalid(field, *port, "provided port is already allocated");
            return Err(refused(service, error));
        }
    }
    if !wanted {
        return Ok(());
    }
    let mut used: BTreeSet<i64> = asked.iter().map(|(_, n)| *n).collect();
    for port in access::list_mut(service, &["spec", "ports"]).into_iter().flatten() {
        if access::int(port, &["nodePort"]).unwrap_or(0) == 0 {
            let free = free_port(taken, &used)?;
            used.insert(free);
            access::as_object(port).insert("nodePort".into(), free.into());
        }
    }
    Ok(())
}

/// Whether a load balancer asks each node if it has endpoints of its own.
fn is_health_checked(service: &Value) -> bool {
    service_type(service) == "LoadBalancer"
        && access::text(service, &["spec", "externalTrafficPolicy"]) == "Local"
}

fn health_check_port(
    service: &mut Value,
    old: Option<&Value>,
    taken: &Taken<'_>,
    dry_run: bool,
) -> Result<(), Status> {
    const PATH: [&str; 2] = ["spec", "healthCheckNodePort"];
    let port_of = |service: &Value| access::int(service, &PATH).filter(|port| *port > 0);
    let before = old.filter(|old| is_health_checked(old)).and_then(port_of);
    if !is_health_checked(service) {
        if before.is_some() && port_of(service) == before {
            access::remove(service, &PATH);
        }
        return Ok(());
    }
    let port = match port_of(service).or(before) {
        Some(port) if !dry_run && taken.contains(&node_port_key(port)) => {
            let why = format!(
                "failed to allocate requested HealthCheck NodePort {port}: provided port is already allocated"
            );
            return Err(status::internal(why));
        }
        Some(port) => port,
        None => {
            let ports = access::list(service, &["spec", "ports"]).iter();
            free_port(taken, &ports.filter_map(|port| access::int(port, &["nodePort"])).collect())?
        }
    };
    access::object_mut(service, &["spec"]).insert("healthCheckNodePort".into(), port.into());
    Ok(())
}

fn refused(service: &Value, error: FieldError) -> Status {
    status::invalid("", "Service", access::text(service, &["metadata", "name"]), &[error])
}

fn free_address(ranges: &Ranges, is_taken: impl Fn(Ipv4Addr) -> bool) -> Option<Ipv4Addr> {
    let random = uuid::Uuid::new_v4().as_u128() as u32;
    let free =
        |range: ServiceCidr| range.candidates(random).take(TRIES_MAX).find(|address| !is_taken(*address));
    ranges.iter().find_map(free)
}

fn free_port(taken: &Taken<'_>, used: &BTreeSet<i64>) -> Result<i64, Status> {
    let span = NODE_PORTS.end() - NODE_PORTS.start() + 1;
    let start = i64::from(uuid::Uuid::new_v4().as_u128() as u16) % span;
    let mut free = (0..span)
        .map(|step| NODE_PORTS.start() + (start + step) % span)
        .filter(|port| !used.contains(port) && !taken.contains(&node_port_key(*port)));
    // A framework's task may listen at a port that was offered.
    let unoffered = free.clone().find(|port| !OFFERED_PORTS.contains(port));
    unoffered.or_else(|| free.next()).ok_or_else(|| status::service_unavailable("node port range is full"))
}
