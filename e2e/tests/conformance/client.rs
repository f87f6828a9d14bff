//! The client of the suite: raw requests to the API server of the cluster under test, answered as status code and JSON.

use std::{
    sync::mpsc::{self, RecvTimeoutError},
    time::{Duration, Instant},
};

use anyhow::{Context, bail, ensure};
use bytes::Bytes;
use e2e::{cluster::Cluster, program::wait_for};
use http::{HeaderMap, Method, Request, header};
use http_body_util::BodyExt;
use kube::client::Body;
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use crate::kube_client;

/// How long anything may take: the machine may be busy, and a controller's queue is shared by all tests.
pub const DEADLINE: Duration = Duration::from_secs(90);

/// How often an update is tried: as often as the few controllers of an object may write it meanwhile, and more.
const CONFLICTS_MAX: u32 = 50;

/// The cluster under test, with a client of its API.
pub struct Api {
    pub cluster: Cluster,
    runtime: Runtime,
    client: kube::Client,
}

/// The kinds of PATCH, by their media type.
#[derive(Clone, Copy)]
pub enum Patch {
    Json,
    Merge,
    Strategic,
}

/// An answer of the server.
#[derive(Debug)]
pub struct Answer {
    pub code: u16,
    pub headers: HeaderMap,
    pub text: String,
    /// The answer as JSON; `null` if it is something else.
    pub body: Value,
}

impl Answer {
    /// The body of an answer with this status code.
    pub fn with(self, code: u16) -> anyhow::Result<Value> {
        ensure!(self.code == code, "expected {code}, got {}: {}", self.code, self.text);
        Ok(self.body)
    }

    /// The body of an answer of success.
    pub fn ok(self) -> anyhow::Result<Value> {
        ensure!((200..300).contains(&self.code), "got {}: {}", self.code, self.text);
        Ok(self.body)
    }

    /// The message of a refusal with this status code, which has all these parts.
    pub fn refused(self, code: u16, parts: &[&str]) -> anyhow::Result<String> {
        ensure!(self.body["kind"] == "Status", "not a Status: {}", self.text);
        let message = self.with(code)?["message"].as_str().unwrap_or_default().to_owned();
        for part in parts {
            ensure!(message.contains(part), "the message has no {part:?}: {message}");
        }
        Ok(message)
    }

    /// The media type of the body, with its parameters.
    pub fn media_type(&self) -> &str {
        self.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }
}

impl Api {
    /// A client of the cluster, with its administrator's credentials.
    pub fn of(cluster: Cluster) -> anyhow::Result<Self> {
        let runtime = Runtime::new()?;
        let client = kube_client::connect(&cluster, &runtime, DEADLINE)?;
        Ok(Self { cluster, runtime, client })
    }

    /// Sends a request with these headers and any body.
    pub fn call(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> anyhow::Result<Answer> {
        let shown = format!("{method} {path}");
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let bytes: Bytes = body.into();
        let request = request.body(Body::from(bytes))?;
        self.runtime.block_on(async {
            let response = self.client.send(request).await.with_context(|| shown.clone())?;
            let (head, body) = response.into_parts();
            let bytes = body.collect().await.with_context(|| shown)?.to_bytes();
            let body = serde_json::from_slice(&bytes).unwrap_or_default();
            let text = String::from_utf8_lossy(&bytes).into_owned();
            Ok(Answer { code: head.status.as_u16(), headers: head.headers, text, body })
        })
    }

    fn send(&self, method: Method, path: &str, media_type: &str, body: &Value) -> anyhow::Result<Answer> {
        self.call(method, path, &[("content-type", media_type)], body.to_string())
    }

    pub fn get(&self, path: &str) -> anyhow::Result<Answer> {
        self.call(Method::GET, path, &[], "")
    }

    pub fn create(&self, path: &str, object: &Value) -> anyhow::Result<Answer> {
        self.send(Method::POST, path, "application/json", object)
    }

    pub fn update(&self, path: &str, object: &Value) -> anyhow::Result<Answer> {
        self.send(Method::PUT, path, "application/json", object)
    }

    pub fn patch(&self, path: &str, kind: Patch, patch: &Value) -> anyhow::Result<Answer> {
        let media_type = match kind {
            Patch::Json => "application/json-patch+json",
            Patch::Merge => "application/merge-patch+json",
            Patch::Strategic => "application/strategic-merge-patch+json",
        };
        self.send(Method::PATCH, path, media_type, patch)
    }

    pub fn merge(&self, path: &str, patch: &Value) -> anyhow::Result<Value> {
        self.patch(path, Patch::Merge, patch)?.ok()
    }

    pub fn delete(&self, path: &str) -> anyhow::Result<Answer> {
        self.call(Method::DELETE, path, &[], "")
    }

    pub fn delete_with(&self, path: &str, options: &Value) -> anyhow::Result<Answer> {
        self.send(Method::DELETE, path, "application/json", options)
    }

    /// The items of a list.
    pub fn list(&self, path: &str) -> anyhow::Result<Vec<Value>> {
        let mut list = self.get(path)?.ok()?;
        match list["items"].take() {
            Value::Array(items) => Ok(items),
            other => bail!("a list without items: {other}"),
        }
    }

    /// Reads an object, changes it and writes it, again while others write it.
    pub fn change(&self, path: &str, change: impl Fn(&mut Value)) -> anyhow::Result<Value> {
        self.try_change(path, change)?.ok()
    }

    /// The same, for changes that may be refused.
    pub fn try_change(&self, path: &str, change: impl Fn(&mut Value)) -> anyhow::Result<Answer> {
        for _ in 0..CONFLICTS_MAX {
            let mut object = self.get(path)?.ok()?;
            change(&mut object);
            let answer = self.update(path, &object)?;
            if answer.code != 409 {
                return Ok(answer);
            }
        }
        bail!("{path}: {CONFLICTS_MAX} conflicts")
    }

    /// Reads an object until the condition holds, and returns it.
    pub fn wait(&self, path: &str, what: &str, holds: impl Fn(&Value) -> bool) -> anyhow::Result<Value> {
        let mut latest = Value::Null;
        let found = wait_for(what, DEADLINE, || {
            latest = self.get(path)?.ok()?;
            Ok(holds(&latest).then(|| latest.clone()))
        });
        found.with_context(|| format!("the latest version of {path}: {latest}"))
    }

    /// Waits until the object does not exist.
    pub fn wait_gone(&self, path: &str) -> anyhow::Result<()> {
        let gone = wait_for("it to be gone", DEADLINE, || Ok((self.get(path)?.code == 404).then_some(())));
        gone.with_context(|| path.to_owned())
    }

    /// Starts a watch; the path has its query except `watch`.
    pub fn watch(&self, path: &str) -> anyhow::Result<Watch> {
        let separator = if path.contains('?') { '&' } else { '?' };
        let uri = format!("{path}{separator}watch=true");
        let request = Request::get(&uri).body(Body::empty())?;
        let response = self.runtime.block_on(self.client.send(request)).with_context(|| uri.clone())?;
        ensure!(response.status() == 200, "{uri}: {}", response.status());
        let (sender, events) = mpsc::channel();
        let mut body = response.into_body();
        let reader = self.runtime.spawn(async move {
            let mut rest: Vec<u8> = Vec::new();
            while let Some(Ok(frame)) = body.frame().await {
                rest.extend_from_slice(frame.data_ref().map_or(&[][..], |data| &data[..]));
                while let Some(end) = memchr::memchr(b'\n', &rest) {
                    let event = serde_json::from_slice(&rest[..end]).unwrap_or_default();
                    rest.drain(..=end);
                    if sender.send(event).is_err() {
                        return;
                    }
                }
            }
        });
        Ok(Watch { events, reader })
    }

    /// The standard output of kubectl, which must succeed.
    pub fn kubectl(&self, arguments: &[&str]) -> anyhow::Result<String> {
        self.cluster.kubectl(arguments)
    }

    /// Makes a namespace with a name that starts so and is no other's; dropping it deletes it.
    pub fn namespace(&self, prefix: &str) -> anyhow::Result<Namespace<'_>> {
        let object = json!({"metadata": {"generateName": format!("{prefix}-")}});
        let made = self.create("/api/v1/namespaces", &object)?.with(201)?;
        let name = made["metadata"]["name"].as_str().context("a namespace without name")?.to_owned();
        Ok(Namespace { api: self, name })
    }
}

