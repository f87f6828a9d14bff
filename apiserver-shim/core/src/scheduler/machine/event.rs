//! The inputs of the scheduler machine.

use std::sync::Arc;

use kernel_model::{
    agent::AgentSnapshot,
    ids::{FrameworkId, OfferId},
    offer::{InverseOffer, Offer, Reclaim},
    operator,
    roles::Role,
    task::TaskStatus,
    wait::WaitNote,
};

use crate::rows::{DisruptionBudget, Node, Pod};
use crate::scheduler::{BindRefusal, DelayingClass, IntentRecord, Volume, VolumeClaim};

/// An input.
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub enum Event {
    /// The kernel accepted the subscription. The machine has processed all objects up to the journal's revision.
    Subscribed(Box<Subscribed>),
    /// The subscription has ended; nothing can be sent.
    Unsubscribed,
    /// A Pod was added or modified.
    Pod(Arc<Pod>),
    /// A Pod was deleted; its UID.
    PodGone(Box<str>),
    /// A Node was added or modified.
    Node(Arc<Node>),
    /// A Node was deleted; its name.
    NodeGone(Box<str>),
    /// A Namespace was added or modified.
    Namespace {
        name: Box<str>,
        /// The role in its annotation, if it has one.
        role: Option<Role>,
    },
    /// A Namespace was deleted.
    NamespaceGone(Box<str>),
    /// A PersistentVolumeClaim was added, modified, or (`None`) deleted.
    VolumeClaim { namespace: Box<str>, name: Box<str>, claim: Option<VolumeClaim> },
    /// A PersistentVolume was added, modified, or (`None`) deleted.
    Volume { name: Box<str>, volume: Option<Volume> },
    /// A StorageClass was added, modified or deleted.
    StorageClass {
        name: Box<str>,
        /// What placement reads of it, if its volumes are bound for a Pod (`WaitForFirstConsumer`).
        class: Option<DelayingClass>,
    },
    /// The node for the volumes of claims was not written.
    NodeNotSelected { namespace: Box<str>, claims: Vec<Box<str>> },
    /// A PodDisruptionBudget was added, modified, or (`None`) deleted.
    Budget { namespace: Box<str>, name: Box<str>, budget: Option<Arc<DisruptionBudget>> },
    /// Changes of PodDisruptionBudgets were missed; the present ones follow.
    BudgetsLost,
    /// Changes of claims, volumes or storage classes were missed; the present ones follow.
    VolumesLost,
    /// New offers.
    Offers(Vec<Arc<Offer>>),
    /// An offer was rescinded.
    Rescind(OfferId),
    /// The kernel asks for tasks to end.
    InverseOffers(Vec<InverseOffer>),
    /// The outcome of an eviction, for an inverse offer or for a Pod of higher priority: whether the Pod's deletion has begun.
    Evicted { uid: Box<str>, offer: Option<(OfferId, Reclaim)>, evicted: bool },
    /// A status update of a task.
    Update(Arc<TaskStatus>),
    /// A change of agents or frameworks.
    Cluster(operator::Event),
    /// The outcome of writing a launch intent.
    IntentWritten {
        number: u64,
        /// Whether it is durable.
        written: bool,
    },
    /// The outcome of removing records of launch intents.
    IntentsRemoved {
        numbers: Vec<u64>,
        /// Whether they were removed.
        removed: bool,
    },
    /// The outcomes of a launch's calls, in order.
    LaunchAnswered {
        launch: u64,
        /// One outcome per call; missing ones are unanswered.
        outcomes: Vec<CallOutcome>,
    },
    /// The outcome of a binding.
    Bound {
        uid: Box<str>,
        /// What was written, or why not.
        result: Result<BindOutcome, WriteFailure>,
    },
    /// The outcome of a status write, including its further edits.
    StatusWritten {
        uid: Box<str>,
        /// `Ok` also if the Pod no longer exists.
        result: Result<(), WriteFailure>,
    },
    /// The outcome of a Node write.
    NodeWritten {
        name: Box<str>,
        /// What was done.
        outcome: NodeOutcome,
    },
    /// The outcome of a call that holds resources for a Pod.
    HoldAnswered { uid: Box<str>, outcome: CallOutcome },
    /// Why there are no offers in a role, as the kernel says.
    Explained { role: Role, notes: Vec<WaitNote> },
    /// Time has passed, at least up to [`super::SchedulerMachine::next_deadline`].
    Tick,
    /// Run a scheduling cycle. The driver limits their rate, because a cycle visits every pending Pod.
    Cycle,
}

/// A new subscription, with all roles suppressed.
#[derive(Debug, Clone)]
pub struct Subscribed {
    /// The ID of our framework.
    pub framework_id: FrameworkId,
    /// The roles that the subscription named.
    pub roles: Vec<Role>,
    /// All agents of the kernel.
    pub agents: Vec<AgentSnapshot>,
    /// The launch intents in the store, read after the subscription began, when no other scheduler can add any.
    pub journal: Vec<IntentRecord>,
}

/// The outcome of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallOutcome {
    /// The kernel accepted it.
    Accepted,
    /// It was not sent, or the kernel refused it.
    Refused,
    /// There was no answer; it may have arrived.
    Unanswered,
}

/// A binding that was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BindOutcome {
    /// Whether it included the node's first status.
    pub with_status: bool,
    /// Whether it included the Event.
    pub with_event: bool,
}

/// The outcome of a Node write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NodeOutcome {
    /// The Node is stored as projected from its agent.
    Written,
    /// The Node is stored without a Pod CIDR, for this reason.
    WithoutCidr(String),
    /// The Node was removed and its Pod CIDR released.
    Removed,
    /// The store is unavailable, or the write was refused.
    Failed,
}

/// Why a write failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WriteFailure {
    /// The Pod no longer exists.
    Gone,
    /// The Pod cannot be bound to this node.
    Refused(BindRefusal),
    /// The store is unavailable, or there were too many conflicts.
    Unavailable,
}
