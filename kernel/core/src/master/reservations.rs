//! RESERVE, UNRESERVE, CREATE and DESTROY, by frameworks on what they are offered and by operators: they convert an agent's
//! resources. The registry has the result before anybody is answered, and the agent checkpoints it; of the two, whoever knows more
//! operations prevails when the agent registers again.

use std::sync::Arc;

use kernel_model::{
    agent::AgentInfo,
    framework::FrameworkInfo,
    ids::{AgentId, OperationId},
    operation::OfferOperation,
    resources::{Conversion, ConversionKind, Resource, Resources},
    roles::Role,
    scheduler::OperationState,
};

use super::{
    Master,
    accept::Accepted,
    effect::{Op, Record, Refusal},
    state::Agent,
    volumes,
};

/// How many resources of an agent can be reserved with roles, principals and labels of their own.
const RESERVED_MAX: usize = 1024;

/// How long the text of them all can be, labels included.
const RESERVED_BYTES_MAX: usize = 256 * 1024;

/// What is wrong with an operation, in Mesos' words.
pub(super) type Checked = Result<(), String>;

/// Who converts: a framework what it is offered for a role, or an operator.
pub(super) enum Caller<'a> {
    Framework { framework: &'a FrameworkInfo, role: &'a Role },
    Operator { principal: Option<&'a str> },
}

impl Caller<'_> {
    pub(super) fn principal(&self) -> Option<&str> {
        match self {
            Caller::Framework { framework, .. } => framework.principal.as_deref(),
            Caller::Operator { principal } => *principal,
        }
    }
}

/// Validates the resources of a RESERVE.
fn check_reserve(resources: &Resources, by: &Caller<'_>) -> Checked {
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
            Caller::Framework { role, .. } if top.role != **role => Err(format!(
                "A reserve operation was attempted for a resource with role '{}', but the resource was allocated to role \
                 '{role}'",
                top.role
            )),
            Caller::Operator { .. } if resource.allocation_role.is_some() => Err(
                "A reserve operation was attempted with an allocated resource, but the operator API only allows \
                 reservations to be made to unallocated resources"
                    .to_owned(),
            ),
            Caller::Framework { .. } | Caller::Operator { .. } => check_kind(resource),
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
    let reserved = total.checkpointed();
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
    match resource.is_persistent_volume() {
        true => Err(format!(
            "A dynamically reserved persistent volume {resource} cannot be unreserved directly. Please destroy the \
             persistent volume first then unreserve the resource"
        )),
        false => Ok(()),
    }
}

/// Validates an operation on an agent's resources, in Mesos' order.
fn check(kind: ConversionKind, resources: &Resources, by: &Caller<'_>, agent: &Agent) -> Checked {
    match kind {
        ConversionKind::Reserve => check_reserve(resources, by),
        ConversionKind::Unreserve => check_unreserve(resources),
        ConversionKind::Create => volumes::check_create(resources, by, agent),
        ConversionKind::Destroy => volumes::check_destroy(resources, agent),
    }
}

impl Master {
    /// An operation of an ACCEPT, on what is left of the offers, which the framework is charged.
    pub(super) fn convert_by_framework(
        &mut self,
        accepted: &mut Accepted,
        id: Option<OperationId>,
        kind: ConversionKind,
        mut resources: Resources,
    ) -> Checked {
        resources.allocate_by_default_to(&accepted.role);
        let agent = self.agents.get(&accepted.agent_id).ok_or("Agent removed")?;
        let framework = self.frameworks.get(&accepted.framework_id).ok_or("Framework removed")?;
        let by = Caller::Framework { framework: &framework.info, role: &accepted.role };
        check(kind, &resources, &by, agent)
            .map_err(|why| format!("{why}; on agent {}", described(&agent.id, &agent.info)))?;
        if id.is_some() {
            self.check_tracked(&accepted.agent_id, &accepted.framework_id, &resources)?;
        }
        self.convert_offered(accepted, &kind.of(&resources))?;
        let operation = id.map(|id| OfferOperation {
            uuid: self.id_generator.operation_uuid(),
            framework_id: accepted.framework_id.clone(),
            id,
            kind,
            resources,
            state: OperationState::Pending,
            message: String::new(),
            status: None,
        });
        match &operation {
            Some(operation) => {
                self.track_operation(&accepted.agent_id, operation.clone());
                self.record_pending(&accepted.agent_id, operation);
            }
            None => self.counts.operation(kind.name(), OperationState::Finished),
        }
        self.send_checkpoint(&accepted.agent_id, operation.into_iter().collect());
        Ok(())
    }

