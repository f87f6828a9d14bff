//! Addresses and networks.

use std::fmt;
use std::net::IpAddr;

use super::{Found, address, opaque};
use crate::cel::eval::{EvalError, text};
use crate::cel::value::{Opaque, Val};
use shim_model::go_quote::go_quote;

/// An address.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ip(pub IpAddr);

/// A network.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cidr {
    address: IpAddr,
    bits: u8,
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.bits)
    }
}

impl Cidr {
    fn parse(text: &str) -> Result<Cidr, String> {
        let (address, bits) = address::parse_prefix(text)
            .map_err(|why| format!("network address parse error during conversion from string: {why}"))?;
        if is_mapped(&address) {
            return Err(mapped(text));
        }
        Ok(Cidr { address, bits })
    }

    fn masked(self) -> Cidr {
        let address = match self.address {
            IpAddr::V4(ip) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(self.bits)).unwrap_or(0);
                IpAddr::V4((u32::from(ip) & mask).into())
            }
            IpAddr::V6(ip) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(self.bits)).unwrap_or(0);
                IpAddr::V6((u128::from(ip) & mask).into())
            }
        };
        Cidr { address, ..self }
    }

    fn contains(self, other: Cidr) -> bool {
        self.address.is_ipv4() == other.address.is_ipv4()
            && self.bits <= other.bits
            && Cidr { bits: self.bits, ..other }.masked().address == self.masked().address
    }

    fn of(ip: IpAddr) -> Cidr {
        Cidr { address: ip, bits: if ip.is_ipv4() { 32 } else { 128 } }
    }
}

fn is_mapped(ip: &IpAddr) -> bool {
    matches!(ip, IpAddr::V6(ip) if ip.to_ipv4_mapped().is_some())
}

fn mapped(text: &str) -> String {
    format!("IPv4-mapped IPv6 address {} is not allowed", go_quote(text))
}

fn parse_ip(text: &str) -> Result<IpAddr, EvalError> {
    let quoted = go_quote(text);
    let address::Address { ip, has_zone } = address::parse(text).map_err(|why| {
        EvalError::new(format!("IP Address {quoted} parse error during conversion from string: {why}"))
    })?;
    if has_zone {
        return Err(EvalError::new(format!("IP address {quoted} with zone value is not allowed")));
    }
    if is_mapped(&ip) { Err(EvalError::new(mapped(text))) } else { Ok(ip) }
}

fn parse_cidr(text: &str) -> Result<Cidr, EvalError> {
    let why =
        |why| EvalError::new(format!("network address parse error during conversion from string: {why}"));
    Cidr::parse(text).map_err(why)
}

pub(super) fn call<'v>(function: &str, all: &[Val<'v>]) -> Found<'v> {
    let value = match (function, all) {
        ("ip", [Val::Opaque(Opaque::Cidr(cidr))]) => return opaque(Opaque::Ip(Ip(cidr.address))),
        ("ip", [x]) => return opaque(Opaque::Ip(Ip(parse_ip(text(x)?)?))),
        ("isIP", [x]) => Val::Bool(parse_ip(text(x)?).is_ok()),
        ("ip.isCanonical", [x]) => {
            let written = text(x)?;
            Val::Bool(parse_ip(written)?.to_string() == written)
        }
        ("cidr", [x]) => return opaque(Opaque::Cidr(parse_cidr(text(x)?)?)),
        ("isCIDR", [x]) => Val::Bool(Cidr::parse(text(x)?).is_ok()),
        (_, [Val::Opaque(Opaque::Ip(ip))]) => match of_ip(function, ip.0) {
            Some(value) => value,
            None => return Ok(None),
        },
        ("containsIP", [Val::Opaque(Opaque::Cidr(cidr)), x]) => {
            let ip = match x {
                Val::Opaque(Opaque::Ip(ip)) => ip.0,
                // Upstream does not tell why the address is none.
                x => parse_ip(text(x)?).map_err(|_| EvalError::overload())?,
            };
            Val::Bool(cidr.contains(Cidr::of(ip)))
        }
        ("containsCIDR", [Val::Opaque(Opaque::Cidr(cidr)), x]) => {
            let other = match x {
                Val::Opaque(Opaque::Cidr(other)) => *other,
                x => parse_cidr(text(x)?)?,
            };
            Val::Bool(cidr.contains(other))
        }
        ("masked", [Val::Opaque(Opaque::Cidr(cidr))]) => return opaque(Opaque::Cidr(cidr.masked())),
        ("prefixLength", [Val::Opaque(Opaque::Cidr(cidr))]) => Val::Int(i64::from(cidr.bits)),
        _ => return Ok(None),
    };
    Ok(Some(value))
}

fn of_ip<'v>(function: &str, ip: IpAddr) -> Option<Val<'v>> {
    let unicast_local = match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    };
    Some(match function {
        "family" => Val::Int(if ip.is_ipv4() { 4 } else { 6 }),
        "isUnspecified" => Val::Bool(ip.is_unspecified()),
        "isLoopback" => Val::Bool(ip.is_loopback()),
        "isLinkLocalUnicast" => Val::Bool(unicast_local),
        "isLinkLocalMulticast" => Val::Bool(match ip {
            IpAddr::V4(ip) => ip.octets()[..3] == [224, 0, 0],
            IpAddr::V6(ip) => ip.segments()[0] & 0xff0f == 0xff02,
        }),
        "isGlobalUnicast" => {
            let broadcast = matches!(ip, IpAddr::V4(ip) if ip.is_broadcast());
            let special = ip.is_unspecified() || ip.is_loopback() || ip.is_multicast() || unicast_local;
            Val::Bool(!special && !broadcast)
        }
        _ => return None,
    })
}
