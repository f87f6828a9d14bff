//! Calls about nested and standalone containers: who may make them, and what is answered, with Mesos' codes and texts.

use std::sync::Arc;

use hyper::{Response, StatusCode};
use kernel_core::agent::Agent;
use kernel_model::{
    caller::Caller,
    container_path::ContainerPath,
    task::{Reason, Task, TaskState},
};
use kernel_wire::{
    codec::{ContentType, encode},
    container_path, extra,
    v1::{
        self,
        agent::{Response as WireResponse, response},
    },
};
use rustix::process::Signal;
use tokio_util::sync::CancellationToken;

use super::{
    Handlers, agent_stopped, attach,
    container_calls::{CallError, ContainerCall},
    media_types::MediaTypes,
};
use crate::{
    access::executor_tokens::TokenClaims,
    http::{
        Answer,
        negotiate::{full, ok, text},
    },
    runtime::{
        containerizer::Termination,
        nested::{Launching, NestedError, NestedLaunch, RemoveError, TaskAbove},
        resource_limitation,
    },
};

/// Who makes a call.
#[derive(Debug)]
pub(super) enum ApiCaller {
    Client(Caller),
    /// It may use the containers below its own.
    Executor(TokenClaims),
}

impl From<CallError> for Answer {
    fn from(error: CallError) -> Self {
        text(
            StatusCode::BAD_REQUEST,
            match error {
                CallError::Invalid(why) => format!("Failed to validate agent::Call: {why}"),
                CallError::Unsupported(why) => why,
            },
        )
    }
}

/// 403, without a reason as in Mesos.
pub(super) fn forbidden() -> Answer {
    text(StatusCode::FORBIDDEN, "403 Forbidden.")
}

/// Carries out a call.
pub(super) async fn serve(
    handlers: &Arc<Handlers>,
    caller: &ApiCaller,
    call: ContainerCall,
    media: MediaTypes,
    content: ContentType,
) -> Result<Answer, Answer> {
    authorize(handlers, caller, call.path()).await?;
    let call = with_surroundings(handlers, call).await?;
    if let ContainerCall::Launch(launch) = &call {
        may_choose_user(handlers, caller, launch).await?;
    }
    match call {
        ContainerCall::Launch(launch) if launch.is_session => {
            session(handlers, caller, launch, media, content).await
        }
        ContainerCall::Launch(launch) => {
            let started = begin(handlers, caller, launch)?.started().await;
            started.map(|()| empty(StatusCode::OK)).map_err(|why| refused(&why))
        }
        ContainerCall::Wait { path, is_deprecated } => {
            let termination = handlers.runtime.wait(&path).await;
            let termination = termination.ok_or_else(|| not_found(&path))?;
            Ok(ok(content.as_str(), encode(content, &ended(&termination, is_deprecated))))
        }
        ContainerCall::Kill { path, signal } => {
            may_control(handlers, caller, &path)?;
            kill(handlers, &path, signal)
        }
        ContainerCall::Remove { path } => {
            may_remove(handlers, caller, &path).await?;
            let within = path.clone();
            let runs = handlers.queue.read(move |agent: &Agent| has_task_within(agent, &within)).await;
            if runs.map_err(|_| agent_stopped())? {
                return Err(failed(&RemoveError::Running));
            }
            let removed = handlers.runtime.remove_nested(&path).await;
            removed.map(|()| empty(StatusCode::OK)).map_err(|why| failed(&why))
        }
        ContainerCall::AttachOutput { path } => {
            of_executor(handlers, &path).await?;
            may_control(handlers, caller, &path)?;
            attach::output(handlers, &path, media, content, None).await
        }
    }
}

