//! The `apiserver_*` metrics of requests and watches. A request finds its counter and histogram by an index into its
//! resource's table, so that no labels are looked up per request.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use prometheus::{Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec};
use prometheus::{IntGauge, IntGaugeVec, Opts};

use super::{REQUEST_SECONDS, Registry, constant, register};

/// How often the maximum number of requests in flight is published, as upstream.
pub const INFLIGHT_PERIOD: Duration = Duration::from_secs(1);

/// The labels of a request within its resource. What differs most, and is compared fastest, comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestClass {
    /// The HTTP status code.
    pub code: u16,
    /// The index of the subresource in [`RequestTarget`].
    pub subresource: usize,
    /// `GET`, `LIST`, `WATCH`, `CONNECT` … in upper case; `other` for unknown methods.
    pub verb: &'static str,
    /// `resource`, `namespace` or `cluster`; empty for non-resource requests.
    pub scope: &'static str,
    /// `All`, `invalid` or empty.
    pub dry_run: &'static str,
}

/// The resource labels of a request; all empty for non-resource requests.
#[derive(Clone, Copy, Debug, Default)]
#[allow(missing_docs)]
pub struct RequestTarget<'a> {
    pub group: &'a str,
    pub version: &'a str,
    pub resource: &'a str,
    pub subresource: &'a str,
}

impl RequestTarget<'_> {
    /// The label `component`, which upstream leaves empty for non-resource requests.
    fn component(self) -> &'static str {
        if self.resource.is_empty() { "" } else { "apiserver" }
    }
}

#[derive(Clone, Debug)]
struct Series {
    total: IntCounter,
    duration: Histogram,
}

/// The series of one resource, created on first use.
#[derive(Debug, Default)]
pub struct ResourceSeries {
    /// Some ten classes of a resource are ever seen, so that a search is faster than a hash.
    requests: ArcSwap<Vec<(RequestClass, Series)>>,
    watch_events: OnceLock<IntCounter>,
}

/// The metrics of requests.
#[derive(Debug)]
pub struct RequestMetrics {
    total: IntCounterVec,
    durations: HistogramVec,
    long_running: IntGaugeVec,
    watch_events: IntCounterVec,
    inflight: IntGaugeVec,
    mutating: Inflight,
    read_only: Inflight,
    /// The series of non-resource requests.
    paths: ResourceSeries,
}

/// Requests of one kind that are in flight.
#[derive(Debug)]
struct Inflight {
    current: AtomicI64,
    highest: AtomicI64,
    published: IntGauge,
}

/// Counts a request as in flight until it is dropped.
#[derive(Debug)]
pub struct InflightRequest<'a>(&'a Inflight);

impl RequestMetrics {
    /// Creates the metrics without samples.
    pub fn new() -> RequestMetrics {
        let inflight = constant(IntGaugeVec::new(
            Opts::new(
                "apiserver_current_inflight_requests",
                "Maximal number of currently used inflight request limit of this apiserver per request kind in last second.",
            ),
            &["request_kind"],
        ));
        let durations = HistogramOpts::new(
            "apiserver_request_duration_seconds",
            "Response latency distribution in seconds for each verb, dry run value, group, version, resource, subresource, scope and component.",
        );
        RequestMetrics {
            total: constant(IntCounterVec::new(
                Opts::new(
                    "apiserver_request_total",
                    "Counter of apiserver requests broken out for each verb, dry run value, group, version, resource, scope, component, and HTTP response code.",
                ),
                &[
                    "verb",
                    "dry_run",
                    "group",
                    "version",
                    "resource",
                    "subresource",
                    "scope",
                    "component",
                    "code",
                ],
            )),
            durations: constant(HistogramVec::new(
                durations.buckets(REQUEST_SECONDS.to_vec()),
                &["verb", "dry_run", "group", "version", "resource", "subresource", "scope", "component"],
            )),
            long_running: constant(IntGaugeVec::new(
                Opts::new(
                    "apiserver_longrunning_requests",
                    "Gauge of all active long-running apiserver requests broken out by verb, group, version, resource, scope and component. Not all requests are tracked this way.",
                ),
                &["verb", "group", "version", "resource", "subresource", "scope", "component"],
            )),
            watch_events: constant(IntCounterVec::new(
                Opts::new("apiserver_watch_events_total", "Number of events sent in watch clients"),
                &["group", "version", "resource"],
            )),
            mutating: Inflight::new(inflight.with_label_values(&["mutating"])),
            read_only: Inflight::new(inflight.with_label_values(&["readOnly"])),
            inflight,
            paths: ResourceSeries::default(),
        }
    }

