//! Nodes. Each represents an agent of the kernel.

use std::cmp::Ordering;
use std::collections::BTreeSet;

use super::pod_template::round_list;
use super::rules::Site;
use super::{FieldName, Strategy, cells, named, resource_names, warnings};
use serde_json::{Value, json};
use shim_model::access;
use shim_model::field::FieldError;
use shim_model::names;
use shim_model::quantity::Quantity;
use shim_model::time::Instant;

pub(super) struct Node;

const ROLE: &str = "node-role.kubernetes.io/";

impl Strategy for Node {
    fn default(&self, object: &mut Value) {
        let spec = access::object_mut(object, &["spec"]);
        match spec.get("podCIDR").and_then(Value::as_str).map(str::to_owned) {
            Some(cidr) if !cidr.is_empty() => {
                let first =
                    spec.get("podCIDRs").and_then(|l| l.get(0)).and_then(Value::as_str).map(str::to_owned);
                if first.as_deref() != Some(cidr.as_str()) {
                    spec.insert("podCIDRs".into(), json!([cidr]));
                }
            }
            _ => {
                if let Some(first) = spec.get("podCIDRs").and_then(|l| l.get(0)).cloned() {
                    spec.insert("podCIDR".into(), first);
                }
            }
        }
        let status = access::object_mut(object, &["status"]);
        round_list(status.get_mut("capacity"));
        round_list(status.get_mut("allocatable"));
        if let Some(capacity) = status.get("capacity").cloned() {
            access::set_default(status, "allocatable", capacity);
        }
    }

    fn has_status(&self) -> bool {
        false // A create may set the status, as kubelets do.
    }

    fn prepare_create(&self, object: &mut Value, _context: &super::CreateContext<'_>) {
        access::remove(object, &["spec", "configSource"]);
        access::remove(object, &["status", "config"]);
    }

    fn prepare_update(&self, new: &mut Value, old: &Value) {
        access::copy(old, new, &["status"]);
        if access::get(old, &["spec", "configSource"]).is_none() {
            access::remove(new, &["spec", "configSource"]);
        }
    }

    fn warnings(&self, new: &Value, _old: Option<&Value>) -> Vec<String> {
        let spec = |member: &str| access::get(new, &["spec", member]).is_some_and(|v| !access::is_zero(v));
        let mut warnings = Vec::new();
        if spec("configSource") {
            warnings.push("spec.configSource: the feature is removed".to_owned());
        }
        if spec("externalID") {
            let text = "spec.externalID: this field is deprecated, and is unused by Kubernetes";
            warnings.push(text.to_owned());
        }
        let root = Site::root(new);
        let ranges = root.at("spec");
        ranges.at("podCIDRs").items().for_each(|range| warnings::cidr(&range, &mut warnings));
        warnings
    }

    fn validate_create(&self, object: &Value) -> Vec<FieldError> {
        let mut errors = Vec::new();
        taints(access::list(object, &["spec", "taints"]), &mut errors);
        let cidrs = access::list(object, &["spec", "podCIDRs"]);
        for (i, cidr) in cidrs.iter().enumerate() {
            let text = cidr.as_str().unwrap_or("");
            let wrong = names::cidr(text).into_iter();
            errors.extend(wrong.map(|why| FieldError::invalid(format!("spec.podCIDRs[{i}]"), text, why)));
        }
        let of_v6 = cidrs.iter().filter(|cidr| cidr.as_str().is_some_and(|text| text.contains(':'))).count();
        if of_v6 > 1 || cidrs.len() - of_v6 > 1 {
            let detail = "may specify no more than one CIDR for each IP family";
            errors.push(FieldError::invalid("spec.podCIDRs", Value::from(cidrs.to_vec()), detail));
        }
        reported(object, &mut errors);
        errors
    }

    fn validate_status_update(&self, new: &Value, old: &Value) -> Vec<FieldError> {
        self.validate_update(new, old)
    }

    fn validate_update(&self, new: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = self.validate_create(new);
        let had = access::text(old, &["spec", "providerID"]);
        if !had.is_empty() && had != access::text(new, &["spec", "providerID"]) {
            errors.push(FieldError::forbidden(
                "spec.providerID",
                "node updates may not change providerID except from \"\" to valid",
            ));
        }
        let cidrs = access::list(old, &["spec", "podCIDRs"]);
        if !cidrs.is_empty() && cidrs != access::list(new, &["spec", "podCIDRs"]) {
            errors.push(FieldError::forbidden(
                "spec.podCIDRs",
                "node updates may not change podCIDR except from \"\" to valid",
            ));
        }
        addresses(access::list(new, &["status", "addresses"]), &mut errors);
        // Upstream validates the taints twice.
        taints(access::list(new, &["spec", "taints"]), &mut errors);
        let external = |node| access::text(node, &["spec", "externalID"]);
        if external(new) != external(old) {
            errors.push(FieldError::forbidden("spec.externalID", "may not be updated"));
        }
        errors
    }

