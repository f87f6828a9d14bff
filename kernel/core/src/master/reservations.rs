//! Dynamic reservations: RESERVE and UNRESERVE by frameworks on what they are offered, and by operators. The agent checkpoints
//! them and reports them when it registers again, so its word prevails.

use std::sync::Arc;

use kernel_model::{
    agent::{AgentInfo, ToAgent},
    ids::AgentId,
    resources::{Conversion, Resource, Resources},
    roles::Role,
};

use super::{
    Master,
    accept::Accepted,
    effect::{Op, Record, Refusal},
};

/// How many resources of an agent can be reserved with roles, principals and labels of their own.
const RESERVED_MAX: usize = 1024;

/// How long the text of them all can be, labels included.
const RESERVED_BYTES_MAX: usize = 256 * 1024;

/// What is wrong with an operation, in Mesos' words.
type Checked = Result<(), String>;

/// Who reserves: a framework for the role of its offer, or an operator.
enum Reserver<'a> {
    Framework { principal: Option<&'a str>, role: &'a Role },
    Operator { principal: Option<&'a str> },
}

impl Reserver<'_> {
    fn principal(&self) -> Option<&str> {
        match self {
            Reserver::Framework { principal, .. } | Reserver::Operator { principal } => *principal,
        }
    }
}

/// Validates the resources of a RESERVE.
fn check_reserve(resources: &Resources, by: &Reserver<'_>) -> Checked {
    resources.iter().try_for_each(|resource| {
        let top = match resource.reservation() {
            Some(top) if resource.is_dynamically_reserved() => top,
            _ => return Err(format!("Resource {resource} is not dynamically reserved")),
        };
        if let Some(who) = by.principal() {
            match top.principal.as_deref() {
                None => {
                    return Err(format!(
                        "A reserve operation was attempted by principal '{who}', but there is a reserved resource in the \
                         request with no principal set"
                    ));
                }
                Some(other) if other != who => {
                    return Err(format!(
                        "A reserve operation was attempted by authenticated principal '{who}', which does not match a \
                         reserved resource in the request with principal '{other}'"
                    ));
                }
                Some(_) => {}
            }
        }
        match by {
            Reserver::Framework { role, .. } if top.role != **role => Err(format!(
                "A reserve operation was attempted for a resource with role '{}', but the resource was allocated to role \
                 '{role}'",
                top.role
            )),
            Reserver::Operator { .. } if resource.allocation_role.is_some() => Err(
                "A reserve operation was attempted with an allocated resource, but the operator API only allows \
                 reservations to be made to unallocated resources"
                    .to_owned(),
            ),
            Reserver::Framework { .. } | Reserver::Operator { .. } => check_kind(resource),
        }
    })
}

/// Validates the resources of an UNRESERVE.
fn check_unreserve(resources: &Resources) -> Checked {
    resources.iter().try_for_each(|resource| match resource.is_dynamically_reserved() {
        true => check_kind(resource),
        false => Err(format!("Resource {resource} is not dynamically reserved")),
    })
}

/// Validates a RESERVE with a source: the same amounts with other reservations, one stack of them each.
fn check_change(source: &Resources, target: &Resources) -> Checked {
    for (name, resources) in [("source", source), ("resources", target)] {
        let first = resources.iter().next().map(|resource| &resource.reservations);
        if resources.iter().any(|resource| Some(&resource.reservations) != first) {
            return Err(format!("Invalid {name}: Mixed reservations are not supported{resources}"));
        }
    }
    let (before, after) = (source.to_unreserved(), target.to_unreserved());
    if before != after {
        return Err(format!(
            "Source and target resources should refer to identical resource quantities: {before} vs. {after}"
        ));
    }
    source.iter().try_for_each(check_kind)
}

/// Reservations are in the records of agent and master, and in messages between them.
fn check_size(total: &Resources) -> Checked {
    let reserved = total.dynamically_reserved();
    let (count, bytes) = (reserved.iter().count(), reserved.to_string().len());
    match count > RESERVED_MAX || bytes > RESERVED_BYTES_MAX {
        true => Err(format!(
            "the agent would have {count} reserved resources of {bytes} bytes, more than the limits of {RESERVED_MAX} and \
             {RESERVED_BYTES_MAX}"
        )),
        false => Ok(()),
    }
}

/// Reservations are of what stays: no revocable resources, and no volumes.
fn check_kind(resource: &Resource) -> Checked {
    if resource.revocable {
        return Err(format!("Revocable resource {resource} cannot be reserved"));
    }
    match resource.disk.as_ref().is_some_and(|disk| disk.indivisible) {
        true => Err(format!(
            "A dynamically reserved persistent volume {resource} cannot be unreserved directly. Please destroy the \
             persistent volume first then unreserve the resource"
        )),
        false => Ok(()),
    }
}

impl Master {
    /// Converts what is left of a framework's offers, which it is charged.
    fn convert_offered(&mut self, accepted: &mut Accepted, conversion: &Conversion) -> Checked {
        let remaining = &accepted.remaining;
        let missing = || format!("{remaining} does not contain {}", conversion.consumed);
        let after = conversion.apply(remaining).ok_or_else(missing)?;
        let agent = self.agents.get(&accepted.agent_id).ok_or("Agent removed")?;
        let (slot, all) = (agent.slot, agent.info.resources.clone());
        let total = conversion.unallocated().apply(&all);
        let client = self.client_of(&accepted.framework_id, &accepted.role);
        let (Some(total), Some(client)) = (total, client) else {
            return Err(format!("{all} does not contain {}", conversion.consumed));
        };
        check_size(&total)?;
        accepted.remaining = after;
        accepted.converted.remove_all(&conversion.consumed);
        accepted.converted += &conversion.converted;
        self.allocator.recover(slot, client, &conversion.consumed);
        self.set_agent_resources(&accepted.agent_id, total);
        self.allocator.charge(slot, client, &conversion.converted);
        Ok(())
    }

