//! DNS messages (RFC 1035): one question is read, records are written. What else a message may have is left to the servers that
//! questions are forwarded to.

use std::{
    collections::BTreeMap,
    fmt::Write,
    net::{Ipv4Addr, Ipv6Addr},
};

/// Length of a message's header.
const HEADER: usize = 12;
/// The longest name, with the lengths of its labels and its end.
const NAME_MAX: usize = 255;
/// Compression pointers that are followed in one name; each must lead backwards, and not into the header, which answers change.
const POINTERS_MAX: usize = 32;
/// The longest UDP answer for a client that says nothing (RFC 1035), and for one that says more than is sensible (RFC 9715).
const UDP_MIN: usize = 512;
const UDP_MAX: usize = 1232;

/// Types of records.
pub mod kind {
    #![allow(missing_docs)]
    pub const A: u16 = 1;
    pub const NS: u16 = 2;
    pub const CNAME: u16 = 5;
    pub const SOA: u16 = 6;
    pub const PTR: u16 = 12;
    pub const TXT: u16 = 16;
    pub const AAAA: u16 = 28;
    pub const SRV: u16 = 33;
    pub const OPT: u16 = 41;
    pub const ANY: u16 = 255;
}

/// The class of the Internet.
const INTERNET: u16 = 1;

/// A response code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Code {
    NoError = 0,
    FormatError = 1,
    ServerFailure = 2,
    NameError = 3,
    NotImplemented = 4,
}

/// A question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    id: u16,
    /// Opcode and the flag that recursion is wanted.
    flags: u16,
    /// The name in lower case without the last dot.
    pub name: String,
    /// The type of the records that are asked for.
    pub kind: u16,
    /// Whether it is about the Internet.
    pub is_internet: bool,
    /// The question as it was sent: answers repeat it, letter case included.
    question: Vec<u8>,
    /// What the client can receive over UDP; `None` without EDNS.
    udp_size: Option<u16>,
}

/// The data of a record.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum Data {
    A(Ipv4Addr),
    Aaaa(Ipv6Addr),
    Cname(String),
    Ptr(String),
    Txt(String),
    /// Priorities are equal.
    Srv {
        weight: u16,
        port: u16,
        target: String,
    },
    Ns(String),
    /// The start of authority; the zone's serial number.
    Soa {
        zone: String,
        serial: u32,
    },
}

impl Data {
    /// The type of the record.
    pub fn kind(&self) -> u16 {
        match self {
            Self::A(_) => kind::A,
            Self::Aaaa(_) => kind::AAAA,
            Self::Cname(_) => kind::CNAME,
            Self::Ptr(_) => kind::PTR,
            Self::Txt(_) => kind::TXT,
            Self::Srv { .. } => kind::SRV,
            Self::Ns(_) => kind::NS,
            Self::Soa { .. } => kind::SOA,
        }
    }
}

/// What an answer has beside the question.
#[derive(Debug, Clone, Copy, Default)]
pub struct Sections<'a> {
    /// What was asked for.
    pub answers: &'a [Record],
    /// The start of authority, if nothing was found.
    pub authority: Option<&'a Record>,
    /// What the client would ask for next. It is left out where it does not fit.
    pub additional: &'a [Record],
}

/// A record.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Record {
    pub name: String,
    /// Seconds for which it may be kept.
    pub ttl: u32,
    pub data: Data,
}

fn u16_at(message: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(message.get(at..at + 2)?.try_into().ok()?))
}

/// Reads a name. Returns it in lower case with the offset after it. Bytes that are in no name of a cluster, and dots in labels, are
/// written as in zone files, `\\032`.
fn name_at(message: &[u8], start: usize) -> Option<(String, usize)> {
    let (mut at, mut end, mut name, mut pointers, mut written) = (start, None, String::new(), 0, 1);
    loop {
        let length = usize::from(*message.get(at)?);
        if length == 0 {
            return Some((name.to_ascii_lowercase(), end.unwrap_or(at + 1)));
        }
        if length & 0xc0 == 0xc0 {
            let target = usize::from(u16_at(message, at)? & 0x3fff);
            pointers += 1;
            if !(HEADER..at).contains(&target) || pointers > POINTERS_MAX {
                return None;
            }
            end = end.or(Some(at + 2));
            at = target;
            continue;
        }
        let label = message.get(at + 1..at + 1 + length).filter(|_| length < 64)?;
        if !name.is_empty() {
            name.push('.');
        }
        for byte in label {
            match byte.is_ascii_graphic() && !b".\\".contains(byte) {
                true => name.push(char::from(*byte)),
                false => write!(name, "\\{byte:03}").ok()?,
            }
        }
        written += 1 + length;
        if written > NAME_MAX {
            return None;
        }
        at += 1 + length;
    }
}

