//! The `workqueue_*` metrics of the controllers' queues, read at each scrape. Names and buckets are client-go's.

use std::time::Duration;

use prometheus::core::Collector;
use prometheus::proto::MetricType;

use super::stats::Durations;
use crate::controllers::QueueMetrics;
use crate::metrics::families::{Family, FamilyOptions, Scraped};

const fn family(name: &'static str, help: &'static str, kind: MetricType) -> FamilyOptions {
    FamilyOptions { name, help, labels: &["name"], kind }
}

const DEPTH: FamilyOptions = family("workqueue_depth", "Current depth of workqueue", MetricType::GAUGE);
const ADDS: FamilyOptions =
    family("workqueue_adds_total", "Total number of adds handled by workqueue", MetricType::COUNTER);
const RETRIES: FamilyOptions =
    family("workqueue_retries_total", "Total number of retries handled by workqueue", MetricType::COUNTER);
const QUEUE_DURATION: FamilyOptions = family(
    "workqueue_queue_duration_seconds",
    "How long in seconds an item stays in workqueue before being requested.",
    MetricType::HISTOGRAM,
);
const WORK_DURATION: FamilyOptions = family(
    "workqueue_work_duration_seconds",
    "How long in seconds processing an item from workqueue takes.",
    MetricType::HISTOGRAM,
);
const UNFINISHED: FamilyOptions = family(
    "workqueue_unfinished_work_seconds",
    "How many seconds of work has done that is in progress and hasn't been observed by work_duration. Large values indicate stuck threads. One can deduce the number of stuck threads by observing the rate at which this increases.",
    MetricType::GAUGE,
);
const LONGEST: FamilyOptions = family(
    "workqueue_longest_running_processor_seconds",
    "How many seconds has the longest running processor for workqueue been running.",
    MetricType::GAUGE,
);

/// The metrics of these queues; the label `name` is the controller's name.
pub fn workqueue_collector(queues: QueueMetrics) -> impl Collector {
    let all = [DEPTH, ADDS, RETRIES, QUEUE_DURATION, WORK_DURATION, UNFINISHED, LONGEST];
    Scraped::new(&all, move || {
        let [mut depth, mut adds, mut retries, mut queued, mut worked, mut unfinished, mut longest] =
            all.map(Family::new);
        for (name, stats) in queues.stats() {
            depth.add(&[name], stats.depth as f64);
            adds.add(&[name], stats.adds as f64);
            retries.add(&[name], stats.retries as f64);
            add_durations(&mut queued, name, &stats.queue_duration);
            add_durations(&mut worked, name, &stats.work_duration);
            unfinished.add(&[name], stats.unfinished.as_secs_f64());
            longest.add(&[name], Duration::as_secs_f64(&stats.longest_running));
        }
        vec![depth, adds, retries, queued, worked, unfinished, longest]
    })
}

fn add_durations(family: &mut Family, name: &str, durations: &Durations) {
    family.add_histogram(&[name], durations.buckets(), (durations.count(), durations.sum().as_secs_f64()));
}
