//! The outputs of the scheduler machine.

use std::sync::Arc;

use bytes::Bytes;
use kernel_model::{
    agent::AgentSnapshot,
    ids::{FrameworkId, OfferId},
    offer::Reclaim,
    roles::Role,
    scheduler::Call,
    wait::WaitNote,
};
use serde_json::Value;
use shim_model::object::StoredObject;

use crate::controllers::EventRecord;
use crate::rows::{Key, Pod, Seconds, rfc3339};
use crate::scheduler::binding::{BindRefusal, bind, scheduler_request};
use crate::scheduler::machine::node_projection::ReportedByNode;
use crate::scheduler::{IntentRecord, NominatedNode, pod_edits};

/// The effects that a driver carries out after a step.
///
/// Persist before send: an effect that depends on a write is never part of the step that requests the write. It
/// follows in the step that processes the write's outcome. So writes may run concurrently with each other and with
/// `send`, and a crash at any point leaves writes without their consequences, never the reverse.
#[derive(Debug, Default)]
#[must_use]
pub struct Effects {
    /// Writes to start. The outcome of each is reported as an event.
    pub persist: Vec<Write>,
    /// To be carried out in order, after what earlier steps sent.
    pub send: Vec<Send>,
}

/// A write to the store.
#[derive(Debug)]
#[allow(missing_docs)]
pub enum Write {
    /// Records a launch intent and removes obsolete records. Answered by `IntentWritten`.
    Intent(IntentWrite),
    /// Removes records of launch intents. Answered by `IntentsRemoved`.
    RemoveIntents(Vec<u64>),
    /// Binds a Pod. Answered by `Bound`.
    Bind(Box<BindWrite>),
    /// Writes a Pod's status as reported by the kernel and the node. Answered by `StatusWritten`.
    Status(Box<StatusWrite>),
    /// Sets the Pod's `PodScheduled` condition to the reason why it is pending. Not answered, because it is repeated.
    Condition {
        key: Key,
        /// The message of the condition; without one it stays.
        message: Option<String>,
        /// Why the kernel makes no offers to the Pod's role: a condition of its own has the reason.
        offers: Vec<WaitNote>,
        /// What becomes of `status.nominatedNodeName`.
        nominated: NominatedNode,
    },
    /// Evicts a Pod for an inverse offer, if its PodDisruptionBudget allows it. Answered by `Evicted`.
    Evict(Box<EvictWrite>),
    /// Evicts a victim of preemption. Answered by `Evicted`; what was not evicted is chosen again.
    Preempt(Box<PreemptWrite>),
    /// Writes the node that a Pod is to run on into its claims, for which their volumes are to be made. Answered by
    /// `NodeNotSelected` if it fails; else the claims change.
    SelectNode { namespace: Box<str>, claims: Vec<Box<str>>, node: Box<str> },
    /// Writes or removes a Node. Answered by `NodeWritten`.
    Node(NodeWrite),
}

/// A message to another component.
#[derive(Debug)]
#[allow(missing_docs)]
pub enum Send {
    /// A call to the kernel.
    Call(Call),
    /// Calls that launch tasks. Answered by `LaunchAnswered`.
    Launch {
        /// The number of the launch.
        launch: u64,
        /// One ACCEPT per agent and role.
        calls: Vec<Call>,
    },
    /// A call that holds resources for a Pod. Answered by `HoldAnswered`.
    Hold { uid: Box<str>, call: Call },
    /// A question: why there are no offers in this role. Answered by `Explained`.
    Explain { role: Role },
    /// An Event to record.
    Report(EventRecord),
    /// The data of a status update could not be decoded; the Pod keeps its status.
    UnreadableStatus { uid: Box<str> },
    /// The address of a node's executor.
    Endpoint {
        node: Box<str>,
        /// The address; `None` if the agent was removed.
        address: Option<String>,
    },
}

