//! Validation of Services.

use super::super::endpoints::special;
use super::super::metadata;
use super::super::rules::Site;
use serde_json::Value;
use shim_model::access;
use shim_model::field::FieldError;
use shim_model::names;
use std::collections::BTreeSet;
use std::net::IpAddr;

const TYPES: &[&str] = &["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"];
const AFFINITY_SECONDS_MAX: i64 = 86_400;

pub(super) fn validate(object: &Value) -> Vec<FieldError> {
    let spec = &object["spec"];
    let ty = access::text(spec, &["type"]);
    let mut errors = Vec::new();
    if let Some(error) = claimed_twice(spec) {
        return vec![error];
    }
    annotations(object, &mut errors);
    by_type(spec, ty, &mut errors);
    ports(spec, &mut errors);
    metadata::labels(spec.get("selector"), format_args!("spec.selector"), &mut errors);
    affinity(spec, &mut errors);
    errors.extend(cluster_ips(spec));
    external_ips(spec, &mut errors);
    if ty.is_empty() {
        errors.push(FieldError::required("spec.type", ""));
    } else if !TYPES.contains(&ty) {
        errors.push(FieldError::not_supported("spec.type", ty, TYPES));
    }
    port_numbers(spec, ty, &mut errors);
    load_balancer(object, ty, &mut errors);
    external_policy(spec, ty, &mut errors);
    policies(spec, ty, &mut errors);
    errors
}

/// The first node port that the Service claims twice. As upstream, which claims them before it validates anything else,
/// it is the only error.
fn claimed_twice(spec: &Value) -> Option<FieldError> {
    let mut claimed = BTreeSet::new();
    access::list(spec, &["ports"]).iter().enumerate().find_map(|(i, port)| {
        let number = access::int(port, &["nodePort"]).filter(|number| *number != 0)?;
        let is_new = claimed.insert((access::text(port, &["protocol"]), number));
        let field = format!("spec.ports[{i}].nodePort");
        (!is_new).then(|| FieldError::invalid(field, number, "provided port is already allocated"))
    })
}

fn annotations(object: &Value, errors: &mut Vec<FieldError>) {
    const HINTS: &str = "service.kubernetes.io/topology-aware-hints";
    const MODE: &str = "service.kubernetes.io/topology-mode";
    let annotation = |key: &str| access::get(object, &["metadata", "annotations", key]);
    if let (Some(mode), Some(hints)) = (annotation(MODE), annotation(HINTS))
        && mode != hints
    {
        let why = format!("must match annotations[{HINTS}] when both are specified");
        errors.push(FieldError::invalid(format!("metadata.annotations[{MODE}]"), mode.clone(), why));
    }
}

fn is_headless(spec: &Value) -> bool {
    matches!(access::list(spec, &["clusterIPs"]), [one] if one == "None")
}

fn by_type(spec: &Value, ty: &str, errors: &mut Vec<FieldError>) {
    if access::list(spec, &["ports"]).is_empty() && !is_headless(spec) && ty != "ExternalName" {
        errors.push(FieldError::required("spec.ports", ""));
    }
    match ty {
        "LoadBalancer" | "NodePort" if is_headless(spec) => {
            let detail = format!("may not be set to 'None' for {ty} services");
            errors.push(FieldError::invalid("spec.clusterIPs[0]", "None", detail));
        }
        "ExternalName" => {
            let list = |key: &str| !access::list(spec, &[key]).is_empty();
            let policy = spec.get("ipFamilyPolicy").is_some_and(|policy| !policy.is_null());
            let set = [
                ("clusterIPs", list("clusterIPs")),
                ("ipFamilies", list("ipFamilies")),
                ("ipFamilyPolicy", policy),
            ];
            for (key, _) in set.into_iter().filter(|(_, set)| *set) {
                let why = "may not be set for ExternalName services";
                errors.push(FieldError::forbidden(format!("spec.{key}"), why));
            }
            let name = access::text(spec, &["externalName"]);
            let bare = name.strip_suffix('.').unwrap_or(name);
            if bare.is_empty() {
                errors.push(FieldError::required("spec.externalName", ""));
            }
            let wrong = if bare.is_empty() { Vec::new() } else { names::dns_subdomain(bare) };
            errors.extend(wrong.into_iter().map(|d| FieldError::invalid("spec.externalName", bare, d)));
        }
        _ => {}
    }
}

