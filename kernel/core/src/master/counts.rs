//! What the master counts since its start, for the metrics.

use std::{collections::BTreeMap, sync::Arc};

use kernel_model::{
    ids::FrameworkId,
    resources::ConversionKind,
    scheduler::{Call, Event, Operation, OperationState},
    task::{Reason, Source, TaskState},
};

use super::Master;

/// Accepted and refused messages of one kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[allow(missing_docs)]
pub struct Judged {
    pub valid: u64,
    pub invalid: u64,
}

impl Judged {
    pub(super) fn count(&mut self, valid: bool) {
        *(if valid { &mut self.valid } else { &mut self.invalid }) += 1;
    }
}

/// What a master has counted since its start.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Counts {
    /// Tasks that ended or became unreachable, and launches that were refused.
    pub tasks: BTreeMap<(TaskState, Source, Option<Reason>), u64>,
    /// Agents that became unreachable.
    pub unreachable_agents: u64,
    /// Those of them that did not return after a restart of the master.
    pub unreachable_recovered_agents: u64,
    /// Agents that unregistered.
    pub unregistered_agents: u64,
    /// Agents that were replaced by a new one at their address.
    pub replaced_agents: u64,
    /// Agents that an operator marked as gone.
    pub gone_agents: u64,
    /// Messages about executors that exited.
    pub exited_executors: u64,
    /// Subscriptions without the id of a framework.
    pub subscriptions: u64,
    /// Subscriptions with an id.
    pub resubscriptions: u64,
    /// Messages from frameworks to executors.
    pub framework_messages: Judged,
    /// Messages from executors to frameworks.
    pub executor_messages: Judged,
    /// Updates of agents.
    pub status_updates: Judged,
    /// Acknowledgements of frameworks.
    pub acknowledgements: Judged,
    /// Rounds of the allocator.
    pub allocation_runs: u64,
    /// Operations that have reached a state that is not left, by the name of their kind on the wire; those that could not be read have none.
    pub operations: BTreeMap<(&'static str, OperationState), u64>,
    /// Statuses of operations, from agents.
    pub operation_statuses: Judged,
    /// Acknowledgements of statuses of operations, from frameworks.
    pub operation_acknowledgements: Judged,
    /// Estimates of revocable resources, from agents.
    pub estimates: u64,
    /// Preemption for what is guaranteed to roles.
    pub preemption: PreemptionCounts,
}

/// What was done for guarantees that were not met.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PreemptionCounts {
    /// Tasks that were told to end.
    pub killed_tasks: u64,
    /// Tasks whose framework was asked to end them.
    pub inverse_offers: u64,
    /// Those that the framework ended, or that had ended.
    pub accepted_inverse_offers: u64,
    /// Those that the framework kept.
    pub declined_inverse_offers: u64,
}

impl Counts {
    /// The tasks in a terminal state, whatever its source and reason.
    pub fn tasks_in(&self, state: TaskState) -> u64 {
        self.tasks.iter().filter(|((of, ..), _)| *of == state).map(|(_, count)| count).sum()
    }

    /// An operation of this kind has reached a state that it does not leave.
    pub(super) fn operation(&mut self, kind: &'static str, state: OperationState) {
        *self.operations.entry((kind, state)).or_default() += 1;
    }

    pub(super) fn task(&mut self, state: TaskState, source: Source, reason: Option<Reason>) {
        *self.tasks.entry((state, source, reason)).or_default() += 1;
    }
}

/// What a framework has done since it first subscribed with this master. Names are those of the scheduler API, in lower case.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[allow(missing_docs)]
pub struct FrameworkCounts {
    pub calls: BTreeMap<&'static str, u64>,
    pub events: BTreeMap<&'static str, u64>,
    pub operations: BTreeMap<&'static str, u64>,
    /// Ended tasks by state.
    pub ended_tasks: BTreeMap<TaskState, u64>,
    pub offers_sent: u64,
    pub offers_accepted: u64,
    pub offers_declined: u64,
    pub offers_rescinded: u64,
}

impl FrameworkCounts {
    pub(super) fn event(&mut self, event: &Event) {
        if let Event::Offers { offers } = event {
            self.offers_sent += offers.len() as u64;
        }
        if let Event::Rescind { .. } = event {
            self.offers_rescinded += 1;
        }
        *self.events.entry(event_name(event)).or_default() += 1;
    }

    pub(super) fn operation(&mut self, operation: &Operation) {
        let name = match operation {
            Operation::Launch { .. } => "launch",
            Operation::LaunchGroup { .. } => "launch_group",
            Operation::Convert { kind, .. } => match kind {
                ConversionKind::Reserve => "reserve",
                ConversionKind::Unreserve => "unreserve",
                ConversionKind::Create => "create",
                ConversionKind::Destroy => "destroy",
            },
            Operation::Malformed { .. } | Operation::Invalid { .. } | Operation::Unsupported { .. } => return,
        };
        *self.operations.entry(name).or_default() += 1;
    }
}

impl Master {
    /// What the master has counted since its start.
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Counts of a framework that are about to change.
    pub(super) fn framework_counts(&mut self, id: &FrameworkId) -> Option<&mut FrameworkCounts> {
        self.frameworks.get_mut(id).map(|framework| Arc::make_mut(&mut framework.counts))
    }

    pub(super) fn count_call(&mut self, id: &FrameworkId, name: &'static str) {
        if let Some(counts) = self.framework_counts(id) {
            *counts.calls.entry(name).or_default() += 1;
        }
    }

    /// A task of the framework ended or became unreachable.
    pub(super) fn count_task(
        &mut self,
        id: &FrameworkId,
        state: TaskState,
        source: Source,
        reason: Option<Reason>,
    ) {
        self.counts.task(state, source, reason);
        if state.is_terminal()
            && let Some(counts) = self.framework_counts(id)
        {
            *counts.ended_tasks.entry(state).or_default() += 1;
        }
    }
}

/// The name of a call on the wire.
pub(super) fn call_name(call: &Call) -> &'static str {
    match call {
        Call::Teardown => "teardown",
        Call::Accept { .. } => "accept",
        Call::Decline { .. } => "decline",
        Call::Revive { .. } => "revive",
        Call::Suppress { .. } => "suppress",
        Call::Kill { .. } => "kill",
        Call::Shutdown { .. } => "shutdown",
        Call::Acknowledge { .. } => "acknowledge",
        Call::Reconcile { .. } => "reconcile",
        Call::Message { .. } => "message",
        Call::AcceptInverseOffers { .. } => "accept_inverse_offers",
        Call::DeclineInverseOffers { .. } => "decline_inverse_offers",
        Call::AcknowledgeOperationStatus { .. } => "acknowledge_operation_status",
        Call::ReconcileOperations { .. } => "reconcile_operations",
        Call::Request => "request",
        Call::UpdateFramework { .. } => "update_framework",
        Call::Hold(_) => "hold",
        Call::ReleaseHold { .. } => "release_hold",
        Call::Demand { .. } => "demand",
        Call::Dropped { call, .. } => call,
    }
}

fn event_name(event: &Event) -> &'static str {
    match event {
        Event::Subscribed { .. } => "subscribed",
        Event::Offers { .. } => "offers",
        Event::Rescind { .. } => "rescind",
        Event::InverseOffers { .. } => "inverse_offers",
        Event::Update { .. } => "update",
        Event::UpdateOperationStatus { .. } => "update_operation_status",
        Event::Message { .. } => "message",
        Event::Failure { .. } => "failure",
        Event::Error { .. } => "error",
        Event::Heartbeat => "heartbeat",
    }
}
