//! Delivery of status updates to schedulers: one FIFO stream per task. The head is sent until it is acknowledged, with
//! a back-off of 10 seconds that doubles up to 10 minutes.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use kernel_model::{
    agent::ToMaster,
    executor::Event as ExecutorEvent,
    ids::{FrameworkId, TaskId, UpdateId},
    task::{TaskState, TaskStatus},
    time::Time,
};

use super::{Agent, ConnectionId, Effects, Record, Timer};

/// A task's key: ids are unique within a framework.
pub(super) type TaskKey = (FrameworkId, TaskId);

/// The first back-off.
pub const RETRY_MIN: Duration = Duration::from_secs(10);

/// The longest back-off.
pub const RETRY_MAX: Duration = Duration::from_secs(600);

/// How many updates a stream queues. Beyond that, the oldest update that was not sent is dropped, never the newest and
/// never a terminal one.
pub const QUEUE_MAX: usize = 256;

/// How many ids a stream remembers to recognise duplicates. An executor resends only what was not acknowledged to it,
/// which is far less.
pub const SEEN_MAX: usize = 64;

/// How many statuses of a task are kept; an executor usually sends about four.
pub const STATUSES_MAX: usize = 16;

/// The update stream of a task.
pub(super) struct UpdateStream {
    pub(super) queue: VecDeque<Arc<TaskStatus>>,
    seen: VecDeque<UpdateId>,
    /// A terminal update was received: no other update follows.
    terminal: bool,
    retry: Duration,
    pub(super) checkpoint: bool,
}

/// The result of adding an update to a stream.
#[derive(Debug, PartialEq, Eq)]
enum PushOutcome {
    Queued,
    Duplicate,
    AfterTerminal,
}

impl UpdateStream {
    pub(super) fn new(checkpoint: bool) -> Self {
        Self { queue: VecDeque::new(), seen: VecDeque::new(), terminal: false, retry: RETRY_MIN, checkpoint }
    }

    /// Appends an update with a uuid; `true` if it is new and may follow.
    pub(super) fn push(&mut self, status: Arc<TaskStatus>) -> bool {
        self.take(status) == PushOutcome::Queued
    }

    fn take(&mut self, status: Arc<TaskStatus>) -> PushOutcome {
        let uuid = status.uuid.expect("invariant: an update of a stream has a uuid");
        if self.seen.contains(&uuid) {
            return PushOutcome::Duplicate;
        }
        if self.terminal {
            return PushOutcome::AfterTerminal;
        }
        if self.seen.len() == SEEN_MAX {
            self.seen.pop_front();
        }
        self.seen.push_back(uuid);
        self.terminal = status.state.is_terminal();
        self.queue.push_back(status);
        PushOutcome::Queued
    }

    pub(super) fn latest_state(&self) -> Option<TaskState> {
        self.queue.back().map(|status| status.state)
    }

    /// The oldest unacknowledged update.
    pub(super) fn head(&self) -> Option<(TaskState, Option<UpdateId>)> {
        self.queue.front().map(|status| (status.state, status.uuid))
    }

    /// Removes an update that needs no more delivery.
    pub(super) fn done(&mut self, uuid: UpdateId) {
        self.queue.retain(|status| status.uuid != Some(uuid));
    }
}

impl Agent {
    /// Handles an executor's update, and acknowledges it to the executor once it is persisted.
    pub(super) fn update_from_executor(
        &mut self,
        now: Time,
        key: &TaskKey,
        status: Arc<TaskStatus>,
        connection: Option<ConnectionId>,
        out: &mut Effects,
    ) {
        let Some(uuid) = status.uuid else { return };
        let known = self.frameworks.get(&key.0).is_some_and(|f| f.tasks.contains_key(&key.1));
        if known {
            self.report(now, key, status, out);
        }
        // An update of a completed or unknown task is dropped; the executor must not wait for it.
        if let Some(connection) = connection {
            out.send_to_executor(connection, ExecutorEvent::Acknowledged { task_id: key.1.clone(), uuid });
        }
    }

