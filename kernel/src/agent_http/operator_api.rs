//! `/api/v1`: the agent's operator API: reads, and calls about containers ([`containers`]). Other calls that change state are not
//! implemented.

use std::sync::Arc;

use hyper::{Request, StatusCode, body::Incoming, header};
use kernel_core::agent::{Agent, ExecutorView, FrameworkView};
use kernel_wire::{
    codec::encode,
    executor, framework, offer, operation,
    resources::Format,
    task,
    v1::{
        self,
        agent::{Response, call, response},
    },
};

use super::{
    Handlers, agent_stopped, attach,
    container_calls::{self, CallError},
    containers::{self, ApiCaller},
    files,
    media_types::MediaTypes,
    statistics::statistics,
    v0,
};
use crate::{
    access::Realm,
    agent_driver::AgentStopped,
    http::{
        Answer,
        negotiate::{not_implemented, ok, read_body, require_method, text},
        operator_parts,
    },
};

pub(super) async fn serve(handlers: &Arc<Handlers>, request: Request<Incoming>) -> Answer {
    answer(handlers, request).await.unwrap_or_else(|refusal| refusal)
}

/// Clients have credentials, executors their tokens.
fn admit(handlers: &Handlers, request: &Request<Incoming>) -> Result<ApiCaller, Answer> {
    let authorization = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let scheme = authorization.and_then(|value| value.split(' ').next()).unwrap_or_default();
    if scheme.eq_ignore_ascii_case("Bearer")
        && let Some(claims) = handlers.tokens.verify(request.headers())?
    {
        return Ok(ApiCaller::Executor(claims));
    }
    handlers.access.admit(Realm::AgentReadWrite, request.headers()).map(ApiCaller::Client)
}

async fn answer(handlers: &Arc<Handlers>, request: Request<Incoming>) -> Result<Answer, Answer> {
    let caller = admit(handlers, &request)?;
    require_method(&request, &["POST"])?;
    let media = MediaTypes::of(request.headers())?;
    let (head, body) = request.into_parts();
    if media.is_stream() {
        return attach::input(handlers, &caller, media, body).await;
    }
    let call = media.call(&read_body(&head.headers, body).await?)?;
    let kind = kind_of(&call)?;
    let parsed = container_calls::parse(kind, &call);
    if let Err(CallError::Invalid(_)) = parsed {
        parsed?;
        return Err(not_implemented());
    }
    let content = media.response(kind)?;
    if let Some(container_call) = parsed? {
        return containers::serve(handlers, &caller, container_call, media, content).await;
    }
    if let ApiCaller::Executor(_) = caller {
        return Err(containers::forbidden());
    }
    let message = match (kind, &call.list_files, &call.read_file) {
        (call::Type::ListFiles, Some(requested), _) => files::list(handlers, &requested.path).await?,
        (call::Type::ReadFile, _, Some(requested)) => files::read(handlers, requested).await?,
        (kind, ..) => plain(handlers, kind, &call)
            .await
            .map_err(|AgentStopped| agent_stopped())?
            .ok_or_else(|| not_there(kind))?,
    };
    Ok(ok(content.as_str(), encode(content, &message)))
}

/// The type of a call, whose part for it must be present.
pub(super) fn kind_of(call: &v1::agent::Call) -> Result<call::Type, Answer> {
    let invalid = |part: &str| {
        let why = format!("Failed to validate agent::Call: Expecting '{part}' to be present");
        text(StatusCode::BAD_REQUEST, why)
    };
    let number = call.r#type.ok_or_else(|| invalid("type"))?;
    let kind = call::Type::try_from(number).unwrap_or_default();
    match operator_parts::missing_for_agent(kind, call) {
        Some(part) => Err(invalid(part)),
        None => Ok(kind),
    }
}

fn not_there(kind: call::Type) -> Answer {
    if kind == call::Type::Unknown {
        return not_implemented();
    }
    let name = kind.as_str_name();
    text(StatusCode::NOT_IMPLEMENTED, format!("The agent does not support {name} calls"))
}

/// Handles calls without arguments; `None` for calls that are not implemented.
async fn plain(
    handlers: &Arc<Handlers>,
    kind: call::Type,
    call: &v1::agent::Call,
) -> Result<Option<Response>, AgentStopped> {
    match kind {
        call::Type::GetState
        | call::Type::GetTasks
        | call::Type::GetExecutors
        | call::Type::GetFrameworks
        | call::Type::GetContainers => {
            let (view, completed) = handlers.queue.read(everything).await?;
            let mut response = of_tasks(handlers, kind, &view, &completed);
            if let (Some(all), Some(shown)) = (&mut response.get_containers, &call.get_containers) {
                all.containers.extend(containers::listed(handlers, shown));
            }
            Ok(Some(response))
        }
        kind => of_agent(handlers, kind).await,
    }
}

/// Handles calls about tasks, executors, frameworks and containers.
fn of_tasks(
    handlers: &Handlers,
    kind: call::Type,
    view: &[FrameworkView],
    completed: &[FrameworkView],
) -> Response {
    use response::Type;
    let mut to = Response::default();
    let answered = match kind {
        call::Type::GetTasks => {
            to.get_tasks = Some(tasks(view, completed));
            Type::GetTasks
        }
        call::Type::GetExecutors => {
            to.get_executors = Some(executors(view, completed));
            Type::GetExecutors
        }
        call::Type::GetFrameworks => {
            to.get_frameworks = Some(frameworks(view, completed));
            Type::GetFrameworks
        }
        call::Type::GetContainers => {
            to.get_containers = Some(of_executors(handlers, view));
            Type::GetContainers
        }
        _ => {
            to.get_state = Some(response::GetState {
                get_tasks: Some(tasks(view, completed)),
                get_executors: Some(executors(view, completed)),
                get_frameworks: Some(frameworks(view, completed)),
            });
            Type::GetState
        }
    };
    to.r#type = Some(answered as i32);
    to
}

