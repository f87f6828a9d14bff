//! Renews the Leases in `kube-node-lease` on behalf of the nodes. The kernel knows whether an agent is reachable, and
//! the Node's conditions show it; a Lease repeats it for clients that look there.

use std::time::Duration;

use serde_json::{Value, json};
use shim_core::controllers::{condition, served};
use shim_model::access;
use shim_model::status::Status;
use shim_model::time::Instant;

use crate::pipeline::{Identity, ObjectRef, Pipeline};
use crate::storage::object::Object;
use crate::storage::registry;

const NAMESPACE: &str = "kube-node-lease";
/// How often a Lease is renewed, as by a kubelet.
const EVERY: Duration = Duration::from_secs(10);
/// Nodes per second; the Leases of more nodes are renewed less often and last longer.
const RATE: u64 = 50;
/// A Lease lasts four times the interval, as a kubelet's.
const LASTS: u64 = 4;

/// Renews until the task is aborted.
pub async fn run(pipeline: Pipeline) {
    loop {
        let nodes = pipeline.registry().cache(served("", "nodes")).list(None);
        let every = interval(nodes.len());
        let count = u32::try_from(nodes.len()).unwrap_or(u32::MAX);
        let Some(rest) = every.checked_div(count) else {
            tokio::time::sleep(Duration::from_secs(1)).await;
            continue;
        };
        for node in nodes {
            if let Err(error) = renew(&pipeline, &node, every).await {
                tracing::debug!(%error, node = node.name(), "the Lease of a node was not renewed");
            }
            tokio::time::sleep(rest).await;
        }
    }
}

/// How often each of `nodes` Leases is renewed.
fn interval(nodes: usize) -> Duration {
    EVERY.max(Duration::from_secs(nodes as u64 / RATE))
}

/// Renews the Lease of one node, if its agent is there and no other server has just renewed it.
async fn renew(pipeline: &Pipeline, node: &Object, every: Duration) -> Result<(), Status> {
    let unreachable = condition(&node.value()["status"], "Ready")
        .is_none_or(|ready| access::text(ready, &["status"]) == "Unknown");
    if unreachable {
        return Ok(());
    }
    let name = node.name();
    let leases = pipeline.registry().builtin(&served("coordination.k8s.io", "leases"));
    let target = ObjectRef::new(&leases, NAMESPACE, name);
    let identity = Identity::node(name);
    let now = registry::now();
    let Some(stored) = pipeline.registry().peek(&leases, NAMESPACE, name) else {
        let lease = lease(name, &node.header().uid, every, now);
        return match pipeline.create(&identity.context("create"), target, lease).await {
            Err(status) if status.reason != "AlreadyExists" => Err(status),
            _ => Ok(()),
        };
    };
    if is_fresh(&stored.value(), now, every) {
        return Ok(());
    }
    let context = identity.context("update");
    let renewed = pipeline.update_with(&context, target, |stored| {
        let mut renewed = stored.clone();
        let fresh = lease(name, &node.header().uid, every, now);
        renewed["spec"] = fresh["spec"].clone();
        // A node that comes back under its name is another object.
        renewed["metadata"]["ownerReferences"] = fresh["metadata"]["ownerReferences"].clone();
        Ok(renewed)
    });
    renewed.await.map(drop)
}

/// The Lease of a node.
fn lease(node: &str, uid: &str, every: Duration, now: Instant) -> Value {
    json!({
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {
            "name": node,
            "namespace": NAMESPACE,
            "ownerReferences": [{"apiVersion": "v1", "kind": "Node", "name": node, "uid": uid}],
        },
        "spec": {
            "holderIdentity": node,
            "leaseDurationSeconds": every.as_secs() * LASTS,
            "renewTime": now.to_rfc3339_micro(),
        },
    })
}

/// Whether a Lease has been renewed in the last half interval.
fn is_fresh(lease: &Value, now: Instant, every: Duration) -> bool {
    let renewed = Instant::parse(access::text(lease, &["spec", "renewTime"]));
    let half = i64::try_from(every.as_secs() / 2).unwrap_or(i64::MAX);
    renewed.is_some_and(|renewed| (0..half).contains(&now.seconds().saturating_sub(renewed.seconds())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leases_of_many_nodes_are_renewed_less_often() {
        assert_eq!(interval(1), Duration::from_secs(10));
        assert_eq!(interval(500), Duration::from_secs(10));
        assert_eq!(interval(5000), Duration::from_secs(100));
        assert_eq!(lease("n", "u", interval(1), registry::now())["spec"]["leaseDurationSeconds"], 40);
    }

    #[test]
    fn a_lease_that_another_server_renewed_is_left_alone() {
        let at = |text: &str| Instant::parse(text).unwrap();
        let lease = lease("n", "u", EVERY, at("2026-01-01T00:00:00Z"));
        assert!(is_fresh(&lease, at("2026-01-01T00:00:04Z"), EVERY));
        assert!(!is_fresh(&lease, at("2026-01-01T00:00:05Z"), EVERY));
        assert!(!is_fresh(&json!({}), at("2026-01-01T00:00:05Z"), EVERY));
    }
}
