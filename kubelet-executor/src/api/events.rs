//! Records Kubernetes Events about Pods: queued, aggregated, and dropped if the API server cannot keep up.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use executor_core::{action::EventRecord, spec, time::whole_seconds};
use jiff::Timestamp;
use k8s_openapi::{
    api::core::v1::{Event, EventSource, ObjectReference, Pod},
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time},
};
use tokio::sync::mpsc;

use crate::api::Api;

/// Length of the queue. A hundred Pods that start at once cause about four Events each.
const QUEUE_MAX: usize = 1024;
/// Events that are remembered for aggregation; beyond it the counts start over.
const REMEMBERED_MAX: usize = 4096;
/// The API's limit for messages.
const MESSAGE_BYTES_MAX: usize = 1024;
/// Pause before the single retry of a failed request.
const RETRY_PAUSE: Duration = Duration::from_secs(1);
/// The reporting component, as upstream's kubelet.
const COMPONENT: &str = "kubelet";

/// Queues Events without blocking.
#[derive(Clone)]
pub(crate) struct Recorder {
    queue: mpsc::Sender<(Arc<Pod>, EventRecord, Timestamp)>,
}

impl Recorder {
    /// Starts a recorder and its task.
    pub fn start(api: Arc<dyn Api>, node: String) -> Self {
        let (queue, waiting) = mpsc::channel(QUEUE_MAX);
        tokio::spawn(record(waiting, api, node));
        Self { queue }
    }

    pub fn record(&self, pod: &Arc<Pod>, event: EventRecord) {
        if self.queue.try_send((pod.clone(), event, Timestamp::now())).is_err() {
            tracing::debug!("event dropped: the queue is full");
        }
    }
}

/// An Event that has been recorded before.
struct RecordedEvent {
    name: String,
    first: Timestamp,
    count: i32,
}

async fn record(
    mut waiting: mpsc::Receiver<(Arc<Pod>, EventRecord, Timestamp)>,
    api: Arc<dyn Api>,
    node: String,
) {
    let mut recorded: BTreeMap<(String, Option<String>, &'static str, String), RecordedEvent> =
        BTreeMap::new();
    let mut serial = 0_u64;
    while let Some((pod, event, at)) = waiting.recv().await {
        let uid = pod.metadata.uid.clone().unwrap_or_default();
        let key = (uid, event.container.clone(), event.reason, event.message.clone());
        if recorded.len() >= REMEMBERED_MAX {
            recorded.clear();
        }
        serial += 1;
        let entry = recorded.entry(key).or_insert_with(|| RecordedEvent {
            name: event_name(&pod, at, serial),
            first: at,
            count: 0,
        });
        entry.count = entry.count.saturating_add(1);
        let object = api_event(&pod, &event, &node, entry, at);
        if let Err(error) = api.record(&object).await {
            tracing::debug!(%error, "cannot record event; retrying once");
            tokio::time::sleep(RETRY_PAUSE).await;
            if let Err(error) = api.record(&object).await {
                tracing::debug!(%error, reason = event.reason, "event dropped");
            }
        }
    }
}

/// `<pod>.<hexadecimal timestamp>`, as clients expect; the serial number makes it unique.
fn event_name(pod: &Pod, at: Timestamp, serial: u64) -> String {
    let pod_name = pod.metadata.name.as_deref().unwrap_or_default();
    format!("{pod_name}.{:x}", at.as_nanosecond().wrapping_add(i128::from(serial)))
}

fn api_event(pod: &Pod, event: &EventRecord, node: &str, recorded: &RecordedEvent, at: Timestamp) -> Event {
    let metadata = &pod.metadata;
    let field_path = event.container.as_ref().map(|name| {
        let init = spec::containers(pod).any(|(role, c)| role != spec::Role::Main && c.name == *name);
        format!("spec.{}{{{name}}}", if init { "initContainers" } else { "containers" })
    });
    let mut message = event.message.clone();
    if message.len() > MESSAGE_BYTES_MAX {
        let end = (0..MESSAGE_BYTES_MAX).rev().find(|end| message.is_char_boundary(*end)).unwrap_or(0);
        message.truncate(end);
    }
    Event {
        metadata: ObjectMeta {
            name: Some(recorded.name.clone()),
            namespace: metadata.namespace.clone(),
            ..Default::default()
        },
        involved_object: ObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some("Pod".to_owned()),
            name: metadata.name.clone(),
            namespace: metadata.namespace.clone(),
            uid: metadata.uid.clone(),
            resource_version: metadata.resource_version.clone(),
            field_path,
        },
        type_: Some(if event.warning { "Warning" } else { "Normal" }.to_owned()),
        reason: Some(event.reason.to_owned()),
        message: Some(message),
        count: Some(recorded.count),
        first_timestamp: Some(Time(whole_seconds(recorded.first))),
        last_timestamp: Some(Time(whole_seconds(at))),
        source: Some(EventSource { component: Some(COMPONENT.to_owned()), host: Some(node.to_owned()) }),
        reporting_component: Some(COMPONENT.to_owned()),
        reporting_instance: Some(node.to_owned()),
        ..Default::default()
    }
}
