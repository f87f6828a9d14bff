//! Checks aggregated API servers, writes the `Available` condition of their APIServices, and fetches their discovery documents.
//! Upstream: kube-aggregator's `AvailableConditionController` and `discoveryManager`.

use shim_model::go_quote::Quoted;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::{join_all, select_ok};
use http::StatusCode;
use http::header::{ACCEPT, CONTENT_TYPE, ETAG, HOST, HeaderMap, IF_NONE_MATCH};
use http_body_util::{BodyExt, Full, Limited};
use serde_json::{Value, json};
use shim_core::controllers::{condition, remove_condition, served};
use shim_core::kinds::api_service::{AVAILABLE, local_condition};
use shim_model::access;
use shim_model::openapi::merge::filter;
use shim_model::status::Status;
use tokio::time::Instant;

use super::discovery::{of_aggregated, of_legacy};
use super::{
    API_SERVICES, Aggregator, RemoteDiscovery, RemoteDocument, RemoteServer, RemoteVersion, set_user,
};
use crate::auth::authentication::User;
use crate::pipeline::{Identity, ObjectRef, Pipeline};
use crate::storage::registry;

/// How often a server that answers is asked again, as upstream.
const PERIOD: Duration = Duration::from_secs(30);
/// How often one is asked that does not: often enough that a new server is used soon after its Pod is ready.
const RETRY: Duration = Duration::from_secs(2);
/// How often changes of APIServices are looked for.
const TICK: Duration = Duration::from_millis(250);
/// Time limit of one request, as upstream.
const ANSWER_MAX: Duration = Duration::from_secs(5);
/// Requests of one check; one success suffices, as upstream.
const ATTEMPTS: usize = 5;
/// Maximum size of a discovery document.
const DOCUMENT_BYTES_MAX: usize = 8 << 20;
const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,\
    application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList";

/// The result of a check, as it stands in the condition.
#[derive(Debug, PartialEq, Eq)]
struct Availability {
    available: bool,
    reason: &'static str,
    message: String,
}

impl Availability {
    fn failed(reason: &'static str, message: String) -> Self {
        Availability { available: false, reason, message }
    }
}

/// Checks until the task is aborted.
pub async fn run(pipeline: Pipeline, aggregator: Aggregator) {
    let mut due: HashMap<Arc<RemoteServer>, Instant> = HashMap::new();
    let mut tick = tokio::time::interval(TICK);
    let mut local_revision = 0;
    loop {
        tick.tick().await;
        let cache = pipeline.registry().cache(API_SERVICES);
        let revision = cache.view().last_change();
        if revision != local_revision {
            mark_local(&pipeline).await;
            local_revision = revision;
        }
        let servers: Vec<Arc<RemoteServer>> = aggregator.servers();
        // The condition is what the check writes, so it is not a reason for the next one.
        let described = |server: &RemoteServer| RemoteServer { is_available: false, ..server.clone() };
        let servers: Vec<Arc<RemoteServer>> = servers.iter().map(|s| Arc::new(described(s))).collect();
        due.retain(|server, _| servers.contains(server));
        let now = Instant::now();
        let checked = servers.iter().filter(|server| due.get(*server).is_none_or(|at| *at <= now));
        let checked: Vec<_> = checked.cloned().collect();
        let found = join_all(checked.iter().map(|server| check(&pipeline, &aggregator, server))).await;
        for (server, is_available) in checked.into_iter().zip(found) {
            due.insert(server, Instant::now() + if is_available { PERIOD } else { RETRY });
        }
        forget(&aggregator, &servers);
    }
}

/// Writes the condition of APIServices that this server answers for and that once had a Service.
async fn mark_local(pipeline: &Pipeline) {
    for object in pipeline.registry().cache(API_SERVICES).list(None) {
        let value = object.value();
        let is_local = access::get(&value, &["spec", "service"]).is_none_or(Value::is_null);
        let reason = condition(&value["status"], AVAILABLE).map(|c| access::text(c, &["reason"]) == "Local");
        if is_local
            && reason != Some(true)
            && let Err(status) = write(pipeline, object.name(), local_condition(registry::now())).await
        {
            tracing::debug!(%status, name = object.name(), "the condition of an APIService was not written");
        }
    }
}

/// Checks one server, updates its documents, and writes its condition. Returns whether it is available.
async fn check(pipeline: &Pipeline, aggregator: &Aggregator, server: &RemoteServer) -> bool {
    let verdict = match unreachable(pipeline, server) {
        Some(verdict) => verdict,
        None => ask(aggregator, server).await,
    };
    // Whoever waits for the condition finds the documents.
    let fetched = if verdict.available { fetch(aggregator, server).await } else { None };
    update(aggregator, server, fetched);
    let status = if verdict.available { "True" } else { "False" };
    let condition = json!({"type": AVAILABLE, "status": status, "reason": verdict.reason,
        "message": verdict.message, "lastTransitionTime": registry::now().to_rfc3339()});
    if let Err(status) = write(pipeline, &server.name, condition).await {
        tracing::debug!(%status, name = server.name, "the condition of an APIService was not written");
    }
    verdict.available
}

