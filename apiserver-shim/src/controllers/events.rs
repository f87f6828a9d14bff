//! The event recorder: writes Events in the background, best effort. Callers never wait; Events that exceed the queue
//! are dropped, as in upstream's broadcaster. Repeated Events are aggregated by incrementing the existing Event's
//! `count`.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;
use serde_json::json;
use shim_core::controllers::{EventRecord, EventSource, Target, served};
use shim_core::kinds::Subresource;
use shim_core::rows::Key;
use shim_model::object::{Header, Parts, StoredObject};
use shim_model::resource::Resource;
use shim_model::time::Instant;
use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinSet;

use crate::pipeline::{Identity, ObjectRef, Pipeline, RequestContext};
use crate::storage::registry::{Registry, now as wall_clock};

/// Capacity of the queue; enough for a burst of 10,000 bindings.
pub const QUEUE_BOUND: usize = 16 * 1024;
/// Writes in flight; they share the store's group commits.
const WRITES_MAX: usize = 64;
/// Number of Events remembered for aggregation.
const REMEMBERED_MAX: usize = 4096;
/// Maximum age of an Event that is aggregated; older ones are close to the end of their TTL.
const AGGREGATE_SECONDS: i64 = 1800;

/// Writes Events in the background. Clones share.
#[derive(Clone, Debug)]
pub struct EventRecorder {
    queue: mpsc::Sender<EventRecord>,
}

impl EventRecorder {
    /// Starts a recorder. It ends when every clone is dropped.
    pub fn start(pipeline: Pipeline) -> EventRecorder {
        let (sender, queue) = mpsc::channel(QUEUE_BOUND);
        tokio::spawn(Writer { pipeline, known: BTreeMap::new() }.run(queue));
        EventRecorder { queue: sender }
    }

    /// Queues an Event. Never waits.
    pub fn record(&self, event: EventRecord) {
        if self.queue.try_send(event).is_err() {
            tracing::debug!("event dropped: the queue is full");
        }
    }
}

/// From so many different messages about an object with one reason on, further ones share an Event, as upstream: the
/// refusal of a generated name, for example, differs each time.
const SIMILAR_MAX: usize = 10;
const COMBINED: &str = "(combined from similar events)";

