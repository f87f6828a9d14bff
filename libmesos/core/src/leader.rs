//! What masters announce in ZooKeeper: sequential nodes `json.info_0000000012` with a `MasterInfo` in JSON. The lowest number
//! leads.

use std::net::{IpAddr, SocketAddr};

use serde_json::{Value, json};

use crate::master::Endpoint;

/// The name before the number of a node with JSON.
pub const LABEL: &str = "json.info_";

/// The node of the leader among the children of the masters' path.
pub fn leading_node<'a>(children: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    children
        .into_iter()
        .filter_map(|name| Some((sequence(name)?, name)))
        .min_by_key(|(sequence, _)| *sequence)
        .map(|(_, name)| name)
}

fn sequence(name: &str) -> Option<u64> {
    let digits = name.strip_prefix(LABEL)?;
    digits.bytes().all(|b| b.is_ascii_digit()).then(|| digits.parse().ok()).flatten()
}

/// The endpoint in a node's content. A master's address is preferred to its host name, which may not resolve here.
pub fn endpoint(content: &[u8]) -> Option<Endpoint> {
    let info: Value = serde_json::from_slice(content).ok()?;
    let address = info.get("address");
    let text = |value: &Value| value.as_str().filter(|text| !text.is_empty()).map(str::to_owned);
    let host = address
        .and_then(|address| text(address.get("ip")?))
        .or_else(|| text(info.get("hostname")?))
        .or_else(|| address.and_then(|address| text(address.get("hostname")?)))?;
    let port = address.and_then(|address| address.get("port")).or_else(|| info.get("port"))?.as_u64()?;
    Some(Endpoint { tls: false, host, port: u16::try_from(port).ok().filter(|port| *port > 0)? })
}

/// What a master announces of itself; [`endpoint`] reads it.
pub fn announcement(id: &str, hostname: &str, address: SocketAddr, version: &str) -> Vec<u8> {
    // As in Mesos' protobuf: the bytes of the address as they are in memory.
    let number = match address.ip() {
        IpAddr::V4(ip) => u32::from_ne_bytes(ip.octets()),
        IpAddr::V6(_) => 0,
    };
    let info = json!({
        "address": {"hostname": hostname, "ip": address.ip().to_string(), "port": address.port()},
        "hostname": hostname,
        "id": id,
        "ip": number,
        "pid": format!("master@{address}"),
        "port": address.port(),
        "version": version,
    });
    info.to_string().into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lowest_number_leads() {
        let cases: [(&[&str], Option<&str>); 5] = [
            (&[], None),
            (&["log_replicas", "info_0000000001", "json.info_x", "json.info_"], None),
            (&["json.info_0000000012", "json.info_0000000003"], Some("json.info_0000000003")),
            // A sequence that has outgrown its ten digits.
            (&["json.info_10000000000", "json.info_9999999999"], Some("json.info_9999999999")),
            (&["json.info_-000000001", "json.info_0000000007"], Some("json.info_0000000007")),
        ];
        for (children, wanted) in cases {
            assert_eq!(leading_node(children.iter().copied()), wanted, "{children:?}");
        }
    }

    #[test]
    fn an_announcement_is_read_back() {
        for (address, host) in [("10.0.0.1:5050", "10.0.0.1"), ("[::1]:6050", "::1")] {
            let address: SocketAddr = address.parse().unwrap();
            let found = endpoint(&announcement("id", "m", address, "1.11.0"));
            assert_eq!(found, Some(Endpoint { tls: false, host: host.to_owned(), port: address.port() }));
        }
    }

    #[test]
    fn the_address_of_a_master() {
        let cases = [
            (
                r#"{"address":{"hostname":"m","ip":"10.0.0.1","port":5050},"hostname":"m","id":"x","ip":16777226,"port":5050}"#,
                Some(("10.0.0.1", 5050)),
            ),
            (r#"{"hostname":"m.example","ip":1,"port":6050}"#, Some(("m.example", 6050))),
            (r#"{"address":{"hostname":"n","port":1}}"#, Some(("n", 1))),
            (r#"{"hostname":"m","port":70000}"#, None),
            (r#"{"hostname":"m"}"#, None),
            (r#"[]"#, None),
            ("not json", None),
        ];
        for (content, wanted) in cases {
            let wanted = wanted.map(|(host, port)| Endpoint { tls: false, host: host.to_owned(), port });
            assert_eq!(endpoint(content.as_bytes()), wanted, "{content}");
        }
    }
}
