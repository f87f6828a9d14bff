//! The Pod network of the private containerd: a CNI bridge, addresses from the Pod CIDR, host ports.

use std::{
    net::Ipv4Addr,
    path::{Path, PathBuf},
};

use futures::TryStreamExt;
use rtnetlink::{
    RouteMessageBuilder,
    packet_route::{
        link::LinkAttribute,
        route::{RouteAddress, RouteAttribute, RouteHeader, RouteMessage},
    },
};
use serde_json::json;

use crate::config::Config;

/// Where distributions install the reference plugins.
const PLUGIN_DIRS: [&str; 3] = ["/usr/lib/cni", "/opt/cni/bin", "/usr/libexec/cni"];

/// The directory with the plugins.
pub(crate) fn plugin_dir() -> Option<PathBuf> {
    PLUGIN_DIRS.iter().map(Path::new).find(|dir| dir.join("bridge").exists()).map(Path::to_owned)
}

/// The bridge's name; interface names have at most 15 bytes.
pub(crate) fn bridge_name(config: &Config) -> String {
    format!("cat{}", config.tag())
}

/// The CNI network's name, which the plugins write into everything that they create.
pub(crate) fn network_name(config: &Config) -> String {
    format!("catamaran-{}", config.tag())
}

/// Where the host-local plugin records allocated addresses.
pub(crate) fn addresses_dir(config: &Config) -> PathBuf {
    config.root_dir.join("cni/addresses")
}

/// Writes the CNI configuration and enables IP forwarding. Returns the configuration directory for containerd.
pub(crate) fn prepare(config: &Config) -> std::io::Result<PathBuf> {
    let Some(pod_cidr) = &config.pod_cidr else {
        return Err(std::io::Error::other("no Pod CIDR is assigned to this node"));
    };
    let dir = config.root_dir.join("cni/net.d");
    std::fs::create_dir_all(&dir)?;
    let network = json!({
        "cniVersion": "0.4.0",
        "name": network_name(config),
        "plugins": [
            {
                "type": "bridge",
                "bridge": bridge_name(config),
                "isGateway": true,
                "ipMasq": true,
                "hairpinMode": true,
                "ipam": {
                    "type": "host-local",
                    "dataDir": addresses_dir(config),
                    "ranges": [[{ "subnet": pod_cidr }]],
                    "routes": [{ "dst": "0.0.0.0/0" }],
                },
            },
            { "type": "portmap", "capabilities": { "portMappings": true } },
        ],
    });
    let file = dir.join("10-catamaran.conflist");
    let text = format!("{network:#}\n");
    if std::fs::read_to_string(&file).ok().as_deref() != Some(&text) {
        std::fs::write(&file, text)?;
    }
    std::fs::write("/proc/sys/net/ipv4/ip_forward", "1")?;
    Ok(dir)
}

/// The interface, other than our bridge, to which this machine already routes Pod addresses: most often the bridge of
/// another cluster. The node's Pods would not be reachable, and their probes would fail.
pub async fn conflicting_interface(config: &Config) -> Option<String> {
    match find_conflict(config).await {
        Ok(interface) => interface,
        Err(error) => {
            tracing::debug!(%error, "cannot read the routing table");
            None
        }
    }
}

async fn find_conflict(config: &Config) -> Result<Option<String>, rtnetlink::Error> {
    let Some(network) = config.pod_cidr.as_deref().and_then(Network::parse) else { return Ok(None) };
    let netlink = connect()?;
    let mut routes = netlink.route().get(RouteMessageBuilder::<Ipv4Addr>::new().build()).execute();
    let bridge = bridge_name(config);
    while let Some(route) = routes.try_next().await? {
        let Some((destination, interface)) = destination(&route) else { continue };
        if !destination.overlaps(network) {
            continue;
        }
        let mut links = netlink.link().get().match_index(interface).execute();
        let name = links.try_next().await?.and_then(|link| {
            link.attributes.into_iter().find_map(|attribute| match attribute {
                LinkAttribute::IfName(name) => Some(name),
                _ => None,
            })
        });
        if let Some(name) = name.filter(|name| *name != bridge) {
            return Ok(Some(name));
        }
    }
    Ok(None)
}

/// A netlink connection whose task ends with the handle.
pub(super) fn connect() -> Result<rtnetlink::Handle, rtnetlink::Error> {
    let (connection, handle, _) = rtnetlink::new_connection().map_err(|_| rtnetlink::Error::RequestFailed)?;
    tokio::spawn(connection);
    Ok(handle)
}

