//! UDP flows that lead to no endpoint of their Service any more. The kernel remembers where it has sent the first packet of a
//! flow, and a client that goes on sending keeps that alive; only without the entry are the rules asked again. TCP needs this
//! not: its connections end. Upstream: `pkg/proxy/conntrack/cleanup.go`.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
    sync::Arc,
};

use super::routes::{Endpoint, Protocol, Route};

/// A UDP flow of the connection tracking: where its client sends, and who answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flow {
    /// Address and port to which the client sends.
    pub destination: Endpoint,
    /// Address and port from which it is answered: the endpoint that was chosen.
    pub backend: Endpoint,
}

/// The endpoints that serve UDP ports, by how clients reach them. Ports without one are absent, as by kube-proxy: their flows can lead
/// nowhere else.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UdpBackends {
    at_address: BTreeMap<(Ipv4Addr, u16), Arc<BTreeSet<Endpoint>>>,
    at_node_port: BTreeMap<u16, Arc<BTreeSet<Endpoint>>>,
}

impl UdpBackends {
    /// Those of all routes.
    pub fn of(routes: &[Route]) -> UdpBackends {
        let mut all = UdpBackends::default();
        for route in
            routes.iter().filter(|route| route.protocol == Protocol::Udp && !route.serving.is_empty())
        {
            let serving: Arc<BTreeSet<Endpoint>> = Arc::new(route.serving.iter().copied().collect());
            let addresses = route.external.iter().chain(&route.balancers).chain([&route.cluster_ip]);
            all.at_address.extend(addresses.map(|address| ((*address, route.port), serving.clone())));
            all.at_node_port.extend(route.node_port.map(|port| (port, serving.clone())));
        }
        all
    }

    /// Whether no port uses UDP.
    pub fn is_empty(&self) -> bool {
        self.at_address.is_empty()
    }

    /// Whether a flow to a Service leads to none of its serving endpoints.
    pub fn is_stale(&self, flow: &Flow) -> bool {
        let Endpoint { address, port } = flow.destination;
        let misses = |serving: &Arc<BTreeSet<Endpoint>>| !serving.contains(&flow.backend);
        self.at_address.get(&(address, port)).is_some_and(misses)
            || self.at_node_port.get(&port).is_some_and(misses)
    }
}
