//! The audit event of a request in progress.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, OnceLock};

use http::header::{HeaderMap, USER_AGENT};
use jiff::Timestamp;
use serde_json::{Map, Value, json};
use shim_model::access;
use shim_model::status::Status;

use super::AuditId;
use super::log::AuditLog;
use super::policy::{Level, PolicyDecision, Stage};
use crate::auth::authentication::User;
use crate::auth::authorization::request_of;
use crate::request::info::RequestInfo;

/// Audit annotation: the authorization decision.
pub const DECISION: &str = "authorization.k8s.io/decision";
/// Audit annotation: the reason of the authorization decision.
pub const REASON: &str = "authorization.k8s.io/reason";

/// The audit state of a request before its user is authenticated.
#[derive(Debug)]
pub struct AuditRequest {
    log: Arc<AuditLog>,
    id: AuditId,
    received: Timestamp,
    uri: String,
    user_agent: String,
    source_ips: Vec<String>,
    record: OnceLock<Arc<AuditRecord>>,
}

/// The audit event of a request that the policy records.
#[derive(Debug)]
pub struct AuditRecord {
    log: Arc<AuditLog>,
    verdict: PolicyDecision,
    received: Timestamp,
    long_running: bool,
    /// The members that are equal in all events of the request.
    fixed: Map<String, Value>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    annotations: BTreeMap<String, String>,
    impersonated: Option<Value>,
    object_ref: Option<Value>,
    request_object: Option<Value>,
    response_object: Option<Value>,
    response_status: Option<Value>,
}

impl AuditRequest {
    /// Opens the audit of an HTTP request.
    pub fn open(
        log: &Arc<AuditLog>,
        id: AuditId,
        uri: &http::Uri,
        headers: &HeaderMap,
        peer: Option<IpAddr>,
    ) -> AuditRequest {
        let text = |name: &str| headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or("");
        let mut source_ips: Vec<String> = text("x-forwarded-for")
            .split(',')
            .chain([text("x-real-ip")])
            .filter_map(|ip| ip.trim().parse::<IpAddr>().ok())
            .chain(peer)
            .map(|ip| ip.to_string())
            .collect();
        source_ips.dedup();
        AuditRequest {
            log: log.clone(),
            id,
            received: Timestamp::now(),
            uri: uri.path_and_query().map_or_else(String::new, |path| path.as_str().to_owned()),
            user_agent: text(USER_AGENT.as_str()).to_owned(),
            source_ips,
            record: OnceLock::new(),
        }
    }

    /// Opens the audit of a write by a component of this process.
    pub fn of_component(log: &Arc<AuditLog>, id: AuditId, path: &str) -> AuditRequest {
        AuditRequest {
            log: log.clone(),
            id,
            received: Timestamp::now(),
            uri: path.to_owned(),
            user_agent: String::new(),
            source_ips: Vec::new(),
            record: OnceLock::new(),
        }
    }

    /// Creates the record of an authenticated request and writes its `RequestReceived` event. Returns `None` if the
    /// policy does not record the request.
    pub async fn begin(&self, user: &User, info: &RequestInfo) -> Option<Arc<AuditRecord>> {
        let record = self.start(user, info)?;
        record.write(Stage::RequestReceived).await;
        Some(record)
    }

    /// Records a request whose authentication failed. As upstream, only the `ResponseStarted` event is written.
    pub async fn unauthenticated(&self, info: &RequestInfo, status: &Status) {
        let Some(record) = self.start(&User::default(), info) else { return };
        record.respond(status.code, Some(status));
        record.write(Stage::ResponseStarted).await;
    }

    /// The record; `None` before authentication and if the policy does not record the request.
    pub fn record(&self) -> Option<&Arc<AuditRecord>> {
        self.record.get()
    }

    fn start(&self, user: &User, info: &RequestInfo) -> Option<Arc<AuditRecord>> {
        let verdict = self.log.policy.verdict(user, &request_of(info));
        if verdict.level == Level::None {
            return None;
        }
        let mut fixed = Map::new();
        let mut put = |key: &str, value: Value| fixed.insert(key.to_owned(), value);
        put("kind", "Event".into());
        put("apiVersion", "audit.k8s.io/v1".into());
        put("level", verdict.level.name().into());
        put("auditID", self.id.to_string().into());
        put("requestURI", self.uri.as_str().into());
        put("verb", info.verb.into());
        put("user", user.to_value());
        if !self.source_ips.is_empty() {
            put("sourceIPs", json!(self.source_ips));
        }
        if !self.user_agent.is_empty() {
            put("userAgent", self.user_agent.as_str().into());
        }
        let record = Arc::new(AuditRecord {
            log: self.log.clone(),
            verdict,
            received: self.received,
            long_running: info.is_long_running(),
            fixed,
            state: Mutex::new(State { object_ref: object_ref(info), ..State::default() }),
        });
        let _ = self.record.set(record.clone());
        Some(record)
    }
}