    /// Registers the metrics.
    pub fn register(&self, registry: &Registry) {
        register(registry, self.total.clone());
        register(registry, self.durations.clone());
        register(registry, self.long_running.clone());
        register(registry, self.watch_events.clone());
        register(registry, self.inflight.clone());
    }

    /// Counts an answered request. `series` are those of its resource; `None` for non-resource requests.
    pub fn observe(
        &self,
        series: Option<&ResourceSeries>,
        target: RequestTarget<'_>,
        class: RequestClass,
        elapsed: Duration,
    ) {
        let series = series.unwrap_or(&self.paths);
        let count = |series: &Series| {
            series.total.inc();
            series.duration.observe(elapsed.as_secs_f64());
        };
        if let Some((_, known)) = series.requests.load().iter().find(|(known, _)| *known == class) {
            return count(known);
        }
        let new = self.series(target, class);
        count(&new);
        // Two concurrent first requests create the same handles.
        series.requests.rcu(|all| {
            let mut all = Vec::clone(all);
            if !all.iter().any(|(known, _)| *known == class) {
                all.push((class, new.clone()));
            }
            all
        });
    }

    fn series(&self, target: RequestTarget<'_>, class: RequestClass) -> Series {
        let RequestTarget { group, version, resource, subresource } = target;
        let component = target.component();
        let labels =
            [class.verb, class.dry_run, group, version, resource, subresource, class.scope, component];
        let code = class.code.to_string();
        let with_code: Vec<&str> = labels.into_iter().chain([code.as_str()]).collect();
        Series {
            total: self.total.with_label_values(&with_code),
            duration: self.durations.with_label_values(&labels),
        }
    }

    /// The gauge of long-running requests like this one: watches and connections.
    pub fn long_running(&self, target: RequestTarget<'_>, verb: &str, scope: &str) -> IntGauge {
        let RequestTarget { group, version, resource, subresource } = target;
        let labels = [verb, group, version, resource, subresource, scope, target.component()];
        self.long_running.with_label_values(&labels)
    }

    /// The counter of watch events sent for a resource.
    pub fn watch_events(&self, series: &ResourceSeries, target: RequestTarget<'_>) -> IntCounter {
        let labels = [target.group, target.version, target.resource];
        series.watch_events.get_or_init(|| self.watch_events.with_label_values(&labels)).clone()
    }

    /// Counts a request as in flight.
    pub fn begin(&self, is_mutating: bool) -> InflightRequest<'_> {
        let kind = if is_mutating { &self.mutating } else { &self.read_only };
        let now = kind.current.fetch_add(1, Ordering::Relaxed) + 1;
        if now > kind.highest.load(Ordering::Relaxed) {
            kind.highest.fetch_max(now, Ordering::Relaxed);
        }
        InflightRequest(kind)
    }

    /// Publishes the maximum number of requests in flight since the last call; called every [`INFLIGHT_PERIOD`].
    pub fn publish_inflight(&self) {
        self.mutating.publish();
        self.read_only.publish();
    }
}

impl Default for RequestMetrics {
    fn default() -> RequestMetrics {
        RequestMetrics::new()
    }
}

impl Inflight {
    fn new(published: IntGauge) -> Inflight {
        Inflight { current: AtomicI64::new(0), highest: AtomicI64::new(0), published }
    }

    fn publish(&self) {
        let now = self.current.load(Ordering::Relaxed);
        self.published.set(self.highest.swap(now, Ordering::Relaxed).max(now));
    }
}

impl Drop for InflightRequest<'_> {
    fn drop(&mut self) {
        self.0.current.fetch_sub(1, Ordering::Relaxed);
    }
}
