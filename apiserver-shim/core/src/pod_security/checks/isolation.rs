//! Rules about what a Pod shares with its node: namespaces, files, ports, kernel parameters.

use serde_json::Value;
use shim_model::access;

use super::{PodParts, Texts, Violation, containers_named, name, plural, quoted, security, violation};

pub(super) fn host_namespaces(pod: &PodParts<'_>) -> Option<Violation> {
    let shared = ["hostNetwork", "hostPID", "hostIPC"].into_iter().filter(|n| access::flag(pod.spec, &[n]));
    let shared: Vec<String> = shared.map(|name| format!("{name}=true")).collect();
    if shared.is_empty() {
        return None;
    }
    violation("host namespaces", shared.join(", "))
}

fn volumes_named(names: &[&str]) -> String {
    format!("{} {}", plural("volume", "volumes", names.len()), quoted(names.iter().copied()))
}

pub(super) fn host_path_volumes(pod: &PodParts<'_>) -> Option<Violation> {
    let volumes = access::list(pod.spec, &["volumes"]).iter();
    let bad: Vec<&str> = volumes.filter(|v| v.get("hostPath").is_some()).map(name).collect();
    if bad.is_empty() {
        return None;
    }
    violation("hostPath volumes", volumes_named(&bad))
}

/// The sources that restricted Pods may use.
const VOLUMES: [&str; 9] = [
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "image",
    "persistentVolumeClaim",
    "projected",
    "secret",
];

pub(super) fn restricted_volumes(pod: &PodParts<'_>) -> Option<Violation> {
    let (mut bad, mut kinds) = (Vec::new(), Texts::new());
    for volume in access::list(pod.spec, &["volumes"]) {
        if VOLUMES.iter().any(|source| volume.get(source).is_some()) {
            continue;
        }
        bad.push(name(volume));
        let members = volume.as_object().into_iter().flat_map(|members| members.keys());
        kinds.insert(members.map(String::as_str).find(|key| *key != "name").unwrap_or("unknown"));
    }
    if bad.is_empty() {
        return None;
    }
    let uses = plural("uses", "use", bad.len());
    let noun = plural("restricted volume type", "restricted volume types", kinds.len());
    let detail = format!("{} {uses} {noun} {}", volumes_named(&bad), quoted(kinds));
    violation("restricted volume types", detail)
}

pub(super) fn host_ports(pod: &PodParts<'_>) -> Option<Violation> {
    let (mut bad, mut ports) = (Vec::new(), std::collections::BTreeSet::new());
    for container in pod.containers() {
        let used = access::list(container, &["ports"]).iter().filter_map(|p| access::int(p, &["hostPort"]));
        let used: Vec<String> = used.filter(|port| *port != 0).map(|port| port.to_string()).collect();
        if !used.is_empty() {
            bad.push(name(container));
            ports.extend(used);
        }
    }
    if bad.is_empty() {
        return None;
    }
    let uses = plural("uses", "use", bad.len());
    let noun = plural("hostPort", "hostPorts", ports.len());
    let ports: Vec<String> = ports.into_iter().collect();
    violation("hostPort", format!("{} {uses} {noun} {}", containers_named(&bad), ports.join(", ")))
}

/// Where a handler may name a host other than the Pod.
const HANDLERS: [&[&str]; 5] = [
    &["livenessProbe"],
    &["readinessProbe"],
    &["startupProbe"],
    &["lifecycle", "postStart"],
    &["lifecycle", "preStop"],
];

pub(super) fn host_probes(pod: &PodParts<'_>) -> Option<Violation> {
    let (mut bad, mut hosts) = (Texts::new(), Texts::new());
    for container in pod.containers() {
        for handler in HANDLERS.iter().filter_map(|path| access::get(container, path)) {
            for action in ["httpGet", "tcpSocket"] {
                let host = access::text(handler, &[action, "host"]);
                if !host.is_empty() {
                    bad.insert(name(container));
                    hosts.insert(host);
                }
            }
        }
    }
    if bad.is_empty() {
        return None;
    }
    let bad: Vec<&str> = bad.into_iter().collect();
    let uses = plural("uses", "use", bad.len());
    let noun = plural("probe or lifecycle host", "probe or lifecycle hosts", hosts.len());
    let detail = format!("{} {uses} {noun} {}", containers_named(&bad), quoted(hosts));
    violation("probe or lifecycle host", detail)
}

pub(super) fn proc_mount(pod: &PodParts<'_>) -> Option<Violation> {
    let of = |c: &&Value| {
        security(c, &["procMount"]).and_then(Value::as_str).filter(|kind| *kind != "Default").is_some()
    };
    let bad = pod.bad_containers(of);
    if bad.is_empty() {
        return None;
    }
    let kinds = pod.containers().filter_map(|c| security(c, &["procMount"])?.as_str());
    let kinds: Texts<'_> = kinds.filter(|kind| *kind != "Default").collect();
    let who = containers_named(&bad);
    violation("procMount", format!("{who} must not set securityContext.procMount to {}", quoted(kinds)))
}

pub(super) fn proc_mount_unless_user_namespace(pod: &PodParts<'_>) -> Option<Violation> {
    if pod.has_user_namespace() { None } else { proc_mount(pod) }
}

/// The sysctls that are safe, in the order in which versions allow them.
pub const SYSCTLS: [&str; 12] = [
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.ping_group_range",
    "net.ipv4.ip_unprivileged_port_start",
    // 1.27
    "net.ipv4.ip_local_reserved_ports",
    // 1.29
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
    // 1.32
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_wmem",
];

fn sysctls_beyond(pod: &PodParts<'_>, allowed: &[&str]) -> Option<Violation> {
    let all = security(pod.spec, &["sysctls"]).and_then(Value::as_array).into_iter().flatten().map(name);
    let bad: Vec<&str> = all.filter(|sysctl| !allowed.contains(sysctl)).collect();
    if bad.is_empty() {
        return None;
    }
    violation("forbidden sysctls", bad.join(", "))
}

pub(super) fn sysctls(pod: &PodParts<'_>) -> Option<Violation> {
    sysctls_beyond(pod, &SYSCTLS[..5])
}

pub(super) fn sysctls_27(pod: &PodParts<'_>) -> Option<Violation> {
    sysctls_beyond(pod, &SYSCTLS[..6])
}

pub(super) fn sysctls_29(pod: &PodParts<'_>) -> Option<Violation> {
    sysctls_beyond(pod, &SYSCTLS[..10])
}

pub(super) fn sysctls_32(pod: &PodParts<'_>) -> Option<Violation> {
    sysctls_beyond(pod, &SYSCTLS)
}