fn object_ref(info: &RequestInfo) -> Option<Value> {
    let target = info.target.as_ref()?;
    let members = [
        ("resource", &target.plural),
        ("namespace", &target.namespace),
        ("name", &target.name),
        ("apiGroup", &target.group),
        ("apiVersion", &target.version),
        ("subresource", &target.subresource),
    ];
    let members = members.into_iter().filter(|(_, text)| !text.is_empty());
    Some(
        members.map(|(key, text)| (key.to_owned(), Value::from(text.as_str()))).collect::<Map<_, _>>().into(),
    )
}

impl AuditRecord {
    /// How much is recorded.
    pub fn level(&self) -> Level {
        self.verdict.level
    }

    /// Whether the response is a stream, whose start is recorded too.
    pub fn is_long_running(&self) -> bool {
        self.long_running
    }

    /// Adds an annotation. As upstream, the first value of a key wins.
    pub fn annotate(&self, key: &str, value: String) {
        self.lock().annotations.entry(key.to_owned()).or_insert(value);
    }

    /// Sets the impersonated user.
    pub fn impersonate(&self, user: &User) {
        self.lock().impersonated = Some(user.to_value());
    }

    /// Fills gaps of the object reference from the object: the path of a create request has no name.
    pub fn complete_object(&self, object: &Value) {
        let mut state = self.lock();
        let Some(Value::Object(reference)) = &mut state.object_ref else { return };
        for key in ["name", "namespace", "uid"] {
            let text = access::text(object, &["metadata", key]);
            if !text.is_empty() {
                reference.entry(key).or_insert_with(|| text.into());
            }
        }
    }

    /// Sets the request object, as the client sent it.
    pub fn set_request_object(&self, object: Value) {
        self.lock().request_object = Some(self.trimmed(object));
    }

    /// Sets the response object.
    pub fn set_response_object(&self, object: Value) {
        self.lock().response_object = Some(self.trimmed(object));
    }

    /// Sets the response status.
    pub fn respond(&self, code: u16, status: Option<&Status>) {
        let mut value = match status {
            Some(status) => {
                let mut value = status.to_value();
                for member in ["kind", "apiVersion"] {
                    access::remove(&mut value, &[member]);
                }
                value
            }
            None => json!({"metadata": {}}),
        };
        value["code"] = code.into();
        self.lock().response_status = Some(value);
    }

    /// Writes the event of a stage.
    pub async fn write(&self, stage: Stage) {
        if let Some(line) = self.event(stage) {
            self.log.write(line).await;
        }
    }

    /// Prepares the final event, which is written where code cannot wait.
    pub async fn ending(self: &Arc<Self>) -> Ending {
        let omitted = self.verdict.omit_stages.contains(&Stage::ResponseComplete);
        // A watch would hold its queue space for hours, and a few thousand watches would hold all of it.
        let reserved = if self.long_running || omitted { None } else { self.log.reserve().await };
        Ending { record: self.clone(), reserved }
    }

    fn event(&self, stage: Stage) -> Option<String> {
        if self.verdict.omit_stages.contains(&stage) {
            return None;
        }
        let mut event = self.fixed.clone();
        let now = if stage == Stage::RequestReceived { self.received } else { Timestamp::now() };
        let state = self.lock();
        let mut put = |key: &str, value: &Option<Value>| {
            if let Some(value) = value {
                event.insert(key.to_owned(), value.clone());
            }
        };
        put("impersonatedUser", &state.impersonated);
        put("objectRef", &state.object_ref);
        put("responseStatus", &state.response_status);
        put("requestObject", &state.request_object);
        put("responseObject", &state.response_object);
        put("stage", &Some(stage.name().into()));
        put("requestReceivedTimestamp", &Some(micros(self.received).into()));
        put("stageTimestamp", &Some(micros(now).into()));
        if !state.annotations.is_empty() {
            put("annotations", &Some(json!(state.annotations)));
        }
        Some(Value::Object(event).to_string())
    }

    fn trimmed(&self, mut object: Value) -> Value {
        if self.verdict.omit_managed_fields {
            access::remove(&mut object, &["metadata", "managedFields"]);
            for item in access::list_mut(&mut object, &["items"]).into_iter().flatten() {
                access::remove(item, &["metadata", "managedFields"]);
            }
        }
        object
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().expect("invariant: no holder of the lock panics")
    }
}

/// Formats with microseconds, as upstream's `MicroTime`.
fn micros(time: Timestamp) -> String {
    format!("{time:.6}")
}

/// Writes the `ResponseComplete` event when it is dropped together with the response body.
pub struct Ending {
    record: Arc<AuditRecord>,
    reserved: Option<super::log::Reserved>,
}

impl Drop for Ending {
    fn drop(&mut self) {
        let Some(line) = self.record.event(Stage::ResponseComplete) else { return };
        match self.reserved.take() {
            Some(place) => place.send(line),
            None => self.record.log.write_now(line),
        }
    }
}
