//! The client: one lazily connected channel, one method per call.

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use tonic::{
    Request,
    transport::{Channel, Endpoint},
};

use crate::{
    error::Error,
    snapshots::messages::snapshots_client::SnapshotsClient,
    v1::{self, image_service_client::ImageServiceClient, runtime_service_client::RuntimeServiceClient},
};

/// The deadline of reads.
pub(crate) const READ_TIMEOUT: Duration = Duration::from_secs(10);
/// The deadline of calls that change one container or sandbox: upstream's default for runtime requests, because a
/// sandbox waits for CNI plugins.
pub(crate) const WRITE_TIMEOUT: Duration = Duration::from_secs(120);
/// The deadline of a pull: registries can be far and images large.
const PULL_TIMEOUT: Duration = Duration::from_secs(30 * 60);
/// Added to the time that the runtime itself is given, so that its response arrives.
const ANSWER_MARGIN: Duration = Duration::from_secs(15);
/// The largest response: a listing of a node full of annotated containers is far smaller.
const MESSAGE_BYTES_MAX: usize = 32 << 20;

/// Is called after each call with the name of its method, its duration, and whether it failed.
pub type CallObserver = Arc<dyn Fn(&'static str, Duration, bool) + Send + Sync>;

/// A client of a runtime; cheap to clone, reconnects by itself.
#[derive(Clone)]
pub struct Client {
    runtime: RuntimeServiceClient<Channel>,
    image: ImageServiceClient<Channel>,
    pub(crate) snapshots: SnapshotsClient<Channel>,
    observer: Option<CallObserver>,
}

macro_rules! calls {
    ($($(#[$doc:meta])* $service:ident.$name:ident $operation:literal ($request:ident, $timeout:expr) -> $response:ident;)*) => {
        impl Client {
            $(
                $(#[$doc])*
                pub async fn $name(&self, message: v1::$request) -> Result<v1::$response, Error> {
                    let timeout_of: fn(&v1::$request) -> Duration = $timeout;
                    let timeout = timeout_of(&message);
                    let mut request = Request::new(message);
                    request.set_timeout(timeout);
                    let begun = Instant::now();
                    let result = self.$service.clone().$name(request).await;
                    if let Some(observer) = &self.observer {
                        observer(stringify!($name), begun.elapsed(), result.is_err());
                    }
                    match result {
                        Ok(response) => Ok(response.into_inner()),
                        Err(status) => Err(Error::from_status($operation, status)),
                    }
                }
            )*
        }
    };
}

impl Client {
    /// Creates a client of the runtime that listens on `socket`. Connects at the first call.
    pub fn new(socket: &Path) -> Result<Self, Error> {
        let endpoint = Endpoint::from_shared(format!("unix://{}", socket.display()))
            .map_err(|e| Error {
                operation: "Connect",
                kind: crate::ErrorKind::Other,
                message: e.to_string(),
            })?
            .connect_timeout(READ_TIMEOUT);
        let channel = endpoint.connect_lazy();
        Ok(Self {
            runtime: RuntimeServiceClient::new(channel.clone()).max_decoding_message_size(MESSAGE_BYTES_MAX),
            snapshots: SnapshotsClient::new(channel.clone()),
            image: ImageServiceClient::new(channel).max_decoding_message_size(MESSAGE_BYTES_MAX),
            observer: None,
        })
    }

    /// The same client with an observer of its calls, for metrics.
    pub fn observed_by(self, observer: CallObserver) -> Self {
        Self { observer: Some(observer), ..self }
    }
}

/// The deadline of a call with its own timeout: that timeout and a margin.
fn with_margin(seconds: i64) -> Duration {
    Duration::from_secs(u64::try_from(seconds).unwrap_or(0)) + ANSWER_MARGIN
}

calls! {
    /// The name and version of the runtime.
    runtime.version "Version" (VersionRequest, |_| READ_TIMEOUT) -> VersionResponse;
    /// Whether runtime and network are ready.
    runtime.status "Status" (StatusRequest, |_| READ_TIMEOUT) -> StatusResponse;
    /// Creates and starts a sandbox.
    runtime.run_pod_sandbox "RunPodSandbox" (RunPodSandboxRequest, |_| WRITE_TIMEOUT) -> RunPodSandboxResponse;
    /// Stops a sandbox and its containers; idempotent.
    runtime.stop_pod_sandbox "StopPodSandbox" (StopPodSandboxRequest, |_| WRITE_TIMEOUT) -> StopPodSandboxResponse;
    /// Removes a sandbox and its containers; idempotent.
    runtime.remove_pod_sandbox "RemovePodSandbox" (RemovePodSandboxRequest, |_| WRITE_TIMEOUT) -> RemovePodSandboxResponse;
    /// The status of a sandbox, with its addresses.
    runtime.pod_sandbox_status "PodSandboxStatus" (PodSandboxStatusRequest, |_| READ_TIMEOUT) -> PodSandboxStatusResponse;
    /// Lists sandboxes by filter.
    runtime.list_pod_sandbox "ListPodSandbox" (ListPodSandboxRequest, |_| READ_TIMEOUT) -> ListPodSandboxResponse;
    /// Creates a container without starting it.
    runtime.create_container "CreateContainer" (CreateContainerRequest, |_| WRITE_TIMEOUT) -> CreateContainerResponse;
    /// Starts a created container.
    runtime.start_container "StartContainer" (StartContainerRequest, |_| WRITE_TIMEOUT) -> StartContainerResponse;
    /// Stops a container within the request's timeout; idempotent.
    runtime.stop_container "StopContainer" (StopContainerRequest, |m| with_margin(m.timeout)) -> StopContainerResponse;
    /// Removes a container, killing it if it runs; idempotent.
    runtime.remove_container "RemoveContainer" (RemoveContainerRequest, |_| WRITE_TIMEOUT) -> RemoveContainerResponse;
    /// Lists containers by filter.
    runtime.list_containers "ListContainers" (ListContainersRequest, |_| READ_TIMEOUT) -> ListContainersResponse;
    /// The status of a container, with its exit code.
    runtime.container_status "ContainerStatus" (ContainerStatusRequest, |_| READ_TIMEOUT) -> ContainerStatusResponse;
    /// Changes the limits of a running container.
    runtime.update_container_resources "UpdateContainerResources" (UpdateContainerResourcesRequest, |_| READ_TIMEOUT) -> UpdateContainerResourcesResponse;
    /// Makes the runtime reopen the log file, after a rotation.
    runtime.reopen_container_log "ReopenContainerLog" (ReopenContainerLogRequest, |_| READ_TIMEOUT) -> ReopenContainerLogResponse;
    /// Runs a command in a container and waits for it.
    runtime.exec_sync "ExecSync" (ExecSyncRequest, |m| with_margin(m.timeout)) -> ExecSyncResponse;
    /// Prepares a streaming exec; returns its URL.
    runtime.exec "Exec" (ExecRequest, |_| READ_TIMEOUT) -> ExecResponse;
    /// Prepares an attach; returns its URL.
    runtime.attach "Attach" (AttachRequest, |_| READ_TIMEOUT) -> AttachResponse;
    /// Prepares a port-forward; returns its URL.
    runtime.port_forward "PortForward" (PortForwardRequest, |_| READ_TIMEOUT) -> PortForwardResponse;
    /// Lists the resource usage of containers by filter.
    runtime.list_container_stats "ListContainerStats" (ListContainerStatsRequest, |_| READ_TIMEOUT) -> ListContainerStatsResponse;
    /// Lists images by filter.
    image.list_images "ListImages" (ListImagesRequest, |_| READ_TIMEOUT) -> ListImagesResponse;
    /// The status of an image, if it exists.
    image.image_status "ImageStatus" (ImageStatusRequest, |_| READ_TIMEOUT) -> ImageStatusResponse;
    /// Pulls an image.
    image.pull_image "PullImage" (PullImageRequest, |_| PULL_TIMEOUT) -> PullImageResponse;
    /// The file systems of images.
    image.image_fs_info "ImageFsInfo" (ImageFsInfoRequest, |_| READ_TIMEOUT) -> ImageFsInfoResponse;
    /// Removes an image; idempotent.
    image.remove_image "RemoveImage" (RemoveImageRequest, |_| WRITE_TIMEOUT) -> RemoveImageResponse;
}
