//! The messages of the kernel's connection tracking (`linux/netfilter/nfnetlink_conntrack.h`): listing the entries of IPv4, and deleting
//! one. Of an entry, its UDP addresses are read; what identifies it is kept as it came.

use std::net::Ipv4Addr;

use super::routes::Endpoint;
use super::stale_flows::Flow;

/// Length of a message's header and of the header of netfilter behind it, in bytes.
const HEADER: usize = 16;
const FAMILY_HEADER: usize = 4;
const AF_INET: u8 = 2;
const UDP: u8 = 17;

/// Message types: the subsystem of connection tracking, and what is asked of it.
const GET: u16 = 0x0101;
const DELETE: u16 = 0x0102;
const NEW: u16 = 0x0100;
const ERROR: u16 = 2;
const DONE: u16 = 3;

const REQUEST: u16 = 0x1;
const ACKNOWLEDGE: u16 = 0x4;
const DUMP: u16 = 0x300;

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
/// The bits of a type that are no flags.
const TYPE: u16 = 0x3fff;

/// An entry of UDP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UdpEntry {
    /// Its addresses.
    pub flow: Flow,
    /// The attributes that identify it.
    key: Vec<u8>,
}

/// A message of the kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Reply {
    Entry(UdpEntry),
    /// The list is complete.
    Done,
    /// The outcome of a request: 0 or an error number.
    Outcome(i32),
}

/// Asks for all entries of IPv4.
pub fn list() -> Vec<u8> {
    message(GET, REQUEST | DUMP, &[])
}

/// Asks for the deletion of an entry.
pub fn delete(entry: &UdpEntry) -> Vec<u8> {
    message(DELETE, REQUEST | ACKNOWLEDGE, &entry.key)
}

fn message(kind: u16, flags: u16, attributes: &[u8]) -> Vec<u8> {
    let length = u32::try_from(HEADER + FAMILY_HEADER + attributes.len()).unwrap_or(u32::MAX);
    let mut out = Vec::with_capacity(length as usize);
    out.extend(length.to_ne_bytes());
    out.extend(kind.to_ne_bytes());
    out.extend(flags.to_ne_bytes());
    // Sequence number and port: one request after the other is sent on a socket.
    out.extend([0; 8]);
    out.extend([AF_INET, 0, 0, 0]);
    out.extend(attributes);
    out
}

/// The messages of a datagram. Entries of other protocols and what is not understood are left out.
pub fn parse(mut datagram: &[u8]) -> Vec<Reply> {
    let mut replies = Vec::new();
    while let Some(length) = number32(datagram, 0).map(|length| length as usize)
        && length >= HEADER
        && length <= datagram.len()
    {
        let body = &datagram[HEADER..length];
        match number16(datagram, 4) {
            Some(NEW) => replies.extend(body.get(FAMILY_HEADER..).and_then(entry).map(Reply::Entry)),
            Some(DONE) => replies.push(Reply::Done),
            Some(ERROR) => {
                let code = number32(body, 0).map_or(0, |code| i32::from_ne_bytes(code.to_ne_bytes()));
                replies.push(Reply::Outcome(-code));
            }
            _ => {}
        }
        datagram = datagram.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    replies
}

fn entry(attributes: &[u8]) -> Option<UdpEntry> {
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

/// Attributes: type, the whole with its header, value.
struct Attributes<'a>(&'a [u8]);

impl<'a> Iterator for Attributes<'a> {
    type Item = (u16, &'a [u8], &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        const HEADER: usize = 4;
        let length = usize::from(number16(self.0, 0)?);
        let kind = number16(self.0, 2)? & TYPE;
        let whole = self.0.get(..length)?;
        let value = whole.get(HEADER..)?;
        self.0 = self.0.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, whole, value))
    }
}

fn number16(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn number32(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NESTED: u16 = 0x8000;

    fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
        let length = u16::try_from(4 + value.len()).unwrap();
        let mut out = [length.to_ne_bytes(), kind.to_ne_bytes()].concat();
        out.extend(value);
        out.resize(out.len().next_multiple_of(4), 0);
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
        let original = tuple_of(TUPLE_ORIGINAL, UDP, (client, 4000), (service, 53));
        let entry = |protocol| {
            let reply = tuple_of(TUPLE_REPLY, protocol, (backend, 5353), (client, 4000));
            let original = tuple_of(TUPLE_ORIGINAL, protocol, (client, 4000), (service, 53));
            [original, reply, attribute(3, &[0; 4]), attribute(ID, &[1, 2, 3, 4])].concat()
        };
        let mut datagram = message(NEW, 2, &entry(6));
        datagram.extend(message(NEW, 2, &entry(UDP)));
        datagram.extend(message(DONE, 2, &[]));
        let replies = parse(&datagram);
        let [Reply::Entry(found), Reply::Done] = &replies[..] else { panic!("{replies:?}") };
        assert_eq!(found.flow.destination, Endpoint { address: service, port: 53 });
        assert_eq!(found.flow.backend, Endpoint { address: backend, port: 5353 });
        let deletion = delete(found);
        assert_eq!(number32(&deletion, 0), Some(deletion.len() as u32));
        assert_eq!(deletion[HEADER + FAMILY_HEADER..], [original, attribute(ID, &[1, 2, 3, 4])].concat());
        let mut refused = message(ERROR, 0, &[]);
        refused.truncate(HEADER);
        refused.extend((-2i32).to_ne_bytes());
        refused[0] = 20;
        assert_eq!(parse(&refused), [Reply::Outcome(2)]);
    }

    proptest! {
        #[test]
        fn anything_can_be_parsed(bytes in prop::collection::vec(any::<u8>(), 0..200), short in 0u8..60) {
            parse(&bytes);
            let mut framed = bytes;
            if framed.len() > HEADER {
                framed[..4].copy_from_slice(&u32::from(short).to_ne_bytes());
                framed[4..6].copy_from_slice(&NEW.to_ne_bytes());
            }
            parse(&framed);
        }
    }
}
