//! Carries out preemptions. First the kernel holds what the Pod needs on the node for the Pod's role, so that no framework takes
//! what becomes free. Then the victims are evicted. The Pod stays nominated to the node until it is bound, or no longer wants one.

use std::{borrow::Cow, sync::Arc, time::Duration};

use kernel_model::{
    ids::{AgentId, TaskId},
    resources::Resource,
    roles::Role,
    scheduler::{Call, Hold},
};
use memchr::memmem;
use shim_model::access;

use super::binding_cycle::event_source;
use super::launching::kernel_resources;
use super::{CallOutcome, PreemptWrite, SchedulerMachine, Send, Write};
use crate::controllers::{EventRecord, Target, served};
use crate::rows::{Key, Pod};
use crate::scheduler::{NominatedNode, PendingPod, Preemption, Report, preemption::Victims};

/// How long the kernel holds resources beyond the grace period of the victims: the time to remove their containers and to launch.
const HOLD_AFTER_GRACE: Duration = Duration::from_secs(60);
/// Upstream's default grace period.
const GRACE_DEFAULT: Duration = Duration::from_secs(30);

/// A preemption that waits for the kernel's hold.
#[derive(Debug)]
pub(super) struct PendingPreemption {
    victims: Vec<Box<str>>,
    report: Arc<Report>,
}

/// The nomination that was written last for a Pod.
#[derive(Debug)]
pub(super) struct WrittenNomination {
    node: Box<str>,
    /// Where the kernel holds resources for it.
    agent_id: Option<AgentId>,
}

impl SchedulerMachine {
    /// A cycle has nominated the Pod to the node of these Pods.
    pub(super) fn preempt(&mut self, pod: &PendingPod, victims: &Victims, report: &Arc<Report>) {
        let node: Box<str> = self.node_infos.all()[victims.node].name().into();
        self.queue.unschedulable(pod.uid(), self.now, report.refused_by);
        self.report_waiting(pod.uid(), report.to_string(), None, NominatedNode::Set(node.clone()));
        let grace = |pod: &Arc<Pod>| pod.shape.grace_seconds.map_or(GRACE_DEFAULT, Duration::from_secs);
        let longest = victims.pods.iter().map(grace).max().unwrap_or_default();
        let uids: Vec<Box<str>> = victims.pods.iter().map(|pod| pod.uid().into()).collect();
        self.hold(&pod.pod, &node, &uids, longest + HOLD_AFTER_GRACE);
        let waiting = PendingPreemption { victims: uids, report: report.clone() };
        self.preempting.insert(pod.uid().into(), waiting);
    }

    /// Asks the kernel to hold what the Pod needs on the node.
    fn hold(&mut self, pod: &Pod, node: &str, freed_by: &[Box<str>], length: Duration) {
        let agent_id = self.nodes.agent_of(node).cloned();
        let uid: Box<str> = pod.uid().into();
        let mut written = WrittenNomination { node: node.into(), agent_id: agent_id.clone() };
        let role = self.roles.of(&pod.header().namespace);
        let (Some(agent_id), Ok(role)) = (agent_id, Role::parse(&role)) else {
            written.agent_id = None;
            self.nominated.insert(uid, written);
            return;
        };
        if let Some(before) = self.nominated.insert(uid.clone(), written)
            && before.agent_id.as_ref() != Some(&agent_id)
        {
            self.release(&uid, before);
        }
        let charge = pod.shape.charge();
        let info = self.node_infos.get(node);
        let of_kernel = info.map_or(Cow::Borrowed(&charge), |info| info.charge_of_kernel(&charge));
        let mut resources = kernel_resources(&of_kernel);
        if let Some(info) = info {
            resources.add(Resource::ranges("ports", info.ports.of(&pod.shape.host_ports)));
        }
        let freed_by = freed_by.iter().map(|uid| TaskId::from(&**uid)).collect();
        let hold = Hold { id: (&*uid).into(), agent_id, role, resources, freed_by, length };
        self.out.send.push(Send::Hold { uid, call: Call::Hold(Box::new(hold)) });
    }

