//! LIST with selectors, pages and versions; WATCH with selection changes, bookmarks and initial events.

use expect_test::expect;
use http_body_util::BodyExt;
use serde_json::Value;

use crate::harness::{Server, normalize, request};

const CM: &str = "/api/v1/namespaces/default/configmaps";

async fn three(server: &Server) {
    for (name, label) in [("a", "1"), ("b", "2"), ("c", "1")] {
        let body = format!(r#"{{"metadata":{{"name":"{name}","labels":{{"l":"{label}"}}}}}}"#);
        server.ask(&format!("POST {CM}"), &body).await;
    }
}

fn names(list: &Value) -> String {
    let items = list["items"].as_array().unwrap();
    items.iter().map(|i| i["metadata"]["name"].as_str().unwrap()).collect::<Vec<_>>().join(" ")
}

#[tokio::test]
async fn lists_select_and_paginate() {
    let server = Server::start().await;
    three(&server).await;
    let list = |query: String| {
        let server = &server;
        async move { server.json(&format!("GET {CM}?{query}"), "").await }
    };
    assert_eq!(names(&list("labelSelector=l%3D1".into()).await), "a c");
    assert_eq!(names(&list("fieldSelector=metadata.name%3Db".into()).await), "b");
    let first = list("limit=2".into()).await;
    assert_eq!((names(&first).as_str(), &first["metadata"]["remainingItemCount"]), ("a b", &1.into()));
    // All pages belong to the version of the first one.
    server.ask(&format!("DELETE {CM}/c"), "").await;
    server.ask(&format!("POST {CM}"), r#"{"metadata":{"name":"d"}}"#).await;
    let token = first["metadata"]["continue"].as_str().unwrap();
    let second = list(format!("limit=2&continue={token}")).await;
    assert_eq!(names(&second), "c");
    assert_eq!(second["metadata"]["resourceVersion"], first["metadata"]["resourceVersion"]);
    let version = first["metadata"]["resourceVersion"].as_str().unwrap();
    let exact = list(format!("resourceVersion={version}&resourceVersionMatch=Exact")).await;
    assert_eq!((names(&exact), names(&list(String::new()).await)), ("a b c".into(), "a b d".into()));
    let future = list("resourceVersion=999999".into()).await;
    assert_eq!(future["reason"], "Timeout");
}

#[tokio::test]
async fn invalid_list_options() {
    let server = Server::start().await;
    let script = format!(
        r#"
        GET {CM}?limit=x
        GET {CM}?labelSelector=a%3D%3D%3Db
        GET {CM}?fieldSelector=data.x%3D1
        GET {CM}?resourceVersion=abc
        GET {CM}?resourceVersionMatch=NotOlderThan
        GET {CM}?continue=garbage
        GET {CM}?continue=garbage&resourceVersion=x
        GET {CM}?continue=eyJ2IjoibWV0YS5rOHMuaW8vdjEiLCJydiI6MSwic3RhcnQiOiJhXHUwMDAwIn0&resourceVersion=x
        GET {CM}?resourceVersion=18446744073709551616
        GET {CM}?resourceVersion=%2B1
        GET {CM}?watch=1&continue=x
        DELETE {CM}?watch=1&resourceVersion=5&resourceVersionMatch=Exact
        GET {CM}?watch=1&sendInitialEvents=true
        GET {CM} | Accept: application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io
        GET {CM}/x | Accept: application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io
        "#
    );
    expect![[r#"
        GET /api/v1/namespaces/default/configmaps?limit=x
          400 {"apiVersion":"v1","code":400,"kind":"Status","message":"strconv.ParseInt: parsing \"x\": invalid syntax","metadata":{},"reason":"BadRequest","status":"Failure"}
        GET /api/v1/namespaces/default/configmaps?labelSelector=a%3D%3D%3Db
          400 {"apiVersion":"v1","code":400,"kind":"Status","message":"unable to parse requirement: found '=', expected: identifier","metadata":{},"reason":"BadRequest","status":"Failure"}
        GET /api/v1/namespaces/default/configmaps?fieldSelector=data.x%3D1
          400 {"apiVersion":"v1","code":400,"kind":"Status","message":"\"data.x\" is not a known field selector: only \"metadata.name\", \"metadata.namespace\"","metadata":{},"reason":"BadRequest","status":"Failure"}
        GET /api/v1/namespaces/default/configmaps?resourceVersion=abc
          400 {"apiVersion":"v1","code":400,"kind":"Status","message":"invalid resource version: resourceVersion: Invalid value: \"abc\": strconv.ParseUint: parsing \"abc\": invalid syntax","metadata":{},"reason":"BadRequest","status":"Failure"}
        GET /api/v1/namespaces/default/configmaps?resourceVersionMatch=NotOlderThan
          422 {"apiVersion":"v1","code":422,"details":{"causes":[{"field":"resourceVersionMatch","message":"Forbidden: resourceVersionMatch is forbidden unless resourceVersion is provided","reason":"FieldValueForbidden"}],"group":"meta.k8s.io","kind":"ListOptions"},"kind":"Status","message":"ListOptions.meta.k8s.io \"\" is invalid: resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden unless resourceVersion is provided","metadata":{},"reason":"Invalid","status":"Failure"}
        GET /api/v1/namespaces/default/configmaps?continue=garbage
          400 {"apiVersion":"v1","code":400,"kind":"Status","message":"invalid continue token: continue key is not valid: illegal base64 data at input byte 6","metadata":{},"reason":"BadRequest","status":"Failure"}
        GET /api/v1/namespaces/default/configmaps?continue=garbage&resourceVersion=x
          400 {"apiVersion":"v1","code":400,"kind":"Status","message":"invalid continue token: continue key is not valid: illegal base64 data at input byte 6","metadata":{},"reason":"BadRequest","status":"Failure"}
        GET /api/v1/namespaces/default/configmaps?continue=eyJ2IjoibWV0YS5rOHMuaW8vdjEiLCJydiI6MSwic3RhcnQiOiJhXHUwMDAwIn0&resourceVersion=x
          400 {"apiVersion":"v1","code":400,"kind":"Status","message":"specifying resource version is not allowed when using continue","metadata":{},"reason":"BadRequest","status":"Failure"}
        GET /api/v1/namespaces/default/configmaps?resourceVersion=18446744073709551616
          400 {"apiVersion":"v1","code":400,"kind":"Status","message":"invalid resource version: resourceVersion: Invalid value: \"18446744073709551616\": strconv.ParseUint: parsing \"18446744073709551616\": value out of range","metadata":{},"reason":"BadRequest","status":"Failure"}
        GET /api/v1/namespaces/default/configmaps?resourceVersion=%2B1
          400 {"apiVersion":"v1","code":400,"kind":"Status","message":"invalid resource version: resourceVersion: Invalid value: \"+1\": strconv.ParseUint: parsing \"+1\": invalid syntax","metadata":{},"reason":"BadRequest","status":"Failure"}
        GET /api/v1/namespaces/default/configmaps?watch=1&continue=x
          422 {"apiVersion":"v1","code":422,"details":{"causes":[{"field":"resourceVersionMatch","message":"Forbidden: resourceVersionMatch is forbidden when continue is provided","reason":"FieldValueForbidden"}],"group":"meta.k8s.io","kind":"ListOptions"},"kind":"Status","message":"ListOptions.meta.k8s.io \"\" is invalid: resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden when continue is provided","metadata":{},"reason":"Invalid","status":"Failure"}
        DELETE /api/v1/namespaces/default/configmaps?watch=1&resourceVersion=5&resourceVersionMatch=Exact
          422 {"apiVersion":"v1","code":422,"details":{"causes":[{"field":"resourceVersionMatch","message":"Forbidden: resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided","reason":"FieldValueForbidden"},{"field":"resourceVersionMatch","message":"Unsupported value: \"Exact\": supported values: \"NotOlderThan\"","reason":"FieldValueNotSupported"}],"group":"meta.k8s.io","kind":"ListOptions"},"kind":"Status","message":"ListOptions.meta.k8s.io \"\" is invalid: [resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided, resourceVersionMatch: Unsupported value: \"Exact\": supported values: \"NotOlderThan\"]","metadata":{},"reason":"Invalid","status":"Failure"}
        GET /api/v1/namespaces/default/configmaps?watch=1&sendInitialEvents=true
          422 {"apiVersion":"v1","code":422,"details":{"causes":[{"field":"resourceVersionMatch","message":"Forbidden: sendInitialEvents requires setting resourceVersionMatch to NotOlderThan","reason":"FieldValueForbidden"}],"group":"meta.k8s.io","kind":"ListOptions"},"kind":"Status","message":"ListOptions.meta.k8s.io \"\" is invalid: resourceVersionMatch: Forbidden: sendInitialEvents requires setting resourceVersionMatch to NotOlderThan","metadata":{},"reason":"Invalid","status":"Failure"}
        GET /api/v1/namespaces/default/configmaps | Accept: application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io
          406 {"apiVersion":"v1","code":406,"kind":"Status","message":"you requested PartialObjectMetadata, but the requested object is a list (*core.ConfigMapList)","metadata":{},"reason":"NotAcceptable","status":"Failure"}
        GET /api/v1/namespaces/default/configmaps/x | Accept: application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io
          404 {"apiVersion":"v1","code":404,"details":{"kind":"configmaps","name":"x"},"kind":"Status","message":"configmaps \"x\" not found","metadata":{},"reason":"NotFound","status":"Failure"}
    "#]].assert_eq(&server.play(&script).await);
}

#[tokio::test]
async fn tables_and_partial_object_metadata() {
    let server = Server::start().await;
    server.ask(&format!("POST {CM}"), r#"{"metadata":{"name":"a"},"data":{"x":"1"}}"#).await;
    let script = format!(
        r#"
        GET {CM} | Accept: application/json;as=Table;v=v1;g=meta.k8s.io
        GET {CM}/a | Accept: application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io
        GET {CM} | Accept: application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io
        "#
    );
    expect![[r#"
        GET /api/v1/namespaces/default/configmaps | Accept: application/json;as=Table;v=v1;g=meta.k8s.io
          200 {"apiVersion":"meta.k8s.io/v1","columnDefinitions":[{"description":"Name of the object, unique among its kind in the namespace.","format":"name","name":"Name","priority":0,"type":"string"},{"description":"Data of the object.","format":"","name":"Data","priority":0,"type":"string"},{"description":"Time since the object was created.","format":"","name":"Age","priority":0,"type":"string"}],"kind":"Table","metadata":{},"rows":[{"cells":["a",1,"<age>"],"object":{"apiVersion":"meta.k8s.io/v1","kind":"PartialObjectMetadata","metadata":{"name":"a","namespace":"default"}}}]}
        GET /api/v1/namespaces/default/configmaps/a | Accept: application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io
          200 {"apiVersion":"meta.k8s.io/v1","kind":"PartialObjectMetadata","metadata":{"name":"a","namespace":"default"}}
        GET /api/v1/namespaces/default/configmaps | Accept: application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io
          200 {"apiVersion":"meta.k8s.io/v1","items":[{"apiVersion":"meta.k8s.io/v1","kind":"PartialObjectMetadata","metadata":{"name":"a","namespace":"default"}}],"kind":"PartialObjectMetadataList","metadata":{}}
    "#]].assert_eq(&server.play(&script).await);
}

/// Reads `count` events of a watch.
async fn events(server: &Server, query: &str, count: usize, meanwhile: &[(&str, &str)]) -> String {
    let response = server.service().respond(request(&format!("GET {CM}?watch=1&{query}"), "")).await;
    assert_eq!(response.status(), 200);
    let mut body = response.into_body();
    for (line, text) in meanwhile {
        server.ask(line, text).await;
    }
    let mut buffer = Vec::new();
    while buffer.iter().filter(|b| **b == b'\n').count() < count {
        buffer.extend_from_slice(&body.frame().await.unwrap().unwrap().into_data().unwrap());
    }
    let lines = String::from_utf8(buffer).unwrap();
    let shown = lines.lines().map(|line| {
        let event = normalize(serde_json::from_str(line).unwrap());
        format!("{} {}\n", event["type"].as_str().unwrap(), event["object"])
    });
    shown.collect()
}

#[tokio::test]
async fn watches_report_objects_that_enter_and_leave_the_selection() {
    let server = Server::start().await;
    three(&server).await;
    let relabel = format!("PATCH {CM}/a | Content-Type: application/merge-patch+json");
    let (add, delete) = (format!("POST {CM}"), format!("DELETE {CM}/b"));
    let meanwhile = [
        (relabel.as_str(), r#"{"metadata":{"labels":{"l":"2"}}}"#),
        (relabel.as_str(), r#"{"metadata":{"labels":{"l":"1"}}}"#),
        (delete.as_str(), ""),
        (add.as_str(), r#"{"metadata":{"name":"e","labels":{"l":"1"}}}"#),
    ];
    expect![[r#"
        ADDED {"apiVersion":"v1","kind":"ConfigMap","metadata":{"labels":{"l":"1"},"name":"a","namespace":"default"}}
        ADDED {"apiVersion":"v1","kind":"ConfigMap","metadata":{"labels":{"l":"1"},"name":"c","namespace":"default"}}
        DELETED {"apiVersion":"v1","kind":"ConfigMap","metadata":{"labels":{"l":"1"},"name":"a","namespace":"default"}}
        ADDED {"apiVersion":"v1","kind":"ConfigMap","metadata":{"labels":{"l":"1"},"name":"a","namespace":"default"}}
        ADDED {"apiVersion":"v1","kind":"ConfigMap","metadata":{"labels":{"l":"1"},"name":"e","namespace":"default"}}
    "#]].assert_eq(&events(&server, "labelSelector=l%3D1", 5, &meanwhile).await);
}

#[tokio::test]
async fn watch_lists_end_with_a_bookmark() {
    let server = Server::start().await;
    three(&server).await;
    let query = "sendInitialEvents=true&allowWatchBookmarks=true&resourceVersionMatch=NotOlderThan&labelSelector=l%3D1";
    expect![[r#"
        ADDED {"apiVersion":"v1","kind":"ConfigMap","metadata":{"labels":{"l":"1"},"name":"a","namespace":"default"}}
        ADDED {"apiVersion":"v1","kind":"ConfigMap","metadata":{"labels":{"l":"1"},"name":"c","namespace":"default"}}
        BOOKMARK {"apiVersion":"v1","kind":"ConfigMap","metadata":{"annotations":{"k8s.io/initial-events-end":"true"}}}
    "#]].assert_eq(&events(&server, query, 3, &[]).await);
}

/// As upstream, a watch without a revision says where the existing objects end, too.
#[tokio::test]
async fn plain_watches_with_bookmarks_end_the_existing_objects_with_one() {
    let server = Server::start().await;
    three(&server).await;
    for query in ["allowWatchBookmarks=true", "allowWatchBookmarks=true&resourceVersion=0"] {
        expect![[r#"
            ADDED {"apiVersion":"v1","kind":"ConfigMap","metadata":{"labels":{"l":"2"},"name":"b","namespace":"default"}}
            BOOKMARK {"apiVersion":"v1","kind":"ConfigMap","metadata":{"annotations":{"k8s.io/initial-events-end":"true"}}}
        "#]].assert_eq(&events(&server, &format!("{query}&labelSelector=l%3D2"), 2, &[]).await);
    }
}

#[tokio::test]
async fn bookmarks_have_the_members_that_are_always_there() {
    let server = Server::start().await;
    let mut shown = String::new();
    for resource in
        ["v1/pods", "apps/v1/deployments", "apps/v1/daemonsets", "rbac.authorization.k8s.io/v1/roles"]
    {
        let path =
            if resource == "v1/pods" { format!("/api/{resource}") } else { format!("/apis/{resource}") };
        let line = format!("GET {path}?watch=1&allowWatchBookmarks=true&fieldSelector=metadata.name%3Dnone");
        let mut body = server.service().respond(request(&line, "")).await.into_body();
        let frame = body.frame().await.unwrap().unwrap().into_data().unwrap();
        shown.push_str(&format!("{}\n", normalize(serde_json::from_slice(&frame).unwrap())["object"]));
    }
    expect![[r#"
        {"apiVersion":"v1","kind":"Pod","metadata":{"annotations":{"k8s.io/initial-events-end":"true"}},"spec":{"containers":null},"status":{}}
        {"apiVersion":"apps/v1","kind":"Deployment","metadata":{"annotations":{"k8s.io/initial-events-end":"true"}},"spec":{"replicas":0,"selector":null,"strategy":{},"template":{"metadata":{},"spec":{"containers":null}}},"status":{}}
        {"apiVersion":"apps/v1","kind":"DaemonSet","metadata":{"annotations":{"deprecated.daemonset.template.generation":"0","k8s.io/initial-events-end":"true"}},"spec":{"selector":null,"template":{"metadata":{},"spec":{"containers":null}},"updateStrategy":{}},"status":{"currentNumberScheduled":0,"desiredNumberScheduled":0,"numberMisscheduled":0,"numberReady":0}}
        {"apiVersion":"rbac.authorization.k8s.io/v1","kind":"Role","metadata":{"annotations":{"k8s.io/initial-events-end":"true"}},"rules":null}
    "#]].assert_eq(&shown);
}

#[tokio::test]
async fn a_limit_does_not_cut_a_list_of_any_version() {
    let server = Server::start().await;
    three(&server).await;
    server.handle.registry().fresh().await.unwrap();
    let list = server.json(&format!("GET {CM}?resourceVersion=0&limit=1"), "").await;
    assert_eq!((names(&list).as_str(), &list["metadata"]["continue"]), ("a b c", &Value::Null));
}

#[tokio::test]
async fn a_watch_before_the_window_expires() {
    let server = Server::start().await;
    three(&server).await;
    let registry = server.handle.registry();
    registry.fresh().await.unwrap();
    let configmaps = shim_core::controllers::served("", "configmaps");
    let later = std::time::Instant::now() + apiserver_shim::storage::watch_cache::WINDOW_AGE_MAX;
    registry.cache(configmaps).expire(later);
    let event = events(&server, "resourceVersion=1", 1, &[]).await;
    assert!(event.starts_with("ERROR") && event.contains("\"reason\":\"Expired\""), "{event}");
}

#[tokio::test]
async fn a_watch_resumes_where_it_ended() {
    let server = Server::start().await;
    let first = server.json(&format!("POST {CM}"), r#"{"metadata":{"name":"x"}}"#).await;
    three(&server).await;
    let version = first["metadata"]["resourceVersion"].as_str().unwrap();
    let seen = events(&server, &format!("resourceVersion={version}"), 3, &[]).await;
    assert_eq!(seen.lines().filter(|l| l.starts_with("ADDED")).count(), 3, "{seen}");
}

#[tokio::test]
async fn a_table_watch_sends_its_columns_once() {
    let server = Server::start().await;
    let accept = "Accept: application/json;as=Table;v=v1;g=meta.k8s.io";
    let response = server.service().respond(request(&format!("GET {CM}?watch=1 | {accept}"), "")).await;
    let mut body = response.into_body();
    let mut shown = String::new();
    for name in ["a", "b"] {
        server.ask(&format!("POST {CM}"), &format!(r#"{{"metadata":{{"name":"{name}"}}}}"#)).await;
        let frame = body.frame().await.unwrap().unwrap().into_data().unwrap();
        let event: Value = serde_json::from_slice(&frame).unwrap();
        let columns = event["object"]["columnDefinitions"].as_array().map_or(0, Vec::len);
        shown.push_str(&format!("{columns} {}\n", normalize(event["object"]["rows"][0]["cells"].clone())));
    }
    assert_eq!(shown, "3 [\"a\",0,\"<age>\"]\n0 [\"b\",0,\"<age>\"]\n");
}