/// Network and interface index of a route in the main table. The default route overlaps with every network without
/// conflicting with it, so it is skipped.
fn destination(route: &RouteMessage) -> Option<(Network, u32)> {
    if route.header.table != RouteHeader::RT_TABLE_MAIN || route.header.destination_prefix_length == 0 {
        return None;
    }
    let mut network = None;
    let mut interface = None;
    for attribute in &route.attributes {
        match attribute {
            RouteAttribute::Destination(RouteAddress::Inet(address)) => {
                network = Some(Network::new(*address, route.header.destination_prefix_length));
            }
            RouteAttribute::Oif(index) => interface = Some(*index),
            _ => {}
        }
    }
    Some((network?, interface?))
}

/// An IPv4 network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Network {
    address: u32,
    mask: u32,
}

impl Network {
    fn new(address: Ipv4Addr, prefix_length: u8) -> Self {
        let mask = u32::MAX.checked_shl(32 - u32::from(prefix_length.min(32))).unwrap_or(0);
        Self { address: u32::from(address), mask }
    }

    /// Parses `a.b.c.d/n`.
    fn parse(cidr: &str) -> Option<Self> {
        let (address, length) = cidr.split_once('/')?;
        Some(Self::new(
            address.parse().ok()?,
            length.parse().ok().filter(|length| (1..=32).contains(length))?,
        ))
    }

    fn overlaps(self, other: Self) -> bool {
        let both = self.mask & other.mask;
        self.address & both == other.address & both
    }
}

/// Whether the bridge exists.
pub(crate) fn has_bridge(config: &Config) -> bool {
    // Not in `/sys/class/net`: a sysfs that was mounted elsewhere shows the interfaces of that network namespace.
    has_interface(&std::fs::read_to_string("/proc/self/net/dev").unwrap_or_default(), &bridge_name(config))
}

/// Whether the table of interfaces has this one.
fn has_interface(table: &str, name: &str) -> bool {
    table.lines().any(|line| line.split_once(':').is_some_and(|(interface, _)| interface.trim() == name))
}

/// Removes the bridge, if it exists.
pub(crate) async fn remove(config: &Config) {
    if !has_bridge(config) {
        return;
    }
    let bridge = bridge_name(config);
    if let Err(error) = delete_link(&bridge).await {
        tracing::warn!(%bridge, %error, "cannot remove bridge");
    }
}

async fn delete_link(name: &str) -> Result<(), rtnetlink::Error> {
    let netlink = connect()?;
    let mut links = netlink.link().get().match_name(name).execute();
    match links.try_next().await? {
        Some(link) => netlink.link().del(link.header.index).execute().await,
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    //! Routes of other interfaces are compared with the Pod network.

    use super::*;

    fn route(address: Ipv4Addr, prefix_length: u8, interface: u32) -> RouteMessage {
        RouteMessageBuilder::<Ipv4Addr>::new()
            .destination_prefix(address, prefix_length)
            .output_interface(interface)
            .build()
    }

    #[test]
    fn overlapping_routes_of_other_interfaces_are_found() {
        let routes = [route(Ipv4Addr::UNSPECIFIED, 0, 1), route(Ipv4Addr::new(10, 244, 0, 0), 24, 2)];
        let overlapping = |cidr: &str| -> Vec<u32> {
            let network = Network::parse(cidr).unwrap();
            let routes = routes.iter().filter_map(destination);
            routes.filter(|(route, _)| route.overlaps(network)).map(|(_, interface)| interface).collect()
        };
        assert_eq!(overlapping("10.244.0.0/24"), [2]);
        assert_eq!(overlapping("10.244.0.0/16"), [2]);
        assert_eq!(overlapping("10.244.1.0/24"), [0; 0]);
        assert_eq!(Network::parse("no network"), None);
    }

    #[test]
    fn an_interface_is_found_by_its_whole_name() {
        let table = "Inter-|   Receive\n face |bytes\n    lo: 1 2\ncat1896251e: 3 4\n";
        let found = ["lo", "cat1896251e", "cat1896251", "face"].map(|name| has_interface(table, name));
        assert_eq!(found, [true, true, false, false]);
        assert!(has_interface(&std::fs::read_to_string("/proc/self/net/dev").unwrap(), "lo"));
    }

    #[tokio::test]
    async fn the_routing_table_can_be_read() {
        let config = serde_json::from_value(serde_json::json!({
            "node_name": "n", "node_ip": "127.0.0.1", "root_dir": "/nonexistent", "api_server": "https://127.0.0.1:1",
            "pod_cidr": "198.51.100.0/24", "ca_file": "", "cert_file": "", "key_file": "",
        }));
        let conflict = find_conflict(&config.unwrap()).await;
        assert!(matches!(conflict, Ok(None)), "TEST-NET-2 has no route: {conflict:?}");
    }
}
