//! The container of an image, which the agent runs below the executor's for a task of a group: by the agent's calls about
//! containers, as Mesos' default executor runs all its tasks.
//!
//! An agent that is away is waited for, as long as executors wait for it; then the executor shuts down.

use std::{
    io,
    os::unix::process::ExitStatusExt,
    process::ExitStatus,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Request, Response, StatusCode, body::Incoming, header};
use kernel_model::{
    container_path::ContainerPath, executor::CommandInfo, ids::ContainerId, task::Reason, task::TaskInfo,
};
use kernel_wire::{
    codec::ContentType,
    container_path, executor,
    prost::Message,
    resources::{self, Format},
    task::reason_from_number,
    v1::{
        self,
        agent::{Call, call},
    },
};
use rustix::process::Signal;
use tokio_util::sync::CancellationToken;
use transport::client::{Client, ClientOptions};

use super::{Settings, agent_client::runtime, command::describe};
use crate::runtime::launch::LaunchError;

/// Path of the agent's operator API.
const OPERATOR_PATH: &str = "/api/v1";

/// How long the agent may take to accept a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);

/// How long an answer may take: a launch pulls an image, and a wait takes as long as the container runs.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(365 * 24 * 3600);

/// The pause before an agent that is away is asked again.
const RETRY_INTERVAL: Duration = Duration::from_millis(500);

/// The container of a task.
#[derive(Debug)]
pub(super) struct NestedContainer {
    settings: Settings,
    path: ContainerPath,
    has_ended: AtomicBool,
}

/// How a container has ended.
#[derive(Debug, PartialEq)]
pub(super) struct Ended {
    pub(super) succeeded: bool,
    pub(super) message: String,
    /// What the agent has found: the reason, and which limit was exceeded.
    pub(super) found: Option<(Reason, Option<v1::TaskResourceLimitation>)>,
}

impl NestedContainer {
    pub(super) fn new(settings: Settings, path: ContainerPath) -> Arc<Self> {
        Arc::new(Self { settings, path, has_ended: AtomicBool::new(false) })
    }

    /// Has the agent start the container for a task. Returns when it runs; once `stop` is cancelled it is ended.
    pub(super) fn launch(
        &self,
        task: &TaskInfo,
        container: v1::ContainerInfo,
        stop: &CancellationToken,
    ) -> Result<(), LaunchError> {
        let command = task.command.clone().ok_or(LaunchError::NoCommand)?;
        let launch = call::LaunchContainer {
            container_id: container_path::to_wire(&self.path),
            command: Some(executor::command_to_wire(&self.with_variables(command, task))),
            container: Some(with_persistent_volumes(container, task)),
            resources: resources::to_wire(&task.resources, Format::FULL),
            ..Default::default()
        };
        let call = Call {
            r#type: Some(call::Type::LaunchContainer as i32),
            launch_container: Some(launch),
            ..Default::default()
        };
        let launched = self.insist(|| async {
            let launching = self.exchange(&call);
            tokio::pin!(launching);
            tokio::select! {
                answer = &mut launching => answer,
                () = stop.cancelled() => {
                    // If the agent is away, it does not go on with the launch.
                    let _ = self.exchange(&self.kill_call(Signal::TERM)).await;
                    launching.await
                }
            }
        });
        match launched {
            // Accepted: an earlier attempt has started it.
            Ok((StatusCode::OK | StatusCode::ACCEPTED, _)) => Ok(()),
            Ok((_, why)) => Err(LaunchError::NotStarted(String::from_utf8_lossy(&why).into_owned())),
            Err(error) => Err(LaunchError::NotStarted(format!("the agent does not answer: {error}"))),
        }
    }

    /// Its command with the variables of an executor's tasks, which are not those of the executor's process here.
    fn with_variables(&self, command: CommandInfo, task: &TaskInfo) -> CommandInfo {
        let settings = &self.settings;
        let mut environment = vec![
            ("MESOS_FRAMEWORK_ID".to_owned(), settings.framework_id.to_string()),
            ("MESOS_EXECUTOR_ID".to_owned(), settings.executor_id.to_string()),
            ("MESOS_SLAVE_ID".to_owned(), task.agent_id.to_string()),
        ];
        if let Some(role) = task.role() {
            environment.push(("MESOS_ALLOCATION_ROLE".to_owned(), role.to_string()));
        }
        environment.extend(command.environment);
        CommandInfo { environment, ..command }
    }

