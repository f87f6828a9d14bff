//! Converts agents, frameworks and events of the operator API from and to `mesos.v1.master`.

use std::time::Duration;

use kernel_model::{
    agent::{Activation, AgentSnapshot, AgentState, Drain, DrainConfig},
    framework::FrameworkInfo,
    ids::FrameworkId,
    operator::Event,
    resources::{Resources, general},
    roles::Role,
    time::Time,
};

use crate::{
    Invalid,
    executor::{self, agent_id_to_wire},
    framework,
    framework::id_to_wire,
    offer,
    resources::{self, Format},
    task,
    v1::{
        self,
        agent_info::capability::Type as Capability,
        master::{
            Event as WireEvent, event,
            response::{get_agents::Agent, get_frameworks::Framework},
        },
    },
};

/// Decodes the weights of an update. The error is the whole message of the refusal.
pub fn weights_from_wire(infos: Vec<v1::WeightInfo>) -> Result<Vec<(Role, f64)>, Invalid> {
    let weight = |info: v1::WeightInfo| {
        let name = info.role.unwrap_or_default();
        let name = name.trim_matches([' ', '\t', '\n', '\r']);
        let role = Role::parse(name).map_err(|error| {
            let why =
                format!("Failed to validate update weights request JSON: Invalid role '{name}': {error}");
            Invalid(why)
        })?;
        // Mesos takes an infinite weight, with which no share can be computed.
        if info.weight.is_finite() && info.weight > 0.0 {
            return Ok((role, info.weight));
        }
        Err(Invalid(format!(
            "Failed to validate update weights request JSON for role '{role}': Invalid weight '{}': Weights must be \
             positive",
            general(info.weight, 6)
        )))
    };
    infos.into_iter().map(weight).collect()
}

/// What every agent can do.
pub const AGENT_CAPABILITIES: [Capability; 5] = [
    Capability::MultiRole,
    Capability::HierarchicalRole,
    Capability::ReservationRefinement,
    Capability::AgentOperationFeedback,
    Capability::AgentDraining,
];