    /// Takes the kernel's answer: the victims are evicted, or the nomination ends.
    pub(super) fn hold_answered(&mut self, uid: &str, outcome: CallOutcome) {
        let Some(PendingPreemption { victims, report }) = self.preempting.remove(uid) else { return };
        let Some(state) = self.pods.by_uid.get(uid) else { return };
        let (preemptor, row) = (event_source(&self.scheduler, &state.row), state.row.clone());
        if outcome != CallOutcome::Accepted {
            let why = "the kernel holds nothing for the pod's role: its quota allows no more, or the agent is gone.";
            let report = Report { preemption: Some(Preemption::NotEligible(why)), ..Report::clone(&report) };
            self.node_infos.end_nomination(uid);
            self.nominated.remove(uid);
            return self.report_waiting(uid, report.to_string(), None, NominatedNode::Clear);
        }
        let Some(node) = self.node_infos.nominated_node(uid).map(Box::<str>::from) else { return };
        for victim in victims {
            let Some(state) = self.pods.by_uid.get_mut(&victim) else { continue };
            if state.row.deletion.is_some() || state.evicting {
                // Its graceful deletion has begun already, or is being written.
                continue;
            }
            state.evicting = true;
            let header = state.row.header();
            let message =
                format!("{}: preempting to accommodate a higher priority pod", row.scheduler_name());
            self.out.persist.push(Write::Preempt(Box::new(PreemptWrite {
                key: Key::of(header),
                uid: victim.clone(),
                message,
                event: EventRecord {
                    about: Target::of(served("", "pods"), header),
                    warning: false,
                    reason: "Preempted",
                    message: format!("Preempted by pod {uid} on node {node}"),
                    source: preemptor.clone(),
                },
            })));
        }
    }

    /// Ends the nominations of Pods that are bound, no longer want a node, or have lost their place to others.
    pub(super) fn settle_nominations(&mut self) {
        let lost = |uid: &str| {
            let Some(state) = self.pods.by_uid.get(uid) else { return true };
            let over = state.node().is_some() || !state.may_launch();
            over || self.node_infos.nominated_node(uid).is_none_or(|node| self.node_infos.get(node).is_none())
        };
        let ended: Vec<Box<str>> = (self.nominated.keys()).filter(|uid| lost(uid)).cloned().collect();
        for uid in ended {
            self.preempting.remove(&uid);
            self.node_infos.end_nomination(&uid);
            let Some(nomination) = self.nominated.remove(&uid) else { continue };
            self.release(&uid, nomination);
            let Some(state) = self.pods.by_uid.get_mut(&uid) else { continue };
            if state.node().is_none() && state.row.deletion.is_none() {
                state.reported_reason = None;
                let key = Key::of(state.row.header());
                let (message, nominated) = (None, NominatedNode::Clear);
                self.out.persist.push(Write::Condition { key, message, offers: Vec::new(), nominated });
            }
        }
    }

    fn release(&mut self, uid: &str, nomination: WrittenNomination) {
        if let Some(agent_id) = nomination.agent_id {
            self.call(Call::ReleaseHold { agent_id, id: uid.into() });
        }
    }

    /// A Pod that is nominated to a node comes after a start.
    pub(super) fn nomination_came(&mut self, row: &Arc<Pod>) {
        if row.node.is_some() || memmem::find(row.object.status(), b"\"nominatedNodeName\"").is_none() {
            return;
        }
        let status = row.status_value();
        let node = access::text(&status, &["nominatedNodeName"]);
        if !node.is_empty() {
            self.node_infos.nominate(row, node);
            let written = WrittenNomination { node: node.into(), agent_id: None };
            self.nominated.insert(row.uid().into(), written);
        }
    }

    /// A new subscription: the kernel may have lost what it held.
    pub(super) fn repeat_holds(&mut self) {
        self.preempting.clear();
        let all: Vec<(Box<str>, Box<str>)> =
            self.nominated.iter().map(|(uid, of)| (uid.clone(), of.node.clone())).collect();
        for (uid, node) in all {
            let Some(state) = self.pods.by_uid.get(&uid) else { continue };
            let row = state.row.clone();
            self.hold(&row, &node, &[], HOLD_AFTER_GRACE);
        }
    }
}
