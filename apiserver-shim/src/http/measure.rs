//! Request metrics: the labels of a request in `apiserver_request_total` and related metrics, and the end of a request.
//!
//! A request ends when its response has been sent: at once if the response is complete in memory, with the end of a streamed
//! body, and with the end of an upgraded connection. Every request is counted, also if it is refused before it reaches its
//! resource.

use std::sync::Arc;
use std::time::Instant;

use http::header::CONTENT_TYPE;
use http::{HeaderMap, Method};
use http_body::Body as _;
use prometheus::{IntCounter, IntGauge};

use crate::http::body::{self, Response};
use crate::http::connection_guards::ConnectionGuards;
use crate::metrics::requests::{RequestClass, RequestMetrics, RequestTarget};
use crate::request::info::{RequestInfo, Target};
use crate::storage::catalog::ServedResource;

/// Subresources whose requests have the verb `CONNECT`, regardless of the method.
const CONNECT: &[&str] = &["attach", "exec", "log", "portforward", "proxy"];
/// Non-resource paths that have their own label, as upstream.
const LABELLED_PATHS: &[&str] = &["/healthz", "/livez", "/readyz"];
/// The field selector of a watch of a single object.
const NAME_FIELD: &str = "metadata.name=";

/// A request in progress.
#[derive(Debug)]
pub struct Measurement {
    /// Whether the labels are those of a resource.
    of_resource: bool,
    class: RequestClass,
    /// The path of a non-resource request, if it has a label.
    path: &'static str,
    start: Instant,
    /// Counts the request as long-running if it may be.
    open: Option<OpenRequest>,
}

/// Counts a long-running request until it is dropped.
#[derive(Debug)]
struct OpenRequest(IntGauge);

impl Drop for OpenRequest {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// A request whose response is still being sent. It ends when it is dropped.
struct Ongoing {
    measurement: Measurement,
    metrics: Arc<RequestMetrics>,
    resource: Option<Arc<ServedResource>>,
    code: u16,
}

impl Drop for Ongoing {
    fn drop(&mut self) {
        self.measurement.observe(&self.metrics, self.resource.as_deref(), self.code);
    }
}

impl Measurement {
    /// Records an arrived request. `resource` is the one served at its path.
    pub fn begin(
        metrics: &RequestMetrics,
        (method, headers): (&Method, &HeaderMap),
        info: &RequestInfo,
        resource: Option<&Arc<ServedResource>>,
    ) -> Measurement {
        let target = info.target.as_ref().zip(resource).and_then(|(target, resource)| {
            let subresource = place(resource, &target.subresource)?;
            Some((target, resource, subresource))
        });
        let class = RequestClass {
            verb: verb(method, headers, info, target.is_some()),
            scope: target.map_or("", |(target, ..)| scope(method, target)),
            dry_run: if target.is_some() { dry_run(info) } else { "" },
            subresource: target.map_or(0, |(.., subresource)| subresource),
            code: 0,
        };
        let path = LABELLED_PATHS.iter().find(|path| info.target.is_none() && **path == info.path);
        let mut measurement = Measurement {
            of_resource: target.is_some(),
            class,
            path: path.copied().unwrap_or(""),
            start: Instant::now(),
            open: None,
        };
        if info.is_long_running() && target.is_some() {
            let one = class.verb == "WATCH" && info.query.text("fieldSelector").contains(NAME_FIELD);
            let scope = if one { "resource" } else { class.scope };
            let target = measurement.target(resource.map(|resource| &**resource));
            let open = metrics.long_running(target, class.verb, scope);
            open.inc();
            measurement.open = Some(OpenRequest(open));
        }
        measurement
    }

    /// Whether the request may be long-running.
    pub fn is_long_running(&self) -> bool {
        self.open.is_some()
    }

    /// Counts the answered request. A request that the client abandoned is not counted.
    fn observe(&self, metrics: &RequestMetrics, resource: Option<&ServedResource>, code: u16) {
        let series = resource.filter(|_| self.of_resource).map(ServedResource::series);
        let class = RequestClass { code, ..self.class };
        metrics.observe(series, self.target(resource), class, self.start.elapsed());
    }

