//! The life of one task of a built-in executor, and what its end means for its group.

use std::time::Duration;

use bytes::Bytes;
use kernel_model::{
    ids::TaskId,
    task::{Reason, TaskInfo, TaskState},
    time::Time,
};

use super::{
    Action, BuiltinExecutor, KILL_GRACE, LAST_ACKNOWLEDGEMENT_MAX,
    health::{Health, HealthChange, HealthPolicy},
};

/// A task.
#[derive(Debug)]
pub(super) struct Task {
    /// Tasks of one group live and die together.
    group: u64,
    phase: Phase,
    kill_grace: Option<Duration>,
    max_completion_time: Option<Duration>,
    /// Whether its end was asked for.
    killed: bool,
    /// Whether its time was over.
    overtime: bool,
    /// When SIGKILL follows SIGTERM.
    pub(super) kill_at: Option<Time>,
    /// The end of the maximum run time.
    pub(super) complete_by: Option<Time>,
    health: Option<Health>,
    healthy: Option<bool>,
    /// The fields of its statuses that the kernel does not interpret.
    pub(super) extra: Bytes,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Starting,
    Running,
    Ended,
}

impl Task {
    pub(super) fn new(group: u64, info: &TaskInfo) -> Self {
        Self {
            group,
            phase: Phase::Starting,
            kill_grace: info.kill_grace,
            max_completion_time: info.max_completion_time,
            killed: false,
            overtime: false,
            kill_at: None,
            complete_by: None,
            health: None,
            healthy: None,
            extra: Bytes::new(),
        }
    }

    pub(super) fn has_ended(&self) -> bool {
        self.phase == Phase::Ended
    }

    pub(super) fn is_killed(&self) -> bool {
        self.killed
    }

    /// The health that a status shows: of an ended task only that for which it was killed.
    pub(super) fn shown_health(&self, state: TaskState) -> Option<bool> {
        self.healthy.filter(|healthy| !state.is_terminal() || (!healthy && self.killed))
    }
}

impl BuiltinExecutor {
    pub(super) fn started(
        &mut self,
        now: Time,
        task_id: &TaskId,
        health: Option<HealthPolicy>,
        extra: Bytes,
        out: &mut Vec<Action>,
    ) {
        let Some(task) = self.tasks.get_mut(task_id) else { return };
        task.phase = Phase::Running;
        task.extra = extra;
        if task.killed {
            // Without a deadline for SIGKILL, it has passed during the start.
            out.push(match task.kill_at {
                Some(_) => Action::Terminate(task_id.clone()),
                None => Action::Kill(task_id.clone()),
            });
            return;
        }
        task.complete_by = task.max_completion_time.map(|length| now + length);
        task.health = health.map(|policy| Health::new(policy, now));
        self.update(now, task_id, TaskState::Running, None, None, out);
    }

    pub(super) fn not_started(
        &mut self,
        now: Time,
        task_id: &TaskId,
        is_container: bool,
        message: String,
        out: &mut Vec<Action>,
    ) {
        let (state, reason) = match self.tasks.get(task_id).is_some_and(|task| task.killed) {
            true => (TaskState::Killed, None),
            false => (TaskState::Failed, is_container.then_some(Reason::ContainerLaunchFailed)),
        };
        self.end(now, task_id, state, reason, message, out);
    }

    pub(super) fn exited(
        &mut self,
        now: Time,
        task_id: &TaskId,
        succeeded: bool,
        message: String,
        out: &mut Vec<Action>,
    ) {
        let Some(task) = self.tasks.get(task_id) else { return };
        let (state, reason) = match (task.killed, task.overtime, succeeded) {
            (true, ..) => (TaskState::Killed, None),
            (false, true, _) => (TaskState::Failed, Some(Reason::MaxCompletionTimeReached)),
            (false, false, true) => (TaskState::Finished, None),
            (false, false, false) => (TaskState::Failed, None),
        };
        self.end(now, task_id, state, reason, message, out);
    }

    /// The agent knows better than the executor why a container has ended, also of one that was killed.
    pub(super) fn failed(
        &mut self,
        now: Time,
        task_id: &TaskId,
        reason: Reason,
        message: String,
        extra: Bytes,
        out: &mut Vec<Action>,
    ) {
        let Some(task) = self.tasks.get_mut(task_id) else { return };
        task.extra = extra;
        self.end(now, task_id, TaskState::Failed, Some(reason), message, out);
    }

