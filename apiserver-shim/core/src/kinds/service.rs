//! Services: types, ports, addresses. The shell allocates addresses; this file knows which fields hold them and what
//! may change.

mod validation;

use super::rules::Site;
use super::{FieldName, Strategy, cells, named, warnings};
use serde_json::{Map, Value, json};
use shim_model::access::{self, set_default, set_if_zero};
use shim_model::field::FieldError;
use shim_model::names;
use shim_model::time::Instant;

pub(super) struct Service;

/// Default session affinity timeout, in seconds.
const AFFINITY_SECONDS: i64 = 10_800;

impl Strategy for Service {
    fn returns_deleted_object(&self) -> bool {
        true
    }

    fn default(&self, object: &mut Value) {
        let spec = access::object_mut(object, &["spec"]);
        set_if_zero(spec, "sessionAffinity", "None");
        set_if_zero(spec, "type", "ClusterIP");
        if spec["sessionAffinity"] == "None" {
            spec.remove("sessionAffinityConfig");
        } else if spec["sessionAffinity"] == "ClientIP" {
            let config = access::as_object(spec.entry("sessionAffinityConfig").or_insert_with(|| json!({})));
            let client = access::as_object(config.entry("clientIP").or_insert_with(|| json!({})));
            set_default(client, "timeoutSeconds", AFFINITY_SECONDS);
        }
        for port in spec.get_mut("ports").and_then(Value::as_array_mut).into_iter().flatten() {
            default_port(access::as_object(port));
        }
        let ty = spec["type"].as_str().unwrap_or("").to_owned();
        let external = spec.get("externalIPs").is_some_and(|e| !access::is_zero(e));
        if matches!(ty.as_str(), "NodePort" | "LoadBalancer") || ty == "ClusterIP" && external {
            set_if_zero(spec, "externalTrafficPolicy", "Cluster");
        }
        if matches!(ty.as_str(), "NodePort" | "LoadBalancer" | "ClusterIP") {
            set_default(spec, "internalTrafficPolicy", "Cluster");
        }
        if ty == "LoadBalancer" {
            set_default(spec, "allocateLoadBalancerNodePorts", true);
        }
        let balancer = access::object_mut(object, &["status", "loadBalancer"]);
        if ty == "LoadBalancer" {
            for ingress in balancer.get_mut("ingress").and_then(Value::as_array_mut).into_iter().flatten() {
                let ingress = access::as_object(ingress);
                if ingress.get("ip").is_some_and(|ip| !access::is_zero(ip)) {
                    set_default(ingress, "ipMode", "VIP");
                }
            }
        }
    }

    fn has_status(&self) -> bool {
        true
    }

    fn prepare_create(&self, object: &mut Value, _context: &super::CreateContext<'_>) {
        access::object_mut(object, &["status", "loadBalancer"]);
        let spec = access::object_mut(object, &["spec"]);
        same_address(spec);
    }

    fn prepare_update(&self, new: &mut Value, old: &Value) {
        keep_addresses(new, old);
        drop_what_the_type_has_not(new, old);
    }

    fn create_on_update(&self) -> bool {
        true
    }

    fn validate_name(&self, name: &str) -> Vec<String> {
        if name.contains('.') {
            return vec!["must not contain dots".to_owned()];
        }
        names::dns_label(name)
    }

    fn validate_create(&self, object: &Value) -> Vec<FieldError> {
        validation::validate(object)
    }

    fn validate_update(&self, new: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = validation::validate_addresses_kept(new, old);
        errors.extend(validation::validate(new));
        errors
    }

    fn warnings(&self, new: &Value, _old: Option<&Value>) -> Vec<String> {
        service_warnings(new)
    }

    fn validate_status_update(&self, new: &Value, old: &Value) -> Vec<FieldError> {
        validation::validate_status(new, old)
    }

    fn status_warnings(&self, new: &Value, _old: &Value) -> Vec<String> {
        warnings::load_balancer(new)
    }

    fn cells(&self, object: &Value, now: Instant) -> Vec<Value> {
        let spec = &object["spec"];
        let cluster_ip = match (access::text(spec, &["type"]), access::text(spec, &["clusterIP"])) {
            ("ExternalName", "") | (_, "") => "<none>",
            (_, ip) => ip,
        };
        let ports: Vec<String> = access::list(spec, &["ports"]).iter().map(port_cell).collect();
        vec![
            cells::name(object),
            access::text(spec, &["type"]).into(),
            cluster_ip.into(),
            external(object).into(),
            if ports.is_empty() { "<none>".into() } else { ports.join(",").into() },
            cells::age(object, now),
            cells::labels(spec.get("selector")).into(),
        ]
    }

    fn selectable(&self, object: &Value) -> Vec<(FieldName, String)> {
        let text = |key: &str| access::text(object, &["spec", key]).to_owned();
        named([("spec.clusterIP", text("clusterIP")), ("spec.type", text("type"))])
    }

