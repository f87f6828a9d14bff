//! An in-memory runtime for tests and for nodes that run nothing.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use cri::{Error, ErrorKind, snapshots::Mount, v1};

use super::Runtime;

/// The handler that this runtime has beside its default.
pub const OTHER_HANDLER: &str = "other";

/// A container with the command `["exit", "<code>"]` ends as soon as it is started; any other keeps running.
#[derive(Debug, Default)]
pub struct FakeRuntime {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    next: u64,
    sandboxes: BTreeMap<String, v1::PodSandboxStatus>,
    containers: BTreeMap<String, (v1::Container, v1::ContainerStatus, Vec<String>)>,
    starts: Vec<String>,
    /// Keys of the views of images.
    views: BTreeSet<String>,
    /// How long the creation of a sandbox or a container takes.
    delay: Duration,
    stop_graces: Vec<Duration>,
    /// Calls in progress.
    in_flight: usize,
    /// Calls whose future was dropped.
    cancelled: usize,
    /// The operation whose next call fails as with a runtime that is killed.
    lost: Option<(&'static str, Lost)>,
}

/// What of a call a runtime that is killed loses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lost {
    /// It had no effect.
    Call,
    /// It had its effect, which the caller is not told.
    Answer,
}

/// A slow call. As with a real runtime, a caller that is dropped leaves it unfinished.
struct InFlightCall<'a> {
    runtime: &'a FakeRuntime,
    ended: bool,
}

impl InFlightCall<'_> {
    async fn run(mut self) {
        let delay = self.runtime.state().delay;
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        self.ended = true;
    }
}

impl Drop for InFlightCall<'_> {
    fn drop(&mut self) {
        let mut state = self.runtime.state();
        state.in_flight -= 1;
        state.cancelled += usize::from(!self.ended);
    }
}

fn other(operation: &'static str, message: &str) -> Error {
    Error { operation, kind: ErrorKind::Other, message: message.to_owned() }
}

fn not_found(operation: &'static str, id: &str) -> Error {
    Error { operation, kind: ErrorKind::NotFound, message: format!("{id} not found") }
}

fn now_ns() -> i64 {
    i64::try_from(jiff::Timestamp::now().as_nanosecond()).unwrap_or(i64::MAX)
}

impl FakeRuntime {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Every container that was started, as `pod/container`.
    pub fn starts(&self) -> Vec<String> {
        self.state().starts.clone()
    }

    /// The views of images that exist.
    pub fn views(&self) -> usize {
        self.state().views.len()
    }

    /// The handlers of the sandboxes that exist.
    pub fn handlers(&self) -> Vec<String> {
        self.state().sandboxes.values().map(|sandbox| sandbox.runtime_handler.clone()).collect()
    }

    /// The grace periods of the stops, in order.
    pub fn stop_graces(&self) -> Vec<Duration> {
        self.state().stop_graces.clone()
    }

    /// Makes the creation of sandboxes and containers slow.
    pub fn set_delay(&self, delay: Duration) {
        self.state().delay = delay;
    }

    /// Calls in progress, and calls whose future was dropped.
    pub fn calls_in_flight_and_cancelled(&self) -> (usize, usize) {
        let state = self.state();
        (state.in_flight, state.cancelled)
    }

    /// Loses the next call of this operation of a launch, or its answer.
    pub fn lose(&self, operation: &'static str, lost: Lost) {
        self.state().lost = Some((operation, lost));
    }

    fn lost(&self, operation: &'static str, lost: Lost) -> Result<(), Error> {
        match self.state().lost.take_if(|next| *next == (operation, lost)) {
            Some(_) => {
                let message = "transport error".to_owned();
                Err(Error { operation, kind: ErrorKind::Unavailable, message })
            }
            None => Ok(()),
        }
    }

    fn call(&self) -> InFlightCall<'_> {
        self.state().in_flight += 1;
        InFlightCall { runtime: self, ended: false }
    }

    /// Ends a running container by name.
    pub fn end(&self, name: &str, code: i32) {
        for (container, status, _) in self.state().containers.values_mut() {
            let named = container.metadata.as_ref().is_some_and(|metadata| metadata.name == name);
            if named && container.state == v1::ContainerState::ContainerRunning as i32 {
                end(container, status, code);
            }
        }
    }
}

