//! What the master counts of a framework, a refused task, a lost agent and its registry.

use std::net::SocketAddr;

use kernel_model::agent::ToAgent;
use serde_json::{Value, json};

use crate::{
    client::{Framework, get, send},
    fake_agent, master,
};

async fn metrics(address: SocketAddr) -> serde_json::Map<String, Value> {
    serde_json::from_str(&get(address, "/metrics/snapshot").await.text().await).expect("JSON")
}

/// The metrics whose names begin like this, without those that are zero.
fn some(of: &serde_json::Map<String, Value>, prefix: &str) -> String {
    let some = of.iter().filter(|(name, value)| name.starts_with(prefix) && value.as_f64() != Some(0.0));
    some.map(|(name, value)| format!("{} {value}\n", &name[prefix.len()..])).collect()
}

#[tokio::test]
async fn the_work_of_a_framework_is_counted() {
    let master = master().await;
    let address = master.mesos_address();
    let _agent = fake_agent::start(master.attach_agent(), "one").await;
    let mut framework = Framework::subscribe(address, json!({"name": "a b/c", "role": "eng"})).await;
    let offer = framework.events.event_of("OFFERS").await["offers"]["offers"][0].clone();
    let task = |id: &str, cpus: f64| {
        let cpus = json!({"name": "cpus", "type": "SCALAR", "scalar": {"value": cpus}});
        json!({
            "name": id, "task_id": {"value": id}, "agent_id": offer["agent_id"], "resources": [cpus],
            "command": {"value": "true"},
        })
    };
    let tasks = json!([task("t", 1.0), task("too-large", 9.0)]);
    let launch = json!({"type": "LAUNCH", "launch": {"task_infos": tasks}});
    let accept = json!({"accept": {
        "offer_ids": [offer["id"]], "operations": [launch], "filters": {"refuse_seconds": 3600},
    }});
    assert_eq!(framework.call("ACCEPT", accept).await, 202);
    framework.events.event_of("UPDATE").await;
    framework.events.event_of("UPDATE").await;
    let message =
        json!({"message": {"agent_id": {"value": "none"}, "executor_id": {"value": "x"}, "data": "AA=="}});
    assert_eq!(framework.call("MESSAGE", message).await, 202);
    assert_eq!(framework.call("KILL", json!({"kill": {"task_id": {"value": "t"}}})).await, 202);
    framework.events.event_of("UPDATE").await;
    let all = metrics(address).await;
    let mut shown = some(&all, &format!("master/frameworks/a%20b%2Fc/{}/", framework.id));
    for prefix in
        ["allocator/mesos/offer", "allocator/mesos/res", "master/task_", "master/tasks_", "master/invalid"]
    {
        shown += &some(&all, prefix);
    }
    expect_test::expect![[r#"
        calls 4.0
        calls/accept 1.0
        calls/kill 1.0
        calls/message 1.0
        calls/subscribe 1.0
        events/offers 2.0
        events/subscribed 1.0
        events/update 3.0
        offers/accepted 1.0
        offers/sent 2.0
        operations 1.0
        operations/launch 1.0
        subscribed 1.0
        tasks/terminal/task_killed 1.0
        _filters/roles/eng/active 1.0
        ources/cpus/offered_or_allocated 4.0
        ources/cpus/total 4.0
        ources/mem/offered_or_allocated 4096.0
        ources/mem/total 4096.0
        error/source_master/reason_task_invalid 1.0
        error 1.0
        killed 1.0
        _framework_to_executor_messages 1.0
    "#]]
    .assert_eq(&shown);
    assert!(all["allocator/mesos/allocation_runs"].as_f64() > Some(0.0));
    assert!(all["registrar/registry_size_bytes"].as_f64() > Some(0.0));
    assert!(all["registrar/state_store_ms"].is_number() && all["registrar/state_fetch_ms"].is_number());
    assert_eq!(all["registrar/queued_operations"], 0.0);
    assert_eq!(all["master/operations/reserve/total"], 0.0);
    let prometheus = send(address, "GET /metrics HTTP/1.1", b"").await.text().await;
    assert!(prometheus.contains("# TYPE master_task_error_source_master_reason_task_invalid counter"));
    assert!(!prometheus.contains("_20b_2Fc_"), "no names of clients in Prometheus' names");
}

#[tokio::test]
async fn removed_agents_are_counted_by_reason() {
    let master = master().await;
    let address = master.mesos_address();
    // The second one takes the first one's place.
    for _ in 0..2 {
        let mut agent = fake_agent::start(master.attach_agent(), "one").await;
        let registered = |message| matches!(message, ToAgent::Registered { .. }).then_some(());
        fake_agent::next_message(&mut agent, registered).await;
    }
    let all = metrics(address).await;
    expect_test::expect![[r#"
        registrations 2.0
        removals 1.0
        removals/reason_registered 1.0
    "#]]
    .assert_eq(&format!("{}{}", some(&all, "master/slave_"), some(&all, "master/recovery")));
}
