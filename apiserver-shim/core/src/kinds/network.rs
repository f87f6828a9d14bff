//! Kinds of `networking.k8s.io`: Ingress, IngressClass, NetworkPolicy, IPAddress, ServiceCIDR.

pub(super) mod validation;

use super::rules::{self, Rule, Site};
use super::{CreateContext, Strategy, cells, warnings};
use std::net::IpAddr;
use std::sync::Arc;

use serde_json::{Map, Value, json};
use shim_model::access::{self, as_object, set_default, set_if_zero};
use shim_model::field::FieldError;
use shim_model::names;
use shim_model::time::Instant;

pub(super) struct Ingress;
pub(super) struct IngressClass;
pub(super) struct NetworkPolicy;
pub(super) struct IpAddress;
pub(super) struct ServiceCidr;

/// Hosts in a table cell.
const SHOWN_HOSTS_MAX: usize = 3;
/// Characters of addresses in a table cell.
const SHOWN_ADDRESSES_MAX: usize = 16;

/// The strategy of a kind of this group.
pub(super) fn builtin(kind: &str) -> Arc<dyn Strategy> {
    match kind {
        "Ingress" => Arc::new(Ingress),
        "IngressClass" => Arc::new(IngressClass),
        "NetworkPolicy" => Arc::new(NetworkPolicy),
        "IPAddress" => Arc::new(IpAddress),
        "ServiceCIDR" => Arc::new(ServiceCidr),
        other => super::unknown(other),
    }
}

impl Strategy for Ingress {
    fn has_generation(&self) -> bool {
        true
    }

    fn has_status(&self) -> bool {
        true
    }

    fn prepare_create(&self, object: &mut Value, _context: &CreateContext<'_>) {
        access::object_mut(object, &["status", "loadBalancer"]);
    }

    fn validate_create(&self, object: &Value) -> Vec<FieldError> {
        validation::new_ingress(object)
    }

    fn validate_update(&self, new: &Value, _old: &Value) -> Vec<FieldError> {
        validation::ingress(new)
    }

    fn validate_status_update(&self, new: &Value, _old: &Value) -> Vec<FieldError> {
        rules::validate(&[Rule::Within("status", validation::INGRESS_STATUS)], new)
    }

    fn status_warnings(&self, new: &Value, _old: &Value) -> Vec<String> {
        warnings::load_balancer(new)
    }

    fn warnings(&self, new: &Value, old: Option<&Value>) -> Vec<String> {
        let annotation = access::get(new, &["metadata", "annotations", "kubernetes.io/ingress.class"]);
        let old_style = annotation.is_some() && old.is_none();
        let text = "annotation \"kubernetes.io/ingress.class\" is deprecated, please use 'spec.ingressClassName' instead";
        Vec::from_iter(old_style.then(|| text.to_owned()))
    }

    fn cells(&self, object: &Value, now: Instant) -> Vec<Value> {
        let class = match access::text(object, &["spec", "ingressClassName"]) {
            "" => access::text(object, &["metadata", "annotations", "kubernetes.io/ingress.class"]),
            class => class,
        };
        let ports = if access::list(object, &["spec", "tls"]).is_empty() { "80" } else { "80, 443" };
        vec![
            cells::name(object),
            cells::or(class, "<none>").into(),
            hosts(object).into(),
            addresses(object).into(),
            ports.into(),
            cells::age(object, now),
        ]
    }
}

fn hosts(ingress: &Value) -> String {
    let rules = access::list(ingress, &["spec", "rules"]).iter();
    let hosts: Vec<String> =
        rules.map(|r| access::text(r, &["host"]).to_owned()).filter(|h| !h.is_empty()).collect();
    if hosts.is_empty() { "*".to_owned() } else { cells::first_of(&hosts, SHOWN_HOSTS_MAX, ",") }
}

