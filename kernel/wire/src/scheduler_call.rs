//! Converts scheduler calls from and to `mesos.v1.scheduler.Call`, validated in upstream's order and with its messages.

mod operations;
mod task_rules;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use kernel_model::{
    ids::{AgentId, FrameworkId, OfferId, OperationId, TaskId},
    offer_preferences::OfferPreferences,
    roles::Role,
    scheduler::{Call, Operation, Subscribe},
};

use crate::{
    Invalid, executor,
    executor::{agent_id_to_wire, executor_id_to_wire},
    framework,
    framework::id_to_wire,
    offer, offer_preferences,
    resources::{self, Format},
    task,
    task::task_id_to_wire,
    v1::{
        self,
        offer::{Operation as WireOperation, operation},
        scheduler::{Call as WireCall, call},
    },
};

/// A decoded call, by how the server handles it.
#[derive(Debug, Clone, PartialEq)]
pub enum ParsedCall {
    /// SUBSCRIBE. An `Err` is sent as an ERROR event on the opened stream.
    Subscribe(Result<Subscribe, Invalid>),
    /// UPDATE_FRAMEWORK with an invalid framework: answered with 400 once the framework id and the stream id are
    /// checked.
    RefusedUpdate(FrameworkId, Invalid),
    /// Any other call of the framework.
    Call(FrameworkId, Call),
    /// An unknown type: 400 if the framework is unknown, otherwise 501.
    Unknown(Option<FrameworkId>),
}

/// Decodes and validates a call. The error is the reason after "Failed to validate scheduler::Call: ".
pub fn from_wire(from: WireCall) -> Result<ParsedCall, Invalid> {
    let number = from.r#type.ok_or_else(|| Invalid::new("Expecting 'type' to be present"))?;
    let id = from.framework_id.as_ref().map(|id| FrameworkId::from(id.value.as_str()));
    let kind = match call::Type::try_from(number) {
        Ok(call::Type::Unknown) | Err(_) => return Ok(ParsedCall::Unknown(id)),
        Ok(kind) => kind,
    };
    if kind == call::Type::Subscribe {
        return subscribe_from_wire(from);
    }
    let id = id.ok_or_else(|| Invalid::new("Expecting 'framework_id' to be present"))?;
    if kind == call::Type::UpdateFramework {
        return update_framework_from_wire(id, from);
    }
    Ok(ParsedCall::Call(id, call_from_wire(kind, from)?))
}

fn subscribe_from_wire(from: WireCall) -> Result<ParsedCall, Invalid> {
    let subscribe = present(from.subscribe, "subscribe")?;
    let outer = from.framework_id.map(|id| id.value).unwrap_or_default();
    let inner = subscribe.framework_info.id.as_ref().map(|id| id.value.as_str()).unwrap_or_default();
    if outer != inner {
        return Err(Invalid::new("'framework_id' differs from 'subscribe.framework_info.id'"));
    }
    let parsed =
        subscription(subscribe.framework_info, subscribe.suppressed_roles, subscribe.offer_constraints);
    Ok(ParsedCall::Subscribe(parsed.map_err(Invalid::from)))
}

fn update_framework_from_wire(id: FrameworkId, from: WireCall) -> Result<ParsedCall, Invalid> {
    let update = present(from.update_framework, "update_framework")?;
    let inner = update.framework_info.id.as_ref().map(|id| id.value.as_str());
    if inner != Some(id.as_str()) {
        return Err(Invalid::new("'framework_id' differs from 'update_framework.framework_info.id'"));
    }
    let parsed = subscription(update.framework_info, update.suppressed_roles, update.offer_constraints);
    Ok(match parsed {
        Ok(Subscribe { framework, suppressed_roles, preferences }) => {
            let framework = framework.into();
            ParsedCall::Call(id, Call::UpdateFramework { framework, suppressed_roles, preferences })
        }
        Err(InvalidSubscription::Framework(Invalid(why))) => {
            ParsedCall::RefusedUpdate(id, Invalid(format!("Supplied FrameworkInfo is not valid: {why}")))
        }
        Err(InvalidSubscription::Options(Invalid(why))) => {
            ParsedCall::RefusedUpdate(id, Invalid(format!("'UpdateFramework' call is not valid: {why}")))
        }
    })
}

/// The part of a subscription that is at fault.
enum InvalidSubscription {
    /// The `FrameworkInfo`.
    Framework(Invalid),
    /// The suppressed roles or the offer constraints.
    Options(Invalid),
}

impl From<InvalidSubscription> for Invalid {
    fn from(of: InvalidSubscription) -> Self {
        match of {
            InvalidSubscription::Framework(invalid) | InvalidSubscription::Options(invalid) => invalid,
        }
    }
}