    fn target<'a>(&self, resource: Option<&'a ServedResource>) -> RequestTarget<'a> {
        let Some(resource) = resource.filter(|_| self.of_resource) else {
            return RequestTarget { subresource: self.path, ..RequestTarget::default() };
        };
        let subresource = match self.class.subresource {
            0 => "",
            place => resource.subresources[place - 1].name.as_str(),
        };
        RequestTarget {
            group: &resource.group,
            version: &resource.version,
            resource: &resource.plural,
            subresource,
        }
    }
}

/// Ends a request with its response: now, when the response has been sent, or with the upgraded connection.
pub fn end(
    measurement: Measurement,
    metrics: &Arc<RequestMetrics>,
    resource: Option<&Arc<ServedResource>>,
    response: Response,
) -> Response {
    let code = response.status().as_u16();
    let guards = ConnectionGuards::find(&response).cloned();
    if guards.is_none() && response.body().size_hint().exact().is_some() {
        measurement.observe(metrics, resource.map(|resource| &**resource), code);
        return response;
    }
    let ongoing = Ongoing { measurement, metrics: metrics.clone(), resource: resource.cloned(), code };
    match guards {
        Some(guards) => {
            guards.hold(ongoing);
            response
        }
        None => response.map(|inner| body::guarded(inner, ongoing)),
    }
}

/// The counter of watch events sent for a resource.
pub fn watch_events(metrics: &RequestMetrics, resource: &ServedResource) -> IntCounter {
    let target = RequestTarget {
        group: &resource.group,
        version: &resource.version,
        resource: &resource.plural,
        subresource: "",
    };
    metrics.watch_events(resource.series(), target)
}

/// The index of a subresource within its resource, from 1; 0 is the resource itself.
fn place(resource: &ServedResource, subresource: &str) -> Option<usize> {
    if subresource.is_empty() {
        return Some(0);
    }
    resource.subresources.iter().position(|s| s.name == subresource).map(|at| at + 1)
}

fn verb(method: &Method, headers: &HeaderMap, info: &RequestInfo, is_resource: bool) -> &'static str {
    let target = info.target.as_ref().filter(|_| is_resource);
    if target.is_some_and(|target| CONNECT.contains(&target.subresource.as_str())) {
        return "CONNECT";
    }
    match *method {
        Method::GET | Method::HEAD => match (target, info.verb) {
            (Some(_), "watch") => "WATCH",
            (Some(target), _) if target.name.is_empty() => "LIST",
            _ => "GET",
        },
        Method::DELETE if target.is_some() && info.verb == "deletecollection" => "DELETECOLLECTION",
        Method::PATCH => match headers.get(CONTENT_TYPE) {
            Some(kind) if kind.as_bytes() == b"application/apply-patch+yaml" => "APPLY",
            _ => "PATCH",
        },
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::DELETE => "DELETE",
        _ => "other",
    }
}

fn scope(method: &Method, target: &Target) -> &'static str {
    match (target.name.is_empty(), target.namespace.is_empty()) {
        (true, _) if *method == Method::POST => "resource",
        (false, _) => "resource",
        (true, false) => "namespace",
        (true, true) => "cluster",
    }
}

fn dry_run(info: &RequestInfo) -> &'static str {
    let mut given = info.query.all("dryRun").filter(|value| !value.is_empty());
    match given.next() {
        None => "",
        Some("All") if given.all(|value| value == "All") => "All",
        Some(_) => "invalid",
    }
}

/// Fills in the fields of the request's span. Nothing is formatted unless a subscriber is enabled.
pub fn record_span(info: &RequestInfo) {
    let span = tracing::Span::current();
    if span.is_disabled() {
        return;
    }
    span.record("verb", info.verb);
    if let Some(target) = &info.target {
        span.record("resource", target.plural.as_str());
        span.record("namespace", target.namespace.as_str());
        span.record("name", target.name.as_str());
    }
}
