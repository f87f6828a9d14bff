//! Kills and reconciliation requests, repeated until they take effect.

use std::time::Duration;

use kernel_model::{
    ids::{AgentId, TaskId},
    scheduler::Call,
};

use super::SchedulerMachine;
use crate::scheduler::TaskPhase;

/// How long after its grace period a kill without effect is repeated.
const KILL_AGAIN: Duration = Duration::from_secs(15);
/// How long after an unanswered reconciliation request it is repeated.
const ASK_AGAIN: Duration = Duration::from_secs(5);
/// Upstream's default grace period, in seconds.
const GRACE_DEFAULT: i64 = 30;

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
        let agent = state.agent_id.clone();
        self.kill(uid, agent, grace);
    }

    pub(super) fn kill(&mut self, uid: &str, agent_id: Option<AgentId>, grace: i64) {
        self.call(Call::Kill { task_id: TaskId::from(uid), agent_id, grace: Some(seconds(grace)) });
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