/// Adds to a launch what the agent knows of where it is: the task whose container it is below, if an executor has made that
/// container itself, and the volumes that the container of an image can share.
async fn with_surroundings(handlers: &Handlers, mut call: ContainerCall) -> Result<ContainerCall, Answer> {
    let ContainerCall::Launch(launch) = &mut call else { return Ok(call) };
    let Some(parent) = launch.path.parent() else { return Ok(call) };
    if launch.image.is_some() {
        let root = parent.root_id().clone();
        let read = move |agent: &Agent| agent.volumes_in(&root);
        launch.volumes = handlers.queue.read(read).await.map_err(|_| agent_stopped())?;
    }
    if parent.is_nested() && !handlers.runtime.exists(&parent) {
        let read = move |agent: &Agent| task_in(agent, &parent);
        launch.task = handlers.queue.read(read).await.map_err(|_| agent_stopped())?;
    }
    Ok(call)
}

/// An executor runs what is below it as its own user, or as one of its tasks', whom the master has allowed.
async fn may_choose_user(
    handlers: &Handlers,
    caller: &ApiCaller,
    launch: &NestedLaunch,
) -> Result<(), Answer> {
    let (ApiCaller::Executor(_), Some(user)) = (caller, launch.command.user.clone()) else { return Ok(()) };
    if handlers.runtime.user_of(launch).is_ok_and(|(_, above)| above == user) {
        return Ok(());
    }
    let root = launch.path.root_id().clone();
    let read = move |agent: &Agent| agent.runs_task_as(&root, &user);
    match handlers.queue.read(read).await.map_err(|_| agent_stopped())? {
        true => Ok(()),
        false => Err(forbidden()),
    }
}

/// The running task in a container, by the status that its executor has sent.
fn task_in(agent: &Agent, path: &ContainerPath) -> Option<TaskAbove> {
    let (framework, task) = agent.view().into_iter().find_map(|framework| {
        let executor = framework.executors.iter().find(|found| found.container_id == *path.root_id())?;
        let tasks = executor.tasks.iter().map(|(task, _)| task).filter(|task| !task.state.is_terminal());
        let task = tasks.into_iter().find(|task| container_of(task).as_ref() == Some(path))?.clone();
        Some((framework.info, task))
    })?;
    let command = task.info.command.as_ref();
    Some(TaskAbove {
        user: command.and_then(|command| command.user.clone()).unwrap_or_else(|| framework.user.clone()),
        environment: command.map(|command| command.environment.clone()).unwrap_or_default(),
    })
}

/// Whether an executor runs a task in this container, or in one below it.
fn has_task_within(agent: &Agent, path: &ContainerPath) -> bool {
    let executors = agent.view().into_iter().flat_map(|framework| framework.executors);
    let tasks = executors
        .filter(|executor| executor.container_id == *path.root_id())
        .flat_map(|executor| executor.tasks)
        .map(|(task, _)| task);
    let mut running = tasks.filter(|task| !task.state.is_terminal());
    running.any(|task| container_of(&task).is_some_and(|container| container.is_within(path)))
}

fn container_of(task: &Task) -> Option<ContainerPath> {
    let status: v1::TaskStatus = extra::decode(&task.statuses.last()?.extra).ok()?;
    Some(container_path::from_wire(status.container_status?.container_id.as_ref()?))
}

/// Ends the containers below one that an executor has made itself, because its task has ended.
pub(super) fn end_below_task(handlers: &Handlers, container: &v1::ContainerId) {
    let path = container_path::from_wire(container);
    if path.is_nested() {
        let runtime = handlers.runtime.clone();
        tokio::task::spawn_blocking(move || runtime.destroy_all(&path));
    }
}

fn empty(status: StatusCode) -> Answer {
    let mut response = Response::new(full(""));
    *response.status_mut() = status;
    response
}

fn not_found(path: &ContainerPath) -> Answer {
    text(StatusCode::NOT_FOUND, format!("Container {path} cannot be found"))
}

/// A failure of the containerizer.
pub(super) fn failed(why: &impl ToString) -> Answer {
    text(StatusCode::INTERNAL_SERVER_ERROR, why.to_string())
}

