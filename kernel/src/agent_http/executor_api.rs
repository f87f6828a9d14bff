//! `/api/v1/executor`: executor calls and their event streams.

use std::sync::Arc;

use hyper::{Request, Response, StatusCode, body::Incoming, header};
use kernel_core::agent::{Agent, Refusal};
use kernel_model::{
    executor::{Call, ExecutorKind},
    ids::{ExecutorId, FrameworkId},
    task::{Source, TaskState, TaskStatus},
};
use kernel_wire::{
    codec::ContentType,
    executor_api,
    v1::{self, executor::call},
};

use super::{Handlers, agent_stopped, containers, executor_stream};
use crate::{
    access::executor_tokens::{TokenClaims, token_missing},
    agent_driver::Subscription,
    http::{
        Answer,
        negotiate::{accepted, full, not_implemented, parse, text, with_header},
    },
};

pub(super) async fn serve(handlers: &Arc<Handlers>, request: Request<Incoming>) -> Answer {
    answer(handlers, request).await.unwrap_or_else(|refusal| refusal)
}

async fn answer(handlers: &Arc<Handlers>, request: Request<Incoming>) -> Result<Answer, Answer> {
    let claims = handlers.tokens.verify(request.headers())?;
    if claims.is_none() && !handlers.access.anonymous_executors() {
        return Err(token_missing());
    }
    let mut parsed = parse::<v1::executor::Call>(request).await?;
    let is_subscribe = parsed.call.r#type == Some(call::Type::Subscribe as i32);
    add_container(handlers, &mut parsed.call);
    let container = parsed.call.update.as_ref().and_then(|update| update.status.container_status.as_ref());
    let container = container.and_then(|status| status.container_id.clone());
    let call = executor_api::call_from_wire(parsed.call)
        .map_err(|why| text(StatusCode::BAD_REQUEST, format!("Failed to validate Executor::Call: {why}")))?;
    let call = call.ok_or_else(not_implemented)?;
    // Only a subscription has a response body to negotiate.
    let content = if is_subscribe { accepted(&parsed.headers)? } else { ContentType::Json };
    let (framework_id, executor_id) = (call.framework_id, call.executor_id);
    if !matches!(call.call, Call::Heartbeat) {
        check_claims(handlers, claims.as_ref(), &framework_id, &executor_id).await?;
    }
    match call.call {
        // A heartbeat needs no handling.
        Call::Heartbeat => Ok(accepted_empty()),
        Call::Subscribe { unacknowledged_tasks, unacknowledged_updates } => {
            let who = (framework_id.clone(), executor_id.clone());
            let subscription =
                Subscription { framework_id, executor_id, unacknowledged_tasks, unacknowledged_updates };
            let stream = handlers
                .queue
                .subscribe(subscription)
                .await
                .map_err(|_| agent_stopped())?
                .map_err(refused)?;
            let body = executor_stream::body(handlers.clone(), who, stream, content);
            Ok(with_header(Response::new(body), header::CONTENT_TYPE, content.as_str()))
        }
        mut call => {
            let is_end = matches!(&call, Call::Update { status } if status.state.is_terminal());
            if let Call::Update { status } = &mut call {
                add_limitation(handlers, &framework_id, &executor_id, status).await?;
            }
            handlers
                .queue
                .call(framework_id, executor_id, call)
                .await
                .map_err(|_| agent_stopped())?
                .map_err(refused)?;
            if let Some(container) = container.filter(|_| is_end) {
                containers::end_below_task(handlers, &container);
            }
            Ok(accepted_empty())
        }
    }
}

/// Checks that the caller is the current run of the executor. Unknown executors pass: the agent refuses them by name.
async fn check_claims(
    handlers: &Handlers,
    claims: Option<&TokenClaims>,
    framework_id: &FrameworkId,
    executor_id: &ExecutorId,
) -> Result<(), Answer> {
    let subscribed = handlers.containers().get(&(framework_id.clone(), executor_id.clone())).cloned();
    if let (Some(claims), Some(container_id)) = (claims, subscribed)
        && claims.require(framework_id, executor_id, &container_id).is_ok()
    {
        return Ok(());
    }
    let (framework, executor) = (framework_id.clone(), executor_id.clone());
    let read = move |agent: &Agent| agent.executor_run(&framework, &executor);
    let Some((info, container_id)) = handlers.queue.read(read).await.map_err(|_| agent_stopped())? else {
        return Ok(());
    };
    match claims {
        Some(claims) => claims.require(framework_id, executor_id, &container_id),
        // The executor of Pods always has its token, so nobody without it may take its place.
        None if info.respawns() => Err(token_missing()),
        None => Ok(()),
    }
}

/// The failure of a command task of which the kernel has killed a process for memory is the agent's finding. Elsewhere the
/// kernel kills the executor as well, so that no update comes.
async fn add_limitation(
    handlers: &Handlers,
    framework_id: &FrameworkId,
    executor_id: &ExecutorId,
    status: &mut Arc<TaskStatus>,
) -> Result<(), Answer> {
    if status.state != TaskState::Failed {
        return Ok(());
    }
    let (framework, executor) = (framework_id.clone(), executor_id.clone());
    let read = move |agent: &Agent| agent.executor_run(&framework, &executor);
    let run = handlers.queue.read(read).await.map_err(|_| agent_stopped())?;
    let Some((info, container_id)) = run.filter(|(info, _)| info.kind == ExecutorKind::Command) else {
        return Ok(());
    };
    let runtime = handlers.runtime.clone();
    let found = tokio::task::spawn_blocking(move || runtime.limitation(&container_id));
    if let Some(limitation) = found.await.ok().flatten() {
        let limitation = limitation.of_executor(&info);
        tracing::info!(executor = %info.executor_id, "a task was killed for memory");
        let status = Arc::make_mut(status);
        status.source = Source::Agent;
        status.reason = Some(limitation.reason);
        status.message = Some(limitation.message);
        // The encoding of two messages, one after the other, is that of the merged message.
        status.extra = [status.extra.clone(), limitation.details].concat().into();
    }
    Ok(())
}

fn accepted_empty() -> Answer {
    let mut response = Response::new(full(""));
    *response.status_mut() = StatusCode::ACCEPTED;
    response
}

fn refused(refusal: Refusal) -> Answer {
    let status = match refusal {
        Refusal::FrameworkUnknown | Refusal::ExecutorUnknown => StatusCode::BAD_REQUEST,
        Refusal::NotSubscribed => StatusCode::FORBIDDEN,
    };
    text(status, refusal.to_string())
}

/// Adds the container id and address to a status that lacks them.
fn add_container(handlers: &Handlers, call: &mut v1::executor::Call) {
    let Some(update) = &mut call.update else { return };
    let who = (call.framework_id.value.as_str().into(), call.executor_id.value.as_str().into());
    let Some(container_id) = handlers.containers().get(&who).cloned() else { return };
    let status = update.status.container_status.get_or_insert_default();
    if status.container_id.is_none() {
        status.container_id = Some(v1::ContainerId { value: container_id.as_str().to_owned(), parent: None });
    }
    if status.network_infos.is_empty() {
        let address =
            v1::network_info::IpAddress { ip_address: Some(handlers.ip.clone()), ..Default::default() };
        status.network_infos.push(v1::NetworkInfo { ip_addresses: vec![address], ..Default::default() });
    }
}