/// Handles calls about the agent itself.
async fn of_agent(handlers: &Arc<Handlers>, kind: call::Type) -> Result<Option<Response>, AgentStopped> {
    use response::Type;
    let mut to = Response::default();
    let answered = match kind {
        call::Type::GetHealth => {
            to.get_health = Some(response::GetHealth { healthy: true });
            Type::GetHealth
        }
        call::Type::GetFlags => {
            let flag = |(name, value): &(String, String)| v1::Flag {
                name: name.clone(),
                value: Some(value.clone()),
            };
            to.get_flags = Some(response::GetFlags { flags: handlers.flags.iter().map(flag).collect() });
            Type::GetFlags
        }
        call::Type::GetVersion => {
            let version_info = v1::VersionInfo { version: v0::VERSION.to_owned(), ..Default::default() };
            to.get_version = Some(response::GetVersion { version_info });
            Type::GetVersion
        }
        call::Type::GetMetrics => {
            let metric = |(name, value)| v1::Metric { name, value: Some(value) };
            let metrics = v0::metrics(handlers).await?.into_iter().map(metric).collect();
            to.get_metrics = Some(response::GetMetrics { metrics });
            Type::GetMetrics
        }
        call::Type::GetAgent => {
            let info = handlers.queue.read(|agent| agent.info().clone()).await?;
            let agent_info = Some(offer::agent_to_wire(&info, Format::ENDPOINT));
            to.get_agent = Some(response::GetAgent { agent_info, ..Default::default() });
            Type::GetAgent
        }
        call::Type::GetOperations => {
            let shown = |agent: &Agent| {
                let id = agent.id();
                agent.operations().map(|one| operation::to_wire(one, id, Format::ENDPOINT)).collect()
            };
            let operations = handlers.queue.read(shown).await?;
            to.get_operations = Some(response::GetOperations { operations });
            Type::GetOperations
        }
        call::Type::GetResourceProviders => {
            to.get_resource_providers = Some(response::GetResourceProviders::default());
            Type::GetResourceProviders
        }
        call::Type::GetLoggingLevel => {
            to.get_logging_level = Some(response::GetLoggingLevel { level: 0 });
            Type::GetLoggingLevel
        }
        _ => return Ok(None),
    };
    to.r#type = Some(answered as i32);
    Ok(Some(to))
}

/// The frameworks on the agent, and those that have ended on it.
fn everything(agent: &Agent) -> (Vec<FrameworkView>, Vec<FrameworkView>) {
    (agent.view(), agent.completed_frameworks().cloned().collect())
}

/// All executors, then the completed ones.
fn all_executors<'a>(
    view: &'a [FrameworkView],
    completed: &'a [FrameworkView],
) -> (impl Iterator<Item = &'a ExecutorView>, impl Iterator<Item = &'a ExecutorView>) {
    let ended = view.iter().chain(completed).flat_map(|framework| &framework.completed_executors);
    (view.iter().flat_map(|framework| &framework.executors), ended)
}

fn tasks(view: &[FrameworkView], completed: &[FrameworkView]) -> response::GetTasks {
    let mut all = response::GetTasks::default();
    let (executors, ended) = all_executors(view, completed);
    for executor in executors.chain(ended) {
        for (task, delivered) in &executor.tasks {
            let wire = task::to_wire(task, Format::ENDPOINT);
            match (task.state.is_terminal(), delivered) {
                (true, _) => all.terminated_tasks.push(wire),
                (false, true) => all.launched_tasks.push(wire),
                (false, false) => all.queued_tasks.push(wire),
            }
        }
        let completed = executor.completed_tasks.iter();
        all.completed_tasks.extend(completed.map(|task| task::to_wire(task, Format::ENDPOINT)));
    }
    all
}

fn executors(view: &[FrameworkView], completed: &[FrameworkView]) -> response::GetExecutors {
    let (executors, ended) = all_executors(view, completed);
    let wire = |executor: &ExecutorView| response::get_executors::Executor {
        executor_info: executor::to_wire(&executor.info, Format::ENDPOINT),
    };
    response::GetExecutors {
        executors: executors.map(wire).collect(),
        completed_executors: ended.map(wire).collect(),
    }
}

fn frameworks(view: &[FrameworkView], completed: &[FrameworkView]) -> response::GetFrameworks {
    let wire = |framework: &FrameworkView| response::get_frameworks::Framework {
        framework_info: framework::to_wire(&framework.info),
    };
    response::GetFrameworks {
        frameworks: view.iter().map(wire).collect(),
        completed_frameworks: completed.iter().map(wire).collect(),
    }
}

fn of_executors(handlers: &Handlers, view: &[FrameworkView]) -> response::GetContainers {
    let all = view.iter().flat_map(|framework| framework.executors.iter().map(move |e| (framework, e)));
    let wire = |(framework, executor): (&FrameworkView, &ExecutorView)| {
        let id = v1::ContainerId { value: executor.container_id.as_str().to_owned(), parent: None };
        response::get_containers::Container {
            framework_id: framework.info.id.as_ref().map(framework::id_to_wire),
            executor_id: Some(executor::executor_id_to_wire(&executor.info.executor_id)),
            executor_name: Some(executor.info.name.clone()),
            container_status: Some(v1::ContainerStatus {
                container_id: Some(id.clone()),
                executor_pid: handlers.runtime.pid(&executor.container_id),
                ..Default::default()
            }),
            container_id: id,
            resource_statistics: Some(statistics(handlers, executor)),
        }
    };
    response::GetContainers { containers: all.filter(|(_, e)| e.has_container()).map(wire).collect() }
}