fn end(container: &mut v1::Container, status: &mut v1::ContainerStatus, code: i32) {
    container.state = v1::ContainerState::ContainerExited as i32;
    status.state = container.state;
    status.exit_code = code;
    status.finished_at = now_ns();
    status.reason = if code == 0 { "Completed" } else { "Error" }.to_owned();
}

fn matches(labels: &BTreeMap<String, String>, required: &[(String, String)]) -> bool {
    required.iter().all(|(key, value)| labels.get(key) == Some(value))
}

#[async_trait]
impl Runtime for FakeRuntime {
    async fn list(
        &self,
        labels: &[(String, String)],
    ) -> Result<(Vec<v1::PodSandbox>, Vec<v1::Container>), Error> {
        let state = self.state();
        let sandboxes =
            state.sandboxes.values().filter(|s| matches(&s.labels, labels)).map(|s| v1::PodSandbox {
                id: s.id.clone(),
                metadata: s.metadata.clone(),
                state: s.state,
                created_at: s.created_at,
                labels: s.labels.clone(),
                ..Default::default()
            });
        let containers = state.containers.values().map(|(c, _, _)| c).filter(|c| matches(&c.labels, labels));
        Ok((sandboxes.collect(), containers.cloned().collect()))
    }

    async fn sandbox_status(&self, id: &str) -> Result<v1::PodSandboxStatus, Error> {
        self.state().sandboxes.get(id).cloned().ok_or_else(|| not_found("PodSandboxStatus", id))
    }

    async fn container_status(&self, id: &str) -> Result<v1::ContainerStatus, Error> {
        let state = self.state();
        state
            .containers
            .get(id)
            .map(|(_, status, _)| status.clone())
            .ok_or_else(|| not_found("ContainerStatus", id))
    }

    async fn run_sandbox(&self, config: v1::PodSandboxConfig, handler: &str) -> Result<String, Error> {
        self.call().run().await;
        self.lost("RunPodSandbox", Lost::Call)?;
        if !handler.is_empty() && handler != OTHER_HANDLER {
            let message = format!("failed to get sandbox runtime: no runtime for {handler:?} is configured");
            return Err(other("RunPodSandbox", &message));
        }
        let mut state = self.state();
        if state.sandboxes.values().any(|sandbox| sandbox.metadata == config.metadata) {
            return Err(other("RunPodSandbox", "name is reserved"));
        }
        state.next += 1;
        let n = state.next;
        let id = format!("sandbox-{n}");
        let network =
            v1::PodSandboxNetworkStatus { ip: format!("10.244.9.{}", n % 250 + 2), ..Default::default() };
        let status = v1::PodSandboxStatus {
            id: id.clone(),
            metadata: config.metadata,
            state: v1::PodSandboxState::SandboxReady as i32,
            created_at: now_ns(),
            network: Some(network),
            labels: config.labels,
            annotations: config.annotations,
            runtime_handler: handler.to_owned(),
        };
        state.sandboxes.insert(id.clone(), status);
        drop(state);
        self.lost("RunPodSandbox", Lost::Answer)?;
        Ok(id)
    }

    async fn remove_sandbox(&self, id: &str) -> Result<(), Error> {
        let mut state = self.state();
        state.sandboxes.remove(id);
        state.containers.retain(|_, (container, _, _)| container.pod_sandbox_id != id);
        Ok(())
    }

    async fn image(&self, name: &str) -> Result<Option<v1::Image>, Error> {
        self.lost("ImageStatus", Lost::Call)?;
        self.lost("ImageStatus", Lost::Answer)?;
        let found = !name.contains("absent");
        Ok(found.then(|| v1::Image { id: format!("sha256:{name}"), ..Default::default() }))
    }

    async fn pull(
        &self,
        name: &str,
        _auth: Option<v1::AuthConfig>,
        _sandbox: v1::PodSandboxConfig,
    ) -> Result<String, Error> {
        if name.contains("absent") {
            return Err(other("PullImage", "no such image"));
        }
        self.lost("PullImage", Lost::Call)?;
        self.lost("PullImage", Lost::Answer)?;
        Ok(format!("sha256:{name}"))
    }

    async fn image_layers(&self, image: &str) -> Result<String, Error> {
        Ok(image.to_owned())
    }

    async fn view_image(&self, key: &str, _layers: &str) -> Result<Vec<Mount>, Error> {
        self.state().views.insert(key.to_owned());
        Ok(Vec::new())
    }

    async fn remove_view(&self, key: &str) -> Result<(), Error> {
        self.state().views.remove(key);
        Ok(())
    }

