//! The `scheduler_*` metrics: counted by the machine, published by its driver. Names and labels are upstream's.
//!
//! `scheduler_scheduling_attempt_duration_seconds` is missing, because a cycle decides about many Pods and no attempt
//! has a duration of its own. `catamaran_scheduler_cycle_duration_seconds` is the duration of a cycle.

use std::time::Duration;

use prometheus::{Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts};
use shim_core::scheduler::AttemptResult;
use shim_core::scheduler::machine::SchedulerMachine;

use crate::metrics::{Registry, constant, register};

const RESULTS: [AttemptResult; 2] = [AttemptResult::Scheduled, AttemptResult::Unschedulable];
/// Upstream's buckets of scheduling attempts: from 1 ms, doubled fourteen times.
const SECONDS: &[f64] = &[
    0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.256, 0.512, 1.024, 2.048, 4.096, 8.192, 16.384,
];

pub(super) struct SchedulerMetrics {
    /// By profile and result.
    attempts: Vec<[IntCounter; RESULTS.len()]>,
    pending: PendingPods,
    cycles: Histogram,
    /// Pods that were evicted for Pods of higher priority, and for guarantees.
    preempted: [IntCounter; 2],
}

struct PendingPods {
    active: IntGauge,
    backoff: IntGauge,
    unschedulable: IntGauge,
    gated: IntGauge,
}

impl SchedulerMetrics {
    /// Registers the metrics of a machine.
    pub fn new(registry: &Registry, machine: &SchedulerMachine) -> SchedulerMetrics {
        let attempts = constant(IntCounterVec::new(
            Opts::new(
                "scheduler_schedule_attempts_total",
                "Number of attempts to schedule pods, by the result. 'unschedulable' means a pod could not be scheduled, while 'error' means an internal scheduler problem.",
            ),
            &["result", "profile"],
        ));
        let pending = constant(IntGaugeVec::new(
            Opts::new(
                "scheduler_pending_pods",
                "Number of pending pods, by the queue type. 'active' means number of pods in activeQ; 'backoff' means number of pods in backoffQ; 'unschedulable' means number of pods in unschedulablePods that the scheduler attempted to schedule and failed; 'gated' is the number of unschedulable pods that the scheduler never attempted to schedule because they are gated.",
            ),
            &["queue"],
        ));
        let cycles = HistogramOpts::new(
            "catamaran_scheduler_cycle_duration_seconds",
            "Duration of one scheduling cycle, which decides about all active pods.",
        );
        let cycles = constant(Histogram::with_opts(cycles.buckets(SECONDS.to_vec())));
        let preempted = constant(IntCounterVec::new(
            Opts::new(
                "catamaran_scheduler_preempted_pods_total",
                "Number of pods that were evicted for others, by the cause: a pod of higher 'priority', or the 'guarantee' of a role.",
            ),
            &["cause"],
        ));
        register(registry, preempted.clone());
        register(registry, attempts.clone());
        register(registry, pending.clone());
        register(registry, cycles.clone());
        let gauge = |queue: &str| pending.with_label_values(&[queue]);
        SchedulerMetrics {
            attempts: machine
                .profile_names()
                .map(|profile| RESULTS.map(|result| attempts.with_label_values(&[result.as_str(), profile])))
                .collect(),
            pending: PendingPods {
                active: gauge("active"),
                backoff: gauge("backoff"),
                unschedulable: gauge("unschedulable"),
                gated: gauge("gated"),
            },
            cycles,
            preempted: ["priority", "guarantee"].map(|cause| preempted.with_label_values(&[cause])),
        }
    }

    /// Publishes a finished cycle.
    pub fn cycle(&self, machine: &SchedulerMachine, duration: Duration) {
        self.cycles.observe(duration.as_secs_f64());
        let preempted = machine.preempted_pods();
        for (counter, count) in self.preempted.iter().zip([preempted.for_priority, preempted.for_guarantees])
        {
            counter.inc_by(count.saturating_sub(counter.get()));
        }
        let stats = machine.scheduler_stats();
        for (profile, counters) in self.attempts.iter().enumerate() {
            for (result, counter) in RESULTS.into_iter().zip(counters) {
                // The machine's counters start with it, as these do, and only this code publishes them.
                counter.inc_by(stats.attempts(profile, result).saturating_sub(counter.get()));
            }
        }
    }

    /// Publishes the queue lengths.
    pub fn queues(&self, machine: &SchedulerMachine) {
        let lengths = machine.queue_lengths();
        let set = |gauge: &IntGauge, length: usize| gauge.set(i64::try_from(length).unwrap_or(i64::MAX));
        set(&self.pending.active, lengths.active);
        set(&self.pending.backoff, lengths.backoff);
        set(&self.pending.unschedulable, lengths.unschedulable);
        set(&self.pending.gated, lengths.gated);
    }
}
