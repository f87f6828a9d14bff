//! Status updates of all tasks: the newest status of each task, one in flight at a time, retried until acknowledged.
//! Pure.

use std::{collections::BTreeMap, time::Duration};

use bytes::Bytes;
use kernel_model::{
    ids::{TaskId, UpdateId},
    task::{Source, TaskState, TaskStatus},
    time::Time,
};

/// Minimum interval between two updates of a task after a burst.
const UPDATE_EVERY: Duration = Duration::from_millis(200);
/// Updates without a delay: those of a start and of becoming ready.
const BURST_MAX: u8 = 3;
/// A task without updates for this time may burst again.
const BURST_AGAIN: Duration = Duration::from_secs(1);
/// An unacknowledged update is sent again after this time.
const AGAIN_AFTER: Duration = Duration::from_secs(10);

/// The state of a task to report.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct StatusUpdate {
    pub state: TaskState,
    pub message: Option<String>,
    pub data: Bytes,
}

#[derive(Debug, Default)]
struct Task {
    next: Option<StatusUpdate>,
    in_flight: Option<(TaskStatus, Time)>,
    sent_at: Time,
    burst: u8,
    ended: bool,
}

impl Task {
    /// When the next update of the task may be sent.
    fn may_send_at(&self) -> Time {
        if self.burst < BURST_MAX { self.sent_at } else { self.sent_at + UPDATE_EVERY }
    }
}

#[derive(Debug, Default)]
pub(crate) struct Updates {
    tasks: BTreeMap<String, Task>,
}

impl Updates {
    /// Queues an update. It replaces one that has not been sent yet; nothing follows a terminal state.
    pub fn enqueue(&mut self, task: &str, update: StatusUpdate) {
        let entry = self.tasks.entry(task.to_owned()).or_default();
        if !entry.ended {
            entry.ended = update.state.is_terminal();
            entry.next = Some(update);
        }
    }

    /// Handles an acknowledgement; returns whether it was the last one of its task.
    pub fn acknowledged(&mut self, task: &str, uuid: UpdateId) -> bool {
        let Some(entry) = self.tasks.get_mut(task) else { return false };
        let state = match &entry.in_flight {
            Some((status, _)) if status.uuid == Some(uuid) => status.state,
            _ => return false,
        };
        entry.in_flight = None;
        if state.is_terminal() {
            self.tasks.remove(task);
        }
        state.is_terminal()
    }

    /// The updates to send now; `fresh` generates ids.
    pub fn due(&mut self, now: Time, mut fresh: impl FnMut() -> UpdateId) -> Vec<TaskStatus> {
        let mut due = Vec::new();
        for (id, task) in &mut self.tasks {
            match &mut task.in_flight {
                Some((status, sent_at)) => {
                    if now.since(*sent_at) >= AGAIN_AFTER {
                        *sent_at = now;
                        due.push(status.clone());
                    }
                }
                None => {
                    if now.since(task.sent_at) >= BURST_AGAIN {
                        task.burst = 0;
                    }
                    let waits = now < task.may_send_at();
                    let Some(update) = task.next.take_if(|update| !waits || update.state.is_terminal())
                    else {
                        continue;
                    };
                    let id = TaskId::from(id.as_str());
                    let mut status = TaskStatus::new(id, update.state, Source::Executor, now);
                    status.uuid = Some(fresh());
                    status.message = update.message;
                    status.data = update.data;
                    task.sent_at = now;
                    task.burst = task.burst.saturating_add(1);
                    task.in_flight = Some((status.clone(), now));
                    due.push(status);
                }
            }
        }
        due
    }

    /// When [`Self::due`] next returns an update.
    pub fn next_at(&self) -> Option<Time> {
        let next = |task: &Task| match (&task.in_flight, &task.next) {
            (Some((_, sent_at)), _) => Some(*sent_at + AGAIN_AFTER),
            (None, Some(_)) => Some(task.may_send_at()),
            (None, None) => None,
        };
        self.tasks.values().filter_map(next).min()
    }

    /// For SUBSCRIBE: this executor's tasks, and the updates in flight.
    pub fn unacknowledged(&self) -> (Vec<TaskId>, Vec<TaskStatus>) {
        let tasks = self.tasks.keys().map(|id| TaskId::from(id.as_str())).collect();
        let updates =
            self.tasks.values().filter_map(|task| task.in_flight.as_ref()).map(|(status, _)| status.clone());
        (tasks, updates.collect())
    }

    /// Whether every terminal update has been acknowledged.
    pub fn is_empty(&self) -> bool {
        self.tasks.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn update(state: TaskState, data: &'static str) -> StatusUpdate {
        StatusUpdate { state, message: None, data: Bytes::from_static(data.as_bytes()) }
    }

    fn at(ms: u64) -> Time {
        Time(1_000_000_000 + ms * 1_000_000)
    }

    fn sent(updates: &mut Updates, ms: u64) -> Vec<(String, UpdateId)> {
        let due = updates.due(at(ms), || UpdateId([ms as u8; 16]));
        due.into_iter().map(|s| (String::from_utf8_lossy(&s.data).into_owned(), s.uuid.unwrap())).collect()
    }

    #[test]
    fn a_newer_update_replaces_a_queued_one_and_nothing_follows_the_last() {
        let mut updates = Updates::default();
        updates.enqueue("u", update(TaskState::Starting, "a"));
        let first = sent(&mut updates, 1);
        assert_eq!(first[0].0, "a");
        updates.enqueue("u", update(TaskState::Running, "b"));
        updates.enqueue("u", update(TaskState::Running, "c"));
        assert_eq!(sent(&mut updates, 2), [], "one is in flight");
        assert!(!updates.acknowledged("u", first[0].1));
        let second = sent(&mut updates, 3);
        assert_eq!(second[0].0, "c");
        updates.enqueue("u", update(TaskState::Killed, "d"));
        updates.enqueue("u", update(TaskState::Running, "never"));
        assert!(!updates.acknowledged("u", second[0].1));
        let last = sent(&mut updates, 202);
        assert_eq!(last[0].0, "d", "an end does not wait");
        assert!(updates.acknowledged("u", last[0].1));
        assert!(updates.is_empty());
    }

    #[test]
    fn bursts_are_sent_at_once_and_then_rate_limited() {
        let mut updates = Updates::default();
        let mut sent_at = Vec::new();
        for ms in 1..=450 {
            updates.enqueue("u", update(TaskState::Running, "x"));
            for (_, uuid) in sent(&mut updates, ms) {
                sent_at.push(ms);
                updates.acknowledged("u", uuid);
            }
        }
        assert_eq!(sent_at, [1, 2, 3, 203, 403]);
    }

    #[test]
    fn unacknowledged_updates_are_retried_with_the_same_id() {
        let mut updates = Updates::default();
        updates.enqueue("u", update(TaskState::Running, "a"));
        let first = sent(&mut updates, 1);
        assert_eq!(updates.next_at(), Some(at(1) + AGAIN_AFTER));
        assert_eq!(sent(&mut updates, 10_001), first);
        let (tasks, unacknowledged) = updates.unacknowledged();
        assert_eq!((tasks.len(), unacknowledged.len()), (1, 1));
    }
}
