//! Every way out of the master.

use std::sync::Arc;

use kernel_model::{
    agent::{AgentInfo, ToAgent},
    ids::{AgentId, FrameworkId, StreamId},
    operator,
    roles::Role,
    scheduler,
    time::Time,
};

use crate::effect::{LinkId, RequestId};

/// What a step of the master asks of the shell.
pub type Effects = crate::effect::Effects<Op, Effect>;

/// What to do once the step's writes are durable.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// Answers a request.
    Reply {
        /// Which.
        request: RequestId,
        /// How.
        result: Result<Answer, Refusal>,
    },
    /// Sends to a scheduler. Heartbeats are the HTTP door's: one after SUBSCRIBED, then one every 15 s.
    ToScheduler {
        /// On which stream.
        stream: StreamId,
        /// What.
        event: scheduler::Event,
    },
    /// Closes a scheduler's stream once all before it is written. The master has forgotten it.
    CloseStream {
        /// Which.
        stream: StreamId,
    },
    /// Sends to an agent.
    ToAgent {
        /// On which link.
        link: LinkId,
        /// What.
        message: ToAgent,
    },
    /// Closes an agent's link once all before it is written. The master has forgotten it.
    CloseLink {
        /// Which.
        link: LinkId,
    },
    /// Tells every operator stream, and the facade's projections.
    Operator(operator::Event),
}

/// A good answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// 200, and the stream is open: events follow, perhaps only an ERROR.
    Stream,
    /// 202: taken, and carried out in the order of arrival.
    Accepted,
    /// 200, done.
    Done,
}

/// A refusal, with the text that Mesos gives.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// 400.
    #[error("{0}")]
    Invalid(String),
    /// 403.
    #[error("{0}")]
    Forbidden(String),
    /// 404.
    #[error("{0}")]
    NotFound(String),
    /// 409.
    #[error("{0}")]
    Conflict(String),
    /// 501.
    #[error("{0}")]
    Unsupported(String),
}

/// One change of the registry. The shell writes them atomically, step by step.
#[derive(Debug, Clone, PartialEq)]
pub enum Op {
    /// Writes a record in the place of any with the same key.
    Put(Record),
    /// Removes a record.
    Delete(RecordKey),
}

/// One thing that a master must know again after a restart.
#[derive(Debug, Clone, PartialEq)]
pub enum Record {
    /// An admitted agent.
    Agent {
        /// Its description, id included.
        info: Arc<AgentInfo>,
        /// Whether an operator keeps offers from it.
        deactivated: bool,
        /// Since when it is unreachable, if it is.
        unreachable_since: Option<Time>,
    },
    /// An agent that may never come back.
    GoneAgent {
        /// Which.
        agent_id: AgentId,
        /// Since when.
        since: Time,
    },
    /// A role's weight where one was set.
    Weight {
        /// Which role.
        role: Role,
        /// Positive.
        weight: f64,
    },
    /// A framework that ended and may not subscribe again.
    EndedFramework {
        /// Which.
        framework_id: FrameworkId,
        /// When.
        since: Time,
    },
}

/// The name of a record.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum RecordKey {
    /// Of [`Record::Agent`].
    Agent(AgentId),
    /// Of [`Record::GoneAgent`].
    GoneAgent(AgentId),
    /// Of [`Record::Weight`].
    Weight(Role),
    /// Of [`Record::EndedFramework`].
    EndedFramework(FrameworkId),
}

impl Record {
    /// The name that this record is written under.
    pub fn key(&self) -> RecordKey {
        match self {
            Record::Agent { info, .. } => {
                RecordKey::Agent(info.id.clone().expect("invariant: recorded agents have ids"))
            }
            Record::GoneAgent { agent_id, .. } => RecordKey::GoneAgent(agent_id.clone()),
            Record::Weight { role, .. } => RecordKey::Weight(role.clone()),
            Record::EndedFramework { framework_id, .. } => RecordKey::EndedFramework(framework_id.clone()),
        }
    }
}
