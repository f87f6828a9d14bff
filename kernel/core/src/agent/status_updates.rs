//! Status updates on their way to schedulers: one stream a task, first in first out, the head in flight until it is
//! acknowledged, tried again after 10 seconds, then twice as long each time up to 10 minutes.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use kernel_model::{
    agent::ToMaster,
    executor::Event as ExecutorEvent,
    ids::{FrameworkId, TaskId, UpdateId},
    task::{TaskState, TaskStatus},
    time::Time,
};

use super::{Agent, ConnectionId, Effects, Record, Timer};

/// A task is unique within its framework.
pub(super) type TaskKey = (FrameworkId, TaskId);

/// The first wait for an acknowledgement.
pub const RETRY_MIN: Duration = Duration::from_secs(10);

/// The longest wait for an acknowledgement.
pub const RETRY_MAX: Duration = Duration::from_secs(600);

/// Updates that may wait in one stream. A scheduler that acknowledges nothing for so long loses the oldest of those
/// that were not sent yet, never the newest and never the terminal one.
pub const QUEUE_MAX: usize = 256;

/// Ids remembered of a stream to recognise what an executor sends again; it only repeats what was not acknowledged to
/// it, which is far less.
pub const SEEN_MAX: usize = 64;

/// Changes of state remembered of a task; a sane executor makes about four.
pub const STATUSES_MAX: usize = 16;

/// The updates of one task.
pub(super) struct Stream {
    pub(super) queue: VecDeque<Arc<TaskStatus>>,
    seen: VecDeque<UpdateId>,
    /// A terminal update came in: nothing can follow.
    terminal: bool,
    retry: Duration,
    pub(super) checkpoint: bool,
}

/// What a stream says to an update.
#[derive(Debug, PartialEq, Eq)]
enum Taken {
    Queued,
    Duplicate,
    AfterTerminal,
}

impl Stream {
    pub(super) fn new(checkpoint: bool) -> Self {
        Self { queue: VecDeque::new(), seen: VecDeque::new(), terminal: false, retry: RETRY_MIN, checkpoint }
    }

    /// Puts an update, whose uuid is set, at the end. `true` if it is new and may follow.
    pub(super) fn push(&mut self, status: Arc<TaskStatus>) -> bool {
        self.take(status) == Taken::Queued
    }

    fn take(&mut self, status: Arc<TaskStatus>) -> Taken {
        let uuid = status.uuid.expect("an update of a stream has a uuid");
        if self.seen.contains(&uuid) {
            return Taken::Duplicate;
        }
        if self.terminal {
            return Taken::AfterTerminal;
        }
        if self.seen.len() == SEEN_MAX {
            self.seen.pop_front();
        }
        self.seen.push_back(uuid);
        self.terminal = status.state.is_terminal();
        self.queue.push_back(status);
        Taken::Queued
    }

    fn latest_state(&self) -> Option<TaskState> {
        self.queue.back().map(|status| status.state)
    }

    /// The update in flight, or next to be.
    pub(super) fn head(&self) -> Option<(TaskState, Option<UpdateId>)> {
        self.queue.front().map(|status| (status.state, status.uuid))
    }

    /// Takes an update out that needs no more delivery.
    pub(super) fn done(&mut self, uuid: UpdateId) {
        self.queue.retain(|status| status.uuid != Some(uuid));
    }
}

impl Agent {
    /// Takes over an update that an executor sent, and tells it so once that is written down.
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
        // An update of a task that is over, or was never ours, has nowhere to go; the executor must not wait for it.
        if let Some(connection) = connection {
            out.tell_executor(connection, ExecutorEvent::Acknowledged { task_id: key.1.clone(), uuid });
        }
    }

    /// Puts an update into its task's stream and sends it on if it is the first there. Gives it a uuid if it has none.
    pub(super) fn report(
        &mut self,
        now: Time,
        key: &TaskKey,
        mut status: Arc<TaskStatus>,
        out: &mut Effects,
    ) {
        let own = Arc::make_mut(&mut status);
        if own.uuid.is_none() {
            own.uuid = Some(self.fresh.update_id());
        }
        own.agent_id = self.config.info.id.clone();
        if own.timestamp == Time::default() {
            own.timestamp = now;
        }
        let checkpoint = self.frameworks.get(&key.0).is_some_and(|f| f.info.checkpoint);
        let stream = self.streams.entry(key.clone()).or_insert_with(|| Stream::new(checkpoint));
        if stream.take(status.clone()) != Taken::Queued {
            return;
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

    /// Sends a stream's head if the master listens, and sets the alarm for the next time.
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
        out.tell_master(ToMaster::Update { framework_id: key.0.clone(), status, latest_state });
    }

    /// Sends every stream's head at once, of one framework or of all.
    pub(super) fn flush_updates(&mut self, now: Time, of: Option<&FrameworkId>, out: &mut Effects) {
        let keys: Vec<TaskKey> =
            self.streams.keys().filter(|key| of.is_none_or(|id| key.0 == *id)).cloned().collect();
        for key in keys {
            self.send_head(now, &key, false, out);
        }
    }

    /// Holds all updates back until the master is there again.
    pub(super) fn pause_updates(&mut self) {
        for key in self.streams.keys() {
            self.timers.disarm(&Timer::Update(key.clone()));
        }
    }

    /// The scheduler has an update: forget it and send the next.
    pub(super) fn acknowledge(&mut self, now: Time, key: TaskKey, uuid: UpdateId, out: &mut Effects) {
        let Some(stream) = self.streams.get_mut(&key) else { return };
        if stream.queue.front().and_then(|head| head.uuid) != Some(uuid) {
            return;
        }
        stream.queue.pop_front();
        if stream.queue.is_empty() {
            // Most tasks have said all that they will say for long: their room is given back.
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
        if let Some(framework) = self.frameworks.get_mut(&framework_id) {
            framework.tasks.remove(&task_id);
        }
        if checkpoint {
            out.persist(Record::TaskRemoved { framework_id: framework_id.clone(), task_id });
        }
        self.forget_framework_if_idle(&framework_id, out);
    }
}

impl super::Entry {
    /// Takes a status into the task's record: the newest of each state, without its data.
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
