//! The requests of the node's Pods, for resizes in place.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use executor_core::{
    action::ResizeRefusal,
    resources::{self, Requests},
};
use k8s_openapi::api::core::v1::{Node, Pod};

use super::context::NodeContext;

/// What the Pods of the node have been allocated, by UID.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    pods: Mutex<BTreeMap<String, Requests>>,
}

impl Ledger {
    fn pods(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Requests>> {
        self.pods.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn set(&self, uid: &str, pod: &Pod) {
        self.pods().insert(uid.to_owned(), resources::requests(pod));
    }

    pub fn remove(&self, uid: &str) {
        self.pods().remove(uid);
    }

    /// Allocates the requests of a Pod if the node has room beside the others. Returns what it had before.
    fn allocate(
        &self,
        uid: &str,
        wanted: Requests,
        capacity: Requests,
    ) -> Result<Option<Requests>, ResizeRefusal> {
        let mut pods = self.pods();
        let others = pods.iter().filter(|(other, _)| *other != uid).map(|(_, requests)| requests);
        let used = others.fold(Requests::default(), |sum, requests| Requests {
            cpu_milli: sum.cpu_milli + requests.cpu_milli,
            memory_bytes: sum.memory_bytes + requests.memory_bytes,
        });
        resources::fits(wanted, used, capacity)?;
        Ok(pods.insert(uid.to_owned(), wanted))
    }

    /// Takes an allocation back that the kernel did not grant, if the Pod is still here.
    fn take_back(&self, uid: &str, before: Option<Requests>) {
        if let (Some(before), Some(now)) = (before, self.pods().get_mut(uid)) {
            *now = before;
        }
    }
}

/// Checks whether the node has room for a Pod with new requests, beside its other Pods and beside the tasks of all frameworks,
/// and allocates them.
pub(crate) async fn check_resize(context: &NodeContext, pod: &Pod) -> Result<(), ResizeRefusal> {
    let node = context.api.node(&context.config.node_name).await;
    let node = match node {
        Ok(Some(node)) => node,
        Ok(None) => return Err(ResizeRefusal::Deferred("the node does not exist".to_owned())),
        Err(error) => return Err(ResizeRefusal::Deferred(format!("cannot read the node: {error}"))),
    };
    let uid = pod.metadata.uid.as_deref().unwrap_or_default();
    let wanted = resources::requests(pod);
    let before = context.ledger.allocate(uid, wanted, allocatable(&node))?;
    let granted = context.task_resources.hold(uid, wanted).await;
    if granted.is_err() {
        context.ledger.take_back(uid, before);
    }
    granted
}

fn allocatable(node: &Node) -> Requests {
    let allocatable = node.status.as_ref().and_then(|status| status.allocatable.as_ref());
    let amount = |resource: &str| allocatable.and_then(|list| list.get(resource));
    Requests {
        cpu_milli: amount("cpu").and_then(resources::milli).unwrap_or(0),
        memory_bytes: amount("memory").and_then(resources::units).unwrap_or(0).into(),
    }
}
