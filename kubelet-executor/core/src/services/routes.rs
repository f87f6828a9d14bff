//! Services and EndpointSlices, reduced to what packets need, and the routes that they make together. IPv4 only, as the cluster.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
};

use k8s_openapi::api::{
    core::v1::Service,
    discovery::v1::{Endpoint as SliceEndpoint, EndpointSlice},
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

/// Services and slices with this label are left to others, as by kube-proxy.
const HEADLESS: &str = "service.kubernetes.io/headless";
/// Services with this label have a proxy of their own.
const OTHER_PROXY: &str = "service.kubernetes.io/service-proxy-name";
/// The label of a slice that names its Service.
pub(crate) const SERVICE_NAME: &str = "kubernetes.io/service-name";
/// Seconds of session affinity, unless the Service says otherwise; upstream's default.
const AFFINITY_SECONDS: u32 = 10_800;

/// A transport protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum Protocol {
    Tcp,
    Udp,
    Sctp,
}

impl Protocol {
    fn parse(name: Option<&str>) -> Option<Self> {
        match name {
            None | Some("TCP") => Some(Self::Tcp),
            Some("UDP") => Some(Self::Udp),
            Some("SCTP") => Some(Self::Sctp),
            Some(_) => None,
        }
    }

    /// The name in rules.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
        }
    }
}

/// `(namespace, name)` of an object.
pub type ObjectKey = (String, String);

/// The key of an object.
pub fn key(metadata: &ObjectMeta) -> ObjectKey {
    (metadata.namespace.clone().unwrap_or_default(), metadata.name.clone().unwrap_or_default())
}

fn has_label(metadata: &ObjectMeta, label: &str) -> bool {
    metadata.labels.as_ref().is_some_and(|labels| labels.contains_key(label))
}

/// What packets need of a Service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceView {
    cluster_ip: Ipv4Addr,
    external: Vec<Ipv4Addr>,
    balancers: Vec<Ipv4Addr>,
    sources: Vec<String>,
    ports: Vec<ServicePort>,
    affinity_seconds: Option<u32>,
    internal_local: bool,
    external_local: bool,
    /// Where load balancers ask each node for endpoints of its own.
    pub(super) health_check_port: Option<u16>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct ServicePort {
    name: String,
    protocol: Protocol,
    port: u16,
    node_port: Option<u16>,
}

impl ServiceView {
    /// Reads a Service; `None` if nothing routes packets for it.
    pub fn of(service: &Service) -> Option<Self> {
        let spec = service.spec.as_ref()?;
        if spec.type_.as_deref() == Some("ExternalName")
            || has_label(&service.metadata, HEADLESS)
            || has_label(&service.metadata, OTHER_PROXY)
        {
            return None;
        }
        let own = spec.cluster_ips.iter().flatten().chain(&spec.cluster_ip);
        let cluster_ip = own.filter_map(|address| address.parse().ok()).next()?;
        let balancer = service.status.as_ref().and_then(|status| status.load_balancer.as_ref());
        let ingress = balancer.into_iter().flat_map(|balancer| balancer.ingress.iter().flatten());
        let ingress = ingress.filter(|ingress| ingress.ip_mode.as_deref() != Some("Proxy"));
        let distinct = |addresses: &mut dyn Iterator<Item = &String>| -> Vec<Ipv4Addr> {
            let parsed: BTreeSet<Ipv4Addr> = addresses.filter_map(|address| address.parse().ok()).collect();
            parsed.into_iter().collect()
        };
        let sources = spec.load_balancer_source_ranges.iter().flatten().map(|range| range.trim().to_owned());
        let number = |port: i32| u16::try_from(port).ok().filter(|port| *port != 0);
        let ports = spec.ports.iter().flatten().filter_map(|port| {
            Some(ServicePort {
                name: port.name.clone().unwrap_or_default(),
                protocol: Protocol::parse(port.protocol.as_deref())?,
                port: number(port.port)?,
                node_port: port.node_port.and_then(number),
            })
        });
        let timeout = || {
            let config = spec.session_affinity_config.as_ref()?.client_ip.as_ref()?;
            u32::try_from(config.timeout_seconds?).ok()
        };
        let external_local = spec.external_traffic_policy.as_deref() == Some("Local");
        let needs_health_check = external_local && spec.type_.as_deref() == Some("LoadBalancer");
        let has_affinity = spec.session_affinity.as_deref() == Some("ClientIP");
        Some(Self {
            cluster_ip,
            external: distinct(&mut spec.external_ips.iter().flatten()),
            balancers: distinct(&mut ingress.filter_map(|ingress| ingress.ip.as_ref())),
            sources: sources.filter(|range| is_range(range)).collect(),
            ports: ports.collect(),
            affinity_seconds: has_affinity.then(|| timeout().unwrap_or(AFFINITY_SECONDS)),
            internal_local: spec.internal_traffic_policy.as_deref() == Some("Local"),
            external_local,
            health_check_port: spec.health_check_node_port.filter(|_| needs_health_check).and_then(number),
        })
    }
}