fn subscription(
    info: v1::FrameworkInfo,
    suppressed: Vec<String>,
    constraints: Option<v1::scheduler::OfferConstraints>,
) -> Result<Subscribe, InvalidSubscription> {
    let filters = info.offer_filters.clone();
    let framework = framework::from_wire(info).map_err(InvalidSubscription::Framework)?;
    let min_allocatable =
        offer_preferences::min_allocatable_from_wire(&filters).map_err(InvalidSubscription::Framework)?;
    let known: BTreeMap<&str, &Role> = framework.roles.iter().map(|role| (role.as_str(), role)).collect();
    let unknown: BTreeSet<&str> =
        suppressed.iter().map(String::as_str).filter(|name| !known.contains_key(name)).collect();
    if !unknown.is_empty() {
        let text =
            format!("Suppressed roles {} are not contained in the set of roles", framework::braced(unknown));
        return Err(InvalidSubscription::Options(Invalid(text)));
    }
    let named = suppressed.iter().filter_map(|name| known.get(name.as_str()));
    let suppressed_roles = named.map(|role| Role::clone(role)).collect();
    let constraints = offer_preferences::constraints_from_wire(constraints, &known)
        .map_err(InvalidSubscription::Options)?;
    let preferences = OfferPreferences { constraints, min_allocatable };
    Ok(Subscribe { framework, suppressed_roles, preferences })
}

/// A call that is accepted and has no effect.
fn dropped(call: &'static str, Invalid(why): &Invalid) -> Call {
    Call::Dropped { call, message: format!("Refused to {call} offers: {why}") }
}

fn call_from_wire(kind: call::Type, from: WireCall) -> Result<Call, Invalid> {
    Ok(match kind {
        call::Type::Teardown => Call::Teardown,
        call::Type::Accept => {
            let accept = present(from.accept, "accept")?;
            Call::Accept {
                offer_ids: offer_ids(accept.offer_ids),
                operations: operations::from_wire(accept.operations)?,
                filters: offer::filters_from_wire(accept.filters),
            }
        }
        call::Type::Decline => {
            let decline = present(from.decline, "decline")?;
            Call::Decline {
                offer_ids: offer_ids(decline.offer_ids),
                filters: offer::filters_from_wire(decline.filters),
            }
        }
        call::Type::Revive => match roles(from.revive.map(|revive| revive.roles)) {
            Ok(roles) => Call::Revive { roles },
            Err(why) => dropped("revive", &why),
        },
        call::Type::Suppress => match roles(from.suppress.map(|suppress| suppress.roles)) {
            Ok(roles) => Call::Suppress { roles },
            Err(why) => dropped("suppress", &why),
        },
        call::Type::Kill => {
            let kill = present(from.kill, "kill")?;
            Call::Kill {
                task_id: kill.task_id.value.into(),
                agent_id: kill.agent_id.map(|id| AgentId::from(id.value)),
                // Mesos does not check this one.
                grace: task::grace_from_wire(kill.kill_policy).unwrap_or(Some(Duration::ZERO)),
            }
        }
        call::Type::Shutdown => {
            let shutdown = present(from.shutdown, "shutdown")?;
            Call::Shutdown {
                executor_id: shutdown.executor_id.value.into(),
                agent_id: shutdown.agent_id.value.into(),
            }
        }
        call::Type::Acknowledge => {
            let acknowledge = present(from.acknowledge, "acknowledge")?;
            Call::Acknowledge {
                agent_id: acknowledge.agent_id.value.into(),
                task_id: acknowledge.task_id.value.into(),
                uuid: task::uuid_from_wire(&acknowledge.uuid)
                    .ok_or_else(|| Invalid::new("Not a valid UUID"))?,
            }
        }
        call::Type::Reconcile => {
            let tasks = present(from.reconcile, "reconcile")?.tasks.into_iter();
            let key = |t: call::reconcile::Task| {
                (TaskId::from(t.task_id.value), t.agent_id.map(|id| AgentId::from(id.value)))
            };
            Call::Reconcile { tasks: tasks.map(key).collect() }
        }
        call::Type::Message => {
            let message = present(from.message, "message")?;
            Call::Message {
                agent_id: message.agent_id.value.into(),
                executor_id: message.executor_id.value.into(),
                data: message.data,
            }
        }
        other => rare_call_from_wire(other, from)?,
    })
}

