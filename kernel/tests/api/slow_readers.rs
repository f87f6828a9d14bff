//! Frameworks that do not read their events: they hold up neither the master nor other frameworks.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use kernel::server::{MasterHandle, MasterOptions, start};
use serde_json::{Value, json};
use store::MemoryStore;

use crate::{
    access,
    client::{Framework, get},
    fake_agent, master,
};

/// A framework that reads gets the agent's offers, and its calls are answered.
async fn assert_served(framework: &mut Framework) {
    assert_eq!(framework.call("REVIVE", json!({})).await, 202);
    let offers = framework.events.event_of("OFFERS").await;
    let id = offers.pointer("/offers/offers/0/id").expect("an offer");
    let decline = json!({"decline": {"offer_ids": [id], "filters": {"refuse_seconds": 3600}}});
    assert_eq!(framework.call("DECLINE", decline).await, 202);
}

async fn connected(address: SocketAddr, framework: &Framework) -> bool {
    let text = get(address, "/master/frameworks").await.text().await;
    let value: Value = serde_json::from_str(&text).expect("JSON");
    let all = value["frameworks"].as_array().expect("a list");
    let known = all.iter().find(|other| other["id"] == framework.id.as_str()).expect("the framework");
    known["connected"] == true
}

/// More events than the master queues for a framework, whose sockets are full: it loses its subscription, and others notice
/// nothing.
#[tokio::test]
async fn a_framework_that_reads_nothing_holds_up_nobody() {
    /// Updates per call; the master queues 131,072 events.
    const TASKS: usize = 50_000;
    /// Calls that fill the queue and every buffer of a socket, with a wide margin.
    const CALLS_MAX: usize = 20;
    let master = master().await;
    let address = master.mesos_address();
    let slow = Framework::subscribe(address, json!({"role": "slow", "failover_timeout": 1000})).await;
    assert_eq!(slow.call("SUPPRESS", json!({})).await, 202);
    let mut other = Framework::subscribe(address, json!({"role": "other"})).await;
    let _agent = fake_agent::start(master.attach_agent(), "one").await;
    assert_served(&mut other).await;

    let tasks: Vec<Value> = (0..TASKS).map(|n| json!({"task_id": {"value": format!("t{n}")}})).collect();
    let reconcile = json!({"reconcile": {"tasks": tasks}});
    let mut calls = 0;
    while slow.call("RECONCILE", reconcile.clone()).await == 202 {
        calls += 1;
        assert!(calls < CALLS_MAX, "its queue is bounded");
        assert_served(&mut other).await;
    }
    assert!(calls >= 2, "two calls fit into the queue");
    assert!(!connected(address, &slow).await);
    assert!(connected(address, &other).await);
    assert_served(&mut other).await;

    let info = json!({"role": "slow", "failover_timeout": 1000, "id": {"value": slow.id}});
    let again = Framework::subscribe(address, info).await;
    assert!(connected(address, &again).await, "it may subscribe again");
}

/// A master whose offers end soon.
async fn master_with_short_offers() -> MasterHandle {
    let options = MasterOptions {
        access: access(),
        offer_timeout: Some(Duration::from_millis(1)),
        ..MasterOptions::new(Arc::new(MemoryStore::new()), SocketAddr::from(([127, 0, 0, 1], 0)))
    };
    start(options).await.expect("a free port and an empty store")
}

#[tokio::test]
async fn offers_that_a_framework_does_not_read_go_to_another() {
    let master = master_with_short_offers().await;
    let address = master.mesos_address();
    let _slow = Framework::subscribe(address, json!({"role": "slow"})).await;
    let _agent = fake_agent::start(master.attach_agent(), "one").await;
    let mut other = Framework::subscribe(address, json!({"role": "other"})).await;
    other.events.event_of("OFFERS").await;
}
