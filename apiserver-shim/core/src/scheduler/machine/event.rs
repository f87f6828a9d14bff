//! What the scheduler machine takes in.

use std::sync::Arc;

use kernel_model::{
    agent::AgentSnapshot,
    ids::{FrameworkId, OfferId},
    offer::Offer,
    operator,
    roles::Role,
    task::TaskStatus,
};

use crate::rows::{Node, Pod};
use crate::scheduler::{BindRefusal, IntentRecord};

/// Something has happened.
#[derive(Debug, Clone)]
pub enum Event {
    /// The kernel has accepted the subscription. The machine has seen every object up to the journal's revision.
    Subscribed(Box<Subscribed>),
    /// The subscription has ended: nothing can be sent.
    Unsubscribed,
    /// A Pod is new or has changed.
    Pod(Arc<Pod>),
    /// A Pod is gone, by its UID.
    PodGone(Box<str>),
    /// A Node is new or has changed.
    Node(Arc<Node>),
    /// A Node is gone, by its name.
    NodeGone(Box<str>),
    /// A Namespace is there; the role that it names, if it names one.
    Namespace {
        /// Its name.
        name: Box<str>,
        /// From its annotation.
        role: Option<Role>,
    },
    /// A Namespace is gone.
    NamespaceGone(Box<str>),
    /// Offers that are ours from now on.
    Offers(Vec<Arc<Offer>>),
    /// An offer that is no longer ours.
    Rescind(OfferId),
    /// A status update of a task.
    Update(Arc<TaskStatus>),
    /// A change of agents or frameworks.
    Cluster(operator::Event),
    /// What became of a launch intent that was to be written.
    IntentWritten {
        /// The record.
        number: u64,
        /// Whether it is durable.
        written: bool,
    },
    /// Records of launch intents were removed, or are still there.
    IntentsRemoved {
        /// The records.
        numbers: Vec<u64>,
        /// Whether they are gone.
        removed: bool,
    },
    /// What became of the calls of a launch, in their order.
    LaunchAnswered {
        /// The launch.
        launch: u64,
        /// Call by call; a missing one has no answer.
        outcomes: Vec<CallOutcome>,
    },
    /// What became of a binding.
    Bound {
        /// The Pod.
        uid: Box<str>,
        /// What was written, or why not.
        result: Result<BindOutcome, WriteFailure>,
    },
    /// What became of a write of a Pod's status (with all that belongs to it).
    StatusWritten {
        /// The Pod.
        uid: Box<str>,
        /// The Pod may be gone by now: that is no failure.
        result: Result<(), WriteFailure>,
    },
    /// What became of a write of a Node.
    NodeWritten {
        /// The Node.
        name: Box<str>,
        /// What was done.
        outcome: NodeOutcome,
    },
    /// Time has passed, at least up to [`super::SchedulerMachine::next_deadline`].
    Tick,
    /// Run a scheduling cycle. The driver paces them: one looks at every waiting Pod.
    Cycle,
}

/// A subscription that has just begun, in roles that are all suppressed.
#[derive(Debug, Clone)]
pub struct Subscribed {
    /// Ours.
    pub framework_id: FrameworkId,
    /// The roles that the subscription named.
    pub roles: Vec<Role>,
    /// Every agent that the kernel knows.
    pub agents: Vec<AgentSnapshot>,
    /// The launch intents in the store, read after the subscription began: nobody can add to them any more.
    pub journal: Vec<IntentRecord>,
}

/// What became of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallOutcome {
    /// The kernel has it.
    Accepted,
    /// It was not sent, or the kernel refused it.
    Refused,
    /// There was no answer: it may have arrived.
    Unanswered,
}

/// A binding that is in the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BindOutcome {
    /// Whether the node's first status was written with it.
    pub with_status: bool,
    /// Whether the Event that reports it was.
    pub with_event: bool,
}

/// What became of a write of a Node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NodeOutcome {
    /// It is stored as projected.
    Written,
    /// It is stored, without a Pod CIDR for this reason.
    WithoutCidr(String),
    /// It was removed and its Pod CIDR released.
    Removed,
    /// The store has no answer.
    Failed,
}

/// Why a write did not happen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WriteFailure {
    /// There is no such Pod any more.
    Gone,
    /// The Pod is as it is, and cannot be bound to this node.
    Refused(BindRefusal),
    /// The store has no answer, or too many others write.
    Unavailable,
}
