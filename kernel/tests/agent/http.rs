//! The executor API as a custom executor uses it, in JSON, and the agent's operator API, compared word for word.

use serde_json::{Value, json};

use crate::{
    client,
    cluster::{Cluster, custom_executor},
};
use kernel_model::task::TaskState::*;

/// Method, headers, body, expected code and text.
type Case<'a> = (&'a str, Vec<(&'a str, &'a str)>, String, u16, &'a str);

async fn request(
    address: std::net::SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> client::Answer {
    let headers: String = headers.iter().map(|(name, value)| format!("\r\n{name}: {value}")).collect();
    client::send(address, &format!("{method} {path} HTTP/1.1{headers}"), body).await
}

async fn json(answer: client::Answer) -> Value {
    serde_json::from_str(&answer.text().await).unwrap()
}

/// Texts and codes of a genuine Mesos agent.
#[tokio::test(flavor = "multi_thread")]
async fn malformed_calls_are_refused_with_mesos_texts() {
    let mut cluster = Cluster::start().await;
    let as_json = ("content-type", "application/json");
    let ids = json!({"framework_id": {"value": "F"}, "executor_id": {"value": "x"}});
    let call = |more: Value| {
        let mut call = ids.clone();
        call.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        call.to_string()
    };
    let update = |status: Value| call(json!({"type": "UPDATE", "update": {"status": status}}));
    let uuid = "AAAAAAAAAAAAAAAAAAAAAA==";
    let good = json!({"task_id": {"value": "t"}, "state": "TASK_RUNNING", "source": "SOURCE_EXECUTOR", "uuid": uuid});
    let mut no_source = good.clone();
    no_source.as_object_mut().unwrap().remove("source");
    let token = cluster.token_of_another_executor().await;
    let bearer = ("authorization", token.as_str());
    let cases: Vec<Case<'_>> = vec![
        ("GET", vec![as_json], String::new(), 405, "Expecting one of { 'POST' }"),
        ("POST", vec![], "{}".into(), 400, "Expecting 'Content-Type' to be present"),
        ("POST", vec![("content-type", "text/plain")], "{}".into(), 415, "Expecting 'Content-Type' of"),
        ("POST", vec![as_json], "{".into(), 400, "Failed to parse body into JSON"),
        ("POST", vec![as_json], "{}".into(), 400, "Failed to convert JSON into Call protobuf"),
        ("POST", vec![as_json], call(json!({})), 400, "Failed to validate Executor::Call: Expecting 'type'"),
        ("POST", vec![as_json], call(json!({"type": "UPDATE"})), 400, "Expecting 'update' to be present"),
        ("POST", vec![as_json], update(no_source), 400, "invalid source"),
        ("POST", vec![as_json], update(good), 400, "Framework cannot be found"),
        ("POST", vec![as_json], call(json!({"type": "HEARTBEAT"})), 202, ""),
        (
            "POST",
            vec![as_json],
            call(json!({"type": "SUBSCRIBE", "subscribe": {}})),
            400,
            "Framework cannot be found",
        ),
        (
            "POST",
            vec![as_json, ("accept", "text/html")],
            call(json!({"type": "SUBSCRIBE", "subscribe": {}})),
            406,
            "Expecting 'Accept' to allow",
        ),
    ];
    for path in ["/api/v1/executor", "/slave(1)/api/v1/executor"] {
        for (method, headers, body, status, text) in &cases {
            let headers: Vec<_> = headers.iter().copied().chain([bearer]).collect();
            let answer = request(cluster.agent_address(), method, path, &headers, body.as_bytes()).await;
            assert_eq!(answer.status, *status, "{method} {path} {body}");
            let got = answer.text().await;
            assert!(got.contains(text), "{body}: {got}");
        }
    }
}

