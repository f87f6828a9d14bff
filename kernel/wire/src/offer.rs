//! Converts offers and filters from and to `mesos.v1.Offer` and `Filters`, and agents and the master as frameworks see
//! them.

use std::time::Duration;

use kernel_model::{
    agent::AgentInfo,
    ids::{AgentId, ExecutorId},
    offer::{Filters, InverseOffer, Offer},
    resources::Resources,
    roles::Role,
    scheduler::MasterInfo,
};

use crate::{
    Invalid,
    executor::{agent_id_to_wire, executor_id_to_wire},
    framework::id_to_wire,
    resources::{self, Format},
    v1,
};

/// The longest filter, as in Mesos.
const REFUSE_MAX: Duration = Duration::from_secs(365 * 24 * 3600);

/// Scheme and path of an agent's URL.
pub(crate) const URL_SCHEME: &str = "http";
/// See [`URL_SCHEME`].
pub(crate) const URL_PATH: &str = "/slave(1)";

/// Encodes an offer in the reader's format.
pub fn to_wire(from: &Offer, format: Format) -> v1::Offer {
    v1::Offer {
        id: v1::OfferId { value: from.id.as_str().to_owned() },
        framework_id: id_to_wire(&from.framework_id),
        agent_id: agent_id_to_wire(&from.agent_id),
        hostname: from.agent.hostname.clone(),
        url: Some(v1::Url {
            scheme: URL_SCHEME.to_owned(),
            address: address(&from.agent.hostname, &from.agent.ip, from.agent.port),
            path: Some(URL_PATH.to_owned()),
            ..Default::default()
        }),
        resources: resources::to_wire(&from.resources, format),
        attributes: from.agent.attributes.iter().map(resources::attribute_to_wire).collect(),
        executor_ids: from.executor_ids.iter().map(executor_id_to_wire).collect(),
        allocation_info: format
            .allocation
            .then(|| v1::resource::AllocationInfo { role: Some(from.role.to_string()) }),
        ..Default::default()
    }
}

/// Encodes an inverse offer. The wire has no member for the task.
pub fn inverse_to_wire(from: &InverseOffer, format: Format) -> v1::InverseOffer {
    let nanoseconds = i64::try_from(from.start.0).unwrap_or(i64::MAX);
    v1::InverseOffer {
        id: v1::OfferId { value: from.id.as_str().to_owned() },
        url: None,
        framework_id: id_to_wire(&from.framework_id),
        agent_id: Some(agent_id_to_wire(&from.agent_id)),
        unavailability: v1::Unavailability { start: v1::TimeInfo { nanoseconds }, duration: None },
        resources: resources::to_wire(&from.resources, format),
    }
}

/// Decodes an offer. Without allocation info it is in the role of its resources, or `*`.
pub fn from_wire(from: v1::Offer) -> Result<Offer, Invalid> {
    let role = match from.allocation_info.and_then(|a| a.role) {
        Some(text) => resources::role(&text)?,
        None => Role::any(),
    };
    let address = from.url.map(|url| url.address);
    let agent_id = AgentId::from(from.agent_id.value);
    let agent = AgentInfo {
        id: Some(agent_id.clone()),
        hostname: from.hostname,
        ip: address.as_ref().and_then(|a| a.ip.clone()).unwrap_or_default(),
        port: address.and_then(|a| u16::try_from(a.port).ok()).unwrap_or(0),
        resources: Resources::new(),
        runs_images: false,
        operations: Default::default(),
        attributes: from
            .attributes
            .into_iter()
            .map(resources::attribute_from_wire)
            .collect::<Result<_, _>>()?,
    };
    Ok(Offer {
        id: from.id.value.into(),
        framework_id: from.framework_id.value.into(),
        agent_id,
        agent: agent.into(),
        role,
        resources: resources::from_wire(from.resources)?,
        executor_ids: from.executor_ids.into_iter().map(|id| ExecutorId::from(id.value)).collect(),
    })
}

/// Encodes filters.
pub fn filters_to_wire(from: Filters) -> v1::Filters {
    v1::Filters { refuse_seconds: Some(from.refuse.as_secs_f64()) }
}

/// Decodes filters. Unset, negative or NaN means five seconds; more than a year means a year.
pub fn filters_from_wire(from: Option<v1::Filters>) -> Filters {
    match from.and_then(|f| f.refuse_seconds) {
        Some(seconds) if seconds.is_finite() && seconds >= 0.0 => {
            Filters { refuse: Duration::try_from_secs_f64(seconds).unwrap_or(REFUSE_MAX).min(REFUSE_MAX) }
        }
        _ => Filters::default(),
    }
}

fn address(hostname: &str, ip: &str, port: u16) -> v1::Address {
    v1::Address { hostname: Some(hostname.to_owned()), ip: Some(ip.to_owned()), port: i32::from(port) }
}

/// Encodes an agent. Its address is not part of the message.
pub fn agent_to_wire(from: &AgentInfo, format: Format) -> v1::AgentInfo {
    v1::AgentInfo {
        hostname: from.hostname.clone(),
        port: Some(i32::from(from.port)),
        resources: resources::to_wire(&from.resources, format),
        attributes: from.attributes.iter().map(resources::attribute_to_wire).collect(),
        id: from.id.as_ref().map(agent_id_to_wire),
        domain: None,
    }
}

/// Decodes an agent; `ip` is not part of the message.
pub fn agent_from_wire(from: v1::AgentInfo, ip: String) -> Result<AgentInfo, Invalid> {
    Ok(AgentInfo {
        id: from.id.map(|id| AgentId::from(id.value)),
        hostname: from.hostname,
        ip,
        port: from.port.and_then(|p| u16::try_from(p).ok()).unwrap_or(5051),
        resources: resources::from_wire(from.resources)?,
        attributes: from
            .attributes
            .into_iter()
            .map(resources::attribute_from_wire)
            .collect::<Result<_, _>>()?,
        runs_images: false,
        operations: Default::default(),
    })
}

/// Encodes the master.
pub fn master_to_wire(from: &MasterInfo) -> v1::MasterInfo {
    // The deprecated numeric `ip` holds IPv4 addresses only; `address` holds any.
    let octets = from.ip.parse::<std::net::Ipv4Addr>().map_or([0; 4], |ip| ip.octets());
    let capability =
        |kind: v1::master_info::capability::Type| v1::master_info::Capability { r#type: Some(kind as i32) };
    v1::MasterInfo {
        id: from.id.as_str().to_owned(),
        ip: u32::from_le_bytes(octets),
        port: u32::from(from.port),
        pid: Some(format!("master@{}:{}", from.ip, from.port)),
        hostname: Some(from.hostname.clone()),
        version: Some(from.version.clone()),
        address: Some(address(&from.hostname, &from.ip, from.port)),
        domain: None,
        capabilities: vec![capability(v1::master_info::capability::Type::AgentUpdate)],
    }
}

/// Decodes the master.
pub fn master_from_wire(from: v1::MasterInfo) -> MasterInfo {
    let octets = std::net::Ipv4Addr::from(from.ip.to_le_bytes());
    MasterInfo {
        id: from.id.into(),
        hostname: from.hostname.unwrap_or_default(),
        ip: from.address.and_then(|a| a.ip).unwrap_or_else(|| octets.to_string()),
        port: u16::try_from(from.port).unwrap_or(0),
        version: from.version.unwrap_or_default(),
    }
}