/// Whether a text is an IPv4 range. The API server has validated those of Services; ranges of IPv6 are for other packets.
fn is_range(text: &str) -> bool {
    text.split_once('/').is_some_and(|(address, bits)| {
        address.parse::<Ipv4Addr>().is_ok() && bits.parse::<u8>().is_ok_and(|bits| bits <= 32)
    })
}

/// What packets need of an EndpointSlice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SliceView {
    service: ObjectKey,
    endpoints: Vec<EndpointView>,
    ports: Vec<(String, Protocol, u16)>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct EndpointView {
    address: Ipv4Addr,
    is_local: bool,
    is_ready: bool,
    is_serving: bool,
    /// It serves until it has terminated.
    is_draining: bool,
}

impl SliceView {
    /// Reads a slice, as seen on a node; `None` if it belongs to no Service with addresses.
    pub fn of(slice: &EndpointSlice, node: &str) -> Option<Self> {
        if slice.address_type != "IPv4" || has_label(&slice.metadata, HEADLESS) {
            return None;
        }
        let service = slice.metadata.labels.as_ref()?.get(SERVICE_NAME)?.clone();
        let ports = slice.ports.iter().flatten().filter_map(|port| {
            let number = port.port.and_then(|port| u16::try_from(port).ok())?;
            Some((port.name.clone().unwrap_or_default(), Protocol::parse(port.protocol.as_deref())?, number))
        });
        let endpoints = slice.endpoints.iter().flatten();
        Some(Self {
            service: (slice.metadata.namespace.clone().unwrap_or_default(), service),
            endpoints: endpoints.filter_map(|endpoint| EndpointView::of(endpoint, node)).collect(),
            ports: ports.collect(),
        })
    }
}

impl SliceView {
    /// The Service that it belongs to.
    pub(super) fn service(&self) -> &ObjectKey {
        &self.service
    }

    /// The addresses of the ready endpoints on this node.
    pub(super) fn local_ready(&self) -> impl Iterator<Item = Ipv4Addr> {
        let has_ports = !self.ports.is_empty();
        let endpoints = self.endpoints.iter().filter(move |endpoint| has_ports && endpoint.is_local);
        endpoints.filter(|endpoint| endpoint.is_ready).map(|endpoint| endpoint.address)
    }
}

impl EndpointView {
    fn of(endpoint: &SliceEndpoint, node: &str) -> Option<Self> {
        let conditions = endpoint.conditions.clone().unwrap_or_default();
        let is_ready = conditions.ready.unwrap_or(true);
        // The addresses of one endpoint are interchangeable. No packet of a Pod gets to the machine's loopback, where an API server
        // for this machine alone listens.
        let address: Ipv4Addr = endpoint.addresses.first()?.parse().ok()?;
        if address.is_loopback() {
            return None;
        }
        Some(Self {
            address,
            is_local: endpoint.node_name.as_deref() == Some(node),
            is_ready,
            is_serving: conditions.serving.unwrap_or(is_ready),
            is_draining: conditions.serving.unwrap_or(is_ready) && conditions.terminating.unwrap_or(false),
        })
    }
}