/// Whether the caller may use the container: an executor uses those below its own.
async fn authorize(handlers: &Handlers, caller: &ApiCaller, path: &ContainerPath) -> Result<(), Answer> {
    let ApiCaller::Executor(claims) = caller else { return Ok(()) };
    let root = path.root_id().clone();
    let read = move |agent: &Agent| agent.executor_of(&root);
    let found = handlers.queue.read(read).await.map_err(|_| agent_stopped())?;
    let (framework_id, executor) = found.filter(|_| path.is_nested()).ok_or_else(forbidden)?;
    claims.require(&framework_id, &executor.executor_id, path.root_id()).map_err(|_| forbidden())
}

/// Refuses containers that are in none of an executor's. Only those can be attached to.
pub(super) async fn of_executor(handlers: &Handlers, path: &ContainerPath) -> Result<(), Answer> {
    let root = path.root_id().clone();
    let read = move |agent: &Agent| agent.executor_of(&root).is_some();
    let found = handlers.queue.read(read).await.map_err(|_| agent_stopped())?;
    if found { Ok(()) } else { Err(not_found(path)) }
}

/// Whether the caller may do what the container's user may: a client who may not run anything as root does not control
/// containers of root.
pub(super) fn may_control(
    handlers: &Handlers,
    caller: &ApiCaller,
    path: &ContainerPath,
) -> Result<(), Answer> {
    match handlers.runtime.user_in(path) {
        Some(user) => may_use(handlers, caller, &user),
        None => Ok(()),
    }
}

/// The same for what is left of a container.
async fn may_remove(handlers: &Handlers, caller: &ApiCaller, path: &ContainerPath) -> Result<(), Answer> {
    let (runtime, left) = (handlers.runtime.clone(), path.clone());
    let user = tokio::task::spawn_blocking(move || runtime.user_of_left(&left)).await;
    user.map_err(|why| failed(&why))?.map_or(Ok(()), |user| may_use(handlers, caller, &user))
}

fn may_use(handlers: &Handlers, caller: &ApiCaller, user: &str) -> Result<(), Answer> {
    match caller {
        ApiCaller::Client(caller) if !handlers.run_as.permits(caller, user) => Err(forbidden()),
        ApiCaller::Client(_) | ApiCaller::Executor(_) => Ok(()),
    }
}

fn refused(why: &NestedError) -> Answer {
    match why {
        NestedError::Exists => empty(StatusCode::ACCEPTED),
        why => text(StatusCode::BAD_REQUEST, why.to_string()),
    }
}

/// Begins to start a container, which goes on without the client.
fn begin(handlers: &Arc<Handlers>, caller: &ApiCaller, launch: NestedLaunch) -> Result<Launching, Answer> {
    let (user, _) = handlers.runtime.user_of(&launch).map_err(|why| refused(&why))?;
    may_use(handlers, caller, &user)?;
    let (path, of_task) = (launch.path.clone(), launch.task.is_some());
    let launching = handlers.runtime.launch_nested(launch).map_err(|why| refused(&why))?;
    if let Some(parent) = path.parent().filter(|_| of_task) {
        tokio::spawn(end_without_task(handlers.clone(), path, parent, launching.stop()));
    }
    Ok(launching)
}

/// Ends a container whose task has ended before it was known to be below it. From here on [`end_below_task`] finds it.
async fn end_without_task(
    handlers: Arc<Handlers>,
    path: ContainerPath,
    parent: ContainerPath,
    run: CancellationToken,
) {
    let read = move |agent: &Agent| task_in(agent, &parent).is_some();
    if !handlers.queue.read(read).await.unwrap_or(true) {
        let _ = tokio::task::spawn_blocking(move || handlers.runtime.end_run(&path, &run)).await;
    }
}

/// Starts a container whose output is the answer, and that ends with the client's connection.
async fn session(
    handlers: &Arc<Handlers>,
    caller: &ApiCaller,
    launch: NestedLaunch,
    media: MediaTypes,
    content: ContentType,
) -> Result<Answer, Answer> {
    let path = launch.path.clone();
    of_executor(handlers, &path).await.map_err(|answer| match handlers.runtime.user_of(&launch) {
        // It is below a container without an executor.
        Ok(_) => answer,
        Err(why) => text(StatusCode::BAD_REQUEST, why.to_string()),
    })?;
    let launching = begin(handlers, caller, launch)?;
    let guard = SessionGuard { handlers: handlers.clone(), path: path.clone(), run: launching.stop() };
    launching.started().await.map_err(|why| refused(&why))?;
    attach::output(handlers, &path, media, content, Some(guard)).await
}