    /// RESERVE of an ACCEPT.
    pub(super) fn reserve_offered(&mut self, accepted: &mut Accepted, mut resources: Resources) -> Checked {
        resources.allocate_by_default_to(&accepted.role);
        let framework = self.frameworks.get(&accepted.framework_id);
        let principal = framework.and_then(|framework| framework.info.principal.as_deref());
        check_reserve(&resources, &Reserver::Framework { principal, role: &accepted.role })
            .map_err(|why| self.on_agent(&accepted.agent_id, &why))?;
        self.convert_offered(accepted, &Conversion::reserve(&resources))
    }

    /// UNRESERVE of an ACCEPT.
    pub(super) fn unreserve_offered(&mut self, accepted: &mut Accepted, mut resources: Resources) -> Checked {
        resources.allocate_by_default_to(&accepted.role);
        check_unreserve(&resources).map_err(|why| self.on_agent(&accepted.agent_id, &why))?;
        self.convert_offered(accepted, &Conversion::unreserve(&resources))
    }

    fn on_agent(&self, agent_id: &AgentId, why: &str) -> String {
        let agent = self.agents.get(agent_id).map(|agent| described(agent_id, &agent.info));
        format!("{why}; on agent {}", agent.unwrap_or_else(|| agent_id.to_string()))
    }

    /// Converts free resources of an agent, for an operator. Outstanding offers are rescinded as far as necessary.
    fn convert_free(&mut self, agent_id: &AgentId, conversion: &Conversion) -> Result<(), Refusal> {
        let unknown = || Refusal::Invalid("No agent found with specified ID".to_owned());
        let total = self.agents.get(agent_id).ok_or_else(unknown)?.info.resources.clone();
        let conflict = || Refusal::Conflict(format!("{total} does not contain {}", conversion.consumed));
        let after = conversion.apply(&total).ok_or_else(conflict)?;
        check_size(&after).map_err(Refusal::Conflict)?;
        if !self.make_room(agent_id, &conversion.consumed) {
            let free = self.agents.get(agent_id).and_then(|agent| self.allocator.available(agent.slot));
            let free = free.cloned().unwrap_or_default();
            return Err(Refusal::Conflict(format!("{free} does not contain {}", conversion.consumed)));
        }
        self.set_agent_resources(agent_id, after);
        Ok(())
    }

    /// RESERVE_RESOURCES.
    pub(super) fn reserve_by_operator(
        &mut self,
        agent_id: &AgentId,
        principal: Option<&str>,
        source: &Resources,
        resources: &Resources,
    ) -> Result<(), Refusal> {
        let checked = check_reserve(resources, &Reserver::Operator { principal });
        if source.is_empty() {
            return self.convert_by_operator(agent_id, "RESERVE", checked, &Conversion::reserve(resources));
        }
        let checked = check_change(source, resources).and(checked);
        let conversion = Conversion { consumed: source.clone(), converted: resources.clone() };
        self.convert_by_operator(agent_id, "RESERVE", checked, &conversion)
    }

    /// UNRESERVE_RESOURCES.
    pub(super) fn unreserve_by_operator(
        &mut self,
        agent_id: &AgentId,
        resources: &Resources,
    ) -> Result<(), Refusal> {
        let checked = check_unreserve(resources);
        self.convert_by_operator(agent_id, "UNRESERVE", checked, &Conversion::unreserve(resources))
    }

    fn convert_by_operator(
        &mut self,
        agent_id: &AgentId,
        kind: &str,
        checked: Checked,
        conversion: &Conversion,
    ) -> Result<(), Refusal> {
        let unknown = || Refusal::Invalid("No agent found with specified ID".to_owned());
        let info = &self.agents.get(agent_id).ok_or_else(unknown)?.info;
        checked.map_err(|why| {
            Refusal::Invalid(format!(
                "Invalid {kind} operation on agent {}: {why}",
                described(agent_id, info)
            ))
        })?;
        self.convert_free(agent_id, conversion)
    }

    /// Records an agent's resources, and tells it which of them are reserved.
    fn set_agent_resources(&mut self, agent_id: &AgentId, resources: Resources) {
        let Some(agent) = self.agents.get_mut(agent_id) else { return };
        let info = Arc::new(AgentInfo { resources, ..AgentInfo::clone(&agent.info) });
        agent.info = info.clone();
        let (slot, deactivated) = (agent.slot, agent.deactivated);
        self.allocator.set_total(slot, &info.resources);
        self.changed_agents.insert(agent_id.clone());
        let reserved = info.resources.dynamically_reserved();
        self.persist(Op::Put(Record::Agent { info, deactivated, unreachable_since: None }));
        self.send_to_agent(agent_id, ToAgent::SetReservations { reserved });
    }
}

/// An agent in Mesos' messages.
fn described(id: &AgentId, info: &AgentInfo) -> String {
    format!("{id} at slave(1)@{}:{} ({})", info.ip, info.port, info.hostname)
}
