//! The container runtime behind one trait, with two implementations and one test suite.
//!
//! The trait uses CRI messages; the fake does as well, so nothing is converted twice.

pub(crate) mod archives;
pub(crate) mod containerd;
pub mod fake;
pub mod image_store;
pub mod images;
#[allow(missing_docs)]
pub mod labels;

use std::time::Duration;

use async_trait::async_trait;
use cri::{Error, ErrorKind, snapshots::Mount, v1};

/// The runtime calls that the executor makes.
#[async_trait]
pub trait Runtime: Send + Sync + 'static {
    /// Lists sandboxes and containers that have all of `labels`.
    async fn list(
        &self,
        labels: &[(String, String)],
    ) -> Result<(Vec<v1::PodSandbox>, Vec<v1::Container>), Error>;
    /// The status of a sandbox, with its addresses.
    async fn sandbox_status(&self, id: &str) -> Result<v1::PodSandboxStatus, Error>;
    /// The status of a container, with its exit.
    async fn container_status(&self, id: &str) -> Result<v1::ContainerStatus, Error>;
    /// Creates and starts a sandbox; returns its id. The empty handler is the runtime's default.
    async fn run_sandbox(&self, config: v1::PodSandboxConfig, handler: &str) -> Result<String, Error>;
    /// Stops and removes a sandbox with its containers; succeeds if it does not exist.
    async fn remove_sandbox(&self, id: &str) -> Result<(), Error>;
    /// The image, if it is on the node.
    async fn image(&self, name: &str) -> Result<Option<v1::Image>, Error>;
    /// Pulls an image; returns its reference.
    async fn pull(
        &self,
        name: &str,
        auth: Option<v1::AuthConfig>,
        sandbox: v1::PodSandboxConfig,
    ) -> Result<String, Error>;
    /// The identity of the layers of an image that is on the node; empty for an image without any.
    async fn image_layers(&self, image: &str) -> Result<String, Error>;
    /// The mounts that show these layers, read-only; until [`Self::remove_view`] nobody removes the layers.
    async fn view_image(&self, key: &str, layers: &str) -> Result<Vec<Mount>, Error>;
    /// Removes a view; succeeds if it does not exist.
    async fn remove_view(&self, key: &str) -> Result<(), Error>;
    /// Creates a container; returns its id.
    async fn create(
        &self,
        sandbox_id: &str,
        config: v1::ContainerConfig,
        sandbox: v1::PodSandboxConfig,
    ) -> Result<String, Error>;
    /// Starts a created container.
    async fn start(&self, id: &str) -> Result<(), Error>;
    /// Stops a container and kills it after `grace`; returns when it has ended.
    async fn stop(&self, id: &str, grace: Duration) -> Result<(), Error>;
    /// Removes a container; succeeds if it does not exist.
    async fn remove(&self, id: &str) -> Result<(), Error>;
    /// Changes the limits of a running container. Zero leaves a limit as it is, -1 removes it.
    async fn update(&self, id: &str, resources: v1::LinuxContainerResources) -> Result<(), Error>;
    /// Runs a command in a container and returns exit code and output.
    async fn exec(
        &self,
        id: &str,
        command: &[String],
        timeout: Duration,
    ) -> Result<v1::ExecSyncResponse, Error>;
    /// Makes the runtime reopen the log file.
    async fn reopen_log(&self, id: &str) -> Result<(), Error>;
    /// The URL of an exec stream.
    async fn exec_url(&self, request: v1::ExecRequest) -> Result<String, Error>;
    /// The URL of an attach stream.
    async fn attach_url(&self, request: v1::AttachRequest) -> Result<String, Error>;
    /// The URL of a port-forward stream.
    async fn port_forward_url(&self, sandbox_id: &str) -> Result<String, Error>;
    /// Usage of the containers that have all of `labels`.
    async fn stats(&self, labels: &[(String, String)]) -> Result<Vec<v1::ContainerStats>, Error>;
}

/// Treats a missing object as success.
fn ignore_not_found(result: Result<(), Error>) -> Result<(), Error> {
    match result {
        Err(error) if error.is_not_found() => Ok(()),
        other => other,
    }
}

/// The chain id in containerd's verbose description of an image.
fn chain_id(info: &str) -> Option<String> {
    let info: serde_json::Value = serde_json::from_str(info).ok()?;
    info["chainID"].as_str().map(str::to_owned)
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
        // Containers first: a sandbox is created before its containers, so no listed container lacks its sandbox.
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

    async fn run_sandbox(&self, config: v1::PodSandboxConfig, handler: &str) -> Result<String, Error> {
        let request = v1::RunPodSandboxRequest { config: Some(config), runtime_handler: handler.to_owned() };
        Ok(self.run_pod_sandbox(request).await?.pod_sandbox_id)
    }

    async fn remove_sandbox(&self, id: &str) -> Result<(), Error> {
        let stop = v1::StopPodSandboxRequest { pod_sandbox_id: id.to_owned() };
        ignore_not_found(self.stop_pod_sandbox(stop).await.map(drop))?;
        let remove = v1::RemovePodSandboxRequest { pod_sandbox_id: id.to_owned() };
        ignore_not_found(self.remove_pod_sandbox(remove).await.map(drop))
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

    async fn image_layers(&self, image: &str) -> Result<String, Error> {
        let request = v1::ImageStatusRequest { image: Some(spec_of(image)), verbose: true };
        let info = self.image_status(request).await?.info.remove("info").unwrap_or_default();
        chain_id(&info).ok_or_else(|| Error {
            operation: "ImageStatus",
            kind: ErrorKind::Other,
            message: format!("the runtime does not tell the layers of image {image}"),
        })
    }

    async fn view_image(&self, key: &str, layers: &str) -> Result<Vec<Mount>, Error> {
        let snapshotter = self.snapshotter().await?;
        self.view_snapshot(&snapshotter, key, layers).await
    }

    async fn remove_view(&self, key: &str) -> Result<(), Error> {
        let snapshotter = self.snapshotter().await?;
        ignore_not_found(self.remove_snapshot(&snapshotter, key).await)
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
        ignore_not_found(self.stop_container(request).await.map(drop))
    }

    async fn remove(&self, id: &str) -> Result<(), Error> {
        let request = v1::RemoveContainerRequest { container_id: id.to_owned() };
        ignore_not_found(self.remove_container(request).await.map(drop))
    }

    async fn update(&self, id: &str, resources: v1::LinuxContainerResources) -> Result<(), Error> {
        let request =
            v1::UpdateContainerResourcesRequest { container_id: id.to_owned(), linux: Some(resources) };
        self.update_container_resources(request).await.map(drop)
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
