//! Warnings about Pods and Pod templates.

use std::collections::BTreeSet;

use serde_json::Value;
use shim_model::access;

use super::super::rules::Site;
use super::{claim_spec, deprecated_label, fraction, ip, node_selector_term, overlaps, ports};

const SECCOMP_POD: &str = "seccomp.security.alpha.kubernetes.io/pod";
const SECCOMP_CONTAINER: &str = "container.seccomp.security.alpha.kubernetes.io/";
const APPARMOR: &str = "container.apparmor.security.beta.kubernetes.io/";

/// Annotations without a function, and the field that has it now.
const ANNOTATIONS: [(&str, &str, &str); 3] = [
    ("scheduler.alpha.kubernetes.io/critical-pod", "1.16", "priorityClassName"),
    ("security.alpha.kubernetes.io/sysctls", "1.11", "sysctls"),
    ("security.alpha.kubernetes.io/unsafe-sysctls", "1.11", "sysctls"),
];

/// Sources of volumes that are gone, in upstream's order, with the versions in which they were deprecated and removed.
const SOURCES_BEFORE_CLAIMS: [(&str, &str, &str); 7] = [
    ("photonPersistentDisk", "1.11", ", non-functional in v1.16+"),
    ("gitRepo", "1.11", ", and disabled by default in v1.33+"),
    ("scaleIO", "1.16", ", non-functional in v1.22+"),
    ("flocker", "1.22", ", non-functional in v1.25+"),
    ("storageos", "1.22", ", non-functional in v1.25+"),
    ("quobyte", "1.22", ", non-functional in v1.25+"),
    ("glusterfs", "1.25", ", non-functional in v1.26+"),
];
const SOURCES_AFTER_CLAIMS: [(&str, &str, &str); 2] =
    [("cephfs", "1.28", ", non-functional in v1.31+"), ("rbd", "1.28", ", non-functional in v1.31+")];

/// Warnings about a Pod, whose site is that of a root, or a template.
pub(in super::super) fn pod_spec(pod: &Site<'_>, out: &mut Vec<String>) {
    let spec = pod.at("spec");
    node_labels(&spec, out);
    annotations(pod, out);
    let volumes = spec.at("volumes");
    volumes.items().for_each(|volume| sources(&volume, out));
    overlaps::overlaps(access::list(spec.value, &["volumes"]), out);
    duplicates(&spec, out);
    for name in ["memory", "ephemeral-storage"] {
        fraction(&spec.at("overhead"), name, out);
    }
    if annotation(pod, SECCOMP_POD).is_some() && !profile(&spec, "seccompProfile") {
        out.push(seccomp(pod, SECCOMP_POD));
    }
    let lists = ["initContainers", "containers", "ephemeralContainers"].map(|list| spec.at(list));
    let containers: Vec<Site<'_>> = lists.iter().flat_map(|list| list.items()).collect();
    containers.iter().for_each(|container| about_container(pod, container, out));
    ports::ports(&containers, out);
    if spec.at("terminationGracePeriodSeconds").int().is_some_and(|seconds| seconds < 0) {
        let why = "must be >= 0; negative values are invalid and will be treated as 1";
        out.push(format!("{}: {why}", spec.at("terminationGracePeriodSeconds")));
    }
    affinity(&spec.at("affinity"), out);
    let dns = spec.at("dnsConfig");
    dns.at("nameservers").items().for_each(|server| ip(server, server.text(), out));
    let aliases = spec.at("hostAliases");
    aliases.items().for_each(|alias| ip(alias.at("ip"), alias.at("ip").text(), out));
}

fn annotation<'a>(pod: &Site<'a>, key: &str) -> Option<&'a Value> {
    access::get(pod.value, &["metadata", "annotations", key])
}

/// Whether a security context of a Pod or container has a profile.
fn profile(of: &Site<'_>, member: &str) -> bool {
    of.at("securityContext").at(member).is_set()
}

/// The path of an annotation.
fn path(pod: &Site<'_>, key: &str) -> String {
    format!("{}[{key}]", pod.at("metadata").at("annotations"))
}

fn seccomp(pod: &Site<'_>, key: &str) -> String {
    format!("{}: non-functional in v1.27+; use the \"seccompProfile\" field instead", path(pod, key))
}

/// Deprecated labels of nodes, and constraints that match no Pod.
fn node_labels(spec: &Site<'_>, out: &mut Vec<String>) {
    for (label, selected) in spec.at("nodeSelector").entries() {
        out.extend(deprecated_label(label).map(|why| format!("{selected}: {why}")));
    }
    let affinity = spec.at("affinity");
    let affinity = affinity.at("nodeAffinity");
    let required = affinity.at("requiredDuringSchedulingIgnoredDuringExecution");
    required.at("nodeSelectorTerms").items().for_each(|term| node_selector_term(&term, false, out));
    let preferred = affinity.at("preferredDuringSchedulingIgnoredDuringExecution");
    preferred.items().for_each(|term| node_selector_term(&term.at("preference"), true, out));
    for constraint in spec.at("topologySpreadConstraints").items() {
        let key = constraint.at("topologyKey");
        out.extend(deprecated_label(key.text()).map(|why| format!("{key}: {} is {why}", key.text())));
        out.extend(no_selector(&constraint));
    }
}