    /// Reports a task's end. One that did not finish takes its group with it.
    pub(super) fn end(
        &mut self,
        now: Time,
        task_id: &TaskId,
        state: TaskState,
        reason: Option<Reason>,
        message: String,
        out: &mut Vec<Action>,
    ) {
        let Some(task) = self.tasks.get_mut(task_id).filter(|task| !task.has_ended()) else { return };
        task.phase = Phase::Ended;
        (task.kill_at, task.complete_by) = (None, None);
        let group = task.group;
        self.update(now, task_id, state, reason, Some(message), out);
        if state != TaskState::Finished {
            self.kill_others(now, group, task_id, out);
        }
        if !self.runs() {
            let leave_at = now + LAST_ACKNOWLEDGEMENT_MAX.max(self.settings.recovery_wait);
            self.leave_at = Some(self.leave_at.map_or(leave_at, |earlier| earlier.min(leave_at)));
        }
    }

    pub(super) fn health_result(&mut self, now: Time, task_id: &TaskId, good: bool, out: &mut Vec<Action>) {
        let Some(task) = self.tasks.get_mut(task_id).filter(|task| task.phase == Phase::Running) else {
            return;
        };
        let Some(health) = &mut task.health else { return };
        let change = health.record(good, now);
        if change == HealthChange::None || task.killed {
            return;
        }
        task.healthy = Some(change == HealthChange::Healthy);
        let reason = Some(Reason::TaskHealthCheckStatusUpdated);
        self.update(now, task_id, TaskState::Running, reason, None, out);
        if change == HealthChange::GiveUp {
            self.kill_group_of(now, task_id, None, out);
        }
    }

    pub(super) fn check_result(&mut self, now: Time, task_id: &TaskId, extra: Bytes, out: &mut Vec<Action>) {
        let Some(task) = self.tasks.get_mut(task_id) else { return };
        if task.phase != Phase::Running || task.killed || task.extra == extra {
            return;
        }
        task.extra = extra;
        let reason = Some(Reason::TaskCheckStatusUpdated);
        self.update(now, task_id, TaskState::Running, reason, None, out);
    }

    /// Kills a task and with it its group.
    pub(super) fn kill_group_of(
        &mut self,
        now: Time,
        task_id: &TaskId,
        grace: Option<Duration>,
        out: &mut Vec<Action>,
    ) {
        let Some(group) = self.tasks.get(task_id).map(|task| task.group) else { return };
        self.kill(now, task_id, grace, out);
        self.kill_others(now, group, task_id, out);
    }

    fn kill_others(&mut self, now: Time, group: u64, except: &TaskId, out: &mut Vec<Action>) {
        let of_group = self.tasks.iter().filter(|(_, task)| task.group == group && !task.killed);
        let others: Vec<TaskId> = of_group.map(|(id, _)| id.clone()).filter(|id| id != except).collect();
        for task_id in others {
            self.kill(now, &task_id, None, out);
        }
    }

    /// Sends SIGTERM now and SIGKILL later. A repetition can only shorten the wait.
    pub(super) fn kill(
        &mut self,
        now: Time,
        task_id: &TaskId,
        grace: Option<Duration>,
        out: &mut Vec<Action>,
    ) {
        let Some(task) = self.tasks.get_mut(task_id).filter(|task| !task.has_ended()) else { return };
        task.killed = true;
        self.terminate(now, task_id, grace, out);
    }

    fn terminate(&mut self, now: Time, task_id: &TaskId, grace: Option<Duration>, out: &mut Vec<Action>) {
        let Some(task) = self.tasks.get_mut(task_id) else { return };
        let at = now + grace.or(task.kill_grace).unwrap_or(KILL_GRACE);
        if let Some(earlier) = task.kill_at {
            task.kill_at = Some(earlier.min(at));
            return;
        }
        task.kill_at = Some(at);
        let runs = task.phase == Phase::Running;
        out.push(Action::Terminate(task_id.clone()));
        if runs && self.can_kill_slowly {
            self.update(now, task_id, TaskState::Killing, None, None, out);
        }
    }

    /// Does what is due.
    pub(super) fn deadlines(&mut self, now: Time, out: &mut Vec<Action>) {
        let due = |at: Option<Time>| at.is_some_and(|at| at <= now);
        let overtime: Vec<TaskId> =
            self.tasks.iter().filter(|(_, task)| due(task.complete_by)).map(|(id, _)| id.clone()).collect();
        for task_id in overtime {
            if let Some(task) = self.tasks.get_mut(&task_id) {
                (task.complete_by, task.overtime) = (None, true);
            }
            self.terminate(now, &task_id, None, out);
        }
        for (task_id, task) in &mut self.tasks {
            if due(task.kill_at) {
                task.kill_at = None;
                out.push(Action::Kill(task_id.clone()));
            }
        }
    }
}
