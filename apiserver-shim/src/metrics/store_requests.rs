//! The `etcd_*` metrics of requests to the store, for any backend. Names are upstream's.

use std::time::Instant;

use prometheus::{Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, Opts};

use super::{REQUEST_SECONDS, Registry, constant, register};

const LABELS: &[&str] = &["operation", "group", "resource"];

/// The metrics of all resources.
#[derive(Clone, Debug)]
pub struct StoreMetrics {
    durations: HistogramVec,
    total: IntCounterVec,
    errors: IntCounterVec,
}

/// The metrics of one resource: one field per operation.
#[derive(Debug)]
#[allow(missing_docs)]
pub struct StoreRequests {
    pub create: StoreOperation,
    pub update: StoreOperation,
    pub delete: StoreOperation,
    pub list: StoreOperation,
}

/// The metrics of one operation on one resource.
#[derive(Debug)]
pub struct StoreOperation {
    duration: Histogram,
    total: IntCounter,
    errors: IntCounter,
}

impl StoreMetrics {
    /// Creates the metrics without samples.
    pub fn new() -> StoreMetrics {
        let durations = HistogramOpts::new(
            "etcd_request_duration_seconds",
            "Etcd request latency in seconds for each operation and object type.",
        );
        let durations = durations.buckets(REQUEST_SECONDS.to_vec());
        let counter = |name: &str, help: &str| constant(IntCounterVec::new(Opts::new(name, help), LABELS));
        StoreMetrics {
            durations: constant(HistogramVec::new(durations, LABELS)),
            total: counter("etcd_requests_total", "Etcd request counts for each operation and object type."),
            errors: counter(
                "etcd_request_errors_total",
                "Etcd failed request counts for each operation and object type.",
            ),
        }
    }

    /// Registers the metrics.
    pub fn register(&self, registry: &Registry) {
        register(registry, self.durations.clone());
        register(registry, self.total.clone());
        register(registry, self.errors.clone());
    }

    /// The metrics of one resource.
    pub fn of(&self, group: &str, resource: &str) -> StoreRequests {
        let operation = |name: &str| {
            let labels = [name, group, resource];
            StoreOperation {
                duration: self.durations.with_label_values(&labels),
                total: self.total.with_label_values(&labels),
                errors: self.errors.with_label_values(&labels),
            }
        };
        StoreRequests {
            create: operation("create"),
            update: operation("update"),
            delete: operation("delete"),
            list: operation("list"),
        }
    }
}

impl Default for StoreMetrics {
    fn default() -> StoreMetrics {
        StoreMetrics::new()
    }
}

impl StoreOperation {
    /// Counts a request that started at `start`. As upstream, a conflict is not an error.
    pub fn observe<T>(&self, start: Instant, outcome: &Result<T, store::Error>) {
        self.duration.observe(start.elapsed().as_secs_f64());
        self.total.inc();
        if outcome.is_err() {
            self.errors.inc();
        }
    }
}
