//! Reads of the operator API in both versions, and its event stream.

use std::sync::Arc;

use serde_json::{Value, json};
use store::MemoryStore;

use crate::{
    client::{Framework, get, post_json, send},
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
    fake_agent::next_message(&mut agent, |m| {
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
    assert!(script.starts_with("f({") && script.ends_with("})"), "{script}");
    master.shutdown().await;
}

#[tokio::test]
async fn the_event_stream_reports_changes() {
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
    fake_agent::next_message(&mut agent, |m| {
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

#[tokio::test]
async fn draining_is_shown_and_survives_a_restart() {
    let store = Arc::new(MemoryStore::new());
    let first = master_on(store.clone()).await;
    let address = first.mesos_address();
    let mut agent = fake_agent::start(first.attach_agent(), "one").await;
    fake_agent::next_message(&mut agent, |m| {
        matches!(m, kernel_model::agent::ToAgent::Registered { .. }).then_some(())
    })
    .await;
    let id = ask(address, "GET_AGENTS").await["get_agents"]["agents"][0]["agent_info"]["id"].clone();
    let drain = |grace: Value| {
        let parts = json!({"agent_id": &id, "max_grace_period": grace});
        json!({"type": "DRAIN_AGENT", "drain_agent": parts})
    };
    let answer = post_json(address, "/api/v1", &drain(json!({"seconds": 2, "nanos": 5})), None).await;
    assert_eq!(answer.status, 200);
    let config = json!({"max_grace_period": {"nanoseconds": 2_000_000_005_u64}, "mark_gone": false});
    let agents = ask(address, "GET_AGENTS").await;
    let shown = &agents["get_agents"]["agents"][0];
    assert_eq!(shown["drain_info"], json!({"state": "DRAINED", "config": config}));
    assert_eq!((&shown["active"], &shown["deactivated"]), (&json!(false), &json!(true)));
    assert!(shown["estimated_drain_start_time"]["nanoseconds"].is_u64(), "{shown}");
    let state: Value = serde_json::from_str(&get(address, "/slaves").await.text().await).expect("JSON");
    let shown = &state["slaves"][0];
    assert_eq!(shown["drain_info"], json!({"state": "DRAINED", "config": config}));
    assert!(shown["estimated_drain_start_time_seconds"].is_number(), "{shown}");
    let refused = post_json(address, "/api/v1", &drain(json!({"seconds": -1})), None).await;
    assert_eq!(
        (refused.status, &*refused.text().await),
        (400, "'drain_agent.max_grace_period' must not be negative")
    );
    first.shutdown().await;

    let second = master_on(store).await;
    let call = json!({"type": "REACTIVATE_AGENT", "reactivate_agent": {"agent_id": id}});
    for status in [200, 400] {
        assert_eq!(post_json(second.mesos_address(), "/api/v1", &call, None).await.status, status);
    }
}

/// Frameworks and an operator subscribe concurrently: events neither repeat nor miss what the snapshot contains.
#[tokio::test(flavor = "multi_thread")]
async fn a_stream_begins_where_its_snapshot_ends() {
    let master = master().await;
    let address = master.mesos_address();
    for _ in 0..40 {
        let frameworks =
            (0..8).map(|_| tokio::spawn(async move { Framework::subscribe(address, json!({})).await }));
        let frameworks: Vec<_> = frameworks.collect();
        let mut events = post_json(address, "/api/v1", &json!({"type": "SUBSCRIBE"}), None).await;
        let first = events.event().await.expect("an event");
        let shown = &first["subscribed"]["get_state"]["get_frameworks"]["frameworks"];
        let id = |info: &Value| info["framework_info"]["id"]["value"].as_str().expect("an id").to_owned();
        let mut seen: Vec<String> = shown.as_array().into_iter().flatten().map(id).collect();
        let mut ids = Vec::new();
        let mut alive = Vec::new();
        for framework in frameworks {
            let framework = framework.await.expect("subscribed");
            ids.push(framework.id.clone());
            alive.push(framework);
        }
        while !ids.iter().all(|id| seen.contains(id)) {
            let event = events.event_of("FRAMEWORK_ADDED").await;
            let added = id(&event["framework_added"]["framework"]);
            assert!(!seen.contains(&added), "{added} was in the snapshot, or came twice");
            seen.push(added);
        }
    }
}

#[tokio::test]
async fn v0_paths_answer_or_are_not_implemented() {
    let master = master().await;
    let address = master.mesos_address();
    for path in ["/quota", "/maintenance/status", "/master/maintenance/schedule", "/system/stats.json"] {
        let answer = get(address, path).await;
        assert_eq!(answer.status, 200, "{path}");
        let _: Value = serde_json::from_str(&answer.text().await).expect("JSON");
    }
    for path in ["GET /registrar(1)/registry", "POST /machine/up", "POST /machine/down"] {
        let answer = send(address, &format!("{path} HTTP/1.1"), b"").await;
        assert_eq!(answer.status, 501, "{path}");
        assert!(answer.text().await.contains("is not carried out by this version"));
    }
    // The master has no files.
    for (path, status, body) in [
        ("/files/debug", 200, "{}"),
        ("/files/browse", 400, "Expecting 'path=value' in query.\n"),
        ("/files/read?path=/etc/passwd", 404, ""),
        ("/files/download?path=/etc/passwd", 404, "404 Not Found."),
    ] {
        let answer = get(address, path).await;
        assert_eq!((answer.status, answer.text().await.as_str()), (status, body), "{path}");
    }
    for body in [
        json!({"type": "LIST_FILES", "list_files": {"path": "/"}}),
        json!({"type": "READ_FILE", "read_file": {"path": "/master/log", "offset": 0}}),
    ] {
        let answer = post_json(address, "/api/v1", &body, None).await;
        assert_eq!((answer.status, answer.text().await.as_str()), (404, ""), "{body}");
    }
    let put = async |body: &[u8]| send(address, "PUT /weights HTTP/1.1", body).await.status;
    assert_eq!(put(br#"[{"role": "r", "weight": 2.5}]"#).await, 200);
    assert_eq!(put(br#"[{"role": "r", "weight": -1}]"#).await, 400);
    assert_eq!(put(br#"{"role": "r"}"#).await, 400);
    let weights: Value = serde_json::from_str(&get(address, "/weights").await.text().await).expect("JSON");
    assert_eq!(weights, json!([{"role": "r", "weight": 2.5}]));
}

/// What Mesos refuses, and what it takes for the default.
#[tokio::test]
async fn parameters_are_read_as_mesos_does() {
    let master = master().await;
    let address = master.mesos_address();
    let mut shown = String::new();
    for path in [
        "/metrics/snapshot?timeout=bad",
        "/metrics/snapshot?timeout=5",
        "/metrics/snapshot?timeout=5s",
        "/metrics/snapshot?timeout=",
        "/files/read?offset=bad",
        "/files/read?path=/x&offset=bad",
        "/files/read?path=/x&offset=-2",
        "/files/read?path=/x&offset=0&length=1.5",
        "/files/read?path=/x&length=-7",
        "/files/read?path=/x&offset=-1&length=-1",
        "/files/download?path=",
        "/files/download?path=/x",
        "/logging/toggle",
        "/logging/toggle?level=1",
        "/logging/toggle?duration=1mins",
        "/logging/toggle?level=bad&duration=1mins",
        "/logging/toggle?level=-1&duration=1mins",
        "/logging/toggle?level=1&duration=bad",
        "/logging/toggle?level=0&duration=1mins",
        "/logging/toggle?level=1&duration=1mins",
        "/redirect/elsewhere",
        "/state?jsonp=%zz",
    ] {
        let answer = get(address, path).await;
        let status = answer.status;
        shown += &format!("{path}: {status} {:?}\n", answer.text().await);
    }
    expect_test::expect![[r#"
        /metrics/snapshot?timeout=bad: 400 "Invalid timeout 'bad': Failed to convert '' to number.\n"
        /metrics/snapshot?timeout=5: 400 "Invalid timeout '5': Invalid duration '5'.\n"
        /metrics/snapshot?timeout=5s: 400 "Invalid timeout '5s': Unknown duration unit 's'; supported units are 'ns', 'us', 'ms', 'secs', 'mins', 'hrs', 'days', and 'weeks'.\n"
        /metrics/snapshot?timeout=: 400 "Invalid timeout '': Invalid duration ''.\n"
        /files/read?offset=bad: 400 "Expecting 'path=value' in query.\n"
        /files/read?path=/x&offset=bad: 400 "Failed to parse offset: Failed to convert 'bad' to number.\n"
        /files/read?path=/x&offset=-2: 400 "Negative offset provided: -2.\n"
        /files/read?path=/x&offset=0&length=1.5: 400 "Failed to parse length: Failed to convert '1.5' to number.\n"
        /files/read?path=/x&length=-7: 400 "Negative length provided: -7.\n"
        /files/read?path=/x&offset=-1&length=-1: 404 ""
        /files/download?path=: 400 "Expecting 'path=value' in query.\n"
        /files/download?path=/x: 404 "404 Not Found."
        /logging/toggle: 200 "0\n"
        /logging/toggle?level=1: 400 "Expecting 'duration=value' in query.\n"
        /logging/toggle?duration=1mins: 400 "Expecting 'level=value' in query.\n"
        /logging/toggle?level=bad&duration=1mins: 400 "Failed to convert 'bad' to number.\n"
        /logging/toggle?level=-1&duration=1mins: 400 "Invalid level '-1'.\n"
        /logging/toggle?level=1&duration=bad: 400 "Failed to convert '' to number.\n"
        /logging/toggle?level=0&duration=1mins: 200 ""
        /logging/toggle?level=1&duration=1mins: 501 "The logging level cannot be changed at run time: set CATAMARAN_LOG and restart"
        /redirect/elsewhere: 404 "404 Not Found."
        /state?jsonp=%zz: 400 "Unable to decode query string: Malformed % escape in '%zz': '%zz'"
    "#]]
    .assert_eq(&shown);
    for path in [
        "/metrics/snapshot?timeout=5secs",
        "/metrics/snapshot?timeout=1.5mins",
        "/tasks?limit=bad&offset=bad&order=bad",
        "/tasks?limit=-1",
        "/tasks?limit=2147483648&offset=0x1",
        "/tasks?offset=-1&limit=-1",
        "/slaves?slave_id=bad",
        "/frameworks?framework_id=bad",
        "/state?order=bad",
    ] {
        assert_eq!(get(address, path).await.status, 200, "{path}");
    }
    let script = get(address, "/version?jsonp=f&jsonp=g").await;
    assert_eq!(script.header("content-type"), Some("text/javascript"));
    assert!(script.text().await.starts_with("g("));
}

#[tokio::test]
async fn bodies_are_compressed_both_ways() {
    let master = master().await;
    let address = master.mesos_address();
    let packed = |text: &[u8]| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        std::io::Write::write_all(&mut encoder, text).expect("packed");
        encoder.finish().expect("packed")
    };
    let head = "POST /api/v1 HTTP/1.1\r\nContent-Type: application/json\r\nContent-Encoding: gzip";
    let call = packed(br#"{"type": "GET_HEALTH"}"#);
    let answer = send(address, head, &call).await;
    assert_eq!((answer.status, answer.text().await.contains("true")), (200, true));
    for (body, status, why) in [
        (&call[..call.len() - 3], 400, "Failed to decompress body"),
        (b"{}", 400, "Failed to decompress body"),
        (&packed(&vec![b' '; 40 << 20])[..], 413, "The body is longer than 33554432 bytes"),
    ] {
        let answer = send(address, head, body).await;
        assert_eq!((answer.status, answer.text().await.as_str()), (status, why));
    }
    // The text repeats the body, so it is long enough to be compressed, like a table of metrics.
    let long = format!("[{}", "1, ".repeat(1000));
    for (head, body) in
        [("GET /metrics/snapshot HTTP/1.1", b"".as_slice()), ("PUT /weights HTTP/1.1", long.as_bytes())]
    {
        for (accepted, encoding) in
            [("gzip", Some("gzip")), ("br, *;q=0.1", Some("gzip")), ("gzip;q=0, *", None), ("br", None)]
        {
            let answer = send(address, &format!("{head}\r\nAccept-Encoding: {accepted}"), body).await;
            assert_eq!(answer.header("content-encoding"), encoding, "{head} {accepted}");
        }
    }
    let short = send(address, "GET /version HTTP/1.1\r\nAccept-Encoding: gzip", b"").await;
    assert_eq!(short.header("content-encoding"), None);
}

/// The task fields that service discovery reads from the unversioned endpoint.
#[tokio::test]
async fn tasks_are_shown_with_what_service_discovery_reads() {
    let master = master().await;
    let address = master.mesos_address();
    let _agent = fake_agent::start(master.attach_agent(), "one").await;
    let constraints = json!({"role_constraints": {"*": {"groups": [{"attribute_constraints": [{
        "selector": {"pseudoattribute_type": "HOSTNAME"}, "predicate": {"text_matches": {"regex": "on."}},
    }]}]}}});
    let call = json!({"type": "SUBSCRIBE", "subscribe": {
        "framework_info": {"user": "u", "name": "n"}, "offer_constraints": constraints,
    }});
    let mut events = post_json(address, "/api/v1/scheduler", &call, None).await;
    let stream = events.header("mesos-stream-id").expect("a stream id").to_owned();
    let subscribed = events.event_of("SUBSCRIBED").await;
    let offer = events.event_of("OFFERS").await["offers"]["offers"][0].clone();
    let task = json!({
        "name": "t", "task_id": {"value": "t"}, "agent_id": offer["agent_id"],
        "resources": [{"name": "cpus", "type": "SCALAR", "scalar": {"value": 1}}],
        "command": {"value": "true", "user": "somebody"},
        "discovery": {"visibility": "EXTERNAL", "name": "web"},
    });
    let accept = json!({"type": "ACCEPT", "framework_id": subscribed["subscribed"]["framework_id"], "accept": {
        "offer_ids": [offer["id"]],
        "operations": [{"type": "LAUNCH", "launch": {"task_infos": [task]}}],
    }});
    assert_eq!(post_json(address, "/api/v1/scheduler", &accept, Some(&stream)).await.status, 202);
    events.event_of("UPDATE").await;
    let state: Value = serde_json::from_str(&get(address, "/state").await.text().await).expect("JSON");
    let framework = &state["frameworks"][0];
    assert_eq!(framework["tasks"][0]["discovery"]["name"], "web");
    assert_eq!(framework["tasks"][0]["user"], "somebody");
    assert_eq!(framework["offer_constraints"], constraints);
    let shown = ask(address, "GET_FRAMEWORKS").await;
    assert_eq!(shown["get_frameworks"]["frameworks"][0]["offer_constraints"], constraints);
}

#[tokio::test]
async fn waits_are_explained() {
    let master = master().await;
    let address = master.mesos_address();
    let explained = async |query: &str| {
        let answer = get(address, &format!("/explain?{query}")).await;
        (answer.status, answer.text().await)
    };
    let framework = Framework::subscribe(address, json!({"role": "team/a"})).await;
    let json = |text: &str| -> Value { serde_json::from_str(text).expect("JSON") };
    let (status, text) = explained(&format!("framework={}", framework.id)).await;
    let of_framework = json(&text)["frameworks"][0].clone();
    assert_eq!((status, &of_framework["role"]), (200, &json!("team/a")));
    let no_agents = json!([{"reason": "NO_AGENTS", "message": "there are no agents"}]);
    assert_eq!(of_framework["reasons"], no_agents);
    let mut agent = fake_agent::start(master.attach_agent(), "one").await;
    fake_agent::next_message(&mut agent, |m| {
        matches!(m, kernel_model::agent::ToAgent::Registered { .. }).then_some(())
    })
    .await;
    let (_, text) = explained("role=team").await;
    let role = json(&text)["role"].clone();
    assert_eq!((&role["dominant_share"], &role["frameworks"][0]["offers"]), (&json!(1.0), &json!(1)));
    let reason = &role["frameworks"][0]["reasons"][0];
    assert_eq!((&reason["reason"], &reason["agents"]), (&json!("RESOURCES_IN_USE"), &json!(1)));
    for (query, code) in
        [("role=other", 404), ("framework=f", 404), ("task=t", 404), ("", 400), ("role=a&task=b", 400)]
    {
        let (status, text) = explained(query).await;
        assert_eq!(status, code, "{query}: {text}");
    }
}
