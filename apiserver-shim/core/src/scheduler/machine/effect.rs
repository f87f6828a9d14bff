//! What the scheduler machine asks for.

use std::sync::Arc;

use bytes::Bytes;
use kernel_model::{agent::AgentSnapshot, ids::FrameworkId, scheduler::Call};
use serde_json::Value;
use shim_model::object::StoredObject;

use crate::controllers::EventRecord;
use crate::rows::{Key, Pod, Seconds, rfc3339};
use crate::scheduler::binding::{BindRefusal, bind, scheduler_request};
use crate::scheduler::{IntentRecord, pod_edits};

/// What one step asks of its driver.
///
/// Durable before visible: whatever depends on a write is not among the effects of the step that asks for the write. It
/// follows in the step that takes the write's outcome. So writes may run side by side with each other and with everything
/// in `send`, and a crash at any point leaves writes without what depends on them, never the reverse.
#[derive(Debug, Default)]
#[must_use]
pub struct Effects {
    /// Writes to start. Each reports what became of it as an event.
    pub persist: Vec<Write>,
    /// To be carried out in this order, after what earlier steps sent.
    pub send: Vec<Send>,
}

/// A write to the store.
#[derive(Debug)]
pub enum Write {
    /// Records a launch intent, and removes records that nobody needs. Answered by `IntentWritten`.
    Intent(IntentWrite),
    /// Removes records of launch intents. Answered by `IntentsRemoved`.
    RemoveIntents(Vec<u64>),
    /// Binds a Pod. Answered by `Bound`.
    Bind(Box<BindWrite>),
    /// Writes what the kernel and the node say of a Pod. Answered by `StatusWritten`.
    Status(Box<StatusWrite>),
    /// Says in a Pod's conditions why it waits. Not answered: it is said again.
    Condition {
        /// The Pod.
        key: Key,
        /// The whole reason.
        message: String,
    },
    /// Writes or removes a Node. Answered by `NodeWritten`.
    Node(NodeWrite),
}

/// Something that leaves for others.
#[derive(Debug)]
pub enum Send {
    /// A call to the kernel.
    Call(Call),
    /// Calls that launch tasks. Answered by `LaunchAnswered`.
    Launch {
        /// Its number.
        launch: u64,
        /// One ACCEPT for each agent and role.
        calls: Vec<Call>,
    },
    /// An Event for people.
    Report(EventRecord),
    /// The data of a status update could not be decoded: the Pod keeps the status that it has.
    UnreadableStatus {
        /// The Pod.
        uid: Box<str>,
    },
    /// Where a node's executor can be reached.
    Endpoint {
        /// The node.
        node: Box<str>,
        /// Its address; none where its agent is gone.
        address: Option<String>,
    },
}

/// A record that must be durable before its launches leave.
#[derive(Debug, Clone)]
pub struct IntentWrite {
    /// To add. Its number is not in use.
    pub record: IntentRecord,
    /// To remove in the same transaction.
    pub remove: Vec<u64>,
}

/// A binding to write.
#[derive(Debug)]
pub struct BindWrite {
    /// The Pod as it was when it was launched.
    pub pod: Arc<Pod>,
    /// The node.
    pub node: Box<str>,
    /// The Pod bound (and with its first status, if it has one): written if the revision is still that of `pod`, else
    /// [`PodEdit::Bind`] is applied to what is there.
    pub bound: StoredObject,
    /// Whether `bound` carries the first status.
    pub with_status: bool,
    /// The Event that reports it, to be written in the same transaction.
    pub event: EventRecord,
}

/// Changes of one Pod, in this order.
#[derive(Debug, Clone)]
pub struct StatusWrite {
    /// The Pod.
    pub key: Key,
    /// Its UID: another Pod of the name is left alone.
    pub uid: Box<str>,
    /// The changes.
    pub edits: Vec<PodEdit>,
    /// Remove the object afterwards, finalizers permitting.
    pub remove: bool,
}

/// A change of a Pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PodEdit {
    /// Bind it.
    Bind {
        /// The node.
        node: Box<str>,
    },
    /// Merge the node's status into its own.
    MergeStatus(Bytes),
    /// Mark it as ended, if it has not ended.
    End {
        /// Whether well.
        succeeded: bool,
        /// `status.reason`.
        reason: Box<str>,
        /// `status.message`.
        message: Box<str>,
    },
}

impl PodEdit {
    /// Applies the change to a Pod of this UID. Repeating it changes nothing.
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

/// A Node to write.
#[derive(Debug)]
pub enum NodeWrite {
    /// Create it, or bring it in line with its agent, with a Pod CIDR.
    Put {
        /// Its name.
        name: Box<str>,
        /// Its agent.
        agent: Arc<AgentSnapshot>,
        /// Our framework: what others hold is not allocatable.
        ours: Option<FrameworkId>,
        /// The port on which its executor listens, if it has reported one.
        kubelet_port: Option<u16>,
    },
    /// Remove it, and release its Pod CIDR.
    Remove {
        /// Its name.
        name: Box<str>,
        /// Whether there is an object to remove.
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
