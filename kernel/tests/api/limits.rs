//! Many and long names: each is carried out, or refused with a reason, and the master goes on.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use kernel::{
    agent_link::{AgentLink, Dialer},
    server::{MasterOptions, start},
};
use kernel_model::{
    agent::{ToAgent, ToMaster},
    ids::{TaskId, UpdateId},
    task::{Source, TaskState, TaskStatus},
    time::Time,
};
use serde_json::{Value, json};
use store::{MemoryStore, Revision, Store};
use tokio::time::timeout;

use crate::{
    access,
    client::{Framework, TIMEOUT, get, post_json, send},
    fake_agent, master, master_on,
};

async fn put_weights(address: SocketAddr, weights: &Value) -> (u16, String) {
    let answer = send(address, "PUT /weights HTTP/1.1", weights.to_string().as_bytes()).await;
    (answer.status, answer.text().await)
}

async fn count_of(address: SocketAddr, path: &str, of: &str) -> usize {
    let value: Value = serde_json::from_str(&get(address, path).await.text().await).expect("JSON");
    value.pointer(of).and_then(Value::as_array).expect("a list").len()
}

#[tokio::test]
async fn more_weights_than_a_transaction_takes() {
    let store = Arc::new(MemoryStore::new());
    let master = master_on(store.clone()).await;
    let address = master.mesos_address();
    let weight = |n: usize| json!({"role": format!("role-{n}"), "weight": 2.0});
    let weights: Vec<Value> = (0..1000).map(weight).collect();
    assert_eq!(put_weights(address, &json!(weights)).await, (200, String::new()));
    master.shutdown().await;
    let master = master_on(store).await;
    assert_eq!(count_of(master.mesos_address(), "/weights", "").await, 1000, "after a restart");
    let weights: Vec<Value> = (0..20_000).map(weight).collect();
    let (status, why) = put_weights(master.mesos_address(), &json!(weights)).await;
    assert_eq!((status, why.as_str()), (400, "At most 16384 roles can have a weight"));
}

#[tokio::test]
async fn a_weight_for_a_role_that_the_store_cannot_hold() {
    let master = master().await;
    let weights = json!([{"role": "r".repeat(70_000), "weight": 2.0}]);
    let (status, why) = put_weights(master.mesos_address(), &weights).await;
    assert_eq!(status, 400);
    assert!(why.ends_with("longer than 4096 bytes"), "{}", &why[..200]);
    assert_eq!(get(master.mesos_address(), "/health").await.status, 200);
}

/// What a subscription with this description is answered with: SUBSCRIBED, or the message of the ERROR.
async fn subscription(address: SocketAddr, info: Value) -> String {
    let mut framework_info = json!({"user": "root", "name": "test"});
    framework_info.as_object_mut().expect("an object").extend(info.as_object().expect("an object").clone());
    let mut call = json!({"type": "SUBSCRIBE", "subscribe": {"framework_info": framework_info}});
    if let Some(id) = info.get("id") {
        call["framework_id"] = id.clone();
    }
    let mut answer = post_json(address, "/api/v1/scheduler", &call, None).await;
    assert_eq!(answer.status, 200);
    let event = answer.event().await.expect("an event");
    event.pointer("/error/message").unwrap_or(&event["type"]).as_str().expect("a text").to_owned()
}

#[tokio::test]
async fn sizes_of_a_framework() {
    let master = master().await;
    let address = master.mesos_address();
    let roles = |count: usize| -> Value {
        let roles: Vec<String> = (0..count).map(|n| format!("role-{n}")).collect();
        json!({"roles": roles, "capabilities": [{"type": "MULTI_ROLE"}]})
    };
    let deep = |levels: usize| json!({"role": vec!["a"; levels].join("/")});
    assert_eq!(subscription(address, deep(2048)).await, "SUBSCRIBED");
    assert!(subscription(address, deep(30_000)).await.ends_with("longer than 4096 bytes"));
    assert_eq!(subscription(address, roles(2_000)).await, "SUBSCRIBED");
    let expected = "'FrameworkInfo.roles' contains 30000 roles, more than the limit of 8192";
    assert_eq!(subscription(address, roles(30_000)).await, expected);
    let expected = "ID must not be greater than 255 characters";
    assert_eq!(subscription(address, json!({"id": {"value": "x".repeat(256)}})).await, expected);
    let label = json!({"labels": {"labels": [{"key": "k", "value": "v".repeat(2 << 20)}]}});
    assert!(subscription(address, label).await.ends_with("more than the limit of 1048576"));
    assert_eq!(get(address, "/roles").await.status, 200);
}

