//! Admission webhooks over HTTPS: what they see, change and deny, and what happens when they fail.

use std::time::{Duration, Instant};

use expect_test::expect;
use serde_json::{Value, json};

use crate::harness::{Server, request};
use crate::scrape::Scrape;
use crate::webhook_server::{WebhookServer, allow, configure, deny, patch, response, unconfigure, webhook};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const MERGE: &str = "Content-Type: application/merge-patch+json";
const MAPS_RULE: [&str; 3] = ["*", "", "configmaps"];

/// Labels objects as `/label/KEY` says, denies at `/deny`, warns at `/warn`, and never answers at `/hang`.
fn answers(path: &str, review: &Value) -> Option<Value> {
    let object = &review["request"]["object"];
    match path {
        "hang" => None,
        "undo" => Some(patch(review, json!([{"op": "remove", "path": "/metadata/nothing"}]))),
        set if set.starts_with("set/") => {
            let (member, value) = set["set/".len()..].split_once('/').unwrap();
            let path = format!("/metadata/{member}");
            Some(patch(review, json!([{"op": "replace", "path": path, "value": value}])))
        }
        "deny" => Some(deny(review, "not today")),
        "warn" => Some(response(
            review,
            json!({"allowed": true, "warnings": ["first", "second"], "auditAnnotations": {"k": "v"}}),
        )),
        "other-uid" => Some(json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
            "response": {"uid": "other", "allowed": true}})),
        label => {
            let Some(label) = label.strip_prefix("label/") else { return Some(allow(review)) };
            let mut labels = object["metadata"]["labels"].clone();
            if labels.is_null() {
                labels = json!({});
            }
            labels[label] = labels.as_object().unwrap().keys().cloned().collect::<Vec<_>>().join("-").into();
            Some(patch(review, json!([{"op": "add", "path": "/metadata/labels", "value": labels}])))
        }
    }
}

async fn start() -> (Server, WebhookServer) {
    let server = Server::start().await;
    let hooks = WebhookServer::start(&server, answers).await;
    (server, hooks)
}

async fn map(server: &Server, name: &str) -> Value {
    server.json(&format!("POST {MAPS}"), &json!({"metadata": {"name": name}}).to_string()).await
}

