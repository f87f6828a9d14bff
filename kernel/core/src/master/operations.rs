//! Operations with an id: their statuses go from the agent to the framework, and acknowledgements back. The resources are converted
//! in `reservations`.

use std::{collections::BTreeSet, sync::Arc};

use kernel_model::{
    agent::{AgentInfo, ToAgent},
    ids::{AgentId, FrameworkId, OperationId, UpdateId},
    operation::{OfferOperation, OperationUuid},
    resources::Resources,
    scheduler::{self, OperationState},
};

use super::{
    Master,
    effect::{Effect, Op, Record, RecordKey},
    registry::Registry,
    reservations::Checked,
};

/// How many operations of an agent may wait for their acknowledgement: far more than a framework that acknowledges has, and
/// each is in the memory of master and agent and in its checkpoint.
const UNACKNOWLEDGED_MAX: usize = 1024;

/// How long the text of the resources of one of them can be. An agent reports all of them in one frame when it registers again,
/// so both limits keep that far below the longest frame.
const TRACKED_BYTES_MAX: usize = 16 * 1024;

/// Whether a framework with `own` operations of the `all` of an agent may have one more: at most half of what others leave, so that
/// something is left for the next one.
fn may_track(own: usize, all: usize) -> bool {
    own < UNACKNOWLEDGED_MAX.saturating_sub(all.saturating_sub(own)).div_ceil(2) && all < UNACKNOWLEDGED_MAX
}

impl Master {
    /// What an agent has to know of a registration if it has missed operations: their resources, which are more recent than what
    /// it reports. Returns whether that is so.
    pub(super) fn renew_resources(&self, id: &AgentId, info: &mut Arc<AgentInfo>) -> bool {
        let absent = || self.absent.get(id).map(|absent| &absent.info);
        let known = self.agents.get(id).map(|agent| &agent.info).or_else(absent);
        let Some(known) = known.filter(|known| known.operations.count > info.operations.count) else {
            return false;
        };
        let machine = info.resources.without_checkpointed();
        let (resources, _) = machine.with_checkpointed(&known.resources.checkpointed());
        let operations = known.operations.clone();
        *info = AgentInfo { resources, operations, ..AgentInfo::clone(info) }.into();
        true
    }

    /// Takes the operations that an agent reports. Those that it has missed are sent again.
    pub(super) fn adopt_operations(&mut self, id: &AgentId, reported: Vec<OfferOperation>, stale: bool) {
        let Some(agent) = self.agents.get_mut(id) else { return };
        let uuids: BTreeSet<OperationUuid> = reported.iter().map(|operation| operation.uuid).collect();
        // The acknowledgement of a finished one that it does not report has reached it.
        let over = agent.operations.values().filter(|operation| {
            operation.state != OperationState::Pending && !uuids.contains(&operation.uuid)
        });
        for uuid in over.map(|operation| operation.uuid).collect::<Vec<_>>() {
            self.forget_operation(id, uuid);
        }
        for operation in reported {
            self.track_operation(id, operation);
        }
        let Some(agent) = self.agents.get(id) else { return };
        let pending =
            agent.operations.values().filter(|operation| operation.state == OperationState::Pending);
        let missed: Vec<OfferOperation> = pending.cloned().collect();
        if stale || !missed.is_empty() {
            self.send_checkpoint(id, missed);
        }
    }

    /// Sends an agent what operations have made of its resources.
    pub(super) fn send_checkpoint(&mut self, id: &AgentId, operations: Vec<OfferOperation>) {
        let Some(agent) = self.agents.get(id) else { return };
        let (resources, applied) = (agent.info.resources.checkpointed(), agent.info.operations.clone());
        self.send_to_agent(id, ToAgent::CheckpointResources { resources, applied, operations });
    }

    /// Whether an operation of the framework with an id on these resources of an agent may be under way beside the others.
    pub(super) fn check_tracked(
        &self,
        id: &AgentId,
        framework_id: &FrameworkId,
        resources: &Resources,
    ) -> Checked {
        let bytes = resources.to_string().len();
        if bytes > TRACKED_BYTES_MAX {
            return Err(format!(
                "The resources of an operation with an id have {bytes} bytes, more than the limit of {TRACKED_BYTES_MAX}"
            ));
        }
        let Some(agent) = self.agents.get(id) else { return Err("Agent removed".to_owned()) };
        let own =
            agent.operations.values().filter(|operation| operation.framework_id == *framework_id).count();
        match may_track(own, agent.operations.len()) {
            true => Ok(()),
            false => Err(format!(
                "{} operations on agent {id} await their acknowledgement, {own} of them of this framework: it may have half of \
                 what others leave of {UNACKNOWLEDGED_MAX}",
                agent.operations.len()
            )),
        }
    }

