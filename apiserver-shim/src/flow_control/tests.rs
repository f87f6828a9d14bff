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

const PODS: &str = "/api/v1/namespaces/ns/pods";

fn classify(flow: &FlowControl, name: &str, groups: &[&str]) -> Classification {
    let (user, uri) = (Arc::new(User::component(name, groups)), Uri::from_static(PODS));
    flow.classify(Asking { user: &user, access: &pods(), method: &Method::GET, uri: &uri }).unwrap()
}

async fn enter(flow: &FlowControl, name: &str) -> Result<Seats, Refused> {
    let (user, uri) = (Arc::new(User::component(name, &[])), Uri::from_static(PODS));
    let request = pods();
    let asking = Asking { user: &user, access: &request, method: &Method::GET, uri: &uri };
    let class = flow.classify(asking).unwrap();
    let until = std::time::Instant::now() + std::time::Duration::from_secs(15);
    flow.enter(&class, asking, Cost::Single, until).await
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
    let class = classify(&flow, "jane", &[]);
    assert_eq!(class.flow_schema_uid(), "schema-uid");
    assert_eq!(class.priority_level_uid(), "level-uid");
    let exempt = classify(&flow, "admin", &["system:masters"]);
    assert_eq!(exempt.flow_schema_uid(), "", "a mandatory schema without an object");
}

#[test]
fn lists_take_seats_by_their_length() {
    assert_eq!((seats(Cost::Single, 10), seats(Cost::List(0), 10), seats(Cost::List(101), 10)), (1, 1, 2));
    assert_eq!((seats(Cost::List(1_000_000), u64::MAX), seats(Cost::List(1_000_000), 3)), (10, 3));
}

/// The cells of a dump, without the header.
fn cells(text: &str) -> Vec<Vec<String>> {
    let rows = text.lines().skip(1);
    rows.map(|row| row.split(',').map(|cell| cell.trim().to_owned()).collect()).collect()
}

#[tokio::test(start_paused = true)]
async fn dumps_show_what_is_served_and_waits_until_it_has_ended() {
    let flow = narrow().await;
    let first = enter(&flow, "jane").await.expect("there is a seat");
    let waits = tokio::spawn({
        let flow = flow.clone();
        async move { enter(&flow, "jane").await.map(drop).is_ok() }
    });
    tokio::task::yield_now().await;
    assert!(enter(&flow, "jane").await.is_err());
    let level = |page: Dump| {
        let rows = cells(&flow.dump(page, true));
        rows.into_iter().filter(|row| row[0] == "narrow").collect::<Vec<_>>()
    };
    let [row] = &level(Dump::PriorityLevels)[..] else { panic!() };
    assert_eq!(row[1..], ["1", "false", "false", "1", "1", "1", "1", "0", "0"]);
    let [row] = &level(Dump::Queues)[..] else { panic!() };
    assert_eq!(
        (&row[1..5], &row[6..]),
        (&["0", "1", "1", "1"].map(String::from)[..], &["1", "1", "0.00300000ss"].map(String::from)[..])
    );
    let rows = level(Dump::Requests);
    let about = ["jane", "list", PODS, "ns", "", "v1", "pods", ""];
    assert_eq!(
        (rows[0][1..5].join(" "), &rows[0][10..]),
        ("jane 0 0 ".to_owned(), &about.map(String::from)[..])
    );
    assert_eq!(
        (rows[0][9].as_str(), rows[1][1..5].join(" ")),
        ("0001-01-01T00:00:00Z", "jane 0 -1 ".to_owned())
    );
    assert!(rows[1][5] == rows[1][9] && rows[1][5].starts_with("20"), "{rows:?}");
    drop(first);
    assert!(waits.await.unwrap());
    assert_eq!(level(Dump::PriorityLevels)[0][1..], ["0", "true", "false", "0", "0", "2", "1", "0", "0"]);
    assert!(level(Dump::Requests).is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_level_whose_object_is_deleted_is_shown_until_it_is_idle() {
    let flow = narrow().await;
    let seats = enter(&flow, "jane").await.expect("there is a seat");
    let levels = |flow: &FlowControl| {
        let rows = cells(&flow.dump(Dump::PriorityLevels, false));
        rows.into_iter().map(|row| (row[0].clone(), row[3].clone())).collect::<Vec<_>>()
    };
    let named = |names: &[(&str, &str)]| {
        names.iter().map(|(name, leaves)| ((*name).to_owned(), (*leaves).to_owned())).collect::<Vec<_>>()
    };
    let configuration = Configuration {
        quiescing: flow.inner.configuration.load().quiescing(&BTreeSet::new()),
        ..Configuration::default()
    };
    flow.inner.configuration.store(Arc::new(configuration));
    assert_eq!(levels(&flow), named(&[("narrow", "true")]));
    drop(seats);
    assert_eq!(levels(&flow), named(&[]));
}