fn ports(spec: &Value, errors: &mut Vec<FieldError>) {
    let ports = access::list(spec, &["ports"]);
    let mut named = BTreeSet::new();
    for (i, port) in ports.iter().enumerate() {
        one_port(port, &format!("spec.ports[{i}]"), ports.len() > 1, &mut named, errors);
    }
}

/// The rules across ports.
fn port_numbers(spec: &Value, ty: &str, errors: &mut Vec<FieldError>) {
    let ports: Vec<(String, &Value)> = access::list(spec, &["ports"])
        .iter()
        .enumerate()
        .map(|(i, port)| (format!("spec.ports[{i}]"), port))
        .collect();
    let node_port = |port: &Value| access::int(port, &["nodePort"]).filter(|number| *number != 0);
    let mut numbered = BTreeSet::new();
    for (at, port) in ports.iter().filter(|_| ty == "ClusterIP") {
        if node_port(port).is_some() {
            let detail = "may not be used when `type` is 'ClusterIP'";
            errors.push(FieldError::forbidden(format!("{at}.nodePort"), detail));
        }
    }
    for (at, port) in &ports {
        let key = (access::text(port, &["protocol"]), access::int(port, &["port"]).unwrap_or(0));
        if !numbered.insert(key) {
            let shown = format!(
                "{{\"Name\":\"\",\"Protocol\":{},\"AppProtocol\":null,\"Port\":{},\"TargetPort\":0,\"NodePort\":0}}",
                Value::from(key.0),
                key.1
            );
            errors.push(FieldError { shown, ..FieldError::duplicate(at, "") });
        }
    }
}

fn one_port<'a>(
    port: &'a Value,
    at: &str,
    need_name: bool,
    named: &mut BTreeSet<&'a str>,
    errors: &mut Vec<FieldError>,
) {
    const PROTOCOLS: &[&str] = &["SCTP", "TCP", "UDP"];
    let name = access::text(port, &["name"]);
    if name.is_empty() {
        if need_name {
            errors.push(FieldError::required(format!("{at}.name"), ""));
        }
    } else {
        errors.extend(
            names::dns_label(name).into_iter().map(|d| FieldError::invalid(format!("{at}.name"), name, d)),
        );
        if !named.insert(name) {
            errors.push(FieldError::duplicate(format!("{at}.name"), name));
        }
    }
    let number = access::int(port, &["port"]).unwrap_or(0);
    errors.extend(
        names::port_number(number).into_iter().map(|d| FieldError::invalid(format!("{at}.port"), number, d)),
    );
    match access::text(port, &["protocol"]) {
        "" => errors.push(FieldError::required(format!("{at}.protocol"), "")),
        p if !PROTOCOLS.contains(&p) => {
            errors.push(FieldError::not_supported(format!("{at}.protocol"), p, PROTOCOLS))
        }
        _ => {}
    }
    let field = format!("{at}.targetPort");
    match &port["targetPort"] {
        Value::String(s) => errors.extend(
            names::port_name(s).into_iter().map(|d| FieldError::invalid(field.clone(), s.as_str(), d)),
        ),
        other => {
            let n = other.as_i64().unwrap_or(0);
            errors
                .extend(names::port_number(n).into_iter().map(|d| FieldError::invalid(field.clone(), n, d)));
        }
    }
    if let Some(app) = port.get("appProtocol").and_then(Value::as_str) {
        errors.extend(
            names::qualified(app)
                .into_iter()
                .map(|d| FieldError::invalid(format!("{at}.appProtocol"), app, d)),
        );
    }
}

fn affinity(spec: &Value, errors: &mut Vec<FieldError>) {
    const CONFIG: &str = "spec.sessionAffinityConfig";
    let config = spec.get("sessionAffinityConfig").filter(|config| !config.is_null());
    match access::text(spec, &["sessionAffinity"]) {
        "" => errors.push(FieldError::required("spec.sessionAffinity", "")),
        "None" if config.is_some() => {
            errors.push(FieldError::forbidden(CONFIG, "must not be set when session affinity is None"));
        }
        "None" => {}
        "ClientIP" => {
            let seconds =
                access::int(spec, &["sessionAffinityConfig", "clientIP", "timeoutSeconds"]).unwrap_or(0);
            if !(1..=AFFINITY_SECONDS_MAX).contains(&seconds) {
                let detail = format!("must be greater than 0 and less than {AFFINITY_SECONDS_MAX}");
                errors.push(FieldError::invalid(
                    format!("{CONFIG}.clientIP.timeoutSeconds"),
                    seconds,
                    detail,
                ));
            }
        }
        other => errors.push(FieldError::not_supported("spec.sessionAffinity", other, &["ClientIP", "None"])),
    }
}

