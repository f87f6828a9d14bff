//! `GET /containerLogs`: finds the log of a container and streams it to the client.

use std::{path::Path, sync::Arc};

use bytes::Bytes;
use http::{Response, header};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use k8s_openapi::api::core::v1::{ContainerStatus, PodStatus};
use tokio::sync::mpsc;

use super::{Body, StatusError, Target};
use crate::{
    node::pods::Pods,
    pod::{
        context::NodeContext,
        logs::{LogOptions, files, reader},
        paths,
        worker::PodView,
    },
};

/// Queued pieces of a log.
const PIECES_MAX: usize = 16;

pub(crate) async fn answer(
    context: &Arc<NodeContext>,
    pods: &Arc<Pods>,
    target: &Target,
    options: LogOptions,
) -> Result<Response<Body>, StatusError> {
    let view = pods.find(&target.namespace, &target.pod);
    let dir = match &view {
        Some(view) => {
            if executor_core::spec::container(&view.pod, &target.container).is_none() {
                let message = format!("container {} is not valid for pod {}", target.container, target.pod);
                return Err(StatusError::bad_request(message));
            }
            let uid = view.pod.metadata.uid.as_deref().unwrap_or_default();
            paths::logs(&context.config, &target.namespace, &target.pod, uid)
        }
        None => files::newest_of(&context.config, &target.namespace, &target.pod).ok_or_else(|| {
            StatusError::not_found(format!("pod {}/{} is not on this node", target.namespace, target.pod))
        })?,
    };
    let dir = dir.join(&target.container);
    let status = view.as_ref().and_then(|view| container_status(&view.status, &target.container));
    let attempt = choose_attempt(&dir, status, options.previous, target)?;
    let (pieces, receiver) = mpsc::channel(PIECES_MAX);
    let instance = match options.previous {
        // It has ended, so there is nothing to follow.
        true => None,
        false => view.and_then(|view| view.running.get(&target.container).cloned()),
    };
    let (pods, namespace, pod, container) =
        (pods.clone(), target.namespace.clone(), target.pod.clone(), target.container.clone());
    let runs = move || {
        let same = |view: &PodView| view.running.get(&container) == instance.as_ref();
        instance.is_some() && pods.with_view(&namespace, &pod, same) == Some(true)
    };
    tokio::spawn(async move {
        if let Err(error) = reader::read(&dir, attempt, &options, runs, &pieces).await {
            tracing::debug!(%error, "reading a log failed");
        }
    });
    let stream = futures::stream::unfold(receiver, |mut receiver: mpsc::Receiver<Bytes>| async move {
        let piece = receiver.recv().await?;
        Some((Ok::<_, std::convert::Infallible>(Frame::data(piece)), receiver))
    });
    let mut response = Response::new(BodyExt::boxed(StreamBody::new(stream)));
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("text/plain"));
    Ok(response)
}

/// The instance whose log is requested.
fn choose_attempt(
    dir: &Path,
    status: Option<&ContainerStatus>,
    previous: bool,
    target: &Target,
) -> Result<u32, StatusError> {
    let attempts = files::attempts(dir);
    // A container that waits for its restart: the log of the instance that ended last is the newest one.
    let waits_after_end = status
        .and_then(|status| status.state.as_ref())
        .is_some_and(|s| s.waiting.is_some())
        && status.and_then(|status| status.last_state.as_ref()).is_some_and(|last| last.terminated.is_some());
    match (previous, &attempts[..]) {
        (false, [.., newest]) => Ok(*newest),
        (true, [.., newest]) if waits_after_end => Ok(*newest),
        (true, [.., before, _]) => Ok(*before),
        (true, _) => {
            let message = format!(
                "previous terminated container \"{}\" in pod \"{}\" not found",
                target.container, target.pod
            );
            Err(StatusError::bad_request(message))
        }
        (false, []) => {
            let message = format!(
                "container \"{}\" in pod \"{}\" is waiting to start: {}",
                target.container,
                target.pod,
                waiting_reason(status)
            );
            Err(StatusError::bad_request(message))
        }
    }
}

/// The status of a container of any kind.
fn container_status<'a>(status: &'a PodStatus, container: &str) -> Option<&'a ContainerStatus> {
    let init = status.init_container_statuses.iter().flatten();
    let ephemeral = status.ephemeral_container_statuses.iter().flatten();
    let mut all = init.chain(status.container_statuses.iter().flatten()).chain(ephemeral);
    all.find(|status| status.name == container)
}

/// Why a container has no log, as upstream says it.
fn waiting_reason(status: Option<&ContainerStatus>) -> &str {
    let waiting = status.and_then(|status| status.state.as_ref()?.waiting.as_ref()?.reason.as_deref());
    match waiting.unwrap_or("ContainerCreating") {
        "ErrImagePull" => "image can't be pulled",
        "ImagePullBackOff" => "trying and failing to pull image",
        reason => reason,
    }
}
