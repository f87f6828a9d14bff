//! A group-version that another API server answers for. That server is a real one on loopback, which a Service of type
//! ExternalName leads to.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use apiserver_shim::http::body::{Response, full};
use expect_test::expect;
use http::StatusCode;
use hyper::body::Incoming;
use hyper_util::service::TowerToHyperService;
use serde_json::{Value, json};
use shim_pki::ServerNames;
use tokio_util::sync::CancellationToken;
use transport::server::{Peer, ServerOptions, Tls};
use transport::tls::{ALPN_HTTP, ClientCertificate, server_config};

use crate::harness::{Server, request};

const GROUP_VERSION: &str = "/apis/metrics.example.com/v1beta1";
const API_SERVICE: &str = "/apis/apiregistration.k8s.io/v1/apiservices/v1beta1.metrics.example.com";

/// An aggregated API server that tells what it was asked; it accepts only clients with a certificate of the front proxy's
/// authority.
pub async fn start_extension<A, R>(server: &Server, stop: &CancellationToken, answer: A) -> u16
where
    A: Fn(http::Request<Incoming>) -> R + Clone + Send + Sync + 'static,
    R: Future<Output = Result<Response, Infallible>> + Send + 'static,
{
    let names = ServerNames { dns: vec!["ext.default.svc".to_owned()], ..ServerNames::default() };
    let issued = server.pki.authority.issue_server(&names, SystemTime::now()).unwrap();
    let front_proxy = server.pki.front_proxy.certificate();
    let clients = ClientCertificate::Required;
    let tls = server_config(&issued.certificate, &issued.key, front_proxy, clients, ALPN_HTTP).unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let service = move |_: &Peer| Ok(TowerToHyperService::new(tower::service_fn(answer.clone())));
    let tls = Tls::Required(Arc::new(move || Ok(tls.clone())));
    tokio::spawn(transport::server::serve(
        listener,
        tls,
        ServerOptions::new("extension", 16),
        service,
        stop.clone(),
    ));
    port
}

async fn answer(request: http::Request<Incoming>) -> Result<Response, Infallible> {
    let path = request.uri().path().to_owned();
    let value = match path.as_str() {
        "/openapi/v3" => {
            let url = format!("/openapi/v3{GROUP_VERSION}?hash=ABC");
            json!({"paths": {"apis/metrics.example.com/v1beta1": {"serverRelativeURL": url}}})
        }
        "/openapi/v2" => json!({"swagger": "2.0", "info": {"title": "ext", "version": "1"},
            "paths": {format!("{GROUP_VERSION}/loads"): {"get": {"responses": {"200": {"description": "OK",
                "schema": {"$ref": "#/definitions/com.example.Load"}}}}}, "/version": {}},
            "definitions": {"com.example.Load": {"type": "object", "x-kubernetes-group-version-kind": [
                {"group": "metrics.example.com", "kind": "Load", "version": "v1beta1"}]}}}),
        GROUP_VERSION => json!({"kind": "APIResourceList", "apiVersion": "v1",
            "groupVersion": "metrics.example.com/v1beta1", "resources": [
                {"name": "loads", "singularName": "load", "namespaced": true, "kind": "Load", "verbs": ["get"]}]}),
        _ if path.ends_with("/missing") => {
            let mut response = http::Response::new(full("nothing here"));
            *response.status_mut() = StatusCode::NOT_FOUND;
            return Ok(response);
        }
        _ => {
            let header = |name: &str| {
                let values = request.headers().get_all(name).iter();
                values.map(|value| value.to_str().unwrap().to_owned()).collect::<Vec<_>>()
            };
            json!({"method": request.method().as_str(), "path": request.uri().path_and_query().unwrap().as_str(),
                "user": header("x-remote-user"), "groups": header("x-remote-group"),
                "authorization": header("authorization")})
        }
    };
    let mut response = http::Response::new(full(value.to_string()));
    response.headers_mut().insert("content-type", http::HeaderValue::from_static("application/json"));
    Ok(response)
}