    /// Waits for the end of the container.
    pub(super) fn wait(&self) -> Ended {
        let id = container_path::to_wire(&self.path);
        let call = Call {
            r#type: Some(call::Type::WaitContainer as i32),
            wait_container: Some(call::WaitContainer { container_id: id }),
            ..Default::default()
        };
        let answer = self.insist(|| self.exchange(&call));
        self.has_ended.store(true, Ordering::Relaxed);
        // The messages are Mesos'.
        let unknown = || Ended {
            succeeded: false,
            message: "Unable to retrieve command's termination information".to_owned(),
            found: None,
        };
        let Ok((StatusCode::OK, body)) = answer else { return unknown() };
        let response = v1::agent::Response::decode(body).ok().and_then(|response| response.wait_container);
        response.map_or_else(unknown, Ended::of_answer)
    }

    /// Sends a signal to the container's first process, from a thread of its own.
    pub(super) fn kill(self: &Arc<Self>, signal: Signal) {
        let container = self.clone();
        thread::spawn(move || {
            let call = container.kill_call(signal);
            container.insist(|| container.exchange(&call))
        });
    }

    fn kill_call(&self, signal: Signal) -> Call {
        let kill = call::KillContainer {
            container_id: container_path::to_wire(&self.path),
            signal: Some(signal.as_raw()),
        };
        Call {
            r#type: Some(call::Type::KillContainer as i32),
            kill_container: Some(kill),
            ..Default::default()
        }
    }

    /// Runs a command in the container, as a session; returns its exit code, if it exits in time.
    pub(super) fn run_in(&self, command: &CommandInfo, deadline: Instant) -> io::Result<Option<i32>> {
        let id = ContainerId::new(format!("check-{}", uuid::Uuid::new_v4()));
        let id = container_path::to_wire(&self.path.child(id));
        // It runs as the user of the container.
        let command = CommandInfo { user: None, ..command.clone() };
        let launch = call::LaunchNestedContainerSession {
            container_id: id.clone(),
            command: Some(executor::command_to_wire(&command)),
            ..Default::default()
        };
        let launch = Call {
            r#type: Some(call::Type::LaunchNestedContainerSession as i32),
            launch_nested_container_session: Some(launch),
            ..Default::default()
        };
        let wait = Call {
            r#type: Some(call::Type::WaitContainer as i32),
            wait_container: Some(call::WaitContainer { container_id: id.clone() }),
            ..Default::default()
        };
        let remove = Call {
            r#type: Some(call::Type::RemoveContainer as i32),
            remove_container: Some(call::RemoveContainer { container_id: id }),
            ..Default::default()
        };
        let run = async {
            // Its output is of no consequence. The session ends with the connection.
            let (status, why) = self.exchange(&launch).await?;
            if status != StatusCode::OK {
                return Err(io::Error::other(String::from_utf8_lossy(&why).into_owned()));
            }
            self.exchange(&wait).await
        };
        runtime()?.block_on(async {
            let ended = tokio::time::timeout_at(deadline.into(), run).await;
            let Ok((StatusCode::OK, body)) = ended.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
            else {
                return Ok(None);
            };
            // What is left goes with the container above.
            let _ = self.exchange(&remove).await;
            let response = v1::agent::Response::decode(body).map_err(io::Error::other)?;
            let status = response.wait_container.and_then(|wait| wait.exit_status);
            Ok(status.and_then(|status| ExitStatus::from_raw(status).code()))
        })
    }

    /// Repeats a call until there is an answer, or the executor has waited long enough for its agent.
    fn insist<F: Future<Output = io::Result<(StatusCode, Bytes)>>>(
        &self,
        call: impl Fn() -> F,
    ) -> io::Result<(StatusCode, Bytes)> {
        let runtime = runtime()?;
        let mut away_since = None;
        loop {
            let asked_at = Instant::now();
            let answer = runtime.block_on(call());
            if asked_at.elapsed() > CONNECT_TIMEOUT {
                // The agent was there meanwhile.
                away_since = None;
            }
            let is_away =
                answer.as_ref().map_or(true, |(status, _)| *status == StatusCode::SERVICE_UNAVAILABLE);
            let since = *away_since.get_or_insert_with(Instant::now);
            let is_over = !self.settings.checkpoint || since.elapsed() > self.settings.recovery_timeout;
            if !is_away || is_over || self.has_ended.load(Ordering::Relaxed) {
                return answer;
            }
            thread::sleep(RETRY_INTERVAL);
        }
    }

