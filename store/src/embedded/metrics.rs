//! Metrics of the embedded store.

use exposition::constant;
use prometheus::core::Collector;
use prometheus::{Histogram, HistogramOpts, IntCounter};

/// The buckets of etcd's `etcd_disk_wal_fsync_duration_seconds`, from 1 ms to 8 s.
const SECONDS: &[f64] =
    &[0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.256, 0.512, 1.024, 2.048, 4.096, 8.192];

/// What the committer counts. Clones share.
#[derive(Clone, Debug)]
pub(super) struct CommitMetrics {
    /// One sample per group: the write of its batch and one fdatasync.
    pub(super) fsyncs: Histogram,
    /// The transactions of those groups, conflicts included.
    pub(super) transactions: IntCounter,
}

impl CommitMetrics {
    pub(super) fn new() -> CommitMetrics {
        let fsyncs = HistogramOpts::new(
            "catamaran_store_fsync_duration_seconds",
            "Time to write one group of transactions to the embedded store and to sync it to disk.",
        );
        let fsyncs = constant(Histogram::with_opts(fsyncs.buckets(SECONDS.to_vec())));
        let transactions = constant(IntCounter::new(
            "catamaran_store_transactions_total",
            "Transactions that were evaluated in groups that the embedded store synced to disk.",
        ));
        CommitMetrics { fsyncs, transactions }
    }

    pub(super) fn collectors(&self) -> Vec<Box<dyn Collector>> {
        vec![Box::new(self.fsyncs.clone()), Box::new(self.transactions.clone())]
    }
}
