//! `GET /containerLogs`: finds the log of a container and streams it to the client.

use std::sync::Arc;

use bytes::Bytes;
use http::{Response, StatusCode, header};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
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
    let attempts = files::attempts(&dir);
    let attempt = match (options.previous, &attempts[..]) {
        (false, [.., newest]) => *newest,
        (true, [.., before, _]) => *before,
        (true, _) => {
            let message = format!(
                "previous terminated container \"{}\" in pod \"{}\" not found",
                target.container, target.pod
            );
            return Err(StatusError::bad_request(message));
        }
        (false, []) => {
            let reason = view.map_or("ContainerCreating".to_owned(), |view| {
                waiting_reason(&view.status, &target.container)
            });
            let why = match reason.as_str() {
                "ErrImagePull" => "image can't be pulled",
                "ImagePullBackOff" => "trying and failing to pull image",
                other => other,
            };
            let message = format!(
                "container \"{}\" in pod \"{}\" is waiting to start: {why}",
                target.container, target.pod
            );
            return Err(StatusError::new(StatusCode::BAD_REQUEST, message));
        }
    };
    let (pieces, receiver) = mpsc::channel(PIECES_MAX);
    let instance = view.and_then(|view| view.running.get(&target.container).cloned());
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

fn waiting_reason(status: &k8s_openapi::api::core::v1::PodStatus, container: &str) -> String {
    let all =
        status.init_container_statuses.iter().flatten().chain(status.container_statuses.iter().flatten());
    let waiting = all
        .filter(|status| status.name == container)
        .find_map(|status| status.state.as_ref()?.waiting.as_ref()?.reason.clone());
    waiting.unwrap_or_else(|| "ContainerCreating".to_owned())
}