/// Registers the extension at `port`, and waits until the condition says `reason`.
async fn register(server: &Server, port: u16, reason: &str) -> Value {
    register_group(server, port, "metrics.example.com").await;
    until(server, "v1beta1.metrics.example.com", reason).await
}

/// Registers the extension at `port` for version v1beta1 of a group.
pub async fn register_group(server: &Server, port: u16, group: &str) {
    let service = json!({"metadata": {"name": "ext"},
        "spec": {"type": "ExternalName", "externalName": "localhost", "ports": [{"port": port}]}});
    server.ask("POST /api/v1/namespaces/default/services", &service.to_string()).await;
    let bundle = shim_model::base64::encode(server.pki.authority.certificate().as_bytes());
    let api_service = json!({"metadata": {"name": format!("v1beta1.{group}")},
        "spec": {"group": group, "version": "v1beta1", "groupPriorityMinimum": 100,
            "versionPriority": 10, "caBundle": bundle,
            "service": {"namespace": "default", "name": "ext", "port": port}}});
    let created =
        server.ask("POST /apis/apiregistration.k8s.io/v1/apiservices", &api_service.to_string()).await;
    assert!(created.starts_with("201"), "{created}");
}

/// Follows the watch of the APIService until the condition says `reason`.
pub async fn until(server: &Server, name: &str, reason: &str) -> Value {
    let path = "/apis/apiregistration.k8s.io/v1/apiservices";
    let line = format!("GET {path}?watch=1&fieldSelector=metadata.name%3D{name}");
    let watch = server.service().respond(request(&line, "")).await;
    let mut parts = http_body_util::BodyExt::into_data_stream(watch.into_body());
    let mut text = Vec::new();
    loop {
        let part = futures::StreamExt::next(&mut parts).await.expect("an event").unwrap();
        text.extend_from_slice(&part);
        for line in text.split(|byte| *byte == b'\n') {
            let Ok(event) = serde_json::from_slice::<Value>(line) else { continue };
            let condition = &event["object"]["status"]["conditions"][0];
            if condition["reason"] == reason {
                return condition.clone();
            }
        }
    }
}

