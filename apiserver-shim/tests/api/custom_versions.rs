//! Custom resources in versions that a webhook converts: selectors compare what the requested version shows, and
//! server-side apply knows managers that use other versions.

use apiserver_shim::http::body::Response;
use http_body_util::BodyExt;
use serde_json::{Value, json};

use crate::harness::{Server, request};
use crate::webhook_objects::{convert, define, widgets};
use crate::webhook_server::WebhookServer;

const CRD: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/widgets.example.com";
const V1: &str = "/apis/example.com/v1/namespaces/default/widgets";
const V2: &str = "/apis/example.com/v2/namespaces/default/widgets";
const APPLY: &str = "Content-Type: application/apply-patch+yaml";
const MERGE: &str = "Content-Type: application/merge-patch+json";

/// Widgets with selectable fields: `spec.size` of v1 is `spec.count` of v2, where each has a label that v1 lacks.
async fn with_widgets() -> (Server, WebhookServer) {
    let server = Server::start().await;
    let hooks = WebhookServer::start(&server, |_, review| {
        let mut answer = convert(review);
        for object in answer["response"]["convertedObjects"].as_array_mut().into_iter().flatten() {
            if object["apiVersion"] == "example.com/v2" {
                object["metadata"]["labels"] = json!({"in": "v2"});
            } else if let Some(metadata) = object["metadata"].as_object_mut() {
                metadata.remove("labels");
            }
        }
        Some(answer)
    })
    .await;
    let mut crd = widgets();
    crd["spec"]["conversion"] = json!({"strategy": "Webhook", "webhook": {
        "clientConfig": hooks.url("convert"), "conversionReviewVersions": ["v1"]}});
    crd["spec"]["versions"][0]["selectableFields"] = json!([{"jsonPath": ".spec.size"}]);
    crd["spec"]["versions"][1]["selectableFields"] =
        json!([{"jsonPath": ".spec.count"}, {"jsonPath": ".spec.label"}]);
    define(&server, &crd).await;
    (server, hooks)
}

async fn create(server: &Server, name: &str, size: u8) -> Value {
    let body = json!({"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": name}, "spec": {"size": size}});
    server.json(&format!("POST {V1}"), &body.to_string()).await
}