    fn cells(&self, object: &Value, now: Instant) -> Vec<Value> {
        let address = |ty: &str| {
            let found = access::list(object, &["status", "addresses"])
                .iter()
                .find(|a| access::text(a, &["type"]) == ty);
            found.map_or("<none>", |a| access::text(a, &["address"])).to_owned()
        };
        let info = |key: &str| access::text(object, &["status", "nodeInfo", key]);
        vec![
            cells::name(object),
            status(object).into(),
            roles(object).into(),
            cells::age(object, now),
            info("kubeletVersion").into(),
            address("InternalIP").into(),
            address("ExternalIP").into(),
            cells::or(info("osImage"), "<unknown>").into(),
            cells::or(info("kernelVersion"), "<unknown>").into(),
            cells::or(info("containerRuntimeVersion"), "<unknown>").into(),
        ]
    }

    fn selectable(&self, object: &Value) -> Vec<(FieldName, String)> {
        named([("spec.unschedulable", access::flag(object, &["spec", "unschedulable"]).to_string())])
    }

    fn selectable_fields(&self) -> Vec<&str> {
        vec!["spec.unschedulable"]
    }
}

fn status(node: &Value) -> String {
    let ready =
        access::list(node, &["status", "conditions"]).iter().find(|c| access::text(c, &["type"]) == "Ready");
    let mut out = match ready.map(|c| access::text(c, &["status"])) {
        Some("True") => "Ready",
        Some(_) => "NotReady",
        None => "Unknown",
    }
    .to_owned();
    if access::flag(node, &["spec", "unschedulable"]) {
        out.push_str(",SchedulingDisabled");
    }
    out
}

fn roles(node: &Value) -> String {
    let mut roles: Vec<&str> = access::entries(node, &["metadata", "labels"])
        .filter_map(|(k, v)| match k {
            "kubernetes.io/role" => v.as_str(),
            _ => k.strip_prefix(ROLE),
        })
        .filter(|r| !r.is_empty())
        .collect();
    roles.sort_unstable();
    roles.dedup();
    if roles.is_empty() { "<none>".to_owned() } else { roles.join(",") }
}

/// The amounts and features of the status.
fn reported(node: &Value, errors: &mut Vec<FieldError>) {
    for list in ["capacity", "allocatable"] {
        for (name, amount) in access::entries(node, &["status", list]) {
            let field = format!("status.{list}.{name}");
            let text = amount.as_str().unwrap_or("");
            let amount: Quantity = text.parse().unwrap_or(Quantity::ZERO);
            if amount.sign() < 0 {
                errors.push(FieldError::invalid(&field, text, "must be greater than or equal to 0"));
            }
            if resource_names::is_integer(name) && !amount.is_whole() {
                errors.push(FieldError::invalid(&field, text, "must be an integer"));
            }
        }
    }
    let features = access::list(node, &["status", "declaredFeatures"]);
    for (i, pair) in features.windows(2).enumerate() {
        let (before, feature) = (pair[0].as_str().unwrap_or(""), pair[1].as_str().unwrap_or(""));
        let field = format!("status.declaredFeatures[{}]", i + 1);
        match before.cmp(feature) {
            Ordering::Less => {}
            Ordering::Equal => errors.push(FieldError::duplicate(field, feature)),
            Ordering::Greater => {
                errors.push(FieldError::invalid(field, feature, "list must be sorted alphabetically"));
            }
        }
    }
}

/// No address may occur twice.
fn addresses(addresses: &[Value], errors: &mut Vec<FieldError>) {
    for (i, address) in addresses.iter().enumerate().filter(|(i, address)| addresses[..*i].contains(address))
    {
        let text = |member: &str| Value::from(access::text(address, &[member]));
        let shown = format!("{{\"Type\":{},\"Address\":{}}}", text("type"), text("address"));
        errors.push(FieldError { shown, ..FieldError::duplicate(format!("status.addresses[{i}]"), "") });
    }
}

fn taints(taints: &[Value], errors: &mut Vec<FieldError>) {
    const EFFECTS: &[&str] = &["NoSchedule", "PreferNoSchedule", "NoExecute"];
    let mut seen = BTreeSet::new();
    for (i, taint) in taints.iter().enumerate() {
        let at = format!("metadata.taints[{i}]");
        let text = |key: &str| access::text(taint, &[key]);
        let (key, value, effect) = (text("key"), text("value"), text("effect"));
        errors.extend(
            names::qualified(key).into_iter().map(|d| FieldError::invalid(format!("{at}.key"), key, d)),
        );
        errors.extend(
            names::label_value(value)
                .into_iter()
                .take(1)
                .map(|d| FieldError::invalid(format!("{at}.value"), value, d)),
        );
        if effect.is_empty() {
            errors.push(FieldError::required(format!("{at}.effect"), ""));
        } else if !EFFECTS.contains(&effect) {
            errors.push(FieldError::not_supported(format!("{at}.effect"), effect, EFFECTS));
        }
        if !seen.insert((key, effect)) {
            let added = taint.get("timeAdded").unwrap_or(&Value::Null);
            let shown = format!(
                "{{\"Key\":\"{key}\",\"Value\":\"{value}\",\"Effect\":\"{effect}\",\"TimeAdded\":{added}}}"
            );
            let detail = "taints must be unique by key and effect pair".to_owned();
            errors.push(FieldError { shown, detail, ..FieldError::duplicate(at, "") });
        }
    }
}
