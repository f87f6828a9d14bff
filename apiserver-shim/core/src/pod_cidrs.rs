//! Allocates Pod CIDRs: each Node gets one range of the cluster CIDR, or the range that its agent asks for. Pure: the
//! server (`apiserver-shim`) records every assignment in the store and rebuilds this table from there.
//!
//! Ranges never overlap. Without a request the lowest free block is assigned.

mod unused;

pub use unused::{UNUSED_AFTER, UnusedCidrs};

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

/// The shortest and the longest prefix of a Node's range: a /29 has room for the bridge and five Pods.
pub const NODE_BITS: std::ops::RangeInclusive<u8> = 8..=29;

/// An IPv4 range, as `10.244.1.0/24`. Host bits are zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cidr {
    first: u32,
    bits: u8,
}

impl Cidr {
    /// The range of `address` with a prefix of `bits` (at most 32).
    pub fn new(address: Ipv4Addr, bits: u8) -> Option<Self> {
        let host_bits = 32u32.checked_sub(bits.into())?;
        let mask = u32::MAX.checked_shl(host_bits).unwrap_or(0);
        Some(Self { first: u32::from(address) & mask, bits })
    }

    /// Length of the prefix.
    pub fn bits(self) -> u8 {
        self.bits
    }

    /// The first address.
    pub fn first(self) -> Ipv4Addr {
        Ipv4Addr::from(self.first)
    }

    fn last(self) -> u32 {
        self.first | u32::MAX.checked_shr(self.bits.into()).unwrap_or(0)
    }

    /// Whether the ranges share an address.
    pub fn overlaps(self, other: Cidr) -> bool {
        self.first <= other.last() && other.first <= self.last()
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", Ipv4Addr::from(self.first), self.bits)
    }
}

/// The text is not an IPv4 CIDR.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not an IPv4 CIDR, for example 10.244.0.0/16")]
pub struct InvalidCidr(pub String);

impl FromStr for Cidr {
    type Err = InvalidCidr;

    fn from_str(text: &str) -> Result<Self, InvalidCidr> {
        let parse = || {
            let (address, bits) = text.split_once('/')?;
            Cidr::new(address.parse().ok()?, bits.parse().ok()?)
        };
        parse().ok_or_else(|| InvalidCidr(text.to_owned()))
    }
}

/// The range from which Nodes get theirs, and how large those are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClusterCidr {
    cidr: Cidr,
    node_bits: u8,
}

/// The cluster CIDR and the node mask do not fit.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the node mask size {node_bits} must be between that of the cluster CIDR {cidr} (at least /8) and 29"
)]
pub struct InvalidClusterCidr {
    cidr: Cidr,
    node_bits: u8,
}

impl ClusterCidr {
    /// A cluster CIDR whose Nodes get ranges with a prefix of `node_bits`.
    pub fn new(cidr: Cidr, node_bits: u8) -> Result<Self, InvalidClusterCidr> {
        match NODE_BITS.contains(&node_bits) && node_bits >= cidr.bits {
            true => Ok(Self { cidr, node_bits }),
            false => Err(InvalidClusterCidr { cidr, node_bits }),
        }
    }

    /// The block with this number; `None` behind the last one.
    fn block(self, number: u32) -> Option<Cidr> {
        let blocks = 1u32 << (self.node_bits - self.cidr.bits);
        let first =
            self.cidr.first + number.checked_mul(1 << (32 - self.node_bits)).filter(|_| number < blocks)?;
        Some(Cidr { first, bits: self.node_bits })
    }

    /// The number of the block that holds an address of the cluster CIDR.
    fn block_of(self, address: u32) -> Option<u32> {
        let inside = (self.cidr.first..=self.cidr.last()).contains(&address);
        inside.then(|| (address - self.cidr.first) >> (32 - self.node_bits))
    }
}

impl fmt::Display for ClusterCidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} with node mask size {}", self.cidr, self.node_bits)
    }
}

/// Why a Node gets no range.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AssignError {
    /// Every block of the cluster CIDR is in use.
    #[error("no CIDR is available in the cluster CIDR {0}")]
    Exhausted(ClusterCidr),
    /// The requested range overlaps another Node's.
    #[error("the Pod CIDR {requested} overlaps {assigned} of node {node}")]
    #[allow(missing_docs)]
    Overlaps { requested: Cidr, assigned: Cidr, node: Box<str> },
    /// The requested range is too large or too small for a Node.
    #[error("the Pod CIDR {0} must have a prefix between /8 and /29")]
    Size(Cidr),
}

/// Which Node has which range.
#[derive(Clone, Debug)]
pub struct PodCidrs {
    cluster: ClusterCidr,
    of_node: HashMap<Box<str>, Cidr>,
    /// By first address; ranges never overlap.
    ranges: BTreeMap<u32, (Cidr, Box<str>)>,
    /// No block with a lower number is free.
    lowest: u32,
}

impl PodCidrs {
    /// No range is assigned.
    pub fn new(cluster: ClusterCidr) -> Self {
        Self { cluster, of_node: HashMap::new(), ranges: BTreeMap::new(), lowest: 0 }
    }

    /// The range of a Node.
    pub fn get(&self, node: &str) -> Option<Cidr> {
        self.of_node.get(node).copied()
    }

    /// Assigns a range to a Node: the requested one, else the one that it has, else the lowest free block.
    pub fn assign(&mut self, node: &str, requested: Option<Cidr>) -> Result<Cidr, AssignError> {
        let current = self.get(node);
        let cidr = match (requested, current) {
            (None, Some(current)) => return Ok(current),
            (Some(requested), current) if current == Some(requested) => return Ok(requested),
            (Some(requested), _) => {
                if !NODE_BITS.contains(&requested.bits) {
                    return Err(AssignError::Size(requested));
                }
                if let Some((assigned, other)) = self.overlapping(requested, node) {
                    return Err(AssignError::Overlaps { requested, assigned, node: other.into() });
                }
                requested
            }
            (None, None) => self.lowest_free().ok_or(AssignError::Exhausted(self.cluster))?,
        };
        self.release(node);
        self.of_node.insert(node.into(), cidr);
        self.ranges.insert(cidr.first, (cidr, node.into()));
        Ok(cidr)
    }

    /// Frees the range of a Node, and returns it.
    pub fn release(&mut self, node: &str) -> Option<Cidr> {
        let cidr = self.of_node.remove(node)?;
        self.ranges.remove(&cidr.first);
        if let Some(number) = self.cluster.block_of(cidr.first) {
            self.lowest = self.lowest.min(number);
        } else if cidr.overlaps(self.cluster.cidr) {
            self.lowest = 0;
        }
        Some(cidr)
    }

    /// A range of another Node that overlaps `cidr`.
    fn overlapping(&self, cidr: Cidr, node: &str) -> Option<(Cidr, &str)> {
        // Ranges do not overlap each other: those that overlap `cidr` are the last ones that begin before its end.
        let before_end = self.ranges.range(..=cidr.last()).rev();
        let overlapping = before_end.map(|(_, (range, owner))| (*range, &**owner));
        overlapping.take_while(|(range, _)| range.overlaps(cidr)).find(|(_, owner)| *owner != node)
    }

    fn lowest_free(&mut self) -> Option<Cidr> {
        loop {
            let block = self.cluster.block(self.lowest)?;
            let Some((taken, _)) = self.overlapping(block, "") else { return Some(block) };
            // A larger range takes several blocks.
            let behind = taken.last().checked_add(1)?;
            self.lowest = self.cluster.block_of(behind.max(block.last().checked_add(1)?))?;
        }
    }
}

#[cfg(test)]
mod tests;
