//! Rejects Pods that a client bound to a node which can never run them. They fail as if the kubelet had rejected
//! them.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::status_updates::InflightWrite;
use super::{PodEdit, SchedulerMachine, Send, StatusWrite, Write};
use crate::controllers::{EventRecord, EventSource, Target, served};
use crate::rows::{Phase, Pod};
use crate::scheduler::{PendingPod, TaskPhase, plugins::node_admission};

impl SchedulerMachine {
    /// Removes the Pods that are rejected from the pending ones. Of several Pods for one node, later ones do not
    /// count against earlier ones, and rejected ones do not count at all.
    pub(super) fn without_rejected(&mut self, mut pending: Vec<PendingPod>) -> Vec<PendingPod> {
        let mut by_node: BTreeMap<&str, Vec<&PendingPod>> = BTreeMap::new();
        for pod in &pending {
            if let Some(node) = pod.bound_to() {
                by_node.entry(node).or_default().push(pod);
            }
        }
        let mut over: BTreeSet<Box<str>> = BTreeSet::new();
        for pods in by_node.values() {
            for (at, pod) in pods.iter().enumerate() {
                let (earlier, later) = (&pods[..at], &pods[at + 1..]);
                let ended = earlier.iter().filter(|other| over.contains(other.uid()));
                let mut aside: Vec<Arc<Pod>> = ended.chain(later).map(|other| other.pod.clone()).collect();
                aside.extend(self.not_admitted(pod, pods));
                if self.reject(pod, &aside) {
                    over.insert(pod.uid().into());
                }
            }
        }
        if !over.is_empty() {
            pending.retain(|pod| !over.contains(pod.uid()));
        }
        pending
    }

    /// The other Pods of a Pod's node that do not count against it: those whose rejection is not stored yet, and those that were
    /// bound later and have no task, as far as is known. Those in `judged` are left to the caller.
    fn not_admitted(&self, pod: &PendingPod, judged: &[&PendingPod]) -> Vec<Arc<Pod>> {
        let Some(node) = pod.bound_to().and_then(|node| self.node_infos.get(node)) else { return Vec::new() };
        let own = (pod.pod.created, pod.uid());
        let has_no_claim = |other: &&Arc<Pod>| {
            let Some(state) = self.pods.by_uid.get(other.uid()) else { return false };
            let ending = self.inflight.get(other.uid()).is_some_and(InflightWrite::ends_the_task);
            let waits = matches!(state.phase, TaskPhase::Unscheduled | TaskPhase::Requested);
            let later = waits && state.row.phase == Phase::Pending && (other.created, other.uid()) > own;
            ending || state.phase == TaskPhase::Ended || later
        };
        let others = node.pods().iter().filter(|other| judged.iter().all(|of| of.uid() != other.uid()));
        others.filter(has_no_claim).cloned().collect()
    }

    /// Rejects a Pod that was bound by a client if its node can never run it.
    fn reject(&mut self, pod: &PendingPod, aside: &[Arc<Pod>]) -> bool {
        let Some(node) = pod.bound_to() else { return false };
        let Some(node_info) = self.node_infos.get(node) else { return false };
        let Some(state) = self.pods.by_uid.get(pod.uid()) else { return false };
        if state.row.phase != Phase::Pending {
            return false;
        }
        let Some(refusal) = node_admission::refuse(pod, node_info, aside.iter().map(|other| &**other)) else {
            return false;
        };
        let about = Target::of(served("", "pods"), state.row.header());
        // It is no longer pending; its stored status arrives as a change.
        self.queue.remove(pod.uid());
        self.out.send.push(Send::Report(EventRecord {
            about,
            warning: true,
            reason: event_reason(&refusal.reason),
            message: refusal.message.clone(),
            source: EventSource::Component("kubelet"),
        }));
        let end = PodEdit::End {
            succeeded: false,
            reason: refusal.reason.into(),
            message: format!("Pod was rejected: {}", refusal.message).into(),
        };
        let uid: Box<str> = pod.uid().into();
        let write = StatusWrite { key: pod.key(), uid: uid.clone(), edits: vec![end], remove: false };
        let then = Some(TaskPhase::Ended);
        let inflight = InflightWrite::Status { acknowledgement: None, binds: None, removes: false, then };
        self.start_write(uid, inflight);
        self.out.persist.push(Write::Status(Box::new(write)));
        true
    }
}

/// The Event reason of a refusal. All extended resources share one, because their names are unbounded.
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