    fn convert_offered(&mut self, accepted: &mut Accepted, conversion: &Conversion) -> Checked {
        let remaining = &accepted.remaining;
        let missing = || format!("{remaining} does not contain {}", conversion.consumed);
        let after = conversion.apply(remaining).ok_or_else(missing)?;
        let agent = self.agents.get(&accepted.agent_id).ok_or("Agent removed")?;
        let (slot, all) = (agent.slot, agent.info.resources.clone());
        let unallocated = conversion.unallocated();
        let total = unallocated.apply(&all);
        let client = self.client_of(&accepted.framework_id, &accepted.role);
        let (Some(total), Some(client)) = (total, client) else {
            return Err(format!("{all} does not contain {}", conversion.consumed));
        };
        check_size(&total)?;
        accepted.remaining = after;
        accepted.converted.remove_all(&conversion.consumed);
        accepted.converted += &conversion.converted;
        self.allocator.recover(slot, client, &conversion.consumed);
        self.set_agent_resources(&accepted.agent_id, total, &unallocated);
        self.allocator.charge(slot, client, &conversion.converted);
        Ok(())
    }

    /// RESERVE_RESOURCES without a source, UNRESERVE_RESOURCES, CREATE_VOLUMES or DESTROY_VOLUMES.
    pub(super) fn convert_by_operator(
        &mut self,
        agent_id: &AgentId,
        kind: ConversionKind,
        principal: Option<&str>,
        resources: &Resources,
    ) -> Result<(), Refusal> {
        let agent = self.agent_to_convert(agent_id)?;
        check(kind, resources, &Caller::Operator { principal }, agent)
            .map_err(|why| invalid(kind.name(), agent, &why))?;
        self.convert_free(agent_id, &kind.of(resources))?;
        self.counts.operation(kind.name(), OperationState::Finished);
        Ok(())
    }

    /// RESERVE_RESOURCES with a source.
    pub(super) fn change_reservation(
        &mut self,
        agent_id: &AgentId,
        principal: Option<&str>,
        source: &Resources,
        resources: &Resources,
    ) -> Result<(), Refusal> {
        let agent = self.agent_to_convert(agent_id)?;
        check_change(source, resources)
            .and_then(|()| check_reserve(resources, &Caller::Operator { principal }))
            .map_err(|why| invalid("RESERVE", agent, &why))?;
        let conversion = Conversion { consumed: source.clone(), converted: resources.clone() };
        self.convert_free(agent_id, &conversion)?;
        self.counts.operation(ConversionKind::Reserve.name(), OperationState::Finished);
        Ok(())
    }

    fn agent_to_convert(&self, agent_id: &AgentId) -> Result<&Agent, Refusal> {
        let unknown = || Refusal::Invalid("No agent found with specified ID".to_owned());
        self.agents.get(agent_id).ok_or_else(unknown)
    }

    /// Converts free resources of an agent. Outstanding offers are rescinded as far as necessary.
    fn convert_free(&mut self, agent_id: &AgentId, conversion: &Conversion) -> Result<(), Refusal> {
        let total = self.agent_to_convert(agent_id)?.info.resources.clone();
        let conflict = || Refusal::Conflict(format!("{total} does not contain {}", conversion.consumed));
        let after = conversion.apply(&total).ok_or_else(conflict)?;
        check_size(&after).map_err(Refusal::Conflict)?;
        let agent = self.agent_to_convert(agent_id)?;
        let (slot, unconfirmed) = (agent.slot, agent.unconfirmed.clone());
        let mut needed = conversion.consumed.clone();
        needed += &unconfirmed;
        if !self.make_room(agent_id, &needed) {
            let free = self.allocator.available(slot).cloned().unwrap_or_default();
            let free = free.saturating_sub(&unconfirmed);
            return Err(Refusal::Conflict(format!("{free} does not contain {}", conversion.consumed)));
        }
        self.set_agent_resources(agent_id, after, conversion);
        self.send_checkpoint(agent_id, Vec::new());
        Ok(())
    }

    /// Records an agent's resources after an operation.
    pub(super) fn set_agent_resources(
        &mut self,
        agent_id: &AgentId,
        resources: Resources,
        conversion: &Conversion,
    ) {
        let Some(agent) = self.agents.get_mut(agent_id) else { return };
        let operations = agent.info.operations.after(conversion);
        let info = Arc::new(AgentInfo { resources, operations, ..AgentInfo::clone(&agent.info) });
        agent.info = info.clone();
        let (slot, activation, total) = (agent.slot, agent.activation.clone(), agent.total());
        self.allocator.set_total(slot, &total);
        self.changed_agents.insert(agent_id.clone());
        self.persist(Op::Put(Record::Agent { info, activation, unreachable_since: None }));
    }
}

fn invalid(kind: &str, agent: &Agent, why: &str) -> Refusal {
    let on = described(&agent.id, &agent.info);
    Refusal::Invalid(format!("Invalid {kind} operation on agent {on}: {why}"))
}

/// An agent in Mesos' messages.
fn described(id: &AgentId, info: &AgentInfo) -> String {
    format!("{id} at slave(1)@{}:{} ({})", info.ip, info.port, info.hostname)
}