/// Encodes an agent.
pub fn agent_to_wire(from: &AgentSnapshot, version: &str) -> Agent {
    let show = |r: &Resources| resources::to_wire(r, Format::ENDPOINT);
    Agent {
        agent_info: offer::agent_to_wire(&from.info, Format::ENDPOINT),
        active: from.state == AgentState::Connected && from.activation.is_active(),
        deactivated: Some(!from.activation.is_active()),
        version: version.to_owned(),
        pid: Some(format!("slave(1)@{}:{}", from.info.ip, from.info.port)),
        registered_time: Some(task::time_to_wire(from.registered_at)),
        reregistered_time: from.reregistered_at.map(task::time_to_wire),
        total_resources: show(&from.total),
        allocated_resources: from.allocated.iter().flat_map(|(_, r)| show(r)).collect(),
        offered_resources: show(&from.offered),
        capabilities: AGENT_CAPABILITIES
            .map(|k| v1::agent_info::Capability { r#type: Some(k as i32) })
            .to_vec(),
        resource_providers: Vec::new(),
        drain_info: from.activation.drain().map(drain_to_wire),
        estimated_drain_start_time: from.activation.drain().map(|drain| task::time_to_wire(drain.since)),
    }
}

/// Encodes how an agent is drained.
pub fn drain_to_wire(from: &Drain) -> v1::DrainInfo {
    let state = if from.is_drained { v1::DrainState::Drained } else { v1::DrainState::Draining };
    let config = v1::DrainConfig {
        max_grace_period: from.config.max_grace.map(executor::duration_to_wire),
        mark_gone: Some(from.config.mark_gone),
    };
    v1::DrainInfo { state: state as i32, config }
}

/// Decodes how an agent is drained, since when.
pub fn drain_from_wire(from: v1::DrainInfo, since: Time) -> Result<Drain, Invalid> {
    let max_grace = executor::duration_from_wire(from.config.max_grace_period, "'max_grace_period'")?;
    Ok(Drain {
        config: DrainConfig { max_grace, mark_gone: from.config.mark_gone.unwrap_or(false) },
        is_drained: from.state == v1::DrainState::Drained as i32,
        since,
    })
}

/// Decodes the request of DRAIN_AGENT.
pub fn drain_config_from_wire(from: v1::master::call::DrainAgent) -> Result<DrainConfig, Invalid> {
    let negative = || Invalid::new("'drain_agent.max_grace_period' must not be negative");
    let length = |length| Duration::try_from(length).map_err(|_| negative());
    Ok(DrainConfig {
        max_grace: from.max_grace_period.map(length).transpose()?,
        mark_gone: from.mark_gone.unwrap_or(false),
    })
}

/// Puts together what is said of an agent's activation.
pub fn activation_from_wire(deactivated: Option<bool>, drain: Option<Drain>) -> Activation {
    match drain {
        Some(drain) => Activation::Drain(drain),
        None if deactivated.unwrap_or(false) => Activation::Deactivated,
        None => Activation::Active,
    }
}

/// Decodes an agent. The message has only the sum of what frameworks hold, which is stored under the empty framework
/// id.
pub fn agent_from_wire(from: Agent) -> Result<AgentSnapshot, Invalid> {
    let ip = from.pid.as_deref().and_then(|pid| pid.split_once('@')).and_then(|(_, a)| a.rsplit_once(':'));
    let ip = ip.map(|(ip, _)| ip.to_owned()).unwrap_or_default();
    let allocated = resources::from_wire(from.allocated_resources)?;
    let since = from.estimated_drain_start_time.map(task::time_from_wire).unwrap_or_default();
    let drain = from.drain_info.map(|info| drain_from_wire(info, since)).transpose()?;
    Ok(AgentSnapshot {
        info: offer::agent_from_wire(from.agent_info, ip)?.into(),
        state: if from.active { AgentState::Connected } else { AgentState::Disconnected },
        activation: activation_from_wire(from.deactivated, drain),
        registered_at: from.registered_time.map(task::time_from_wire).unwrap_or_default(),
        reregistered_at: from.reregistered_time.map(task::time_from_wire),
        total: resources::from_wire(from.total_resources)?,
        allocated: if allocated.is_empty() { Vec::new() } else { vec![(FrameworkId::from(""), allocated)] },
        offered: resources::from_wire(from.offered_resources)?,
    })
}

/// Encodes a subscribed framework, without its offers and resources.
pub fn framework_to_wire(from: &FrameworkInfo) -> Framework {
    Framework {
        framework_info: framework::to_wire(from),
        active: true,
        connected: true,
        ..Default::default()
    }
}

/// Encodes an event; `None` if Mesos has no such event.
pub fn event_to_wire(from: &Event, version: &str) -> Option<WireEvent> {
    let mut to = WireEvent::default();
    let kind = match from {
        Event::AgentAdded { agent } => {
            to.agent_added = Some(event::AgentAdded { agent: agent_to_wire(agent, version) });
            event::Type::AgentAdded
        }
        Event::AgentUpdated { .. } => return None,
        Event::AgentRemoved { agent_id } => {
            to.agent_removed = Some(event::AgentRemoved { agent_id: agent_id_to_wire(agent_id) });
            event::Type::AgentRemoved
        }
        Event::FrameworkAdded { framework } => {
            to.framework_added = Some(event::FrameworkAdded { framework: framework_to_wire(framework) });
            event::Type::FrameworkAdded
        }
        Event::FrameworkUpdated { framework } => {
            to.framework_updated = Some(event::FrameworkUpdated { framework: framework_to_wire(framework) });
            event::Type::FrameworkUpdated
        }
        Event::FrameworkRemoved { framework } => {
            to.framework_removed =
                Some(event::FrameworkRemoved { framework_info: framework::to_wire(framework) });
            event::Type::FrameworkRemoved
        }
        Event::TaskAdded { task } => {
            to.task_added = Some(event::TaskAdded { task: task::to_wire(task, Format::ENDPOINT) });
            event::Type::TaskAdded
        }
        Event::TaskUpdated { framework_id, status, latest } => {
            to.task_updated = Some(event::TaskUpdated {
                framework_id: id_to_wire(framework_id),
                status: task::status_to_wire(status),
                state: *latest as i32,
            });
            event::Type::TaskUpdated
        }
    };
    to.r#type = Some(kind as i32);
    Some(to)
}

/// Decodes an event; `None` for SUBSCRIBED, HEARTBEAT and unknown types.
pub fn event_from_wire(from: WireEvent) -> Result<Option<Event>, Invalid> {
    let kind = from.r#type.and_then(|n| event::Type::try_from(n).ok()).unwrap_or_default();
    Ok(Some(match kind {
        event::Type::AgentAdded => {
            Event::AgentAdded { agent: agent_from_wire(present(from.agent_added)?.agent)? }
        }
        event::Type::AgentRemoved => {
            Event::AgentRemoved { agent_id: present(from.agent_removed)?.agent_id.value.into() }
        }
        event::Type::FrameworkAdded => Event::FrameworkAdded {
            framework: framework::from_wire(present(from.framework_added)?.framework.framework_info)?.into(),
        },
        event::Type::FrameworkUpdated => Event::FrameworkUpdated {
            framework: framework::from_wire(present(from.framework_updated)?.framework.framework_info)?
                .into(),
        },
        event::Type::FrameworkRemoved => Event::FrameworkRemoved {
            framework: framework::from_wire(present(from.framework_removed)?.framework_info)?.into(),
        },
        event::Type::TaskAdded => Event::TaskAdded { task: task::from_wire(present(from.task_added)?.task)? },
        event::Type::TaskUpdated => {
            let updated = present(from.task_updated)?;
            let status = task::status_from_wire(updated.status)?;
            Event::TaskUpdated {
                framework_id: updated.framework_id.value.into(),
                latest: task::state_from_number(updated.state).unwrap_or(status.state),
                status: status.into(),
            }
        }
        event::Type::Unknown | event::Type::Subscribed | event::Type::Heartbeat => return Ok(None),
    }))
}

fn present<T>(part: Option<T>) -> Result<T, Invalid> {
    part.ok_or_else(|| Invalid::new("an event without the part that its type names"))
}
