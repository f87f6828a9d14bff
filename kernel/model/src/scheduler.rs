//! The scheduler API's calls and events as values. The HTTP server parses into them; the in-process driver passes them
//! unchanged.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use bytes::Bytes;

use crate::{
    executor::ExecutorInfo,
    framework::FrameworkInfo,
    ids::{AgentId, ExecutorId, FrameworkId, MasterId, OfferId, OperationId, TaskId, UpdateId},
    offer::{Filters, InverseOffer, Offer},
    offer_preferences::OfferPreferences,
    resources::{ConversionKind, Resources},
    roles::Role,
    task::{TaskInfo, TaskStatus},
};

/// A subscription (Mesos `Call.Subscribe`).
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub struct Subscribe {
    /// The framework. With an id, this is a failover or reconnection.
    pub framework: FrameworkInfo,
    /// Roles that are suppressed from the start.
    pub suppressed_roles: BTreeSet<Role>,
    pub preferences: OfferPreferences,
}

/// Any other call of a subscribed framework (Mesos `scheduler::Call`).
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub enum Call {
    /// Terminates the framework and shuts down its executors.
    Teardown,
    Accept {
        offer_ids: Vec<OfferId>,
        operations: Vec<Operation>,
        filters: Filters,
    },
    Decline {
        offer_ids: Vec<OfferId>,
        filters: Filters,
    },
    /// Empty means all roles of the framework.
    Revive {
        roles: Vec<Role>,
    },
    /// Empty means all roles of the framework.
    Suppress {
        roles: Vec<Role>,
    },
    Kill {
        task_id: TaskId,
        agent_id: Option<AgentId>,
        grace: Option<Duration>,
    },
    Shutdown {
        executor_id: ExecutorId,
        agent_id: AgentId,
    },
    Acknowledge {
        agent_id: AgentId,
        task_id: TaskId,
        uuid: UpdateId,
    },
    /// Empty means all tasks (implicit reconciliation).
    Reconcile {
        tasks: Vec<(TaskId, Option<AgentId>)>,
    },
    Message {
        agent_id: AgentId,
        executor_id: ExecutorId,
        data: Bytes,
    },
    /// The ids of inverse offers; unknown ones are dropped.
    AcceptInverseOffers {
        offer_ids: Vec<OfferId>,
    },
    /// Like [`Call::AcceptInverseOffers`].
    DeclineInverseOffers {
        offer_ids: Vec<OfferId>,
    },
    AcknowledgeOperationStatus {
        agent_id: AgentId,
        operation_id: OperationId,
        uuid: UpdateId,
    },
    /// Empty means all operations (implicit reconciliation).
    ReconcileOperations {
        operations: Vec<(OperationId, Option<AgentId>)>,
    },
    /// Keeps resources of an agent for a role, what is free there and what becomes free, until they are used or the time is over.
    /// Refused if the role's quota would not allow it to be offered them. Only the scheduler of the master's process may call this;
    /// the wire has no such call.
    Hold(Box<Hold>),
    /// What the framework needs in its roles, beside what it has, also in those that it suppressed; replaces what it said before. Like
    /// [`Call::Hold`] not on the wire.
    Demand {
        roles: Vec<(Role, Resources)>,
    },
    /// Ends a hold.
    ReleaseHold {
        agent_id: AgentId,
        id: Arc<str>,
    },
    /// Resource requests. Mesos' allocator does not use them.
    Request,
    /// A valid call that Mesos accepts with 202 and then drops with this message in its log.
    Dropped {
        /// The name of the call, in lower case.
        call: &'static str,
        message: String,
    },
    UpdateFramework {
        /// Boxed to keep `Call` small: calls are moved often.
        framework: Box<FrameworkInfo>,
        suppressed_roles: BTreeSet<Role>,
        preferences: OfferPreferences,
    },
}

