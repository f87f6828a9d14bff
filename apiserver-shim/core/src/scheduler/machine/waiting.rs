//! Pending Pods: their back-off, the events that requeue them, and the reasons that are reported.

use std::collections::BTreeSet;
use std::time::Duration;

use kernel_model::ids::AgentId;

use super::binding_cycle::event_source;
use super::launching::NO_OFFER_AFTER;
use super::pods::LateReport;
use super::{SchedulerMachine, Send, Write};
use crate::controllers::{EventRecord, Target, served};
use crate::rows::Key;
use crate::scheduler::queue::Backoff;
use crate::scheduler::{NominatedNode, PendingPod, Report, TaskPhase, held_by_intent};

/// How long a Pod that only lacks an offer waits before this is reported.
const REPORT_NO_OFFER_AFTER: Duration = Duration::from_secs(3);
/// How long a Pod waits for the kernel's answer about an earlier launch before this is reported.
const REPORT_INTENT_AFTER: Duration = Duration::from_secs(3);

impl SchedulerMachine {
    /// Collects the roles with Pods to be tried.
    pub(super) fn count_demand(&mut self) {
        let namespaces: BTreeSet<&str> =
            self.queue.active().map(|pending| pending.pod.header().namespace.as_str()).collect();
        self.pods.roles_waiting = namespaces.into_iter().map(|namespace| self.roles.of(namespace)).collect();
    }

    /// Handles a Pod for which no node was found: it waits for an event or an offer, and the reason is reported. Pods are tried
    /// whenever something may help them, and the reason has counts, which change each time; so each Pod reports as often as
    /// upstream would try it, after a back-off. Offers arrive only while a role is revived, so a Pod that waits for one is retried
    /// after a delay.
    pub(super) fn found_no_node(&mut self, pod: &PendingPod, report: &Report) {
        let now = self.now;
        let role = report.waits_for_offer().then(|| pod.role.clone());
        if let Some(role) = role.as_deref().and_then(|role| self.roles.ask(role, now)) {
            self.out.send.push(Send::Explain { role });
        }
        let Some(state) = self.pods.by_uid.get_mut(pod.uid()) else { return };
        if !report.waits_for_offer() {
            self.queue.unschedulable(pod.uid(), now, report.refused_by);
        } else if now < state.waiting_since + REPORT_NO_OFFER_AFTER {
            return self.queue.retry_at(pod.uid(), now + NO_OFFER_AFTER, report.refused_by);
        } else {
            self.queue.back_off(pod.uid(), now, report.refused_by);
        }
        self.pods.late_reports.insert(pod.uid().into(), LateReport { message: report.to_string(), role });
        self.report_late(pod.uid());
    }

    /// Reports why a Pod is pending if it may report again.
    fn report_late(&mut self, uid: &str) {
        let Some(state) = self.pods.by_uid.get_mut(uid).filter(|state| state.needs_launch()) else {
            self.pods.late_reports.remove(uid);
            return;
        };
        if state.reported_reason.is_some() && self.now < state.next_report {
            return;
        }
        let Some(LateReport { message, role }) = self.pods.late_reports.remove(uid) else { return };
        if state.reported_reason.as_deref() == Some(message.as_str()) {
            return;
        }
        state.reports = state.reports.saturating_add(1);
        state.next_report = self.now + Backoff::default().after(state.reports);
        self.report_waiting(uid, message, role.as_deref(), NominatedNode::Keep);
    }

    /// Reports the reasons that changed soon after others.
    pub(super) fn report_all_late(&mut self) {
        let uids: Vec<Box<str>> = self.pods.late_reports.keys().cloned().collect();
        uids.iter().for_each(|uid| self.report_late(uid));
    }

    /// Reports why a Pod is pending: as an Event, and in its conditions if it is not bound. What the kernel says of a role is
    /// added; it changes often, so that alone is no reason for another report.
    pub(super) fn report_waiting(
        &mut self,
        uid: &str,
        message: String,
        role: Option<&str>,
        nominated: NominatedNode,
    ) {
        let told = role.map(|role| self.roles.told(role)).unwrap_or_default();
        let offers = role.map(|role| self.roles.notes(role).to_vec()).unwrap_or_default();
        let Some(state) = self.pods.by_uid.get_mut(uid) else { return };
        state.reported_reason = Some(message.clone());
        let message = format!("{message}{told}");
        let bound = state.node().is_some();
        let header = state.row.header();
        let key = Key::of(header);
        self.out.send.push(Send::Report(EventRecord {
            about: Target::of(served("", "pods"), header),
            warning: true,
            reason: if bound { "FailedLaunch" } else { "FailedScheduling" },
            message: message.clone(),
            source: event_source(&self.scheduler, &state.row),
        }));
        if !bound {
            self.out.persist.push(Write::Condition { key, message: Some(message), offers, nominated });
        }
    }

    /// Reports Pods that may have been started before a crash and wait for the kernel's answer.
    pub(super) fn report_held_pods(&mut self) {
        let waits = |uid: &&str| {
            self.pods.by_uid.get(*uid).is_some_and(|pod| {
                pod.phase == TaskPhase::Requested
                    && pod.reported_reason.is_none()
                    && self.now >= pod.waiting_since + REPORT_INTENT_AFTER
            })
        };
        let uids: Vec<Box<str>> = self.journal.pods().filter(waits).map(Box::from).collect();
        for uid in uids {
            let Some(agent) = self.journal.agent_of(&uid).map(AgentId::from) else { continue };
            let message = held_by_intent(self.nodes.node_of(&agent).unwrap_or(agent.as_str()));
            self.report_waiting(&uid, message, None, NominatedNode::Keep);
        }
    }
}