/// What the objects say against the server.
fn unreachable(pipeline: &Pipeline, server: &RemoteServer) -> Option<Availability> {
    let (namespace, name, port) = (&server.namespace, &server.service, server.port);
    let registry = pipeline.registry();
    let Some(service) = registry.peek(served("", "services"), namespace, name) else {
        let message = format!("service/{name} in {namespace} is not present", namespace = Quoted(namespace));
        return Some(Availability::failed("ServiceNotFound", message));
    };
    let service = service.value();
    if access::text(&service, &["spec", "type"]) != "ClusterIP" {
        return None;
    }
    let ports = access::list(&service, &["spec", "ports"]);
    let Some(port) = ports.iter().find(|p| access::int(p, &["port"]) == Some(port.into())) else {
        let message = format!(
            "service/{name} in {namespace} is not listening on port {port}",
            namespace = Quoted(namespace)
        );
        return Some(Availability::failed("ServicePortError", message));
    };
    let port_name = access::text(port, &["name"]);
    let slices = crate::service_client::slices(registry, namespace, name);
    if slices.is_empty() {
        let message = format!(
            "cannot find endpointslices for service/{name} in {namespace}",
            namespace = Quoted(namespace)
        );
        return Some(Availability::failed("EndpointsNotFound", message));
    }
    crate::service_client::ready_endpoints(&slices, port_name).is_empty().then(|| {
        let message = format!(
            "endpointslices for service/{name} in {namespace} have no addresses with port name {port_name}",
            namespace = Quoted(namespace),
            port_name = Quoted(port_name)
        );
        Availability::failed("MissingEndpoints", message)
    })
}

/// Asks the server for what it must serve.
async fn ask(aggregator: &Aggregator, server: &RemoteServer) -> Availability {
    let path = group_version_path(server);
    let attempt = || Box::pin(get(aggregator, server, &path, None));
    let attempts = (0..ATTEMPTS).map(|_| attempt());
    match select_ok(attempts).await {
        Ok(_) => Availability { available: true, reason: "Passed", message: "all checks passed".to_owned() },
        Err(why) => {
            let url = format!("https://{}{path}", server.authority());
            let message = format!("failing or missing response from {url}: {why}");
            Availability::failed("FailedDiscoveryCheck", message)
        }
    }
}

fn group_version_path(server: &RemoteServer) -> String {
    match server.group.as_str() {
        "" => format!("/api/{}", server.version),
        group => format!("/apis/{group}/{}", server.version),
    }
}

/// Content-Type and body of a successful answer.
async fn get(
    aggregator: &Aggregator,
    server: &RemoteServer,
    path: &str,
    accept: Option<&str>,
) -> Result<(String, Bytes), String> {
    let (status, headers, body) = send(aggregator, server, path, (accept, None)).await?;
    if !status.is_success() && !status.is_redirection() {
        let url = format!("https://{}{path}", server.authority());
        return Err(format!("bad status from {url}: {}", status.as_u16()));
    }
    let media = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("").to_owned();
    Ok((media, body))
}

/// The answer to a GET.
async fn send(
    aggregator: &Aggregator,
    server: &RemoteServer,
    path: &str,
    (accept, known): (Option<&str>, Option<&str>),
) -> Result<(StatusCode, HeaderMap, Bytes), String> {
    let client = aggregator.client(server, false).map_err(|error| error.to_string())?;
    let url = format!("https://{}{path}", server.authority());
    let mut request = http::Request::get(&url).body(Full::<Bytes>::default()).map_err(|e| e.to_string())?;
    let headers = request.headers_mut();
    // The identity has access whatever the server's rules are.
    set_user(headers, &User::system("system:kube-aggregator"));
    let optional = [(ACCEPT, accept.map(str::to_owned)), (IF_NONE_MATCH, known.map(str::to_owned))];
    for (name, value) in [(HOST, Some(server.authority()))].into_iter().chain(optional) {
        if let Some(value) = value.and_then(|value| value.parse().ok()) {
            headers.insert(name, value);
        }
    }
    let answered = async {
        let response = client.send(request).await.map_err(|error| error.to_string())?;
        let (head, body) = response.into_parts();
        let body = Limited::new(body, DOCUMENT_BYTES_MAX).collect().await;
        Ok((head.status, head.headers, body.map_err(|error| error.to_string())?.to_bytes()))
    };
    tokio::time::timeout(ANSWER_MAX, answered)
        .await
        .unwrap_or_else(|_| Err(format!("timed out waiting for {url}")))
}

/// What a server says of its group-version: its resources, the hash of its OpenAPI v3 document, and its part of the OpenAPI v2
/// document.
type Fetched = (Value, Option<String>, Option<Arc<RemoteDocument>>);

