//! The requests of the node's Pods, for resizes in place.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use executor_core::{
    action::ResizeRefusal,
    resources::{self, Requests},
};
use k8s_openapi::{
    api::core::v1::{Node, Pod},
    apimachinery::pkg::api::resource::Quantity,
};

use super::context::NodeContext;

/// What the Pods of the node have been allocated, by UID.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    pods: Mutex<BTreeMap<String, Allocation>>,
}

/// What one Pod has been allocated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Allocation {
    requests: Requests,
    /// Whether its CPUs are revocable. These and the ordinary CPUs of a node are two amounts.
    is_revocable: bool,
}

impl Allocation {
    fn of(pod: &Pod) -> Self {
        Self { requests: resources::requests(pod), is_revocable: resources::is_revocable(pod) }
    }

    /// What of it takes room from Pods with revocable CPUs, or from those with ordinary ones.
    fn beside(&self, is_revocable: bool) -> Requests {
        match self.is_revocable == is_revocable {
            true => self.requests,
            false => Requests { cpu_milli: 0, ..self.requests },
        }
    }
}

impl Ledger {
    fn pods(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Allocation>> {
        self.pods.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn set(&self, uid: &str, pod: &Pod) {
        self.pods().insert(uid.to_owned(), Allocation::of(pod));
    }

    pub fn remove(&self, uid: &str) {
        self.pods().remove(uid);
    }

    /// Allocates the requests of a Pod if the node has room beside the others. Returns what it had before.
    fn allocate(
        &self,
        uid: &str,
        wanted: Allocation,
        capacity: Requests,
    ) -> Result<Option<Allocation>, ResizeRefusal> {
        let mut pods = self.pods();
        let others = pods.iter().filter(|(other, _)| *other != uid).map(|(_, allocation)| allocation);
        let used = others.fold(Requests::default(), |sum, other| sum + other.beside(wanted.is_revocable));
        resources::fits(wanted.requests, used, capacity)?;
        Ok(pods.insert(uid.to_owned(), wanted))
    }

    /// Takes an allocation back that the kernel did not grant, if the Pod is still here.
    fn take_back(&self, uid: &str, before: Option<Allocation>) {
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
    let wanted = Allocation::of(pod);
    let before = context.ledger.allocate(uid, wanted, allocatable(&node, wanted.is_revocable))?;
    let granted = context.task_resources.hold(uid, wanted.requests).await;
    if granted.is_err() {
        context.ledger.take_back(uid, before);
    }
    granted
}

/// The annotation of a Node with its allocatable revocable CPUs; the status has whole ones only.
const REVOCABLE_CPU_ANNOTATION: &str = "catamaran.dev/revocable-cpu";

/// What a node has for Pods, with revocable CPUs or with ordinary ones.
fn allocatable(node: &Node, is_revocable: bool) -> Requests {
    let allocatable = node.status.as_ref().and_then(|status| status.allocatable.as_ref());
    let amount = |resource: &str| allocatable.and_then(|list| list.get(resource));
    let annotations = node.metadata.annotations.as_ref();
    let revocable = || annotations.and_then(|all| all.get(REVOCABLE_CPU_ANNOTATION)).cloned().map(Quantity);
    let cpu = if is_revocable { revocable() } else { amount("cpu").cloned() };
    Requests {
        cpu_milli: cpu.as_ref().and_then(resources::milli).unwrap_or(0),
        memory_bytes: amount("memory").and_then(resources::units).unwrap_or(0).into(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(cpu: &str, revocable: bool) -> Pod {
        let annotations = if revocable { json!({ "catamaran.dev/revocable": "true" }) } else { json!({}) };
        let requests = json!({ "cpu": cpu, "memory": "100" });
        let containers = json!([{ "name": "c", "resources": { "requests": requests } }]);
        let pod = json!({ "metadata": { "annotations": annotations }, "spec": { "containers": containers } });
        serde_json::from_value(pod).unwrap()
    }

    fn node(revocable: &str) -> Node {
        let allocatable = json!({ "cpu": "3300m", "memory": "1000", "catamaran.dev/revocable-cpu": "4" });
        let annotations = json!({ "catamaran.dev/revocable-cpu": revocable });
        let node =
            json!({ "metadata": { "annotations": annotations }, "status": { "allocatable": allocatable } });
        serde_json::from_value(node).unwrap()
    }

    /// The verdict about a Pod beside an ordinary one with 3 CPUs and a revocable one with 1 CPU.
    fn verdict(cpu: &str, revocable: bool, node: &Node) -> String {
        let ledger = Ledger::default();
        ledger.set("plain", &pod("3", false));
        ledger.set("revocable", &pod("1", true));
        let wanted = Allocation::of(&pod(cpu, revocable));
        match ledger.allocate("u", wanted, allocatable(node, revocable)) {
            Ok(_) => "fits".to_owned(),
            Err(refusal) => format!("{}: {}", refusal.reason(), refusal.message()),
        }
    }

    #[test]
    fn resizes_are_judged_by_the_cpus_that_the_pod_has() {
        let four = node("4500m");
        assert_eq!(verdict("3500m", true, &four), "fits");
        assert_eq!(verdict("300m", false, &four), "fits");
        let no_room =
            "Deferred: Node didn't have enough resource: cpu, requested: 3501, used: 1000, capacity: 4500";
        assert_eq!(verdict("3501m", true, &four), no_room);
        let never = "Infeasible: Node didn't have enough capacity: cpu, requested: 4501, capacity: 4500";
        assert_eq!(verdict("4501m", true, &four), never);
        let no_room =
            "Deferred: Node didn't have enough resource: cpu, requested: 301, used: 3000, capacity: 3300";
        assert_eq!(verdict("301m", false, &four), no_room);
        let never = "Infeasible: Node didn't have enough capacity: cpu, requested: 3500, capacity: 3300";
        assert_eq!(verdict("3500m", false, &four), never);
        let none = "Infeasible: Node didn't have enough capacity: cpu, requested: 1, capacity: 0";
        assert_eq!(verdict("1m", true, &node("")), none);
    }
}
