//! Validation of Services.

use super::super::endpoints::special;
use super::super::metadata;
use super::super::node::is_cidr;
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
    by_type(spec, ty, &mut errors);
    ports(spec, ty, &mut errors);
    metadata::labels(spec.get("selector"), format_args!("spec.selector"), &mut errors);
    affinity(spec, &mut errors);
    cluster_ips(spec, ty, &mut errors);
    external_ips(spec, &mut errors);
    if !TYPES.contains(&ty) {
        errors.push(FieldError::not_supported("spec.type", ty, TYPES));
    }
    load_balancer(spec, ty, &mut errors);
    policies(spec, ty, &mut errors);
    errors
}

fn by_type(spec: &Value, ty: &str, errors: &mut Vec<FieldError>) {
    let none = access::text(spec, &["clusterIP"]) == "None";
    match ty {
        "LoadBalancer" | "NodePort" if none => {
            let detail = format!("may not be set to 'None' for {ty} services");
            errors.push(FieldError::invalid("spec.clusterIPs[0]", "None", detail));
        }
        "ExternalName" => {
            if !access::text(spec, &["clusterIP"]).is_empty()
                || !access::list(spec, &["clusterIPs"]).is_empty()
            {
                errors.push(FieldError::forbidden(
                    "spec.clusterIPs",
                    "may not be set for ExternalName services",
                ));
            }
            for (key, detail) in [
                ("ipFamilies", "may not be set for ExternalName services"),
                ("ipFamilyPolicy", "may not be set for ExternalName services"),
            ] {
                if spec.get(key).is_some_and(|v| !access::is_zero(v)) {
                    errors.push(FieldError::forbidden(format!("spec.{key}"), detail));
                }
            }
            let name = access::text(spec, &["externalName"]);
            let bare = name.strip_suffix('.').unwrap_or(name);
            if bare.is_empty() {
                errors.push(FieldError::required("spec.externalName", ""));
            } else {
                errors.extend(
                    names::dns_subdomain(bare)
                        .into_iter()
                        .map(|d| FieldError::invalid("spec.externalName", name, d)),
                );
            }
        }
        _ => {}
    }
}