/// Calls about inverse offers, operations and resource requests.
fn rare_call_from_wire(kind: call::Type, from: WireCall) -> Result<Call, Invalid> {
    Ok(match kind {
        call::Type::AcceptInverseOffers => {
            let accept = present(from.accept_inverse_offers, "accept_inverse_offers")?;
            Call::AcceptInverseOffers { offer_ids: offer_ids(accept.inverse_offer_ids) }
        }
        call::Type::DeclineInverseOffers => {
            let decline = present(from.decline_inverse_offers, "decline_inverse_offers")?;
            Call::DeclineInverseOffers { offer_ids: offer_ids(decline.inverse_offer_ids) }
        }
        call::Type::AcknowledgeOperationStatus => {
            let acknowledge = present(from.acknowledge_operation_status, "acknowledge_operation_status")?;
            let uuid = task::uuid_from_wire(&acknowledge.uuid);
            let uuid = uuid.ok_or_else(|| Invalid::new("Not a valid UUID"))?;
            Call::AcknowledgeOperationStatus {
                agent_id: present(acknowledge.agent_id, "agent_id")?.value.into(),
                operation_id: acknowledge.operation_id.value.into(),
                uuid,
            }
        }
        call::Type::ReconcileOperations => {
            let reconcile = present(from.reconcile_operations, "reconcile_operations")?;
            let key = |operation: call::reconcile_operations::Operation| {
                let agent_id = operation.agent_id.map(|id| AgentId::from(id.value));
                (OperationId::from(operation.operation_id.value), agent_id)
            };
            Call::ReconcileOperations { operations: reconcile.operations.into_iter().map(key).collect() }
        }
        _ => {
            present(from.request, "request")?;
            Call::Request
        }
    })
}

fn present<T>(part: Option<T>, name: &str) -> Result<T, Invalid> {
    part.ok_or_else(|| Invalid::new(format!("Expecting '{name}' to be present")))
}

fn offer_ids(ids: Vec<v1::OfferId>) -> Vec<OfferId> {
    ids.into_iter().map(|id| OfferId::from(id.value)).collect()
}

/// The roles of a call; an absent message names none.
fn roles(roles: Option<Vec<String>>) -> Result<Vec<Role>, Invalid> {
    roles.iter().flatten().map(|text| resources::role(text)).collect()
}

/// Encodes a subscription.
pub fn subscribe_to_wire(from: &Subscribe) -> WireCall {
    WireCall {
        framework_id: from.framework.id.as_ref().map(id_to_wire),
        r#type: Some(call::Type::Subscribe as i32),
        subscribe: Some(call::Subscribe {
            framework_info: framework::to_wire(&from.framework),
            suppressed_roles: from.suppressed_roles.iter().map(Role::to_string).collect(),
            offer_constraints: offer_preferences::constraints_to_wire(&from.preferences),
        }),
        ..Default::default()
    }
}

/// Encodes any other call. Our drivers use the form after reservation refinement.
pub fn to_wire(framework_id: &FrameworkId, from: &Call) -> WireCall {
    let mut to = WireCall { framework_id: Some(id_to_wire(framework_id)), ..Default::default() };
    let kind = match from {
        Call::Teardown => call::Type::Teardown,
        Call::Accept { offer_ids, operations, filters } => {
            to.accept = Some(call::Accept {
                offer_ids: offer_ids.iter().map(offer_id_to_wire).collect(),
                operations: operations.iter().map(operation_to_wire).collect(),
                filters: Some(offer::filters_to_wire(*filters)),
            });
            call::Type::Accept
        }
        Call::Decline { offer_ids, filters } => {
            to.decline = Some(call::Decline {
                offer_ids: offer_ids.iter().map(offer_id_to_wire).collect(),
                filters: Some(offer::filters_to_wire(*filters)),
            });
            call::Type::Decline
        }
        Call::Revive { roles } => {
            to.revive = Some(call::Revive { roles: roles.iter().map(Role::to_string).collect() });
            call::Type::Revive
        }
        Call::Suppress { roles } => {
            to.suppress = Some(call::Suppress { roles: roles.iter().map(Role::to_string).collect() });
            call::Type::Suppress
        }
        Call::Kill { task_id, agent_id, grace } => {
            to.kill = Some(call::Kill {
                task_id: task_id_to_wire(task_id),
                agent_id: agent_id.as_ref().map(agent_id_to_wire),
                kill_policy: grace.map(task::grace_to_wire),
            });
            call::Type::Kill
        }
        other => return simple_call_to_wire(to, other),
    };
    to.r#type = Some(kind as i32);
    to
}

