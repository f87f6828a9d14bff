//! Handles added, modified and deleted Pods.

use std::sync::Arc;

use kernel_model::{
    ids::{AgentId, ExecutorId},
    scheduler::Call,
};
use memchr::memmem;
use serde::Deserialize;
use serde_json::{Value, value::RawValue};
use shim_model::access;

use super::SchedulerMachine;
use super::framework::EXECUTOR_ID;
use super::pods::PodState;
use crate::controllers::condition;
use crate::rows::Pod;
use crate::scheduler::TaskPhase;

/// Whether a condition that a readiness gate names has another status: the node counts it for the Pod's readiness.
fn readiness_gates_changed(before: &Pod, row: &Pod) -> bool {
    if memmem::find(row.object.spec(), b"\"readinessGates\"").is_none() {
        return false;
    }
    let spec: Value = serde_json::from_slice(row.object.spec()).unwrap_or_default();
    let (old, new) = (before.status_value(), row.status_value());
    access::list(&spec, &["readinessGates"]).iter().any(|gate| {
        let kind = access::text(gate, &["conditionType"]);
        let status = |of: &Value| condition(of, kind).map(|c| access::text(c, &["status"]).to_owned());
        status(&old) != status(&new)
    })
}

/// Whether the annotations are others: the node shows them to the containers, in volumes and variables.
fn annotations_changed(before: &Pod, row: &Pod) -> bool {
    #[derive(Deserialize)]
    struct Metadata<'a> {
        #[serde(borrow)]
        annotations: Option<&'a RawValue>,
    }
    let has_some = |pod: &Pod| memmem::find(pod.object.metadata(), b"\"annotations\"").is_some();
    if !has_some(before) && !has_some(row) {
        return false;
    }
    let read = |pod: &Pod| {
        let metadata: Option<Metadata<'_>> = serde_json::from_slice(pod.object.metadata()).ok();
        metadata?.annotations.map(|raw| raw.get().to_owned())
    };
    read(before) != read(row)
}

impl SchedulerMachine {
    pub(super) fn pod_changed(&mut self, row: Arc<Pod>) {
        let Some(state) = self.pods.by_uid.get_mut(row.uid()) else {
            return self.pod_came(row);
        };
        if row.revision < state.row.revision {
            return;
        }
        let uid: Box<str> = row.uid().into();
        let before = std::mem::replace(&mut state.row, row.clone());
        if row.node.is_some() {
            state.bound_to = None;
        }
        let bound_now = row.node.is_some() && before.node.is_none();
        // Bound without a task of ours. Either a client bound it and its task is not known yet, or its launch failed
        // and it was deleted before the next. The kernel's answer decides.
        let unsure = row.node.is_some()
            && state.phase == TaskPhase::Unscheduled
            && !row.phase.is_terminal()
            && (bound_now || row.deletion.is_some());
        if unsure {
            state.set_phase(TaskPhase::Requested);
        }
        if row.phase.is_terminal() || (bound_now && self.is_intended_for(&uid, row.node.as_deref())) {
            self.journal.clear_intent(&uid);
        }
        self.update_on_node(&before, &row);
        self.occupy(&uid);
        self.sort_in(&uid);
        if unsure {
            self.ask(&uid);
        }
        let changed = || {
            before.header().generation != row.header().generation
                || before.header().labels != row.header().labels
                || annotations_changed(&before, &row)
                || readiness_gates_changed(&before, &row)
        };
        if row.node.is_some() && row.deletion.is_none() && changed() {
            self.send_to_executor(&uid, &row);
        }
        self.kill_if_deleted(&uid);
        if row.deletion.is_some() && before.deletion.is_none() {
            self.remove_if_ended(&uid);
        }
    }