    fn selectable_fields(&self) -> Vec<&str> {
        vec!["spec.clusterIP", "spec.type"]
    }
}

fn service_warnings(service: &Value) -> Vec<String> {
    const HINTS: &str = "service.kubernetes.io/topology-aware-hints";
    const MODE: &str = "service.kubernetes.io/topology-mode";
    let spec = &service["spec"];
    let mut out = Vec::new();
    if access::get(service, &["metadata", "annotations", HINTS]).is_some() {
        out.push(format!("annotation {HINTS} is deprecated, please use {MODE} instead"));
    }
    let text = |key: &str| access::text(spec, &[key]);
    let external_ips = access::list(spec, &["externalIPs"]);
    let headless = matches!(access::list(spec, &["clusterIPs"]), [one] if one == "None");
    let named = text("type") == "ExternalName";
    let root = Site::root(service);
    let site = root.at("spec");
    if !headless && !named {
        site.at("clusterIPs").items().for_each(|address| warnings::ip(address, address.text(), &mut out));
    }
    if headless {
        for (given, what) in [
            (!text("loadBalancerIP").is_empty(), "loadBalancerIP"),
            (!external_ips.is_empty(), "externalIPs"),
            (text("sessionAffinity") != "None", "SessionAffinity"),
        ] {
            out.extend(given.then(|| format!("spec.{what} is ignored for headless services")));
        }
    }
    for (i, ip) in external_ips.iter().filter_map(Value::as_str).enumerate() {
        out.extend(names::unusual_ip(ip).map(|why| format!("spec.externalIPs[{i}]: {why}")));
    }
    if !external_ips.is_empty() && !headless && !named {
        out.push(
            "spec.externalIPs is deprecated and may no longer be implemented in some clusters".to_owned(),
        );
    }
    out.extend(names::unusual_ip(text("loadBalancerIP")).map(|why| format!("spec.loadBalancerIP: {why}")));
    site.at("loadBalancerSourceRanges").items().for_each(|range| warnings::cidr(&range, &mut out));
    if named && !external_ips.is_empty() {
        out.push("spec.externalIPs is ignored when spec.type is \"ExternalName\"".to_owned());
    }
    if !named && !text("externalName").is_empty() {
        out.push("spec.externalName is ignored when spec.type is not \"ExternalName\"".to_owned());
    }
    if text("trafficDistribution") == "PreferClose" {
        out.push(
            "spec.trafficDistribution: \"PreferClose\" is deprecated; use \"PreferSameZone\"".to_owned(),
        );
    }
    out
}

/// Prepares a new Service for the allocation of addresses; its errors prevent that.
pub fn begin_allocation(service: &mut Value) -> Vec<FieldError> {
    let spec = access::object_mut(service, &["spec"]);
    let one = spec.get("clusterIP").and_then(Value::as_str).unwrap_or("").to_owned();
    if !one.is_empty() && spec.get("clusterIPs").is_none_or(access::is_zero) {
        spec.insert("clusterIPs".into(), json!([one]));
    }
    validation::cluster_ips(&service["spec"])
}

/// The same for an update: clients may know only one of `clusterIP` and `clusterIPs`.
pub fn begin_reallocation(service: &mut Value, old: &Value) -> Vec<FieldError> {
    let one = |object: &Value| access::text(object, &["spec", "clusterIP"]).to_owned();
    let all = |object: &Value| access::list(object, &["spec", "clusterIPs"]).to_vec();
    let (is, was, before) = (one(service), one(old), all(old));
    let same = all(service) == before;
    let spec = access::object_mut(service, &["spec"]);
    if is == was {
        if !before.is_empty() {
            access::set_if_zero(spec, "clusterIPs", before);
        }
    } else if same && is.is_empty() {
        spec.remove("clusterIPs");
    } else if same {
        spec.insert("clusterIPs".into(), json!([is]));
    }
    validation::cluster_ips(&service["spec"])
}

fn default_port(port: &mut Map<String, Value>) {
    set_if_zero(port, "protocol", "TCP");
    if port.get("targetPort").is_none_or(access::is_zero) {
        let number = port.get("port").cloned().unwrap_or(Value::from(0));
        port.insert("targetPort".into(), number);
    }
}

/// Synchronizes `clusterIP` with the first of `clusterIPs`.
fn same_address(spec: &mut Map<String, Value>) {
    let one = spec.get("clusterIP").and_then(Value::as_str).unwrap_or("").to_owned();
    let first = spec.get("clusterIPs").and_then(|l| l.get(0)).and_then(Value::as_str).map(str::to_owned);
    match (one.as_str(), first) {
        ("", Some(first)) => {
            spec.insert("clusterIP".into(), first.into());
        }
        (_, None) if !one.is_empty() => {
            spec.insert("clusterIPs".into(), json!([one]));
        }
        _ => {}
    }
}