/// A backend of a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs)]
pub struct Endpoint {
    pub address: Ipv4Addr,
    pub port: u16,
}

/// Where the packets to one port of a Service go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// `namespace/name/protocol/port name`, unique.
    pub name: String,
    /// The protocol of all its ports.
    pub protocol: Protocol,
    /// The address in the cluster.
    pub cluster_ip: Ipv4Addr,
    /// External IPs.
    pub external: Vec<Ipv4Addr>,
    /// The addresses of load balancers.
    pub balancers: Vec<Ipv4Addr>,
    /// Who may use those; everybody if there are none.
    pub sources: Vec<String>,
    /// The port at these addresses.
    pub port: u16,
    /// The port at the addresses of every node.
    pub node_port: Option<u16>,
    /// How long a client stays with its endpoint after its last connection.
    pub affinity_seconds: Option<u32>,
    /// All usable backends.
    pub endpoints: Vec<Endpoint>,
    /// The backends that serve, whether packets are sent to them or not: flows to them go on.
    pub serving: Vec<Endpoint>,
    /// The usable backends on this node.
    pub local_endpoints: Vec<Endpoint>,
    /// Packets to the cluster IP go to this node's backends only.
    pub internal_local: bool,
    /// Packets from outside go to this node's backends only, and keep their source.
    pub external_local: bool,
}

/// The routes of all Services, by name.
pub fn routes(
    services: &BTreeMap<ObjectKey, ServiceView>,
    slices: &BTreeMap<ObjectKey, SliceView>,
) -> Vec<Route> {
    let mut by_service: BTreeMap<&ObjectKey, Vec<&SliceView>> = BTreeMap::new();
    for slice in slices.values() {
        by_service.entry(&slice.service).or_default().push(slice);
    }
    let mut routes = Vec::new();
    for (key, service) in services {
        let slices = by_service.get(key).map(Vec::as_slice).unwrap_or_default();
        for port in &service.ports {
            let all = backends(slices, port);
            routes.push(Route {
                name: format!("{}/{}/{}/{}", key.0, key.1, port.protocol.name(), port.name),
                protocol: port.protocol,
                cluster_ip: service.cluster_ip,
                external: service.external.clone(),
                balancers: service.balancers.clone(),
                sources: service.sources.clone(),
                port: port.port,
                node_port: port.node_port,
                affinity_seconds: service.affinity_seconds,
                endpoints: usable(all.iter()),
                serving: all.iter().filter(|(view, _)| view.is_serving).map(endpoint).collect(),
                local_endpoints: usable(all.iter().filter(|(endpoint, _)| endpoint.is_local)),
                internal_local: service.internal_local,
                external_local: service.external_local,
            });
        }
    }
    routes
}

/// Endpoints with their port numbers. A slice's port belongs to the Service's port of the same name and protocol.
fn backends<'a>(slices: &[&'a SliceView], port: &ServicePort) -> Vec<(&'a EndpointView, u16)> {
    let mut found = Vec::new();
    for slice in slices {
        let same =
            |(name, protocol, _): &&(String, Protocol, u16)| *name == port.name && *protocol == port.protocol;
        if let Some((_, _, number)) = slice.ports.iter().find(same) {
            found.extend(slice.endpoints.iter().map(|endpoint| (endpoint, *number)));
        }
    }
    found
}

/// The ready endpoints; if there are none, those that serve while they terminate.
fn usable<'a>(all: impl Iterator<Item = &'a (&'a EndpointView, u16)> + Clone) -> Vec<Endpoint> {
    let mut chosen: Vec<Endpoint> = all.clone().filter(|(view, _)| view.is_ready).map(endpoint).collect();
    if chosen.is_empty() {
        chosen = all.filter(|(view, _)| view.is_draining).map(endpoint).collect();
    }
    chosen.sort_unstable();
    chosen.dedup();
    chosen
}

fn endpoint((view, port): &(&EndpointView, u16)) -> Endpoint {
    Endpoint { address: view.address, port: *port }
}
