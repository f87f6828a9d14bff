//! What operators read, in both APIs, and the event stream.

use std::sync::Arc;

use serde_json::{Value, json};
use store::MemoryStore;

use crate::{
    client::{Framework, get, post_json},
    fake_agent, master, master_on,
};

async fn ask(address: std::net::SocketAddr, kind: &str) -> Value {
    let mut call = json!({"type": kind});
    if kind == "GET_METRICS" {
        call["get_metrics"] = json!({});
    }
    let answer = post_json(address, "/api/v1", &call, None).await;
    assert_eq!(answer.status, 200, "{kind}");
    serde_json::from_str(&answer.text().await).expect("JSON")
}

#[tokio::test]
async fn every_read_answers() {
    let master = master().await;
    let address = master.mesos_address();
    let mut agent = fake_agent::start(master.attach_agent(), "one").await;
    fake_agent::told(&mut agent, |m| {
        matches!(m, kernel_model::agent::ToAgent::Registered { .. }).then_some(())
    })
    .await;
    let framework = Framework::subscribe(address, json!({"role": "r"})).await;
    for kind in [
        "GET_HEALTH",
        "GET_VERSION",
        "GET_FLAGS",
        "GET_METRICS",
        "GET_STATE",
        "GET_AGENTS",
        "GET_FRAMEWORKS",
        "GET_TASKS",
        "GET_EXECUTORS",
        "GET_ROLES",
        "GET_WEIGHTS",
        "GET_MASTER",
        "GET_OPERATIONS",
        "GET_QUOTA",
        "GET_MAINTENANCE_STATUS",
        "GET_MAINTENANCE_SCHEDULE",
    ] {
        assert_eq!(ask(address, kind).await["type"], kind);
    }
    let agents = ask(address, "GET_AGENTS").await;
    assert_eq!(agents["get_agents"]["agents"][0]["agent_info"]["hostname"], "one");
    let frameworks = ask(address, "GET_FRAMEWORKS").await;
    assert_eq!(
        frameworks["get_frameworks"]["frameworks"][0]["framework_info"]["id"]["value"],
        framework.id.as_str()
    );
    for path in [
        "/version",
        "/flags",
        "/metrics/snapshot",
        "/state",
        "/master/state.json",
        "/state-summary",
        "/slaves",
        "/frameworks",
        "/tasks",
        "/roles",
        "/weights",
    ] {
        let answer = get(address, path).await;
        assert_eq!(answer.status, 200, "{path}");
        let _: Value = serde_json::from_str(&answer.text().await).expect("JSON");
    }
    let metrics: Value =
        serde_json::from_str(&get(address, "/metrics/snapshot").await.text().await).expect("JSON");
    assert_eq!(
        (&metrics["master/slaves_active"], &metrics["master/frameworks_active"]),
        (&json!(1.0), &json!(1.0))
    );
    assert_eq!(get(address, "/health").await.status, 200);
    let redirect = get(address, "/master/redirect").await;
    assert_eq!(
        (redirect.status, redirect.header("location").map(|l| l.starts_with("//localhost:"))),
        (307, Some(true))
    );
    let script = get(address, "/version?jsonp=f").await.text().await;
    assert!(script.starts_with("f({") && script.ends_with("});"), "{script}");
    master.shutdown().await;
}

#[tokio::test]
async fn the_event_stream_tells_what_happens() {
    let master = master().await;
    let address = master.mesos_address();
    let mut events = post_json(address, "/api/v1", &json!({"type": "SUBSCRIBE"}), None).await;
    let first = events.event().await.expect("an event");
    assert_eq!(first["type"], "SUBSCRIBED");
    assert_eq!(first["subscribed"]["heartbeat_interval_seconds"], 0.3);
    assert_eq!(events.event().await.expect("an event")["type"], "HEARTBEAT");
    let _agent = fake_agent::start(master.attach_agent(), "one").await;
    let added = events.event_of("AGENT_ADDED").await;
    assert_eq!(added["agent_added"]["agent"]["agent_info"]["hostname"], "one");
    let framework = Framework::subscribe(address, json!({})).await;
    events.event_of("FRAMEWORK_ADDED").await;
    let call = json!({"type": "TEARDOWN", "teardown": {"framework_id": {"value": framework.id}}});
    assert_eq!(post_json(address, "/api/v1", &call, None).await.status, 200);
    let removed = events.event_of("FRAMEWORK_REMOVED").await;
    assert_eq!(removed["framework_removed"]["framework_info"]["id"]["value"], framework.id.as_str());
}

#[tokio::test]
async fn weights_and_agents_survive_a_restart() {
    let store = Arc::new(MemoryStore::new());
    let first = master_on(store.clone()).await;
    let mut agent = fake_agent::start(first.attach_agent(), "one").await;
    fake_agent::told(&mut agent, |m| {
        matches!(m, kernel_model::agent::ToAgent::Registered { .. }).then_some(())
    })
    .await;
    let call =
        json!({"type": "UPDATE_WEIGHTS", "update_weights": {"weight_infos": [{"role": "r", "weight": 2.5}]}});
    assert_eq!(post_json(first.mesos_address(), "/api/v1", &call, None).await.status, 200);
    first.shutdown().await;

    let second = master_on(store).await;
    let weights = ask(second.mesos_address(), "GET_WEIGHTS").await;
    assert_eq!(weights["get_weights"]["weight_infos"], json!([{"weight": 2.5, "role": "r"}]));
    let agents = ask(second.mesos_address(), "GET_AGENTS").await;
    assert_eq!(agents["get_agents"]["recovered_agents"][0]["hostname"], "one");
}