    fn pod_came(&mut self, row: Arc<Pod>) {
        let uid: Box<str> = row.uid().into();
        // If it was deleted while it finished, the kernel's answer decides whether it can be removed.
        let bound = row.node.is_some() && (!row.phase.is_terminal() || row.deletion.is_some());
        let mut state = PodState::new(row, self.now);
        if bound {
            state.set_phase(TaskPhase::Requested);
            state.unconfirmed = true;
        }
        self.nomination_came(&state.row);
        self.pods.by_uid.insert(uid.clone(), state);
        self.occupy(&uid);
        self.sort_in(&uid);
        if bound {
            self.ask(&uid);
        } else {
            self.hold_for_intent(&uid);
        }
    }

    /// Updates the node's accounting after a change of the Pod's labels or requests.
    fn update_on_node(&mut self, before: &Pod, row: &Arc<Pod>) {
        let node = self.pods.by_uid.get(row.uid()).and_then(|state| state.occupies.clone());
        if let Some(node) = node {
            let kinds = self.node_infos.update_pod(&node, before, row);
            self.node_event(kinds, &node, None);
        }
    }

    pub(super) fn pod_gone(&mut self, uid: &str) {
        self.scheduler.forget_pod(uid);
        self.unreserve(uid);
        let Some(mut state) = self.pods.by_uid.swap_remove(uid) else { return };
        self.journal.clear_intent(uid);
        self.queue.remove(uid);
        if let Some(node) = state.occupies.take() {
            self.vacate(&node, &state.row);
        }
        let launched = matches!(state.phase, TaskPhase::Launched | TaskPhase::Binding);
        if (launched || state.phase.has_task()) && !state.row.phase.is_terminal() {
            // Removed by force, or its node reported the end in the update that removed it; then the kill has no
            // effect.
            self.kill_unwanted(uid, state.agent_id);
        }
    }

    /// Sends the present Pod to the executor that runs it.
    fn send_to_executor(&mut self, uid: &str, row: &Pod) {
        self.message_executor(uid, b"{\"pod\":", &row.object.bytes);
    }

    /// Sends the stored status of a Pod to the executor that runs it, which reports its own if that differs. Once for each Pod
    /// that was bound before this process began: what the executor has reported may be newer than a store that was restored.
    pub(super) fn confirm_status(&mut self, uid: &str) {
        let Some(state) = self.pods.by_uid.get_mut(uid) else { return };
        if std::mem::take(&mut state.unconfirmed) {
            let row = state.row.clone();
            self.message_executor(uid, b"{\"stored\":", &row.object.bytes);
        }
    }

    fn message_executor(&mut self, uid: &str, head: &[u8], object: &[u8]) {
        let Some(agent_id) = self.agent_of_pod(uid) else { return };
        let mut data = Vec::with_capacity(head.len() + object.len() + 1);
        data.extend_from_slice(head);
        data.extend_from_slice(object);
        data.push(b'}');
        let executor_id = ExecutorId::from(EXECUTOR_ID);
        self.call(Call::Message { agent_id, executor_id, data: data.into() });
    }

    /// The agent of the Pod's task, or else of the node that it is bound to. A task on any other agent does not
    /// count.
    pub(super) fn agent_of_pod(&self, uid: &str) -> Option<AgentId> {
        let state = self.pods.by_uid.get(uid)?;
        let here = |agent: &&AgentId| {
            let (at, node) = (self.nodes.node_of(agent), state.node());
            at.is_none() || node.is_none() || at == node
        };
        state.agent_id.as_ref().filter(here).or_else(|| self.nodes.agent_of(state.node()?)).cloned()
    }

    /// Whether the Pod's open intent, if any, is for the agent of this node. The intent of a Pod that a client bound
    /// to another node stays open, because the task may run where it was launched.
    pub(super) fn is_intended_for(&self, uid: &str, node: Option<&str>) -> bool {
        let agent = self.journal.agent_of(uid).map(AgentId::from);
        agent.is_none_or(|agent| self.nodes.node_of(&agent) == node)
    }
}