    pub(super) fn track_operation(&mut self, agent_id: &AgentId, operation: OfferOperation) {
        let key = (operation.framework_id.clone(), operation.id.clone());
        let Some(agent) = self.agents.get_mut(agent_id) else { return };
        // Of two with one id, the later is the one that is known by it, as in Mesos.
        if operation.state == OperationState::Pending || !self.operations.contains_key(&key) {
            self.operations.insert(key, (agent_id.clone(), operation.uuid));
        }
        let (kind, state, uuid) = (operation.kind.name(), operation.state, operation.uuid);
        let before = agent.operations.insert(operation.uuid, operation);
        if state.is_terminal() && before.is_none_or(|before| !before.state.is_terminal()) {
            self.counts.operation(kind, state);
        }
        if state != OperationState::Pending {
            self.confirmed(agent_id, uuid);
        }
    }

    /// Records an operation that its agent has not confirmed: a later master has to know of it.
    pub(super) fn record_pending(&mut self, agent_id: &AgentId, operation: &OfferOperation) {
        let Some(agent) = self.agents.get(agent_id) else { return };
        let (agent_id, count) = (agent_id.clone(), agent.info.operations.count);
        let operation = Arc::new(operation.clone());
        self.persist(Op::Put(Record::PendingOperation { agent_id, count, operation }));
    }

    /// An operation is under way no more.
    fn confirmed(&mut self, agent_id: &AgentId, uuid: OperationUuid) {
        let key = RecordKey::PendingOperation(agent_id.clone(), uuid);
        if self.registry.get(&key).is_some() {
            self.persist(Op::Delete(key));
        }
    }

    /// No operation of an agent is under way any more.
    pub(super) fn forget_pending(&mut self, agent_id: &AgentId) {
        let all: Vec<OperationUuid> = recorded(&self.registry, agent_id).map(|(_, own)| own.uuid).collect();
        for uuid in all {
            self.confirmed(agent_id, uuid);
        }
    }

    fn forget_operation(&mut self, agent_id: &AgentId, uuid: OperationUuid) -> Option<OfferOperation> {
        let operation = self.agents.get_mut(agent_id)?.operations.remove(&uuid)?;
        self.drains.ended_on(agent_id);
        let key = (operation.framework_id.clone(), operation.id.clone());
        if self.operations.get(&key).is_some_and(|(_, known)| *known == uuid) {
            self.operations.remove(&key);
        }
        Some(operation)
    }

    /// An agent has carried out an operation, and repeats it until it is acknowledged.
    pub(super) fn operation_status(&mut self, agent_id: &AgentId, operation: OfferOperation) {
        let Some(status) = operation.status else { return };
        let framework_id = operation.framework_id.clone();
        let uuid = operation.uuid;
        self.counts.operation_statuses.count(self.frameworks.contains_key(&framework_id));
        if self.frameworks.contains_key(&framework_id) {
            let event = status_of(agent_id, &operation, Some(status));
            self.track_operation(agent_id, operation);
            return self.send_to_framework(&framework_id, event);
        }
        // Nobody will acknowledge it. A framework that has not subscribed again yet will.
        if self.registry.get(&RecordKey::EndedFramework(framework_id)).is_some() {
            self.forget_operation(agent_id, uuid);
            self.send_to_agent(agent_id, ToAgent::AcknowledgeOperation { operation: uuid, status });
        }
    }

    /// ACKNOWLEDGE_OPERATION_STATUS.
    pub(super) fn acknowledge_operation(
        &mut self,
        framework_id: &FrameworkId,
        agent_id: &AgentId,
        operation_id: &OperationId,
        status: UpdateId,
    ) {
        let acknowledged = self.find_acknowledged(framework_id, agent_id, operation_id, status);
        self.counts.operation_acknowledgements.count(acknowledged.is_ok());
        match acknowledged {
            Ok(uuid) => {
                self.forget_operation(agent_id, uuid);
                self.send_to_agent(agent_id, ToAgent::AcknowledgeOperation { operation: uuid, status });
            }
            Err(why) => self.effect(Effect::Dropped {
                framework_id: framework_id.clone(),
                message: format!(
                    "Ignoring operation status acknowledgement for operation '{operation_id}' because {why}"
                ),
            }),
        }
    }

