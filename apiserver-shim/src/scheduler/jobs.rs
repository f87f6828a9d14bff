//! Work beside the one task: calls to the kernel and writes to the store. Each job reports what it did.

use std::future::Future;
use std::sync::Arc;

use kernel_model::{ids::AgentId, task::TaskStatus};
use shim_model::object::StoredObject;
use shim_model::status::Status;
use tokio::task::JoinSet;

use super::nodes::NodeWrite;

/// What a job has done.
pub(crate) enum Done {
    /// Nothing that anybody waits for.
    Nothing,
    /// The kernel took these launches (or not): Pod by Pod.
    #[allow(missing_docs)]
    Launched { launched: Vec<Launched>, not_removed: Vec<u64> },
    /// A Pod was marked as failed that its node cannot take (or not yet).
    #[allow(missing_docs)]
    Rejected { uid: Box<str>, written: bool },
    /// These records of promises are still there.
    NotRemoved(Vec<u64>),
    /// Bindings were written (or not).
    Bound(Vec<Bound>),
    /// A Node was brought in line.
    #[allow(missing_docs)]
    NodeWritten { name: String, result: Result<NodeWrite, Status> },
    /// Updates were dealt with; one with an error is not acknowledged and comes again.
    Settled(Vec<(Box<str>, Result<(), Status>)>),
}

/// What became of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Taken {
    /// The kernel has it.
    Yes,
    /// It was not sent, or the kernel refused it.
    No,
    /// There was no answer: it may have arrived.
    Unsure,
}

/// A launch that was sent.
pub(crate) struct Launched {
    pub uid: Box<str>,
    pub agent_id: AgentId,
    pub node: Box<str>,
    /// Whether the kernel took the call.
    pub taken: Taken,
    /// The Pod as bound: what was launched and what is to be written.
    pub pod: StoredObject,
    /// The revision that it was made from.
    pub revision: u64,
    /// It was bound before (a relaunch).
    pub was_bound: bool,
    /// The Pod as bound and with what its node said first of it: written instead.
    pub with_status: Option<StoredObject>,
    /// The update that said it.
    pub first_word: Option<Arc<TaskStatus>>,
}

/// A binding that was tried.
pub(crate) struct Bound {
    pub uid: Box<str>,
    pub node: Box<str>,
    pub result: Result<Binding, BindError>,
    /// The update of which the status was to go into the same write.
    pub first_word: Option<Arc<TaskStatus>>,
}

/// A binding that was written.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Binding {
    pub revision: u64,
    /// Whether the node's first word was written with it.
    pub with_status: bool,
    /// Whether the Event that tells of it was.
    pub with_event: bool,
}

/// Why a Pod was not bound.
pub(crate) enum BindError {
    /// It is gone, or being deleted, or bound elsewhere: its task must end.
    Obsolete,
    /// The store has no answer: try again.
    Later(Status),
}

/// Jobs in flight.
#[derive(Default)]
pub(crate) struct Jobs {
    set: JoinSet<Done>,
}

impl Jobs {
    /// Starts a job.
    pub fn start(&mut self, job: impl Future<Output = Done> + Send + 'static) {
        self.set.spawn(job);
    }

    pub fn is_empty(&self) -> bool {
        self.set.is_empty()
    }

    /// The next that is done.
    pub async fn next(&mut self) -> Option<Done> {
        self.set.join_next().await.map(flatten)
    }

    /// One that is done already.
    pub fn try_next(&mut self) -> Option<Done> {
        self.set.try_join_next().map(flatten)
    }
}

fn flatten(done: Result<Done, tokio::task::JoinError>) -> Done {
    done.unwrap_or_else(|error| {
        tracing::error!(%error, "a job of the scheduler panicked");
        Done::Nothing
    })
}
