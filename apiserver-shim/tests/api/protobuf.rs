//! Protobuf bodies and responses, of every kind of request that has them.

use expect_test::expect;
use http_body_util::BodyExt;
use serde_json::{Value, json};
use shim_model::protobuf;

use crate::gadget;
use crate::harness::{Server, normalize, request, show};
use apiserver_shim::http::body::full;

const MESSAGE: &str = "application/vnd.kubernetes.protobuf";
const NAMESPACED: &str = "/api/v1/namespaces/default";

/// Sends each body in protobuf and asks for protobuf. The kind in the envelope is that of the body.
async fn play(server: &Server, steps: &[(&str, Value)]) -> String {
    let mut out = String::new();
    for (line, body) in steps {
        let bytes = if body.is_null() { Vec::new() } else { protobuf::encode_value(body).unwrap() };
        let mut asked = request(&format!("{line} | Accept: {MESSAGE} | Content-Type: {MESSAGE}"), "");
        *asked.body_mut() = full(bytes);
        let answer = show(server.service().respond(asked).await).await;
        out.push_str(&format!("{line}\n  {answer}\n"));
    }
    out
}

fn object(api_version: &str, kind: &str, rest: Value) -> Value {
    let mut object = rest;
    (object["apiVersion"], object["kind"]) = (api_version.into(), kind.into());
    object
}

