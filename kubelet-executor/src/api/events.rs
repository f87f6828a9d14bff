//! Records Kubernetes Events about Pods: queued, aggregated, and dropped if the API server cannot keep up.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use executor_core::{
    action::EventRecord,
    spec,
    time::{since, whole_seconds},
};
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
/// From so many different messages of a Pod with one reason on, further ones share an Event, as upstream: a message may
/// contain what changes each time, and would else fill the store.
const SIMILAR_MAX: usize = 10;
/// How long no similar Event occurs until they are told apart again, as upstream.
const SIMILAR_FOR: Duration = Duration::from_secs(600);
const COMBINED: &str = "(combined from similar events)";
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

/// Events with an equal key are aggregated: the Pod's UID, container, reason, message.
type Key = (String, Option<String>, &'static str, String);

/// The messages of a Pod with one reason that have an Event of their own.
struct Similar {
    messages: BTreeSet<String>,
    last: Timestamp,
}

/// Decides which Events are one. What it remembers is bounded: each message has an entry in `recorded`.
#[derive(Default)]
struct Correlator {
    recorded: BTreeMap<Key, RecordedEvent>,
    similar: BTreeMap<(String, &'static str), Similar>,
    serial: u64,
}

impl Correlator {
    /// Counts an occurrence. Changes the message if it is one of too many.
    fn count(&mut self, pod: &Pod, event: &mut EventRecord, at: Timestamp) -> &RecordedEvent {
        if self.recorded.len() >= REMEMBERED_MAX {
            self.recorded.clear();
            self.similar.clear();
        }
        let key = self.key(pod.metadata.uid.clone().unwrap_or_default(), event, at);
        self.serial += 1;
        let serial = self.serial;
        let entry = self.recorded.entry(key).or_insert_with(|| RecordedEvent {
            name: event_name(pod, at, serial),
            first: at,
            count: 0,
        });
        entry.count = entry.count.saturating_add(1);
        entry
    }

    fn key(&mut self, uid: String, event: &mut EventRecord, at: Timestamp) -> Key {
        let new = || Similar { messages: BTreeSet::new(), last: at };
        let similar = self.similar.entry((uid.clone(), event.reason)).or_insert_with(new);
        if since(at, similar.last) > SIMILAR_FOR {
            similar.messages.clear();
            self.recorded.remove(&(uid.clone(), None, event.reason, COMBINED.to_owned()));
        }
        similar.last = at;
        if similar.messages.contains(&event.message) || similar.messages.len() + 1 < SIMILAR_MAX {
            similar.messages.insert(event.message.clone());
            return (uid, event.container.clone(), event.reason, event.message.clone());
        }
        event.message = format!("{COMBINED}: {}", event.message);
        (uid, None, event.reason, COMBINED.to_owned())
    }
}

async fn record(
    mut waiting: mpsc::Receiver<(Arc<Pod>, EventRecord, Timestamp)>,
    api: Arc<dyn Api>,
    node: String,
) {
    let mut correlator = Correlator::default();
    while let Some((pod, mut event, at)) = waiting.recv().await {
        let recorded = correlator.count(&pod, &mut event, at);
        let object = api_event(&pod, &event, &node, recorded, at);
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
        let list = match spec::role(pod, name) {
            Some(spec::Role::Init | spec::Role::Sidecar) => "initContainers",
            Some(spec::Role::Ephemeral) => "ephemeralContainers",
            Some(spec::Role::Main) | None => "containers",
        };
        format!("spec.{list}{{{name}}}")
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_that_always_differ_share_an_event() {
        let mut pod = Pod::default();
        pod.metadata.uid = Some("u".to_owned());
        let mut correlator = Correlator::default();
        let mut tell = |seconds: i64, reason: &'static str, message: &str| {
            let container = Some("c".to_owned());
            let mut event = EventRecord { container, warning: true, reason, message: message.to_owned() };
            let at = Timestamp::from_second(seconds).unwrap();
            let count = correlator.count(&pod, &mut event, at).count;
            format!("{count} {}", event.message)
        };
        for i in 1..10 {
            assert_eq!(tell(i, "Unhealthy", &format!("exec {i}")), format!("1 exec {i}"));
        }
        for i in 10..100 {
            let expected = format!("{} (combined from similar events): exec {i}", i - 9);
            assert_eq!(tell(i, "Unhealthy", &format!("exec {i}")), expected);
        }
        assert_eq!(tell(100, "Unhealthy", "exec 3"), "2 exec 3", "it has an Event");
        assert_eq!(tell(100, "Killing", "other"), "1 other");
        assert_eq!(tell(701, "Unhealthy", "exec x"), "1 exec x", "after ten quiet minutes");
    }
}