/// The rules of addresses and their families, which also hold before addresses are allocated.
pub(super) fn cluster_ips(spec: &Value) -> Vec<FieldError> {
    const FAMILIES: &[&str] = &["IPv4", "IPv6"];
    const POLICIES: &[&str] = &["PreferDualStack", "RequireDualStack", "SingleStack"];
    let mut errors = Vec::new();
    if access::text(spec, &["type"]) == "ExternalName" {
        return errors;
    }
    let (ips, one) = (access::list(spec, &["clusterIPs"]), access::text(spec, &["clusterIP"]));
    let refused = |why: &str| FieldError::invalid("spec.clusterIPs", Value::from(ips.to_vec()), why);
    match (one, ips.first()) {
        ("", None) => {}
        ("", Some(_)) => errors.push(refused("must be empty when `clusterIP` is not specified")),
        (_, None) => errors.push(FieldError::required("spec.clusterIPs", "")),
        (one, Some(first)) if first != one => errors.push(refused("first value must match `clusterIP`")),
        _ => {}
    }
    let families = access::list(spec, &["ipFamilies"]);
    for (i, family) in families.iter().enumerate() {
        let (text, field) = (family.as_str().unwrap_or(""), format!("spec.ipFamilies[{i}]"));
        if !FAMILIES.contains(&text) {
            errors.push(FieldError::not_supported(&field, text, FAMILIES));
        }
        if families[..i].contains(family) {
            errors.push(FieldError::duplicate(field, text));
        }
    }
    if let Some(policy) = spec.get("ipFamilyPolicy").and_then(Value::as_str)
        && !POLICIES.contains(&policy)
    {
        errors.push(FieldError::not_supported("spec.ipFamilyPolicy", policy, POLICIES));
    }
    let mut invalid = false;
    for (i, ip) in ips.iter().enumerate() {
        let text = ip.as_str().unwrap_or("");
        if i == 0 && text == "None" {
            if ips.len() > 1 {
                invalid = true;
                errors.push(refused("'None' must be the first and only value"));
            }
            continue;
        }
        let wrong = names::ip(text);
        invalid |= !wrong.is_empty();
        errors
            .extend(wrong.into_iter().map(|d| FieldError::invalid(format!("spec.clusterIPs[{i}]"), text, d)));
    }
    if ips.len() > 2 {
        errors.push(refused("may only hold up to 2 values"));
    }
    if invalid {
        return errors;
    }
    let addresses: Vec<IpAddr> =
        ips.iter().filter_map(Value::as_str).filter_map(|ip| ip.parse().ok()).collect();
    let dual = addresses.iter().any(IpAddr::is_ipv4) && addresses.iter().any(IpAddr::is_ipv6);
    if ips.len() > 1 && !dual {
        errors.push(refused("may specify no more than one IP for each IP family"));
    }
    for (i, (address, family)) in addresses.iter().zip(families).enumerate() {
        let is = if address.is_ipv4() { "IPv4" } else { "IPv6" };
        if let Some(wanted) = family.as_str().filter(|wanted| *wanted != is && FAMILIES.contains(wanted)) {
            let detail = format!("expected an {wanted} value as indicated by `ipFamilies[{i}]`");
            errors.push(FieldError::invalid(format!("spec.clusterIPs[{i}]"), address.to_string(), detail));
        }
    }
    errors
}

fn external_ips(spec: &Value, errors: &mut Vec<FieldError>) {
    for (i, ip) in access::list(spec, &["externalIPs"]).iter().enumerate() {
        let (text, field) = (ip.as_str().unwrap_or(""), format!("spec.externalIPs[{i}]"));
        let mut wrong = names::ip(text);
        if let (true, Ok(ip)) = (wrong.is_empty(), text.parse::<IpAddr>()) {
            wrong.extend(special(ip, true));
        }
        errors.extend(wrong.into_iter().map(|d| FieldError::invalid(&field, text, d)));
    }
}

