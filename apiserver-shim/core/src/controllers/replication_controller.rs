//! The controller of ReplicationControllers: the ReplicaSet controller's decisions for the older kind.

use super::{
    Controller, Input, Keys, ObjectChange, ObjectName, Plan, View,
    replica_set::{ReplicaOwner, ReplicaSpec, keys_of_change, reconcile},
};
use crate::rows::{Pod, ReplicationController};

/// Scales ReplicationControllers.
pub struct ReplicationManager;

impl ReplicaOwner for ReplicationController {
    const API_VERSION: &'static str = "v1";
    const KIND: &'static str = "ReplicationController";
    const COMPONENT: &'static str = "replication-controller";
    const REPORTS_TERMINATING: bool = false;

    fn spec(&self) -> ReplicaSpec<'_> {
        ReplicaSpec {
            replicas: self.replicas,
            selector: &self.selector,
            template: &self.template,
            min_ready_seconds: self.min_ready_seconds,
            status: &self.status,
        }
    }
}

impl Controller for ReplicationManager {
    const NAME: &'static str = "replicationcontroller-controller";
    const SERVICE_ACCOUNT: &'static str = "replication-controller";

    fn inputs(&self) -> Vec<Input> {
        vec![Input::views::<ReplicationController>(), Input::views::<Pod>()]
    }

    fn keys(&self, change: &ObjectChange, view: &View<'_>, keys: &mut Keys) {
        keys_of_change::<ReplicationController>(change, view, keys);
    }

    fn reconcile(&self, view: &View<'_>, key: &ObjectName) -> Plan {
        reconcile::<ReplicationController>(view, key)
    }
}

#[cfg(test)]
#[path = "replication_controller/tests.rs"]
mod tests;
