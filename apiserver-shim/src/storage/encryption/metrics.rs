//! Metrics of encryption at rest, under upstream's names.

use exposition::constant;
use prometheus::core::Collector;
use prometheus::{IntCounterVec, Opts};
use shim_core::encryption::Provider;

/// What is counted. Clones share.
#[derive(Clone, Debug)]
pub(super) struct EncryptionMetrics {
    transformations: IntCounterVec,
    reloads: IntCounterVec,
}

/// Which way a value goes.
#[derive(Clone, Copy, Debug)]
pub(super) enum Direction {
    ToStorage,
    FromStorage,
}

impl EncryptionMetrics {
    pub(super) fn new() -> EncryptionMetrics {
        let transformations = Opts::new(
            "apiserver_storage_transformation_operations_total",
            "Values that were encrypted or decrypted, by resource, direction, provider and result.",
        );
        let reloads = Opts::new(
            "apiserver_encryption_config_controller_automatic_reloads_total",
            "Reloads of the encryption configuration after a change of its file, by result.",
        );
        let labels = ["resource", "transformation_type", "transformer_prefix", "status"];
        EncryptionMetrics {
            transformations: constant(IntCounterVec::new(transformations, &labels)),
            reloads: constant(IntCounterVec::new(reloads, &["status", "apiserver_id_hash"])),
        }
    }

    /// Counts a value of a resource; `provider` is the one that was used, if any could be.
    pub(super) fn transformed(
        &self,
        (group, resource): (&str, &str),
        direction: Direction,
        provider: Option<&Provider>,
        succeeded: bool,
    ) {
        let resource = if group.is_empty() { resource.to_owned() } else { format!("{resource}.{group}") };
        let prefix = match (direction, provider) {
            (Direction::FromStorage, Some(Provider::Identity)) => "identity",
            (Direction::ToStorage, Some(Provider::Identity)) => "",
            (_, Some(Provider::Keys(cipher, _))) => cipher.prefix(),
            (_, None) => "unknown",
        };
        let direction = match direction {
            Direction::ToStorage => "to_storage",
            Direction::FromStorage => "from_storage",
        };
        let status = if succeeded { "OK" } else { "Unknown" };
        self.transformations.with_label_values(&[resource.as_str(), direction, prefix, status]).inc();
    }

    /// Counts a reload.
    pub(super) fn reloaded(&self, succeeded: bool) {
        let status = if succeeded { "success" } else { "failure" };
        self.reloads.with_label_values(&[status, ""]).inc();
    }

    pub(super) fn collectors(&self) -> Vec<Box<dyn Collector>> {
        vec![Box::new(self.transformations.clone()), Box::new(self.reloads.clone())]
    }
}