fn ports(spec: &Value, ty: &str, errors: &mut Vec<FieldError>) {
    let ports = access::list(spec, &["ports"]);
    let headless = access::text(spec, &["clusterIP"]) == "None";
    if ports.is_empty() && ty != "ExternalName" && !headless {
        errors.push(FieldError::required("spec.ports", ""));
    }
    let (mut named, mut numbered, mut node_ports) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for (i, port) in ports.iter().enumerate() {
        let at = format!("spec.ports[{i}]");
        one_port(port, &at, ports.len() > 1, &mut named, errors);
        if ty == "ExternalName" || ty == "ClusterIP" {
            if access::int(port, &["nodePort"]).unwrap_or(0) != 0 {
                let detail = format!("may not be used when `type` is '{ty}'");
                errors.push(FieldError::forbidden(format!("{at}.nodePort"), detail));
            }
        } else if let Some(n) = access::int(port, &["nodePort"]).filter(|n| *n != 0) {
            errors.extend(
                names::port_number(n)
                    .into_iter()
                    .map(|d| FieldError::invalid(format!("{at}.nodePort"), n, d)),
            );
            if !node_ports.insert((access::text(port, &["protocol"]), n)) {
                errors.push(FieldError::duplicate(format!("{at}.nodePort"), n));
            }
        }
        let key = (access::text(port, &["protocol"]), access::int(port, &["port"]).unwrap_or(0));
        if !numbered.insert(key) {
            let shown = format!(
                "{{\"Name\":\"\",\"Protocol\":\"{}\",\"AppProtocol\":null,\"Port\":{},\"TargetPort\":0,\"NodePort\":0}}",
                key.0, key.1
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
    match access::text(spec, &["sessionAffinity"]) {
        "" => errors.push(FieldError::required("spec.sessionAffinity", "")),
        "None" => {}
        "ClientIP" => {
            let seconds =
                access::int(spec, &["sessionAffinityConfig", "clientIP", "timeoutSeconds"]).unwrap_or(0);
            if !(1..=AFFINITY_SECONDS_MAX).contains(&seconds) {
                let detail = format!("must be greater than 0 and less than {AFFINITY_SECONDS_MAX}");
                errors.push(FieldError::invalid(
                    "spec.sessionAffinityConfig.clientIP.timeoutSeconds",
                    seconds,
                    detail,
                ));
            }
        }
        other => errors.push(FieldError::not_supported("spec.sessionAffinity", other, &["ClientIP", "None"])),
    }
}

fn cluster_ips(spec: &Value, ty: &str, errors: &mut Vec<FieldError>) {
    const FAMILIES: &[&str] = &["IPv4", "IPv6"];
    const POLICIES: &[&str] = &["PreferDualStack", "RequireDualStack", "SingleStack"];
    let policy = access::text(spec, &["ipFamilyPolicy"]);
    if !policy.is_empty() && !POLICIES.contains(&policy) {
        errors.push(FieldError::not_supported("spec.ipFamilyPolicy", policy, POLICIES));
    }
    let families = access::list(spec, &["ipFamilies"]);
    for (i, family) in families.iter().enumerate() {
        let family_text = family.as_str().unwrap_or("");
        if !FAMILIES.contains(&family_text) {
            errors.push(FieldError::not_supported(format!("spec.ipFamilies[{i}]"), family_text, FAMILIES));
        }
        if families[..i].contains(family) {
            errors.push(FieldError::duplicate(format!("spec.ipFamilies[{i}]"), family_text));
        }
    }
    if ty == "ExternalName" {
        return;
    }
    let ips = access::list(spec, &["clusterIPs"]);
    let one = access::text(spec, &["clusterIP"]);
    if !ips.is_empty() && ips[0].as_str() != Some(one) {
        errors.push(FieldError::invalid(
            "spec.clusterIPs",
            Value::from(ips.to_vec()),
            "first value must match `clusterIP`",
        ));
    }
    let (mut seen, mut parsed_ips) = (BTreeSet::new(), 0);
    for (i, ip) in ips.iter().enumerate() {
        let text = ip.as_str().unwrap_or("");
        let field = format!("spec.clusterIPs[{i}]");
        if i == 0 && text == "None" && ips.len() > 1 {
            let detail = "'None' must be the first and only value";
            errors.push(FieldError::invalid("spec.clusterIPs", Value::from(ips.to_vec()), detail));
        }
        if (i == 0 && text == "None") || text.is_empty() {
            continue;
        }
        let Ok(parsed) = text.parse::<IpAddr>() else {
            errors.extend(names::ip(text).into_iter().map(|d| FieldError::invalid(field.clone(), text, d)));
            continue;
        };
        let family = if parsed.is_ipv4() { "IPv4" } else { "IPv6" };
        seen.insert(family);
        parsed_ips += 1;
        if let Some(wanted) =
            families.get(i).and_then(Value::as_str).filter(|w| *w != family && FAMILIES.contains(w))
        {
            let detail = format!("expected an {wanted} value as indicated by `ipFamilies[{i}]`");
            errors.push(FieldError::invalid(field, text, detail));
        }
    }
    let mut refuse = |detail| {
        errors.push(FieldError::invalid("spec.clusterIPs", Value::from(ips.to_vec()), detail));
    };
    if ips.len() > 2 {
        refuse("may only hold up to 2 values");
    }
    if ips.len() > 1 && seen.len() < ips.len() && parsed_ips == ips.len() {
        refuse("may specify no more than one IP for each IP family");
    }
}

fn external_ips(spec: &Value, errors: &mut Vec<FieldError>) {
    for (i, ip) in access::list(spec, &["externalIPs"]).iter().enumerate() {
        let text = ip.as_str().unwrap_or("");
        let field = format!("spec.externalIPs[{i}]");
        match text.parse::<IpAddr>() {
            Err(_) => errors
                .extend(names::ip(text).into_iter().map(|d| FieldError::invalid(field.clone(), text, d))),
            Ok(ip) => errors.extend(special(ip, true).map(|d| FieldError::invalid(field, text, d))),
        }
    }
}

fn load_balancer(spec: &Value, ty: &str, errors: &mut Vec<FieldError>) {
    let ranges = access::list(spec, &["loadBalancerSourceRanges"]);
    let only = |field: &str| FieldError::forbidden(field, "may only be used when `type` is 'LoadBalancer'");
    if !ranges.is_empty() && ty != "LoadBalancer" {
        errors.push(only("spec.LoadBalancerSourceRanges"));
    }
    for (i, range) in ranges.iter().enumerate().filter(|_| ty == "LoadBalancer") {
        let text = range.as_str().unwrap_or("");
        if !is_cidr(text.trim()) {
            let detail = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)";
            errors.push(FieldError::invalid(format!("spec.LoadBalancerSourceRanges[{i}]"), text, detail));
        }
    }
    for key in ["allocateLoadBalancerNodePorts", "loadBalancerClass"] {
        if spec.get(key).is_some() && ty != "LoadBalancer" {
            errors.push(only(&format!("spec.{key}")));
        }
    }
    if let Some(class) =
        spec.get("loadBalancerClass").and_then(Value::as_str).filter(|_| ty == "LoadBalancer")
    {
        let wrong = names::qualified(class);
        errors.extend(wrong.into_iter().map(|d| FieldError::invalid("spec.loadBalancerClass", class, d)));
    }
    let checked = ty == "LoadBalancer" && access::text(spec, &["externalTrafficPolicy"]) == "Local";
    match access::int(spec, &["healthCheckNodePort"]).filter(|port| *port != 0) {
        Some(port) if !checked => {
            let detail =
                "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'";
            errors.push(FieldError::invalid("spec.healthCheckNodePort", port, detail));
        }
        Some(port) => errors.extend(
            names::port_number(port)
                .into_iter()
                .map(|d| FieldError::invalid("spec.healthCheckNodePort", port, d)),
        ),
        None => {}
    }
}

fn policies(spec: &Value, ty: &str, errors: &mut Vec<FieldError>) {
    const CHOICES: &[&str] = &["Cluster", "Local"];
    let external = access::text(spec, &["externalTrafficPolicy"]);
    let exposed =
        matches!(ty, "NodePort" | "LoadBalancer") || !access::list(spec, &["externalIPs"]).is_empty();
    if !external.is_empty() && !exposed {
        let detail = "may only be set for externally-accessible services";
        errors.push(FieldError::invalid("spec.externalTrafficPolicy", external, detail));
    } else if !external.is_empty() && !CHOICES.contains(&external) {
        errors.push(FieldError::not_supported("spec.externalTrafficPolicy", external, CHOICES));
    }
    let internal = access::text(spec, &["internalTrafficPolicy"]);
    if !internal.is_empty() && !CHOICES.contains(&internal) {
        errors.push(FieldError::not_supported("spec.internalTrafficPolicy", internal, CHOICES));
    }
    const DISTRIBUTIONS: &[&str] = &["PreferClose", "PreferSameNode", "PreferSameZone"];
    let distribution = access::text(spec, &["trafficDistribution"]);
    if !distribution.is_empty() && !DISTRIBUTIONS.contains(&distribution) {
        errors.push(FieldError::not_supported("spec.trafficDistribution", distribution, DISTRIBUTIONS));
    }
}

/// Assigned addresses are immutable, except from or to type ExternalName; so is a load balancer's class.
pub(super) fn validate_addresses_kept(new: &Value, old: &Value) -> Vec<FieldError> {
    let ty = |o: &Value| access::text(o, &["spec", "type"]) == "ExternalName";
    let (before, after) =
        (access::list(old, &["spec", "clusterIPs"]), access::list(new, &["spec", "clusterIPs"]));
    let mut errors = Vec::new();
    if !(ty(new) || ty(old) || before.is_empty() || before.first() == after.first()) {
        let detail = "may not change once set";
        errors.push(FieldError::invalid("spec.clusterIPs[0]", Value::from(after.to_vec()), detail));
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
