//! Kills and reconciliation requests, repeated until they take effect.

use std::{collections::BTreeMap, time::Duration};

use kernel_model::{
    ids::{AgentId, TaskId},
    scheduler::Call,
    task::{Reason, TaskStatus},
    time::Time,
};

use super::SchedulerMachine;
use crate::scheduler::{TaskPhase, observe};

/// How long after its grace period a kill without effect is repeated.
const KILL_AGAIN: Duration = Duration::from_secs(15);
/// How long after an unanswered reconciliation request it is repeated.
const ASK_AGAIN: Duration = Duration::from_secs(5);
/// Upstream's default grace period, in seconds.
const GRACE_DEFAULT: i64 = 30;
/// How long after an agent has joined all tasks are reconciled, so that agents that join one after the other share one answer;
/// and how long at most while agents keep joining.
const RECONCILE_AFTER: Duration = Duration::from_secs(5);
const RECONCILE_AFTER_MAX: Duration = Duration::from_secs(60);

/// Tasks that no Pod accounts for and that were told to end, with their agents if known, and when that was last.
pub(super) type UnwantedTasks = BTreeMap<Box<str>, BTreeMap<Option<AgentId>, Time>>;

/// When all tasks are reconciled because agents have joined.
#[derive(Debug, Clone, Copy)]
pub(super) struct DueReconciliation {
    at: Time,
    latest: Time,
}

fn seconds(grace: i64) -> Duration {
    Duration::from_secs(u64::try_from(grace).unwrap_or(0))
}

impl SchedulerMachine {
    /// Kills the task of a Pod that is being deleted, and again whenever its grace period is shortened.
    pub(super) fn kill_if_deleted(&mut self, uid: &str) {
        let Some(state) = self.pods.by_uid.get_mut(uid) else { return };
        if state.row.deletion.is_none() || !state.phase.has_task() || state.row.phase.is_terminal() {
            return;
        }
        state.set_phase(TaskPhase::Ending);
        let grace = state.row.header().deletion_grace_period_seconds.unwrap_or(GRACE_DEFAULT);
        if state.killed.is_some_and(|(_, sent)| sent <= grace) {
            return;
        }
        state.killed = Some((self.now, grace));
        let agent_id = state.agent_id.clone();
        self.call(Call::Kill { task_id: TaskId::from(uid), agent_id, grace: Some(seconds(grace)) });
    }

    /// Kills a task that no Pod accounts for. The kill may be lost, and once the task's updates are acknowledged nothing would
    /// tell that it runs; so the kernel is asked about it until it says that it has ended.
    pub(super) fn kill_unwanted(&mut self, uid: &str, agent_id: Option<AgentId>) {
        self.unwanted.entry(uid.into()).or_default().insert(agent_id.clone(), self.now);
        self.call(Call::Kill { task_id: TaskId::from(uid), agent_id, grace: Some(Duration::ZERO) });
    }

    /// What the kernel reports of a task may settle what became of an unwanted one.
    pub(super) fn settle_unwanted(&mut self, status: &TaskStatus) {
        let uid = status.task_id.as_str();
        let Some(places) = self.unwanted.get_mut(uid) else { return };
        let ended = observe(status).state().is_some_and(|state| state.is_terminal());
        let answers = status.reason == Some(Reason::Reconciliation);
        let agent = status.agent_id.as_ref();
        places.retain(|on, _| {
            let settled = match on {
                // If it goes on, it is known where from now on.
                None => ended || agent.is_some(),
                // The kernel has the task on another agent, hence not on this one.
                Some(on) if agent.is_some_and(|agent| agent != on) => answers,
                Some(_) => ended,
            };
            !settled
        });
        if places.is_empty() {
            self.unwanted.remove(uid);
        }
    }

    /// An agent has joined. It may run tasks of Pods that were deleted while it was away, of which this process knows nothing.
    pub(super) fn reconcile_soon(&mut self) {
        let (at, latest) = (self.now + RECONCILE_AFTER, self.now + RECONCILE_AFTER_MAX);
        let due = self.reconcile_all.get_or_insert(DueReconciliation { at, latest });
        due.at = at.min(due.latest);
    }

    /// Asks about unwanted tasks that nothing was heard of, and about all tasks after agents have joined.
    pub(super) fn look_for_unwanted(&mut self) {
        if self.framework_id.is_none() {
            return;
        }
        let now = self.now;
        let mut tasks = Vec::new();
        for (uid, places) in &mut self.unwanted {
            for (agent_id, asked_at) in places.iter_mut().filter(|(_, at)| now >= **at + KILL_AGAIN) {
                *asked_at = now;
                tasks.push((TaskId::from(&**uid), agent_id.clone()));
            }
        }
        if !tasks.is_empty() {
            self.call(Call::Reconcile { tasks });
        }
        if self.reconcile_all.is_some_and(|due| now >= due.at) {
            self.reconcile_all = None;
            self.call(Call::Reconcile { tasks: Vec::new() });
        }
    }

    pub(super) fn repeat_kills(&mut self) {
        let now = self.now;
        let due = |(at, grace): (_, i64)| now >= at + KILL_AGAIN + seconds(grace);
        let again: Vec<Box<str>> = self
            .pods
            .by_uid
            .iter()
            .filter(|(_, pod)| pod.killed.is_some_and(due))
            .map(|(uid, _)| uid.clone())
            .collect();
        for uid in again {
            if let Some(state) = self.pods.by_uid.get_mut(&uid) {
                state.killed = None;
            }
            self.kill_if_deleted(&uid);
        }
    }

    /// Asks the kernel whether it has the task, first at the agent where it was intended to run.
    pub(super) fn ask_about(&mut self, uid: &str) {
        let Some(state) = self.pods.by_uid.get_mut(uid) else { return };
        if state.phase == TaskPhase::Unscheduled && state.row.phase.is_terminal() {
            return;
        }
        state.set_phase(TaskPhase::Requested);
        self.occupy(uid);
        self.sort_in(uid);
        self.ask(uid);
    }

    /// Requests reconciliation of a Pod's task.
    pub(super) fn ask(&mut self, uid: &str) {
        let questions: Vec<_> = self.question(uid).into_iter().collect();
        if !questions.is_empty() {
            self.call(Call::Reconcile { tasks: questions });
        }
    }

    pub(super) fn question(&mut self, uid: &str) -> Option<(TaskId, Option<AgentId>)> {
        self.framework_id.as_ref()?;
        // A refused launch does not tell which agent has the task.
        let refused = self.pods.by_uid.get(uid)?.refused.is_some();
        let intended = || self.journal.agent_of(uid).map(AgentId::from);
        let agent = if refused { None } else { intended().or_else(|| self.agent_of_pod(uid)) };
        self.pods.by_uid.get_mut(uid)?.asked_at = Some(self.now);
        Some((TaskId::from(uid), agent))
    }

    /// Repeats unanswered reconciliation requests and kills.
    pub(super) fn repeat_questions(&mut self) {
        let now = self.now;
        let again: Vec<Box<str>> = self
            .pods
            .by_uid
            .iter()
            .filter(|(_, pod)| pod.phase == TaskPhase::Requested && pod.is_unsettled())
            .filter(|(_, pod)| pod.asked_at.is_none_or(|at| now >= at + ASK_AGAIN))
            .map(|(uid, _)| uid.clone())
            .collect();
        let questions: Vec<_> = again.iter().filter_map(|uid| self.question(uid)).collect();
        if !questions.is_empty() {
            self.call(Call::Reconcile { tasks: questions });
        }
    }
}