/// Ends the container of a session when the client's connection ends.
pub(super) struct SessionGuard {
    handlers: Arc<Handlers>,
    path: ContainerPath,
    run: CancellationToken,
}

impl Drop for SessionGuard {
    fn drop(&mut self) {
        let (runtime, path, run) = (self.handlers.runtime.clone(), self.path.clone(), self.run.clone());
        // It looks at all processes of the machine.
        if let Ok(tokio) = tokio::runtime::Handle::try_current() {
            tokio.spawn_blocking(move || runtime.end_run(&path, &run));
        }
    }
}

fn kill(handlers: &Handlers, path: &ContainerPath, signal: i32) -> Result<Answer, Answer> {
    let gone =
        || text(StatusCode::NOT_FOUND, format!("Container '{path}' cannot be found (or is already killed)"));
    let unable = |why: &str| failed(&format!("Unable to send signal to container: {why}"));
    let Some(signal) = Signal::from_named_raw(signal) else {
        return match (handlers.runtime.exists(path), signal) {
            (false, _) => Err(gone()),
            // It asks whether the container is there.
            (true, 0) => Ok(empty(StatusCode::OK)),
            (true, _) => Err(unable("Invalid argument")),
        };
    };
    match handlers.runtime.kill(path, signal) {
        Ok(true) => Ok(empty(StatusCode::OK)),
        Ok(false) => Err(gone()),
        Err(error) => Err(unable(&error.to_string())),
    }
}

/// How a container ended.
fn ended(termination: &Termination, is_deprecated: bool) -> WireResponse {
    use response::{Type, WaitContainer, WaitNestedContainer};
    let exceeded = termination.exceeded.as_ref();
    let not_started = termination.not_started.as_ref().map(|_| Reason::ContainerLaunchFailed);
    let reason = exceeded.map(|_| Reason::ContainerLimitationMemory).or(not_started);
    let WaitContainer { exit_status, state, reason, limitation, message } = WaitContainer {
        exit_status: termination.status,
        state: reason.map(|_| TaskState::Failed as i32),
        reason: reason.map(|reason| reason as i32),
        limitation: exceeded.map(resource_limitation),
        message: exceeded.map(|exceeded| exceeded.message()).or_else(|| termination.not_started.clone()),
    };
    #[allow(deprecated)] // deprecated calls are still answered
    match is_deprecated {
        true => WireResponse {
            r#type: Some(Type::WaitNestedContainer as i32),
            wait_nested_container: Some(WaitNestedContainer {
                exit_status,
                state,
                reason,
                limitation,
                message,
            }),
            ..Default::default()
        },
        false => WireResponse {
            r#type: Some(Type::WaitContainer as i32),
            wait_container: Some(WaitContainer { exit_status, state, reason, limitation, message }),
            ..Default::default()
        },
    }
}

/// The nested and standalone containers that a GET_CONTAINERS shows.
pub(super) fn listed(
    handlers: &Handlers,
    shown: &v1::agent::call::GetContainers,
) -> Vec<response::get_containers::Container> {
    let all = handlers.runtime.nested_containers().into_iter();
    let is_shown = |path: &ContainerPath| match path.is_nested() {
        true => shown.show_nested(),
        false => shown.show_standalone(),
    };
    let wire = |path: ContainerPath| response::get_containers::Container {
        // As in Mesos it has no parent; the status has the whole path.
        container_id: v1::ContainerId { value: path.id().as_str().to_owned(), parent: None },
        container_status: Some(v1::ContainerStatus {
            container_id: Some(container_path::to_wire(&path)),
            executor_pid: handlers.runtime.pid(path),
            ..Default::default()
        }),
        ..Default::default()
    };
    all.filter(is_shown).map(wire).collect()
}
