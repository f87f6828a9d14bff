//! A resource installed at run time is served like a built-in one, and no longer once it is uninstalled.

use http::StatusCode;
use http_body_util::BodyExt;
use serde_json::{Value, json};

use crate::gadget::{self, GADGETS};
use crate::harness::{Server, request};

const PATH: &str = "/apis/example.com/v1/namespaces/default/gadgets";
const OLDER: &str = "/apis/example.com/v1beta1/namespaces/default/gadgets";
const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

/// The ETag and the document of aggregated discovery.
async fn discovery(server: &Server) -> (String, Value) {
    let response = server.service().respond(request(&format!("GET /apis | Accept: {AGGREGATED}"), "")).await;
    let etag = response.headers()["etag"].to_str().unwrap().to_owned();
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    (etag, serde_json::from_slice(&bytes).unwrap())
}

fn groups(discovery: &Value) -> Vec<&str> {
    let items = discovery["items"].as_array().unwrap();
    items.iter().map(|item| item["metadata"]["name"].as_str().unwrap()).collect()
}

async fn code(server: &Server, line: &str) -> StatusCode {
    server.service().respond(request(line, "")).await.status()
}

#[tokio::test]
async fn a_resource_is_installed_used_and_uninstalled() {
    let server = Server::start().await;
    let registry = server.handle.registry().clone();
    let (before, document) = discovery(&server).await;
    assert!(!groups(&document).contains(&"example.com"));
    assert_eq!(code(&server, &format!("GET {PATH}")).await, StatusCode::NOT_FOUND);

    registry.install(gadget::definitions()).await.unwrap();
    assert!(registry.install(gadget::definitions()).await.is_err(), "the names are taken");
    let (installed, document) = discovery(&server).await;
    assert_ne!(before, installed);
    assert!(groups(&document).contains(&"example.com"));
    let index = server.json("GET /openapi/v3", "").await;
    assert!(index["paths"]["apis/example.com/v1"].is_object(), "{index}");
    let openapi = server.json("GET /openapi/v3/apis/example.com/v1", "").await;
    let described = &openapi["components"]["schemas"]["com.example.v1.Gadget"]["properties"]["spec"];
    assert_eq!(described["description"], "What is wanted of the gadget.");

    let watch = server.service().respond(request(&format!("GET {PATH}?watch=1"), "")).await;
    used(&server).await;
    converted(&server).await;

    let deleted = server.json(&format!("DELETE {PATH}/one"), "").await;
    assert_eq!((&deleted["kind"], &deleted["status"]), (&json!("Status"), &json!("Success")));
    assert!(registry.uninstall(&GADGETS).await);
    assert!(!registry.uninstall(&GADGETS).await);
    // The watch ends after it has delivered all changes.
    let seen = watch.into_body().collect().await.unwrap().to_bytes();
    let events: Vec<Value> =
        seen.split(|b| *b == b'\n').filter_map(|l| serde_json::from_slice(l).ok()).collect();
    let types: Vec<&str> = events.iter().filter_map(|e| e["type"].as_str()).collect();
    assert_eq!((types.first(), types.last()), (Some(&"ADDED"), Some(&"DELETED")), "{events:?}");
    assert_eq!(code(&server, &format!("GET {PATH}")).await, StatusCode::NOT_FOUND);
    assert_eq!(code(&server, "GET /openapi/v3/apis/example.com/v1").await, StatusCode::NOT_FOUND);
    let (removed, _) = discovery(&server).await;
    assert_eq!(before, removed);
}