async fn fetch(aggregator: &Aggregator, server: &RemoteServer) -> Option<Fetched> {
    let parse = |bytes: &[u8]| serde_json::from_slice::<Value>(bytes).ok();
    let key = (server.group.clone(), server.version.clone());
    let whole = get(aggregator, server, "/apis", Some(AGGREGATED)).await.ok();
    let aggregated = whole.filter(|(media, _)| media.contains("as=APIGroupDiscoveryList"));
    let resources = match aggregated.and_then(|(_, bytes)| of_aggregated(&parse(&bytes)?).remove(&key)) {
        Some(resources) => resources,
        None => {
            let path = group_version_path(server);
            let (_, bytes) = get(aggregator, server, &path, Some("application/json")).await.ok()?;
            of_legacy(&parse(&bytes)?)
        }
    };
    let index = get(aggregator, server, "/openapi/v3", None).await.ok();
    let hash = index.and_then(|(_, bytes)| {
        let url =
            parse(&bytes)?["paths"][group_version_path(server).trim_start_matches('/')]["serverRelativeURL"]
                .as_str()?
                .to_owned();
        Some(url.split_once("hash=").map(|(_, hash)| hash.to_owned()).unwrap_or_default())
    });
    Some((resources, hash, fetch_openapi_2(aggregator, server).await))
}

/// The part of a server's OpenAPI v2 document that belongs to the group-version. That of the last time stays if it has not
/// changed, or cannot be fetched.
async fn fetch_openapi_2(aggregator: &Aggregator, server: &RemoteServer) -> Option<Arc<RemoteDocument>> {
    let key = (server.group.clone(), server.version.clone());
    let known = aggregator.discovery().versions.get(&key).and_then(|known| known.openapi_2.clone());
    let etag = known.as_ref().map(|known| known.etag.as_str()).filter(|etag| !etag.is_empty());
    let asked = (Some("application/json"), etag);
    let (status, headers, body) = match send(aggregator, server, "/openapi/v2", asked).await {
        Ok(answer) => answer,
        Err(_) => return known,
    };
    match status {
        StatusCode::OK => {}
        StatusCode::NOT_FOUND => return None,
        _ => return known,
    }
    let Ok(document) = serde_json::from_slice::<Value>(&body) else { return known };
    let prefix = format!("{}/", group_version_path(server));
    let etag = headers.get(ETAG).and_then(|etag| etag.to_str().ok()).unwrap_or("").to_owned();
    let document = filter(&document, |path| path.starts_with(&prefix));
    Some(Arc::new(RemoteDocument { etag, document }))
}

/// Replaces a server's documents. What was fetched earlier stays if it cannot be fetched now, and is marked stale.
fn update(aggregator: &Aggregator, server: &RemoteServer, fetched: Option<Fetched>) {
    change(aggregator, |discovery| {
        let key = (server.group.clone(), server.version.clone());
        let known = discovery.versions.remove(&key);
        let is_fresh = fetched.is_some();
        let kept = || {
            let kept = known.map(|known| (known.resources, known.openapi, known.openapi_2));
            kept.unwrap_or((Value::Null, None, None))
        };
        let (resources, openapi, openapi_2) = fetched.clone().unwrap_or_else(kept);
        let version = RemoteVersion {
            group_priority: server.group_priority,
            version_priority: server.version_priority,
            resources,
            is_fresh,
            openapi,
            openapi_2,
        };
        discovery.versions.insert(key, version);
    });
}

/// Drops the documents of servers that are gone.
fn forget(aggregator: &Aggregator, servers: &[Arc<RemoteServer>]) {
    change(aggregator, |discovery| {
        discovery.versions.retain(|(group, version), _| {
            servers.iter().any(|server| (&server.group, &server.version) == (group, version))
        });
    });
}

fn change(aggregator: &Aggregator, change: impl FnOnce(&mut RemoteDiscovery)) {
    let old = aggregator.discovery();
    let mut new = RemoteDiscovery::clone(&old);
    change(&mut new);
    if new != *old {
        new.generation += 1;
        aggregator.inner.discovery.store(Arc::new(new));
    }
}

/// Writes the condition, unless it says the same already.
async fn write(pipeline: &Pipeline, name: &str, new: Value) -> Result<(), Status> {
    let registry = pipeline.registry();
    let resource = registry.builtin(&API_SERVICES);
    let Some(stored) = registry.peek(&resource, "", name) else { return Ok(()) };
    let stored = stored.value();
    let is_same = condition(&stored["status"], AVAILABLE).is_some_and(|found| {
        ["status", "reason", "message"].iter().all(|field| found.get(*field) == new.get(*field))
    });
    if is_same {
        return Ok(());
    }
    let context = Identity::apiserver().context("update");
    let target = ObjectRef::new(&resource, "", name).status();
    let changed = pipeline.update_with(&context, target, |found| {
        let mut found = found.clone();
        put_condition(&mut found["status"], new.clone());
        Ok(found)
    });
    match changed.await {
        Err(status) if status.reason != "NotFound" => Err(status),
        _ => Ok(()),
    }
}

/// Sets the condition. Its time stays if the status does.
fn put_condition(status: &mut Value, mut new: Value) {
    if let Some(old) = condition(status, AVAILABLE).filter(|old| old["status"] == new["status"]) {
        new["lastTransitionTime"] = old["lastTransitionTime"].clone();
    }
    remove_condition(status, AVAILABLE);
    let list = access::object_mut(status, &[]).entry("conditions").or_insert_with(|| json!([]));
    if let Value::Array(list) = list {
        list.push(new);
    }
}
