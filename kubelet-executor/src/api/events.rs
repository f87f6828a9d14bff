//! Kubernetes Events about the node's Pods: queued, counted, recorded; dropped where the API cannot keep up.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use executor_core::{action::Told, spec, time::whole_seconds};
use jiff::Timestamp;
use k8s_openapi::{
    api::core::v1::{Event, EventSource, ObjectReference, Pod},
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time},
};
use tokio::sync::mpsc;

use crate::api::Api;

/// Events that wait for the API. A hundred Pods that start at once make some four each.
const QUEUE_MAX: usize = 1024;
/// Events that are remembered in order to count repetitions; beyond it counting starts over.
const REMEMBERED_MAX: usize = 4096;
/// The longest message that the API takes.
const MESSAGE_BYTES_MAX: usize = 1024;
/// Pause after the API did not take an event; it is tried once more then.
const RETRY_PAUSE: Duration = Duration::from_secs(1);
/// Who reports, as upstream's nodes do.
const COMPONENT: &str = "kubelet";

/// A handle by which Events are recorded; never waits.
#[derive(Clone)]
pub(crate) struct Recorder {
    queue: mpsc::Sender<(Arc<Pod>, Told, Timestamp)>,
}

impl Recorder {
    /// A recorder and the task behind it.
    pub fn start(api: Arc<dyn Api>, node: String) -> Self {
        let (queue, waiting) = mpsc::channel(QUEUE_MAX);
        tokio::spawn(record(waiting, api, node));
        Self { queue }
    }

    pub fn tell(&self, pod: &Arc<Pod>, told: Told) {
        if self.queue.try_send((pod.clone(), told, Timestamp::now())).is_err() {
            tracing::debug!("an event was dropped: the API does not keep up");
        }
    }
}

/// What has been recorded of one sort of event.
struct Seen {
    name: String,
    first: Timestamp,
    count: i32,
}

async fn record(mut waiting: mpsc::Receiver<(Arc<Pod>, Told, Timestamp)>, api: Arc<dyn Api>, node: String) {
    let mut seen: BTreeMap<(String, Option<String>, &'static str, String), Seen> = BTreeMap::new();
    let mut serial = 0_u64;
    while let Some((pod, told, at)) = waiting.recv().await {
        let uid = pod.metadata.uid.clone().unwrap_or_default();
        let key = (uid, told.container.clone(), told.reason, told.message.clone());
        if seen.len() >= REMEMBERED_MAX {
            seen.clear();
        }
        serial += 1;
        let entry = seen.entry(key).or_insert_with(|| Seen {
            name: event_name(&pod, at, serial),
            first: at,
            count: 0,
        });
        entry.count = entry.count.saturating_add(1);
        let event = event(&pod, &told, &node, entry, at);
        if let Err(error) = api.record(&event).await {
            tracing::debug!(%error, "event not recorded; once more");
            tokio::time::sleep(RETRY_PAUSE).await;
            if let Err(error) = api.record(&event).await {
                tracing::debug!(%error, reason = told.reason, "event lost");
            }
        }
    }
}

/// `<pod>.<hexadecimal moment>`, as clients expect it; the serial number keeps two of one moment apart.
fn event_name(pod: &Pod, at: Timestamp, serial: u64) -> String {
    let pod_name = pod.metadata.name.as_deref().unwrap_or_default();
    format!("{pod_name}.{:x}", at.as_nanosecond().wrapping_add(i128::from(serial)))
}

fn event(pod: &Pod, told: &Told, node: &str, seen: &Seen, at: Timestamp) -> Event {
    let metadata = &pod.metadata;
    let field_path = told.container.as_ref().map(|name| {
        let init = spec::containers(pod).any(|(role, c)| role != spec::Role::Main && c.name == *name);
        format!("spec.{}{{{name}}}", if init { "initContainers" } else { "containers" })
    });
    let mut message = told.message.clone();
    if message.len() > MESSAGE_BYTES_MAX {
        let end = (0..MESSAGE_BYTES_MAX).rev().find(|end| message.is_char_boundary(*end)).unwrap_or(0);
        message.truncate(end);
    }
    Event {
        metadata: ObjectMeta {
            name: Some(seen.name.clone()),
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
        type_: Some(if told.warning { "Warning" } else { "Normal" }.to_owned()),
        reason: Some(told.reason.to_owned()),
        message: Some(message),
        count: Some(seen.count),
        first_timestamp: Some(Time(whole_seconds(seen.first))),
        last_timestamp: Some(Time(whole_seconds(at))),
        source: Some(EventSource { component: Some(COMPONENT.to_owned()), host: Some(node.to_owned()) }),
        reporting_component: Some(COMPONENT.to_owned()),
        reporting_instance: Some(node.to_owned()),
        ..Default::default()
    }
}
