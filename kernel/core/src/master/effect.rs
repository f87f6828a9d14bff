//! The effects of the master.

use std::sync::Arc;

use kernel_model::{
    agent::{Activation, AgentInfo, ToAgent},
    ids::{AgentId, FrameworkId, StreamId},
    operation::{OfferOperation, OperationUuid},
    operator,
    quota::Quota,
    roles::Role,
    scheduler,
    time::Time,
};

use crate::effect::{LinkId, RequestId};

/// The effects of one step of the master.
pub type Effects = crate::effect::Effects<Op, Effect>;

/// An effect to carry out once the step's writes are durable.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub enum Effect {
    /// Answers a request.
    Reply {
        request: RequestId,
        result: Result<Answer, Refusal>,
    },
    /// Sends an event to a scheduler. The HTTP server sends the heartbeats: one after SUBSCRIBED, then one every 15 s.
    ToScheduler {
        stream: StreamId,
        event: scheduler::Event,
    },
    /// Closes a scheduler's stream after everything before is written. The master has removed it already.
    CloseStream {
        stream: StreamId,
    },
    ToAgent {
        link: LinkId,
        message: ToAgent,
    },
    /// Closes an agent's link after everything before is written. The master has removed it already.
    CloseLink {
        link: LinkId,
    },
    /// Logs a part of an accepted call that was dropped, as in Mesos.
    Dropped {
        framework_id: FrameworkId,
        message: String,
    },
    /// Sends an event to every operator stream and to the projections.
    Operator(operator::Event),
}

/// A positive answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// 200, and the stream is open: events follow, perhaps only an ERROR.
    Stream,
    /// 202: accepted; calls are carried out in order of arrival.
    Accepted,
    /// 200: carried out.
    Done,
}

/// A refusal, with Mesos' message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// HTTP 400.
    #[error("{0}")]
    Invalid(String),
    /// HTTP 400: a check that the call's field `force` bypasses, for callers that have one.
    #[error("{0} (use 'force' flag to bypass this check)")]
    Unforced(String),
    /// HTTP 403.
    #[error("{0}")]
    Forbidden(String),
    /// HTTP 404.
    #[error("{0}")]
    NotFound(String),
    /// HTTP 409.
    #[error("{0}")]
    Conflict(String),
    /// HTTP 501.
    #[error("{0}")]
    Unsupported(String),
    /// HTTP 503: the call may be repeated.
    #[error("{0}")]
    Unavailable(String),
}

/// A change of the registry. The shell writes the changes of a step atomically.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub enum Op {
    /// Inserts or replaces a record.
    Put(Record),
    Delete(RecordKey),
}

/// A record of the registry: state that must survive a restart of the master.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub enum Record {
    /// A registered agent.
    Agent {
        /// The description, with the id.
        info: Arc<AgentInfo>,
        /// Whether it takes new work.
        activation: Activation,
        /// When it became unreachable.
        unreachable_since: Option<Time>,
    },
    /// An agent that an operator marked as gone.
    GoneAgent { agent_id: AgentId, since: Time },
    /// The configured weight of a role.
    Weight {
        role: Role,
        /// Greater than zero.
        weight: f64,
    },
    /// The configured quota of a role, which is not the default.
    Quota { role: Role, quota: Quota },
    /// A framework that ended and may not subscribe again.
    EndedFramework { framework_id: FrameworkId, since: Time },
    /// A framework that is not subscribed, and ends at this time unless it subscribes before.
    AbsentFramework { framework_id: FrameworkId, until: Time },
    /// An operation with an id that its agent has not confirmed.
    PendingOperation {
        agent_id: AgentId,
        /// The agent's [`AppliedOperations::count`](kernel_model::operation::AppliedOperations::count) with it: an agent that reports as
        /// many has heard of it.
        count: u64,
        operation: Arc<OfferOperation>,
    },
}

/// The key of a record.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum RecordKey {
    Agent(AgentId),
    GoneAgent(AgentId),
    Weight(Role),
    Quota(Role),
    EndedFramework(FrameworkId),
    AbsentFramework(FrameworkId),
    PendingOperation(AgentId, OperationUuid),
}

impl Record {
    /// The key of this record.
    pub fn key(&self) -> RecordKey {
        match self {
            Record::Agent { info, .. } => {
                RecordKey::Agent(info.id.clone().expect("invariant: recorded agents have ids"))
            }
            Record::GoneAgent { agent_id, .. } => RecordKey::GoneAgent(agent_id.clone()),
            Record::Weight { role, .. } => RecordKey::Weight(role.clone()),
            Record::Quota { role, .. } => RecordKey::Quota(role.clone()),
            Record::EndedFramework { framework_id, .. } => RecordKey::EndedFramework(framework_id.clone()),
            Record::AbsentFramework { framework_id, .. } => RecordKey::AbsentFramework(framework_id.clone()),
            Record::PendingOperation { agent_id, operation, .. } => {
                RecordKey::PendingOperation(agent_id.clone(), operation.uuid)
            }
        }
    }
}
