//! Handles a new subscription: loads the previous scheduler's intents and reconciles all tasks with the kernel.

use kernel_model::{ids::AgentId, scheduler::Call};

use super::{SchedulerMachine, Send, Subscribed, Write};
use crate::scheduler::TaskPhase;

/// Records removed with one write. Each write adds one record at most, so that records cannot accumulate.
pub(super) const REMOVED_MAX: usize = 64;

impl SchedulerMachine {
    pub(super) fn subscribed(&mut self, subscribed: Subscribed) {
        let Subscribed { framework_id, roles, agents, journal } = subscribed;
        self.framework_id = Some(framework_id);
        self.forget_launches();
        self.scheduler.clear_cache();
        self.roles.subscribed(&roles);
        self.nodes.forget_agents();
        agents.into_iter().for_each(|agent| self.agent_changed(agent));
        self.journal.restart();
        journal.iter().for_each(|record| self.journal.load(record));
        self.clear_settled_intents();
        let open: Vec<Box<str>> = self.journal.pods().map(Box::from).collect();
        open.iter().for_each(|uid| self.hold_for_intent(uid));
        self.reconcile_everything();
        self.repeat_holds();
        self.told_demand.clear();
    }

    /// Closes the intents of Pods that are bound as intended, have finished, or were deleted.
    fn clear_settled_intents(&mut self) {
        let is_over = |uid: &&str| {
            self.pods.by_uid.get(*uid).is_none_or(|pod| {
                let bound = pod.node().is_some() && self.is_intended_for(uid, pod.node());
                bound || pod.row.phase.is_terminal()
            })
        };
        let over: Vec<Box<str>> = self.journal.pods().filter(is_over).map(Box::from).collect();
        over.iter().for_each(|uid| self.journal.clear_intent(uid));
    }

    pub(super) fn unsubscribed(&mut self) {
        self.framework_id = None;
        self.forget_launches();
    }

    /// Drops the launches of an earlier subscription; reconciliation replaces their answers.
    fn forget_launches(&mut self) {
        self.offers.clear();
        self.intended.clear();
        self.launched.clear();
        self.bindings.clear();
        self.bindings_due = None;
        let launching: Vec<Box<str>> = self
            .pods
            .by_uid
            .iter_mut()
            .filter(|(_, pod)| matches!(pod.phase, TaskPhase::Intended | TaskPhase::Launched))
            .map(|(uid, pod)| {
                pod.set_phase(TaskPhase::Requested);
                uid.clone()
            })
            .collect();
        launching.iter().for_each(|uid| self.occupy(uid));
    }

    /// A Pod that may have been launched waits for the kernel's answer and occupies its node meanwhile.
    pub(super) fn hold_for_intent(&mut self, uid: &str) {
        let Some(agent) = self.journal.agent_of(uid).map(AgentId::from) else { return };
        let node = self.nodes.node_of(&agent).map(Box::<str>::from);
        let Some(state) = self.pods.by_uid.get_mut(uid) else { return };
        state.set_phase(TaskPhase::Requested);
        state.agent_id = Some(agent);
        if node.is_some() && state.occupies.is_none() {
            self.occupy_node(uid, node);
        }
        self.sort_in(uid);
    }

    /// Requests reconciliation of all tasks, and of every Pod that may have one.
    fn reconcile_everything(&mut self) {
        self.call(Call::Reconcile { tasks: Vec::new() });
        let mut open = Vec::new();
        for (uid, pod) in &mut self.pods.by_uid {
            let may_have = pod.node().is_some() || pod.phase != TaskPhase::Unscheduled;
            if may_have && pod.is_unsettled() {
                pod.set_phase(TaskPhase::Requested);
                // Unacknowledged updates are sent again.
                pod.deferred.clear();
                // A new master may not know all tasks yet.
                pod.refused = None;
                open.push(uid.clone());
            }
        }
        for write in self.inflight.values_mut() {
            write.forget_updates();
        }
        open.iter().for_each(|uid| self.sort_in(uid));
        let questions: Vec<_> = open.iter().filter_map(|uid| self.question(uid)).collect();
        if !questions.is_empty() {
            self.out.send.push(Send::Call(Call::Reconcile { tasks: questions }));
        }
    }

    /// Removes obsolete records if no launch can take their removal along.
    pub(super) fn remove_spent_intents(&mut self) {
        if self.journal.has_spent() {
            let numbers = self.journal.take_spent(REMOVED_MAX);
            self.out.persist.push(Write::RemoveIntents(numbers));
        }
    }
}