/// Keeps addresses, families and node ports that the update omits, if the type still has them.
fn keep_addresses(new: &mut Value, old: &Value) {
    let ty = |o: &Value| access::text(o, &["spec", "type"]).to_owned();
    let (was, is) = (ty(old), ty(new));
    if was != "ExternalName" && is != "ExternalName" {
        let (one, many) = (
            access::text(new, &["spec", "clusterIP"]).to_owned(),
            access::list(new, &["spec", "clusterIPs"]).len(),
        );
        if one.is_empty() && many == 0 {
            access::copy(old, new, &["spec", "clusterIP"]);
            access::copy(old, new, &["spec", "clusterIPs"]);
        } else if one != access::text(old, &["spec", "clusterIP"])
            && access::list(new, &["spec", "clusterIPs"]) == access::list(old, &["spec", "clusterIPs"])
        {
            // A client that knows only `clusterIP` has changed it: `clusterIPs` follows.
            access::remove(new, &["spec", "clusterIPs"]);
        }
        for key in ["ipFamilies", "ipFamilyPolicy"] {
            if access::get(new, &["spec", key]).is_none() {
                access::copy(old, new, &["spec", key]);
            }
        }
    }
    same_address(access::object_mut(new, &["spec"]));
    let exposed = |ty: &str| matches!(ty, "NodePort" | "LoadBalancer");
    if exposed(&was) && exposed(&is) {
        keep_node_ports(new, old);
    }
}

fn keep_node_ports(new: &mut Value, old: &Value) {
    let key = |p: &Value| (access::int(p, &["port"]), access::text(p, &["protocol"]).to_owned());
    let used: Vec<i64> =
        access::list(new, &["spec", "ports"]).iter().filter_map(|p| access::int(p, &["nodePort"])).collect();
    for port in access::list_mut(new, &["spec", "ports"]).into_iter().flatten() {
        if access::int(port, &["nodePort"]).unwrap_or(0) != 0 {
            continue;
        }
        let before = access::list(old, &["spec", "ports"]).iter().find(|p| key(p) == key(port));
        if let Some(number) = before.and_then(|p| access::int(p, &["nodePort"])).filter(|n| !used.contains(n))
        {
            access::as_object(port).insert("nodePort".into(), number.into());
        }
    }
}

/// Removes fields that only the old type had, if the client has not changed them.
fn drop_what_the_type_has_not(new: &mut Value, old: &Value) {
    let ty = access::text(new, &["spec", "type"]).to_owned();
    let was = access::text(old, &["spec", "type"]).to_owned();
    if ty == was {
        return;
    }
    let same = |new: &Value, key: &str| access::get(new, &["spec", key]) == access::get(old, &["spec", key]);
    if ty == "ExternalName" {
        for key in ["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy", "internalTrafficPolicy"] {
            if same(new, key) {
                access::remove(new, &["spec", key]);
            }
        }
    }
    if !matches!(ty.as_str(), "NodePort" | "LoadBalancer") {
        let before = access::list(old, &["spec", "ports"]).to_vec();
        for port in access::list_mut(new, &["spec", "ports"]).into_iter().flatten() {
            if before.iter().any(|p| p.get("nodePort") == port.get("nodePort")) {
                access::as_object(port).remove("nodePort");
            }
        }
        if same(new, "externalTrafficPolicy") && access::list(new, &["spec", "externalIPs"]).is_empty() {
            access::remove(new, &["spec", "externalTrafficPolicy"]);
        }
    }
    if ty != "LoadBalancer" {
        for key in ["allocateLoadBalancerNodePorts", "loadBalancerClass", "healthCheckNodePort"] {
            if same(new, key) {
                access::remove(new, &["spec", key]);
            }
        }
    }
}

fn port_cell(port: &Value) -> String {
    let (number, protocol) = (access::int(port, &["port"]).unwrap_or(0), access::text(port, &["protocol"]));
    match access::int(port, &["nodePort"]).unwrap_or(0) {
        0 => format!("{number}/{protocol}"),
        node => format!("{number}:{node}/{protocol}"),
    }
}

fn external(object: &Value) -> String {
    let spec = &object["spec"];
    let mut ips: Vec<&str> = Vec::new();
    let ty = access::text(spec, &["type"]);
    if ty == "ExternalName" {
        return access::text(spec, &["externalName"]).to_owned();
    }
    if ty == "LoadBalancer" {
        for ingress in access::list(object, &["status", "loadBalancer", "ingress"]) {
            ips.push(cells::or(access::text(ingress, &["ip"]), access::text(ingress, &["hostname"])));
        }
    }
    ips.extend(access::list(spec, &["externalIPs"]).iter().filter_map(Value::as_str));
    match (ips.is_empty(), ty) {
        (false, _) => ips.join(","),
        (true, "LoadBalancer") => "<pending>".to_owned(),
        (true, _) => "<none>".to_owned(),
    }
}
