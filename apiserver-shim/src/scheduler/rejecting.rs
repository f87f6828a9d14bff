//! Pods whose node was chosen by hand, and that can never run there: they end, as they would by a kubelet's word.

use std::collections::{BTreeMap, BTreeSet};

use shim_core::controllers::{EventRecord, Target, served};
use shim_core::rows::Phase;
use shim_core::scheduler::{PendingPod, plugins::admission};

use super::jobs::Done;
use super::{Runner, writes};

impl Runner {
    /// The Pods to decide about, without those that this ends. Of several that wait for one node the later do not count
    /// against the earlier, and those that end count no more.
    pub(crate) fn without_rejected(&mut self, mut pending: Vec<PendingPod>) -> Vec<PendingPod> {
        let mut by_node: BTreeMap<&str, Vec<&PendingPod>> = BTreeMap::new();
        for pod in &pending {
            if let Some(node) = &pod.bound_to {
                by_node.entry(node).or_default().push(pod);
            }
        }
        let mut over: BTreeSet<Box<str>> = BTreeSet::new();
        for pods in by_node.values() {
            for (at, pod) in pods.iter().enumerate() {
                let (earlier, later) = (&pods[..at], &pods[at + 1..]);
                let ended = earlier.iter().filter(|other| over.contains(&other.uid));
                let aside: Vec<&PendingPod> = ended.chain(later).copied().collect();
                if self.reject(pod, &aside) {
                    over.insert(pod.uid.clone());
                }
            }
        }
        if !over.is_empty() {
            pending.retain(|pod| !over.contains(&pod.uid));
        }
        pending
    }

    /// Ends a Pod whose node was chosen by hand and can never take it, as a kubelet would.
    fn reject(&mut self, pod: &PendingPod, aside: &[&PendingPod]) -> bool {
        let Some(node) = &pod.bound_to else { return false };
        let Some(machine) = self.machines.index(node).map(|i| &self.machines.all[i]) else {
            return false;
        };
        let Some(state) = self.pods.by_uid.get(&pod.uid) else { return false };
        if state.row.phase != Phase::Pending {
            return false;
        }
        let Some(refusal) = admission::refuse(pod, machine, aside.iter().copied()) else { return false };
        let about = Target::of(served("", "pods"), state.row.header());
        let (registry, key, uid) = (self.registry.clone(), pod.key.clone(), pod.uid.clone());
        // It waits no more; what the store says of it comes back as a change.
        self.pods.waiting.remove(&pod.uid);
        let (reason, message) = (refusal.reason, refusal.message);
        self.events.record(EventRecord {
            about,
            warning: true,
            reason: event_reason(&reason),
            message: message.clone(),
            component: "kubelet",
        });
        self.jobs.start(async move {
            let message = format!("Pod was rejected: {message}");
            let result = writes::end(&registry, &key, &uid, false, &reason, &message).await;
            Done::Rejected { uid, written: result.is_ok() }
        });
        true
    }
}

/// The Event's reason for a refusal: of extended resources there are too many to have one each.
fn event_reason(reason: &str) -> &'static str {
    match reason {
        "OutOfpods" => "OutOfpods",
        "OutOfcpu" => "OutOfcpu",
        "OutOfmemory" => "OutOfmemory",
        "OutOfephemeral-storage" => "OutOfephemeral-storage",
        "NodeAffinity" => "NodeAffinity",
        "NodePorts" => "NodePorts",
        _ => "OutOfResources",
    }
}