fn load_balancer(object: &Value, ty: &str, errors: &mut Vec<FieldError>) {
    const RANGES: &str = "service.beta.kubernetes.io/load-balancer-source-ranges";
    let spec = &object["spec"];
    let ranges = access::list(spec, &["loadBalancerSourceRanges"]);
    let balanced = ty == "LoadBalancer";
    let only = |field: &str| FieldError::forbidden(field, "may only be used when `type` is 'LoadBalancer'");
    let annotation = access::get(object, &["metadata", "annotations", RANGES]).and_then(Value::as_str);
    if !ranges.is_empty() {
        let field = "spec.LoadBalancerSourceRanges";
        errors.extend((!balanced).then(|| only(field)));
        for (i, range) in ranges.iter().enumerate() {
            let text = range.as_str().unwrap_or("").trim();
            let wrong = names::cidr(text).into_iter();
            errors.extend(wrong.map(|d| FieldError::invalid(format!("{field}[{i}]"), text, d)));
        }
    } else if let Some(ranges) = annotation {
        let field = format!("metadata.annotations[{RANGES}]");
        errors.extend((!balanced).then(|| only(&field)));
        for text in ranges.split(',').map(str::trim).filter(|_| !ranges.trim().is_empty()) {
            let wrong = names::cidr(text).into_iter();
            errors.extend(wrong.map(|d| FieldError::invalid(&field, text, d)));
        }
    }
    let allocates = spec.get("allocateLoadBalancerNodePorts").is_some_and(|allocate| !allocate.is_null());
    match (balanced, allocates) {
        (false, true) => errors.push(only("spec.allocateLoadBalancerNodePorts")),
        (true, false) => errors.push(FieldError::required("allocateLoadBalancerNodePorts", "")),
        _ => {}
    }
    if let Some(class) = spec.get("loadBalancerClass").and_then(Value::as_str) {
        let wrong = if balanced { names::qualified(class) } else { Vec::new() };
        errors.extend((!balanced).then(|| only("spec.loadBalancerClass")));
        errors.extend(wrong.into_iter().map(|d| FieldError::invalid("spec.loadBalancerClass", class, d)));
    }
}

const CHOICES: &[&str] = &["Cluster", "Local"];

fn external_policy(spec: &Value, ty: &str, errors: &mut Vec<FieldError>) {
    let external = access::text(spec, &["externalTrafficPolicy"]);
    let exposed = matches!(ty, "NodePort" | "LoadBalancer")
        || ty == "ClusterIP" && !access::list(spec, &["externalIPs"]).is_empty();
    let field = "spec.externalTrafficPolicy";
    match external {
        "" if exposed => errors.push(FieldError::required(field, "")),
        "" => {}
        _ if !exposed => {
            let detail = "may only be set for externally-accessible services";
            errors.push(FieldError::invalid(field, external, detail));
        }
        _ if CHOICES.contains(&external) => {}
        _ => errors.push(FieldError::not_supported(field, external, CHOICES)),
    }
    let checked = ty == "LoadBalancer" && external == "Local";
    let field = "spec.healthCheckNodePort";
    match access::int(spec, &["healthCheckNodePort"]).unwrap_or(0) {
        0 if checked => errors.push(FieldError::required(field, "")),
        0 => {}
        port if checked => {
            let wrong = names::port_number(port).into_iter();
            errors.extend(wrong.map(|d| FieldError::invalid(field, port, d)));
        }
        port => {
            let detail =
                "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'";
            errors.push(FieldError::invalid(field, port, detail));
        }
    }
}

fn policies(spec: &Value, ty: &str, errors: &mut Vec<FieldError>) {
    const DISTRIBUTIONS: &[&str] = &["PreferClose", "PreferSameZone", "PreferSameNode"];
    let field = "spec.internalTrafficPolicy";
    match spec.get("internalTrafficPolicy").and_then(Value::as_str) {
        None if matches!(ty, "NodePort" | "LoadBalancer" | "ClusterIP") => {
            errors.push(FieldError::required(field, ""));
        }
        Some(internal) if !CHOICES.contains(&internal) => {
            errors.push(FieldError::not_supported(field, internal, CHOICES));
        }
        _ => {}
    }
    if let Some(distribution) = spec.get("trafficDistribution").and_then(Value::as_str)
        && !DISTRIBUTIONS.contains(&distribution)
    {
        errors.push(FieldError::not_supported("spec.trafficDistribution", distribution, DISTRIBUTIONS));
    }
}

