//! Converts a Pod's spec to the CRI sandbox configuration. Pure.

use std::net::Ipv4Addr;

use cri::v1;
use executor_core::{dns::zone::DOMAIN, hostname, resources, spec, sysctl};
use k8s_openapi::api::core::v1::{Pod, PodSpec, SeccompProfile};

use super::paths::PodPaths;
use crate::{config::Config, runtime::labels};

/// The node's resolver configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Resolver {
    pub servers: Vec<String>,
    pub searches: Vec<String>,
    pub options: Vec<String>,
}

impl Resolver {
    /// Reads it. A stub resolver on a loopback address is of no use to Pods; systemd-resolved keeps the upstream
    /// configuration.
    pub fn of_machine() -> Self {
        let read = |path: &str| Self::parse(&std::fs::read_to_string(path).unwrap_or_default());
        let usable = |resolver: &Self| resolver.servers.iter().any(|s| !s.starts_with("127.") && s != "::1");
        let own = read("/etc/resolv.conf");
        let behind = read("/run/systemd/resolve/resolv.conf");
        if !usable(&own) && usable(&behind) { behind } else { own }
    }

    /// Parses `resolv.conf`.
    pub fn parse(text: &str) -> Self {
        let mut resolver = Self::default();
        for line in text.lines() {
            let mut words = line.split_whitespace().map(str::to_owned);
            match words.next().as_deref() {
                Some("nameserver") => resolver.servers.extend(words.next()),
                Some("search") => resolver.searches = words.collect(),
                Some("options") => resolver.options.extend(words),
                _ => {}
            }
        }
        resolver
    }
}

/// Builds the configuration of a Pod's sandbox.
pub(crate) fn sandbox_config(
    config: &Config,
    pod: &Pod,
    attempt: u32,
    cgroup_parent: &str,
    resolver: &Resolver,
) -> v1::PodSandboxConfig {
    let (metadata, pod_spec) = (&pod.metadata, spec::spec(pod));
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    let host_network = pod_spec.host_network.unwrap_or(false);
    let labels = [
        (labels::POD_NAME, text(&metadata.name)),
        (labels::POD_NAMESPACE, text(&metadata.namespace)),
        (labels::POD_UID, text(&metadata.uid)),
        (labels::NODE_TAG, config.tag()),
    ];
    v1::PodSandboxConfig {
        metadata: Some(v1::PodSandboxMetadata {
            name: text(&metadata.name),
            uid: text(&metadata.uid),
            namespace: text(&metadata.namespace),
            attempt,
        }),
        hostname: if host_network { String::new() } else { kernel_hostname(pod) },
        log_directory: PodPaths::of(config, pod).logs.display().to_string(),
        dns_config: Some(dns(pod, config.cluster_dns(), resolver)),
        port_mappings: if host_network { Vec::new() } else { port_mappings(pod) },
        labels: labels.into_iter().map(|(key, value)| (key.to_owned(), value)).collect(),
        annotations: metadata.annotations.clone().unwrap_or_default(),
        linux: Some(linux(pod, pod_spec, cgroup_parent)),
    }
}

fn linux(pod: &Pod, pod_spec: &PodSpec, cgroup_parent: &str) -> v1::LinuxPodSandboxConfig {
    let context = pod_spec.security_context.clone().unwrap_or_default();
    let sysctls =
        context.sysctls.iter().flatten().map(|entry| (sysctl::normalized(&entry.name), entry.value.clone()));
    let (containers, overhead) = resources::sandbox_limits(pod);
    v1::LinuxPodSandboxConfig {
        cgroup_parent: cgroup_parent.to_owned(),
        security_context: Some(v1::LinuxSandboxSecurityContext {
            namespace_options: Some(namespaces(pod_spec)),
            // An ephemeral one is added later: the runtime reads this again when it creates a container.
            privileged: spec::all_containers(pod).any(|(_, c)| {
                c.security_context.as_ref().is_some_and(|context| context.privileged == Some(true))
            }),
            seccomp: Some(seccomp(context.seccomp_profile.as_ref())),
            ..Default::default()
        }),
        sysctls: sysctls.collect(),
        overhead: Some(overhead.map_or_else(Default::default, linux_resources)),
        resources: Some(linux_resources(containers)),
    }
}

fn linux_resources(limits: resources::Limits) -> v1::LinuxContainerResources {
    v1::LinuxContainerResources {
        cpu_period: resources::CPU_PERIOD_US,
        cpu_quota: limits.cpu_quota_us,
        cpu_shares: limits.cpu_shares,
        memory_limit_in_bytes: limits.memory_bytes,
        ..Default::default()
    }
}

/// The namespaces that the Pod's containers share.
pub(crate) fn namespaces(pod_spec: &PodSpec) -> v1::NamespaceOption {
    use v1::NamespaceMode::{Container, Node, Pod};
    let host = |on: Option<bool>| if on == Some(true) { Node } else { Pod };
    let pid = match (pod_spec.host_pid, pod_spec.share_process_namespace) {
        (Some(true), _) => Node,
        (_, Some(true)) => Pod,
        _ => Container,
    };
    v1::NamespaceOption {
        network: host(pod_spec.host_network) as i32,
        pid: pid as i32,
        ipc: host(pod_spec.host_ipc) as i32,
        target_id: String::new(),
    }
}

