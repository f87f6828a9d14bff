//! Quotas through the HTTP APIs, in both versions, with Mesos' answers.

use std::sync::Arc;

use expect_test::expect;
use serde_json::{Value, json};
use store::MemoryStore;

use crate::{
    client::{get, post_json, send},
    fake_agent, master_on,
};

#[tokio::test]
async fn quotas_are_set_shown_removed_and_survive_a_restart() {
    let store = Arc::new(MemoryStore::new());
    let first = master_on(store.clone()).await;
    let address = first.mesos_address();
    let mut agent = fake_agent::start(first.attach_agent(), "one").await;
    fake_agent::next_message(&mut agent, |m| {
        matches!(m, kernel_model::agent::ToAgent::Registered { .. }).then_some(())
    })
    .await;
    let mut lines = Vec::new();
    let mut note = |what: &str, status: u16, text: &str| {
        lines.push(format!("{what}: {status} {text}").trim_end().to_owned())
    };
    let update = |configs: Value| json!({"type": "UPDATE_QUOTA", "update_quota": {"quota_configs": configs}});
    let scalar = |amount: f64| json!({"value": amount});
    for (what, call) in [
        ("nested", update(json!([{"role": "eng/web", "limits": {"cpus": scalar(1.0)}}]))),
        ("too much", update(json!([{"role": "eng", "guarantees": {"cpus": scalar(1e6)}}]))),
        ("invalid role", update(json!([{"role": "a b"}]))),
        ("negative", update(json!([{"role": "eng", "limits": {"cpus": scalar(-1.0)}}]))),
        ("exabyte", update(json!([{"role": "eng", "limits": {"mem": scalar(2e12)}}]))),
        ("trillion", update(json!([{"role": "eng", "guarantees": {"cpus": scalar(2e12)}}]))),
        (
            "above the limit",
            update(
                json!([{"role": "eng", "guarantees": {"cpus": scalar(2.0)}, "limits": {"cpus": scalar(1.5)}}]),
            ),
        ),
        ("remove nothing", json!({"type": "REMOVE_QUOTA", "remove_quota": {"role": "x"}})),
        (
            "set",
            json!({"type": "SET_QUOTA", "set_quota": {"quota_request": {"role": "x", "guarantee": [
                {"name": "cpus", "type": "SCALAR", "scalar": scalar(0.5)}]}}}),
        ),
        ("set nothing", json!({"type": "SET_QUOTA", "set_quota": {"quota_request": {"role": "y"}}})),
    ] {
        let answer = post_json(address, "/api/v1", &call, None).await;
        note(what, answer.status, &answer.text().await);
    }
    let request =
        br#"{"role": "ops", "guarantee": [{"name": "cpus", "type": "SCALAR", "scalar": {"value": 0.25}}]}"#;
    for (line, body) in [
        ("POST /quota HTTP/1.1", &request[..]),
        ("POST /quota HTTP/1.1", &request[..]),
        ("POST /master/quota HTTP/1.1", b"[]"),
        ("DELETE /master/quota/x HTTP/1.1", b""),
        ("DELETE /master/quota/x HTTP/1.1", b""),
        ("DELETE /quota HTTP/1.1", b""),
        ("GET /quota HTTP/1.1", b""),
    ] {
        let answer = send(address, line, body).await;
        note(line, answer.status, &answer.text().await);
    }
    let roles: Value = serde_json::from_str(&get(address, "/roles").await.text().await).expect("JSON");
    let quotas = roles["roles"].as_array().into_iter().flatten().map(|role| role["quota"].to_string());
    lines.extend(quotas);
    first.shutdown().await;
    let second = master_on(store).await;
    lines.push(
        post_json(second.mesos_address(), "/api/v1", &json!({"type": "GET_QUOTA"}), None).await.text().await,
    );
    expect![[r#"
        nested: 200
        too much: 400 Invalid QuotaConfig: total quota guarantees 'cpus:1000000' exceed cluster capacity 'cpus:4; mem:4096' (use 'force' flag to bypass this check)
        invalid role: 400 Invalid QuotaConfig: Invalid 'QuotaConfig.role': Role component 'a b' is invalid because it contains backspace or whitespace
        negative: 400 Invalid QuotaConfig: Invalid limit configuration {'cpus': -1}: Negative values not supported
        exabyte: 400 Invalid QuotaConfig: Invalid 'QuotaConfig.limits': {'mem': 2000000000000} is invalid: values greater than 1 exabyte (1099511627776) are not supported
        trillion: 400 Invalid QuotaConfig: Invalid 'QuotaConfig.guarantees': {'cpus': 2000000000000} is invalid: values greater than 1 trillion (1000000000000) are not supported
        above the limit: 400 Invalid QuotaConfig: 'QuotaConfig.guarantees' {cpus: 2} is not contained within the 'QuotaConfig.limits' {cpus: 1.5}
        remove nothing: 400 Failed to remove quota: Role 'x' has no quota set
        set: 200
        set nothing: 400 Failed to validate set quota request: QuotaInfo with empty 'guarantee'
        POST /quota HTTP/1.1: 200
        POST /quota HTTP/1.1: 400 Failed to validate set quota request: Cannot set quota for role 'ops' which already has quota
        POST /master/quota HTTP/1.1: 400 Failed to parse set quota request JSON '[]': Unexpected JSON type parsed
        DELETE /master/quota/x HTTP/1.1: 200
        DELETE /master/quota/x HTTP/1.1: 400 Failed to remove quota for path '/master/quota/x': Role 'x' has no quota set
        DELETE /quota HTTP/1.1: 400 Failed to parse remove quota request for path '/master/quota': expected 3 tokens, found 2 tokens
        GET /quota HTTP/1.1: 200 {"configs":[{"limits":{"cpus":{"value":1.0}},"role":"eng/web"},{"guarantees":{"cpus":{"value":0.25}},"limits":{"cpus":{"value":0.25}},"role":"ops"}],"infos":[{"role":"eng/web"},{"guarantee":[{"name":"cpus","role":"*","scalar":{"value":0.25},"type":"SCALAR"}],"role":"ops"}]}
        {"consumed":{},"guarantee":{},"limit":{"cpus":1.0},"role":"eng/web"}
        {"consumed":{},"guarantee":{"cpus":0.25},"limit":{"cpus":0.25},"role":"ops"}
        {"type":"GET_QUOTA","get_quota":{"status":{"infos":[{"role":"eng/web"},{"role":"ops","guarantee":[{"name":"cpus","type":"SCALAR","scalar":{"value":0.25},"role":"*"}]}],"configs":[{"role":"eng/web","limits":{"cpus":{"value":1.0}}},{"role":"ops","guarantees":{"cpus":{"value":0.25}},"limits":{"cpus":{"value":0.25}}}]}}}"#]].assert_eq(&lines.join("\n"));
}

#[tokio::test]
async fn a_limit_of_nothing_is_shown_with_its_amount() {
    let master = master_on(Arc::new(MemoryStore::new())).await;
    let address = master.mesos_address();
    let nothing = json!({"cpus": {"value": 0.0}});
    let configs = json!([{"role": "none", "guarantees": nothing, "limits": nothing}]);
    let update = json!({"type": "UPDATE_QUOTA", "update_quota": {"quota_configs": configs}});
    assert_eq!(post_json(address, "/api/v1", &update, None).await.status, 200);
    let request =
        br#"{"role": "set", "guarantee": [{"name": "mem", "type": "SCALAR", "scalar": {"value": 0}}]}"#;
    assert_eq!(send(address, "POST /quota HTTP/1.1", request).await.status, 200);
    let mut lines = vec![get(address, "/quota").await.text().await];
    let roles: Value = serde_json::from_str(&get(address, "/roles").await.text().await).expect("JSON");
    lines.extend(roles["roles"].as_array().into_iter().flatten().map(|role| role["quota"].to_string()));
    expect![[r#"
        {"configs":[{"limits":{"cpus":{"value":0.0}},"role":"none"},{"limits":{"mem":{"value":0.0}},"role":"set"}],"infos":[{"role":"none"},{"role":"set"}]}
        {"consumed":{},"guarantee":{},"limit":{"cpus":0.0},"role":"none"}
        {"consumed":{},"guarantee":{},"limit":{"mem":0.0},"role":"set"}"#]].assert_eq(&lines.join("\n"));
}
