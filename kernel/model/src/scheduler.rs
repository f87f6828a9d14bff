//! The scheduler API as values: what a framework may ask, and what it is told. The HTTP door parses into these; the
//! in-process driver passes them as they are.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use bytes::Bytes;

use crate::{
    executor::ExecutorInfo,
    framework::FrameworkInfo,
    ids::{AgentId, ExecutorId, FrameworkId, MasterId, OfferId, OperationId, TaskId, UpdateId},
    offer::{Filters, Offer},
    offer_wishes::OfferWishes,
    roles::Role,
    task::{TaskInfo, TaskStatus},
};

/// A subscription (Mesos `Call.Subscribe`).
#[derive(Debug, Clone, PartialEq)]
pub struct Subscribe {
    /// The framework; with an id, a failover or reconnection.
    pub framework: FrameworkInfo,
    /// Roles that want no offers yet.
    pub suppressed_roles: BTreeSet<Role>,
    /// Which offers it wants.
    pub wishes: OfferWishes,
}

/// Any other call of a subscribed framework (Mesos `scheduler::Call`).
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub enum Call {
    /// End the framework and all that it runs.
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
    /// Empty roles mean all of the framework's.
    Revive {
        roles: Vec<Role>,
    },
    /// Empty roles mean all of the framework's.
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
    /// Empty tasks ask for all.
    Reconcile {
        tasks: Vec<(TaskId, Option<AgentId>)>,
    },
    Message {
        agent_id: AgentId,
        executor_id: ExecutorId,
        data: Bytes,
    },
    /// Accepted and ignored, as upstream's allocator does.
    Request,
    UpdateFramework {
        /// Boxed, as all that is rare and large: calls are passed from hand to hand.
        framework: Box<FrameworkInfo>,
        suppressed_roles: BTreeSet<Role>,
        wishes: OfferWishes,
    },
}

/// What to do with accepted resources, in order (Mesos `Offer.Operation`).
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
    /// Tasks of a LAUNCH, or all of a LAUNCH_GROUP, that are none: answered with TASK_ERROR.
    Malformed {
        tasks: Vec<MalformedTask>,
        grouped: bool,
    },
    /// An operation of the API that this version does not carry out: answered with OPERATION_ERROR where it has an id.
    Unsupported {
        id: Option<OperationId>,
        kind: &'static str,
    },
}

/// A task that cannot be what its message says: enough of it to tell its framework, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct MalformedTask {
    pub task_id: TaskId,
    pub agent_id: AgentId,
    pub executor_id: Option<ExecutorId>,
    pub why: String,
}

/// What a framework is told (Mesos `scheduler::Event`).
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
    Update {
        status: Arc<TaskStatus>,
    },
    /// Only errors in this version, without a uuid, hence never acknowledged.
    OperationError {
        operation_id: OperationId,
        message: String,
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
    /// Ends the stream.
    Error {
        message: String,
    },
    Heartbeat,
}

/// The master as frameworks see it (Mesos `MasterInfo`).
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct MasterInfo {
    pub id: MasterId,
    pub hostname: String,
    pub ip: String,
    pub port: u16,
    pub version: String,
}