/// The path of a collection: of a namespace, or of all with an empty one.
pub fn path(group_version: &str, namespace: &str, plural: &str) -> String {
    let root = if group_version == "v1" { "/api" } else { "/apis" };
    if namespace.is_empty() {
        return format!("{root}/{group_version}/{plural}");
    }
    format!("{root}/{group_version}/namespaces/{namespace}/{plural}")
}

/// A namespace of one test.
pub struct Namespace<'a> {
    api: &'a Api,
    pub name: String,
}

impl Namespace<'_> {
    /// The path of a collection in this namespace.
    pub fn path(&self, group_version: &str, plural: &str) -> String {
        path(group_version, &self.name, plural)
    }
}

impl Drop for Namespace<'_> {
    fn drop(&mut self) {
        // The test may have deleted it.
        let _ = self.api.delete(&format!("/api/v1/namespaces/{}", self.name));
    }
}

/// A running watch. Dropping it ends it.
pub struct Watch {
    events: mpsc::Receiver<Value>,
    reader: tokio::task::JoinHandle<()>,
}

impl Watch {
    /// The next event: its type and object. An error if there is none in time.
    pub fn next(&self) -> anyhow::Result<(String, Value)> {
        let mut event = self.events.recv_timeout(DEADLINE).context("no event of the watch")?;
        let kind = event["type"].as_str().unwrap_or_default().to_owned();
        Ok((kind, event["object"].take()))
    }

    /// The object of the next event, which has this type.
    pub fn expect(&self, kind: &str) -> anyhow::Result<Value> {
        let (got, object) = self.next()?;
        ensure!(got == kind, "expected {kind}, got {got} of {object}");
        Ok(object)
    }

    /// The object of the first event of this type for which the condition holds; others are passed over.
    pub fn until(&self, kind: &str, holds: impl Fn(&Value) -> bool) -> anyhow::Result<Value> {
        let start = Instant::now();
        let mut passed = Vec::new();
        while start.elapsed() < DEADLINE {
            let (got, object) =
                self.next().with_context(|| format!("waited for {kind}, passed over {passed:?}"))?;
            if got == kind && holds(&object) {
                return Ok(object);
            }
            passed.push(format!("{got} {object}"));
        }
        bail!("no {kind} in time; passed over {passed:?}")
    }

    /// Fails if an event arrives within the time.
    pub fn nothing_for(&self, time: Duration) -> anyhow::Result<()> {
        match self.events.recv_timeout(time) {
            Ok(event) => bail!("unexpected: {event}"),
            Err(RecvTimeoutError::Timeout) => Ok(()),
            Err(RecvTimeoutError::Disconnected) => bail!("the watch has ended"),
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

/// The name of an object.
pub fn name(object: &Value) -> &str {
    object["metadata"]["name"].as_str().unwrap_or_default()
}

/// The resourceVersion of an object or list.
pub fn version(object: &Value) -> &str {
    object["metadata"]["resourceVersion"].as_str().unwrap_or_default()
}
