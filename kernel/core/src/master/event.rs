//! Every way into the master.

use kernel_model::{
    agent::ToMaster,
    ids::{AgentId, FrameworkId, StreamId},
    roles::Role,
    scheduler::{Call, Subscribe},
};

use crate::effect::{LinkId, RequestId};

/// What can happen to a master.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// A framework subscribes on a new stream. Answered with [`super::Answer::Stream`] in every case that Mesos
    /// answers with 200, refusals included: those come as an ERROR event before the stream is closed.
    Subscribe {
        /// To be answered.
        request: RequestId,
        /// A fresh id of the stream that opens if the answer is `Stream`.
        stream: StreamId,
        /// Who asks, where authentication is on.
        principal: Option<String>,
        /// What is asked. Boxed, as all that is rare and large: events are passed from hand to hand.
        subscribe: Box<Subscribe>,
    },
    /// Any other call of a framework.
    SchedulerCall {
        /// To be answered.
        request: RequestId,
        /// Whose call.
        framework_id: FrameworkId,
        /// The `Mesos-Stream-Id` that came with it.
        stream: Option<StreamId>,
        /// Who asks, where authentication is on.
        principal: Option<String>,
        /// What is asked.
        call: Call,
    },
    /// A scheduler's stream ended, by the client or by a write that failed or would have queued too much.
    SchedulerClosed {
        /// Which.
        stream: StreamId,
    },
    /// An agent's link is up. Nothing is known of it until its first message.
    AgentConnected {
        /// Which.
        link: LinkId,
    },
    /// An agent says something.
    AgentMessage {
        /// On which link.
        link: LinkId,
        /// What.
        message: ToMaster,
    },
    /// An agent's link is down.
    AgentDisconnected {
        /// Which.
        link: LinkId,
    },
    /// An operator changes something. Reads go through the getters of [`super::Master`].
    Operator {
        /// To be answered.
        request: RequestId,
        /// What is asked.
        call: OperatorCall,
    },
    /// Time passed: to be sent at [`super::Master::next_deadline`].
    Tick,
}

/// What an operator may change.
#[derive(Debug, Clone, PartialEq)]
pub enum OperatorCall {
    /// Ends a framework and all that it runs.
    Teardown {
        /// Which.
        framework_id: FrameworkId,
    },
    /// Sets weights; roles that are not named keep theirs.
    UpdateWeights {
        /// Role by role.
        weights: Vec<(Role, f64)>,
    },
    /// Declares an agent gone for good.
    MarkAgentGone {
        /// Which.
        agent_id: AgentId,
    },
    /// No more offers of this agent; what runs there goes on.
    DeactivateAgent {
        /// Which.
        agent_id: AgentId,
    },
    /// Offers again.
    ReactivateAgent {
        /// Which.
        agent_id: AgentId,
    },
    /// A call of the API that this version does not carry out.
    Unsupported {
        /// Its name on the wire.
        kind: &'static str,
    },
}