fn simple_call_to_wire(mut to: WireCall, from: &Call) -> WireCall {
    let kind = match from {
        Call::Shutdown { executor_id, agent_id } => {
            to.shutdown = Some(call::Shutdown {
                executor_id: executor_id_to_wire(executor_id),
                agent_id: agent_id_to_wire(agent_id),
            });
            call::Type::Shutdown
        }
        Call::Acknowledge { agent_id, task_id, uuid } => {
            to.acknowledge = Some(call::Acknowledge {
                agent_id: agent_id_to_wire(agent_id),
                task_id: task_id_to_wire(task_id),
                uuid: task::uuid_to_wire(*uuid),
            });
            call::Type::Acknowledge
        }
        Call::Reconcile { tasks } => {
            let key = |(task_id, agent_id): &(TaskId, Option<AgentId>)| call::reconcile::Task {
                task_id: task_id_to_wire(task_id),
                agent_id: agent_id.as_ref().map(agent_id_to_wire),
            };
            to.reconcile = Some(call::Reconcile { tasks: tasks.iter().map(key).collect() });
            call::Type::Reconcile
        }
        Call::Message { agent_id, executor_id, data } => {
            to.message = Some(call::Message {
                agent_id: agent_id_to_wire(agent_id),
                executor_id: executor_id_to_wire(executor_id),
                data: data.clone(),
            });
            call::Type::Message
        }
        Call::UpdateFramework { framework, suppressed_roles, preferences } => {
            to.update_framework = Some(call::UpdateFramework {
                framework_info: framework::to_wire(framework),
                suppressed_roles: suppressed_roles.iter().map(Role::to_string).collect(),
                offer_constraints: offer_preferences::constraints_to_wire(preferences),
            });
            call::Type::UpdateFramework
        }
        other => rare_call_to_wire(&mut to, other),
    };
    to.r#type = Some(kind as i32);
    to
}

fn rare_call_to_wire(to: &mut WireCall, from: &Call) -> call::Type {
    match from {
        Call::AcceptInverseOffers { offer_ids } => {
            let inverse_offer_ids = offer_ids.iter().map(offer_id_to_wire).collect();
            to.accept_inverse_offers = Some(call::AcceptInverseOffers { inverse_offer_ids, filters: None });
            call::Type::AcceptInverseOffers
        }
        Call::DeclineInverseOffers { offer_ids } => {
            let inverse_offer_ids = offer_ids.iter().map(offer_id_to_wire).collect();
            to.decline_inverse_offers = Some(call::DeclineInverseOffers { inverse_offer_ids, filters: None });
            call::Type::DeclineInverseOffers
        }
        Call::AcknowledgeOperationStatus { agent_id, operation_id, uuid } => {
            to.acknowledge_operation_status = Some(call::AcknowledgeOperationStatus {
                agent_id: Some(agent_id_to_wire(agent_id)),
                resource_provider_id: None,
                uuid: task::uuid_to_wire(*uuid),
                operation_id: operation_id_to_wire(operation_id),
            });
            call::Type::AcknowledgeOperationStatus
        }
        Call::ReconcileOperations { operations } => {
            let key = |(operation_id, agent_id): &(OperationId, Option<AgentId>)| {
                call::reconcile_operations::Operation {
                    operation_id: operation_id_to_wire(operation_id),
                    agent_id: agent_id.as_ref().map(agent_id_to_wire),
                    resource_provider_id: None,
                }
            };
            let operations = operations.iter().map(key).collect();
            to.reconcile_operations = Some(call::ReconcileOperations { operations });
            call::Type::ReconcileOperations
        }
        // A dropped call has the effect of a request: none.
        _ => {
            to.request = Some(call::Request::default());
            call::Type::Request
        }
    }
}

/// Encodes an operation's id.
pub fn operation_id_to_wire(id: &OperationId) -> v1::OperationId {
    v1::OperationId { value: id.as_str().to_owned() }
}

fn offer_id_to_wire(id: &OfferId) -> v1::OfferId {
    v1::OfferId { value: id.as_str().to_owned() }
}

fn operation_to_wire(from: &Operation) -> WireOperation {
    let info = |t| task::info_to_wire(t, Format::FULL);
    let mut to = WireOperation::default();
    match from {
        Operation::Launch { tasks } => {
            to.r#type = Some(operation::Type::Launch as i32);
            to.launch = Some(operation::Launch { task_infos: tasks.iter().map(info).collect() });
        }
        Operation::LaunchGroup { executor, tasks } => {
            to.r#type = Some(operation::Type::LaunchGroup as i32);
            to.launch_group = Some(operation::LaunchGroup {
                executor: executor::to_wire(executor, Format::FULL),
                task_group: v1::TaskGroupInfo { tasks: tasks.iter().map(info).collect() },
            });
        }
        Operation::Convert { id, kind, resources } => {
            to = crate::operation::info_to_wire(*kind, resources, Format::FULL);
            to.id = id.as_ref().map(operation_id_to_wire);
        }
        // Only operations from a client can be malformed or invalid.
        Operation::Malformed { .. } | Operation::Invalid { .. } => {}
        Operation::Unsupported { id, kind } => {
            to.r#type = operation::Type::from_str_name(kind).map(|k| k as i32);
            to.id = id.as_ref().map(operation_id_to_wire);
        }
    }
    to
}
