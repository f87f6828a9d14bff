//! The messages of the kernel's connection tracking (`linux/netfilter/nfnetlink_conntrack.h`): listing the entries of IPv4, and deleting
//! one. Of an entry, its UDP addresses are read; what identifies it is kept as it came.

use std::net::Ipv4Addr;

use super::netlink::{Attributes, Wanted, request};
use super::routes::Endpoint;
use super::stale_flows::Flow;

const UDP: u8 = 17;

/// An entry in a list.
pub const NEW: u16 = 0x0100;
/// Message types of requests.
const GET: u16 = 0x0101;
const DELETE: u16 = 0x0102;

/// Attributes.
const TUPLE_ORIGINAL: u16 = 1;
const TUPLE_REPLY: u16 = 2;
const ID: u16 = 12;
const ZONE: u16 = 18;
/// Those of a tuple, and below.
const TUPLE_IP: u16 = 1;
const TUPLE_PROTOCOL: u16 = 2;
const IP_SOURCE: u16 = 1;
const IP_DESTINATION: u16 = 2;
const PROTOCOL_NUMBER: u16 = 1;
const PORT_SOURCE: u16 = 2;
const PORT_DESTINATION: u16 = 3;

/// An entry of UDP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UdpEntry {
    /// Its addresses.
    pub flow: Flow,
    /// The attributes that identify it.
    key: Vec<u8>,
}

/// Asks for all entries of IPv4.
pub fn list() -> Vec<u8> {
    request(GET, Wanted::List, &[])
}

/// Asks for the deletion of an entry.
pub fn delete(entry: &UdpEntry) -> Vec<u8> {
    request(DELETE, Wanted::Outcome, &entry.key)
}

/// The entry of a message's attributes; `None` for other protocols and what is not understood.
pub fn entry(attributes: &[u8]) -> Option<UdpEntry> {
    let original = tuple(find(attributes, TUPLE_ORIGINAL)?)?;
    let reply = tuple(find(attributes, TUPLE_REPLY)?)?;
    let mut key = Vec::new();
    for (kind, whole, _) in Attributes(attributes) {
        if matches!(kind, TUPLE_ORIGINAL | ID | ZONE) {
            key.extend(whole);
            key.resize(key.len().next_multiple_of(4), 0);
        }
    }
    Some(UdpEntry { flow: Flow { destination: original.1, backend: reply.0 }, key })
}

/// Source and destination of a tuple of UDP.
fn tuple(attributes: &[u8]) -> Option<(Endpoint, Endpoint)> {
    let (ip, protocol) = (find(attributes, TUPLE_IP)?, find(attributes, TUPLE_PROTOCOL)?);
    if *find(protocol, PROTOCOL_NUMBER)?.first()? != UDP {
        return None;
    }
    let address = |kind| Some(Ipv4Addr::from(<[u8; 4]>::try_from(find(ip, kind)?).ok()?));
    let port = |kind| Some(u16::from_be_bytes(find(protocol, kind)?.try_into().ok()?));
    let source = Endpoint { address: address(IP_SOURCE)?, port: port(PORT_SOURCE)? };
    Some((source, Endpoint { address: address(IP_DESTINATION)?, port: port(PORT_DESTINATION)? }))
}

fn find(attributes: &[u8], wanted: u16) -> Option<&[u8]> {
    Attributes(attributes).find(|(kind, ..)| *kind == wanted).map(|(_, _, value)| value)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::services::netlink::{Replies, Reply, push_attribute};

    const NESTED: u16 = 0x8000;

    fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        push_attribute(&mut out, kind, value);
        out
    }

    fn tuple_of(kind: u16, protocol: u8, from: (Ipv4Addr, u16), to: (Ipv4Addr, u16)) -> Vec<u8> {
        let ip = [attribute(IP_SOURCE, &from.0.octets()), attribute(IP_DESTINATION, &to.0.octets())].concat();
        let ports = [
            attribute(PROTOCOL_NUMBER, &[protocol]),
            attribute(PORT_SOURCE, &from.1.to_be_bytes()),
            attribute(PORT_DESTINATION, &to.1.to_be_bytes()),
        ];
        let both =
            [attribute(TUPLE_IP | NESTED, &ip), attribute(TUPLE_PROTOCOL | NESTED, &ports.concat())].concat();
        attribute(kind | NESTED, &both)
    }

    #[test]
    fn an_entry_is_deleted_by_what_identifies_it() {
        let [client, service, backend] =
            [[10, 244, 0, 5], [10, 96, 0, 7], [10, 244, 0, 6]].map(Ipv4Addr::from);
        let attributes = |protocol| {
            let reply = tuple_of(TUPLE_REPLY, protocol, (backend, 5353), (client, 4000));
            let original = tuple_of(TUPLE_ORIGINAL, protocol, (client, 4000), (service, 53));
            [original, reply, attribute(3, &[0; 4]), attribute(ID, &[1, 2, 3, 4])].concat()
        };
        assert_eq!(entry(&attributes(6)), None, "TCP");
        let found = entry(&attributes(UDP)).expect("UDP");
        assert_eq!(found.flow.destination, Endpoint { address: service, port: 53 });
        assert_eq!(found.flow.backend, Endpoint { address: backend, port: 5353 });
        let original = tuple_of(TUPLE_ORIGINAL, UDP, (client, 4000), (service, 53));
        let key = [original, attribute(ID, &[1, 2, 3, 4])].concat();
        let deletion = delete(&found);
        assert_eq!(Replies(&deletion).next(), Some(Ok(Reply::Message(DELETE, &key))));
    }

    proptest! {
        #[test]
        fn anything_can_be_read(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            entry(&bytes);
        }
    }
}
