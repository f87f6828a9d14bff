//! A server over an in-memory store that is called in-process, and its responses as reproducible text.

use std::sync::Arc;
use std::time::SystemTime;

use apiserver_shim::auth::audit::AuditOptions;
use apiserver_shim::auth::oidc::AuthenticationOptions;
use apiserver_shim::http::body::{Body, Response, full};
use apiserver_shim::http::service::ApiService;
use apiserver_shim::pipeline::AdmissionConfiguration;
use apiserver_shim::server::{ApiHandle, ApiOptions, BuildInfo, start};
use http_body_util::BodyExt;
use serde_json::Value;
use shim_pki::{Pki, ServerNames};

/// A running server and its keys.
pub struct Server {
    /// The server.
    pub handle: ApiHandle,
    /// Its keys.
    pub pki: Arc<Pki>,
    _data: tempfile::TempDir,
}

impl Server {
    /// Starts a server and creates the default service account, as a controller would.
    pub async fn start() -> Server {
        Server::start_with(None).await
    }

    /// Starts a server with an audit log.
    pub async fn start_with(audit: Option<AuditOptions>) -> Server {
        Server::start_configured(audit, AdmissionConfiguration::default()).await
    }

    /// Starts a server with an audit log and configured admission plugins.
    pub async fn start_configured(audit: Option<AuditOptions>, admission: AdmissionConfiguration) -> Server {
        Server::start_on(Arc::new(store::MemoryStore::new()), audit, admission).await
    }

    /// Starts a server on a store that may have objects.
    pub async fn start_on(
        store: Arc<dyn store::Store>,
        audit: Option<AuditOptions>,
        admission: AdmissionConfiguration,
    ) -> Server {
        Server::start_with_issuers(store, audit, admission, AuthenticationOptions::default()).await
    }

    /// Starts a server with users of other issuers.
    pub async fn start_with_issuers(
        store: Arc<dyn store::Store>,
        audit: Option<AuditOptions>,
        admission: AdmissionConfiguration,
        authentication: AuthenticationOptions,
    ) -> Server {
        let data = tempfile::tempdir().unwrap();
        let pki = Arc::new(Pki::open_or_create(data.path(), SystemTime::now()).unwrap());
        let handle = start(ApiOptions {
            store,
            pki: pki.clone(),
            listen: "127.0.0.1:0".parse().unwrap(),
            advertise: [127, 0, 0, 1].into(),
            names: ServerNames::default(),
            audit,
            admission,
            authentication,
            service_cidr: Default::default(),
            build: BuildInfo::default(),
            flags: [("store".to_owned(), "memory".to_owned())].into(),
        })
        .await
        .unwrap();
        let server = Server { handle, pki, _data: data };
        let account = r#"{"metadata":{"name":"default"}}"#;
        server.ask("POST /api/v1/namespaces/default/serviceaccounts", account).await;
        server
    }

    /// The service for a user in `system:masters`.
    pub fn service(&self) -> ApiService {
        self.handle.service("test")
    }

    /// Sends a request and returns status code and body. `line` is method and path, then `Header: value` parts after
    /// ` | `.
    pub async fn ask(&self, line: &str, body: &str) -> String {
        let response = self.service().respond(request(line, body)).await;
        show(response).await
    }

    /// Like [`Server::ask`], but decodes the body.
    pub async fn json(&self, line: &str, body: &str) -> Value {
        let response = self.service().respond(request(line, body)).await;
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        serde_json::from_slice(&bytes).unwrap()
    }

    /// Sends one request per line and returns a transcript. A line is `REQUEST LINE` or `REQUEST LINE <- BODY`.
    pub async fn play(&self, script: &str) -> String {
        let mut out = String::new();
        for line in script.lines().map(str::trim).filter(|l| !l.is_empty()) {
            let (head, body) = line.split_once(" <- ").unwrap_or((line, ""));
            out.push_str(&format!("{line}\n  {}\n", self.ask(head, body).await));
        }
        out
    }
}

/// Parses a request line.
pub fn request(line: &str, body: &str) -> http::Request<Body> {
    let mut parts = line.split(" | ");
    let (method, path) = parts.next().unwrap().split_once(' ').unwrap();
    let mut builder = http::Request::builder().method(method).uri(path);
    let mut typed = false;
    for header in parts {
        let (name, value) = header.split_once(": ").unwrap();
        typed |= name == "Content-Type";
        builder = builder.header(name, value);
    }
    if !typed {
        builder = builder.header("Content-Type", "application/json");
    }
    builder.body(full(body.to_owned())).unwrap()
}

/// Formats a response: code, warnings, and the body without values that differ between runs.
pub async fn show(response: Response) -> String {
    let code = response.status().as_u16();
    let warnings: Vec<String> =
        response.headers().get_all("warning").iter().map(|w| format!(" {}", w.to_str().unwrap())).collect();
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    let decoded = serde_json::from_slice::<Value>(&bytes).ok().map(|value| normalize(value).to_string());
    let message = || Some(format!("protobuf {}", normalize(shim_model::protobuf::decode_value(&bytes)?)));
    let text = match decoded.or_else(message) {
        Some(text) => text,
        None => String::from_utf8_lossy(&bytes).trim_end().to_owned(),
    };
    format!("{code}{} {text}", warnings.concat())
}

/// Replaces values that differ between runs or that other tests check.
pub fn normalize(value: Value) -> Value {
    match value {
        Value::Object(members) => {
            let hidden = ["uid", "resourceVersion", "creationTimestamp", "managedFields", "time"];
            let members = members.into_iter().filter(|(k, _)| !hidden.contains(&k.as_str()));
            Value::Object(members.map(|(k, v)| (k, normalize(v))).collect())
        }
        Value::Array(items) => Value::Array(items.into_iter().map(normalize).collect()),
        Value::String(text) => {
            let bytes = text.as_bytes();
            let time = bytes.len() == 20 && bytes[4] == b'-' && bytes[10] == b'T' && bytes[19] == b'Z';
            // The age may be a second or more if time has passed since the creation.
            let age = text.strip_suffix('s').is_some_and(|seconds| seconds.parse::<u8>().is_ok());
            Value::String(match (time, age) {
                (true, _) => "<time>".to_owned(),
                (_, true) => "<age>".to_owned(),
                _ => text,
            })
        }
        other => other,
    }
}