fn addresses(ingress: &Value) -> String {
    let points = access::list(ingress, &["status", "loadBalancer", "ingress"]).iter();
    let address = |point: &Value| match access::text(point, &["ip"]) {
        "" => access::text(point, &["hostname"]).to_owned(),
        ip => ip.to_owned(),
    };
    let all: Vec<String> = points.map(address).filter(|a| !a.is_empty()).collect();
    let mut text = all.join(",");
    if text.chars().count() > SHOWN_ADDRESSES_MAX {
        text = text.chars().take(SHOWN_ADDRESSES_MAX - 3).collect::<String>() + "...";
    }
    text
}

impl Strategy for IngressClass {
    fn default(&self, object: &mut Value) {
        if let Some(parameters) = object.get_mut("spec").and_then(|spec| spec.get_mut("parameters")) {
            let parameters = as_object(parameters);
            if parameters.get("scope").is_none_or(Value::is_null) {
                parameters.insert("scope".into(), "Cluster".into());
            }
        }
    }

    fn has_generation(&self) -> bool {
        true
    }

    fn validate_create(&self, object: &Value) -> Vec<FieldError> {
        rules::validate(&[Rule::Within("spec", validation::CLASS)], object)
    }

    fn validate_update(&self, new: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let controller = |class| access::text(class, &["spec", "controller"]);
        if controller(new) != controller(old) {
            errors.push(FieldError::invalid("spec.controller", controller(new), "field is immutable"));
        }
        errors.extend(self.validate_create(new));
        errors
    }

    fn cells(&self, object: &Value, now: Instant) -> Vec<Value> {
        let parameters = match access::get(object, &["spec", "parameters"]) {
            None => "<none>".to_owned(),
            Some(reference) => {
                let text = |key: &str| access::text(reference, &[key]);
                let group = text("apiGroup");
                let dot = if group.is_empty() { "" } else { "." };
                format!("{}{dot}{group}/{}", text("kind"), text("name"))
            }
        };
        let controller = access::text(object, &["spec", "controller"]);
        vec![cells::name(object), controller.into(), parameters.into(), cells::age(object, now)]
    }
}

impl Strategy for NetworkPolicy {
    fn default(&self, object: &mut Value) {
        for list in ["ingress", "egress"] {
            for rule in access::list_mut(object, &["spec", list]).into_iter().flatten() {
                for port in access::list_mut(rule, &["ports"]).into_iter().flatten() {
                    set_if_zero(as_object(port), "protocol", "TCP");
                }
            }
        }
        let spec = access::object_mut(object, &["spec"]);
        if spec.get("policyTypes").is_none_or(access::is_zero) {
            let egress = spec.get("egress").is_some_and(|e| !access::is_zero(e));
            let types = if egress { json!(["Ingress", "Egress"]) } else { json!(["Ingress"]) };
            spec.insert("policyTypes".into(), types);
        }
        set_default(spec, "podSelector", Map::new());
    }

    fn has_generation(&self) -> bool {
        true
    }

    fn warnings(&self, new: &Value, _old: Option<&Value>) -> Vec<String> {
        let (root, mut out) = (Site::root(new), Vec::new());
        let spec = root.at("spec");
        for (rules, peers) in [("ingress", "from"), ("egress", "to")] {
            for rule in spec.at(rules).items() {
                for peer in rule.at(peers).items() {
                    let block = peer.at("ipBlock");
                    warnings::cidr(&block.at("cidr"), &mut out);
                    block.at("except").items().for_each(|except| warnings::cidr(&except, &mut out));
                }
            }
        }
        out
    }

    fn validate_create(&self, object: &Value) -> Vec<FieldError> {
        rules::validate(&[Rule::Within("spec", validation::POLICY)], object)
    }

    fn cells(&self, object: &Value, now: Instant) -> Vec<Value> {
        let selector = cells::selector(access::get(object, &["spec", "podSelector"]));
        vec![cells::name(object), selector.into(), cells::age(object, now)]
    }
}

impl Strategy for IpAddress {
    fn validate_name(&self, name: &str) -> Vec<String> {
        names::canonical_ip(name)
    }

    fn validate_create(&self, object: &Value) -> Vec<FieldError> {
        rules::validate(&[Rule::Within("spec", validation::ADDRESS)], object)
    }

