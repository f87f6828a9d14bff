//! Request metrics: the labels of a request in `apiserver_request_total` and related metrics, and the end of a request.
//!
//! A request ends when its response has been sent: at once if the response is complete in memory, with the end of a streamed
//! body, and with the end of an upgraded connection. Every request is counted, also if it is refused before it reaches its
//! resource.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Instant;

use http::header::CONTENT_TYPE;
use http::{HeaderMap, Method};
use http_body::Body as _;
use prometheus::{IntCounter, IntGauge};

use crate::http::body::{self, Response};
use crate::metrics::requests::{RequestClass, RequestMetrics, RequestTarget};
use crate::request::info::{RequestInfo, Target};
use crate::storage::catalog::ServedResource;

/// Subresources whose requests have the verb `CONNECT`, regardless of the method.
const CONNECT: &[&str] = &["attach", "exec", "log", "portforward", "proxy"];
/// Non-resource paths that have their own label, as upstream.
const LABELLED_PATHS: &[&str] = &["/healthz", "/livez", "/readyz"];
/// The field selector of a watch of a single object.
const NAME_FIELD: &str = "metadata.name=";

/// A request in progress. It ends when the last reference is dropped.
#[derive(Debug)]
pub struct Measurement {
    metrics: Arc<RequestMetrics>,
    resource: Option<Arc<ServedResource>>,
    class: RequestClass,
    /// The path of a non-resource request, if it has a label.
    path: &'static str,
    start: Instant,
    /// The status code of the response, 0 before there is one. A request that the client abandoned is not counted.
    code: AtomicU16,
    /// Counts the request as long-running if it may be.
    open: Option<IntGauge>,
}

impl Measurement {
    /// Records an arrived request. `resource` is the one served at its path.
    pub fn begin(
        metrics: &Arc<RequestMetrics>,
        (method, headers): (&Method, &HeaderMap),
        info: &RequestInfo,
        resource: Option<&Arc<ServedResource>>,
    ) -> Arc<Measurement> {
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
            metrics: metrics.clone(),
            resource: target.map(|(_, resource, _)| resource.clone()),
            class,
            path: path.copied().unwrap_or(""),
            start: Instant::now(),
            code: AtomicU16::new(0),
            open: None,
        };
        if info.is_long_running() && target.is_some() {
            let one = class.verb == "WATCH" && info.query.text("fieldSelector").contains(NAME_FIELD);
            let scope = if one { "resource" } else { class.scope };
            let open = metrics.long_running(measurement.target(), class.verb, scope);
            open.inc();
            measurement.open = Some(open);
        }
        Arc::new(measurement)
    }

    /// Whether the request may be long-running.
    pub fn is_long_running(&self) -> bool {
        self.open.is_some()
    }

    fn target(&self) -> RequestTarget<'_> {
        let Some(resource) = &self.resource else {
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

impl Drop for Measurement {
    fn drop(&mut self) {
        if let Some(open) = &self.open {
            open.dec();
        }
        let code = *self.code.get_mut();
        if code != 0 {
            let series = self.resource.as_ref().map(|resource| resource.series());
            let class = RequestClass { code, ..self.class };
            self.metrics.observe(series, self.target(), class, self.start.elapsed());
        }
    }
}

/// Ends a request with its response: now, or when the response has been sent.
pub fn end(measurement: Arc<Measurement>, response: Response) -> Response {
    measurement.code.store(response.status().as_u16(), Ordering::Relaxed);
    if response.body().size_hint().exact().is_some() {
        return response;
    }
    response.map(|inner| body::guarded(inner, measurement))
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
