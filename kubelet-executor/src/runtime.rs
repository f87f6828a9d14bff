//! The container runtime as the executor uses it: one trait, two implementations, one suite of tests.
//!
//! The messages are those of the runtime interface; the fake speaks them too, so that nothing is translated twice.

pub(crate) mod containerd;
pub mod fake;
pub mod images;
pub mod labels;

use std::time::Duration;

use async_trait::async_trait;
use cri::{Error, v1};

/// What the executor asks of a runtime.
#[async_trait]
pub trait Runtime: Send + Sync + 'static {
    /// Sandboxes and containers that carry all of `labels`.
    async fn list(
        &self,
        labels: &[(String, String)],
    ) -> Result<(Vec<v1::PodSandbox>, Vec<v1::Container>), Error>;
    /// One sandbox with its addresses.
    async fn sandbox_status(&self, id: &str) -> Result<v1::PodSandboxStatus, Error>;
    /// One container with its exit.
    async fn container_status(&self, id: &str) -> Result<v1::ContainerStatus, Error>;
    /// Makes and starts a sandbox; answers its id.
    async fn run_sandbox(&self, config: v1::PodSandboxConfig) -> Result<String, Error>;
    /// Stops and removes a sandbox with all in it; one that is not there is removed.
    async fn remove_sandbox(&self, id: &str) -> Result<(), Error>;
    /// The image, if it is on the machine.
    async fn image(&self, name: &str) -> Result<Option<v1::Image>, Error>;
    /// Pulls an image; answers its reference.
    async fn pull(
        &self,
        name: &str,
        auth: Option<v1::AuthConfig>,
        sandbox: v1::PodSandboxConfig,
    ) -> Result<String, Error>;
    /// Makes a container; answers its id.
    async fn create(
        &self,
        sandbox_id: &str,
        config: v1::ContainerConfig,
        sandbox: v1::PodSandboxConfig,
    ) -> Result<String, Error>;
    /// Starts a made container.
    async fn start(&self, id: &str) -> Result<(), Error>;
    /// Asks a container to end and kills it after `grace`; returns when it is over.
    async fn stop(&self, id: &str, grace: Duration) -> Result<(), Error>;
    /// Removes a container; one that is not there is removed.
    async fn remove(&self, id: &str) -> Result<(), Error>;
    /// Runs a command in a container: exit code and output.
    async fn exec(
        &self,
        id: &str,
        command: &[String],
        timeout: Duration,
    ) -> Result<v1::ExecSyncResponse, Error>;
    /// Makes the runtime write to a new log file.
    async fn reopen_log(&self, id: &str) -> Result<(), Error>;
    /// The address of a stream for an exec.
    async fn exec_url(&self, request: v1::ExecRequest) -> Result<String, Error>;
    /// The address of a stream for an attach.
    async fn attach_url(&self, request: v1::AttachRequest) -> Result<String, Error>;
    /// The address of a stream for a port-forward.
    async fn port_forward_url(&self, sandbox_id: &str) -> Result<String, Error>;
    /// Usage of containers that carry all of `labels`.
    async fn stats(&self, labels: &[(String, String)]) -> Result<Vec<v1::ContainerStats>, Error>;
}

/// Success for a removal of what is not there.
fn gone_is_fine(result: Result<(), Error>) -> Result<(), Error> {
    match result {
        Err(error) if error.is_not_found() => Ok(()),
        other => other,
    }
}

fn spec_of(image: &str) -> v1::ImageSpec {
    v1::ImageSpec { image: image.to_owned(), user_specified_image: image.to_owned(), ..Default::default() }
}

#[async_trait]
impl Runtime for cri::Client {
    async fn list(
        &self,
        labels: &[(String, String)],
    ) -> Result<(Vec<v1::PodSandbox>, Vec<v1::Container>), Error> {
        let labels: std::collections::BTreeMap<_, _> = labels.iter().cloned().collect();
        let sandboxes = v1::PodSandboxFilter { label_selector: labels.clone(), ..Default::default() };
        let containers = v1::ContainerFilter { label_selector: labels, ..Default::default() };
        // Containers first: a sandbox is made before what is in it, so no container of this listing lacks its sandbox.
        let containers = self.list_containers(v1::ListContainersRequest { filter: Some(containers) }).await?;
        let sandboxes = self.list_pod_sandbox(v1::ListPodSandboxRequest { filter: Some(sandboxes) }).await?;
        Ok((sandboxes.items, containers.containers))
    }

