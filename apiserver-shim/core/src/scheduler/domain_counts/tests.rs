//! Counts, and their change log.

use serde_json::json;

use super::*;
use crate::scheduler::testing::{Cluster, GIB, name, node, pod_with, shape};

fn query() -> DomainQuery {
    DomainQuery {
        topology_key: "zone".into(),
        namespaces: vec!["ns".into()],
        selector: LabelSelector::decode(Some(&json!({"matchLabels": {"app": "a"}}))),
    }
}

/// For each node: whether it is in a domain, the domain's count, and the lowest count.
fn counts(cluster: &mut Cluster) -> Vec<(bool, u32, u32)> {
    let NodeInfosParts { all, domains } = parts(cluster);
    let table = domains.table(&query(), all, &[]);
    let count = |at| domains.count(table, domains.domain_of(table, at));
    (0..all.len()).map(count).map(|count| (count.in_domain, count.pods, count.fewest)).collect()
}

struct NodeInfosParts<'a> {
    all: &'a [NodeInfo],
    domains: &'a mut DomainCounts,
}

fn parts(cluster: &mut Cluster) -> NodeInfosParts<'_> {
    NodeInfosParts { all: &cluster.nodes.all, domains: &mut cluster.nodes.domains }
}

#[test]
fn counts_follow_pods_and_nodes() {
    let mut cluster = Cluster::default();
    for (n, zone) in ["x", "x", "y"].into_iter().enumerate() {
        cluster.add_node(n, 1000, GIB, json!({"zone": zone}));
    }
    cluster.add_node(3, 1000, GIB, json!({}));
    let labelled =
        |n: usize, app: &str| pod_with(n, &shape(1, 0), json!({"labels": {"app": app}}), json!({}));
    assert_eq!(counts(&mut cluster), [(true, 0, 0), (true, 0, 0), (true, 0, 0), (false, 0, 0)]);
    let table = parts(&mut cluster).domains.table(&query(), &[], &[]);
    let (seen, aggregate) = cluster.nodes.domains.end(table);
    cluster.add_pod(0, &labelled(0, "a"));
    cluster.add_pod(1, &labelled(1, "b"));
    let changed: Vec<DomainId> = cluster.nodes.domains.since(table, seen).unwrap().collect();
    assert_eq!(changed, [0], "one domain has changed");
    assert_eq!(cluster.nodes.domains.end(table).1, aggregate + 1, "some domain has a Pod now");
    cluster.add_pod(2, &labelled(2, "a"));
    assert_eq!(counts(&mut cluster), [(true, 1, 1), (true, 1, 1), (true, 1, 1), (false, 0, 1)]);
    // Change the labels of a Pod and of a node.
    cluster.nodes.update_pod(&name(1), &labelled(1, "b"), &labelled(1, "a"));
    assert_eq!(counts(&mut cluster)[0], (true, 2, 1));
    cluster.nodes.put_node(node(0, json!({"zone": "z"}), json!({})), 110);
    assert_eq!(counts(&mut cluster), [(true, 1, 1), (true, 1, 1), (true, 1, 1), (false, 0, 1)]);
    // The last node of a domain moves to another: the domain disappears and does not count as the lowest.
    cluster.nodes.put_node(node(2, json!({"zone": "x"}), json!({})), 110);
    assert_eq!(counts(&mut cluster), [(true, 1, 1), (true, 2, 1), (true, 2, 1), (false, 0, 1)]);
    cluster.remove_pod(&name(0), &labelled(0, "a"));
    assert_eq!(counts(&mut cluster)[1], (true, 2, 0));
    // Node indices change, so tables are rebuilt.
    cluster.nodes.remove_node(&name(0));
    assert_eq!(counts(&mut cluster), [(true, 2, 2), (true, 2, 2), (false, 0, 2)]);
}
