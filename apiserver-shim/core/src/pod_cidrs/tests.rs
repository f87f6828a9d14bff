//! Tests of the Pod CIDR allocator, with a property test against all pairs of ranges.

use std::time::Duration;

use kernel_model::time::Time;
use proptest::prelude::*;

use super::*;

fn cidr(text: &str) -> Cidr {
    text.parse().unwrap()
}

fn cidrs(cluster: &str, node_bits: u8) -> PodCidrs {
    PodCidrs::new(ClusterCidr::new(cidr(cluster), node_bits).unwrap())
}

fn assigned(cidrs: &mut PodCidrs, node: &str) -> String {
    cidrs.assign(node, None).map_or_else(|error| error.to_string(), |cidr| cidr.to_string())
}

#[test]
fn a_cidr_is_parsed_and_printed() {
    assert_eq!(cidr("10.244.1.7/24").to_string(), "10.244.1.0/24");
    assert_eq!(cidr("0.0.0.0/0").to_string(), "0.0.0.0/0");
    assert_eq!(cidr("1.2.3.4/32").to_string(), "1.2.3.4/32");
    for invalid in ["", "10.0.0.0", "10.0.0.0/33", "10.0.0/8", "::/8", "10.0.0.0/-1"] {
        assert!(invalid.parse::<Cidr>().is_err(), "{invalid}");
    }
    for (cluster, bits) in [("10.244.0.0/16", 15), ("10.0.0.0/8", 30), ("0.0.0.0/0", 4)] {
        assert!(ClusterCidr::new(cidr(cluster), bits).is_err(), "{cluster} {bits}");
    }
}

#[test]
fn the_lowest_free_block_is_assigned_and_kept() {
    let mut cidrs = cidrs("10.244.0.0/16", 24);
    assert_eq!(assigned(&mut cidrs, "a"), "10.244.0.0/24");
    assert_eq!(assigned(&mut cidrs, "b"), "10.244.1.0/24");
    assert_eq!(assigned(&mut cidrs, "a"), "10.244.0.0/24");
    cidrs.release("a");
    assert_eq!(assigned(&mut cidrs, "c"), "10.244.0.0/24");
    assert_eq!(cidrs.release("nobody"), None);
}

#[test]
fn an_exhausted_cluster_cidr_is_an_error_until_a_range_is_released() {
    let mut cidrs = cidrs("192.168.0.0/23", 24);
    assert_eq!(assigned(&mut cidrs, "a"), "192.168.0.0/24");
    assert_eq!(assigned(&mut cidrs, "b"), "192.168.1.0/24");
    let none = "no CIDR is available in the cluster CIDR 192.168.0.0/23 with node mask size 24";
    assert_eq!(assigned(&mut cidrs, "c"), none);
    cidrs.release("b");
    assert_eq!(assigned(&mut cidrs, "c"), "192.168.1.0/24");
}

#[test]
fn a_requested_range_must_not_overlap_another() {
    let mut cidrs = cidrs("10.244.0.0/16", 24);
    assert_eq!(cidrs.assign("a", Some(cidr("10.244.0.0/22"))), Ok(cidr("10.244.0.0/22")));
    assert_eq!(assigned(&mut cidrs, "b"), "10.244.4.0/24");
    let refused = cidrs.assign("c", Some(cidr("10.244.3.128/25"))).unwrap_err();
    assert_eq!(refused.to_string(), "the Pod CIDR 10.244.3.128/25 overlaps 10.244.0.0/22 of node a");
    assert!(cidrs.assign("c", Some(cidr("10.0.0.0/8"))).is_err());
    assert_eq!(cidrs.assign("c", Some(cidr("10.0.0.0/30"))), Err(AssignError::Size(cidr("10.0.0.0/30"))));
    assert_eq!(cidrs.get("c"), None);
    // A Node may move its own range, also to one that overlaps the old one.
    assert_eq!(cidrs.assign("a", Some(cidr("10.244.0.0/23"))), Ok(cidr("10.244.0.0/23")));
    assert_eq!(assigned(&mut cidrs, "d"), "10.244.2.0/24");
}