fn names(list: &Value) -> Vec<&str> {
    let items = list["items"].as_array().unwrap_or_else(|| panic!("no list: {list}"));
    items.iter().map(|item| item["metadata"]["name"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn a_list_selects_by_what_the_version_shows() {
    let (server, hooks) = with_widgets().await;
    for (name, size) in [("a", 1), ("b", 2), ("c", 2), ("d", 3)] {
        create(&server, name, size).await;
    }
    let list = async |path: String| server.json(&format!("GET {path}"), "").await;
    assert_eq!(names(&list(format!("{V2}?fieldSelector=spec.count%3D2")).await), ["b", "c"]);
    assert_eq!(names(&list(format!("{V2}?fieldSelector=spec.count!%3D2,spec.label%3D")).await), ["a", "d"]);
    assert_eq!(names(&list(format!("{V1}?fieldSelector=spec.size%3D2")).await), ["b", "c"]);
    // A field of another version.
    for path in [format!("{V2}?fieldSelector=spec.size%3D2"), format!("{V1}?fieldSelector=spec.count%3D2")] {
        let refused = list(path).await;
        assert_eq!(refused["code"], 400, "{refused}");
        let why = refused["message"].as_str().unwrap();
        assert!(why.contains("field label not supported: spec."), "{why}");
    }
    // Labels, which a webhook may change.
    assert_eq!(names(&list(format!("{V2}?labelSelector=in%3Dv2&fieldSelector=spec.count%3D3")).await), ["d"]);
    assert_eq!(names(&list(format!("{V1}?labelSelector=in%3Dv2")).await), Vec::<&str>::new());
    // In pages, and as a Table.
    let first = list(format!("{V2}?fieldSelector=spec.count!%3D1&limit=2")).await;
    assert_eq!(names(&first), ["b", "c"]);
    assert_eq!(first["metadata"].get("remainingItemCount"), None, "{first}");
    let next = first["metadata"]["continue"].as_str().unwrap();
    let rest = list(format!("{V2}?fieldSelector=spec.count!%3D1&limit=2&continue={next}")).await;
    assert_eq!(names(&rest), ["d"]);
    let table =
        format!("{V2}?fieldSelector=spec.count%3D3 | Accept: application/json;as=Table;v=v1;g=meta.k8s.io");
    assert_eq!(list(table).await["rows"].as_array().unwrap().len(), 1);
    // A past revision, of the store.
    let at = first["metadata"]["resourceVersion"].as_str().unwrap();
    server.json(&format!("DELETE {V2}/b"), "").await;
    let past =
        list(format!("{V2}?fieldSelector=spec.count%3D2&resourceVersion={at}&resourceVersionMatch=Exact"))
            .await;
    assert_eq!(names(&past), ["b", "c"]);
    // An object is converted once for selectors: then only what is shown is.
    hooks.take();
    assert_eq!(names(&list(format!("{V2}?fieldSelector=spec.count%3D3")).await), ["d"]);
    let converted: Vec<usize> =
        hooks.requests().iter().map(|request| request["objects"].as_array().unwrap().len()).collect();
    assert_eq!(converted, [1]);
}

#[tokio::test]
async fn a_watch_and_a_deletion_select_by_what_the_version_shows() {
    let (server, _hooks) = with_widgets().await;
    create(&server, "a", 1).await;
    create(&server, "b", 2).await;
    let watch = async |selector: &str| {
        let line = format!("GET {V2}?watch=1&fieldSelector={selector}");
        server.service().respond(request(&line, "")).await
    };
    // The two last share their frames.
    let (one, other) = (watch("spec.count%3D2").await, watch("spec.count%3D2").await);
    let labels = format!("GET {V2}?watch=1&labelSelector=in%3Dv2");
    let labelled = server.service().respond(request(&labels, "")).await;
    for (path, body) in [
        (format!("PATCH {V1}/a | {MERGE}"), r#"{"spec":{"size":2}}"#),
        (format!("PATCH {V2}/b | {MERGE}"), r#"{"spec":{"count":3}}"#),
        (format!("PATCH {V2}/b | {MERGE}"), r#"{"spec":{"label":"x"}}"#),
        (format!("PATCH {V1}/a | {MERGE}"), r#"{"spec":{"label":"y"}}"#),
    ] {
        let patched = server.ask(&path, body).await;
        assert!(patched.starts_with("200"), "{patched}");
    }
    let deleted = server.json(&format!("DELETE {V2}?fieldSelector=spec.count%3D2"), "").await;
    assert_eq!(names(&deleted), ["a"]);
    assert_eq!(names(&server.json(&format!("GET {V1}"), "").await), ["b"]);
    for (watch, wanted) in [
        (one, vec!["ADDED b 2", "ADDED a 2", "DELETED b 2", "MODIFIED a 2", "DELETED a 2"]),
        (other, vec!["ADDED b 2", "ADDED a 2", "DELETED b 2", "MODIFIED a 2", "DELETED a 2"]),
        (
            labelled,
            vec![
                "ADDED a 1",
                "ADDED b 2",
                "MODIFIED a 2",
                "MODIFIED b 3",
                "MODIFIED b 3",
                "MODIFIED a 2",
                "DELETED a 2",
            ],
        ),
    ] {
        assert_eq!(events(watch, wanted.len()).await, wanted);
    }
}

/// Reads so many events of a watch.
async fn events(watch: Response, count: usize) -> Vec<String> {
    let (mut body, mut bytes) = (watch.into_body(), Vec::new());
    loop {
        let events = serde_json::Deserializer::from_slice(&bytes).into_iter::<Value>().map_while(Result::ok);
        let shown = events.map(|event| {
            let (kind, object) = (event["type"].as_str().unwrap(), &event["object"]);
            format!("{kind} {} {}", object["metadata"]["name"].as_str().unwrap(), object["spec"]["count"])
        });
        let shown: Vec<String> = shown.collect();
        if shown.len() >= count {
            return shown;
        }
        bytes.extend(body.frame().await.unwrap().unwrap().into_data().unwrap());
    }
}

/// Applies a spec in a version.
async fn apply(server: &Server, version: &str, manager: &str, spec: Value) -> Value {
    let line = format!(
        "PATCH /apis/example.com/{version}/namespaces/default/widgets/a?fieldManager={manager} | {APPLY}"
    );
    let body = json!({"apiVersion": format!("example.com/{version}"), "kind": "Widget", "metadata": {"name": "a"}, "spec": spec});
    server.json(&line, &body.to_string()).await
}

/// The owners of an object's fields: manager, version, fields of the spec.
fn owners(object: &Value) -> Vec<String> {
    let list = object["metadata"]["managedFields"].as_array().unwrap_or_else(|| panic!("{object}"));
    let mut owners: Vec<String> = list
        .iter()
        .map(|entry| {
            let version = entry["apiVersion"].as_str().unwrap().trim_start_matches("example.com/");
            let fields: Vec<&str> = entry["fieldsV1"]["f:spec"]
                .as_object()
                .into_iter()
                .flatten()
                .map(|(name, _)| name.as_str())
                .collect();
            format!("{} {version} {}", entry["manager"].as_str().unwrap(), fields.join(","))
        })
        .collect();
    // Such as of an empty spec.
    owners.retain(|owner| !owner.ends_with(' '));
    owners.sort();
    owners
}

#[tokio::test]
async fn an_apply_knows_the_managers_of_other_versions() {
    let (server, _hooks) = with_widgets().await;
    let first = apply(&server, "v1", "m1", json!({"size": 3})).await;
    assert_eq!(owners(&first), ["m1 v1 f:size"]);
    let second = apply(&server, "v2", "m2", json!({"label": "x"})).await;
    assert_eq!(second["spec"], json!({"count": 3, "label": "x"}), "{second}");
    assert_eq!(owners(&second), ["m1 v1 f:size", "m2 v2 f:label"]);
    // The field has another name in the version of its owner.
    let conflict = apply(&server, "v2", "m2", json!({"label": "x", "count": 4})).await;
    let why = r#"Apply failed with 1 conflict: conflict with "m1": .spec.size"#;
    assert_eq!((&conflict["code"], &conflict["message"]), (&json!(409), &json!(why)), "{conflict}");
    let shared = apply(&server, "v2", "m2", json!({"label": "x", "count": 3})).await;
    assert_eq!(owners(&shared), ["m1 v1 f:size", "m2 v2 f:count,f:label"]);
    // What another owns stays when it is no longer applied; what nobody else owns goes.
    let left = apply(&server, "v2", "m2", json!({})).await;
    assert_eq!(left["spec"], json!({"count": 3}), "{left}");
    assert_eq!(owners(&left), ["m1 v1 f:size"]);
    // Applied in another version than before, under the other name.
    let moved = apply(&server, "v2", "m1", json!({"count": 3, "label": "z"})).await;
    assert_eq!(moved["spec"], json!({"count": 3, "label": "z"}), "{moved}");
    assert!(owners(&moved).contains(&"m1 v2 f:count,f:label".to_owned()), "{:?}", owners(&moved));
    // An update in v1 takes the field that m1 owns in v2.
    let line = format!("PATCH {V1}/a?fieldManager=m3 | {MERGE}");
    let updated = server.json(&line, r#"{"spec":{"size":7}}"#).await;
    let of = |owner: &str| owners(&updated).contains(&owner.to_owned());
    assert!(of("m3 v1 f:size") && of("m1 v2 f:label"), "{:?}", owners(&updated));
    let status = format!("PATCH {V2}/a/status?fieldManager=m4 | {MERGE}");
    let updated = server.json(&status, r#"{"status":{"phase":"Ready"}}"#).await;
    assert!(owners(&updated).contains(&"m3 v1 f:size".to_owned()), "{updated}");
}

#[tokio::test]
async fn managers_of_a_version_that_is_gone_are_dropped() {
    let (server, _hooks) = with_widgets().await;
    apply(&server, "v1", "m1", json!({"size": 3})).await;
    apply(&server, "v2", "m2", json!({"label": "x"})).await;
    let change = async |patch: Value, path: String| {
        let line = format!("PATCH {CRD} | Content-Type: application/json-patch+json");
        let changed = server.ask(&line, &patch.to_string()).await;
        assert!(changed.starts_with("200"), "{changed}");
        let mut generations = server.handle.registry().generations();
        while !server.ask(&format!("GET {path}"), "").await.starts_with("404") {
            generations.changed().await.unwrap();
        }
    };
    // A version that is no longer served still exists.
    change(json!([{"op": "replace", "path": "/spec/versions/1/served", "value": false}]), format!("{V2}/a"))
        .await;
    let kept = apply(&server, "v1", "m1", json!({"size": 4})).await;
    assert_eq!(owners(&kept), ["m1 v1 f:size", "m2 v2 f:label"]);
    change(json!([{"op": "add", "path": "/spec/versions/-", "value": {"name": "v3", "served": true, "storage": false,
        "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}},
        {"op": "remove", "path": "/spec/versions/1"}]), "/apis/example.com/v2".to_owned()).await;
    let mut generations = server.handle.registry().generations();
    while !server.ask("GET /apis/example.com/v3", "").await.starts_with("200") {
        generations.changed().await.unwrap();
    }
    let dropped = apply(&server, "v1", "m1", json!({"size": 5})).await;
    assert_eq!(dropped["spec"], json!({"size": 5, "label": "x"}), "{dropped}");
    assert_eq!(owners(&dropped), ["m1 v1 f:size"]);
}