    async fn create(
        &self,
        sandbox_id: &str,
        config: v1::ContainerConfig,
        _sandbox: v1::PodSandboxConfig,
    ) -> Result<String, Error> {
        self.call().run().await;
        self.lost("CreateContainer", Lost::Call)?;
        let mut state = self.state();
        if !state.sandboxes.contains_key(sandbox_id) {
            return Err(not_found("CreateContainer", sandbox_id));
        }
        let taken = |c: &v1::Container| c.pod_sandbox_id == sandbox_id && c.metadata == config.metadata;
        if state.containers.values().any(|(c, _, _)| taken(c)) {
            return Err(other("CreateContainer", "name is reserved"));
        }
        state.next += 1;
        let id = format!("container-{}", state.next);
        let container = v1::Container {
            id: id.clone(),
            pod_sandbox_id: sandbox_id.to_owned(),
            metadata: config.metadata.clone(),
            image: config.image.clone(),
            image_ref: "sha256:fake".to_owned(),
            state: v1::ContainerState::ContainerCreated as i32,
            created_at: now_ns(),
            labels: config.labels.clone(),
            annotations: config.annotations.clone(),
            ..Default::default()
        };
        let status = v1::ContainerStatus {
            id: id.clone(),
            metadata: config.metadata,
            created_at: container.created_at,
            image: config.image,
            image_ref: container.image_ref.clone(),
            labels: config.labels,
            annotations: config.annotations,
            ..Default::default()
        };
        state.containers.insert(id.clone(), (container, status, config.command));
        drop(state);
        self.lost("CreateContainer", Lost::Answer)?;
        Ok(id)
    }

    async fn start(&self, id: &str) -> Result<(), Error> {
        self.lost("StartContainer", Lost::Call)?;
        let mut state = self.state();
        let Some((container, status, command)) = state.containers.get_mut(id) else {
            return Err(not_found("StartContainer", id));
        };
        if container.state != v1::ContainerState::ContainerCreated as i32 {
            return Err(other("StartContainer", "it was started before"));
        }
        container.state = v1::ContainerState::ContainerRunning as i32;
        status.state = container.state;
        status.started_at = now_ns();
        if let [exit, code] = &command[..]
            && exit == "exit"
        {
            end(container, status, code.parse().unwrap_or(1));
        }
        let label = |key: &str| status.labels.get(key).cloned().unwrap_or_default();
        let started =
            format!("{}/{}", label("io.kubernetes.pod.name"), label("io.kubernetes.container.name"));
        state.starts.push(started);
        drop(state);
        self.lost("StartContainer", Lost::Answer)
    }

    async fn stop(&self, id: &str, grace: Duration) -> Result<(), Error> {
        self.state().stop_graces.push(grace);
        if let Some((container, status, _)) = self.state().containers.get_mut(id)
            && container.state == v1::ContainerState::ContainerRunning as i32
        {
            end(container, status, 143);
        }
        Ok(())
    }

    async fn remove(&self, id: &str) -> Result<(), Error> {
        self.state().containers.remove(id);
        Ok(())
    }

    async fn update(&self, _id: &str, _resources: v1::LinuxContainerResources) -> Result<(), Error> {
        Ok(())
    }

    async fn exec(
        &self,
        id: &str,
        command: &[String],
        _timeout: Duration,
    ) -> Result<v1::ExecSyncResponse, Error> {
        if !self.state().containers.contains_key(id) {
            return Err(not_found("ExecSync", id));
        }
        let exit_code = if command.first().is_some_and(|first| first == "false") { 1 } else { 0 };
        Ok(v1::ExecSyncResponse { exit_code, ..Default::default() })
    }

    async fn reopen_log(&self, _id: &str) -> Result<(), Error> {
        Ok(())
    }

    async fn exec_url(&self, _request: v1::ExecRequest) -> Result<String, Error> {
        Err(other("Exec", "the fake runtime has no streams"))
    }

    async fn attach_url(&self, _request: v1::AttachRequest) -> Result<String, Error> {
        Err(other("Attach", "the fake runtime has no streams"))
    }

    async fn port_forward_url(&self, _sandbox_id: &str) -> Result<String, Error> {
        Err(other("PortForward", "the fake runtime has no streams"))
    }

    async fn stats(&self, _labels: &[(String, String)]) -> Result<Vec<v1::ContainerStats>, Error> {
        Ok(Vec::new())
    }
}