    /// The operation that is acknowledged, or why none is.
    fn find_acknowledged(
        &self,
        framework_id: &FrameworkId,
        agent_id: &AgentId,
        operation_id: &OperationId,
        status: UpdateId,
    ) -> Result<OperationUuid, String> {
        let Some(agent) = self.agents.get(agent_id) else {
            return Err(format!("agent {agent_id} is not registered"));
        };
        if agent.link.is_none() {
            return Err(format!("agent {agent_id} is disconnected"));
        }
        let own = |operation: &&OfferOperation| {
            operation.framework_id == *framework_id && operation.id == *operation_id
        };
        let known = agent.operations.values().find(|all| own(all) && all.status == Some(status));
        known.map(|operation| operation.uuid).ok_or_else(|| {
            let key = (framework_id.clone(), operation_id.clone());
            let what = if self.operations.contains_key(&key) { "the operation status" } else { "it" };
            format!("{what} is unknown")
        })
    }

    /// A framework has ended: its operations are acknowledged for it.
    pub(super) fn end_operations(&mut self, framework_id: &FrameworkId) {
        let first = (framework_id.clone(), OperationId::new(""));
        let named = self.operations.range(first..).take_while(|((of, _), _)| of == framework_id);
        let agents: BTreeSet<AgentId> = named.map(|(_, (agent_id, _))| agent_id.clone()).collect();
        for agent_id in agents {
            let Some(agent) = self.agents.get(&agent_id) else { continue };
            let own = agent.operations.values().filter(|operation| operation.framework_id == *framework_id);
            for (uuid, status) in own.map(|own| (own.uuid, own.status)).collect::<Vec<_>>() {
                self.forget_operation(&agent_id, uuid);
                self.confirmed(&agent_id, uuid);
                if let Some(status) = status {
                    let message = ToAgent::AcknowledgeOperation { operation: uuid, status };
                    self.send_to_agent(&agent_id, message);
                }
            }
        }
    }

    /// The operations of an agent that it has not confirmed.
    pub(super) fn pending_operations(&self, agent_id: &AgentId) -> Vec<OfferOperation> {
        let all = self.agents.get(agent_id).into_iter().flat_map(|agent| agent.operations.values());
        all.filter(|operation| operation.state == OperationState::Pending).cloned().collect()
    }

    /// An agent is back that was unreachable, or that the registry knew: what it has not heard of is under way again, but for
    /// frameworks that have ended. Of what it has heard it says itself how it ended, until that is acknowledged.
    pub(super) fn resume_operations(
        &mut self,
        agent_id: &AgentId,
        operations: Vec<OfferOperation>,
        heard: u64,
    ) {
        for operation in operations {
            let key = RecordKey::PendingOperation(agent_id.clone(), operation.uuid);
            let is_heard = match self.registry.get(&key) {
                Some(Record::PendingOperation { count, .. }) => *count <= heard,
                _ => false,
            };
            let ended = RecordKey::EndedFramework(operation.framework_id.clone());
            match is_heard || self.registry.get(&ended).is_some() {
                true => self.confirmed(agent_id, operation.uuid),
                false => self.track_operation(agent_id, operation),
            }
        }
    }

    /// An unreachable agent will not be back: what it had not confirmed ends in this state.
    pub(super) fn end_absent_operations(
        &mut self,
        agent_id: &AgentId,
        operations: &[OfferOperation],
        state: OperationState,
        message: &str,
    ) {
        for operation in operations {
            self.confirmed(agent_id, operation.uuid);
            self.counts.operation(operation.kind.name(), state);
            let event = unreliable_status(agent_id, operation.id.clone(), state, message);
            self.send_to_framework(&operation.framework_id, event);
        }
    }

    /// Operations of an agent that is not registered any more. Frameworks are told if the agent is unreachable or gone.
    pub(super) fn lose_operations(&mut self, agent_id: &AgentId, told: Option<(OperationState, &str)>) {
        let Some(agent) = self.agents.get(agent_id) else { return };
        for uuid in agent.operations.keys().copied().collect::<Vec<_>>() {
            let Some(operation) = self.forget_operation(agent_id, uuid) else { continue };
            // One that is unreachable may be back.
            if told.is_none_or(|(state, _)| state != OperationState::Unreachable) {
                self.confirmed(agent_id, uuid);
            }
            if let Some((state, message)) = told {
                self.counts.operation(operation.kind.name(), state);
                let event = unreliable_status(agent_id, operation.id, state, message);
                self.send_to_framework(&operation.framework_id, event);
            }
        }
    }

