//! A server of webhooks on loopback, with TLS.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use apiserver_shim::http::body::full;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper_util::service::TowerToHyperService;
use serde_json::{Value, json};
use shim_pki::ServerNames;
use tokio_util::sync::{CancellationToken, DropGuard};
use transport::server::{Peer, ServerOptions, Tls};
use transport::tls::{ALPN_HTTP, ClientCertificate, server_config};

use crate::harness::Server;

const GROUP: &str = "/apis/admissionregistration.k8s.io/v1";

/// The reviews that a server has received, with their paths.
type Reviews = Arc<Mutex<Vec<(String, Value)>>>;
/// Answers a review at a path; `None`: never.
type Answer = Arc<dyn Fn(&str, &Value) -> Option<Value> + Send + Sync>;

/// The server.
pub struct WebhookServer {
    /// Its port.
    pub port: u16,
    /// The authority of its certificate, in base64.
    pub ca_bundle: String,
    reviews: Reviews,
    _stop: DropGuard,
}

impl WebhookServer {
    /// Starts a server whose certificate is from the authority of `server`. It also names the Service `hooks` in `default`.
    pub async fn start(
        server: &Server,
        answer: impl Fn(&str, &Value) -> Option<Value> + Send + Sync + 'static,
    ) -> WebhookServer {
        let names = ServerNames { dns: vec!["hooks.default.svc".to_owned()], ..ServerNames::default() };
        let authority = &server.pki.authority;
        let issued = authority.issue_server(&names, SystemTime::now()).unwrap();
        let clients = ClientCertificate::Optional;
        let tls =
            server_config(&issued.certificate, &issued.key, authority.certificate(), clients, ALPN_HTTP)
                .unwrap();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let reviews = Reviews::default();
        let (kept, answer): (_, Answer) = (reviews.clone(), Arc::new(answer));
        let service = move |_: &Peer| {
            let (kept, answer) = (kept.clone(), answer.clone());
            let serve = move |request| respond(request, kept.clone(), answer.clone());
            Ok(TowerToHyperService::new(tower::service_fn(serve)))
        };
        let tls = Tls::Required(Arc::new(move || Ok(tls.clone())));
        let stop = CancellationToken::new();
        let options = ServerOptions::new("webhooks", 16);
        tokio::spawn(transport::server::serve(listener, tls, options, service, stop.clone()));
        let ca_bundle = shim_model::base64::encode(authority.certificate().as_bytes());
        WebhookServer { port, ca_bundle, reviews, _stop: stop.drop_guard() }
    }

    /// A `clientConfig` with a URL.
    pub fn url(&self, path: &str) -> Value {
        json!({"url": format!("https://127.0.0.1:{}/{path}", self.port), "caBundle": self.ca_bundle})
    }

    /// Takes the reviews received so far.
    pub fn take(&self) -> Vec<(String, Value)> {
        std::mem::take(&mut *self.reviews.lock().unwrap())
    }

    /// Takes the `request`s of the reviews received so far.
    pub fn requests(&self) -> Vec<Value> {
        self.take().into_iter().map(|(_, mut review)| review["request"].take()).collect()
    }
}

async fn respond(
    request: http::Request<Incoming>,
    reviews: Reviews,
    answer: Answer,
) -> Result<apiserver_shim::http::body::Response, Infallible> {
    let path = request.uri().path().trim_start_matches('/').to_owned();
    let body = request.into_body().collect().await.unwrap().to_bytes();
    // A redirect, `moved/CODE/TO`.
    if let Some((code, target)) = path.strip_prefix("moved/").and_then(|rest| rest.split_once('/')) {
        let response = http::Response::builder().status(code.parse::<u16>().unwrap());
        let target = if target == "round" { format!("/{path}") } else { format!("/{target}") };
        return Ok(response.header("location", target).body(full("")).unwrap());
    }
    // Such as the GET that follows a 302.
    let review: Value = serde_json::from_slice(&body).unwrap_or_default();
    let answered = answer(&path, &review);
    reviews.lock().unwrap().push((path, review));
    match answered {
        Some(value) => Ok(http::Response::new(full(value.to_string()))),
        None => std::future::pending().await,
    }
}

/// The answer to a review with these members of the response.
pub fn response(review: &Value, mut members: Value) -> Value {
    members["uid"] = review["request"]["uid"].clone();
    json!({"apiVersion": review["apiVersion"], "kind": review["kind"], "response": members})
}

/// An answer that allows.
pub fn allow(review: &Value) -> Value {
    response(review, json!({"allowed": true}))
}

/// An answer that denies.
pub fn deny(review: &Value, message: &str) -> Value {
    response(
        review,
        json!({"allowed": false, "status": {"message": message, "reason": "Forbidden", "code": 403}}),
    )
}

/// An answer with a JSON patch.
pub fn patch(review: &Value, operations: Value) -> Value {
    let patch = shim_model::base64::encode(operations.to_string().as_bytes());
    response(review, json!({"allowed": true, "patchType": "JSONPatch", "patch": patch}))
}

/// A webhook for some operations on some resources; `more` overrides members.
pub fn webhook(name: &str, client: Value, rule: [&str; 3], more: Value) -> Value {
    let [operations, group, resources] = rule;
    let list = |text: &str| text.split(',').map(Value::from).collect::<Value>();
    let mut webhook = json!({"name": format!("{name}.example.com"), "clientConfig": client,
        "admissionReviewVersions": ["v1"], "sideEffects": "None", "timeoutSeconds": 5,
        "rules": [{"operations": list(operations), "apiGroups": [group], "apiVersions": ["*"],
            "resources": list(resources)}]});
    for (member, value) in more.as_object().into_iter().flatten() {
        webhook[member] = value.clone();
    }
    webhook
}

/// Creates a configuration and waits until the server knows it. `kind` is `mutating` or `validating`.
pub async fn configure(server: &Server, kind: &str, name: &str, webhooks: &[Value]) {
    let path = format!("{GROUP}/{kind}webhookconfigurations");
    let body = json!({"metadata": {"name": name}, "webhooks": webhooks});
    let answer = server.ask(&format!("POST {path}"), &body.to_string()).await;
    assert!(answer.starts_with("201"), "{answer}");
    // A list waits until the watch caches contain the write.
    server.ask(&format!("GET {path}"), "").await;
}

/// Deletes a configuration and waits until the server knows it.
pub async fn unconfigure(server: &Server, kind: &str, name: &str) {
    let path = format!("{GROUP}/{kind}webhookconfigurations");
    let answer = server.ask(&format!("DELETE {path}/{name}"), "").await;
    assert!(answer.starts_with("200"), "{answer}");
    server.ask(&format!("GET {path}"), "").await;
}