/// Converts a seccomp profile; none means unconfined.
pub(crate) fn seccomp(profile: Option<&SeccompProfile>) -> v1::SecurityProfile {
    use v1::security_profile::ProfileType::{Localhost, RuntimeDefault, Unconfined};
    let (kind, localhost_ref) = match profile.map(|profile| (profile.type_.as_str(), profile)) {
        Some(("RuntimeDefault", _)) => (RuntimeDefault, String::new()),
        Some(("Localhost", profile)) => {
            let name = profile.localhost_profile.clone().unwrap_or_default();
            (Localhost, format!("/var/lib/kubelet/seccomp/{name}"))
        }
        _ => (Unconfined, String::new()),
    };
    v1::SecurityProfile { profile_type: kind as i32, localhost_ref }
}

/// The host name in the Pod's containers. A name that is too long is refused before the sandbox starts.
fn kernel_hostname(pod: &Pod) -> String {
    hostname::kernel_hostname(pod).unwrap_or_else(|_| hostname::hostname(pod))
}

/// Options of the resolver library for Pods that ask the cluster, as of the kubelet: names with fewer dots are searched first.
const CLUSTER_OPTIONS: &str = "ndots:5";

fn dns(pod: &Pod, cluster: Option<Ipv4Addr>, resolver: &Resolver) -> v1::DnsConfig {
    let pod_spec = spec::spec(pod);
    let of_machine = || v1::DnsConfig {
        servers: resolver.servers.clone(),
        searches: resolver.searches.clone(),
        options: resolver.options.clone(),
    };
    let policy = pod_spec.dns_policy.as_deref().unwrap_or("ClusterFirst");
    let host_network = pod_spec.host_network == Some(true);
    let mut dns = match (policy, cluster) {
        ("None", _) => v1::DnsConfig::default(),
        ("Default", _) | (_, None) => of_machine(),
        ("ClusterFirst", _) if host_network => of_machine(),
        (_, Some(server)) => {
            let namespace = pod.metadata.namespace.as_deref().unwrap_or("default");
            let own = [format!("{namespace}.svc.{DOMAIN}"), format!("svc.{DOMAIN}"), DOMAIN.to_owned()];
            v1::DnsConfig {
                servers: vec![server.to_string()],
                searches: own.into_iter().chain(resolver.searches.iter().cloned()).collect(),
                options: vec![CLUSTER_OPTIONS.to_owned()],
            }
        }
    };
    if let Some(own) = &pod_spec.dns_config {
        dns.servers.extend(own.nameservers.iter().flatten().cloned());
        dns.searches.extend(own.searches.iter().flatten().cloned());
        for option in own.options.iter().flatten() {
            let name = option.name.clone().unwrap_or_default();
            dns.options.retain(|existing| existing.split(':').next() != Some(&name));
            dns.options.push(match &option.value {
                Some(value) => format!("{name}:{value}"),
                None => name,
            });
        }
    }
    for list in [&mut dns.servers, &mut dns.searches] {
        let mut seen = std::collections::BTreeSet::new();
        list.retain(|entry| seen.insert(entry.clone()));
    }
    // The resolver library reads at most three servers.
    dns.servers.truncate(3);
    dns
}

fn port_mappings(pod: &Pod) -> Vec<v1::PortMapping> {
    let ports = spec::containers(pod).flat_map(|(_, container)| container.ports.iter().flatten());
    ports
        .filter_map(|port| {
            let host_port = port.host_port.filter(|port| *port > 0)?;
            let protocol = match port.protocol.as_deref() {
                Some("UDP") => v1::Protocol::Udp,
                Some("SCTP") => v1::Protocol::Sctp,
                _ => v1::Protocol::Tcp,
            };
            Some(v1::PortMapping {
                protocol: protocol as i32,
                container_port: port.container_port,
                host_port,
                host_ip: port.host_ip.clone().unwrap_or_default(),
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    //! Whom a Pod asks for names.

    use super::*;

    #[test]
    fn the_policy_decides_who_is_asked() {
        let machine = Resolver::parse("nameserver 192.0.2.53\nsearch example.org\noptions timeout:1\n");
        let of = |spec: serde_json::Value, cluster: Option<[u8; 4]>| {
            let pod = serde_json::json!({"metadata": {"namespace": "ns"}, "spec": spec});
            let dns = dns(&serde_json::from_value(pod).unwrap(), cluster.map(Ipv4Addr::from), &machine);
            format!("{} | {} | {}", dns.servers.join(" "), dns.searches.join(" "), dns.options.join(" "))
        };
        let own = "192.0.2.53 | example.org | timeout:1";
        let cluster =
            "10.244.0.1 | ns.svc.cluster.local svc.cluster.local cluster.local example.org | ndots:5";
        let gateway = Some([10, 244, 0, 1]);
        let containers = serde_json::json!([]);
        let spec = |policy: &str, host: bool| serde_json::json!({"containers": containers, "dnsPolicy": policy, "hostNetwork": host});
        for (policy, host, expected) in [
            ("ClusterFirst", false, cluster),
            ("ClusterFirst", true, own),
            ("ClusterFirstWithHostNet", true, cluster),
            ("Default", false, own),
            ("None", false, " |  | "),
        ] {
            assert_eq!(of(spec(policy, host), gateway), expected, "{policy} {host}");
        }
        assert_eq!(of(spec("ClusterFirst", false), None), own);
        let mut more = spec("ClusterFirst", false);
        more["dnsConfig"] = serde_json::json!({"nameservers": ["192.0.2.1"], "searches": ["a.example"],
            "options": [{"name": "ndots", "value": "2"}, {"name": "edns0"}]});
        assert_eq!(
            of(more, gateway),
            "10.244.0.1 192.0.2.1 | ns.svc.cluster.local svc.cluster.local cluster.local example.org a.example | ndots:2 edns0"
        );
    }
}
