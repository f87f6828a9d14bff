//! The Service CIDR: the range of cluster IPs. The server allocates from it, its certificate has the address of the Service
//! `kubernetes`, and nodes treat the range as virtual.

use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

use crate::pod_cidrs::Cidr;

/// The Service CIDR that the server has by default.
pub const DEFAULT_SERVICE_CIDR: &str = "10.96.0.0/12";
/// The shortest and the longest prefix: upstream asks for at least eight addresses.
const BITS: std::ops::RangeInclusive<u8> = 8..=29;

/// The range of cluster IPs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServiceCidr(Cidr);

/// The text is not a Service CIDR.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not an IPv4 CIDR between /8 and /29, for example {DEFAULT_SERVICE_CIDR}")]
pub struct InvalidServiceCidr(String);

impl ServiceCidr {
    /// A range of a ServiceCIDR object. It may have any size; one of two addresses or fewer has none to allocate.
    pub fn of_any_size(first: Ipv4Addr, bits: u8) -> Option<Self> {
        (1..=30).contains(&bits).then(|| Cidr::new(first, bits).map(Self)).flatten()
    }

    /// The range itself.
    pub fn cidr(self) -> Cidr {
        self.0
    }

    /// The number of addresses, network and broadcast address included.
    fn size(self) -> u32 {
        1 << (32 - self.0.bits())
    }

    fn address(self, offset: u32) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(self.0.first()) + offset)
    }

    /// The address of the Service `kubernetes`: the first one.
    pub fn api_server(self) -> Ipv4Addr {
        self.address(1)
    }

    /// Whether a Service may have the address. The first and the last one of the range are nobody's.
    pub fn contains(self, address: Ipv4Addr) -> bool {
        let offset = u32::from(address).checked_sub(u32::from(self.0.first()));
        offset.is_some_and(|offset| (1..self.size() - 1).contains(&offset))
    }

    /// Whether the address is in the range, allocated or not.
    pub fn has(self, address: Ipv4Addr) -> bool {
        let offset = u32::from(address).checked_sub(u32::from(self.0.first()));
        offset.is_some_and(|offset| offset < self.size())
    }

    /// The addresses in the order in which they are tried: those above the static band from a random start, then those of
    /// the band, which is left to Services that name their address as long as possible. The band has a sixteenth of the
    /// range, at least 16 and at most 256 addresses, as upstream; a range without room for it has none.
    pub fn candidates(self, random: u32) -> impl Iterator<Item = Ipv4Addr> {
        let last = self.size() - 1;
        let band = (self.size() / 16).clamp(16, 256);
        let first = if band < last { band } else { 1 };
        let span = last - first;
        let dynamic = (0..span).map(move |step| first + (random % span + step) % span);
        dynamic.chain(1..first).map(move |offset| self.address(offset))
    }
}

impl Default for ServiceCidr {
    fn default() -> Self {
        DEFAULT_SERVICE_CIDR.parse().expect("invariant: the default is valid; a test parses it")
    }
}

impl fmt::Display for ServiceCidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for ServiceCidr {
    type Err = InvalidServiceCidr;

    fn from_str(text: &str) -> Result<Self, InvalidServiceCidr> {
        let valid = text.parse::<Cidr>().ok().filter(|cidr| BITS.contains(&cidr.bits()));
        valid.map(Self).ok_or_else(|| InvalidServiceCidr(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn cidr(text: &str) -> ServiceCidr {
        text.parse().unwrap()
    }

    #[test]
    fn the_default_is_valid_and_others_are_checked() {
        assert_eq!(ServiceCidr::default().to_string(), "10.96.0.0/12");
        assert_eq!(ServiceCidr::default().api_server(), Ipv4Addr::new(10, 96, 0, 1));
        assert_eq!(cidr("10.3.7.9/16").to_string(), "10.3.0.0/16");
        for wrong in ["", "10.96.0.0", "10.96.0.0/30", "10.0.0.0/7", "fd00::/108", "10.96.0.0/33", "x/12"] {
            assert!(wrong.parse::<ServiceCidr>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn network_and_broadcast_addresses_are_not_allocated() {
        let range = cidr("10.96.0.0/29");
        let inside: Vec<u8> = (0..=8u8).filter(|n| range.contains(Ipv4Addr::new(10, 96, 0, *n))).collect();
        assert_eq!(inside, [1, 2, 3, 4, 5, 6]);
        assert!(!range.contains(Ipv4Addr::new(9, 96, 0, 1)) && !range.contains(Ipv4Addr::new(10, 96, 1, 1)));
        assert!(cidr("255.255.255.0/24").contains(Ipv4Addr::new(255, 255, 255, 254)));
    }

    #[test]
    fn every_address_is_tried_once_and_the_static_band_last() {
        for (text, band) in
            [("10.0.0.0/29", 1), ("10.0.0.0/28", 1), ("10.0.0.0/27", 16), ("10.0.0.0/20", 256)]
        {
            let range = cidr(text);
            for random in [0, 5, u32::MAX] {
                let tried: Vec<Ipv4Addr> = range.candidates(random).collect();
                let distinct: BTreeSet<&Ipv4Addr> = tried.iter().collect();
                assert_eq!(
                    (tried.len(), distinct.len()),
                    (range.size() as usize - 2, range.size() as usize - 2)
                );
                assert!(tried.iter().all(|address| range.contains(*address)));
                assert!(tried[0] >= range.address(band), "{text}: {}", tried[0]);
            }
        }
    }
}