/// Events with an equal key are aggregated: UID and name of the object, reason, message.
type AggregationKey = (String, Key, &'static str, String);

struct KnownEvent {
    name: String,
    count: i64,
    first: Instant,
    /// Held while the Event is created: what repeats it meanwhile waits, and does not take it for deleted.
    created: Arc<Mutex<()>>,
}

struct Writer {
    pipeline: Pipeline,
    known: BTreeMap<AggregationKey, KnownEvent>,
}

/// Whether a message is one of too many about its object, and not known itself.
fn is_combined(known: &BTreeMap<AggregationKey, KnownEvent>, record: &EventRecord, now: Instant) -> bool {
    let about = &record.about;
    let first = (about.uid.clone(), about.key.clone(), record.reason, String::new());
    let mut similar = known
        .range(first..)
        .take_while(|((uid, key, reason, _), _)| {
            (uid, key, *reason) == (&about.uid, &about.key, record.reason)
        })
        .filter(|(_, event)| now.since(event.first) < AGGREGATE_SECONDS)
        .map(|((_, _, _, message), _)| message)
        .filter(|message| *message != COMBINED)
        .take(SIMILAR_MAX);
    let mut count = 0;
    similar.all(|message| {
        count += 1;
        *message != record.message
    }) && count + 1 >= SIMILAR_MAX
}

impl Writer {
    async fn run(mut self, mut queue: mpsc::Receiver<EventRecord>) {
        let mut writes = JoinSet::new();
        while let Some(record) = queue.recv().await {
            while writes.len() >= WRITES_MAX {
                writes.join_next().await;
            }
            while writes.try_join_next().is_some() {}
            self.write(record, &mut writes);
        }
        while writes.join_next().await.is_some() {}
    }

    fn write(&mut self, mut record: EventRecord, writes: &mut JoinSet<()>) {
        let now = wall_clock();
        let combined = is_combined(&self.known, &record, now);
        let (pipeline, context) = (self.pipeline.clone(), context(&record.source));
        // Resources that are no longer served get no Events.
        let catalog = pipeline.registry().catalog();
        let Some(resource) = catalog.named(&record.about.resource).cloned() else { return };
        let mut same =
            (record.about.uid.clone(), record.about.key.clone(), record.reason, record.message.clone());
        if combined {
            record.message = format!("{COMBINED}: {}", record.message);
            COMBINED.clone_into(&mut same.3);
        }
        if let Some(known) = self.known.get_mut(&same).filter(|k| now.since(k.first) < AGGREGATE_SECONDS) {
            known.count += 1;
            let (name, count) = (known.name.clone(), known.count);
            let namespace = namespace_of(&record.about).to_owned();
            let fresh = event(&resource, &record, now, count).0;
            let message = record.message;
            let created = Arc::clone(&known.created);
            writes.spawn(async move {
                drop(created.lock().await);
                aggregate(&pipeline, &context, (&namespace, &name), (count, now, message), fresh).await
            });
            return;
        }
        if self.known.len() >= REMEMBERED_MAX {
            self.known.clear();
        }
        let (event, name) = event(&resource, &record, now, 1);
        let created = Arc::new(Mutex::new(()));
        let creating = Arc::clone(&created).try_lock_owned();
        self.known.insert(same, KnownEvent { name, count: 1, first: now, created });
        writes.spawn(async move {
            create(&pipeline, &context, event).await;
            drop(creating);
        });
    }
}

/// Each component records Events under its own identity. Events of component `kubelet` are the scheduler's: it emits them
/// for Pods that a node must refuse.
fn context(source: &EventSource) -> RequestContext {
    let identity = match source {
        EventSource::Scheduler(_) | EventSource::Component("kubelet") => Identity::scheduler(),
        EventSource::Component(controller) => Identity::controller(controller).untracked(),
    };
    identity.context("create")
}

async fn create(pipeline: &Pipeline, context: &RequestContext, event: StoredObject) {
    if let Err(status) = pipeline.record_event(context, event).await {
        tracing::debug!(%status, "event not written");
    }
}

/// Increments the count of an Event; if it was deleted, `fresh` is created instead.
async fn aggregate(
    pipeline: &Pipeline,
    context: &RequestContext,
    (namespace, name): (&str, &str),
    (count, now, message): (i64, Instant, String),
    fresh: StoredObject,
) {
    let events = pipeline.registry().builtin(&served("", "events"));
    let target = ObjectRef::new(&events, namespace, name);
    let counted = pipeline
        .update_parts(context, target, &[Subresource::Main], |event| {
            let mut event = event.clone();
            // The writes of two repetitions may pass each other.
            event["count"] = json!(event["count"].as_i64().unwrap_or_default().max(count));
            event["message"] = json!(message);
            event["lastTimestamp"] = json!(now.to_rfc3339());
            Ok(event)
        })
        .await;
    match counted {
        Ok(_) => {}
        Err(status) if status.code == 404 => {
            create(pipeline, context, fresh).await;
        }
        Err(status) => tracing::debug!(%status, "event not aggregated"),
    }
}

fn namespace_of(about: &Target) -> &str {
    if about.key.namespace.is_empty() { "default" } else { &about.key.namespace }
}

/// Encodes an Event that is written in the same transaction as its object. `None` if the object's resource is no
/// longer served.
pub(crate) fn event_to_store(registry: &Registry, record: &EventRecord) -> Option<StoredObject> {
    Some(event(registry.catalog().named(&record.about.resource)?, record, wall_clock(), 1).0)
}

/// Builds the Event. As upstream, its name is the object's name and the time in hexadecimal.
fn event(resource: &Resource, record: &EventRecord, now: Instant, count: i64) -> (StoredObject, String) {
    let about = &record.about;
    let time = now.to_rfc3339();
    let header = Header {
        name: format!("{}.{:x}", about.key.name, unique_nanos(now)),
        namespace: namespace_of(about).to_owned(),
        uid: uuid::Uuid::new_v4().to_string(),
        creation_timestamp: time.clone(),
        ..Header::default()
    };
    let metadata = Metadata {
        creation_timestamp: &time,
        name: &header.name,
        namespace: &header.namespace,
        uid: &header.uid,
    };
    let rest = Rest {
        count,
        event_time: (),
        first_timestamp: &time,
        involved_object: Involved {
            api_version: resource.api_version(),
            kind: &resource.kind,
            name: &about.key.name,
            namespace: &about.key.namespace,
            uid: &about.uid,
        },
        last_timestamp: &time,
        message: &record.message,
        reason: record.reason,
        reporting_component: record.source.name(),
        reporting_instance: "",
        source: Source { component: record.source.name() },
        kind_of_event: if record.warning { "Warning" } else { "Normal" },
    };
    let mut bytes = BEFORE_METADATA.to_vec();
    let mut parts = Parts { metadata: bytes.len()..0, ..Parts::default() };
    write(&mut bytes, &metadata);
    parts.metadata.end = bytes.len();
    write(&mut bytes, &rest);
    // `rest` starts with a brace; its members continue the object.
    bytes[parts.metadata.end] = b',';
    let name = header.name.clone();
    (StoredObject { bytes: bytes.into_boxed_slice().into(), header: Arc::new(header), parts }, name)
}

fn write(into: &mut Vec<u8>, value: &impl Serialize) {
    serde_json::to_writer(into, value).expect("invariant: text always encodes into memory");
}

/// The members before `metadata`. The order is that of [`crate::storage::object::encoded`]. Events are encoded without a
/// `Value`, because every Pod causes at least one.
const BEFORE_METADATA: &[u8] = br#"{"apiVersion":"v1","kind":"Event","metadata":"#;

/// The members after `metadata`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Rest<'a> {
    count: i64,
    /// `null`, as upstream's recorder writes it.
    event_time: (),
    first_timestamp: &'a str,
    involved_object: Involved<'a>,
    last_timestamp: &'a str,
    message: &'a str,
    reason: &'a str,
    reporting_component: &'a str,
    reporting_instance: &'a str,
    source: Source<'a>,
    #[serde(rename = "type")]
    kind_of_event: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Metadata<'a> {
    creation_timestamp: &'a str,
    name: &'a str,
    namespace: &'a str,
    uid: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Involved<'a> {
    api_version: String,
    kind: &'a str,
    name: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    namespace: &'a str,
    uid: &'a str,
}

#[derive(Serialize)]
struct Source<'a> {
    component: &'a str,
}

/// Nanoseconds since the epoch, unique in this process.
fn unique_nanos(now: Instant) -> u64 {
    use std::sync::atomic::{AtomicU64, Ordering};
    static LAST: AtomicU64 = AtomicU64::new(0);
    let now = u64::try_from(now.0).unwrap_or(0).saturating_mul(1000);
    let before = LAST.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |last| Some(now.max(last + 1)));
    before.map_or(now, |last| now.max(last + 1))
}

#[cfg(test)]
mod tests;