/// A record that must be durable before its launches are sent.
#[derive(Debug, Clone)]
pub struct IntentWrite {
    /// The record to add. Its number is unused.
    pub record: IntentRecord,
    /// Records to remove in the same transaction.
    pub remove: Vec<u64>,
}

/// A binding to write.
#[derive(Debug)]
#[allow(missing_docs)]
pub struct BindWrite {
    /// The Pod as it was launched.
    pub pod: Arc<Pod>,
    pub node: Box<str>,
    /// The bound Pod, with its first status if there is one. It is written if the revision is still that of `pod`;
    /// otherwise [`PodEdit::Bind`] is applied to the stored Pod.
    pub bound: StoredObject,
    /// Whether `bound` contains the first status.
    pub with_status: bool,
    /// The Event, written in the same transaction.
    pub event: EventRecord,
}

/// The eviction of a Pod of lower priority: the condition `DisruptionTarget` and a graceful deletion.
#[derive(Debug)]
#[allow(missing_docs)]
pub struct PreemptWrite {
    pub key: Key,
    /// The required UID.
    pub uid: Box<str>,
    /// The message of the condition.
    pub message: String,
    /// The Event, recorded once the deletion has begun.
    pub event: EventRecord,
}

/// An eviction that PodDisruptionBudgets may refuse.
#[derive(Debug)]
#[allow(missing_docs)]
pub struct EvictWrite {
    pub key: Key,
    /// The required UID.
    pub uid: Box<str>,
    pub offer_id: OfferId,
    /// Why the kernel wants the Pod to end.
    pub why: Reclaim,
    /// The Event, recorded once the deletion has begun.
    pub event: EventRecord,
}

/// Edits of one Pod, applied in order.
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub struct StatusWrite {
    pub key: Key,
    /// The required UID; a different Pod of the same name is not changed.
    pub uid: Box<str>,
    pub edits: Vec<PodEdit>,
    /// Whether to remove the object afterwards, if it has no finalizers.
    pub remove: bool,
}

/// An edit of a Pod.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum PodEdit {
    /// Binds it.
    Bind { node: Box<str> },
    /// Merges the node's status into the stored one.
    MergeStatus(Bytes),
    /// Marks it as finished unless it has finished.
    End {
        /// Whether it succeeded.
        succeeded: bool,
        reason: Box<str>,
        message: Box<str>,
    },
}

impl PodEdit {
    /// Applies the edit to a Pod with this UID. Idempotent.
    pub fn apply(&self, pod: &mut Value, uid: &str, now: Seconds) -> Result<(), BindRefusal> {
        match self {
            PodEdit::Bind { node } => match bind(pod, &scheduler_request(uid, node, now)) {
                Err(BindRefusal::AlreadyBound { node: found }) if found == *node => Ok(()),
                result => result,
            },
            PodEdit::MergeStatus(from_node) => {
                pod_edits::merge_status(pod, from_node);
                Ok(())
            }
            PodEdit::End { succeeded, reason, message } => {
                pod_edits::end(pod, *succeeded, reason, message, &rfc3339(now));
                Ok(())
            }
        }
    }
}

/// A write of a Node.
#[derive(Debug)]
#[allow(missing_docs)]
pub enum NodeWrite {
    /// Creates the Node or updates it from its agent, with a Pod CIDR.
    Put {
        name: Box<str>,
        agent: Arc<AgentSnapshot>,
        /// Our framework; resources that other frameworks hold are not allocatable.
        ours: Option<FrameworkId>,
        /// What its executor has reported.
        reported: ReportedByNode,
    },
    /// Removes the Node and releases its Pod CIDR.
    Remove {
        name: Box<str>,
        /// Whether the store has the object.
        stored: bool,
    },
}

impl NodeWrite {
    /// The Node's name.
    pub fn name(&self) -> &str {
        match self {
            NodeWrite::Put { name, .. } | NodeWrite::Remove { name, .. } => name,
        }
    }
}