impl Query {
    /// Reads a message of a client. What is not a question with one name has a code for the answer, if it deserves one.
    pub fn parse(message: &[u8]) -> Result<Self, Option<Vec<u8>>> {
        let (Some(id), Some(flags)) = (u16_at(message, 0), u16_at(message, 2)) else { return Err(None) };
        if message.len() < HEADER || flags & 0x8000 != 0 {
            return Err(None);
        }
        let refusal = |code: Code| Err(Some(header(id, 0x8000 | flags & 0x7900 | code as u16, [0; 4])));
        if flags & 0x7800 != 0 {
            return refusal(Code::NotImplemented);
        }
        let parsed = || {
            let (name, end) = name_at(message, HEADER).filter(|_| u16_at(message, 4) == Some(1))?;
            let (kind, class) = (u16_at(message, end)?, u16_at(message, end + 2)?);
            let question = message.get(HEADER..end + 4)?.to_vec();
            let udp_size = udp_size(message, end + 4);
            let flags = flags & 0x0100;
            Some(Self { id, flags, name, kind, is_internet: class == INTERNET, question, udp_size })
        };
        parsed().map_or_else(|| refusal(Code::FormatError), Ok)
    }

    /// A question of this machine's own.
    pub fn new(id: u16, name: &str, kind: u16) -> Self {
        let mut question = Vec::new();
        write_name(&mut question, name, None);
        question.extend([kind.to_be_bytes(), INTERNET.to_be_bytes()].concat());
        Self { id, flags: 0x0100, name: name.to_owned(), kind, is_internet: true, question, udp_size: None }
    }

    /// The message that asks the question.
    pub fn bytes(&self) -> Vec<u8> {
        let mut message = header(self.id, self.flags, [1, 0, 0, 0]);
        message.extend_from_slice(&self.question);
        message
    }

    /// The longest answer over UDP.
    pub fn udp_max(&self) -> usize {
        self.udp_size.map_or(UDP_MIN, |size| usize::from(size).clamp(UDP_MIN, UDP_MAX))
    }

    /// Where an answer has the names of the question.
    fn written_names(&self) -> Names {
        // A question with a pointer, or with escaped bytes, has another length.
        if self.name.is_empty() || self.question.len() != self.name.len() + 6 {
            return Names::default();
        }
        let starts = self.name.match_indices('.').map(|(dot, _)| dot + 1);
        let starts = [0].into_iter().chain(starts);
        Names(starts.map(|start| (self.name[start..].to_owned(), (HEADER + start) as u16)).collect())
    }

    /// The answer. What is longer than `max` bytes is cut after the last record that fits, and says so if that is not one of the
    /// additional ones (RFC 2181).
    pub fn answer(&self, code: Code, sections: Sections<'_>, max: usize) -> Vec<u8> {
        // Authoritative; recursion is available.
        let flags = 0x8480 | self.flags | code as u16;
        let mut message = header(self.id, flags, [1, 0, 0, 0]);
        message.extend_from_slice(&self.question);
        let extra = if self.udp_size.is_some() { 11 } else { 0 };
        let mut counts = [1, 0, 0, u16::from(extra > 0)];
        let (mut truncated, mut names) = (false, self.written_names());
        let first = sections.answers.iter().map(|r| (1, r)).chain(sections.authority.map(|r| (2, r)));
        for (section, record) in first.chain(sections.additional.iter().map(|r| (3, r))) {
            let before = message.len();
            write_record(&mut message, record, &mut names);
            if message.len() + extra > max {
                message.truncate(before);
                truncated = section < 3;
                break;
            }
            counts[section] += 1;
        }
        if extra > 0 {
            // The root name, the type, the size that this server receives; no flags, no options.
            let size = UDP_MAX as u16;
            message.push(0);
            message.extend([kind::OPT.to_be_bytes(), size.to_be_bytes(), [0; 2], [0; 2], [0; 2]].concat());
        }
        let flags = flags | if truncated { 0x0200 } else { 0 };
        message.splice(..HEADER, header(self.id, flags, counts));
        message
    }
}

/// Rotates records of equal rank, which follow the aliases: many clients take the first address, and a cut answer has the first ones.
pub fn rotate(records: &mut [Record], by: usize) {
    let aliases = records.iter().take_while(|record| record.data.kind() == kind::CNAME).count();
    let equal = &mut records[aliases..];
    if !equal.is_empty() && equal.iter().all(|record| record.data.kind() != kind::CNAME) {
        equal.rotate_left(by % equal.len());
    }
}