/// See [`Call::Hold`].
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub struct Hold {
    /// Identifies the hold on its agent; a newer one with the same id replaces it.
    pub id: Arc<str>,
    pub agent_id: AgentId,
    pub role: Role,
    /// Unreserved, without allocation roles.
    pub resources: Resources,
    /// Tasks of the framework that end for it. What they hold in the role does not count against its quota.
    pub freed_by: Vec<TaskId>,
    /// How long it lasts.
    pub length: Duration,
}

/// An operation on accepted resources, carried out in order (Mesos `Offer.Operation`).
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub enum Operation {
    Launch {
        tasks: Vec<TaskInfo>,
    },
    LaunchGroup {
        executor: ExecutorInfo,
        tasks: Vec<TaskInfo>,
    },
    /// Tasks of a LAUNCH, or a whole LAUNCH_GROUP, that do not validate. Answered with TASK_ERROR.
    Malformed {
        tasks: Vec<MalformedTask>,
        grouped: bool,
    },
    /// RESERVE, UNRESERVE, CREATE or DESTROY.
    Convert {
        id: Option<OperationId>,
        kind: ConversionKind,
        resources: Resources,
    },
    /// An operation on resources that does not validate. Answered like an invalid one.
    Invalid {
        id: Option<OperationId>,
        why: String,
    },
    /// An operation that is not implemented. Answered with OPERATION_ERROR if it has an id.
    Unsupported {
        id: Option<OperationId>,
        kind: &'static str,
    },
}

/// A task that does not validate: the fields for its TASK_ERROR update.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct MalformedTask {
    pub task_id: TaskId,
    pub agent_id: AgentId,
    pub why: String,
}

/// An event for a framework (Mesos `scheduler::Event`).
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub enum Event {
    Subscribed {
        framework_id: FrameworkId,
        heartbeat_interval: Duration,
        master: Box<MasterInfo>,
    },
    Offers {
        offers: Vec<Arc<Offer>>,
    },
    Rescind {
        offer_id: OfferId,
    },
    /// The master asks for resources back.
    InverseOffers {
        offers: Vec<InverseOffer>,
    },
    Update {
        status: Arc<TaskStatus>,
    },
    /// The status of an operation.
    UpdateOperationStatus {
        /// Set if it is to be acknowledged.
        uuid: Option<UpdateId>,
        operation_id: OperationId,
        state: OperationState,
        message: String,
        agent_id: Option<AgentId>,
    },
    Message {
        agent_id: AgentId,
        executor_id: ExecutorId,
        data: Bytes,
    },
    Failure {
        agent_id: Option<AgentId>,
        executor_id: Option<ExecutorId>,
        status: Option<i32>,
    },
    /// The last event: the stream is closed afterwards.
    Error {
        reason: ErrorReason,
        message: String,
    },
    Heartbeat,
}

/// The state of an offer operation (Mesos `OperationState`, same numbers).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum OperationState {
    Unsupported = 0,
    Pending = 1,
    Finished = 2,
    Failed = 3,
    Error = 4,
    Dropped = 5,
    Unreachable = 6,
    GoneByOperator = 7,
    Recovering = 8,
    Unknown = 9,
}

impl OperationState {
    /// Whether the operation stays in this state.
    pub fn is_terminal(self) -> bool {
        match self {
            OperationState::Finished
            | OperationState::Failed
            | OperationState::Error
            | OperationState::Dropped
            | OperationState::GoneByOperator => true,
            OperationState::Unsupported
            | OperationState::Pending
            | OperationState::Unreachable
            | OperationState::Recovering
            | OperationState::Unknown => false,
        }
    }
}

/// Why a subscription was refused or ended. On the wire Mesos has the message only: what came over HTTP is `Other`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorReason {
    /// The master has ended this framework for good: its ID is of no use any more.
    FrameworkRemoved,
    /// A later subscription of the same framework has taken over.
    FailedOver,
    /// Anything else: the subscription itself is at fault, or the reason is not known.
    Other,
}

/// The master's description for frameworks (Mesos `MasterInfo`).
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct MasterInfo {
    pub id: MasterId,
    pub hostname: String,
    pub ip: String,
    pub port: u16,
    pub version: String,
}
