//! Authentication of the master's clients, with the realms and texts of a genuine Mesos master.

use std::sync::Arc;

use kernel::server::{MasterHandle, MasterOptions, start};
use serde_json::json;
use store::MemoryStore;

use crate::{
    access,
    client::{self, Answer, send, send_unchanged},
    fake_agent, master,
};

const READ_ONLY: &str = "Basic realm=\"mesos-master-readonly\"";
const READ_WRITE: &str = "Basic realm=\"mesos-master-readwrite\"";
const SCHEDULER: &str = "Basic realm=\"mesos-master-scheduler\"";

async fn without_credentials(master: &MasterHandle, method: &str, path: &str) -> Answer {
    send_unchanged(master.mesos_address(), &format!("{method} {path} HTTP/1.1"), b"").await
}

#[tokio::test(flavor = "multi_thread")]
async fn each_path_has_its_realm() {
    let master = master().await;
    for (method, path, realm) in [
        ("POST", "/api/v1/scheduler", SCHEDULER),
        ("GET", "/master/api/v1/scheduler", SCHEDULER),
        ("POST", "/api/v1", READ_WRITE),
        ("POST", "/api/v1/", READ_WRITE),
        ("POST", "/teardown", READ_WRITE),
        ("POST", "/master/teardown", READ_WRITE),
        ("PUT", "/weights", READ_WRITE),
        ("GET", "/weights", READ_WRITE),
        ("GET", "/quota", READ_WRITE),
        ("POST", "/reserve", READ_WRITE),
        ("POST", "/machine/down", READ_WRITE),
        ("GET", "/state", READ_ONLY),
        ("GET", "/master/state.json", READ_ONLY),
        ("GET", "/state-summary", READ_ONLY),
        ("GET", "/slaves", READ_ONLY),
        ("GET", "/frameworks", READ_ONLY),
        ("GET", "/tasks", READ_ONLY),
        ("GET", "/roles", READ_ONLY),
        ("GET", "/flags", READ_ONLY),
        ("GET", "/metrics/snapshot", READ_ONLY),
        ("GET", "/metrics", READ_ONLY),
        ("GET", "/system/stats.json", READ_ONLY),
        ("GET", "/maintenance/status", READ_ONLY),
    ] {
        let refused = without_credentials(&master, method, path).await;
        assert_eq!(refused.header("www-authenticate"), Some(realm), "{method} {path}");
        assert_eq!(refused.status, 401, "{method} {path}");
        assert_eq!(refused.text().await, "401 Unauthorized.", "{method} {path}");
        let wrong = format!("{method} {path} HTTP/1.1\r\nAuthorization: Basic dGVzdDp3cm9uZw==");
        assert_eq!(send_unchanged(master.mesos_address(), &wrong, b"").await.status, 401, "{method} {path}");
    }
    for (path, status) in [("/health", 200), ("/version", 200), ("/redirect", 307), ("/nope", 404)] {
        assert_eq!(without_credentials(&master, "GET", path).await.status, status, "{path}");
    }
    assert_eq!(without_credentials(&master, "GET", "/health").await.text().await, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_principal_is_that_of_the_credentials() {
    let master = master().await;
    let framework = client::Framework::subscribe(master.mesos_address(), json!({})).await;
    let state = client::get(master.mesos_address(), "/state").await.text().await;
    let state: serde_json::Value = serde_json::from_str(&state).unwrap();
    assert_eq!(state["frameworks"][0]["principal"], "test");
    assert_eq!(framework.call("REVIVE", json!({})).await, 202);
    let info = json!({"user": "root", "name": "x", "principal": "other"});
    let call = json!({"type": "SUBSCRIBE", "subscribe": {"framework_info": info}});
    let refused = client::post_json(master.mesos_address(), "/api/v1/scheduler", &call, None).await;
    assert_eq!(refused.status, 400);
    let text = "Failed to validate scheduler::Call: Authenticated principal 'test' does not match principal \
                'other' set in `FrameworkInfo`";
    assert_eq!(refused.text().await, text);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_master_runs_tasks_of_unprivileged_users_only() {
    let listen = "127.0.0.1:0".parse().unwrap();
    let options = MasterOptions::new(Arc::new(MemoryStore::new()), listen);
    let master = start(MasterOptions { access: access().or_anonymous(false), ..options }).await.unwrap();
    let address = master.mesos_address();
    let health = without_credentials(&master, "GET", "/health").await;
    assert_eq!(health.status, 200);
    assert!(health.text().await.starts_with("warning: this API is open to clients without credentials"));
    assert_eq!(without_credentials(&master, "GET", "/state").await.status, 200);
    let wrong = "GET /state HTTP/1.1\r\nAuthorization: Basic dGVzdDp3cm9uZw==";
    assert_eq!(send(address, wrong, b"").await.status, 401);
    let _agent = fake_agent::start(master.attach_agent(), "h").await;
    let info = json!({"user": "root", "name": "x"});
    let call = json!({"type": "SUBSCRIBE", "subscribe": {"framework_info": info}});
    let post = async |body: String, stream: Option<&str>| {
        let stream = stream.map(|id| format!("\r\nMesos-Stream-Id: {id}")).unwrap_or_default();
        let head = format!("POST /api/v1/scheduler HTTP/1.1\r\nContent-Type: application/json{stream}");
        send_unchanged(address, &head, body.as_bytes()).await
    };
    let mut events = post(call.to_string(), None).await;
    let stream = events.header("mesos-stream-id").unwrap().to_owned();
    let subscribed = events.event_of("SUBSCRIBED").await;
    let offers = events.event_of("OFFERS").await;
    let offer = &offers["offers"]["offers"][0];
    let task = |id: &str, user: &str| {
        json!({
            "name": id, "task_id": {"value": id}, "agent_id": offer["agent_id"],
            "resources": [{"name": "cpus", "type": "SCALAR", "scalar": {"value": 0.1}}],
            "command": {"value": "true", "user": user},
        })
    };
    let launch =
        json!({"type": "LAUNCH", "launch": {"task_infos": [task("r", "root"), task("n", "nobody")]}});
    let accept = json!({
        "type": "ACCEPT", "framework_id": subscribed["subscribed"]["framework_id"],
        "accept": {"offer_ids": [offer["id"]], "operations": [launch]},
    });
    assert_eq!(post(accept.to_string(), Some(&stream)).await.status, 202);
    let update = events.event_of("UPDATE").await;
    let status = &update["update"]["status"];
    assert_eq!(
        (status["task_id"]["value"].as_str(), status["state"].as_str()),
        (Some("r"), Some("TASK_ERROR"))
    );
    assert_eq!(status["reason"], "REASON_TASK_UNAUTHORIZED");
    let message = status["message"].as_str().unwrap();
    assert!(message.starts_with("Principal '' no authorized to launch task r of framework "), "{message}");
    assert!(message.contains(" under user 'root'"), "{message}");
}