    async fn sandbox_status(&self, id: &str) -> Result<v1::PodSandboxStatus, Error> {
        let request = v1::PodSandboxStatusRequest { pod_sandbox_id: id.to_owned(), verbose: false };
        Ok(self.pod_sandbox_status(request).await?.status.unwrap_or_default())
    }

    async fn container_status(&self, id: &str) -> Result<v1::ContainerStatus, Error> {
        let request = v1::ContainerStatusRequest { container_id: id.to_owned(), verbose: false };
        Ok(cri::Client::container_status(self, request).await?.status.unwrap_or_default())
    }

    async fn run_sandbox(&self, config: v1::PodSandboxConfig) -> Result<String, Error> {
        let request = v1::RunPodSandboxRequest { config: Some(config), runtime_handler: String::new() };
        Ok(self.run_pod_sandbox(request).await?.pod_sandbox_id)
    }

    async fn remove_sandbox(&self, id: &str) -> Result<(), Error> {
        let stop = v1::StopPodSandboxRequest { pod_sandbox_id: id.to_owned() };
        gone_is_fine(self.stop_pod_sandbox(stop).await.map(drop))?;
        let remove = v1::RemovePodSandboxRequest { pod_sandbox_id: id.to_owned() };
        gone_is_fine(self.remove_pod_sandbox(remove).await.map(drop))
    }

    async fn image(&self, name: &str) -> Result<Option<v1::Image>, Error> {
        let request = v1::ImageStatusRequest { image: Some(spec_of(name)), verbose: false };
        Ok(self.image_status(request).await?.image)
    }

    async fn pull(
        &self,
        name: &str,
        auth: Option<v1::AuthConfig>,
        sandbox: v1::PodSandboxConfig,
    ) -> Result<String, Error> {
        let request =
            v1::PullImageRequest { image: Some(spec_of(name)), auth, sandbox_config: Some(sandbox) };
        Ok(self.pull_image(request).await?.image_ref)
    }

    async fn create(
        &self,
        sandbox_id: &str,
        config: v1::ContainerConfig,
        sandbox: v1::PodSandboxConfig,
    ) -> Result<String, Error> {
        let request = v1::CreateContainerRequest {
            pod_sandbox_id: sandbox_id.to_owned(),
            config: Some(config),
            sandbox_config: Some(sandbox),
        };
        Ok(self.create_container(request).await?.container_id)
    }

    async fn start(&self, id: &str) -> Result<(), Error> {
        self.start_container(v1::StartContainerRequest { container_id: id.to_owned() }).await.map(drop)
    }

    async fn stop(&self, id: &str, grace: Duration) -> Result<(), Error> {
        let timeout = i64::try_from(grace.as_secs()).unwrap_or(i64::MAX / 2);
        let request = v1::StopContainerRequest { container_id: id.to_owned(), timeout };
        gone_is_fine(self.stop_container(request).await.map(drop))
    }

    async fn remove(&self, id: &str) -> Result<(), Error> {
        let request = v1::RemoveContainerRequest { container_id: id.to_owned() };
        gone_is_fine(self.remove_container(request).await.map(drop))
    }

    async fn exec(
        &self,
        id: &str,
        command: &[String],
        timeout: Duration,
    ) -> Result<v1::ExecSyncResponse, Error> {
        let timeout = i64::try_from(timeout.as_secs().max(1)).unwrap_or(i64::MAX / 2);
        let request = v1::ExecSyncRequest { container_id: id.to_owned(), cmd: command.to_vec(), timeout };
        self.exec_sync(request).await
    }

    async fn reopen_log(&self, id: &str) -> Result<(), Error> {
        self.reopen_container_log(v1::ReopenContainerLogRequest { container_id: id.to_owned() })
            .await
            .map(drop)
    }

    async fn exec_url(&self, request: v1::ExecRequest) -> Result<String, Error> {
        Ok(cri::Client::exec(self, request).await?.url)
    }

    async fn attach_url(&self, request: v1::AttachRequest) -> Result<String, Error> {
        Ok(self.attach(request).await?.url)
    }

    async fn port_forward_url(&self, sandbox_id: &str) -> Result<String, Error> {
        let request = v1::PortForwardRequest { pod_sandbox_id: sandbox_id.to_owned(), port: Vec::new() };
        Ok(self.port_forward(request).await?.url)
    }

    async fn stats(&self, labels: &[(String, String)]) -> Result<Vec<v1::ContainerStats>, Error> {
        let filter = v1::ContainerStatsFilter {
            label_selector: labels.iter().cloned().collect(),
            ..Default::default()
        };
        Ok(self.list_container_stats(v1::ListContainerStatsRequest { filter: Some(filter) }).await?.stats)
    }
}