    /// Appends an update to its task's stream, and sends it if it is the head. Sets the uuid if it has none.
    pub(super) fn report(
        &mut self,
        now: Time,
        key: &TaskKey,
        mut status: Arc<TaskStatus>,
        out: &mut Effects,
    ) {
        let own = Arc::make_mut(&mut status);
        if own.uuid.is_none() {
            own.uuid = Some(self.id_generator.update_id());
        }
        own.agent_id = self.config.info.id.clone();
        if own.timestamp == Time::default() {
            own.timestamp = now;
        }
        let framework = self.frameworks.get(&key.0);
        if own.executor_id.is_none() {
            // The id of a command task's executor is that of the task.
            let entry = framework.and_then(|framework| framework.tasks.get(&key.1));
            own.executor_id = entry.map(|entry| entry.executor_id.clone());
        }
        let checkpoint = framework.is_some_and(|framework| framework.info.checkpoint);
        let stream = self.streams.entry(key.clone()).or_insert_with(|| UpdateStream::new(checkpoint));
        if stream.take(status.clone()) != PushOutcome::Queued {
            return;
        }
        self.counts.status_updates += 1;
        if status.state.is_terminal() {
            *self.counts.ended_tasks.entry(status.state).or_default() += 1;
        }
        if checkpoint {
            out.persist(Record::Update { framework_id: key.0.clone(), status: status.clone() });
        }
        if stream.queue.len() > QUEUE_MAX
            && let Some(skipped) = stream.queue.remove(1)
            && let Some(skipped) = skipped.uuid
            && checkpoint
        {
            let (framework_id, task_id) = key.clone();
            out.persist(Record::UpdateDone { framework_id, task_id, uuid: skipped });
        }
        let first = stream.queue.len() == 1;
        if let Some(entry) = self.frameworks.get_mut(&key.0).and_then(|f| f.tasks.get_mut(&key.1)) {
            entry.apply(&status);
        }
        if first {
            self.send_head(now, key, false, out);
        }
    }

    /// Sends a stream's head if the agent is registered, and sets the timer of the next attempt.
    pub(super) fn send_head(&mut self, now: Time, key: &TaskKey, again: bool, out: &mut Effects) {
        if !self.is_registered() {
            return;
        }
        let Some(stream) = self.streams.get_mut(key) else { return };
        let (Some(head), Some(latest_state)) = (stream.queue.front(), stream.latest_state()) else { return };
        let status = head.clone();
        stream.retry = if again { (stream.retry * 2).min(RETRY_MAX) } else { RETRY_MIN };
        let retry_at = now + stream.retry;
        self.timers.arm(Timer::Update(key.clone()), retry_at);
        out.send_to_master(ToMaster::Update { framework_id: key.0.clone(), status, latest_state });
    }

    /// Sends the heads of all streams, of one framework or of all.
    pub(super) fn flush_updates(&mut self, now: Time, of: Option<&FrameworkId>, out: &mut Effects) {
        let keys: Vec<TaskKey> =
            self.streams.keys().filter(|key| of.is_none_or(|id| key.0 == *id)).cloned().collect();
        for key in keys {
            self.send_head(now, &key, false, out);
        }
    }

    /// Stops the timers of all streams until the agent is registered again.
    pub(super) fn pause_updates(&mut self) {
        for key in self.streams.keys() {
            self.timers.disarm(&Timer::Update(key.clone()));
        }
    }

    /// The scheduler acknowledged an update: remove it and send the next.
    pub(super) fn acknowledge(&mut self, now: Time, key: TaskKey, uuid: UpdateId, out: &mut Effects) {
        let Some(stream) = self.streams.get_mut(&key) else { return };
        if stream.queue.front().and_then(|head| head.uuid) != Some(uuid) {
            return;
        }
        stream.queue.pop_front();
        if stream.queue.is_empty() {
            // Most tasks send no further update for a long time: free the buffer.
            stream.queue = VecDeque::new();
        }
        let checkpoint = stream.checkpoint;
        let over = stream.terminal && stream.queue.is_empty();
        self.timers.disarm(&Timer::Update(key.clone()));
        if !over {
            if checkpoint {
                let (framework_id, task_id) = key.clone();
                out.persist(Record::UpdateDone { framework_id, task_id, uuid });
            }
            self.send_head(now, &key, false, out);
            return;
        }
        self.streams.remove(&key);
        let (framework_id, task_id) = key;
        if let Some(framework) = self.frameworks.get_mut(&framework_id)
            && let Some(entry) = framework.tasks.remove(&task_id)
        {
            framework.remember_task(*entry);
        }
        if checkpoint {
            out.persist(Record::TaskRemoved { framework_id: framework_id.clone(), task_id });
        }
        self.remove_framework_if_idle(&framework_id, out);
        self.stop_if_done(now, out);
    }
}

impl super::AgentTask {
    /// Its grace period: that of a requested kill, or its own.
    pub(super) fn grace(&self) -> Option<Duration> {
        self.kill.flatten().or(self.task.info.kill_grace)
    }

    /// Records a status: the latest of each state, without data.
    pub(super) fn apply(&mut self, status: &Arc<TaskStatus>) {
        let status = status.without_data();
        self.task.state = status.state;
        match self.task.statuses.last_mut() {
            Some(last) if last.state == status.state => *last = status,
            _ => {
                if self.task.statuses.len() == STATUSES_MAX {
                    self.task.statuses.remove(0);
                }
                self.task.statuses.reserve_exact(1);
                self.task.statuses.push(status);
            }
        }
    }
}
