//! The events of the master.

use kernel_model::{
    agent::{DrainConfig, ToMaster},
    caller::Caller,
    ids::{AgentId, FrameworkId, StreamId},
    quota::Quota,
    resources::{ConversionKind, Resources},
    roles::Role,
    scheduler::{Call, Subscribe},
};

use crate::effect::{LinkId, RequestId};

/// An event for the master.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub enum Event {
    /// A framework subscribes on a new stream. The answer is [`super::Answer::Stream`] whenever Mesos answers 200,
    /// which includes refusals: those are an ERROR event on the stream, which is then closed.
    Subscribe {
        request: RequestId,
        /// The new id of the stream, which opens if the answer is `Stream`.
        stream: StreamId,
        caller: Caller,
        /// Boxed to keep `Event` small: events are moved often.
        subscribe: Box<Subscribe>,
    },
    /// Any other scheduler call.
    SchedulerCall {
        request: RequestId,
        framework_id: FrameworkId,
        /// The `Mesos-Stream-Id` header of the call.
        stream: Option<StreamId>,
        caller: Caller,
        call: Call,
    },
    /// A scheduler's stream ended: the client closed it, a write failed, or its queue was full.
    SchedulerClosed { stream: StreamId },
    /// An agent's link is up. The agent identifies itself with its first message.
    AgentConnected { link: LinkId },
    /// A message from an agent.
    AgentMessage { link: LinkId, message: ToMaster },
    /// An agent's link is down.
    AgentDisconnected { link: LinkId },
    /// An operator call that changes state. Reads use the getters of [`super::Master`].
    Operator { request: RequestId, call: OperatorCall },
    /// Time passed; due at [`super::Master::next_deadline`].
    Tick,
}

/// An operator call that changes state.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub enum OperatorCall {
    /// TEARDOWN: terminates a framework and shuts down its executors.
    Teardown { framework_id: FrameworkId },
    /// UPDATE_WEIGHTS: sets weights; roles that are not named keep theirs.
    UpdateWeights { weights: Vec<(Role, f64)> },
    /// UPDATE_QUOTA: sets the quotas of roles, all or none.
    UpdateQuota {
        configs: Vec<(Role, Quota)>,
        /// Whether guarantees may exceed the cluster, and limits be lower than what is in use.
        force: bool,
    },
    /// SET_QUOTA: guarantee and limit of a role without quota.
    SetQuota { role: Role, quota: Quota, force: bool },
    /// REMOVE_QUOTA.
    RemoveQuota {
        role: Role,
        /// The beginning of a refusal.
        refusal: String,
    },
    /// MARK_AGENT_GONE: marks an agent as gone permanently.
    MarkAgentGone { agent_id: AgentId },
    /// DRAIN_AGENT: no more offers of this agent, and its tasks end.
    DrainAgent { agent_id: AgentId, config: DrainConfig },
    /// DEACTIVATE_AGENT: no more offers of this agent; its tasks keep running.
    DeactivateAgent { agent_id: AgentId },
    /// REACTIVATE_AGENT.
    ReactivateAgent { agent_id: AgentId },
    /// RESERVE_RESOURCES, UNRESERVE_RESOURCES, CREATE_VOLUMES or DESTROY_VOLUMES: converts free resources of an agent.
    Convert {
        agent_id: AgentId,
        kind: ConversionKind,
        /// The caller's.
        principal: Option<String>,
        resources: Resources,
    },
    /// RESERVE_RESOURCES with a source: changes who resources are reserved for.
    ChangeReservation {
        agent_id: AgentId,
        /// The caller's.
        principal: Option<String>,
        /// The resources as they are reserved now.
        source: Resources,
        /// The resources as they are to be.
        resources: Resources,
    },
    /// A call that is not implemented.
    Unsupported {
        /// The call's type on the wire.
        kind: &'static str,
    },
}

impl OperatorCall {
    /// Whether the call changes what only the registry remembers, so that its answer says that the change is durable.
    pub fn is_kept_in_registry(&self) -> bool {
        match self {
            OperatorCall::UpdateWeights { .. }
            | OperatorCall::UpdateQuota { .. }
            | OperatorCall::SetQuota { .. }
            | OperatorCall::RemoveQuota { .. }
            | OperatorCall::MarkAgentGone { .. }
            | OperatorCall::DrainAgent { .. }
            | OperatorCall::DeactivateAgent { .. }
            | OperatorCall::ReactivateAgent { .. }
            // The agent is told, and remembers it too; but it may never hear of it.
            | OperatorCall::Convert { .. }
            | OperatorCall::ChangeReservation { .. } => true,
            // The record of its end only keeps it from subscribing again.
            OperatorCall::Teardown { .. } | OperatorCall::Unsupported { .. } => false,
        }
    }
}
