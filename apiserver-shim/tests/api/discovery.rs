//! Discovery, OpenAPI, version and health endpoints.

use expect_test::expect;

use crate::harness::{Server, request};

#[tokio::test]
async fn non_resource_paths() {
    let server = Server::start().await;
    let script = r#"
        GET /apis/apps
        GET /apis/nope.io
        GET /apis/apps/v9
        GET /nope
        GET /readyz
        GET /readyz/etcd
        GET /livez?exclude=ping
        GET /readyz?verbose
        GET /livez?verbose&exclude=etcd&exclude=nope
        GET /readyz/poststarthook/rbac/bootstrap-roles
        GET /openapi/v3/apis/nope/v1
        "#;
    expect![[r#"
        GET /apis/apps
          200 {"apiVersion":"v1","kind":"APIGroup","name":"apps","preferredVersion":{"groupVersion":"apps/v1","version":"v1"},"versions":[{"groupVersion":"apps/v1","version":"v1"}]}
        GET /apis/nope.io
          404 404 page not found
        GET /apis/apps/v9
          404 {"apiVersion":"v1","code":404,"details":{},"kind":"Status","message":"the server could not find the requested resource","metadata":{},"reason":"NotFound","status":"Failure"}
        GET /nope
          404 404 page not found
        GET /readyz
          200 ok
        GET /readyz/etcd
          200 ok
        GET /livez?exclude=ping
          200 ok
        GET /readyz?verbose
          200 [+]ping ok
        [+]log ok
        [+]etcd ok
        [+]etcd-readiness ok
        [+]store-writes ok
        [+]informer-sync ok
        [+]poststarthook/start-apiserver-admission-initializer ok
        [+]poststarthook/generic-apiserver-start-informers ok
        [+]poststarthook/priority-and-fairness-config-consumer ok
        [+]poststarthook/priority-and-fairness-filter ok
        [+]poststarthook/start-apiextensions-informers ok
        [+]poststarthook/start-apiextensions-controllers ok
        [+]poststarthook/crd-informer-synced ok
        [+]poststarthook/start-system-namespaces-controller ok
        [+]poststarthook/start-cluster-authentication-info-controller ok
        [+]poststarthook/start-service-ip-repair-controllers ok
        [+]poststarthook/storage-readiness ok
        [+]poststarthook/rbac/bootstrap-roles ok
        [+]poststarthook/scheduling/bootstrap-system-priority-classes ok
        [+]poststarthook/priority-and-fairness-config-producer ok
        [+]poststarthook/bootstrap-controller ok
        [+]poststarthook/start-kubernetes-service-cidr-controller ok
        [+]poststarthook/start-kube-aggregator-informers ok
        [+]poststarthook/apiservice-status-local-available-controller ok
        [+]poststarthook/apiservice-status-remote-available-controller ok
        [+]poststarthook/apiservice-registration-controller ok
        [+]poststarthook/kube-apiserver-autoregistration ok
        [+]autoregister-completion ok
        [+]poststarthook/apiservice-openapi-controller ok
        [+]shutdown ok
        readyz check passed
        GET /livez?verbose&exclude=etcd&exclude=nope
          200 [+]ping ok
        [+]log ok
        [+]etcd excluded: ok
        [+]poststarthook/start-apiserver-admission-initializer ok
        [+]poststarthook/generic-apiserver-start-informers ok
        [+]poststarthook/priority-and-fairness-config-consumer ok
        [+]poststarthook/priority-and-fairness-filter ok
        [+]poststarthook/start-apiextensions-informers ok
        [+]poststarthook/start-apiextensions-controllers ok
        [+]poststarthook/crd-informer-synced ok
        [+]poststarthook/start-system-namespaces-controller ok
        [+]poststarthook/start-cluster-authentication-info-controller ok
        [+]poststarthook/start-service-ip-repair-controllers ok
        [+]poststarthook/storage-readiness ok
        [+]poststarthook/rbac/bootstrap-roles ok
        [+]poststarthook/scheduling/bootstrap-system-priority-classes ok
        [+]poststarthook/priority-and-fairness-config-producer ok
        [+]poststarthook/bootstrap-controller ok
        [+]poststarthook/start-kubernetes-service-cidr-controller ok
        [+]poststarthook/start-kube-aggregator-informers ok
        [+]poststarthook/apiservice-status-local-available-controller ok
        [+]poststarthook/apiservice-status-remote-available-controller ok
        [+]poststarthook/apiservice-registration-controller ok
        [+]poststarthook/kube-apiserver-autoregistration ok
        [+]autoregister-completion ok
        [+]poststarthook/apiservice-openapi-controller ok
        warn: some health checks cannot be excluded: no matches for "nope"
        livez check passed
        GET /readyz/poststarthook/rbac/bootstrap-roles
          200 ok
        GET /openapi/v3/apis/nope/v1
          404 
    "#]].assert_eq(&server.play(script).await);
    let version = server.json("GET /version", "").await;
    assert_eq!((version["major"].as_str(), version["minor"].as_str()), (Some("1"), Some("36")));
    assert!(version["gitVersion"].as_str().unwrap().starts_with("v1.36."));
}

#[tokio::test]
async fn aggregated_discovery_has_an_etag() {
    let server = Server::start().await;
    let accept =
        "Accept: application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json";
    let first = server.service().respond(request(&format!("GET /apis | {accept}"), "")).await;
    let media_type = first.headers()["content-type"].to_str().unwrap().to_owned();
    assert_eq!(media_type, "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList");
    let etag = first.headers()["etag"].to_str().unwrap().to_owned();
    let again = request(&format!("GET /apis | {accept} | If-None-Match: {etag}"), "");
    assert_eq!(server.service().respond(again).await.status(), 304);
}

#[tokio::test]
async fn every_openapi_document_is_served_under_its_hash() {
    let server = Server::start().await;
    let index = server.service().respond(request("GET /openapi/v3", "")).await;
    let bytes = http_body_util::BodyExt::collect(index.into_body()).await.unwrap().to_bytes();
    let index: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
    let paths = index["paths"].as_object().unwrap();
    assert!(paths.contains_key("apis/apps/v1"));
    for entry in paths.values() {
        let url = entry["serverRelativeURL"].as_str().unwrap();
        let document = server.service().respond(request(&format!("GET {url}"), "")).await;
        assert_eq!(document.status(), 200, "{url}");
        assert_eq!(document.headers()["cache-control"], "public, immutable");
    }
}

#[tokio::test]
async fn openapi_v3_is_served_in_two_encodings_and_under_one_hash() {
    let server = Server::start().await;
    let get = |path: &str, accept: &str| {
        let asked = request(&format!("GET /openapi/v3/{path} | Accept: {accept}"), "");
        let service = server.service();
        async move { service.respond(asked).await }
    };
    let plain = get("apis/apps/v1", "*/*").await;
    assert_eq!(plain.headers()["content-type"], "application/json");
    let protobuf = "application/com.github.proto-openapi.spec.v3.v1.0+protobuf";
    for asked in [protobuf.to_owned(), protobuf.replace("v3.v1", "v3@v1"), format!("text/html, {protobuf}")] {
        let binary = get("apis/apps/v1", &asked).await;
        assert_eq!(binary.headers()["content-type"], protobuf);
        assert_eq!(binary.headers()["etag"], plain.headers()["etag"]);
        let bytes = http_body_util::BodyExt::collect(binary.into_body()).await.unwrap().to_bytes();
        assert!(bytes.starts_with(b"\n\x053.0.0\x12"));
    }
    assert_eq!(get("apis/apps/v1", "text/html").await.status(), 406);
    let moved = get("apis/apps/v1?hash=OLD", "*/*").await;
    assert_eq!(moved.status(), 301);
    let location = moved.headers()["location"].to_str().unwrap();
    let hash = plain.headers()["etag"].to_str().unwrap().trim_matches('"');
    assert_eq!(location, format!("/openapi/v3/apis/apps/v1?hash={hash}"));
}

#[tokio::test]
async fn a_server_says_what_it_is_and_how_it_was_started() {
    let server = Server::start().await;
    let paths = server.json("GET /", "").await;
    for page in ["/statusz", "/flagz"] {
        assert!(paths["paths"].as_array().unwrap().iter().any(|path| path == page), "{paths}");
    }
    let text = server.ask("GET /statusz", "").await;
    assert!(text.starts_with("200 \napiserver statusz\nWarning: "), "{text}");
    for line in ["\nStarted: ", "\nUp: 0 hr 0", "\nBinary version: 1.36.", "\nEmulation version: 1.36\n"] {
        assert!(text.contains(line), "{line}: {text}");
    }
    assert!(text.contains("\nPaths: /flagz /healthz /livez /metrics /readyz /version"), "{text}");
    let named = |page: &str, kind: &str, version: &str| {
        format!("GET /{page} | Accept: application/json;as={kind};v={version};g=config.k8s.io")
    };
    let status = server.json(&named("statusz", "Statusz", "v1beta1"), "").await;
    assert_eq!(
        (&status["kind"], &status["apiVersion"]),
        (&"Statusz".into(), &"config.k8s.io/v1beta1".into())
    );
    assert_eq!(status["metadata"]["name"], "apiserver");
    assert!(
        status["uptimeSeconds"].is_i64() && status["startTime"].as_str().unwrap().ends_with('Z'),
        "{status}"
    );
    let flags = server.json(&named("flagz", "Flagz", "v1beta1"), "").await;
    assert_eq!(flags["flags"], serde_json::json!({"store": "memory"}));
    assert!(server.ask("GET /flagz", "").await.ends_with("store=memory"));
    let old = server.ask(&named("flagz", "Flagz", "v1alpha1"), "").await;
    assert!(old.starts_with("200 299 - \"This version of the flagz endpoint is deprecated."), "{old}");
    let refused = server.ask("GET /flagz | Accept: application/json", "").await;
    assert!(refused.starts_with("406"), "{refused}");
    // Those who may see metrics may see these.
    let binding = r#"{"metadata":{"name":"m"},"roleRef":{"apiGroup":"rbac.authorization.k8s.io","kind":"ClusterRole","name":"system:monitoring"},"subjects":[{"apiGroup":"rbac.authorization.k8s.io","kind":"User","name":"watcher"}]}"#;
    server.ask("POST /apis/rbac.authorization.k8s.io/v1/clusterrolebindings", binding).await;
    for (user, code) in [("watcher", "200"), ("nobody", "403")] {
        let answer = server.ask(&format!("GET /statusz | Impersonate-User: {user}"), "").await;
        assert!(answer.starts_with(code), "{user}: {answer}");
    }
}
