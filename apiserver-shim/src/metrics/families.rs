//! Metrics whose values are kept elsewhere and read at each scrape.

use std::collections::HashMap;

use prometheus::core::{Collector, Desc};
use prometheus::proto::{Bucket, Counter, Gauge, Histogram, LabelPair, Metric, MetricFamily, MetricType};

use super::constant;

/// The description of a metric.
#[derive(Clone, Copy, Debug)]
pub struct FamilyOptions {
    /// Name of the metric.
    pub name: &'static str,
    /// Text of its `# HELP` line.
    pub help: &'static str,
    /// Names of its labels.
    pub labels: &'static [&'static str],
    /// Its type.
    pub kind: MetricType,
}

/// The samples of one metric.
#[derive(Debug)]
pub struct Family {
    options: FamilyOptions,
    samples: Vec<Metric>,
}

impl Family {
    /// A family without samples; such families are not printed.
    pub fn new(options: FamilyOptions) -> Family {
        Family { options, samples: Vec::new() }
    }

    /// Name of the metric.
    pub fn name(&self) -> &'static str {
        self.options.name
    }

    /// Adds a sample of a gauge or counter. `labels` are the values, in the order of the names.
    pub fn add(&mut self, labels: &[&str], value: f64) {
        let mut metric = self.metric(labels);
        match self.options.kind {
            MetricType::COUNTER => {
                let mut counter = Counter::default();
                counter.set_value(value);
                metric.set_counter(counter);
            }
            _ => {
                let mut gauge = Gauge::default();
                gauge.set_value(value);
                metric.set_gauge(gauge);
            }
        }
        self.samples.push(metric);
    }

    /// Adds a histogram: cumulative bucket counts by upper bound, the count and the sum.
    pub fn add_histogram(
        &mut self,
        labels: &[&str],
        buckets: impl Iterator<Item = (f64, u64)>,
        (count, sum): (u64, f64),
    ) {
        let bucket = |(bound, below): (f64, u64)| {
            let mut bucket = Bucket::default();
            bucket.set_upper_bound(bound);
            bucket.set_cumulative_count(below);
            bucket
        };
        let mut histogram = Histogram::default();
        histogram.set_bucket(buckets.map(bucket).collect());
        histogram.set_sample_count(count);
        histogram.set_sample_sum(sum);
        let mut metric = self.metric(labels);
        metric.set_histogram(histogram);
        self.samples.push(metric);
    }

    fn metric(&self, values: &[&str]) -> Metric {
        assert_eq!(values.len(), self.options.labels.len(), "labels of {}", self.options.name);
        let pair = |(name, value): (&&str, &&str)| {
            let mut pair = LabelPair::default();
            pair.set_name((*name).to_owned());
            pair.set_value((*value).to_owned());
            pair
        };
        let mut pairs: Vec<LabelPair> = self.options.labels.iter().zip(values).map(pair).collect();
        pairs.sort_by(|a, b| a.name().cmp(b.name()));
        Metric::from_label(pairs)
    }

    fn into_proto(self) -> MetricFamily {
        let mut family = MetricFamily::default();
        family.set_name(self.options.name.to_owned());
        family.set_help(self.options.help.to_owned());
        family.set_field_type(self.options.kind);
        family.set_metric(self.samples);
        family
    }
}

/// Metric families that a function fills at each scrape.
pub struct Scraped<F> {
    descs: Vec<Desc>,
    read: F,
}

impl<F: Fn() -> Vec<Family> + Send + Sync> Scraped<F> {
    /// `families` are all that `read` may return.
    pub fn new(families: &[FamilyOptions], read: F) -> Scraped<F> {
        let desc = |family: &FamilyOptions| {
            let labels = family.labels.iter().map(|&label| label.to_owned()).collect();
            constant(Desc::new(family.name.to_owned(), family.help.to_owned(), labels, HashMap::new()))
        };
        Scraped { descs: families.iter().map(desc).collect(), read }
    }
}

impl<F: Fn() -> Vec<Family> + Send + Sync> Collector for Scraped<F> {
    fn desc(&self) -> Vec<&Desc> {
        self.descs.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        (self.read)().into_iter().map(Family::into_proto).collect()
    }
}
