//! `/api/v1`: the operator API.

use std::{
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use hyper::{Request, Response, StatusCode, body::Incoming, header};
use kernel_core::master::{Master, OperatorCall};
use kernel_model::{caller::Caller, operator::Event, resources::ConversionKind, roles::Role};
use kernel_wire::{
    Invalid,
    codec::{ContentType, encode},
    operator as operator_wire, quota,
    v1::{
        VersionInfo,
        master::{Call, Event as WireEvent, Response as WireResponse, call, event, response},
    },
};
use tokio::sync::mpsc;

use super::{
    Answer, Handlers, metrics,
    negotiate::{self, text, with_header},
    operator_parts, operator_view as view, reservations,
    stream::{self, Source},
};
use crate::master_driver::EventFilter;

/// Handles a call.
pub(super) async fn serve(handlers: &Arc<Handlers>, caller: &Caller, request: Request<Incoming>) -> Answer {
    match answer(handlers, caller, request).await {
        Ok(answer) | Err(answer) => answer,
    }
}

async fn answer(
    handlers: &Arc<Handlers>,
    caller: &Caller,
    request: Request<Incoming>,
) -> Result<Answer, Answer> {
    let negotiate::ParsedRequest { call, headers, lease: _lease, .. } = negotiate::parse(request).await?;
    let call: Call = call;
    let invalid =
        |Invalid(why)| text(StatusCode::BAD_REQUEST, format!("Failed to validate master::Call: {why}"));
    let number = call.r#type.ok_or_else(|| invalid(Invalid("Expecting 'type' to be present".into())))?;
    let kind = call::Type::try_from(number).unwrap_or(call::Type::Unknown);
    handlers.counters.called(kind.as_str_name());
    if let Some(part) = operator_parts::missing_for_master(kind, &call) {
        return Err(invalid(Invalid(format!("Expecting '{part}' to be present"))));
    }
    let content = negotiate::accepted(&headers)?;
    let change = change(kind, call, caller).map_err(|Invalid(why)| text(StatusCode::BAD_REQUEST, why))?;
    if let Some(change) = change {
        return Ok(super::change::carry_out(handlers, change).await);
    }
    if kind == call::Type::Subscribe {
        return subscribe(handlers, content).await;
    }
    if let Some(read) = table_read(kind) {
        let encoded = handlers.queue.view(move |master| encode(content, &read(master))).await;
        let encoded = encoded.map_err(|_| negotiate::stopped())?;
        return Ok(negotiate::ok(content.as_str(), encoded));
    }
    match read(handlers, kind).await? {
        Some(response) => Ok(negotiate::ok(content.as_str(), encode(content, &response))),
        None if kind == call::Type::Unknown => Err(negotiate::not_implemented()),
        // The master has no files, as a master of Mesos without a log directory.
        None if matches!(kind, call::Type::ListFiles | call::Type::ReadFile) => {
            Err(text(StatusCode::NOT_FOUND, ""))
        }
        None => Err(unsupported(kind)),
    }
}

fn unsupported(kind: call::Type) -> Answer {
    text(
        StatusCode::NOT_IMPLEMENTED,
        format!("{} is not carried out by this version of Catamaran", kind.as_str_name()),
    )
}

/// The change that a call with all its parts requests; `None` for reads and for calls that are not implemented.
#[allow(deprecated)] // clients still send the calls of Mesos' first quotas
fn change(kind: call::Type, call: Call, caller: &Caller) -> Result<Option<OperatorCall>, Invalid> {
    Ok(match kind {
        call::Type::Teardown => call
            .teardown
            .map(|teardown| OperatorCall::Teardown { framework_id: teardown.framework_id.value.into() }),
        call::Type::UpdateWeights => {
            let infos = call.update_weights.map(|update| update.weight_infos).unwrap_or_default();
            Some(OperatorCall::UpdateWeights { weights: operator_wire::weights_from_wire(infos)? })
        }
        call::Type::UpdateQuota => call.update_quota.map(quota_update).transpose()?,
        call::Type::SetQuota => {
            let request =
                call.set_quota.map(|set| quota::request_from_wire(set.quota_request)).transpose()?;
            request.map(|quota::SetQuota { role, quota, force }| OperatorCall::SetQuota {
                role,
                quota,
                force,
            })
        }
        call::Type::RemoveQuota => call.remove_quota.map(|remove| quota_removal(remove.role)).transpose()?,
        call::Type::MarkAgentGone => call
            .mark_agent_gone
            .map(|mark| OperatorCall::MarkAgentGone { agent_id: mark.agent_id.value.into() }),
        call::Type::DrainAgent => call.drain_agent.map(drain).transpose()?,
        call::Type::DeactivateAgent => call
            .deactivate_agent
            .map(|deactivate| OperatorCall::DeactivateAgent { agent_id: deactivate.agent_id.value.into() }),
        call::Type::ReactivateAgent => call
            .reactivate_agent
            .map(|reactivate| OperatorCall::ReactivateAgent { agent_id: reactivate.agent_id.value.into() }),
        call::Type::ReserveResources
        | call::Type::UnreserveResources
        | call::Type::CreateVolumes
        | call::Type::DestroyVolumes => conversion(kind, call, caller)?,
        _ => None,
    })
}

/// RESERVE_RESOURCES, UNRESERVE_RESOURCES, CREATE_VOLUMES or DESTROY_VOLUMES.
fn conversion(kind: call::Type, call: Call, caller: &Caller) -> Result<Option<OperatorCall>, Invalid> {
    let none = Vec::new;
    let parts = match kind {
        call::Type::ReserveResources => call
            .reserve_resources
            .map(|part| (ConversionKind::Reserve, part.agent_id, part.source, part.resources)),
        call::Type::UnreserveResources => call
            .unreserve_resources
            .map(|part| (ConversionKind::Unreserve, part.agent_id, none(), part.resources)),
        call::Type::CreateVolumes => {
            call.create_volumes.map(|part| (ConversionKind::Create, part.agent_id, none(), part.volumes))
        }
        _ => call.destroy_volumes.map(|part| (ConversionKind::Destroy, part.agent_id, none(), part.volumes)),
    };
    parts
        .map(|(kind, agent_id, source, resources)| {
            reservations::build(kind, &agent_id.value, caller, source, resources)
        })
        .transpose()
}

fn drain(call: call::DrainAgent) -> Result<OperatorCall, Invalid> {
    let agent_id = call.agent_id.value.clone().into();
    Ok(OperatorCall::DrainAgent { agent_id, config: operator_wire::drain_config_from_wire(call)? })
}

fn quota_update(update: call::UpdateQuota) -> Result<OperatorCall, Invalid> {
    let force = update.force.unwrap_or(false);
    let configs = update.quota_configs.into_iter().map(quota::config_from_wire).collect::<Result<_, _>>();
    let configs = configs.map_err(|Invalid(why)| Invalid(format!("Invalid QuotaConfig: {why}")))?;
    Ok(OperatorCall::UpdateQuota { configs, force })
}

fn quota_removal(name: String) -> Result<OperatorCall, Invalid> {
    const REFUSAL: &str = "Failed to remove quota";
    // Mesos does not check the name: a role that cannot exist has no quota.
    let role =
        Role::parse(&name).map_err(|_| Invalid(format!("{REFUSAL}: Role '{name}' has no quota set")))?;
    Ok(OperatorCall::RemoveQuota { role, refusal: REFUSAL.to_owned() })
}

/// The read that answers the call, made on a snapshot of the master; `None` for other calls.
fn table_read(kind: call::Type) -> Option<fn(&Master) -> WireResponse> {
    Some(match kind {
        call::Type::GetState => view::get_state,
        call::Type::GetAgents => view::get_agents,
        call::Type::GetFrameworks => view::get_frameworks,
        call::Type::GetTasks => view::get_tasks,
        call::Type::GetExecutors => view::get_executors,
        call::Type::GetRoles => view::get_roles,
        call::Type::GetWeights => view::get_weights,
        call::Type::GetQuota => view::get_quota,
        call::Type::GetOperations => view::get_operations,
        _ => return None,
    })
}

async fn read(handlers: &Handlers, kind: call::Type) -> Result<Option<WireResponse>, Answer> {
    let mut to = WireResponse::default();
    let answered = match kind {
        call::Type::GetHealth => {
            to.get_health = Some(response::GetHealth { healthy: true });
            response::Type::GetHealth
        }
        call::Type::GetFlags => {
            to.get_flags = Some(response::GetFlags { flags: view::flags(&handlers.flags) });
            response::Type::GetFlags
        }
        call::Type::GetVersion => {
            let version_info = VersionInfo { version: handlers.info.version.clone(), ..Default::default() };
            to.get_version = Some(response::GetVersion { version_info });
            response::Type::GetVersion
        }
        call::Type::GetMetrics => {
            let now = metrics::full_snapshot(handlers).await.map_err(|_| negotiate::stopped())?;
            to.get_metrics = Some(response::GetMetrics { metrics: view::metrics(now) });
            response::Type::GetMetrics
        }
        call::Type::GetMaster => {
            to.get_master = Some(view::master(&handlers.info, handlers.started_at()));
            response::Type::GetMaster
        }
        call::Type::GetLoggingLevel => {
            to.get_logging_level = Some(response::GetLoggingLevel { level: 0 });
            response::Type::GetLoggingLevel
        }
        call::Type::GetMaintenanceStatus => {
            to.get_maintenance_status = Some(Default::default());
            response::Type::GetMaintenanceStatus
        }
        call::Type::GetMaintenanceSchedule => {
            to.get_maintenance_schedule = Some(Default::default());
            response::Type::GetMaintenanceSchedule
        }
        _ => return Ok(None),
    };
    to.r#type = Some(answered as i32);
    Ok(Some(to))
}

async fn subscribe(handlers: &Handlers, content: ContentType) -> Result<Answer, Answer> {
    let (snapshot, events) =
        handlers.queue.watch(EventFilter::All, Master::snapshot).await.map_err(|_| negotiate::stopped())?;
    let heartbeat = handlers.heartbeat.as_secs_f64();
    let first = move || {
        let subscribed = event::Subscribed {
            get_state: Some(view::state(&snapshot)),
            heartbeat_interval_seconds: Some(heartbeat),
        };
        let kind = event::Type::Subscribed as i32;
        encode(content, &WireEvent { r#type: Some(kind), subscribed: Some(subscribed), ..Default::default() })
    };
    let first = tokio::task::spawn_blocking(first).await.map_err(|_| negotiate::stopped())?;
    let first = Some(first);
    let source = OperatorStream { first, events, content, version: handlers.info.version.clone() };
    let body = stream::body(source, handlers.heartbeat);
    Ok(with_header(Response::new(body), header::CONTENT_TYPE, content.as_str()))
}

/// The snapshot, followed by every event that Mesos has.
struct OperatorStream {
    first: Option<Bytes>,
    events: mpsc::Receiver<Event>,
    content: ContentType,
    version: String,
}

impl Source for OperatorStream {
    fn poll_record(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        if let Some(first) = self.first.take() {
            return Poll::Ready(Some(first));
        }
        loop {
            let Some(event) = std::task::ready!(self.events.poll_recv(cx)) else { return Poll::Ready(None) };
            if let Some(message) = operator_wire::event_to_wire(&event, &self.version) {
                return Poll::Ready(Some(encode(self.content, &message)));
            }
        }
    }

    fn heartbeat(&self) -> Bytes {
        let heartbeat = WireEvent { r#type: Some(event::Type::Heartbeat as i32), ..Default::default() };
        encode(self.content, &heartbeat)
    }
}