#[tokio::test]
async fn requests_for_an_aggregated_group_version_are_forwarded_with_the_user() {
    let server = Server::start().await;
    let stop = CancellationToken::new();
    let port = start_extension(&server, &stop, answer).await;
    let condition = register(&server, port, "Passed").await;
    assert_eq!((&condition["status"], &condition["message"]), (&json!("True"), &json!("all checks passed")));

    let line = format!(
        "GET {GROUP_VERSION}/namespaces/default/loads/a?x=%20y | Authorization: Bearer secret | X-Remote-User: forged"
    );
    expect![[r#"200 {"authorization":[],"groups":["system:masters","system:authenticated"],"method":"GET","path":"/apis/metrics.example.com/v1beta1/namespaces/default/loads/a?x=%20y","user":["test"]}"#]].assert_eq(&server.ask(&line, "").await);
    let missing = server.ask(&format!("GET {GROUP_VERSION}/missing"), "").await;
    assert_eq!(missing, "404 nothing here");
    let direct = server.json(&format!("GET {GROUP_VERSION}"), "").await;
    assert_eq!(direct["resources"][0]["name"], "loads");

    documents(&server).await;

    let deleted = server.ask(&format!("DELETE {API_SERVICE}"), "").await;
    assert!(deleted.starts_with("200"), "{deleted}");
    server.handle.registry().fresh().await.unwrap();
    let gone = server.ask(&format!("GET {GROUP_VERSION}/namespaces/default/loads/a"), "").await;
    assert_eq!(gone, "404 404 page not found");
    stop.cancel();
}

/// The group is in all forms of discovery.
async fn documents(server: &Server) {
    let groups = server.json("GET /apis", "").await;
    let last = groups["groups"].as_array().unwrap().last().unwrap().clone();
    assert_eq!(last["preferredVersion"]["groupVersion"], "metrics.example.com/v1beta1");
    let group = server.json("GET /apis/metrics.example.com", "").await;
    assert_eq!(group["name"], "metrics.example.com");
    let accept = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
    let aggregated = server.json(&format!("GET /apis | Accept: {accept}"), "").await;
    let last = aggregated["items"].as_array().unwrap().last().unwrap().clone();
    assert_eq!(last["versions"][0]["freshness"], "Current");
    assert_eq!(last["versions"][0]["resources"][0]["responseKind"]["kind"], "Load");
    let index = server.json("GET /openapi/v3", "").await;
    let url = &index["paths"]["apis/metrics.example.com/v1beta1"]["serverRelativeURL"];
    assert_eq!(url, "/openapi/v3/apis/metrics.example.com/v1beta1?hash=ABC");
    let merged = server.json("GET /openapi/v2", "").await;
    assert!(merged["paths"][format!("{GROUP_VERSION}/loads")]["get"].is_object());
    assert_eq!(merged["definitions"]["com.example.Load"]["type"], "object");
    assert!(merged["definitions"]["io.k8s.api.core.v1.Pod"].is_object());
    let document = server.json("GET /openapi/v3/apis/metrics.example.com/v1beta1", "").await;
    assert_eq!(document["path"], "/openapi/v3/apis/metrics.example.com/v1beta1");
}

/// As [`answer`], with documents that take their time.
async fn answer_slowly(request: http::Request<Incoming>) -> Result<Response, Infallible> {
    if request.uri().path() != GROUP_VERSION {
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    answer(request).await
}

#[tokio::test]
async fn the_documents_of_an_available_server_are_there() {
    let server = Server::start().await;
    let stop = CancellationToken::new();
    let port = start_extension(&server, &stop, answer_slowly).await;
    register(&server, port, "Passed").await;
    documents(&server).await;
    stop.cancel();
}

#[tokio::test]
async fn a_server_that_does_not_answer_is_unavailable() {
    let server = Server::start().await;
    // A port that nothing listens on: it was free a moment ago.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let condition = register(&server, port, "FailedDiscoveryCheck").await;
    assert_eq!(condition["status"], "False");
    let refused = server.ask(&format!("GET {GROUP_VERSION}/namespaces/default/loads/a"), "").await;
    assert_eq!(refused, "503 service unavailable");
}

#[tokio::test]
async fn every_group_version_of_this_server_has_an_api_service() {
    let server = Server::start().await;
    // Registration runs beside the server.
    let line = "GET /apis/apiregistration.k8s.io/v1/apiservices?watch=1&fieldSelector=metadata.name%3Dv1.storage.k8s.io";
    let watch = server.service().respond(request(line, "")).await;
    let mut parts = http_body_util::BodyExt::into_data_stream(watch.into_body());
    let part = futures::StreamExt::next(&mut parts).await.expect("an event").unwrap();
    let event: Value = serde_json::from_slice(&part).unwrap();
    let object = &event["object"];
    assert_eq!(
        object["spec"],
        json!({"group": "storage.k8s.io", "version": "v1",
        "groupPriorityMinimum": 16_800, "versionPriority": 15})
    );
    assert_eq!(object["metadata"]["labels"], json!({"kube-aggregator.kubernetes.io/automanaged": "onstart"}));
    assert_eq!(object["status"]["conditions"][0]["reason"], "Local");
    let authentication = server
        .json("GET /api/v1/namespaces/kube-system/configmaps/extension-apiserver-authentication", "")
        .await;
    assert_eq!(authentication["data"]["requestheader-client-ca-file"], server.pki.front_proxy.certificate());
    assert_eq!(authentication["data"]["requestheader-allowed-names"], "[\"front-proxy-client\"]");
}