    async fn exchange(&self, call: &Call) -> io::Result<(StatusCode, Bytes)> {
        let response = self.post(call).await?;
        let status = response.status();
        let body = response.into_body().collect().await.map_err(io::Error::other)?;
        Ok((status, body.to_bytes()))
    }

    async fn post(&self, call: &Call) -> io::Result<Response<Incoming>> {
        let mut request = Request::post(format!("http://{}{OPERATOR_PATH}", self.settings.endpoint))
            .header(header::CONTENT_TYPE, ContentType::Protobuf.as_str())
            .header(header::ACCEPT, ContentType::Protobuf.as_str());
        if let Some(token) = &self.settings.token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        let request = request.body(Full::new(Bytes::from(call.encode_to_vec()))).map_err(io::Error::other)?;
        let options = ClientOptions {
            connect_timeout: CONNECT_TIMEOUT,
            response_timeout: RESPONSE_TIMEOUT,
            ..ClientOptions::default()
        };
        Client::new(options).send(request).await.map_err(io::Error::other)
    }
}

impl Ended {
    fn of_answer(answer: v1::agent::response::WaitContainer) -> Self {
        let status = answer.exit_status.map(ExitStatus::from_raw);
        let reason = answer.reason.and_then(reason_from_number);
        let found = reason.map(|reason| (reason, answer.limitation));
        let message = match (status, answer.message) {
            // Its exit code is that of the process that stands for it.
            (_, Some(why)) if reason == Some(Reason::ContainerLaunchFailed) => why,
            (Some(status), Some(why)) => format!("{}: {why}", describe(status)),
            (Some(status), None) => describe(status),
            (None, Some(why)) => why,
            (None, None) => "Command terminated with unknown status".to_owned(),
        };
        Self { succeeded: status.is_some_and(|status| status.success()), message, found }
    }
}

/// A container with the persistent volumes of its task, which are those of the executor, as in Mesos.
fn with_persistent_volumes(mut container: v1::ContainerInfo, task: &TaskInfo) -> v1::ContainerInfo {
    use v1::volume::{Mode, Source, source};
    let mounts = task.resources.iter().filter_map(|resource| resource.disk.as_ref()?.volume.as_ref());
    container.volumes.extend(mounts.map(|mount| {
        let sandbox_path = source::SandboxPath {
            r#type: Some(source::sandbox_path::Type::Parent as i32),
            path: mount.container_path.clone(),
        };
        v1::Volume {
            mode: if mount.read_only { Mode::Ro } else { Mode::Rw } as i32,
            container_path: mount.container_path.clone(),
            source: Some(Source {
                r#type: Some(source::Type::SandboxPath as i32),
                sandbox_path: Some(sandbox_path),
                ..Default::default()
            }),
            ..Default::default()
        }
    }));
    container
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_have_mesos_messages() {
        let ended = |status: Option<i32>, reason: Option<Reason>, message: Option<&str>| {
            let answer = v1::agent::response::WaitContainer {
                exit_status: status,
                reason: reason.map(|reason| reason as i32),
                message: message.map(str::to_owned),
                ..Default::default()
            };
            let ended = Ended::of_answer(answer);
            (ended.succeeded, ended.message, ended.found.map(|(reason, _)| reason))
        };
        let text = |text: &str| text.to_owned();
        assert_eq!(ended(Some(0), None, None), (true, text("Command exited with status 0"), None));
        assert_eq!(ended(Some(9), None, None), (false, text("Command terminated with signal Killed"), None));
        assert_eq!(ended(None, None, None), (false, text("Command terminated with unknown status"), None));
        let memory = Some(Reason::ContainerLimitationMemory);
        let exceeded = ended(Some(137 << 8), memory, Some("Memory limit exceeded"));
        assert_eq!(exceeded, (false, text("Command exited with status 137: Memory limit exceeded"), memory));
        let failed = Some(Reason::ContainerLaunchFailed);
        assert_eq!(ended(Some(125 << 8), failed, Some("no image")), (false, text("no image"), failed));
    }
}