    fn validate_update(&self, new: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = self.validate_create(new);
        errors.extend(rules::immutable(new, old, &["spec.parentRef"]));
        errors
    }

    fn cells(&self, object: &Value, _now: Instant) -> Vec<Value> {
        let parent = access::get(object, &["spec", "parentRef"]);
        let text = |key: &str| parent.map_or("", |p| access::text(p, &[key]));
        let resource = match text("group") {
            "" => text("resource").to_owned(),
            group => format!("{}.{group}", text("resource")),
        };
        let parts = [resource.as_str(), text("namespace"), text("name")];
        let shown: Vec<&str> = parts.into_iter().filter(|part| !part.is_empty()).collect();
        vec![cells::name(object), shown.join("/").into()]
    }
}

impl Strategy for ServiceCidr {
    fn has_status(&self) -> bool {
        true
    }

    fn validate_create(&self, object: &Value) -> Vec<FieldError> {
        rules::validate(&[Rule::Within("spec", validation::SERVICE_CIDR)], object)
    }

    fn validate_update(&self, new: &Value, old: &Value) -> Vec<FieldError> {
        const CIDRS: [&str; 2] = ["spec", "cidrs"];
        let (now, before) = (access::list(new, &CIDRS), access::list(old, &CIDRS));
        // A second family may be added.
        let grows = before.len() == 1 && now.len() == 2;
        if !grows && now.len() != before.len() {
            let shown = access::get(new, &CIDRS).cloned().unwrap_or_default();
            return vec![FieldError::invalid("spec.cidrs", shown, "field is immutable")];
        }
        let changed = before.iter().zip(now).enumerate().filter(|(_, (before, now))| before != now);
        let mut errors: Vec<FieldError> = changed
            .map(|(i, (_, now))| {
                FieldError::invalid(format!("spec.cidrs[{i}]"), now.clone(), "field is immutable")
            })
            .collect();
        if grows {
            errors.extend(self.validate_create(new));
        }
        errors
    }

    fn cells(&self, object: &Value, now: Instant) -> Vec<Value> {
        let cidrs = access::list(object, &["spec", "cidrs"]).iter();
        let cidrs: Vec<&str> = cidrs.filter_map(Value::as_str).collect();
        vec![cells::name(object), cidrs.join(",").into(), cells::age(object, now)]
    }
}

/// An IP prefix.
#[derive(Debug, Clone, Copy)]
struct Cidr {
    address: IpAddr,
    length: u8,
}

impl Cidr {
    fn parse(text: &str) -> Option<Cidr> {
        let (address, length) = text.split_once('/')?;
        let (address, length) = (address.parse::<IpAddr>().ok()?, length.parse::<u8>().ok()?);
        let most = if address.is_ipv4() { 32 } else { 128 };
        (length <= most).then_some(Cidr { address, length })
    }

    fn is_ipv4(&self) -> bool {
        self.address.is_ipv4()
    }

    /// The bits of the address, those of an IPv4 address first, and how many of them count.
    fn bits(&self) -> u128 {
        match self.address {
            IpAddr::V4(v4) => u128::from(v4.to_bits()) << 96,
            IpAddr::V6(v6) => v6.to_bits(),
        }
    }

    fn masked(&self) -> u128 {
        let mask = u128::MAX.checked_shl(128 - u32::from(self.length)).unwrap_or(0);
        self.bits() & mask
    }

    fn strictly_contains(&self, other: &Cidr) -> bool {
        let cut = Cidr { length: self.length, ..*other };
        self.is_ipv4() == other.is_ipv4() && self.length < other.length && cut.masked() == self.masked()
    }
}

/// What is wrong with a prefix that must be in canonical form.
fn canonical_cidr(text: &str) -> Vec<String> {
    let wrong = names::cidr(text);
    let Some(cidr) = Cidr::parse(text).filter(|_| wrong.is_empty()) else { return wrong };
    let canonical = format!("{}/{}", cidr.address, cidr.length);
    Vec::from_iter((canonical != text).then(|| format!("must be in canonical form (\"{canonical}\")")))
}