fn no_selector(of: &Site<'_>) -> Option<String> {
    let selector = of.at("labelSelector");
    (!selector.is_set()).then(|| format!("{selector}: a null labelSelector results in matching no pod"))
}

fn annotations(pod: &Site<'_>, out: &mut Vec<String>) {
    for (key, version, member) in ANNOTATIONS {
        if annotation(pod, key).is_some() {
            let why = format!("non-functional in v{version}+; use the \"{member}\" field instead");
            out.push(format!("{}: {why}", path(pod, key)));
        }
    }
}

/// Deprecated sources of a volume.
fn sources(volume: &Site<'_>, out: &mut Vec<String>) {
    let gone = |known: &[(&str, &str, &str)]| -> Vec<String> {
        let used = known.iter().filter(|(member, ..)| volume.at(member).is_set());
        // Upstream's path has a capital here.
        let shown =
            |member: &str| if member == "storageos" { "storageOS".to_owned() } else { member.to_owned() };
        let warn = |(member, since, end): &(&str, &str, &str)| {
            format!("{volume}.{}: deprecated in v{since}{end}", shown(member))
        };
        used.map(warn).collect()
    };
    out.extend(gone(&SOURCES_BEFORE_CLAIMS));
    let ephemeral = volume.at("ephemeral");
    let template = ephemeral.at("volumeClaimTemplate");
    claim_spec(&template.at("spec"), out);
    out.extend(gone(&SOURCES_AFTER_CLAIMS));
}

/// Elements of lists that occur twice, and secrets without a name.
fn duplicates(spec: &Site<'_>, out: &mut Vec<String>) {
    for (list, key, what) in [("hostAliases", "ip", "ip"), ("imagePullSecrets", "name", "name")] {
        let mut seen: BTreeSet<&str> = BTreeSet::new();
        for item in spec.at(list).items() {
            let value = access::text(item.value, &[key]);
            if !seen.insert(value) {
                out.push(format!("{item}.{key}: duplicate {what} \"{value}\""));
            }
        }
    }
    let secrets = spec.at("imagePullSecrets");
    let unnamed = secrets.items().filter(|secret| secret.at("name").text().is_empty());
    out.extend(unnamed.map(|secret| format!("{secret}.name: invalid empty name \"\"")));
}

fn about_container(pod: &Site<'_>, container: &Site<'_>, out: &mut Vec<String>) {
    let name = access::text(container.value, &["name"]);
    let key = format!("{SECCOMP_CONTAINER}{name}");
    if annotation(pod, &key).is_some() && !profile(container, "seccompProfile") {
        out.push(seccomp(pod, &key));
    }
    apparmor(pod, container, &format!("{APPARMOR}{name}"), out);
    let resources = container.at("resources");
    for amount in ["memory", "ephemeral-storage"] {
        for list in ["limits", "requests"] {
            fraction(&resources.at(list), amount, out);
        }
    }
    let mut seen: BTreeSet<&str> = BTreeSet::new();
    for variable in container.at("env").items() {
        let name = access::text(variable.value, &["name"]);
        if seen.insert(name) {
            continue;
        }
        // A value that is made of the earlier one does not hide it.
        let (value, reference) = (variable.at("value").text(), format!("$({name})"));
        if variable.at("valueFrom").is_set() || value == reference || !value.contains(&reference) {
            let why =
                format!("hides previous definition of \"{name}\", which may be dropped when using apply");
            out.push(format!("{variable}: {why}"));
        }
    }
}

/// The AppArmor annotation of a container in a template, unless the field of the Pod or container says the same. That of a Pod
/// becomes the field.
fn apparmor(pod: &Site<'_>, container: &Site<'_>, key: &str, out: &mut Vec<String>) {
    let is_template = !pod.to_string().is_empty();
    let Some(wanted) = annotation(pod, key).and_then(Value::as_str).filter(|_| is_template) else { return };
    if profile(container, "appArmorProfile") {
        return;
    }
    let spec = pod.at("spec");
    let context = spec.at("securityContext");
    let of_pod = context.at("appArmorProfile");
    let said = match of_pod.at("type").text() {
        "RuntimeDefault" => "runtime/default".to_owned(),
        "Unconfined" => "unconfined".to_owned(),
        "Localhost" => format!("localhost/{}", of_pod.at("localhostProfile").text()),
        _ => String::new(),
    };
    if said != wanted {
        let why = "deprecated since v1.30; use the \"appArmorProfile\" field instead";
        out.push(format!("{}: {why}", path(pod, key)));
    }
}

/// Terms that match no Pod.
fn affinity(affinity: &Site<'_>, out: &mut Vec<String>) {
    for kind in ["podAffinity", "podAntiAffinity"] {
        let of = affinity.at(kind);
        let required = of.at("requiredDuringSchedulingIgnoredDuringExecution");
        out.extend(required.items().filter_map(|term| no_selector(&term)));
        let preferred = of.at("preferredDuringSchedulingIgnoredDuringExecution");
        out.extend(preferred.items().filter_map(|term| no_selector(&term.at("podAffinityTerm"))));
    }
}
