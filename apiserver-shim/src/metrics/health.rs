//! The outcomes of health checks, which `/metrics/slis` prints: upstream's metrics of components' service levels.

use prometheus::{IntCounterVec, IntGaugeVec, Opts};

use super::{Registry, constant, process, register};

/// The last outcome of each check, and how often each came out how.
#[derive(Clone, Debug)]
pub struct HealthMetrics {
    registry: Registry,
    last: IntGaugeVec,
    outcomes: IntCounterVec,
}

impl HealthMetrics {
    /// Without an outcome.
    #[allow(clippy::new_without_default)]
    pub fn new() -> HealthMetrics {
        let options = |name, help: &str| Opts::new(name, help);
        let last =
            options("kubernetes_healthcheck", "[STABLE] Whether the last check of this name succeeded.");
        let outcomes = options("kubernetes_healthchecks_total", "[STABLE] Checks by their outcome.");
        let metrics = HealthMetrics {
            registry: Registry::new(),
            last: constant(IntGaugeVec::new(last, &["name", "type"])),
            outcomes: constant(IntCounterVec::new(outcomes, &["name", "status", "type"])),
        };
        register(&metrics.registry, metrics.last.clone());
        register(&metrics.registry, metrics.outcomes.clone());
        register(&metrics.registry, process::start_time());
        metrics
    }

    /// Counts the outcome of a check of an endpoint (`healthz`, `livez`, `readyz`).
    pub fn record(&self, endpoint: &str, name: &str, holds: bool) {
        self.last.with_label_values(&[name, endpoint]).set(i64::from(holds));
        let status = if holds { "success" } else { "error" };
        self.outcomes.with_label_values(&[name, status, endpoint]).inc();
    }

    /// The registry behind `/metrics/slis`.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }
}