/// Assigned addresses are immutable, except from or to type ExternalName; so is a load balancer's class.
pub(super) fn validate_addresses_kept(new: &Value, old: &Value) -> Vec<FieldError> {
    const ONCE: &str = "may not change once set";
    let mut errors = Vec::new();
    let list = |object: &Value, key: &str| access::list(object, &["spec", key]).to_vec();
    let external = [new, old].iter().any(|o| access::text(o, &["spec", "type"]) == "ExternalName");
    let (is_headless, was_headless) = (is_headless(&new["spec"]), is_headless(&old["spec"]));
    let (single, policy) = {
        let policy = access::get(new, &["spec", "ipFamilyPolicy"]).cloned().unwrap_or_default();
        (policy == "SingleStack", policy)
    };
    let mut kept = |key: &str, what: &str| {
        let (was, is) = (list(old, key), list(new, key));
        let all = || Value::from(is.clone());
        let changed = is.first().zip(was.first()).is_some_and(|(is, was)| is != was);
        if is.len() == was.len() {
            let differs = |at: &usize| was[*at] != is[*at];
            for at in (0..is.len()).filter(differs) {
                let at = if key == "ipFamilies" { 0 } else { at };
                errors.push(FieldError::invalid(format!("spec.{key}[{at}]"), all(), ONCE));
            }
            return;
        }
        if was.len() > is.len() && list(new, "clusterIPs").is_empty() {
            let why = format!(
                "primary {} can not be unset",
                if key == "ipFamilies" { "ipFamily" } else { "clusterIP" }
            );
            errors.push(FieldError::invalid(format!("spec.{key}[0]"), all(), why));
        }
        if changed {
            let shown = Value::from(list(new, "clusterIPs"));
            errors.push(FieldError::invalid(format!("spec.{key}[0]"), shown, ONCE));
        }
        if was.len() > is.len() && is.len() == 1 && !single {
            let why = format!("must be set to 'SingleStack' when releasing the secondary {what}");
            errors.push(FieldError::invalid("spec.ipFamilyPolicy", policy.clone(), why));
        }
    };
    if !(external || is_headless && was_headless) {
        kept("clusterIPs", "clusterIP");
    }
    if !external && !is_headless && !was_headless {
        kept("ipFamilies", "ipFamily");
    }
    let class = |o: &Value| match access::text(o, &["spec", "type"]) {
        "LoadBalancer" => {
            Some(access::get(o, &["spec", "loadBalancerClass"]).cloned().unwrap_or(Value::Null))
        }
        _ => None,
    };
    if let (Some(new), Some(old)) = (class(new), class(old))
        && new != old
    {
        errors.push(FieldError::invalid("spec.loadBalancerClass", new, "may not change once set"));
    }
    errors
}

/// Validates the load balancer in a status. Addresses that it had may be in an old form.
pub(super) fn validate_status(new: &Value, old: &Value) -> Vec<FieldError> {
    const MODES: [&str; 2] = ["Proxy", "VIP"];
    let points = |service| access::list(service, &["status", "loadBalancer", "ingress"]);
    let mut errors = Vec::new();
    if access::text(new, &["spec", "type"]) != "LoadBalancer" && !points(new).is_empty() {
        let why = "may only be used when `spec.type` is 'LoadBalancer'";
        return vec![FieldError::forbidden("status.loadBalancer.ingress", why)];
    }
    let root = Site::root(new);
    let status = root.at("status");
    let balancer = status.at("loadBalancer");
    for point in balancer.at("ingress").items() {
        let (ip, mode, host) = (point.at("ip"), point.at("ipMode"), point.at("hostname"));
        let had = points(old).iter().any(|other| access::text(other, &["ip"]) == ip.text());
        if !ip.text().is_empty() && !had {
            errors.extend(ip.format(names::ip));
        }
        match (mode.is_set(), ip.text().is_empty()) {
            (false, false) => errors.push(mode.required("must be specified when `ip` is set")),
            (true, true) => errors.push(mode.forbidden("may not be specified when `ip` is not set")),
            (true, false) if !MODES.contains(&mode.text()) => errors.push(mode.not_supported(&MODES)),
            _ => {}
        }
        if !host.text().is_empty() {
            errors.extend(host.format(names::dns_subdomain));
            if host.text().parse::<std::net::IpAddr>().is_ok() {
                errors.push(host.invalid("must be a DNS name, not an IP address"));
            }
        }
    }
    errors
}
