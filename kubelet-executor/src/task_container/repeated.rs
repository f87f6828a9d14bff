//! The runtime's calls of a launch, repeated while the runtime is away: a containerd that was killed is back within seconds. Of a
//! call whose answer was lost it is not known whether it had an effect, so each is repeated in the way that is safe for it.

use std::{
    future::Future,
    time::{Duration, Instant},
};

use cri::{Error, v1};
use tokio_util::sync::CancellationToken;

use super::labels;
use crate::runtime::Runtime;

/// How long the runtime may be away.
const AWAY_MAX: Duration = Duration::from_secs(30);
/// Pause between two attempts.
const PAUSE: Duration = Duration::from_millis(100);

/// See the module.
pub(super) struct Repeated<'a> {
    runtime: &'a dyn Runtime,
    /// Ends the repetition, not a call.
    stop: &'a CancellationToken,
    deadline: Instant,
}

impl<'a> Repeated<'a> {
    pub(super) fn new(runtime: &'a dyn Runtime, stop: &'a CancellationToken) -> Self {
        Self { runtime, stop, deadline: Instant::now() + AWAY_MAX }
    }

    /// A call that may be carried out twice: one that only reads, or a pull.
    pub(super) async fn call<T, F>(&self, mut call: impl FnMut() -> F) -> Result<T, Error>
    where
        F: Future<Output = Result<T, Error>>,
    {
        loop {
            match call().await {
                Err(error) if self.waits_after(&error) => tokio::time::sleep(PAUSE).await,
                answer => return answer,
            }
        }
    }

    fn waits_after(&self, error: &Error) -> bool {
        error.is_unavailable() && !self.stop.is_cancelled() && Instant::now() < self.deadline
    }

    /// Creates the sandbox and the container with this id; returns their ids. What a call left whose answer was lost is removed
    /// first: only this runner creates anything with the id.
    pub(super) async fn create(
        &self,
        id: &str,
        sandbox: &v1::PodSandboxConfig,
        container: &v1::ContainerConfig,
    ) -> Result<(String, String), Error> {
        loop {
            match self.create_once(sandbox, container).await {
                Err(error) if self.waits_after(&error) => {
                    tokio::time::sleep(PAUSE).await;
                    self.call(|| self.remove(id)).await?;
                }
                answer => return answer,
            }
        }
    }

    async fn create_once(
        &self,
        sandbox: &v1::PodSandboxConfig,
        container: &v1::ContainerConfig,
    ) -> Result<(String, String), Error> {
        let sandbox_id = self.runtime.run_sandbox(sandbox.clone(), "").await?;
        let id = self.runtime.create(&sandbox_id, container.clone(), sandbox.clone()).await?;
        Ok((sandbox_id, id))
    }

    async fn remove(&self, id: &str) -> Result<(), Error> {
        let (sandboxes, _) = self.runtime.list(&[(labels::CONTAINER.to_owned(), id.to_owned())]).await?;
        for sandbox in sandboxes {
            self.runtime.remove_sandbox(&sandbox.id).await?;
        }
        Ok(())
    }

    /// Starts a container once: again only if the runtime says that it was not started.
    pub(super) async fn start(&self, id: &str) -> Result<(), Error> {
        loop {
            match self.runtime.start(id).await {
                Err(error) if self.waits_after(&error) => {
                    tokio::time::sleep(PAUSE).await;
                    let status = self.call(|| self.runtime.container_status(id)).await?;
                    if status.state != v1::ContainerState::ContainerCreated as i32 {
                        return Ok(());
                    }
                }
                answer => return answer,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::fake::{FakeRuntime, Lost};

    fn configs() -> (v1::PodSandboxConfig, v1::ContainerConfig) {
        let labels = [(labels::CONTAINER.to_owned(), "c1".to_owned())];
        let metadata = v1::PodSandboxMetadata { name: "c1".into(), ..Default::default() };
        let sandbox = v1::PodSandboxConfig {
            metadata: Some(metadata),
            labels: labels.clone().into(),
            ..Default::default()
        };
        (sandbox, v1::ContainerConfig { labels: labels.into(), ..Default::default() })
    }

    #[tokio::test]
    async fn a_launch_outlives_the_loss_of_any_call_and_of_any_answer() {
        for lost in [Lost::Call, Lost::Answer] {
            for operation in
                ["ImageStatus", "PullImage", "RunPodSandbox", "CreateContainer", "StartContainer"]
            {
                let (runtime, stop) = (FakeRuntime::default(), CancellationToken::new());
                runtime.lose(operation, lost);
                let repeated = Repeated::new(&runtime, &stop);
                let (sandbox, container) = configs();
                assert!(repeated.call(|| runtime.image("a")).await.unwrap().is_some());
                repeated.call(|| runtime.pull("a", None, sandbox.clone())).await.unwrap();
                let (_, id) = repeated.create("c1", &sandbox, &container).await.unwrap();
                repeated.start(&id).await.unwrap();
                let (sandboxes, containers) = runtime.list(&[]).await.unwrap();
                assert_eq!((sandboxes.len(), containers.len()), (1, 1), "{operation} {lost:?}");
                assert_eq!(containers[0].state, v1::ContainerState::ContainerRunning as i32);
                assert_eq!(runtime.starts().len(), 1, "{operation} {lost:?}");
            }
        }
    }

    #[tokio::test]
    async fn nothing_is_repeated_for_ever_nor_for_other_errors() {
        let (runtime, stop) = (FakeRuntime::default(), CancellationToken::new());
        let (sandbox, _) = configs();
        let over = Repeated { deadline: Instant::now(), ..Repeated::new(&runtime, &stop) };
        runtime.lose("ImageStatus", Lost::Call);
        assert!(over.call(|| runtime.image("a")).await.unwrap_err().is_unavailable());
        let repeated = Repeated::new(&runtime, &stop);
        let refused = repeated.call(|| runtime.pull("absent", None, sandbox.clone())).await;
        assert!(!refused.unwrap_err().is_unavailable());
        stop.cancel();
        runtime.lose("ImageStatus", Lost::Call);
        assert!(repeated.call(|| runtime.image("a")).await.unwrap_err().is_unavailable());
    }
}
