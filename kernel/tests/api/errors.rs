//! The table of refusals: codes and texts as a Mesos master gives them, compared word for word.

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
    let mut shown = String::new();
    for (head, body) in table {
        let answer = send(address, &head, body.as_bytes()).await;
        let status = answer.status;
        shown += &format!("{status} {}\n", answer.text().await);
    }
    expect![[r#"
        405 405 Method Not Allowed. Expecting one of { 'POST' }, but received 'GET'.
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
        501 CREATE_VOLUMES is not carried out by this version of Catamaran
        406 Expecting 'Accept' to allow 'application/x-protobuf' or 'application/json'
        404 This master takes no agents from other machines
        404 
    "#]]
    .assert_eq(&shown);
    master.shutdown().await;
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