#[tokio::test]
async fn many_frameworks_leave_at_once() {
    transport::open_files::raise_limit();
    let master = master().await;
    let address = master.mesos_address();
    let mut frameworks = Vec::new();
    for _ in 0..150 {
        frameworks.push(Framework::subscribe(address, json!({})).await);
    }
    assert_eq!(count_of(address, "/frameworks", "/frameworks").await, 150);
    drop(frameworks);
    while count_of(address, "/frameworks", "/frameworks").await > 0 {
        tokio::task::yield_now().await;
    }
    // Mesos remembers fifty.
    assert_eq!(count_of(address, "/frameworks", "/completed_frameworks").await, 50);
}

#[tokio::test]
async fn many_agents_do_not_return_after_a_restart() {
    const AGENTS: usize = 300;
    let store = Arc::new(MemoryStore::new());
    let master = master_on(store.clone()).await;
    for n in 0..AGENTS {
        let mut agent = fake_agent::start(master.attach_agent(), &format!("host-{n}")).await;
        let registered = |message| matches!(message, ToAgent::Registered { .. }).then_some(());
        fake_agent::next_message(&mut agent, registered).await;
    }
    master.shutdown().await;
    let from: Revision = store.current_revision().await.expect("a revision");
    let mut watch = store.watch("/kernel/registry/agents/", from).await.expect("a watch");
    let options = MasterOptions {
        access: access(),
        agent_reregister_timeout: Duration::from_millis(1),
        ..MasterOptions::new(store, SocketAddr::from(([127, 0, 0, 1], 0)))
    };
    let master = start(options).await.expect("a free port and a registry");
    let mut marked = 0;
    while marked < AGENTS {
        let batch = timeout(TIMEOUT, watch.next_batch()).await.expect("in time");
        marked += batch.expect("the store lives").expect("no error").events.len();
    }
    assert_eq!(get(master.mesos_address(), "/health").await.status, 200);
}

#[tokio::test]
async fn a_call_with_many_ids() {
    let master = master().await;
    let framework = Framework::subscribe(master.mesos_address(), json!({})).await;
    let ids: Vec<Value> = (0..50_000).map(|n| json!({"value": format!("offer-{n}")})).collect();
    assert_eq!(framework.call("DECLINE", json!({"decline": {"offer_ids": ids}})).await, 202);
    let roles = vec!["*"; 20_000];
    assert_eq!(framework.call("REVIVE", json!({"revive": {"roles": roles}})).await, 202);
    assert_eq!(get(master.mesos_address(), "/health").await.status, 200);
}

#[tokio::test]
async fn many_subscriptions_and_a_reader_that_does_not_read() {
    transport::open_files::raise_limit();
    let master = master().await;
    let address = master.mesos_address();
    let _unread = post_json(address, "/api/v1", &json!({"type": "SUBSCRIBE"}), None).await;
    let mut subscriptions = tokio::task::JoinSet::new();
    for n in 0..600 {
        let info = json!({"role": format!("role-{n}"), "failover_timeout": 100});
        subscriptions.spawn(async move { Framework::subscribe(address, info).await });
    }
    let frameworks = subscriptions.join_all().await;
    assert_eq!(count_of(address, "/frameworks", "/frameworks").await, frameworks.len());
}

#[tokio::test]
async fn many_updates_that_nobody_acknowledges() {
    const UPDATES: u64 = 20_000;
    let master = master().await;
    let address = master.mesos_address();
    let mut framework = Framework::subscribe(address, json!({})).await;
    let AgentLink { outgoing, mut incoming } = master.attach_agent().dial().await.expect("the master runs");
    outgoing.send(ToMaster::Register { info: fake_agent::info("one").into() }).await.expect("sent");
    let registered = timeout(TIMEOUT, incoming.recv()).await.expect("in time").expect("an answer");
    let ToAgent::Registered { agent_id, .. } = registered else { panic!("{registered:?}") };
    for n in 0..UPDATES {
        let task_id = TaskId::from(format!("t{n}"));
        let status = TaskStatus {
            uuid: Some(UpdateId(u128::from(n).to_be_bytes())),
            agent_id: Some(agent_id.clone()),
            ..TaskStatus::new(task_id, TaskState::Running, Source::Executor, Time(1))
        };
        let (framework_id, latest_state) = (framework.id.as_str().into(), TaskState::Running);
        let update = ToMaster::Update { framework_id, status: status.into(), latest_state };
        outgoing.send(update).await.expect("the master listens");
    }
    for n in 0..UPDATES {
        let update = framework.events.event_of("UPDATE").await;
        assert_eq!(update["update"]["status"]["task_id"]["value"], format!("t{n}"));
    }
    assert_eq!(get(address, "/health").await.status, 200);
}
