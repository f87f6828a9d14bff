//! The metrics of priority and fairness under upstream's names. A schema keeps handles of its own.

use std::time::{Duration, Instant};

use prometheus::{
    Gauge, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge,
    IntGaugeVec, Opts,
};
use shim_core::flow_control::{DemandStats, LevelLimits, Rejection};

use crate::metrics::{Registry, constant, register};

/// Buckets of durations, as upstream.
const SECONDS: &[f64] = &[0.0, 0.005, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 15.0, 30.0];
/// Buckets of queue lengths, as upstream.
const LENGTHS: &[f64] = &[0.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1000.0];
/// Buckets of seats, as upstream.
const SEATS: &[f64] = &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 100.0];
const LEVEL: &str = "priority_level";
const SCHEMA: &str = "flow_schema";

/// A gauge of the demand of levels, with what it shows.
type DemandGauge = (GaugeVec, fn(&DemandStats) -> f64);

pub(super) struct FlowMetrics {
    rejected: IntCounterVec,
    dispatched: IntCounterVec,
    executing: IntGaugeVec,
    executing_seats: IntGaugeVec,
    waiting: IntGaugeVec,
    waiting_seats: IntGaugeVec,
    queue_length: HistogramVec,
    wait_duration: HistogramVec,
    execution: HistogramVec,
    estimated: HistogramVec,
    nominal: IntGaugeVec,
    lower: IntGaugeVec,
    upper: IntGaugeVec,
    current: IntGaugeVec,
    demand: [DemandGauge; 4],
    fraction: Gauge,
}

/// The handles of a schema.
pub(super) struct SchemaMetrics {
    labels: [String; 2],
    dispatched: IntCounter,
    executing: IntGauge,
    executing_seats: IntGauge,
    waiting: IntGauge,
    waiting_seats: IntGauge,
    queue_length: Histogram,
    waited: Histogram,
    waited_in_vain: Histogram,
    execution: Histogram,
    estimated: Histogram,
}

fn options(name: &str, help: &str) -> Opts {
    Opts::new(format!("apiserver_flowcontrol_{name}"), help)
}

fn gauges(name: &str, help: &str, labels: &[&str]) -> IntGaugeVec {
    constant(IntGaugeVec::new(options(name, help), labels))
}

fn counters(name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
    constant(IntCounterVec::new(options(name, help), labels))
}

fn histograms(name: &str, help: &str, labels: &[&str], buckets: &[f64]) -> HistogramVec {
    let options = HistogramOpts::from(options(name, help)).buckets(buckets.to_vec());
    constant(HistogramVec::new(options, labels))
}

impl FlowMetrics {
    pub fn new() -> FlowMetrics {
        let (level, both) = ([LEVEL], [LEVEL, SCHEMA]);
        let demand = |name, help| constant(GaugeVec::new(options(name, help), &level));
        FlowMetrics {
            rejected: counters("rejected_requests_total", "Requests refused", &[LEVEL, SCHEMA, "reason"]),
            dispatched: counters("dispatched_requests_total", "Requests served", &both),
            executing: gauges("current_executing_requests", "Requests being served", &both),
            executing_seats: gauges("current_executing_seats", "Seats of requests being served", &both),
            waiting: gauges("current_inqueue_requests", "Requests waiting", &both),
            waiting_seats: gauges("current_inqueue_seats", "Seats of requests waiting", &both),
            queue_length: histograms(
                "request_queue_length_after_enqueue",
                "Length of the queue that a request has joined",
                &both,
                LENGTHS,
            ),
            wait_duration: histograms(
                "request_wait_duration_seconds",
                "Time that requests have waited",
                &[LEVEL, SCHEMA, "execute"],
                SECONDS,
            ),
            execution: histograms(
                "request_execution_seconds",
                "Time that requests have been served, watches until they have begun",
                &[LEVEL, SCHEMA, "type"],
                SECONDS,
            ),
            estimated: histograms(
                "work_estimated_seats",
                "Seats that requests were estimated to need",
                &both,
                SEATS,
            ),
            nominal: gauges("nominal_limit_seats", "Seats by the shares of the level", &level),
            lower: gauges("lower_limit_seats", "Seats that are not lent", &level),
            upper: gauges("upper_limit_seats", "Seats with all that may be borrowed", &level),
            current: gauges("current_limit_seats", "Seats at present", &level),
            demand: [
                (demand("demand_seats_high_watermark", "Most seats wanted in the last period"), |d| {
                    d.last.highest
                }),
                (demand("demand_seats_average", "Average of the seats wanted"), |d| d.last.average),
                (demand("demand_seats_stdev", "Standard deviation of the seats wanted"), |d| {
                    d.last.deviation
                }),
                (demand("demand_seats_smoothed", "Smoothed seats wanted"), |d| d.smoothed),
            ],
            fraction: constant(Gauge::with_opts(options(
                "seat_fair_frac",
                "Fraction of the seats wanted that all levels get",
            ))),
        }
    }

