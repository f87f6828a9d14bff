//! The machine's address: what Pods on the host network are reached at where the agent listens on loopback.

use std::net::{IpAddr, Ipv4Addr};

use futures::TryStreamExt;
use rtnetlink::{
    RouteMessageBuilder,
    packet_route::{
        address::{AddressAttribute, AddressMessage, AddressScope},
        route::{RouteAttribute, RouteHeader, RouteMessage, RouteType},
    },
};

use super::pod_network::connect;
use crate::config::Config;

/// The address of this node's Pods on the host network: the node's own, and if that is a loopback one, which no other network
/// namespace reaches, the one that the kubelet chooses for a node: that of the interface of the default route.
pub(crate) async fn of(config: &Config) -> String {
    if !config.node_ip.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback()) {
        return config.node_ip.clone();
    }
    match of_machine().await {
        Ok(Some(address)) => address.to_string(),
        Ok(None) => {
            tracing::info!(
                "the machine has no default route: Pods on the host network have a loopback address"
            );
            config.node_ip.clone()
        }
        Err(error) => {
            tracing::warn!(%error, "cannot read the machine's addresses: Pods on the host network have a loopback address");
            config.node_ip.clone()
        }
    }
}

async fn of_machine() -> Result<Option<Ipv4Addr>, rtnetlink::Error> {
    let netlink = connect()?;
    let routes = netlink.route().get(RouteMessageBuilder::<Ipv4Addr>::new().build()).execute();
    let Some(interface) = default_interface(&routes.try_collect::<Vec<_>>().await?) else { return Ok(None) };
    let addresses = netlink.address().get().set_link_index_filter(interface).execute();
    Ok(first_address(&addresses.try_collect::<Vec<_>>().await?))
}

/// The interface of the default route; of several, that with the lowest metric.
fn default_interface(routes: &[RouteMessage]) -> Option<u32> {
    let defaults = routes.iter().filter(|route| {
        let header = &route.header;
        header.table == RouteHeader::RT_TABLE_MAIN
            && header.destination_prefix_length == 0
            && header.kind == RouteType::Unicast
    });
    let with_metric = defaults.filter_map(|route| {
        let (mut interface, mut metric) = (None, 0);
        for attribute in &route.attributes {
            match attribute {
                RouteAttribute::Oif(index) => interface = Some(*index),
                RouteAttribute::Priority(priority) => metric = *priority,
                _ => {}
            }
        }
        Some((metric, interface?))
    });
    with_metric.min().map(|(_, interface)| interface)
}

/// The first IPv4 address that other machines may know.
fn first_address(addresses: &[AddressMessage]) -> Option<Ipv4Addr> {
    let global = addresses.iter().filter(|address| address.header.scope == AddressScope::Universe);
    let own = global.filter_map(|address| {
        address.attributes.iter().find_map(|attribute| match attribute {
            // The peer's, on a point-to-point link, is `Address`.
            AddressAttribute::Local(IpAddr::V4(ip)) => Some(*ip),
            _ => None,
        })
    });
    own.into_iter().find(|ip| !ip.is_loopback() && !ip.is_link_local() && !ip.is_multicast())
}

#[cfg(test)]
mod tests {
    //! Routes and addresses as the kernel lists them.

    use super::*;

    fn default_route(interface: u32, metric: u32) -> RouteMessage {
        RouteMessageBuilder::<Ipv4Addr>::new().output_interface(interface).priority(metric).build()
    }

    #[test]
    fn the_default_route_with_the_lowest_metric_counts() {
        let network = RouteMessageBuilder::<Ipv4Addr>::new()
            .destination_prefix(Ipv4Addr::new(10, 244, 0, 0), 24)
            .output_interface(9)
            .build();
        let mut other_table = default_route(8, 0);
        other_table.header.table = 7;
        let routes = [network, other_table, default_route(3, 600), default_route(2, 100)];
        assert_eq!(default_interface(&routes), Some(2));
        assert_eq!(default_interface(&routes[..2]), None);
    }

    #[test]
    fn the_first_address_for_others_counts() {
        let address = |ip: [u8; 4], scope: AddressScope| {
            let mut message = AddressMessage::default();
            message.header.scope = scope;
            message.attributes.push(AddressAttribute::Local(IpAddr::V4(ip.into())));
            message
        };
        let addresses = [
            address([127, 0, 0, 1], AddressScope::Host),
            address([169, 254, 1, 1], AddressScope::Universe),
            address([192, 0, 2, 7], AddressScope::Universe),
            address([192, 0, 2, 8], AddressScope::Universe),
        ];
        assert_eq!(first_address(&addresses), Some([192, 0, 2, 7].into()));
        assert_eq!(first_address(&addresses[..2]), None);
    }

    #[tokio::test]
    async fn a_node_with_an_address_keeps_it() {
        let config = |ip: &str| -> Config {
            serde_json::from_value(serde_json::json!({
                "node_name": "n", "node_ip": ip, "root_dir": "/nonexistent", "api_server": "https://127.0.0.1:1",
                "ca_file": "", "cert_file": "", "key_file": "",
            }))
            .unwrap()
        };
        assert_eq!(of(&config("192.0.2.1")).await, "192.0.2.1");
        // Whatever this machine has: an address, and never none.
        assert!(of(&config("127.0.0.1")).await.parse::<Ipv4Addr>().is_ok());
    }
}
