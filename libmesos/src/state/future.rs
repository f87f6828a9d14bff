//! The outcome of an operation, which callers wait for.

use std::{
    sync::{
        Arc, Condvar, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use libmesos_core::state::Variable;

/// What an operation leads to.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Outcome {
    /// The variable that was fetched or stored; none if it was not stored, because it had changed.
    Variable(Option<Variable>),
    Expunged(bool),
    Names(Vec<String>),
}

/// Why there is no outcome.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Failure {
    Failed(String),
    /// The caller has cancelled it before it began.
    Discarded,
}

/// An operation as its caller sees it.
#[derive(Debug, Default)]
pub(crate) struct OperationFuture {
    outcome: Mutex<Option<Result<Outcome, Failure>>>,
    done: Condvar,
    discarded: AtomicBool,
}

impl OperationFuture {
    /// Whether it has an outcome, or none is wanted.
    pub(crate) fn is_done(&self) -> bool {
        self.discarded.load(Ordering::Relaxed)
            || self.outcome.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// The operation is not begun, or not tried again.
    pub(crate) fn discard(&self) {
        self.discarded.store(true, Ordering::Relaxed);
    }

    /// Waits for the outcome; `None` if it takes longer.
    pub(crate) fn wait(&self, longest: Duration) -> Option<Result<Outcome, Failure>> {
        let deadline = Instant::now().checked_add(longest);
        let mut outcome = self.outcome.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(outcome) = &*outcome {
                return Some(outcome.clone());
            }
            let left =
                deadline.map_or(longest, |deadline| deadline.saturating_duration_since(Instant::now()));
            if left.is_zero() {
                return None;
            }
            outcome = self.done.wait_timeout(outcome, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

/// An operation as the one who carries it out sees it. Dropping it fails the operation.
#[derive(Debug)]
pub(super) struct Ticket(Arc<OperationFuture>);

impl Ticket {
    pub(super) fn new() -> (Self, Arc<OperationFuture>) {
        let future = Arc::new(OperationFuture::default());
        (Ticket(future.clone()), future)
    }

    pub(super) fn is_discarded(&self) -> bool {
        self.0.discarded.load(Ordering::Relaxed)
    }

    pub(super) fn finish(self, outcome: Result<Outcome, Failure>) {
        self.set(outcome);
    }

    fn set(&self, outcome: Result<Outcome, Failure>) {
        self.0.outcome.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(outcome);
        self.0.done.notify_all();
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.set(Err(Failure::Failed("No longer managing storage".to_owned())));
    }
}