    pub fn register(&self, registry: &Registry) {
        register(registry, self.rejected.clone());
        register(registry, self.dispatched.clone());
        let gauges = [&self.executing, &self.executing_seats, &self.waiting, &self.waiting_seats];
        let limits = [&self.nominal, &self.lower, &self.upper, &self.current];
        gauges.into_iter().chain(limits).for_each(|gauge| register(registry, gauge.clone()));
        for histogram in [&self.queue_length, &self.wait_duration, &self.execution, &self.estimated] {
            register(registry, histogram.clone());
        }
        self.demand.iter().for_each(|(gauge, _)| register(registry, gauge.clone()));
        register(registry, self.fraction.clone());
    }

    pub fn of(&self, level: &str, schema: &str) -> SchemaMetrics {
        let both = [level, schema];
        SchemaMetrics {
            labels: both.map(str::to_owned),
            dispatched: self.dispatched.with_label_values(&both),
            executing: self.executing.with_label_values(&both),
            executing_seats: self.executing_seats.with_label_values(&both),
            waiting: self.waiting.with_label_values(&both),
            waiting_seats: self.waiting_seats.with_label_values(&both),
            queue_length: self.queue_length.with_label_values(&both),
            waited: self.wait_duration.with_label_values(&[level, schema, "true"]),
            waited_in_vain: self.wait_duration.with_label_values(&[level, schema, "false"]),
            execution: self.execution.with_label_values(&[level, schema, "regular"]),
            estimated: self.estimated.with_label_values(&both),
        }
    }

    pub fn configured(&self, level: &str, limits: &LevelLimits) {
        for (gauge, seats) in
            [(&self.nominal, limits.nominal), (&self.lower, limits.lower), (&self.upper, limits.upper)]
        {
            gauge.with_label_values(&[level]).set(count(seats));
        }
    }

    pub fn limit(&self, level: &str, seats: u64) {
        self.current.with_label_values(&[level]).set(count(seats));
    }

    pub fn lent(&self, level: &str, demand: &DemandStats, seats: u64) {
        for (gauge, value) in &self.demand {
            gauge.with_label_values(&[level]).set(value(demand));
        }
        self.limit(level, seats);
    }

    pub fn fraction(&self, fraction: f64) {
        self.fraction.set(fraction);
    }
}

impl SchemaMetrics {
    pub fn estimated(&self, seats: u64) {
        self.estimated.observe(seats as f64);
    }

    pub fn rejected(&self, all: &FlowMetrics, why: Rejection) {
        let [level, schema] = &self.labels;
        all.rejected.with_label_values(&[level.as_str(), schema, why.as_str()]).inc();
    }

    pub fn wait(&self, seats: u64, length: usize) -> Wait<'_> {
        self.queue_length.observe(length as f64);
        self.waiting.inc();
        self.waiting_seats.add(count(seats));
        Wait { metrics: self, seats, since: Instant::now() }
    }

    pub fn start(&self, seats: u64) {
        self.dispatched.inc();
        self.executing.inc();
        self.executing_seats.add(count(seats));
    }

    pub fn end(&self, seats: u64, served: Duration) {
        self.executing.dec();
        self.executing_seats.sub(count(seats));
        self.execution.observe(served.as_secs_f64());
    }
}

/// A request that is counted as waiting.
pub(super) struct Wait<'a> {
    metrics: &'a SchemaMetrics,
    seats: u64,
    since: Instant,
}

impl Wait<'_> {
    pub fn end(self, served: bool) {
        let histogram = if served { &self.metrics.waited } else { &self.metrics.waited_in_vain };
        histogram.observe(self.since.elapsed().as_secs_f64());
    }
}

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        self.metrics.waiting.dec();
        self.metrics.waiting_seats.sub(count(self.seats));
    }
}

/// Numbers of seats are far below the limit of the type.
fn count(seats: u64) -> i64 {
    i64::try_from(seats).unwrap_or(i64::MAX)
}