    /// RECONCILE_OPERATIONS, with upstream's states and messages.
    pub(super) fn reconcile_operations(
        &mut self,
        id: &FrameworkId,
        operations: Vec<(OperationId, Option<AgentId>)>,
    ) {
        if operations.is_empty() {
            let first = (id.clone(), OperationId::new(""));
            let own = self.operations.range(first..).take_while(|((of, _), _)| of == id);
            let ids: Vec<OperationId> = own.map(|((_, operation_id), _)| operation_id.clone()).collect();
            for operation_id in ids {
                self.reconcile_operation(id, operation_id, None);
            }
        }
        for (operation_id, agent_id) in operations {
            self.reconcile_operation(id, operation_id, agent_id);
        }
    }

    fn reconcile_operation(
        &mut self,
        id: &FrameworkId,
        operation_id: OperationId,
        agent_id: Option<AgentId>,
    ) {
        let event = match self.operation(id, &operation_id) {
            // It is not sent reliably, so it has no uuid.
            Some((agent_id, operation)) => status_of(agent_id, operation, None),
            None => {
                let (state, message) = self.unknown_operation_state(agent_id.as_ref());
                let message = format!("Reconciliation: {message}");
                scheduler::Event::UpdateOperationStatus { uuid: None, operation_id, state, message, agent_id }
            }
        };
        self.send_to_framework(id, event);
    }

    fn operation(&self, framework: &FrameworkId, id: &OperationId) -> Option<(&AgentId, &OfferOperation)> {
        let (agent_id, uuid) = self.operations.get(&(framework.clone(), id.clone()))?;
        Some((agent_id, self.agents.get(agent_id)?.operations.get(uuid)?))
    }

    fn unknown_operation_state(&self, agent_id: Option<&AgentId>) -> (OperationState, &'static str) {
        let Some(id) = agent_id else {
            let message = "Operation is unknown and no 'agent_id' was provided";
            return (OperationState::Unknown, message);
        };
        if let Some(absent) = self.absent.get(id) {
            return match absent.unreachable_since {
                None => (OperationState::Recovering, "Agent is recovered but has not re-registered"),
                Some(_) => (OperationState::Unreachable, "Agent is unreachable"),
            };
        }
        if self.agents.contains_key(id) {
            return (OperationState::Unknown, "Operation is unknown");
        }
        if self.registry.get(&RecordKey::GoneAgent(id.clone())).is_some() {
            return (OperationState::GoneByOperator, "Agent marked gone by operator");
        }
        (OperationState::Unknown, "Both operation and agent are unknown")
    }
}

/// The operations that an agent has not confirmed, by their order.
pub(super) fn recorded(
    registry: &Registry,
    agent_id: &AgentId,
) -> impl Iterator<Item = (u64, OfferOperation)> {
    let mut all: Vec<(u64, OfferOperation)> = registry
        .iter()
        .filter_map(|record| match record {
            Record::PendingOperation { agent_id: of, count, operation } if of == agent_id => {
                Some((*count, OfferOperation::clone(operation)))
            }
            _ => None,
        })
        .collect();
    all.sort_by_key(|(count, operation)| (*count, operation.uuid));
    all.into_iter()
}

/// A status of the master's own, which is not acknowledged.
fn unreliable_status(
    agent_id: &AgentId,
    operation_id: OperationId,
    state: OperationState,
    message: &str,
) -> scheduler::Event {
    let (message, agent_id) = (message.to_owned(), Some(agent_id.clone()));
    scheduler::Event::UpdateOperationStatus { uuid: None, operation_id, state, message, agent_id }
}

/// The status of an operation; with a uuid, it is to be acknowledged.
fn status_of(agent_id: &AgentId, operation: &OfferOperation, uuid: Option<UpdateId>) -> scheduler::Event {
    scheduler::Event::UpdateOperationStatus {
        uuid,
        operation_id: operation.id.clone(),
        state: operation.state,
        message: operation.message.clone(),
        agent_id: Some(agent_id.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::{UNACKNOWLEDGED_MAX, may_track};

    #[test]
    fn no_framework_takes_what_the_next_one_needs() {
        let mut all = 0;
        for framework in 0..8 {
            let mut own = 0;
            while may_track(own, all) {
                (own, all) = (own + 1, all + 1);
            }
            assert!(own >= UNACKNOWLEDGED_MAX >> (framework + 2), "framework {framework} has {own}");
        }
        assert!(all <= UNACKNOWLEDGED_MAX);
    }
}
