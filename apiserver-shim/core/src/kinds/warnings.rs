//! Warnings about objects that are accepted: deprecated labels, annotations and fields, addresses in an unusual form, and
//! amounts that are no whole number of bytes. Each kind's strategy says which of them it gives and when.

mod key_pair;
mod overlaps;
mod pod_spec;
mod ports;

use std::fmt::Display;

use serde_json::Value;
use shim_model::access;
use shim_model::names;
use shim_model::quantity::Quantity;

pub(super) use key_pair::key_pair_error;
pub(super) use pod_spec::pod_spec;

use super::rules::Site;

/// Labels of nodes that are deprecated.
const DEPRECATED_LABELS: [(&str, &str); 8] = [
    ("beta.kubernetes.io/arch", "deprecated since v1.14; use \"kubernetes.io/arch\" instead"),
    ("beta.kubernetes.io/os", "deprecated since v1.14; use \"kubernetes.io/os\" instead"),
    (
        "failure-domain.beta.kubernetes.io/region",
        "deprecated since v1.17; use \"topology.kubernetes.io/region\" instead",
    ),
    (
        "failure-domain.beta.kubernetes.io/zone",
        "deprecated since v1.17; use \"topology.kubernetes.io/zone\" instead",
    ),
    (
        "beta.kubernetes.io/instance-type",
        "deprecated since v1.17; use \"node.kubernetes.io/instance-type\" instead",
    ),
    ("app.kubernetes.io/created-by", "deprecated since v1.9"),
    (
        "scheduler.alpha.kubernetes.io/preferAvoidPods",
        "deprecated since v1.22; use Taints and Tolerations instead",
    ),
    ("node-role.kubernetes.io/master", "use \"node-role.kubernetes.io/control-plane\" instead"),
];

/// Names of configurations that only files can have.
const STATIC_SUFFIX: &str = ".static.k8s.io";

/// What is said about a deprecated label of nodes.
pub(super) fn deprecated_label(label: &str) -> Option<&'static str> {
    DEPRECATED_LABELS.iter().find(|(known, _)| *known == label).map(|(_, why)| *why)
}

/// Warnings about a term of a node selector; `values` says whether values must be valid for labels.
pub(super) fn node_selector_term(term: &Site<'_>, values: bool, out: &mut Vec<String>) {
    for expression in term.at("matchExpressions").items() {
        let key = expression.at("key");
        if let Some(why) = deprecated_label(key.text()) {
            out.push(format!("{key}: {} is {why}", key.text()));
        }
        if values {
            for value in expression.at("values").items() {
                let wrong = names::label_value(value.text()).into_iter();
                out.extend(wrong.map(|why| format!("{value}: {} is invalid, {why}", value.text())));
            }
        }
    }
}

/// Warnings about a label selector of nodes.
pub(super) fn node_labels(selector: &Site<'_>, out: &mut Vec<String>) {
    node_selector_term(selector, false, out);
    let labels = selector.at("matchLabels");
    for (label, _) in labels.entries() {
        out.extend(deprecated_label(label).map(|why| format!("{labels}.{label}: {why}")));
    }
}

/// Warnings about an address.
pub(super) fn ip(field: impl Display, address: &str, out: &mut Vec<String>) {
    out.extend(names::unusual_ip(address).map(|why| format!("{field}: {why}")));
}

/// Warnings about a range of addresses.
pub(super) fn cidr(range: &Site<'_>, out: &mut Vec<String>) {
    out.extend(names::unusual_cidr(range.text()).into_iter().map(|why| format!("{range}: {why}")));
}

/// Warnings about the spec of a PersistentVolumeClaim.
pub(super) fn claim_spec(spec: &Site<'_>, out: &mut Vec<String>) {
    for list in ["requests", "limits"] {
        let resources = spec.at("resources");
        fraction(&resources.at(list), "storage", out);
    }
}

/// A warning about an amount of bytes that is no whole number.
fn fraction(amounts: &Site<'_>, name: &str, out: &mut Vec<String>) {
    let parsed = amounts.at(name).text().parse::<Quantity>();
    if let Some(amount) = parsed.ok().filter(|amount| !amount.is_whole()) {
        let why = format!("fractional byte value \"{amount}\" is invalid, must be an integer");
        out.push(format!("{amounts}[{name}]: {why}"));
    }
}

/// Warnings about the ingress points of a load balancer.
pub(super) fn load_balancer(object: &Value) -> Vec<String> {
    let (root, mut out) = (Site::root(object), Vec::new());
    let status = root.at("status");
    let balancer = status.at("loadBalancer");
    balancer.at("ingress").items().for_each(|point| ip(point, point.at("ip").text(), &mut out));
    out
}

/// The warning about a name that only files can give.
pub(super) fn static_suffix(object: &Value) -> Vec<String> {
    let reserved = access::text(object, &["metadata", "name"]).ends_with(STATIC_SUFFIX);
    let why = format!(
        "metadata.name: names ending with \"{STATIC_SUFFIX}\" are reserved for static manifest-based configurations and cannot be managed via the API"
    );
    Vec::from_iter(reserved.then_some(why))
}

/// The warning about a name that makes no good host name. `whose` is what has the host names.
pub(super) fn host_name(object: &Value, whose: &str) -> Option<String> {
    let name = access::text(object, &["metadata", "name"]);
    let wrong = names::dns_label(name);
    (!name.is_empty() && !wrong.is_empty()).then(|| {
        format!(
            "metadata.name: this is used in {whose}, which can result in surprising behavior; a DNS label is recommended: [{}]",
            wrong.join(" ")
        )
    })
}

/// Warnings about a new workload with a Pod template, or one whose generation has changed: its name and its template.
pub(super) fn workload(new: &Value, old: Option<&Value>, template: &str) -> Vec<String> {
    let mut out = Vec::new();
    if old.is_none() {
        out.extend(host_name(new, "Pod names and hostnames"));
    }
    template_warnings(new, old, template, &mut out);
    out
}

/// Warnings about the Pod template at a path with dots, if the object is new or its generation has changed.
pub(super) fn template_warnings(new: &Value, old: Option<&Value>, path: &str, out: &mut Vec<String>) {
    if old.is_none_or(|old| is_new_generation(new, old)) {
        let members: Vec<&str> = path.split('.').collect();
        let template = access::get(new, &members).unwrap_or(&Value::Null);
        pod_spec(&Site::below(path, template), out);
    }
}

/// Whether an update has changed the generation.
pub(super) fn is_new_generation(new: &Value, old: &Value) -> bool {
    let generation = |object| access::int(object, &["metadata", "generation"]);
    generation(new) != generation(old)
}

#[cfg(test)]
mod tests;
