//! Timers: at most one per subject, found by time and by subject.

use std::collections::{BTreeMap, BTreeSet};

use kernel_model::{
    ids::{ExecutorId, FrameworkId},
    operation::OperationUuid,
    time::Time,
};

use super::status_updates::TaskKey;

/// The subject of a timer.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Timer {
    /// Send the registration again.
    Register,
    /// An executor did not subscribe, did not terminate, or is due for its next run: its phase tells which.
    Executor(FrameworkId, ExecutorId),
    Update(TaskKey),
    /// Send the status of an operation again.
    Operation(OperationUuid),
    Stop,
}

#[derive(Default)]
pub(super) struct Timers {
    by_subject: BTreeMap<Timer, Time>,
    by_time: BTreeSet<(Time, Timer)>,
}

impl Timers {
    /// Sets a timer, replacing the subject's earlier one.
    pub(super) fn arm(&mut self, timer: Timer, at: Time) {
        if let Some(former) = self.by_subject.insert(timer.clone(), at) {
            self.by_time.remove(&(former, timer.clone()));
        }
        self.by_time.insert((at, timer));
    }

    pub(super) fn disarm(&mut self, timer: &Timer) {
        if let Some(at) = self.by_subject.remove(timer) {
            self.by_time.remove(&(at, timer.clone()));
        }
    }

    pub(super) fn next(&self) -> Option<Time> {
        self.by_time.first().map(|(at, _)| *at)
    }

    pub(super) fn pop_due(&mut self, now: Time) -> Option<Timer> {
        if self.next()? > now {
            return None;
        }
        let (_, timer) = self.by_time.pop_first()?;
        self.by_subject.remove(&timer);
        Some(timer)
    }
}