#[tokio::test]
async fn webhooks_mutate_in_order_and_then_validate() {
    let (server, hooks) = start().await;
    let b = webhook("b", hooks.url("label/b"), MAPS_RULE, json!({}));
    let a = webhook("a", hooks.url("label/a"), MAPS_RULE, json!({}));
    configure(&server, "mutating", "second", &[b]).await;
    configure(&server, "mutating", "first", &[a]).await;
    configure(&server, "validating", "v", &[webhook("v", hooks.url("warn"), MAPS_RULE, json!({}))]).await;
    let answer =
        server.ask(&format!("POST {MAPS}?fieldManager=me"), r#"{"metadata":{"generateName":"m-"}}"#).await;
    assert!(answer.starts_with("201 299 - \"first\" 299 - \"second\""), "{answer}");
    let paths: Vec<(String, Value)> = hooks.take();
    let order: Vec<&str> = paths.iter().map(|(path, _)| path.as_str()).collect();
    assert_eq!(order, ["label/a", "label/b", "warn"]);
    let mut review = paths[1].1.clone();
    assert!(review["request"]["uid"].as_str().unwrap().len() == 36);
    review["request"]["uid"] = "u".into();
    let managed = review["request"]["object"]["metadata"]["managedFields"].take();
    assert_eq!((&managed[0]["manager"], managed.as_array().unwrap().len()), (&json!("me"), 1));
    expect![[r#"{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{"dryRun":false,"kind":{"group":"","kind":"ConfigMap","version":"v1"},"namespace":"default","object":{"apiVersion":"v1","kind":"ConfigMap","metadata":{"generateName":"m-","labels":{"a":""},"managedFields":null,"namespace":"default"}},"oldObject":null,"operation":"CREATE","options":{"apiVersion":"meta.k8s.io/v1","fieldManager":"me","kind":"CreateOptions"},"requestKind":{"group":"","kind":"ConfigMap","version":"v1"},"requestResource":{"group":"","resource":"configmaps","version":"v1"},"resource":{"group":"","resource":"configmaps","version":"v1"},"uid":"u","userInfo":{"groups":["system:masters","system:authenticated"],"username":"test"}}}"#]].assert_eq(&review.to_string());
    let validated = &paths[2].1["request"];
    assert_eq!(validated["object"]["metadata"]["labels"], json!({"a": "", "b": "a"}));
    assert!(validated["object"]["metadata"]["uid"].is_string(), "validating webhooks see the final object");
    assert!(validated["name"].is_string(), "the server has generated the name");
    assert_eq!(validated["name"], validated["object"]["metadata"]["name"]);
}

#[tokio::test]
async fn a_denial_is_the_answer() {
    let (server, hooks) = start().await;
    let rule = ["CREATE,DELETE", "", "configmaps"];
    configure(&server, "validating", "v", &[webhook("v", hooks.url("deny"), rule, json!({}))]).await;
    expect![[r#"403 {"apiVersion":"v1","code":403,"kind":"Status","message":"admission webhook \"v.example.com\" denied the request: not today","metadata":{},"reason":"Forbidden","status":"Failure"}"#]]
        .assert_eq(&server.ask(&format!("POST {MAPS}"), r#"{"metadata":{"name":"a"}}"#).await);
    hooks.take();
    unconfigure(&server, "validating", "v").await;
    map(&server, "a").await;
    configure(&server, "validating", "v", &[webhook("v", hooks.url("deny"), rule, json!({}))]).await;
    let refused = server.ask(&format!("DELETE {MAPS}/a?gracePeriodSeconds=3"), "").await;
    assert!(refused.starts_with("403"), "{refused}");
    let refused = server.ask(&format!("DELETE {MAPS}"), "").await;
    assert!(refused.starts_with("403"), "{refused}");
    let found = hooks.requests();
    let seen: Vec<[&Value; 4]> = found
        .iter()
        .map(|r| [&r["operation"], &r["name"], &r["object"], &r["oldObject"]["metadata"]["name"]])
        .collect();
    let (delete, null) = (json!("DELETE"), Value::Null);
    assert_eq!(seen[0], [&delete, &json!("a"), &null, &json!("a")]);
    assert_eq!(seen[1][..3], [&delete, &null, &null], "as upstream, a collection has no name");
    assert_eq!(
        found[0]["options"],
        json!({"kind": "DeleteOptions", "apiVersion": "meta.k8s.io/v1", "gracePeriodSeconds": 3})
    );
    let stored = server.ask(&format!("GET {MAPS}/a"), "").await;
    assert!(stored.starts_with("200"), "{stored}");
    let patched = server.ask(&format!("PATCH {MAPS}/a | {MERGE}"), r#"{"data":{"k":"v"}}"#).await;
    assert!(patched.starts_with("200"), "the rule has no UPDATE: {patched}");
}

#[tokio::test]
async fn a_patch_of_a_deletion_is_refused() {
    let (server, hooks) = start().await;
    map(&server, "a").await;
    let rule = ["DELETE", "", "configmaps"];
    configure(&server, "mutating", "m", &[webhook("m", hooks.url("label/x"), rule, json!({}))]).await;
    let refused = server.json(&format!("DELETE {MAPS}/a"), "").await;
    assert_eq!(
        refused["message"],
        "Internal error occurred: admission webhook \"m.example.com\" attempted to modify the object, which is not supported for this operation"
    );
}

/// A port that nothing listens on: it was free a moment ago.
fn closed_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

#[tokio::test]
async fn the_failure_policy_decides_about_failures() {
    let (server, hooks) = start().await;
    let port = closed_port();
    let down = json!({"url": format!("https://127.0.0.1:{port}"), "caBundle": hooks.ca_bundle});
    let other_ca = json!({"url": format!("https://127.0.0.1:{}", hooks.port)});
    let ignore = json!({"failurePolicy": "Ignore"});
    let mut answers = Vec::new();
    for (client, more) in [
        (down.clone(), json!({})),
        (down, ignore.clone()),
        (hooks.url("other-uid"), json!({})),
        (hooks.url("other-uid"), ignore.clone()),
        (hooks.url("deny"), ignore),
        (other_ca, json!({})),
    ] {
        configure(&server, "validating", "v", &[webhook("v", client, MAPS_RULE, more)]).await;
        let answer = server.json(&format!("POST {MAPS}?dryRun=All"), r#"{"metadata":{"name":"a"}}"#).await;
        let message = answer["message"].as_str().unwrap_or("admitted");
        answers.push(message.replace(&port.to_string(), "DOWN").replace(&hooks.port.to_string(), "UP"));
        unconfigure(&server, "validating", "v").await;
    }
    let uid = answers[2].split('"').nth(3).unwrap().to_owned();
    answers[2] = answers[2].replace(&uid, "UID");
    expect![[r#"
        Internal error occurred: failed calling webhook "v.example.com": failed to call webhook: Post "https://127.0.0.1:DOWN/?timeout=5s": dial tcp 127.0.0.1:DOWN: connect: connection refused
        admitted
        Internal error occurred: failed calling webhook "v.example.com": received invalid webhook response: expected response.uid="UID", got "other"
        admitted
        admission webhook "v.example.com" denied the request: not today
        Internal error occurred: failed calling webhook "v.example.com": failed to call webhook: Post "https://127.0.0.1:UP/?timeout=5s": TLS handshake with 127.0.0.1:UP: invalid peer certificate: UnknownIssuer"#]]
    .assert_eq(&answers.join("\n"));
}

#[tokio::test]
async fn a_webhook_that_hangs_holds_only_its_own_request() {
    let (server, hooks) = start().await;
    let slow = json!({"timeoutSeconds": 1, "failurePolicy": "Ignore"});
    configure(&server, "mutating", "m", &[webhook("m", hooks.url("hang"), MAPS_RULE, slow)]).await;
    let start = Instant::now();
    let (made, other) = tokio::join!(map(&server, "a"), async {
        let secret = r#"{"metadata":{"name":"s"}}"#;
        let answer = server.ask("POST /api/v1/namespaces/default/secrets", secret).await;
        (answer, start.elapsed())
    });
    assert_eq!(made["metadata"]["name"], "a");
    assert!(start.elapsed() >= Duration::from_secs(1));
    assert!(other.0.starts_with("201") && other.1 < Duration::from_secs(1), "{other:?}");

    unconfigure(&server, "mutating", "m").await;
    configure(&server, "mutating", "m", &[webhook("m", hooks.url("hang"), MAPS_RULE, json!({}))]).await;
    // The client's limit is shorter than the webhook's.
    let refused = server.json(&format!("POST {MAPS}?timeout=200ms"), r#"{"metadata":{"name":"b"}}"#).await;
    assert_eq!(refused["message"], "Timeout: request did not complete within the allotted timeout");
    assert_eq!((&refused["code"], &refused["reason"]), (&json!(504), &json!("Timeout")));
    let refused = server.ask(&format!("POST {MAPS}?timeout=soon"), r#"{"metadata":{"name":"b"}}"#).await;
    assert!(
        refused
            .contains("invalid timeout specified in the request URL - time: invalid duration \\\"soon\\\""),
        "{refused}"
    );
}

#[tokio::test]
async fn dry_runs_call_webhooks_without_side_effects() {
    let (server, hooks) = start().await;
    let v1beta1 = json!({"sideEffects": "NoneOnDryRun", "admissionReviewVersions": ["v1beta1"]});
    configure(&server, "mutating", "m", &[webhook("m", hooks.url("label/x"), MAPS_RULE, v1beta1)]).await;
    let made = server.json(&format!("POST {MAPS}?dryRun=All"), r#"{"metadata":{"name":"a"}}"#).await;
    assert_eq!(made["metadata"]["labels"], json!({"x": ""}));
    let seen = hooks.take();
    assert_eq!(seen[0].1["apiVersion"], "admission.k8s.io/v1beta1");
    assert_eq!(seen[0].1["request"]["dryRun"], true);
    assert_eq!(seen[0].1["request"]["options"]["dryRun"], json!(["All"]));
    let stored = server.ask(&format!("GET {MAPS}/a"), "").await;
    assert!(stored.starts_with("404"), "{stored}");
}

#[tokio::test]
async fn webhooks_that_want_it_run_again_after_a_change() {
    let (server, hooks) = start().await;
    let again = json!({"reinvocationPolicy": "IfNeeded"});
    let all = [
        webhook("a", hooks.url("plain/a"), MAPS_RULE, again.clone()),
        webhook("b", hooks.url("label/b"), MAPS_RULE, again.clone()),
        webhook("c", hooks.url("plain/c"), MAPS_RULE, again),
        webhook("d", hooks.url("plain/d"), MAPS_RULE, json!({})),
    ];
    configure(&server, "mutating", "m", &all).await;
    map(&server, "a").await;
    let order: Vec<String> = hooks.take().into_iter().map(|(path, _)| path).collect();
    assert_eq!(
        order,
        ["plain/a", "label/b", "plain/c", "plain/d", "plain/a"],
        "only a has not seen the change"
    );
}

#[tokio::test]
async fn configurations_and_what_does_not_match_are_left_alone() {
    let (server, hooks) = start().await;
    let everything = webhook(
        "v",
        hooks.url("deny"),
        ["*", "*", "*/*"],
        json!({
            "matchConditions": [{"name": "c", "expression": "object == null || !has(object.metadata.name) || object.metadata.name != 'free'"}],
            "namespaceSelector": {"matchExpressions": [{"key": "free", "operator": "DoesNotExist"}]},
            "objectSelector": {"matchExpressions": [{"key": "free", "operator": "DoesNotExist"}]},
        }),
    );
    let free = r#"{"metadata":{"name":"free-ns","labels":{"free":"1"}}}"#;
    server.ask("POST /api/v1/namespaces", free).await;
    configure(&server, "validating", "v", &[everything]).await;
    let transcript = [
        server.ask(&format!("POST {MAPS}"), r#"{"metadata":{"name":"a"}}"#).await,
        server.ask(&format!("POST {MAPS}"), r#"{"metadata":{"name":"free"}}"#).await,
        server.ask(&format!("POST {MAPS}"), r#"{"metadata":{"name":"b","labels":{"free":"1"}}}"#).await,
        server.ask("POST /api/v1/namespaces/free-ns/configmaps", r#"{"metadata":{"name":"a"}}"#).await,
        server.ask("POST /api/v1/namespaces", r#"{"metadata":{"name":"other"}}"#).await,
        server
            .ask(
                "PATCH /api/v1/namespaces/free-ns | Content-Type: application/merge-patch+json",
                r#"{"metadata":{"labels":{"x":"1"}}}"#,
            )
            .await,
        server
            .ask(
                "POST /apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations",
                r#"{"metadata":{"name":"w"}}"#,
            )
            .await,
        server
            .ask("DELETE /apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations/v", "")
            .await,
    ];
    let codes: Vec<&str> = transcript.iter().map(|answer| &answer[..3]).collect();
    assert_eq!(codes, ["403", "201", "201", "201", "403", "200", "201", "200"], "{transcript:?}");
}

#[tokio::test]
async fn match_conditions_that_fail_follow_the_failure_policy() {
    let (server, hooks) = start().await;
    let condition = json!([{"name": "c", "expression": "object.data.missing == 'x'"}]);
    let fail = json!({"matchConditions": condition});
    configure(&server, "mutating", "m", &[webhook("m", hooks.url("label/x"), MAPS_RULE, fail)]).await;
    let refused = server.json(&format!("POST {MAPS}"), r#"{"metadata":{"name":"a"}}"#).await;
    assert_eq!(
        refused["message"],
        "configmaps \"a\" is forbidden: expression 'object.data.missing == 'x'' resulted in error: no such key: data"
    );
    unconfigure(&server, "mutating", "m").await;
    let ignore = json!({"matchConditions": condition, "failurePolicy": "Ignore"});
    configure(&server, "mutating", "m", &[webhook("m", hooks.url("label/x"), MAPS_RULE, ignore)]).await;
    assert_eq!(map(&server, "a").await["metadata"]["labels"], Value::Null);
    assert!(hooks.take().is_empty());
    let wrong = webhook(
        "w",
        hooks.url("warn"),
        MAPS_RULE,
        json!({"matchConditions": [
        {"name": "c", "expression": "params.x == 'y'"}]}),
    );
    let body = json!({"metadata": {"name": "w"}, "webhooks": [wrong]}).to_string();
    let refused =
        server.json("POST /apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations", &body).await;
    let message = refused["message"].as_str().unwrap();
    assert!(message.contains("webhooks[0].matchConditions[0].expression: Invalid value"), "{message}");
    assert!(message.contains("undeclared reference to 'params'"), "{message}");
}

#[tokio::test]
async fn calls_are_counted() {
    let (server, hooks) = start().await;
    let ignore = json!({"failurePolicy": "Ignore"});
    configure(&server, "mutating", "m", &[webhook("m", hooks.url("other-uid"), MAPS_RULE, ignore)]).await;
    configure(&server, "validating", "v", &[webhook("v", hooks.url("deny"), MAPS_RULE, json!({}))]).await;
    map(&server, "a").await;
    let text = {
        let response = server.service().respond(request("GET /metrics", "")).await;
        let bytes = http_body_util::BodyExt::collect(response.into_body()).await.unwrap().to_bytes();
        String::from_utf8(bytes.to_vec()).unwrap()
    };
    Scrape::parse(&text);
    let counted: Vec<&str> = text
        .lines()
        .filter(|line| {
            line.starts_with("apiserver_admission_") && !line.contains("_bucket") && !line.contains("_sum")
        })
        .collect();
    expect![[r#"
        apiserver_admission_webhook_admission_duration_seconds_count{name="m.example.com",operation="CREATE",rejected="false",type="admit"} 1
        apiserver_admission_webhook_admission_duration_seconds_count{name="v.example.com",operation="CREATE",rejected="true",type="validating"} 1
        apiserver_admission_webhook_fail_open_count{name="m.example.com",type="admit"} 1
        apiserver_admission_webhook_rejection_count{error_type="no_error",name="v.example.com",operation="CREATE",rejection_code="403",type="validating"} 1
        apiserver_admission_webhook_request_total{code="403",name="v.example.com",operation="CREATE",rejected="true",type="validating"} 1
        apiserver_admission_webhook_request_total{code="503",name="m.example.com",operation="CREATE",rejected="false",type="admit"} 1"#]].assert_eq(&counted.join("\n"));
}

#[tokio::test]
async fn what_a_webhook_makes_of_the_identity_counts() {
    let (server, hooks) = start().await;
    map(&server, "a").await;
    let rule = ["UPDATE", "", "configmaps"];
    let mut answers = Vec::new();
    for path in [
        "set/resourceVersion/1",
        "set/namespace/other",
        "set/name/b",
        "set/uid/x",
        "set/resourceVersion/",
        "undo",
    ] {
        configure(&server, "mutating", "m", &[webhook("m", hooks.url(path), rule, json!({}))]).await;
        let patched = server.ask(&format!("PATCH {MAPS}/a | {MERGE}"), r#"{"data":{"k":"v"}}"#).await;
        let body: Value = serde_json::from_str(patched.split_once(' ').unwrap().1).unwrap();
        answers.push(format!("{path}: {} {}", &patched[..3], body["message"].as_str().unwrap_or("")));
        unconfigure(&server, "mutating", "m").await;
    }
    expect![[r#"
        set/resourceVersion/1: 409 Operation cannot be fulfilled on configmaps "a": the object has been modified; please apply your changes to the latest version and try again
        set/namespace/other: 400 the namespace of the provided object does not match the namespace sent on the request
        set/name/b: 422 ConfigMap "b" is invalid: metadata.name: Invalid value: "b": field is immutable
        set/uid/x: 422 ConfigMap "a" is invalid: metadata.uid: Invalid value: "x": field is immutable
        set/resourceVersion/: 200 
        undo: 500 Internal error occurred: error in remove for path: '/metadata/nothing': Unable to remove nonexistent key: nothing: missing value"#]]
    .assert_eq(&answers.join("\n"));
}

#[tokio::test]
async fn redirects_are_followed() {
    let (server, hooks) = start().await;
    let mut answers = Vec::new();
    for path in ["moved/307/moved/308/label/x", "moved/302/label/x", "moved/307/round", "moved/304/label/x"] {
        configure(&server, "mutating", "m", &[webhook("m", hooks.url(path), MAPS_RULE, json!({}))]).await;
        let made = map(&server, &format!("m-{}", answers.len())).await;
        unconfigure(&server, "mutating", "m").await;
        let mut text = made["message"].as_str().unwrap_or("").replace(&hooks.port.to_string(), "PORT");
        if let Some((before, uid)) = text.clone().split_once("response.uid=\"") {
            text = format!("{before}response.uid=\"UID{}", &uid[36..]);
        }
        answers.push(format!("{path}: {} {text}", made["metadata"]["labels"]));
    }
    expect![[r#"
        moved/307/moved/308/label/x: {"x":""} 
        moved/302/label/x: null Internal error occurred: failed calling webhook "m.example.com": received invalid webhook response: expected response.uid="UID", got ""
        moved/307/round: null Internal error occurred: failed calling webhook "m.example.com": failed to call webhook: Post "https://127.0.0.1:PORT/moved/307/round": stopped after 10 redirects
        moved/304/label/x: null Internal error occurred: failed calling webhook "m.example.com": failed to call webhook: the server responded with the status code 304 but did not return more information"#]]
    .assert_eq(&answers.join("\n"));
}

#[tokio::test]
async fn match_conditions_ask_what_users_may_do() {
    let (server, hooks) = start().await;
    let conditioned = |name: &str, expression: &str| {
        let condition = json!([{"name": "c", "expression": expression}]);
        webhook(name, hooks.url(&format!("label/{name}")), MAPS_RULE, json!({"matchConditions": condition}))
    };
    let account =
        "authorizer.serviceAccount('default', 'sa').group('').resource('configmaps').namespace('default')";
    let hooks_of = [
        conditioned("a", "authorizer.requestResource.check('create').allowed()"),
        conditioned("b", &format!("{account}.check('create').allowed()")),
    ];
    configure(&server, "mutating", "m", &hooks_of).await;
    assert_eq!(map(&server, "one").await["metadata"]["labels"], json!({"a": ""}));
    let role = json!({"metadata": {"name": "r"}, "rules": [
        {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["create"]}]});
    let rbac = "/apis/rbac.authorization.k8s.io/v1/namespaces/default";
    server.ask(&format!("POST {rbac}/roles"), &role.to_string()).await;
    let binding = json!({"metadata": {"name": "r"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "r"},
        "subjects": [{"kind": "ServiceAccount", "name": "sa", "namespace": "default"}]});
    server.ask(&format!("POST {rbac}/rolebindings"), &binding.to_string()).await;
    // The role counts at once.
    assert_eq!(map(&server, "two").await["metadata"]["labels"], json!({"a": "", "b": "a"}));
}
