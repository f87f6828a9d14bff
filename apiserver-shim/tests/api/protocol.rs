//! General properties of requests and responses, independent of the resource.

use expect_test::expect;
use http_body_util::BodyExt;
use serde_json::Value;

use crate::harness::{Server, request};

const CM: &str = "/api/v1/namespaces/default/configmaps";

async fn headers(server: &Server, line: &str) -> http::HeaderMap {
    server.service().respond(request(line, "")).await.headers().clone()
}

async fn text(server: &Server, line: &str) -> String {
    let response = server.service().respond(request(line, "")).await;
    String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap()
}

#[tokio::test]
async fn parameters_are_validated_first() {
    let server = Server::start().await;
    let script = format!(
        r#"
        GET {CM}?timeoutSeconds=abc
        GET {CM}?continue=abc
        GET {CM}?continue=%21
        GET {CM}?continue=e30
        GET {CM}/x?resourceVersion=abc
        GET {CM}?resourceVersion=1&resourceVersionMatch=Exact&limit=-1
        POST {CM}?fieldManager=%07 <- {{"metadata":{{"name":"x"}}}}
        POST /version
        DELETE /api
        PUT /apis/apps/v1
        POST /apis/authentication.k8s.io/v1/tokenreviews <- {{"spec":{{}}}}
        "#
    );
    expect![[r#"
        GET /api/v1/namespaces/default/configmaps?timeoutSeconds=abc
          400 {"apiVersion":"v1","code":400,"kind":"Status","message":"strconv.ParseInt: parsing \"abc\": invalid syntax","metadata":{},"reason":"BadRequest","status":"Failure"}
        GET /api/v1/namespaces/default/configmaps?continue=abc
          400 {"apiVersion":"v1","code":400,"kind":"Status","message":"invalid continue token: continue key is not valid: invalid character 'i' looking for beginning of value","metadata":{},"reason":"BadRequest","status":"Failure"}
        GET /api/v1/namespaces/default/configmaps?continue=%21
          400 {"apiVersion":"v1","code":400,"kind":"Status","message":"invalid continue token: continue key is not valid: illegal base64 data at input byte 0","metadata":{},"reason":"BadRequest","status":"Failure"}
        GET /api/v1/namespaces/default/configmaps?continue=e30
          400 {"apiVersion":"v1","code":400,"kind":"Status","message":"invalid continue token: continue key is not valid: server does not recognize this encoded version ","metadata":{},"reason":"BadRequest","status":"Failure"}
        GET /api/v1/namespaces/default/configmaps/x?resourceVersion=abc
          500 {"apiVersion":"v1","code":500,"kind":"Status","message":"resourceVersion: Invalid value: \"abc\": strconv.ParseUint: parsing \"abc\": invalid syntax","metadata":{},"status":"Failure"}
        GET /api/v1/namespaces/default/configmaps?resourceVersion=1&resourceVersionMatch=Exact&limit=-1
          200 {"apiVersion":"v1","items":[],"kind":"ConfigMapList","metadata":{}}
        POST /api/v1/namespaces/default/configmaps?fieldManager=%07 <- {"metadata":{"name":"x"}}
          422 {"apiVersion":"v1","code":422,"details":{"causes":[{"field":"fieldManager","message":"Invalid value: \"\\a\": invalid character U+0007 (at position 0)","reason":"FieldValueInvalid"}],"group":"meta.k8s.io","kind":"CreateOptions"},"kind":"Status","message":"CreateOptions.meta.k8s.io \"\" is invalid: fieldManager: Invalid value: \"\\a\": invalid character U+0007 (at position 0)","metadata":{},"reason":"Invalid","status":"Failure"}
        POST /version
          405 {"apiVersion":"v1","code":405,"details":{},"kind":"Status","message":"the server does not allow this method on the requested resource","metadata":{},"reason":"MethodNotAllowed","status":"Failure"}
        DELETE /api
          405 {"apiVersion":"v1","code":405,"details":{},"kind":"Status","message":"the server does not allow this method on the requested resource","metadata":{},"reason":"MethodNotAllowed","status":"Failure"}
        PUT /apis/apps/v1
          405 {"apiVersion":"v1","code":405,"details":{},"kind":"Status","message":"the server does not allow this method on the requested resource","metadata":{},"reason":"MethodNotAllowed","status":"Failure"}
        POST /apis/authentication.k8s.io/v1/tokenreviews <- {"spec":{}}
          400 {"apiVersion":"v1","code":400,"kind":"Status","message":"token is required for TokenReview in authentication","metadata":{},"reason":"BadRequest","status":"Failure"}
    "#]].assert_eq(&server.play(&script).await);
}

#[tokio::test]
async fn every_response_has_an_audit_id() {
    let server = Server::start().await;
    let given = headers(&server, &format!("GET {CM} | Audit-ID: mine")).await;
    assert_eq!(given["audit-id"], "mine");
    let drawn = [headers(&server, "GET /healthz").await, headers(&server, &format!("GET {CM}/none")).await];
    let ids: Vec<&str> = drawn.iter().map(|h| h["audit-id"].to_str().unwrap()).collect();
    assert!(
        ids.iter().all(|id| uuid::Uuid::parse_str(id).is_ok_and(|id| id.get_version_num() == 4)),
        "{ids:?}"
    );
    assert_ne!(ids[0], ids[1]);
}

#[tokio::test]
async fn interactive_clients_get_pretty_printed_json() {
    let server = Server::start().await;
    expect![[r#"
        {
          "apiVersion": "v1",
          "code": 404,
          "details": {
            "kind": "configmaps",
            "name": "none"
          },
          "kind": "Status",
          "message": "configmaps \"none\" not found",
          "metadata": {},
          "reason": "NotFound",
          "status": "Failure"
        }"#]]
    .assert_eq(&text(&server, &format!("GET {CM}/none?pretty=true")).await);
    assert_eq!(text(&server, &format!("GET {CM}/none")).await.lines().count(), 1);
    assert!(text(&server, "GET /apis/apps | User-Agent: curl/8").await.lines().count() > 5);
}

#[tokio::test]
async fn a_single_object_is_watched_through_the_deprecated_path() {
    let server = Server::start().await;
    server.ask(&format!("POST {CM}"), r#"{"metadata":{"name":"a"}}"#).await;
    server.ask(&format!("POST {CM}"), r#"{"metadata":{"name":"b"}}"#).await;
    let events = text(&server, "GET /api/v1/watch/namespaces/default/configmaps/b?timeoutSeconds=1").await;
    let events: Vec<Value> = events.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    assert_eq!(events.len(), 1);
    assert_eq!(
        (&events[0]["type"], &events[0]["object"]["metadata"]["name"]),
        (&"ADDED".into(), &"b".into())
    );
}

#[tokio::test]
async fn admission_applies_to_absent_objects() {
    let server = Server::start().await;
    let script = r#"
        POST /api/v1/nodes <- {"metadata":{"name":"n"}}
        POST /api/v1/namespaces/default/pods <- {"metadata":{"name":"p"},"spec":{"runtimeClassName":"r","containers":[{"name":"c","image":"i"}]}}
        POST /api/v1/namespaces/default/services <- {"metadata":{"name":"s"},"spec":{"ipFamilyPolicy":"RequireDualStack","ipFamilies":["IPv6"],"ports":[{"port":1}]}}
        POST /api/v1/namespaces/default/services <- {"metadata":{"name":"h"},"spec":{"clusterIP":"None","ipFamilyPolicy":"RequireDualStack","ports":[{"port":1}]}}
    "#;
    expect![[r#"
        POST /api/v1/nodes <- {"metadata":{"name":"n"}}
          201 {"apiVersion":"v1","kind":"Node","metadata":{"name":"n"},"spec":{"taints":[{"effect":"NoSchedule","key":"node.kubernetes.io/not-ready"}]},"status":{"daemonEndpoints":{"kubeletEndpoint":{"Port":0}},"nodeInfo":{"architecture":"","bootID":"","containerRuntimeVersion":"","kernelVersion":"","kubeProxyVersion":"","kubeletVersion":"","machineID":"","operatingSystem":"","osImage":"","systemUUID":""}}}
        POST /api/v1/namespaces/default/pods <- {"metadata":{"name":"p"},"spec":{"runtimeClassName":"r","containers":[{"name":"c","image":"i"}]}}
          403 {"apiVersion":"v1","code":403,"details":{"kind":"pods","name":"p"},"kind":"Status","message":"pods \"p\" is forbidden: pod rejected: RuntimeClass \"r\" not found","metadata":{},"reason":"Forbidden","status":"Failure"}
        POST /api/v1/namespaces/default/services <- {"metadata":{"name":"s"},"spec":{"ipFamilyPolicy":"RequireDualStack","ipFamilies":["IPv6"],"ports":[{"port":1}]}}
          422 {"apiVersion":"v1","code":422,"details":{"causes":[{"field":"spec.ipFamilyPolicy","message":"Invalid value: \"RequireDualStack\": this cluster is not configured for dual-stack services","reason":"FieldValueInvalid"},{"field":"spec.ipFamilies[0]","message":"Invalid value: \"IPv6\": not configured on this cluster","reason":"FieldValueInvalid"}],"kind":"Service","name":"s"},"kind":"Status","message":"Service \"s\" is invalid: [spec.ipFamilyPolicy: Invalid value: \"RequireDualStack\": this cluster is not configured for dual-stack services, spec.ipFamilies[0]: Invalid value: \"IPv6\": not configured on this cluster]","metadata":{},"reason":"Invalid","status":"Failure"}
        POST /api/v1/namespaces/default/services <- {"metadata":{"name":"h"},"spec":{"clusterIP":"None","ipFamilyPolicy":"RequireDualStack","ports":[{"port":1}]}}
          201 {"apiVersion":"v1","kind":"Service","metadata":{"name":"h","namespace":"default"},"spec":{"clusterIP":"None","clusterIPs":["None"],"internalTrafficPolicy":"Cluster","ipFamilies":["IPv4","IPv6"],"ipFamilyPolicy":"RequireDualStack","ports":[{"port":1,"protocol":"TCP","targetPort":1}],"sessionAffinity":"None","type":"ClusterIP"},"status":{"loadBalancer":{}}}
    "#]].assert_eq(&server.play(script).await);
}

#[tokio::test]
async fn openapi_v2_has_every_type_and_no_dangling_reference() {
    let server = Server::start().await;
    let document: Value = serde_json::from_str(&text(&server, "GET /openapi/v2").await).unwrap();
    let definitions = document["definitions"].as_object().unwrap();
    for reference in document.to_string().split("\"$ref\":\"").skip(1) {
        let target = reference.split('"').next().unwrap();
        assert!(document.pointer(target.strip_prefix('#').unwrap()).is_some(), "{target}");
    }
    let pod = &definitions["io.k8s.api.core.v1.Pod"];
    assert_eq!(pod["x-kubernetes-group-version-kind"][0]["kind"], "Pod");
    assert_eq!(pod["properties"]["spec"]["$ref"], "#/definitions/io.k8s.api.core.v1.PodSpec");
    let create = &document["paths"]["/api/v1/namespaces/{namespace}/pods"]["post"];
    assert_eq!(create["parameters"][0]["in"], "body");
    const PROTOBUF: &str = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf";
    let binary =
        server.service().respond(request(&format!("GET /openapi/v2 | Accept: {PROTOBUF}"), "")).await;
    assert_eq!(binary.headers()["content-type"], PROTOBUF.replace('@', "."));
    let bytes = binary.into_body().collect().await.unwrap().to_bytes();
    assert!(bytes.starts_with(b"\n\x032.0\x12"));
    let etag = headers(&server, "GET /openapi/v2").await["etag"].to_str().unwrap().to_owned();
    let again =
        server.service().respond(request(&format!("GET /openapi/v2 | If-None-Match: {etag}"), "")).await;
    assert_eq!(again.status(), 304);
}

#[tokio::test]
async fn an_expired_list_has_a_token_to_continue() {
    let server = Server::start().await;
    for name in ["a", "b", "c"] {
        server.ask(&format!("POST {CM}"), &format!(r#"{{"metadata":{{"name":"{name}"}}}}"#)).await;
    }
    let page = server.json(&format!("GET {CM}?limit=1"), "").await;
    let token = page["metadata"]["continue"].as_str().unwrap().to_owned();
    let seen = page["metadata"]["resourceVersion"].as_str().unwrap().to_owned();
    server.ask(&format!("DELETE {CM}/b"), "").await;
    // Until the cache has seen the deletion, it still represents that version and nothing has expired.
    server.ask(&format!("GET {CM}"), "").await;
    let store = server.service().api().registry.store().clone();
    let newest = store.current_revision().await.unwrap();
    store.compact(newest).await.unwrap();
    let expired = server.json(&format!("GET {CM}?limit=1&continue={token}"), "").await;
    assert_eq!((&expired["code"], &expired["reason"]), (&410.into(), &"Expired".into()));
    let token = expired["metadata"]["continue"].as_str().unwrap();
    let rest = server.json(&format!("GET {CM}?continue={token}"), "").await;
    assert_eq!(rest["items"].as_array().unwrap().len(), 1);
    assert_eq!(rest["items"][0]["metadata"]["name"], "c");
    let exact = server.json(&format!("GET {CM}?resourceVersion={seen}&resourceVersionMatch=Exact"), "").await;
    assert_eq!(exact["message"], "The resourceVersion for the provided list is too old.");
    assert!(exact["metadata"].as_object().unwrap().is_empty());
}