/// The rules for content types of the agent's operator API, which are not those of the other APIs.
#[tokio::test(flavor = "multi_thread")]
async fn operator_calls_are_refused_with_mesos_texts() {
    let cluster = Cluster::start().await;
    let address = cluster.agent_address();
    let json = ("content-type", "application/json");
    let stream = ("content-type", "application/recordio");
    let of_json = ("message-content-type", "application/json");
    let health = r#"{"type":"GET_HEALTH"}"#;
    let record = format!("{}\n{health}", health.len());
    let table: Vec<(Vec<(&str, &str)>, &str)> = vec![
        (vec![], health),
        (vec![("content-type", "multipart/form-data")], health),
        (vec![stream], health),
        (vec![stream, ("message-content-type", "text/plain")], health),
        (vec![stream, of_json], ""),
        (vec![stream, of_json], &record),
        (vec![json, of_json], health),
        (vec![json, ("accept", "text/html")], "xx"),
        (vec![json, ("accept", "application/recordio")], health),
        (vec![json, ("accept", "application/recordio"), ("message-accept", "text/html")], health),
        (vec![json, ("message-accept", "application/json")], health),
        (vec![json], ""),
        (vec![json], "xx"),
        (vec![json], "[]"),
        (vec![json], "{}"),
        (vec![json], r#"{"type":"READ_FILE"}"#),
        (vec![json], r#"{"type":"READ_FILE","read_file":{"path":1}}"#),
        (vec![json], r#"{"type":"LAUNCH_NESTED_CONTAINER"}"#),
        (vec![json], r#"{"type":"ATTACH_CONTAINER_INPUT","attach_container_input":{"type":"CONTAINER_ID"}}"#),
        (vec![json], r#"{"type":"FROM_THE_FUTURE"}"#),
        (vec![("content-type", "application/x-protobuf")], "\u{f}"),
    ];
    let mut shown = String::new();
    for (headers, body) in &table {
        let answer = request(address, "POST", "/slave(1)/api/v1", headers, body.as_bytes()).await;
        let status = answer.status;
        shown += &format!("{status} {}\n", answer.text().await);
    }
    for line in
        ["GET /nope", "GET /slave(1)/nope", "GET /api/v1", "POST /flags", "PUT /containers", "GET /state/"]
    {
        let (method, path) = line.split_once(' ').unwrap();
        let answer = request(address, method, path, &[], b"").await;
        let status = answer.status;
        let text = if status == 200 { String::new() } else { answer.text().await };
        shown += &format!("{line}: {status} {text}\n");
    }
    expect_test::expect![[r#"
        400 Expecting 'Content-Type' to be present
        415 Expecting 'Content-Type' of application/json or application/x-protobuf or application/recordio
        400 Expecting 'Message-Content-Type' to be set for streaming requests
        415 Expecting 'Message-Content-Type' of application/json or application/x-protobuf
        400 Received EOF while reading request body
        415 Streaming 'Content-Type' application/recordio is not supported for GET_HEALTH call
        415 Expecting 'Message-Content-Type' to be not set for non-streaming requests
        406 Expecting 'Accept' to allow application/json or application/x-protobuf or application/recordio
        406 Streaming response is not supported for GET_HEALTH call
        406 Expecting 'Message-Accept' to allow application/json or application/x-protobuf
        406 Expecting 'Message-Accept' to be not set for non-streaming responses
        400 Failed to parse body into JSON: syntax error at line 1 near: 
        400 Failed to parse body into JSON: syntax error at line 1 near: xx
        400 Expecting a JSON object
        400 Failed to validate agent::Call: Expecting 'type' to be present
        400 Failed to validate agent::Call: Expecting 'read_file' to be present
        400 Not expecting a JSON number for field 'path'
        400 Failed to validate agent::Call: Expecting 'launch_nested_container' to be present
        415 Expecting 'Content-Type' to be application/recordio for ATTACH_CONTAINER_INPUT call
        400 Failed to validate agent::Call: Expecting 'type' to be present
        400 Failed to parse body into a protobuf object
        GET /nope: 404 404 Not Found.
        GET /slave(1)/nope: 404 404 Not Found.
        GET /api/v1: 405 405 Method Not Allowed. Expecting one of { 'POST' }, but received 'GET'.
        POST /flags: 405 405 Method Not Allowed. Expecting one of { 'GET' }, but received 'POST'.
        PUT /containers: 405 405 Method Not Allowed. Expecting one of { 'GET' }, but received 'PUT'.
        GET /state/: 200 
    "#]]
    .assert_eq(&shown);
    cluster.no_process_left().await;
}

/// The test is the executor: the process that the agent starts only sleeps.
#[tokio::test(flavor = "multi_thread")]
async fn a_custom_executor_speaks_json() {
    let mut cluster = Cluster::start().await;
    cluster.launch_with("t1", |task| {
        task.command = None;
        task.executor = Some(
            custom_executor(
                "x",
                "echo $MESOS_EXECUTOR_AUTHENTICATION_TOKEN > token; touch ready; sleep 1000",
            )
            .into(),
        );
    });
    cluster.flush().await;
    cluster.wait_for_file("x", "ready").await;
    let ids = json!({"framework_id": {"value": cluster.framework_id()}, "executor_id": {"value": "x"}});
    let call = |more: Value| {
        let mut call = ids.clone();
        call.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        call.to_string()
    };
    let token = std::fs::read_to_string(cluster.sandbox("x").join("token")).unwrap();
    let bearer = format!("Bearer {}", token.trim());
    let headers = [("content-type", "application/json"), ("authorization", bearer.as_str())];
    let status = |state: &str, number: u8| {
        let uuid = format!("AAAAAAAAAAAAAAAAAAAA{}A==", char::from(b'A' + number));
        let status =
            json!({"task_id": {"value": "t1"}, "state": state, "source": "SOURCE_EXECUTOR", "uuid": uuid});
        call(json!({"type": "UPDATE", "update": {"status": status}}))
    };
    let address = cluster.agent_address();
    let path = "/slave(1)/api/v1/executor";
    let early = request(address, "POST", path, &headers, status("TASK_RUNNING", 0).as_bytes()).await;
    assert_eq!((early.status, early.text().await.as_str()), (403, "Executor is not subscribed"));

    let body = call(json!({"type": "SUBSCRIBE", "subscribe": {}}));
    let mut events = request(address, "POST", path, &headers, body.as_bytes()).await;
    assert_eq!(events.status, 200);
    let subscribed = events.event().await.unwrap();
    assert_eq!(subscribed["type"], "SUBSCRIBED");
    assert_eq!(subscribed["subscribed"]["executor_info"]["executor_id"]["value"], "x");
    assert_eq!(subscribed["subscribed"]["agent_info"]["port"], address.port());
    let launched = events.event().await.unwrap();
    assert_eq!(launched["launch"]["task"]["task_id"]["value"], "t1");
    for (state, number) in [("TASK_RUNNING", 0), ("TASK_FINISHED", 1)] {
        let sent = request(address, "POST", path, &headers, status(state, number).as_bytes()).await;
        assert_eq!(sent.status, 202);
        let acknowledged = events.event().await.unwrap();
        assert_eq!(acknowledged["type"], "ACKNOWLEDGED");
        assert_eq!(acknowledged["acknowledged"]["task_id"]["value"], "t1");
    }
    assert_eq!(cluster.states_until_end("t1").await, [Running, Finished]);
    operators_see(&cluster, "x").await;
    cluster.end_executor("x").await;
    assert_eq!(events.event().await.unwrap()["type"], "SHUTDOWN");
    cluster.no_process_left().await;
}

async fn operators_see(cluster: &Cluster, executor: &str) {
    let address = cluster.agent_address();
    let get = async |path: &str| json(request(address, "GET", path, &[], b"").await).await;
    let state = get("/slave(1)/state").await;
    assert_eq!(state["frameworks"][0]["executors"][0]["id"], executor);
    let directory = state["frameworks"][0]["executors"][0]["directory"].as_str().unwrap().to_owned();
    assert_eq!(get("/version").await["version"], "1.11.0");
    assert_eq!(get("/metrics/snapshot").await["slave/executors_running"], 1.0);
    let statistics = get("/monitor/statistics?container_id=other").await;
    assert_eq!(statistics[0]["executor_id"], executor);
    assert_eq!((statistics[0].get("container_id"), statistics[0].get("status")), (None, None));
    let call = br#"{"type": "GET_CONTAINERS"}"#;
    let containers =
        json(request(address, "POST", "/api/v1", &[("content-type", "application/json")], call).await).await;
    let shown = &containers["get_containers"]["containers"][0];
    assert_eq!(shown["executor_id"]["value"], executor);
    for statistics in [&statistics[0]["statistics"], &shown["resource_statistics"]] {
        assert!(statistics["timestamp"].is_f64() && statistics["mem_limit_bytes"].is_u64(), "{statistics}");
        assert!(statistics["cpus_limit"].is_f64(), "{statistics}");
    }
    let framework = cluster.framework_id();
    for (query, count) in [
        ("".to_owned(), 1),
        ("?container_id=other".to_owned(), 0),
        ("?framework_id=other".to_owned(), 0),
        (format!("?framework_id={framework}"), 1),
        (format!("?framework_id={framework}&executor_id={executor}"), 1),
        (format!("?framework_id={framework}&executor_id=other"), 0),
    ] {
        let containers = get(&format!("/containers{query}")).await;
        assert_eq!(containers.as_array().unwrap().len(), count, "{query}");
    }
    for query in ["executor_id=x", "container_id=x&framework_id=y", "container_id=x&executor_id=y"] {
        let answer = request(address, "GET", &format!("/containers?{query}"), &[], b"").await;
        assert_eq!(answer.status, 400, "{query}");
        assert!(answer.text().await.starts_with("Supported query parameters are container_id only,"));
    }
    let snapshot = request(address, "GET", "/metrics/snapshot?timeout=bad", &[], b"").await;
    assert_eq!(snapshot.status, 400);
    assert_eq!(snapshot.text().await, "Invalid timeout 'bad': Failed to convert '' to number.\n");
    let script = request(address, "GET", "/state?jsonp=f", &[], b"").await.text().await;
    assert!(script.starts_with("f({") && script.ends_with("})"), "{script}");
    let files = get(&format!("/files/browse?path={directory}")).await;
    let names: Vec<_> = files.as_array().unwrap().iter().map(|f| f["path"].as_str().unwrap()).collect();
    assert!(names.iter().any(|name| name.ends_with("/ready")), "{names:?}");
    let part = get(&format!("/files/read?path={directory}/stdout&offset=0")).await;
    assert_eq!(part["offset"], 0);
    for outside in ["/etc/passwd", "/frameworks/../../../meta/lock"] {
        let answer = request(address, "GET", &format!("/files/read?path={outside}"), &[], b"").await;
        assert_eq!(answer.status, 404, "{outside}");
    }
    let post = async |kind: &str| {
        let body = json!({"type": kind}).to_string();
        let headers = [("content-type", "application/json")];
        request(address, "POST", "/api/v1", &headers, body.as_bytes()).await
    };
    assert_eq!(json(post("GET_HEALTH").await).await["get_health"]["healthy"], true);
    let executors = json(post("GET_EXECUTORS").await).await;
    assert_eq!(executors["get_executors"]["executors"][0]["executor_info"]["executor_id"]["value"], executor);
    let containers = json(post("GET_CONTAINERS").await).await;
    assert!(containers["get_containers"]["containers"][0]["container_status"]["executor_pid"].is_number());
    assert_eq!(post("PRUNE_IMAGES").await.status, 501);
}

/// The end of a run does not kill its children, and another run follows.
#[tokio::test(flavor = "multi_thread")]
async fn a_respawned_executor_is_started_again_and_keeps_its_children() {
    let mut cluster = Cluster::start().await;
    let root = cluster.directory();
    let line = format!(
        "echo run >> {root}/runs; test -e {root}/child || {{ sleep 1000 & echo $! > {root}/child; }}; exit 3"
    );
    cluster.launch_with("p1", |task| {
        task.command = None;
        let mut executor = custom_executor("k", &line);
        executor.labels = executor.labels.with(kernel_model::executor::RESPAWN_LABEL, "true");
        task.executor = Some(executor.into());
    });
    cluster.flush().await;
    let runs = || std::fs::read_to_string(format!("{root}/runs")).unwrap_or_default().lines().count();
    crate::cluster::wait_until("three runs", || runs() >= 3).await;
    cluster.crash_agent().await;
    let before = runs();
    cluster.restart_agent().await;
    crate::cluster::wait_until("a run after the agent's restart", || runs() > before).await;
    let child = std::fs::read_to_string(format!("{root}/child")).unwrap();
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", child.trim())).unwrap();
    assert!(!stat.contains(") Z"), "the child lives on");
    cluster.teardown().await;
    let pid = rustix::process::Pid::from_raw(child.trim().parse().unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    cluster.no_process_left().await;
}

/// Realms, challenges and texts of a genuine Mesos agent.
#[tokio::test(flavor = "multi_thread")]
async fn clients_without_credentials_are_refused() {
    let mut cluster = Cluster::start().await;
    let address = cluster.agent_address();
    let read = "Basic realm=\"mesos-agent-readonly\"";
    let write = "Basic realm=\"mesos-agent-readwrite\"";
    for (method, path, realm) in [
        ("GET", "/state", read),
        ("GET", "/slave(1)/state.json", read),
        ("GET", "/flags", read),
        ("GET", "/containers", read),
        ("GET", "/monitor/statistics", read),
        ("GET", "/metrics/snapshot", read),
        ("GET", "/metrics", read),
        ("GET", "/files/read?path=/x", read),
        ("GET", "/files/browse?path=/x", read),
        ("GET", "/files/download?path=/x", read),
        ("POST", "/api/v1", write),
        ("POST", "/slave(1)/api/v1", write),
        ("POST", "/api/v1/executor", "Bearer realm=\"mesos-agent-executor\""),
    ] {
        let refused = client::send_unchanged(address, &format!("{method} {path} HTTP/1.1"), b"").await;
        assert_eq!(refused.header("www-authenticate"), Some(realm), "{method} {path}");
        assert_eq!(refused.status, 401, "{method} {path}");
        assert_eq!(refused.text().await, "401 Unauthorized.", "{method} {path}");
    }
    for (path, status) in [("/health", 200), ("/version", 200), ("/nope", 404)] {
        let open = client::send_unchanged(address, &format!("GET {path} HTTP/1.1"), b"").await;
        assert_eq!(open.status, status, "{path}");
    }
    let body = json!({"type": "SUBSCRIBE", "subscribe": {},
        "framework_id": {"value": cluster.framework_id()}, "executor_id": {"value": "x"}});
    let invalid = "Bearer realm=\"mesos-agent-executor\", error=\"invalid_token\", error_description=";
    for (authorization, description) in [
        ("Bearer", "\"Malformed 'Authorization' header\""),
        ("Basic dGVzdDpzZWNyZXQ=", "\"Scheme 'Basic' unsupported\""),
        ("Bearer a.b.c", "\"Invalid JWT: "),
    ] {
        let headers = [("content-type", "application/json"), ("authorization", authorization)];
        let refused =
            request(address, "POST", "/api/v1/executor", &headers, body.to_string().as_bytes()).await;
        assert_eq!(refused.status, 401, "{authorization}");
        let challenge = refused.header("www-authenticate").unwrap();
        assert!(challenge.starts_with(&format!("{invalid}{description}")), "{challenge}");
    }
    // The token of one executor is of no use to another.
    let token = cluster.token_of_another_executor().await;
    cluster.launch_with("t1", |task| {
        task.command = None;
        task.executor = Some(custom_executor("x", "touch ready; sleep 1000").into());
    });
    cluster.flush().await;
    cluster.wait_for_file("x", "ready").await;
    let headers = [("content-type", "application/json"), ("authorization", token.as_str())];
    let refused = request(address, "POST", "/api/v1/executor", &headers, body.to_string().as_bytes()).await;
    assert_eq!(refused.status, 403);
    let text = refused.text().await;
    assert!(text.starts_with("Authenticated principal '{\"claims\":{"), "{text}");
    assert!(
        text.ends_with("' does not contain an 'eid' claim with the executor ID x, which is set in the call"),
        "{text}"
    );
    cluster.teardown().await;
    cluster.no_process_left().await;
}