#[tokio::test]
async fn objects_are_written_and_read_in_protobuf() {
    let server = Server::start().await;
    let container = json!({"name": "c", "image": "i", "ports": [{"containerPort": 80}],
        "resources": {"requests": {"cpu": "100m"}}});
    let template = json!({"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [container]}});
    let deployment = json!({"metadata": {"name": "d"}, "spec": {"replicas": 2,
        "selector": {"matchLabels": {"a": "b"}}, "template": template}});
    let steps = [
        ("POST /api/v1/namespaces".to_owned(), object("v1", "Namespace", json!({"metadata": {"name": "n"}}))),
        (
            format!("POST {NAMESPACED}/secrets"),
            object("v1", "Secret", json!({"metadata": {"name": "s"}, "data": {"a": "AAEC", "b": ""}})),
        ),
        (
            "POST /apis/apps/v1/namespaces/default/deployments".to_owned(),
            object("apps/v1", "Deployment", deployment),
        ),
        ("GET /apis/apps/v1/namespaces/default/deployments/d/scale".to_owned(), Value::Null),
        (
            "PUT /apis/apps/v1/namespaces/default/deployments/d/scale".to_owned(),
            object(
                "autoscaling/v1",
                "Scale",
                json!({"metadata": {"name": "d", "namespace": "default"}, "spec": {"replicas": 3}}),
            ),
        ),
        (format!("GET {NAMESPACED}/secrets?limit=1"), Value::Null),
        (format!("GET {NAMESPACED}/secrets/none"), Value::Null),
        (format!("POST {NAMESPACED}/secrets"), object("v1", "ConfigMap", json!({"metadata": {"name": "s"}}))),
        (
            "POST /apis/authorization.k8s.io/v1/selfsubjectaccessreviews".to_owned(),
            object(
                "authorization.k8s.io/v1",
                "SelfSubjectAccessReview",
                json!({"spec": {"resourceAttributes": {"verb": "get", "resource": "pods"}}}),
            ),
        ),
        (
            "DELETE /apis/apps/v1/namespaces/default/deployments/d".to_owned(),
            object("apps/v1", "DeleteOptions", json!({"dryRun": ["All"], "gracePeriodSeconds": 0})),
        ),
        (
            "DELETE /api/v1/namespaces/default/secrets/s".to_owned(),
            object("v1", "DeleteOptions", json!({"propagationPolicy": "Background"})),
        ),
        ("GET /apis/apps/v1".to_owned(), Value::Null),
    ];
    let steps: Vec<(&str, Value)> = steps.iter().map(|(line, body)| (line.as_str(), body.clone())).collect();
    let out = play(&server, &steps).await;
    let bounded: Vec<String> = out.lines().map(|line| line.chars().take(600).collect()).collect();
    expect![[r#"
        POST /api/v1/namespaces
          201 protobuf {"apiVersion":"v1","kind":"Namespace","metadata":{"labels":{"kubernetes.io/metadata.name":"n"},"name":"n"},"spec":{"finalizers":["kubernetes"]},"status":{"phase":"Active"}}
        POST /api/v1/namespaces/default/secrets
          201 protobuf {"apiVersion":"v1","data":{"a":"AAEC","b":""},"kind":"Secret","metadata":{"name":"s","namespace":"default"},"type":"Opaque"}
        POST /apis/apps/v1/namespaces/default/deployments
          201 protobuf {"apiVersion":"apps/v1","kind":"Deployment","metadata":{"generation":1,"name":"d","namespace":"default"},"spec":{"progressDeadlineSeconds":600,"replicas":2,"revisionHistoryLimit":10,"selector":{"matchLabels":{"a":"b"}},"strategy":{"rollingUpdate":{"maxSurge":"25%","maxUnavailable":"25%"},"type":"RollingUpdate"},"template":{"metadata":{"labels":{"a":"b"}},"spec":{"containers":[{"image":"i","imagePullPolicy":"Always","name":"c","ports":[{"containerPort":80,"protocol":"TCP"}],"resources":{"requests":{"cpu":"100m"}},"terminationMessagePath":"/dev/termination-log","terminationMessage
        GET /apis/apps/v1/namespaces/default/deployments/d/scale
          200 protobuf {"apiVersion":"autoscaling/v1","kind":"Scale","metadata":{"name":"d","namespace":"default"},"spec":{"replicas":2},"status":{"replicas":0,"selector":"a=b"}}
        PUT /apis/apps/v1/namespaces/default/deployments/d/scale
          200 protobuf {"apiVersion":"autoscaling/v1","kind":"Scale","metadata":{"name":"d","namespace":"default"},"spec":{"replicas":3},"status":{"replicas":0,"selector":"a=b"}}
        GET /api/v1/namespaces/default/secrets?limit=1
          200 protobuf {"apiVersion":"v1","items":[{"data":{"a":"AAEC","b":""},"metadata":{"name":"s","namespace":"default"},"type":"Opaque"}],"kind":"SecretList","metadata":{}}
        GET /api/v1/namespaces/default/secrets/none
          404 protobuf {"apiVersion":"v1","code":404,"details":{"kind":"secrets","name":"none"},"kind":"Status","message":"secrets \"none\" not found","metadata":{},"reason":"NotFound","status":"Failure"}
        POST /api/v1/namespaces/default/secrets
          400 protobuf {"apiVersion":"v1","code":400,"kind":"Status","message":"ConfigMap in version \"v1\" cannot be handled as a Secret: converting (v1.ConfigMap) to (core.Secret): unknown conversion","metadata":{},"reason":"BadRequest","status":"Failure"}
        POST /apis/authorization.k8s.io/v1/selfsubjectaccessreviews
          201 protobuf {"apiVersion":"authorization.k8s.io/v1","kind":"SelfSubjectAccessReview","metadata":{},"spec":{"resourceAttributes":{"resource":"pods","verb":"get"}},"status":{"allowed":true}}
        DELETE /apis/apps/v1/namespaces/default/deployments/d
          200 protobuf {"apiVersion":"v1","details":{"group":"apps","kind":"deployments","name":"d"},"kind":"Status","metadata":{},"status":"Success"}
        DELETE /api/v1/namespaces/default/secrets/s
          200 protobuf {"apiVersion":"v1","details":{"kind":"secrets","name":"s"},"kind":"Status","metadata":{},"status":"Success"}
        GET /apis/apps/v1
          200 protobuf {"apiVersion":"v1","groupVersion":"apps/v1","kind":"APIResourceList","resources":[{"kind":"ControllerRevision","name":"controllerrevisions","namespaced":true,"singularName":"controllerrevision","storageVersionHash":"85nkx63pcBU=","verbs":["create","delete","deletecollection","get","list","patch","update","watch"]},{"categories":["all"],"kind":"DaemonSet","name":"daemonsets","namespaced":true,"shortNames":["ds"],"singularName":"daemonset","storageVersionHash":"dd7pWHUlMKQ=","verbs":["create","delete","deletecollection","get","list","patch","update","watch"]},{"kind":"DaemonSet",""#]].assert_eq(&bounded.join("\n"));
}

#[tokio::test]
async fn malformed_messages_are_refused_as_upstream_does() {
    let server = Server::start().await;
    let pod = |raw: &[u8]| {
        let mut body = protobuf::envelope_head("v1", "Pod", raw.len() as u64);
        body.extend_from_slice(raw);
        body
    };
    let bodies: Vec<Vec<u8>> = vec![
        Vec::new(),
        b"k8s".to_vec(),
        b"k8s\0".to_vec(),
        b"{\"kind\":\"Pod\"}".to_vec(),
        b"k8s\0\x0a\x7f".to_vec(),
        pod(b"\x08\x01"),
        pod(b"\x0a\x02\x0a\x05"),
        pod(b"\x0c"),
        pod(b"\x00\x01"),
        pod(b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"),
        pod(b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"),
        pod(b"\x7f"),
        protobuf::encode_value(&object("apps/v1", "Deployment", json!({}))).unwrap(),
        protobuf::envelope_head("example.com/v1", "Odd", 0),
    ];
    let mut out = String::new();
    for body in bodies {
        let mut asked = request(&format!("POST {NAMESPACED}/pods | Content-Type: {MESSAGE}"), "");
        *asked.body_mut() = full(body);
        let response = server.service().respond(asked).await;
        let answer = response.into_body().collect().await.unwrap().to_bytes();
        let status: Value = serde_json::from_slice(&answer).unwrap();
        out.push_str(&format!("{} {}\n", status["code"], status["message"].as_str().unwrap()));
    }
    expect![[r#"
        400 the object provided is unrecognized (must be of type Pod): empty data (<empty>)
        400 the object provided is unrecognized (must be of type Pod): provided data does not appear to be a protobuf message, expected prefix [107 56 115 0] (6b3873)
        400 the object provided is unrecognized (must be of type Pod): empty body (6b387300)
        400 the object provided is unrecognized (must be of type Pod): provided data does not appear to be a protobuf message, expected prefix [107 56 115 0] ({"kind":"Pod"})
        400 the object provided is unrecognized (must be of type Pod): unexpected EOF (6b3873000a7f)
        400 Pod in version "v1" cannot be handled as a Pod: proto: wrong wireType = 0 for field ObjectMeta
        400 Pod in version "v1" cannot be handled as a Pod: unexpected EOF
        400 Pod in version "v1" cannot be handled as a Pod: proto: Pod: wiretype end group for non-group
        400 Pod in version "v1" cannot be handled as a Pod: proto: Pod: illegal tag 0 (wire type 0)
        400 Pod in version "v1" cannot be handled as a Pod: proto: negative length found during unmarshaling
        400 Pod in version "v1" cannot be handled as a Pod: proto: integer overflow
        400 Pod in version "v1" cannot be handled as a Pod: proto: illegal wireType 7
        400 Deployment in version "v1" cannot be handled as a Pod: converting (v1.Deployment) to (core.Pod): unknown conversion
        400 Odd in version "v1" cannot be handled as a Pod: no kind "Odd" is registered for version "example.com/v1" in scheme "k8s.io/kubernetes/pkg/api/legacyscheme/scheme.go:30"
    "#]].assert_eq(&out);
}

#[tokio::test]
async fn a_watch_in_protobuf_has_framed_events() {
    let server = Server::start().await;
    server
        .ask(&format!("POST {NAMESPACED}/configmaps"), r#"{"metadata":{"name":"a"},"data":{"k":"v"}}"#)
        .await;
    let mut out = String::new();
    for (accept, version) in [
        (
            format!("{MESSAGE};stream=watch"),
            "&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true",
        ),
        (format!("{MESSAGE};as=PartialObjectMetadata;g=meta.k8s.io;v=v1"), ""),
    ] {
        let line = format!(
            "GET {NAMESPACED}/configmaps?watch=1&timeoutSeconds=1&fieldSelector=metadata.name=a{version} | Accept: {accept}"
        );
        let response = server.service().respond(request(&line, "")).await;
        out.push_str(&format!("{}\n", response.headers()["content-type"].to_str().unwrap()));
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        let mut rest = &bytes[..];
        while let Some((length, events)) = rest.split_first_chunk::<4>() {
            let (event, others) = events.split_at(u32::from_be_bytes(*length) as usize);
            rest = others;
            // The type, and the object in a raw extension.
            let (ty, raw) = event[2..].split_at(event[1] as usize);
            let object = raw.windows(4).position(|w| w == b"k8s\0").unwrap();
            let object = normalize(protobuf::decode_value(&raw[object..]).unwrap());
            out.push_str(&format!("{} {object}\n", String::from_utf8_lossy(ty)));
        }
    }
    expect![[r#"
        application/vnd.kubernetes.protobuf;stream=watch
        ADDED {"apiVersion":"v1","data":{"k":"v"},"kind":"ConfigMap","metadata":{"name":"a","namespace":"default"}}
        BOOKMARK {"apiVersion":"v1","kind":"ConfigMap","metadata":{"annotations":{"k8s.io/initial-events-end":"true"}}}
        application/vnd.kubernetes.protobuf;stream=watch
        ADDED {"apiVersion":"meta.k8s.io/v1","kind":"PartialObjectMetadata","metadata":{"name":"a","namespace":"default"}}
    "#]].assert_eq(&out);
}

#[tokio::test]
async fn custom_resources_and_tables_have_no_protobuf() {
    let server = Server::start().await;
    server.handle.registry().install(gadget::definitions()).await.unwrap();
    const GADGETS: &str = "/apis/example.com/v1/namespaces/default/gadgets";
    let made = r#"{"kind":"Gadget","apiVersion":"example.com/v1","metadata":{"name":"g"},"spec":{"size":1}}"#;
    let mut out = server.ask(&format!("POST {GADGETS}"), made).await + "\n";
    for (line, body) in [
        (format!("GET {GADGETS}/g | Accept: {MESSAGE}"), Vec::new()),
        (format!("GET {GADGETS}/g | Accept: {MESSAGE},application/json"), Vec::new()),
        (
            format!("GET {GADGETS}/g | Accept: {MESSAGE};as=PartialObjectMetadata;g=meta.k8s.io;v=v1"),
            Vec::new(),
        ),
        (
            format!("GET {GADGETS} | Accept: {MESSAGE};as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"),
            Vec::new(),
        ),
        (
            format!("POST {GADGETS} | Content-Type: {MESSAGE}"),
            protobuf::envelope_head("example.com/v1", "Gadget", 0),
        ),
        (format!("GET {NAMESPACED}/configmaps | Accept: {MESSAGE};as=Table;g=meta.k8s.io;v=v1"), Vec::new()),
        (format!("GET {NAMESPACED}/configmaps?watch=1 | Accept: application/yaml"), Vec::new()),
    ] {
        let mut asked = request(&line, "");
        *asked.body_mut() = full(body);
        out.push_str(&format!("{line}\n  {}\n", show(server.service().respond(asked).await).await));
    }
    expect![[r#"
        201 {"apiVersion":"example.com/v1","kind":"Gadget","metadata":{"generation":1,"name":"g","namespace":"default"},"spec":{"size":1},"status":{}}
        GET /apis/example.com/v1/namespaces/default/gadgets/g | Accept: application/vnd.kubernetes.protobuf
          406 protobuf {"apiVersion":"v1","code":406,"kind":"Status","message":"only the following media types are accepted: application/json, application/yaml, application/vnd.kubernetes.protobuf","metadata":{},"reason":"NotAcceptable","status":"Failure"}
        GET /apis/example.com/v1/namespaces/default/gadgets/g | Accept: application/vnd.kubernetes.protobuf,application/json
          200 {"apiVersion":"example.com/v1","kind":"Gadget","metadata":{"generation":1,"name":"g","namespace":"default"},"spec":{"size":1},"status":{}}
        GET /apis/example.com/v1/namespaces/default/gadgets/g | Accept: application/vnd.kubernetes.protobuf;as=PartialObjectMetadata;g=meta.k8s.io;v=v1
          200 protobuf {"apiVersion":"meta.k8s.io/v1","kind":"PartialObjectMetadata","metadata":{"generation":1,"name":"g","namespace":"default"}}
        GET /apis/example.com/v1/namespaces/default/gadgets | Accept: application/vnd.kubernetes.protobuf;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1
          200 protobuf {"apiVersion":"meta.k8s.io/v1","items":[{"metadata":{"generation":1,"name":"g","namespace":"default"}}],"kind":"PartialObjectMetadataList","metadata":{}}
        POST /apis/example.com/v1/namespaces/default/gadgets | Content-Type: application/vnd.kubernetes.protobuf
          400 {"apiVersion":"v1","code":400,"kind":"Status","message":"Gadget in version \"v1\" cannot be handled as a Gadget: object *unstructured.Unstructured does not implement the protobuf marshalling interface and cannot be encoded to a protobuf message","metadata":{},"reason":"BadRequest","status":"Failure"}
        GET /api/v1/namespaces/default/configmaps | Accept: application/vnd.kubernetes.protobuf;as=Table;g=meta.k8s.io;v=v1
          406 {"apiVersion":"v1","code":406,"kind":"Status","message":"only the following media types are accepted: application/json, application/yaml, application/vnd.kubernetes.protobuf","metadata":{},"reason":"NotAcceptable","status":"Failure"}
        GET /api/v1/namespaces/default/configmaps?watch=1 | Accept: application/yaml
          406 apiVersion: v1
        code: 406
        kind: Status
        message: 'only the following media types are accepted: application/json;stream=watch,
          application/vnd.kubernetes.protobuf;stream=watch'
        metadata: {}
        reason: NotAcceptable
        status: Failure
    "#]].assert_eq(&out);
}

/// Lists copy the messages that the first one has encoded; a change replaces its object's.
#[tokio::test]
async fn lists_show_each_change_and_have_the_announced_length() {
    let server = Server::start().await;
    for number in 0..40 {
        let data = json!({"k": "x".repeat(number * 97)});
        let body = json!({"metadata": {"name": format!("m{number}")}, "data": data});
        server.json(&format!("POST {NAMESPACED}/configmaps"), &body.to_string()).await;
    }
    let list = async || {
        let line = format!("GET {NAMESPACED}/configmaps | Accept: {MESSAGE}");
        let response = server.service().respond(request(&line, "")).await;
        let announced =
            response.headers().get("content-length").map(|length| length.to_str().unwrap().to_owned());
        let hint = http_body::Body::size_hint(response.body()).exact();
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        assert!(announced.is_none_or(|length| length == bytes.len().to_string()));
        assert!(hint.is_none_or(|length| length == bytes.len() as u64));
        protobuf::decode_value(&bytes).unwrap()
    };
    let json = async || server.json(&format!("GET {NAMESPACED}/configmaps"), "").await;
    let first = list().await;
    assert_eq!((first["items"].as_array().unwrap().len(), &first), (40, &list().await));
    assert_eq!(first["items"], json().await["items"]);
    let change = r#"{"data":{"k":"changed"}}"#;
    let line = format!("PATCH {NAMESPACED}/configmaps/m7 | Content-Type: application/merge-patch+json");
    server.json(&line, change).await;
    let changed = list().await;
    assert_ne!(changed["items"], first["items"]);
    assert_eq!(changed["items"], json().await["items"]);
    let one = server
        .service()
        .respond(request(&format!("GET {NAMESPACED}/configmaps/m7 | Accept: {MESSAGE}"), ""))
        .await;
    let one = protobuf::decode_value(&one.into_body().collect().await.unwrap().to_bytes()).unwrap();
    assert_eq!(one["data"]["k"], "changed");
}