#[test]
fn more_nodes_than_fit_into_one_octet_get_ranges() {
    let mut cidrs = cidrs("10.0.0.0/8", 24);
    for number in 0..60_000u32 {
        let expected = format!("10.{}.{}.0/24", number >> 8, number & 255);
        assert_eq!(assigned(&mut cidrs, &number.to_string()), expected);
    }
}

#[test]
fn the_whole_address_space_can_be_the_cluster_cidr() {
    let mut cidrs = cidrs("255.0.0.0/8", 9);
    assert_eq!(assigned(&mut cidrs, "a"), "255.0.0.0/9");
    assert_eq!(assigned(&mut cidrs, "b"), "255.128.0.0/9");
    assert!(assigned(&mut cidrs, "c").starts_with("no CIDR is available"));
}

/// A step: assign to a Node with or without a request, or release.
fn step() -> impl Strategy<Value = (u8, Option<Option<(u32, u8)>>)> {
    let request = proptest::option::of((0u32..1 << 13, 20u8..30));
    (0u8..12, proptest::option::weighted(0.7, request))
}

proptest! {
    #[test]
    fn ranges_never_overlap_and_exhaustion_is_real(steps in proptest::collection::vec(step(), 1..80)) {
        let mut cidrs = cidrs("10.0.0.0/21", 24);
        let mut model: BTreeMap<String, Cidr> = BTreeMap::new();
        for (node, action) in steps {
            let node = node.to_string();
            match action {
                None => prop_assert_eq!(cidrs.release(&node), model.remove(&node)),
                Some(request) => {
                    let requested = request.and_then(|(at, bits)| Cidr::new(Ipv4Addr::from((10 << 24) + at), bits));
                    match cidrs.assign(&node, requested) {
                        Ok(cidr) => drop(model.insert(node.clone(), cidr)),
                        Err(AssignError::Exhausted(cluster)) => {
                            let blocks = (0..).map_while(|n| cluster.block(n)).collect::<Vec<_>>();
                            prop_assert!(blocks.iter().all(|b| model.values().any(|c| c.overlaps(*b))));
                        }
                        Err(AssignError::Overlaps { requested, assigned, node: other }) => {
                            prop_assert_eq!(model.get(&*other), Some(&assigned));
                            prop_assert!(assigned.overlaps(requested));
                        }
                        Err(AssignError::Size(cidr)) => prop_assert!(!NODE_BITS.contains(&cidr.bits())),
                    }
                }
            }
            for (a, of_a) in &model {
                prop_assert_eq!(cidrs.get(a), Some(*of_a));
                prop_assert!(model.iter().all(|(b, of_b)| a == b || !of_a.overlaps(*of_b)));
            }
        }
    }
}

#[test]
fn a_range_is_unused_after_a_time_without_a_node() {
    let at = |minutes: u64| Time(0) + Duration::from_secs(60 * minutes);
    let mut unused = UnusedCidrs::default();
    let mut observe = |minutes, assigned: &[(&str, u64)], nodes: &[&str]| -> String {
        let due = unused.observe(at(minutes), assigned.iter().copied(), |node| nodes.contains(&node));
        due.into_iter().map(|(node, revision)| format!("{node}@{revision} ")).collect()
    };
    let all = [("a", 1), ("b", 2), ("c", 3)];
    assert_eq!(observe(0, &all, &["a"]), "");
    assert_eq!(observe(14, &all, &["a"]), "");
    // The agent of `c` has requested its range again.
    let renewed = [("a", 1), ("b", 2), ("c", 4)];
    assert_eq!(observe(15, &renewed, &["a"]), "b@2 ");
    // The Node of `b` appears late and is removed again.
    assert_eq!(observe(16, &renewed, &["a", "b"]), "");
    assert_eq!(observe(29, &renewed, &["a"]), "");
    assert_eq!(observe(30, &renewed, &["a"]), "c@4 ");
    assert_eq!(observe(44, &renewed[..2], &["a"]), "b@2 ");
}
