//! Assignment of Pod CIDRs by servers that share one store.

use std::collections::BTreeSet;

use kernel_model::time::Time;
use shim_core::pod_cidrs::{UNUSED_AFTER, UnusedCidrs};
use store::MemoryStore;

use super::*;
use crate::storage::registry::Registry;

fn server(store: &Arc<dyn Store>, cluster: &str) -> PodCidrs {
    PodCidrs::new(store.clone(), ClusterCidr::new(cluster.parse().unwrap(), 24).unwrap())
}

fn memory() -> Arc<dyn Store> {
    Arc::new(MemoryStore::new())
}

async fn assign(cidrs: &PodCidrs, node: &str) -> String {
    cidrs.assign(node, None).await.map_or_else(|error| error.to_string(), |cidr| cidr.to_string())
}

#[tokio::test]
async fn a_range_is_kept_over_restarts_and_freed_by_release() {
    let store = memory();
    let first = server(&store, "10.244.0.0/16");
    assert_eq!(assign(&first, "a").await, "10.244.0.0/24");
    assert_eq!(assign(&first, "b").await, "10.244.1.0/24");
    let second = server(&store, "10.244.0.0/16");
    assert_eq!(assign(&second, "b").await, "10.244.1.0/24");
    assert!(second.release("a").await.unwrap());
    assert!(!second.release("a").await.unwrap());
    // The first server has not seen the release: its transaction fails, and it reads the table again.
    assert_eq!(assign(&first, "c").await, "10.244.0.0/24");
}

#[tokio::test]
async fn a_requested_range_that_overlaps_is_refused() {
    let store = memory();
    let cidrs = server(&store, "10.244.0.0/16");
    assert_eq!(assign(&cidrs, "a").await, "10.244.0.0/24");
    let refused = cidrs.assign("b", Some("10.244.0.0/24".parse().unwrap())).await.unwrap_err();
    assert_eq!(refused.to_string(), "the Pod CIDR 10.244.0.0/24 overlaps 10.244.0.0/24 of node a");
    // An agent may change its own range.
    let moved = cidrs.assign("a", Some("192.168.0.0/24".parse().unwrap())).await.unwrap();
    assert_eq!(moved.to_string(), "192.168.0.0/24");
    assert_eq!(assign(&cidrs, "b").await, "10.244.0.0/24");
    assert_eq!(assign(&server(&store, "10.244.0.0/16"), "a").await, "192.168.0.0/24");
}

#[tokio::test]
async fn concurrent_servers_never_assign_a_range_twice() {
    let store = memory();
    let servers = [server(&store, "10.0.0.0/12"), server(&store, "10.0.0.0/12")];
    let mut requests = tokio::task::JoinSet::new();
    for number in 0..600 {
        let cidrs = servers[number % 2].clone();
        requests.spawn(async move { cidrs.assign(&format!("node-{number}"), None).await.unwrap() });
    }
    let assigned: BTreeSet<Cidr> = requests.join_all().await.into_iter().collect();
    assert_eq!(assigned.len(), 600);
}

#[tokio::test]
async fn an_exhausted_cluster_cidr_is_distinguished_from_a_failing_store() {
    let store = memory();
    let cidrs = server(&store, "10.244.0.0/24");
    assert_eq!(assign(&cidrs, "a").await, "10.244.0.0/24");
    let error = cidrs.assign("b", None).await.unwrap_err();
    assert!(matches!(error, PodCidrError::Refused(AssignError::Exhausted(_))), "{error}");
}

#[tokio::test]
async fn a_range_whose_agent_never_registers_is_freed() {
    let store = memory();
    let (first, second) = (server(&store, "10.244.0.0/16"), server(&store, "10.244.0.0/16"));
    for node in ["registered", "renewed", "lost"] {
        assign(&first, node).await;
    }
    let node = r#"{"apiVersion":"v1","kind":"Node","metadata":{"name":"registered"}}"#;
    store.put(Key::from("/registry/core/nodes/registered"), node.into()).await.unwrap();
    let registry = Registry::open(store.clone()).await.unwrap();
    let mut unused = UnusedCidrs::default();
    let begin = Time(0);
    sweep::sweep(&first, &registry, &mut unused, begin).await.unwrap();
    // An agent that restarts asks another server.
    assert_eq!(assign(&second, "renewed").await, "10.244.1.0/24");
    sweep::sweep(&first, &registry, &mut unused, begin + UNUSED_AFTER).await.unwrap();
    let left = async || -> Vec<String> {
        first.assigned().await.unwrap().into_iter().map(|(node, _)| node.into()).collect()
    };
    assert_eq!(left().await, ["registered", "renewed"]);
    assert_eq!(assign(&second, "new").await, "10.244.2.0/24");
}

#[tokio::test]
async fn a_range_that_is_requested_again_is_not_freed_as_unused() {
    let store = memory();
    let (first, second) = (server(&store, "10.244.0.0/16"), server(&store, "10.244.0.0/16"));
    assign(&first, "a").await;
    let seen = first.assigned().await.unwrap()[0].1;
    assign(&second, "a").await;
    // The first server has not seen the request: its transaction would fail, and it reads the table again.
    assert!(!first.release_unused("a", seen).await.unwrap());
    let seen = second.assigned().await.unwrap()[0].1;
    assert!(first.release_unused("a", seen).await.unwrap());
    assert!(!first.release_unused("a", seen).await.unwrap());
    assert!(first.assigned().await.unwrap().is_empty());
}
