//! Ranges of cluster IPs: that of the cluster's configuration, and those of ServiceCIDRs.

use std::net::Ipv4Addr;

use k8s_openapi::api::networking::v1::ServiceCIDR;

/// The ranges of a ServiceCIDR. As by kube-proxy, they count whatever their conditions are, until it is deleted.
pub fn of_service_cidr(object: &ServiceCIDR) -> Option<Vec<String>> {
    object.spec.as_ref()?.cidrs.clone()
}

/// The IPv4 ranges among these, each once, without those that are within another one: a set of the packet filter takes no two that
/// overlap.
pub fn merged<'a>(ranges: impl IntoIterator<Item = &'a String>) -> Vec<String> {
    let mut parsed: Vec<(u8, u32)> = ranges.into_iter().filter_map(|range| parse(range)).collect();
    // The wider ones first.
    parsed.sort_unstable();
    let mut kept: Vec<(u8, u32)> = Vec::new();
    for (bits, network) in parsed {
        if !kept.iter().any(|(wider, of)| masked(network, *wider) == *of) {
            kept.push((bits, network));
        }
    }
    kept.sort_unstable_by_key(|(_, network)| *network);
    kept.into_iter().map(|(bits, network)| format!("{}/{bits}", Ipv4Addr::from(network))).collect()
}

fn parse(range: &str) -> Option<(u8, u32)> {
    let (address, bits) = range.split_once('/')?;
    let bits = bits.parse().ok().filter(|bits| *bits <= 32)?;
    Some((bits, masked(address.parse::<Ipv4Addr>().ok()?.to_bits(), bits)))
}

fn masked(address: u32, bits: u8) -> u32 {
    address & u32::MAX.checked_shl(32 - u32::from(bits)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    //! Ranges that a set of the packet filter takes.

    use proptest::prelude::*;

    use super::*;

    fn merge(ranges: &[&str]) -> Vec<String> {
        let ranges: Vec<String> = ranges.iter().map(|range| (*range).to_owned()).collect();
        merged(&ranges)
    }

    #[test]
    fn ranges_within_others_are_left_out() {
        assert_eq!(merge(&["10.96.0.0/12", "10.100.0.0/16", "10.96.0.0/12"]), ["10.96.0.0/12"]);
        assert_eq!(
            merge(&["192.0.2.128/25", "fd00::/108", "10.96.0.0/12"]),
            ["10.96.0.0/12", "192.0.2.128/25"]
        );
        assert_eq!(merge(&["10.0.0.1/33", "10.0.0.0", "x/8"]), [""; 0]);
        assert_eq!(merge(&["10.1.2.3/32", "0.0.0.0/0"]), ["0.0.0.0/0"]);
    }

    proptest! {
        #[test]
        fn what_was_in_a_range_is_in_exactly_one(
            given in proptest::collection::vec((any::<u32>(), 0u8..=32), 0..8), address: u32,
        ) {
            let within = |range: &String| {
                let (bits, network) = parse(range).expect("a range");
                masked(address, bits) == network
            };
            let ranges: Vec<String> =
                given.iter().map(|(network, bits)| format!("{}/{bits}", Ipv4Addr::from(*network))).collect();
            let merged = merged(&ranges);
            let before = ranges.iter().any(within);
            prop_assert_eq!(merged.iter().filter(|range| within(range)).count(), usize::from(before));
        }
    }
}
