//! Metrics in Prometheus' text exposition format, as all servers create, register and print them. Which metrics there are is
//! decided by the crates that count. [`zpages`] has two pages more that all servers have.

pub mod zpages;

use prometheus::core::Collector;
use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGaugeVec, Opts, TextEncoder,
};

pub use prometheus::Registry;

/// The `Content-Type` of [`print`]'s text, as Kubernetes' servers send it.
pub const TEXT_FORMAT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Unwraps a metric whose name and labels are constants.
///
/// # Panics
/// Prometheus does not allow the name or a label.
pub fn constant<M>(metric: prometheus::Result<M>) -> M {
    metric.expect("invariant: names and labels are constants that Prometheus allows")
}

/// Registers a metric or several.
///
/// # Panics
/// The registry has a metric of the same name.
pub fn register(registry: &Registry, metrics: impl Collector + 'static) {
    registry.register(Box::new(metrics)).expect("invariant: a server registers each metric once");
}

/// When this process was started, in seconds since 1970; `None` without `/proc`.
pub fn process_start() -> Option<i64> {
    let stat = procfs::process::Process::myself().ok()?.stat().ok()?;
    let since_boot = stat.starttime.checked_div(procfs::ticks_per_second())?;
    procfs::boot_time_secs().ok()?.checked_add(since_boot).and_then(|seconds| i64::try_from(seconds).ok())
}

/// Prints all metrics.
///
/// # Errors
/// Fails if metrics are inconsistent.
pub fn print(registry: &Registry) -> prometheus::Result<String> {
    TextEncoder::new().encode_to_string(&registry.gather())
}

/// Creates metrics and registers them at once.
#[derive(Debug, Default)]
pub struct Registrar {
    /// The registry that the metrics are registered in.
    pub registry: Registry,
}

impl Registrar {
    /// Registers a metric.
    pub fn add<C: Collector + Clone + 'static>(&self, metric: prometheus::Result<C>) -> C {
        let metric = constant(metric);
        register(&self.registry, metric.clone());
        metric
    }

    /// A counter.
    pub fn counter(&self, name: &str, help: &str) -> IntCounter {
        self.add(IntCounter::new(name, help))
    }

    /// Counters by labels.
    pub fn counters(&self, name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
        self.add(IntCounterVec::new(Opts::new(name, help), labels))
    }

    /// Gauges by labels.
    pub fn gauges(&self, name: &str, help: &str, labels: &[&str]) -> IntGaugeVec {
        self.add(IntGaugeVec::new(Opts::new(name, help), labels))
    }

    /// A histogram with these upper bounds.
    pub fn histogram(&self, name: &str, help: &str, buckets: &[f64]) -> Histogram {
        self.add(Histogram::with_opts(HistogramOpts::new(name, help).buckets(buckets.to_vec())))
    }

    /// Histograms by labels, with these upper bounds.
    pub fn histograms(&self, name: &str, help: &str, labels: &[&str], buckets: &[f64]) -> HistogramVec {
        self.add(HistogramVec::new(HistogramOpts::new(name, help).buckets(buckets.to_vec()), labels))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registered_metrics_are_printed() {
        let registrar = Registrar::default();
        registrar.counter("jobs_total", "Jobs.").inc();
        registrar.gauges("jobs_running", "Running jobs.", &["queue"]).with_label_values(&["a"]).set(2);
        let printed = print(&registrar.registry).unwrap();
        assert!(printed.contains("# HELP jobs_total Jobs.\n# TYPE jobs_total counter\njobs_total 1\n"));
        assert!(printed.contains("jobs_running{queue=\"a\"} 2\n"), "{printed}");
    }
}