/// Creates, reads, patches, and updates the status.
async fn used(server: &Server) {
    let body = r#"{"kind":"Gadget","apiVersion":"example.com/v1","metadata":{"name":"one"},"spec":{"parts":[{"name":"a"}],"notes":{"any":[""]},"bogus":1}}"#;
    let created = server.ask(&format!("POST {PATH}"), body).await;
    assert!(created.starts_with("201") && created.contains("unknown field \\\"spec.bogus\\\""), "{created}");
    let refused = server
        .json(
            &format!("POST {PATH}"),
            r#"{"kind":"Gadget","apiVersion":"example.com/v1","metadata":{"name":"two"},"spec":{"size":-1}}"#,
        )
        .await;
    assert_eq!(
        refused["message"],
        "Gadget.example.com \"two\" is invalid: spec.size: Invalid value: -1: must be greater than or equal to 0"
    );
    let wrong =
        server.json(&format!("POST {PATH}"), r#"{"kind":"Gadget","apiVersion":"example.com/v1","metadata":{"name":"two"},"spec":{"size":"x"}}"#).await;
    assert_eq!(wrong["code"], 400, "{wrong}");
    let found = server.json(&format!("GET {PATH}/one"), "").await;
    assert_eq!(found["spec"], json!({"notes": {"any": [""]}, "parts": [{"name": "a"}], "size": 1}));
    let patch = format!("PATCH {PATH}/one | Content-Type: application/merge-patch+json");
    let patched = server.json(&patch, r#"{"spec":{"size":3}}"#).await;
    assert_eq!((&patched["spec"]["size"], &patched["metadata"]["generation"]), (&json!(3), &json!(2)));
    let strategic = format!("PATCH {PATH}/one | Content-Type: application/strategic-merge-patch+json");
    assert_eq!(code(server, &strategic).await, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    for (selector, count) in [("spec.size%3D3", 1), ("spec.size!%3D3", 0)] {
        let list = server.json(&format!("GET {PATH}?fieldSelector={selector}"), "").await;
        assert_eq!(list["items"].as_array().map(Vec::len), Some(count), "{selector}: {list}");
    }
    let unknown = server.json(&format!("GET {PATH}?fieldSelector=spec.parts%3D3"), "").await;
    assert_eq!(unknown["message"], "field label not supported: spec.parts");
    let status = format!("PATCH {PATH}/one/status | Content-Type: application/merge-patch+json");
    let patched = server.json(&status, r#"{"spec":{"size":9},"status":{"phase":"Ready"}}"#).await;
    assert_eq!((&patched["spec"]["size"], &patched["status"]["phase"]), (&json!(3), &json!("Ready")));
    let table =
        server.json(&format!("GET {PATH} | Accept: application/json;as=Table;v=v1;g=meta.k8s.io"), "").await;
    let columns = table["columnDefinitions"].as_array().unwrap().iter().map(|c| c["name"].as_str().unwrap());
    assert_eq!(columns.collect::<Vec<_>>(), ["Name", "Size", "Phase", "Age"]);
    assert_eq!(table["rows"][0]["cells"].as_array().unwrap()[..3], [json!("one"), json!(3), json!("Ready")]);
}

/// Reads the object in a version other than the storage version.
async fn converted(server: &Server) {
    let older = server.json(&format!("GET {OLDER}/one"), "").await;
    assert_eq!((&older["apiVersion"], &older["spec"]["count"]), (&json!("example.com/v1beta1"), &json!(3)));
    let list = server.json(&format!("GET {OLDER}"), "").await;
    assert_eq!(list["items"][0]["spec"]["count"], 3);
    let patch = format!("PATCH {OLDER}/one | Content-Type: application/merge-patch+json");
    assert_eq!(server.json(&patch, r#"{"spec":{"count":4}}"#).await["spec"]["count"], 4);
    assert_eq!(server.json(&format!("GET {PATH}/one"), "").await["spec"]["size"], 4);
    let watch = server.service().respond(request(&format!("GET {OLDER}?watch=1"), "")).await;
    let frame = watch.into_body().frame().await.unwrap().unwrap().into_data().unwrap();
    let event: Value = serde_json::from_slice(&frame).unwrap();
    assert_eq!((&event["type"], &event["object"]["spec"]["count"]), (&json!("ADDED"), &json!(4)));
}

#[tokio::test]
async fn no_object_written_during_installation_is_lost() {
    let server = Server::start().await;
    let registry = server.handle.registry().clone();
    let store = registry.store().clone();
    let write = |n: usize| {
        let object = json!({"apiVersion": "example.com/v1", "kind": "Gadget",
            "metadata": {"name": format!("g{n:04}"), "namespace": "default", "uid": format!("u{n}")}, "spec": {"size": n}});
        let key = store::Key::from(format!("/registry/example.com/gadgets/default/g{n:04}"));
        store.txn(store::Txn::new().put(key, object.to_string().into()))
    };
    const OBJECTS: usize = 400;
    for n in 0..OBJECTS / 2 {
        write(n).await.unwrap();
    }
    let writer = async {
        for n in OBJECTS / 2..OBJECTS {
            write(n).await.unwrap();
            tokio::task::yield_now().await;
        }
    };
    let (installed, ()) = tokio::join!(registry.install(gadget::definitions()), writer);
    installed.unwrap();
    let list = server.json(&format!("GET {PATH}"), "").await;
    assert_eq!(list["items"].as_array().map(Vec::len), Some(OBJECTS));
    // After reinstallation the objects are still there.
    assert!(registry.uninstall(&GADGETS).await);
    registry.install(gadget::definitions()).await.unwrap();
    let list = server.json(&format!("GET {PATH}"), "").await;
    assert_eq!(list["items"].as_array().map(Vec::len), Some(OBJECTS));
}