/// Reads code and records of addresses and aliases of an answer to this machine's own question; `None` if it is another's.
pub fn read_answer(query: &Query, message: &[u8]) -> Option<(u16, Vec<Record>)> {
    let flags = u16_at(message, 2)?;
    if u16_at(message, 0)? != query.id || flags & 0x8000 == 0 || u16_at(message, 4)? != 1 {
        return None;
    }
    let (name, end) = name_at(message, HEADER)?;
    if name != query.name || u16_at(message, end)? != query.kind {
        return None;
    }
    let (mut at, mut records) = (end + 4, Vec::new());
    let plain_name = |at: usize| name_at(message, at).filter(|(name, _)| !name.contains('\\'));
    for _ in 0..u16_at(message, 6)? {
        let (name, end) = plain_name(at)?;
        let ttl = u32::from(u16_at(message, end + 4)?) << 16 | u32::from(u16_at(message, end + 6)?);
        let length = usize::from(u16_at(message, end + 8)?);
        let start = end + 10;
        let data = message.get(start..start + length)?;
        let data = match u16_at(message, end)? {
            kind::A => <[u8; 4]>::try_from(data).ok().map(|octets| Data::A(octets.into())),
            kind::AAAA => <[u8; 16]>::try_from(data).ok().map(|octets| Data::Aaaa(octets.into())),
            kind::CNAME => Some(Data::Cname(plain_name(start)?.0)),
            _ => None,
        };
        records.extend(data.map(|data| Record { name, ttl, data }));
        at = start + length;
    }
    Some((flags & 0xf, records))
}

/// The size in the OPT record, which clients send alone after the question.
fn udp_size(message: &[u8], at: usize) -> Option<u16> {
    let alone = [6, 8].iter().all(|count| u16_at(message, *count) == Some(0)) && u16_at(message, 10)? > 0;
    let is_opt = message.get(at) == Some(&0) && u16_at(message, at + 1)? == kind::OPT;
    if alone && is_opt { u16_at(message, at + 3) } else { None }
}

fn header(id: u16, flags: u16, counts: [u16; 4]) -> Vec<u8> {
    [id, flags].into_iter().chain(counts).flat_map(u16::to_be_bytes).collect()
}

/// Offsets of the names in a message: a later one that ends as an earlier one points there.
#[derive(Default)]
struct Names(BTreeMap<String, u16>);

/// The first offset that no pointer can have.
const POINTER_END: usize = 0x4000;

/// Writes a name; with `names`, the part that is there already as a pointer.
fn write_name(message: &mut Vec<u8>, name: &str, mut names: Option<&mut Names>) {
    let mut rest = name.trim_matches('.');
    while !rest.is_empty() {
        if let Some(Names(known)) = &mut names {
            if let Some(offset) = known.get(rest) {
                message.extend((0xc000 | offset).to_be_bytes());
                return;
            }
            if message.len() < POINTER_END {
                known.insert(rest.to_owned(), message.len() as u16);
            }
        }
        let (label, parent) = rest.split_once('.').unwrap_or((rest, ""));
        // Kubernetes' labels have at most 63 bytes.
        let label = &label.as_bytes()[..label.len().min(63)];
        message.push(label.len() as u8);
        message.extend_from_slice(label);
        rest = parent.trim_start_matches('.');
    }
    message.push(0);
}

fn write_record(message: &mut Vec<u8>, record: &Record, names: &mut Names) {
    write_name(message, &record.name, Some(names));
    message.extend([record.data.kind().to_be_bytes(), INTERNET.to_be_bytes()].concat());
    message.extend(record.ttl.to_be_bytes());
    let length = message.len();
    message.extend([0, 0]);
    match &record.data {
        Data::A(address) => message.extend(address.octets()),
        Data::Aaaa(address) => message.extend(address.octets()),
        Data::Cname(name) | Data::Ptr(name) | Data::Ns(name) => write_name(message, name, Some(names)),
        Data::Txt(text) => {
            let text = &text.as_bytes()[..text.len().min(255)];
            message.push(text.len() as u8);
            message.extend_from_slice(text);
        }
        Data::Srv { weight, port, target } => {
            message.extend([[0; 2], weight.to_be_bytes(), port.to_be_bytes()].concat());
            // RFC 2782: without a pointer.
            write_name(message, target, None);
        }
        Data::Soa { zone, serial } => {
            write_name(message, &format!("ns.dns.{zone}"), Some(names));
            write_name(message, &format!("hostmaster.{zone}"), Some(names));
            // Serial, refresh, retry, expiry, and how long a missing name may be remembered.
            message.extend([*serial, 7200, 1800, 86400, 5].into_iter().flat_map(u32::to_be_bytes));
        }
    }
    let written = message.len() - length - 2;
    message.splice(length..length + 2, (written as u16).to_be_bytes());
}
