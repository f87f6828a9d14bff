//! Webhooks by kind of object and request: custom resources, other versions, subresources, apply, connections; Services as
//! servers; and conversion webhooks.

use expect_test::expect;
use http_body_util::BodyExt;
use serde_json::{Value, json};

use crate::harness::{Server, request};
use crate::webhook_server::{WebhookServer, allow, configure, deny, patch, unconfigure, webhook};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const MAPS_RULE: [&str; 3] = ["*", "", "configmaps"];
const CRDS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
const APPLY: &str = "Content-Type: application/apply-patch+yaml";
const MERGE: &str = "Content-Type: application/merge-patch+json";

/// Adds the data key `added`.
fn add_data(review: &Value) -> Value {
    let object = &review["request"]["object"];
    let (path, value) = match object["data"].is_null() {
        true => ("/data", json!({"added": "by-webhook"})),
        false => ("/data/added", json!("by-webhook")),
    };
    patch(review, json!([{"op": "add", "path": path, "value": value}]))
}

#[tokio::test]
async fn an_applied_object_keeps_its_owners() {
    let server = Server::start().await;
    let hooks = WebhookServer::start(&server, |path, review| match path {
        "add" => Some(add_data(review)),
        _ => Some(patch(
            review,
            json!([{"op": "add", "path": "/metadata/managedFields/-", "value": {"manager": "x"}}]),
        )),
    })
    .await;
    configure(&server, "mutating", "m", &[webhook("m", hooks.url("add"), MAPS_RULE, json!({}))]).await;
    let body = r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a"},"data":{"own":"1"}}"#;
    for (code, operation) in [(201, "CREATE"), (200, "UPDATE")] {
        let line = format!("PATCH {MAPS}/a?fieldManager=me&force=true | {APPLY}");
        let response = server.service().respond(request(&line, body)).await;
        assert_eq!(response.status(), code);
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        let object: Value = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(object["data"], json!({"own": "1", "added": "by-webhook"}));
        let owners = &object["metadata"]["managedFields"];
        assert_eq!(owners.as_array().unwrap().len(), 1);
        // As upstream: nobody owns what a webhook has added.
        assert_eq!(owners[0]["fieldsV1"], json!({"f:data": {"f:own": {}}}));
        let seen = hooks.requests().remove(0);
        assert_eq!(seen["operation"], operation);
        let kind = if code == 201 { "CreateOptions" } else { "PatchOptions" };
        assert_eq!(seen["options"]["kind"], kind);
        assert_eq!(seen["options"].get("force").is_some(), code == 200);
    }
    let bad = webhook("bad", hooks.url("owners"), MAPS_RULE, json!({}));
    configure(&server, "mutating", "n", &[bad]).await;
    let answer = server
        .ask(&format!("POST {MAPS}?fieldManager=me"), r#"{"metadata":{"name":"b"},"data":{"own":"1"}}"#)
        .await;
    assert!(answer.starts_with("201 299 - \".metadata.managedFields was in an invalid state"), "{answer}");
    let stored = server.json(&format!("GET {MAPS}/b"), "").await;
    assert_eq!(stored["metadata"]["managedFields"].as_array().unwrap().len(), 1);
}

/// Widgets in two versions.
pub fn widgets() -> Value {
    let schema = |field: &str| {
        json!({"openAPIV3Schema": {"type": "object", "properties": {
            "spec": {"type": "object", "properties": {
                field: {"type": "integer", "default": 1}, "label": {"type": "string"}}},
            "status": {"type": "object", "properties": {"phase": {"type": "string"}}}}}})
    };
    json!({"metadata": {"name": "widgets.example.com"}, "spec": {
        "group": "example.com", "scope": "Namespaced", "names": {"plural": "widgets", "kind": "Widget"},
        "versions": [
            {"name": "v1", "served": true, "storage": true, "schema": schema("size"), "subresources": {"status": {}}},
            {"name": "v2", "served": true, "storage": false, "schema": schema("count"), "subresources": {"status": {}}}],
    }})
}

/// Creates a definition and waits until it is established.
pub async fn define(server: &Server, crd: &Value) {
    let created = server.ask(&format!("POST {CRDS}"), &crd.to_string()).await;
    assert!(created.starts_with("201"), "{created}");
    let mut generations = server.handle.registry().generations();
    let mut progress = server.handle.registry().subscribe_progress();
    let name = crd["metadata"]["name"].as_str().unwrap();
    loop {
        let found = server.json(&format!("GET {CRDS}/{name}"), "").await;
        let conditions = found["status"]["conditions"].as_array().into_iter().flatten();
        if conditions.into_iter().any(|c| c["type"] == "Established" && c["status"] == "True") {
            return;
        }
        tokio::select! {
            changed = progress.changed() => changed.unwrap(),
            changed = generations.changed() => changed.unwrap(),
        }
    }
}

/// Converts between `spec.size` of v1 and `spec.count` of v2.
pub fn convert(review: &Value) -> Value {
    let wanted = review["request"]["desiredAPIVersion"].as_str().unwrap();
    let (from, to) = if wanted == "example.com/v1" { ("count", "size") } else { ("size", "count") };
    let converted = review["request"]["objects"].as_array().unwrap().iter().map(|object| {
        let mut object = object.clone();
        object["apiVersion"] = wanted.into();
        if let Some(number) = object["spec"].as_object_mut().and_then(|spec| spec.remove(from)) {
            object["spec"][to] = number;
        }
        object
    });
    json!({"apiVersion": review["apiVersion"], "kind": review["kind"], "response": {
        "uid": review["request"]["uid"], "result": {"status": "Success"}, "convertedObjects": converted.collect::<Vec<_>>()}})
}

/// A server with widgets in two versions, which a webhook converts.
async fn with_widgets() -> (Server, WebhookServer) {
    let server = Server::start().await;
    let hooks = WebhookServer::start(&server, |path, review| match path {
        "convert" => Some(convert(review)),
        "broken" => Some(json!({"apiVersion": review["apiVersion"], "kind": review["kind"], "response": {
            "uid": review["request"]["uid"], "result": {"status": "Failed", "message": "cannot"}}})),
        "count" => Some(patch(review, json!([
            {"op": "replace", "path": "/spec/count", "value": 7}, {"op": "add", "path": "/spec/unknown", "value": 1}]))),
        "deny" => Some(deny(review, "no")),
        _ => Some(allow(review)),
    })
    .await;
    let mut crd = widgets();
    crd["spec"]["conversion"] = json!({"strategy": "Webhook", "webhook": {
        "clientConfig": hooks.url("convert"), "conversionReviewVersions": ["v1"]}});
    define(&server, &crd).await;
    (server, hooks)
}

#[tokio::test]
async fn a_webhook_converts_custom_resources() {
    let (server, hooks) = with_widgets().await;
    let (v1, v2) = (
        "/apis/example.com/v1/namespaces/default/widgets",
        "/apis/example.com/v2/namespaces/default/widgets",
    );
    let made =
        r#"{"apiVersion":"example.com/v2","kind":"Widget","metadata":{"name":"a"},"spec":{"count":3}}"#;
    let transcript = [
        server.ask(&format!("POST {v2}"), made).await,
        server.ask(&format!("GET {v1}/a"), "").await,
        server.ask(&format!("PATCH {v2}/a | {MERGE}"), r#"{"spec":{"count":4}}"#).await,
        server.ask(&format!("GET {v2}"), "").await,
    ];
    expect![[r#"
        201 {"apiVersion":"example.com/v2","kind":"Widget","metadata":{"generation":1,"name":"a","namespace":"default"},"spec":{"count":3}}
        200 {"apiVersion":"example.com/v1","kind":"Widget","metadata":{"generation":1,"name":"a","namespace":"default"},"spec":{"size":3}}
        200 {"apiVersion":"example.com/v2","kind":"Widget","metadata":{"generation":2,"name":"a","namespace":"default"},"spec":{"count":4}}
        200 {"apiVersion":"example.com/v2","items":[{"apiVersion":"example.com/v2","kind":"Widget","metadata":{"generation":2,"name":"a","namespace":"default"},"spec":{"count":4}}],"kind":"WidgetList","metadata":{"continue":""}}"#]]
    .assert_eq(&transcript.join("\n"));
    let reviews = hooks.take();
    assert!(!reviews.is_empty() && reviews.iter().all(|(path, _)| path == "convert"));
    assert_eq!(reviews[0].1["apiVersion"], "apiextensions.k8s.io/v1");
    // Another webhook for the same definition, which fails.
    let change = json!({"spec": {"conversion": {"webhook": {"clientConfig": hooks.url("broken")}}}});
    let changed =
        server.ask(&format!("PATCH {CRDS}/widgets.example.com | {MERGE}"), &change.to_string()).await;
    assert!(changed.starts_with("200"), "{changed}");
    let mut generations = server.handle.registry().generations();
    let refused = loop {
        let answer = server.json(&format!("GET {v2}/a"), "").await;
        if answer["kind"] == "Status" {
            break answer;
        }
        generations.changed().await.unwrap();
    };
    assert_eq!(refused["message"], "conversion webhook for example.com/v1, Kind=Widget failed: cannot");
}

#[tokio::test]
async fn a_webhook_sees_the_version_that_it_wants() {
    let (server, hooks) = with_widgets().await;
    let rule = |policy: &str| {
        json!({"matchPolicy": policy, "rules": [{"operations": ["CREATE"], "apiGroups": ["example.com"],
            "apiVersions": ["v2"], "resources": ["widgets"]}]})
    };
    let any = ["*", "*", "*"];
    configure(&server, "mutating", "m", &[webhook("m", hooks.url("count"), any, rule("Equivalent"))]).await;
    configure(&server, "validating", "v", &[webhook("v", hooks.url("deny"), any, rule("Exact"))]).await;
    let v1 = "/apis/example.com/v1/namespaces/default/widgets";
    let made = server
        .json(&format!("POST {v1}"), r#"{"apiVersion":"example.com/v1","kind":"Widget","metadata":{"name":"b"},"spec":{"size":2,"label":"l"}}"#)
        .await;
    // The unknown field is pruned.
    assert_eq!(
        (&made["apiVersion"], &made["spec"]),
        (&json!("example.com/v1"), &json!({"size": 7, "label": "l"})),
        "{made}"
    );
    let seen: Vec<Value> =
        hooks.take().into_iter().filter(|(path, _)| path == "count").map(|(_, r)| r).collect();
    let last = &seen.last().unwrap()["request"];
    assert_eq!(last["kind"], json!({"group": "example.com", "version": "v2", "kind": "Widget"}));
    assert_eq!(last["resource"]["version"], "v2");
    assert_eq!(last["requestKind"]["version"], "v1");
    assert_eq!(last["requestResource"]["version"], "v1");
    assert_eq!(last["object"]["apiVersion"], "example.com/v2");
    assert_eq!(last["object"]["spec"], json!({"count": 2, "label": "l"}));
}

#[tokio::test]
async fn subresources_are_matched_by_their_names() {
    let server = Server::start().await;
    let hooks = WebhookServer::start(&server, |path, review| match path {
        "deny" => Some(deny(review, "no")),
        "two" => Some(patch(review, json!([{"op": "replace", "path": "/spec/replicas", "value": 2}]))),
        _ => Some(allow(review)),
    })
    .await;
    let deployments = "/apis/apps/v1/namespaces/default/deployments";
    let body = r#"{"metadata":{"name":"d"},"spec":{"replicas":1,"selector":{"matchLabels":{"a":"b"}},"template":{"metadata":{"labels":{"a":"b"}},"spec":{"containers":[{"name":"c","image":"i"}]}}}}"#;
    server.ask(&format!("POST {deployments}"), body).await;
    let pod = r#"{"metadata":{"name":"p"},"spec":{"containers":[{"name":"c","image":"i"}]}}"#;
    server.ask("POST /api/v1/namespaces/default/pods", pod).await;
    let all = [
        webhook("scale", hooks.url("two"), ["*", "apps", "deployments/scale"], json!({})),
        webhook("status", hooks.url("status"), ["*", "apps", "*/status"], json!({})),
    ];
    configure(&server, "mutating", "m", &all).await;
    let denied = webhook("pods", hooks.url("deny"), ["CREATE,CONNECT", "", "pods/*"], json!({}));
    configure(&server, "validating", "v", &[denied]).await;
    let scaled =
        server.json(&format!("PATCH {deployments}/d/scale | {MERGE}"), r#"{"spec":{"replicas":5}}"#).await;
    assert_eq!(scaled["spec"]["replicas"], 2);
    server.ask(&format!("PATCH {deployments}/d/status | {MERGE}"), r#"{"status":{"replicas":1}}"#).await;
    let evict = r#"{"apiVersion":"policy/v1","kind":"Eviction","metadata":{"name":"p"}}"#;
    let pods = "/api/v1/namespaces/default/pods/p";
    let refused = [
        server.ask(&format!("POST {pods}/eviction"), evict).await,
        server.ask(&format!("POST {pods}/exec?command=ls&command=-l&stdout=true&container=c"), "").await,
        server.ask(&format!("POST {pods}/attach?stdin=true"), "").await,
        server.ask(&format!("POST {pods}/portforward?ports=80"), "").await,
        server.ask(&format!("GET {pods}/proxy/a/b"), "").await,
    ];
    assert!(refused.iter().all(|answer| answer.starts_with("403")), "{refused:?}");
    let seen = hooks.requests();
    let shown: Vec<String> = seen
        .iter()
        .map(|r| {
            let object = &r["object"];
            let shown = match r["operation"] == "CONNECT" {
                true => format!(" {object} options={}", r["options"]),
                false => String::new(),
            };
            format!(
                "{} {}/{} {}{shown}",
                r["operation"], r["resource"]["resource"], r["subResource"], r["kind"]["kind"]
            )
        })
        .collect();
    expect![[r#"
        "UPDATE" "deployments"/"scale" "Scale"
        "UPDATE" "deployments"/"status" "Deployment"
        "CREATE" "pods"/"eviction" "Eviction"
        "CONNECT" "pods"/"exec" "PodExecOptions" {"apiVersion":"v1","command":["ls","-l"],"container":"c","kind":"PodExecOptions","stdout":true} options=null
        "CONNECT" "pods"/"attach" "PodAttachOptions" {"apiVersion":"v1","kind":"PodAttachOptions","stdin":true} options=null
        "CONNECT" "pods"/"portforward" "PodPortForwardOptions" {"apiVersion":"v1","kind":"PodPortForwardOptions","ports":[80]} options=null
        "CONNECT" "pods"/"proxy" "PodProxyOptions" {"apiVersion":"v1","kind":"PodProxyOptions","path":"/a/b"} options=null"#]]
    .assert_eq(&shown.join("\n"));
}

#[tokio::test]
async fn a_service_leads_to_its_endpoints() {
    let server = Server::start().await;
    let hooks = WebhookServer::start(&server, |_, review| Some(add_data(review))).await;
    let client = json!({"service": {"namespace": "default", "name": "hooks", "path": "/mutate"}, "caBundle": hooks.ca_bundle});
    configure(&server, "mutating", "m", &[webhook("m", client, MAPS_RULE, json!({}))]).await;
    let create = |name: &str| {
        let body = json!({"metadata": {"name": name}}).to_string();
        let server = &server;
        async move { server.json(&format!("POST {MAPS}"), &body).await }
    };
    let url = "Post \"https://hooks.default.svc:443/mutate?timeout=5s\"";
    let refused = create("a").await;
    let failed = "Internal error occurred: failed calling webhook \"m.example.com\": failed to call webhook";
    assert_eq!(refused["message"], format!("{failed}: {url}: service \"hooks\" not found"));
    let service =
        json!({"metadata": {"name": "hooks"}, "spec": {"ports": [{"port": 443, "targetPort": hooks.port}]}});
    let made = server.ask("POST /api/v1/namespaces/default/services", &service.to_string()).await;
    assert!(made.starts_with("201"), "{made}");
    server.ask("GET /api/v1/namespaces/default/services", "").await;
    let refused = create("a").await;
    assert_eq!(refused["message"], format!("{failed}: {url}: no endpoints available for service \"hooks\""));
    // EndpointSlices may not lead to loopback; a name may.
    let change = json!({"spec": {"type": "ExternalName", "externalName": "localhost", "clusterIP": null, "clusterIPs": null}});
    let line = format!("PATCH /api/v1/namespaces/default/services/hooks | {MERGE}");
    let changed = server.ask(&line, &change.to_string()).await;
    assert!(changed.starts_with("200"), "{changed}");
    server.ask("GET /api/v1/namespaces/default/services", "").await;
    unconfigure(&server, "mutating", "m").await;
    let client = json!({"service": {"namespace": "default", "name": "hooks", "port": hooks.port}, "caBundle": hooks.ca_bundle});
    configure(&server, "mutating", "m", &[webhook("m", client, MAPS_RULE, json!({}))]).await;
    let made = create("a").await;
    assert_eq!(made["data"], json!({"added": "by-webhook"}), "{made}");
}
