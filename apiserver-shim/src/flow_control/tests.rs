//! Tests of waiting, refusal and release over real objects.

use std::sync::Arc;

use serde_json::json;
use shim_core::authorization::RequestedResource;
use store::{Key, MemoryStore};

use super::*;

/// A server with one level of one seat and one place to wait, for the user `jane`.
async fn narrow() -> FlowControl {
    let store = Arc::new(MemoryStore::new());
    let level = json!({"apiVersion": "flowcontrol.apiserver.k8s.io/v1", "kind": "PriorityLevelConfiguration",
        "metadata": {"name": "narrow", "uid": "level-uid"},
        "spec": {"type": "Limited", "limited": {"nominalConcurrencyShares": 0, "lendablePercent": 0,
            "limitResponse": {"type": "Queue", "queuing": {"queues": 1, "handSize": 1, "queueLengthLimit": 1}}}}});
    let schema = json!({"apiVersion": "flowcontrol.apiserver.k8s.io/v1", "kind": "FlowSchema",
        "metadata": {"name": "jane", "uid": "schema-uid"},
        "spec": {"matchingPrecedence": 10, "priorityLevelConfiguration": {"name": "narrow"},
            "rules": [{"subjects": [{"kind": "User", "user": {"name": "jane"}}],
                "resourceRules": [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "namespaces": ["*"],
                    "clusterScope": true}]}]}});
    for (plural, object) in [("prioritylevelconfigurations", level), ("flowschemas", schema)] {
        let name = object["metadata"]["name"].as_str().unwrap();
        let key = Key::from(format!("/registry/{GROUP}/{plural}/{name}"));
        let txn = store::Txn::new().put(key, object.to_string().into());
        store::Store::txn(&*store, txn).await.unwrap();
    }
    FlowControl::new(Registry::open(store).await.unwrap())
}

fn pods() -> AccessRequest<'static> {
    AccessRequest::resource(
        "get",
        RequestedResource { resource: "pods", namespace: "ns", ..Default::default() },
    )
}

async fn enter(flow: &FlowControl, name: &str) -> Result<Seats, Refused> {
    let (subject, request) = (Subject { name, groups: &[] }, pods());
    let class = flow.classify(&subject, &request).unwrap();
    let until = std::time::Instant::now() + std::time::Duration::from_secs(15);
    flow.enter(&class, (&subject, &request), Cost::Single, until).await
}

#[tokio::test(start_paused = true)]
async fn one_is_served_one_waits_and_one_is_refused() {
    let flow = narrow().await;
    let first = enter(&flow, "jane").await.expect("there is a seat");
    let waits = tokio::spawn({
        let flow = flow.clone();
        async move { enter(&flow, "jane").await.is_ok() }
    });
    tokio::task::yield_now().await;
    let refused = enter(&flow, "jane").await.err().expect("the queue is full");
    assert_eq!(refused, Refused { retry_after: 1 });
    assert!(enter(&flow, "john").await.is_ok(), "others are of another level");
    drop(first);
    assert!(waits.await.unwrap());
    assert!(enter(&flow, "jane").await.is_ok(), "the seats are returned");
}

#[tokio::test(start_paused = true)]
async fn who_leaves_or_waits_too_long_makes_room() {
    let flow = narrow().await;
    let first = enter(&flow, "jane").await.expect("there is a seat");
    let leaves = tokio::spawn({
        let flow = flow.clone();
        async move { enter(&flow, "jane").await.is_ok() }
    });
    tokio::task::yield_now().await;
    leaves.abort();
    assert!(leaves.await.is_err());
    // Takes the place in the queue, and the paused clock to the end of its time.
    assert!(enter(&flow, "jane").await.is_err());
    drop(first);
    assert!(enter(&flow, "jane").await.is_ok());
}

#[tokio::test]
async fn classification_names_the_objects() {
    let flow = narrow().await;
    let class = flow.classify(&Subject { name: "jane", groups: &[] }, &pods()).unwrap();
    assert_eq!(class.flow_schema_uid(), "schema-uid");
    assert_eq!(class.priority_level_uid(), "level-uid");
    let masters = ["system:masters".to_owned()];
    let exempt = flow.classify(&Subject { name: "admin", groups: &masters }, &pods()).unwrap();
    assert_eq!(exempt.flow_schema_uid(), "", "a mandatory schema without an object");
}

#[test]
fn lists_take_seats_by_their_length() {
    assert_eq!((seats(Cost::Single, 10), seats(Cost::List(0), 10), seats(Cost::List(101), 10)), (1, 1, 2));
    assert_eq!((seats(Cost::List(1_000_000), u64::MAX), seats(Cost::List(1_000_000), 3)), (10, 3));
}
