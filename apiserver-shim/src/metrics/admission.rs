//! The metrics of admission webhooks, under upstream's names. Label values are names of webhooks, which administrators
//! configure, and fixed sets.

use std::time::Duration;

use prometheus::{HistogramOpts, HistogramVec, IntCounterVec, Opts};

use super::{Registry, constant, register};

const WEBHOOK_BUCKETS: [f64; 8] = [0.005, 0.025, 0.1, 0.5, 1.0, 2.5, 10.0, 25.0];
const CONDITION_BUCKETS: [f64; 7] = [0.001, 0.005, 0.01, 0.025, 0.1, 0.2, 0.25];
/// Larger status codes are counted as this one, so that a webhook cannot create series without bound.
const CODE_MAX: u16 = 600;
/// The value of the label `kind`.
const KIND: &str = "webhook";

/// What a webhook was called for.
#[derive(Clone, Copy, Debug)]
pub struct WebhookCall<'a> {
    /// The webhook's name.
    pub name: &'a str,
    /// `admit` or `validating`.
    pub phase: &'static str,
    /// `CREATE`, `UPDATE` …
    pub operation: &'static str,
}

/// How a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WebhookOutcome {
    /// The status code; 0 if the server itself failed.
    pub code: u16,
    /// Why the request is rejected; `None` if it goes on.
    pub rejected: Option<&'static str>,
}

/// The metrics.
#[derive(Clone, Debug)]
pub struct AdmissionMetrics {
    durations: HistogramVec,
    rejections: IntCounterVec,
    failed_open: IntCounterVec,
    requests: IntCounterVec,
    condition_errors: IntCounterVec,
    condition_exclusions: IntCounterVec,
    condition_durations: HistogramVec,
}

impl AdmissionMetrics {
    /// Creates the metrics without samples.
    pub fn new() -> AdmissionMetrics {
        let counter = |name: &str, help: &str, labels: &[&str]| {
            constant(IntCounterVec::new(Opts::new(format!("apiserver_admission_{name}"), help), labels))
        };
        let histogram = |name: &str, help: &str, labels: &[&str], buckets: &[f64]| {
            let options = HistogramOpts::new(format!("apiserver_admission_{name}"), help);
            constant(HistogramVec::new(options.buckets(buckets.to_vec()), labels))
        };
        let of_condition = ["name", "kind", "type", "operation"];
        AdmissionMetrics {
            durations: histogram(
                "webhook_admission_duration_seconds",
                "Time that admission webhooks take, by name, type, operation and whether they reject.",
                &["name", "type", "operation", "rejected"],
                &WEBHOOK_BUCKETS,
            ),
            rejections: counter(
                "webhook_rejection_count",
                "Requests that admission webhooks reject, by the type of the error and the status code.",
                &["name", "type", "operation", "error_type", "rejection_code"],
            ),
            failed_open: counter(
                "webhook_fail_open_count",
                "Requests that go on although an admission webhook failed.",
                &["name", "type"],
            ),
            requests: counter(
                "webhook_request_total",
                "Calls of admission webhooks by status code and whether they reject.",
                &["name", "type", "operation", "code", "rejected"],
            ),
            condition_errors: counter(
                "match_condition_evaluation_errors_total",
                "Match conditions that could not be evaluated.",
                &of_condition,
            ),
            condition_exclusions: counter(
                "match_condition_exclusions_total",
                "Requests that match conditions exclude.",
                &of_condition,
            ),
            condition_durations: histogram(
                "match_condition_evaluation_seconds",
                "Time that match conditions take.",
                &of_condition,
                &CONDITION_BUCKETS,
            ),
        }
    }

    /// Registers the metrics.
    pub fn register(&self, registry: &Registry) {
        register(registry, self.durations.clone());
        register(registry, self.rejections.clone());
        register(registry, self.failed_open.clone());
        register(registry, self.requests.clone());
        register(registry, self.condition_errors.clone());
        register(registry, self.condition_exclusions.clone());
        register(registry, self.condition_durations.clone());
    }

    /// Counts a call.
    pub fn observe(&self, call: WebhookCall<'_>, elapsed: Duration, outcome: WebhookOutcome) {
        let WebhookCall { name, phase, operation } = call;
        let code = outcome.code.min(CODE_MAX).to_string();
        let code = code.as_str();
        let rejected = if outcome.rejected.is_some() { "true" } else { "false" };
        self.durations.with_label_values(&[name, phase, operation, rejected]).observe(elapsed.as_secs_f64());
        self.requests.with_label_values(&[name, phase, operation, code, rejected]).inc();
        if let Some(why) = outcome.rejected {
            self.rejections.with_label_values(&[name, phase, operation, why, code]).inc();
        }
    }

    /// Counts a failure that is ignored.
    pub fn failed_open(&self, call: WebhookCall<'_>) {
        self.failed_open.with_label_values(&[call.name, call.phase]).inc();
    }

    /// Counts an evaluation of match conditions: how long it took, and whether it failed.
    pub fn evaluated(&self, call: WebhookCall<'_>, elapsed: Duration, failed: bool) {
        let labels = [call.name, KIND, call.phase, call.operation];
        self.condition_durations.with_label_values(&labels).observe(elapsed.as_secs_f64());
        if failed {
            self.condition_errors.with_label_values(&labels).inc();
        }
    }

    /// Counts a request that match conditions exclude. As upstream, the phase has another name here.
    pub fn excluded(&self, call: WebhookCall<'_>) {
        let phase = if call.phase == "validating" { "validate" } else { call.phase };
        self.condition_exclusions.with_label_values(&[call.name, KIND, phase, call.operation]).inc();
    }
}

impl Default for AdmissionMetrics {
    fn default() -> AdmissionMetrics {
        AdmissionMetrics::new()
    }
}
