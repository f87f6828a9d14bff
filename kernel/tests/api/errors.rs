//! The table of refusals: codes and texts as a Mesos master gives them, compared word for word.

use std::net::SocketAddr;

use expect_test::expect;
use serde_json::json;

use crate::{
    client::{self, Framework, post_json, send},
    master,
};

#[tokio::test]
async fn refusals_have_the_codes_and_texts_of_mesos() {
    let master = master().await;
    let address = master.mesos_address();
    let json = "Content-Type: application/json";
    let table = [
        ("GET /api/v1/scheduler HTTP/1.1".to_owned(), ""),
        ("POST /api/v1/scheduler HTTP/1.1".to_owned(), "{}"),
        ("POST /api/v1/scheduler HTTP/1.1\r\nContent-Type: text/plain".to_owned(), "{}"),
        (format!("POST /api/v1/scheduler HTTP/1.1\r\n{json}"), "{"),
        (format!("POST /api/v1/scheduler HTTP/1.1\r\n{json}"), "{}"),
        ("POST /api/v1/scheduler HTTP/1.1\r\nContent-Type: application/x-protobuf".to_owned(), "\x0f"),
        (format!("POST /api/v1/scheduler HTTP/1.1\r\n{json}"), r#"{"type":"SUBSCRIBE"}"#),
        (format!("POST /api/v1/scheduler HTTP/1.1\r\n{json}"), r#"{"type":"SUBSCRIBE","subscribe":{}}"#),
        (
            format!("POST /api/v1/scheduler HTTP/1.1\r\n{json}\r\nAccept: text/html"),
            r#"{"type":"SUBSCRIBE","subscribe":{"framework_info":{"user":"u","name":"n"}}}"#,
        ),
        (
            format!("POST /api/v1/scheduler HTTP/1.1\r\n{json}\r\nMesos-Stream-Id: x"),
            r#"{"type":"SUBSCRIBE","subscribe":{"framework_info":{"user":"u","name":"n"}}}"#,
        ),
        (
            format!("POST /api/v1/scheduler HTTP/1.1\r\n{json}"),
            r#"{"type":"REVIVE","framework_id":{"value":"x"}}"#,
        ),
        (
            format!("POST /api/v1/scheduler HTTP/1.1\r\n{json}"),
            r#"{"type":"UNKNOWN","framework_id":{"value":"x"}}"#,
        ),
        (format!("POST /api/v1 HTTP/1.1\r\n{json}"), "{}"),
        (format!("POST /api/v1 HTTP/1.1\r\n{json}"), r#"{"type":"TEARDOWN"}"#),
        (
            format!("POST /api/v1 HTTP/1.1\r\n{json}"),
            r#"{"type":"TEARDOWN","teardown":{"framework_id":{"value":"x"}}}"#,
        ),
        (format!("POST /api/v1 HTTP/1.1\r\n{json}"), r#"{"type":"CREATE_VOLUMES"}"#),
        (format!("POST /api/v1 HTTP/1.1\r\n{json}\r\nAccept: text/html"), r#"{"type":"GET_HEALTH"}"#),
        ("POST /api/v1/agent-link HTTP/1.1".to_owned(), ""),
        ("GET /nothing HTTP/1.1".to_owned(), ""),
    ];
    let shown = answers(address, &table).await;
    expect![[r#"
        405 (Allow: POST) 405 Method Not Allowed. Expecting one of { 'POST' }, but received 'GET'.
        400 Expecting 'Content-Type' to be present
        415 Expecting 'Content-Type' of application/json or application/x-protobuf
        400 Failed to parse body into JSON: syntax error at line 1 near: 
        400 Failed to validate scheduler::Call: Expecting 'type' to be present
        400 Failed to parse body into Call protobuf
        400 Failed to validate scheduler::Call: Expecting 'subscribe' to be present
        400 Failed to convert JSON into Call protobuf: Missing required fields: subscribe.framework_info
        406 Expecting 'Accept' to allow 'application/x-protobuf' or 'application/json'
        400 Subscribe calls should not include the 'Mesos-Stream-Id' header
        400 Framework cannot be found
        400 Framework cannot be found
        400 Failed to validate master::Call: Expecting 'type' to be present
        400 Failed to validate master::Call: Expecting 'teardown' to be present
        400 No framework found with specified ID
        400 Failed to validate master::Call: Expecting 'create_volumes' to be present
        406 Expecting 'Accept' to allow 'application/x-protobuf' or 'application/json'
        404 This master takes no agents from other machines
        404 404 Not Found.
    "#]]
    .assert_eq(&shown);
    master.shutdown().await;
}

async fn answers(address: SocketAddr, table: &[(String, &str)]) -> String {
    let mut shown = String::new();
    for (head, body) in table {
        let answer = send(address, head, body.as_bytes()).await;
        let (status, allow) =
            (answer.status, answer.header("allow").map(|allow| format!(" (Allow: {allow})")));
        shown += &format!("{status}{} {}\n", allow.unwrap_or_default(), answer.text().await);
    }
    shown
}

/// Trailing slashes and paths below an endpoint lead to it; other paths are unknown.
#[tokio::test]
async fn paths_and_methods_are_those_of_libprocess() {
    let master = master().await;
    let address = master.mesos_address();
    for path in [
        "/state/",
        "/slaves/",
        "/master/slaves//",
        "/tasks/x",
        "/state.json/",
        "/metrics/snapshot/",
        "/version/",
    ] {
        assert_eq!(client::get(address, path).await.status, 200, "{path}");
    }
    for method in ["POST", "PUT", "DELETE", "PATCH"] {
        assert_eq!(send(address, &format!("{method} /state HTTP/1.1"), b"").await.status, 200, "{method}");
    }
    let lines = [
        "GET /nope",
        "GET /master/nope",
        "POST /nope",
        "PUT /master",
        "GET /",
        "GET /state/../state",
        "GET /metrics/other",
        "POST /flags",
        "PUT /maintenance/status",
        "PUT /maintenance/schedule",
        "POST /maintenance/schedule",
        "DELETE /weights",
        "PUT /quota",
        "GET /teardown",
        "GET /reserve",
        "POST /create-volumes",
        "DELETE /machine/down",
        "GET /api/v1",
        "PUT /api/v1/",
        "GET /api/v1/scheduler/",
    ];
    let table: Vec<_> = lines.map(|line| (format!("{line} HTTP/1.1"), "")).to_vec();
    expect![[r#"
        404 404 Not Found.
        404 404 Not Found.
        404 404 Not Found.
        404 404 Not Found.
        404 404 Not Found.
        404 404 Not Found.
        404 404 Not Found.
        405 (Allow: GET) 405 Method Not Allowed. Expecting one of { 'GET' }, but received 'POST'.
        405 (Allow: GET) 405 Method Not Allowed. Expecting one of { 'GET' }, but received 'PUT'.
        405 (Allow: GET, POST) 405 Method Not Allowed. Expecting one of { 'GET', 'POST' }, but received 'PUT'.
        501 /maintenance/schedule is not carried out by this version of Catamaran
        405 (Allow: GET, PUT) 405 Method Not Allowed. Expecting one of { 'GET', 'PUT' }, but received 'DELETE'.
        405 (Allow: GET, POST, DELETE) 405 Method Not Allowed. Expecting one of { 'GET', 'POST', 'DELETE' }, but received 'PUT'.
        405 (Allow: POST) 405 Method Not Allowed. Expecting one of { 'POST' }, but received 'GET'.
        405 (Allow: POST) 405 Method Not Allowed. Expecting one of { 'POST' }, but received 'GET'.
        400 Missing 'slaveId' query parameter in the request body
        405 (Allow: POST) 405 Method Not Allowed. Expecting one of { 'POST' }, but received 'DELETE'.
        405 (Allow: POST) 405 Method Not Allowed. Expecting one of { 'POST' }, but received 'GET'.
        405 (Allow: POST) 405 Method Not Allowed. Expecting one of { 'POST' }, but received 'PUT'.
        405 (Allow: POST) 405 Method Not Allowed. Expecting one of { 'POST' }, but received 'GET'.
    "#]].assert_eq(&answers(address, &table).await);
}

#[tokio::test]
async fn bodies_are_refused_with_the_texts_of_mesos() {
    let master = master().await;
    let address = master.mesos_address();
    let json = |path: &str| format!("POST {path} HTTP/1.1\r\nContent-Type: application/json");
    let (operator, put) = (json("/api/v1"), "PUT /weights HTTP/1.1".to_owned());
    let teardown = "POST /teardown HTTP/1.1".to_owned();
    let accept = |types: &str| format!("{operator}\r\nAccept: {types}");
    let table = [
        (operator.clone(), ""),
        (operator.clone(), "xx"),
        (json("/api/v1/scheduler"), ""),
        (json("/api/v1/scheduler"), "xx"),
        (
            json("/api/v1/scheduler"),
            r#"{"type":"SUBSCRIBE","subscribe":{"framework_info":{"user":"u","name":"n","checkpoint":"yes"}}}"#,
        ),
        (operator.clone(), r#"{"type":"FROM_THE_FUTURE"}"#),
        (operator.clone(), r#"{"type":"UNKNOWN"}"#),
        (operator.clone(), r#"{"type":"SET_QUOTA"}"#),
        (operator.clone(), r#"{"type":"READ_FILE"}"#),
        (operator.clone(), r#"{"type":"UPDATE_WEIGHTS"}"#),
        (
            operator.clone(),
            r#"{"type":"UPDATE_WEIGHTS","update_weights":{"weight_infos":[{"weight":1,"role":"/a"}]}}"#,
        ),
        (
            operator.clone(),
            r#"{"type":"UPDATE_WEIGHTS","update_weights":{"weight_infos":[{"weight":-1.5,"role":"a"}]}}"#,
        ),
        (
            accept("text/html"),
            r#"{"type":"UPDATE_WEIGHTS","update_weights":{"weight_infos":[{"weight":-1,"role":"a"}]}}"#,
        ),
        (accept("application/json;q=0"), r#"{"type":"UNKNOWN"}"#),
        (accept("application/json;q=0, */*"), r#"{"type":"UNKNOWN"}"#),
        (put.clone(), ""),
        (put.clone(), "{}"),
        (put.clone(), "[1]"),
        (put.clone(), r#"[{"role":"a"}]"#),
        (put.clone(), r#"[{"weight":1}]"#),
        (put.clone(), r#"[{"role":"a","weight":"x"}]"#),
        (put.clone(), r#"[{"role":" a/. ","weight":1}]"#),
        (put.clone(), r#"[{"role":" a ","weight":0}]"#),
        (put, r#"[{"role":" a ","weight":2}]"#),
        (teardown.clone(), ""),
        (teardown.clone(), "frameworkId=%zz"),
        (teardown, "frameworkId=x"),
    ];
    expect![[r#"
        400 Failed to parse body into JSON: syntax error at line 1 near: 
        400 Failed to parse body into JSON: syntax error at line 1 near: xx
        400 Failed to parse body into JSON: syntax error at line 1 near: 
        400 Failed to parse body into JSON: syntax error at line 1 near: xx
        400 Failed to convert JSON into Call protobuf: Failed to parse 'yes' as a JSON boolean for field 'checkpoint': syntax error at line 1 near: yes
        400 Failed to validate master::Call: Expecting 'type' to be present
        501 501 Not Implemented.
        400 Failed to validate master::Call: Expecting 'set_quota' to be present
        400 Failed to validate master::Call: Expecting 'read_file' to be present
        400 Failed to validate master::Call: Expecting 'update_weights' to be present
        400 Failed to validate update weights request JSON: Invalid role '/a': Role '/a' cannot start with a slash
        400 Failed to validate update weights request JSON for role 'a': Invalid weight '-1.5': Weights must be positive
        406 Expecting 'Accept' to allow 'application/x-protobuf' or 'application/json'
        406 Expecting 'Accept' to allow 'application/x-protobuf' or 'application/json'
        501 501 Not Implemented.
        400 Failed to parse update weights request JSON '': syntax error at line 1 near: 
        400 Failed to parse update weights request JSON '{}': Unexpected JSON type parsed
        400 Failed to convert weights JSON array to protobuf '[1]': Expecting a JSON object
        400 Failed to convert weights JSON array to protobuf '[{"role":"a"}]': Missing required fields: weight
        400 Failed to validate update weights request JSON: Invalid role '': Role names cannot be the empty string
        400 Failed to convert weights JSON array to protobuf '[{"role":"a","weight":"x"}]': Failed to parse 'x' as a JSON number for field 'weight': syntax error at line 1 near: x
        400 Failed to validate update weights request JSON: Invalid role 'a/.': Role 'a/.' cannot include '.' as a component
        400 Failed to validate update weights request JSON for role 'a': Invalid weight '0': Weights must be positive
        200 
        400 Missing 'frameworkId' query parameter in the request body
        400 Unable to decode query string: Malformed % escape in '%zz': '%zz'
        400 No framework found with specified ID
    "#]].assert_eq(&answers(address, &table).await);
}

#[tokio::test]
async fn calls_need_the_id_of_their_stream() {
    let master = master().await;
    let framework = Framework::subscribe(master.mesos_address(), json!({})).await;
    let call = json!({"type": "REVIVE", "framework_id": {"value": framework.id}});
    for (stream, status) in [(None, 400), (Some("wrong"), 400), (Some(framework.stream.as_str()), 202)] {
        let answer = post_json(master.mesos_address(), "/api/v1/scheduler", &call, stream).await;
        assert_eq!(answer.status, status, "{stream:?}");
    }
    assert!(uuid::Uuid::parse_str(&framework.stream).is_ok());
}

#[tokio::test]
async fn a_refused_subscription_is_one_error_on_a_stream() {
    let master = master().await;
    let call = json!({"type": "SUBSCRIBE", "subscribe": {"framework_info": {"user": "u", "name": "n", "roles": ["a"]}}});
    let mut answer = post_json(master.mesos_address(), "/api/v1/scheduler", &call, None).await;
    assert_eq!(answer.status, 200);
    assert!(answer.header("mesos-stream-id").is_some());
    assert_eq!(answer.header("transfer-encoding"), Some("chunked"));
    let event = answer.event().await.expect("an event");
    assert_eq!(
        event["error"]["message"],
        "'FrameworkInfo.roles' must not be set when the framework is not MULTI_ROLE capable"
    );
    assert_eq!(answer.event().await, None);
}

#[tokio::test]
async fn bodies_that_are_too_long_are_not_read() {
    let master = master().await;
    let head = "POST /api/v1/scheduler HTTP/1.1\r\nContent-Type: application/json";
    let answer = client::send(master.mesos_address(), head, &vec![b' '; (32 << 20) + 1]).await;
    assert_eq!(answer.status, 413);
}
