//! The machine's alarms: at most one a subject, found by time and by subject.

use std::collections::{BTreeMap, BTreeSet};

use kernel_model::{
    ids::{ExecutorId, FrameworkId},
    time::Time,
};

use super::status_updates::TaskKey;

/// What an alarm is for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Timer {
    /// Register again.
    Register,
    /// An executor did not subscribe, did not end, or is to be started again: its phase tells which.
    Executor(FrameworkId, ExecutorId),
    /// An update was not acknowledged.
    Update(TaskKey),
    /// The orderly stop takes too long.
    Stop,
}

#[derive(Default)]
pub(super) struct Timers {
    by_subject: BTreeMap<Timer, Time>,
    by_time: BTreeSet<(Time, Timer)>,
}

impl Timers {
    /// Sets the alarm, replacing the subject's former one.
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
