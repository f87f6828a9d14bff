//! WATCH: frames of events, each event written by copying what the cache holds, once for all who see the same. What
//! has happened between two wake-ups of the cache is one frame.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use prometheus::IntCounter;
use serde_json::{Value, json};
use shim_model::status::{self, Status};
use shim_model::table::{self, IncludeObject};
use tokio::time::{Instant, Sleep, sleep_until};

use super::body::{BoxError, Response, stream};
use super::list::ListOptions;
use super::negotiation::{Accepted, Shape};
use super::{reply, shapes};
use crate::request::query::Query;
use crate::storage::catalog::ServedResource;
use crate::storage::object::{set_resource_version, write_resource_version};
use crate::storage::registry::Registry;
use crate::storage::watch_cache::{BroadcastGroup, Delivery, EncodedBatch, WatchEnd, WatchFrom, Watcher};

/// Most events in one frame: with small objects a frame is then some 256 KiB, which is what bounds it with large ones.
const FRAME_EVENTS_MAX: usize = 256;
/// What an event is longer than its object: type, resourceVersion, braces.
const EVENT_FRAME: usize = 96;
/// How often bookmarks are sent, as upstream does.
const BOOKMARK_EVERY: Duration = Duration::from_secs(60);
/// How long a watch lasts if the client does not say: between this and twice this, as upstream does.
const WATCH_SECONDS_MIN: u64 = 1800;
/// Longest watch that a client may ask for.
const WATCH_SECONDS_MAX: i64 = 24 * 3600;

/// How one watcher's events are written.
struct Codec {
    resource: Arc<ServedResource>,
    shape: Shape,
    include: IncludeObject,
    headed: bool,
}

struct State {
    registry: Registry,
    watcher: Watcher,
    group: Arc<BroadcastGroup>,
    codec: Codec,
    bookmarks: bool,
    /// The initial events are not yet closed by their bookmark.
    initial_open: bool,
    /// There may be something to read that no wake-up tells of.
    look: bool,
    next_bookmark: Instant,
    deadline: Instant,
    /// Rings at the next bookmark or at the deadline. It is kept between frames: to set one costs more than a look.
    alarm: Pin<Box<Sleep>>,
    done: bool,
    /// Counts what is sent.
    events: IntCounter,
}

/// Answers a WATCH, and counts the events that are sent.
pub async fn watch(
    (registry, events): (&Registry, IntCounter),
    resource: &Arc<ServedResource>,
    options: &ListOptions,
    accepted: Accepted,
    query: &Query,
) -> Result<Response, Status> {
    let initial = query.get("sendInitialEvents").map(|_| query.flag("sendInitialEvents"));
    let include = shapes::include_object(query)?;
    let from = match (initial, options.revision) {
        (Some(true), revision) => {
            match revision {
                None | Some(0) => registry.fresh().await.map(|_| ())?,
                Some(oldest) => registry.wait_for(oldest).await?,
            }
            WatchFrom::Start
        }
        (Some(false), None | Some(0)) => WatchFrom::Now,
        (None, None) => {
            registry.fresh().await?;
            WatchFrom::Start
        }
        (None, Some(0)) => WatchFrom::Start,
        (_, Some(revision)) => WatchFrom::After(revision),
    };
    let seconds = match query.number("timeoutSeconds")? {
        Some(asked) if asked > 0 => asked.min(WATCH_SECONDS_MAX) as u64,
        _ => WATCH_SECONDS_MIN + u64::from(uuid::Uuid::new_v4().as_u128() as u16) % WATCH_SECONDS_MIN,
    };
    let codec = Codec { resource: resource.clone(), shape: accepted.shape, include, headed: false };
    let now = Instant::now();
    let parts = match resource.cache().watch_debounced(from, options.selection.clone()) {
        Err(WatchEnd::Closed) => return Err(status::unknown_path()),
        Err(WatchEnd::Lagged { oldest }) => {
            let status = status::too_old(options.revision.unwrap_or(0), oldest);
            let frame = error_frame(&status);
            events.inc();
            stream(futures::stream::iter([Ok(frame)]))
        }
        Ok(watcher) => {
            let state = State {
                registry: registry.clone(),
                watcher,
                group: resource.cache().broadcast_group(&options.selection, codec.form()),
                codec,
                bookmarks: query.flag("allowWatchBookmarks"),
                initial_open: initial == Some(true),
                look: true,
                next_bookmark: now + BOOKMARK_EVERY,
                deadline: now + Duration::from_secs(seconds),
                alarm: Box::pin(sleep_until(now)),
                done: false,
                events,
            };
            stream(futures::stream::unfold(state, |mut state| async move {
                let frame = state.next().await?;
                Some((Ok::<Bytes, BoxError>(frame), state))
            }))
        }
    };
    let mut response = reply::json(200, Bytes::new());
    *response.body_mut() = parts;
    Ok(response)
}

impl State {
    /// The next frame; none when the watch is over.
    async fn next(&mut self) -> Option<Bytes> {
        if self.done {
            return None;
        }
        loop {
            let now = Instant::now();
            let mark = self.bookmarks && now >= self.next_bookmark;
            if self.look || mark || self.initial_open || self.watcher.is_due() {
                // What was known before looking: if nothing is found, everything up to here has been seen.
                let known = self.registry.progress();
                match self.frame().await {
                    Ok(frame) if !frame.is_empty() => return Some(frame),
                    Ok(_) => {}
                    // The resource is no longer served: the watch ends without an error, as upstream's do.
                    Err(FrameError::End(WatchEnd::Closed)) => return None,
                    Err(FrameError::End(WatchEnd::Lagged { oldest })) => {
                        let status = status::too_old(self.watcher.seen(), oldest);
                        return Some(self.last(&status));
                    }
                    Err(FrameError::Conversion(status)) => {
                        return Some(self.last(&status));
                    }
                }
                let known = known.max(self.watcher.seen());
                if std::mem::take(&mut self.initial_open) {
                    self.events.inc();
                    return Some(self.codec.bookmark(known, true));
                }
                if mark {
                    self.next_bookmark = now + BOOKMARK_EVERY;
                    self.events.inc();
                    return Some(self.codec.bookmark(known, false));
                }
            }
            if now >= self.deadline {
                return None;
            }
            self.wait().await;
        }
    }

    /// The next frame; an empty one if nothing is left that concerns this watcher.
    async fn frame(&mut self) -> Result<Bytes, FrameError> {
        loop {
            let codec = &mut self.codec;
            let EncodedBatch { bytes, events, cut } = if !codec.resource.is_stored_version() {
                let batch = self.watcher.poll(FRAME_EVENTS_MAX)?;
                let bytes = codec.convert_all(&batch.deliveries).await?;
                EncodedBatch { bytes, events: batch.deliveries.len(), cut: batch.cut }
            } else if codec.is_settled() {
                let write = |deliveries: &[Delivery]| codec.write_all(deliveries, None);
                self.watcher.poll_written(&self.group, FRAME_EVENTS_MAX, write)?
            } else {
                // The first frame of Tables is nobody else's: it names the columns.
                let batch = self.watcher.poll(FRAME_EVENTS_MAX)?;
                let bytes = codec.write_all(&batch.deliveries, None);
                EncodedBatch { bytes, events: batch.deliveries.len(), cut: batch.cut }
            };
            self.look = cut;
            self.events.inc_by(events as u64);
            if !bytes.is_empty() || !cut {
                return Ok(bytes);
            }
        }
    }

    /// The frame that ends the watch with an error.
    fn last(&mut self, status: &Status) -> Bytes {
        self.done = true;
        self.events.inc();
        error_frame(status)
    }

    /// Sleeps until there may be something to say.
    async fn wait(&mut self) {
        let until = if self.bookmarks { self.deadline.min(self.next_bookmark) } else { self.deadline };
        if self.alarm.deadline() != until {
            self.alarm.as_mut().reset(until);
        }
        tokio::select! {
            () = self.watcher.changed() => {}
            () = self.alarm.as_mut() => {}
        }
    }
}

/// Why there is no further frame.
enum FrameError {
    End(WatchEnd),
    Conversion(Status),
}

impl From<WatchEnd> for FrameError {
    fn from(end: WatchEnd) -> Self {
        FrameError::End(end)
    }
}

impl From<Status> for FrameError {
    fn from(status: Status) -> Self {
        FrameError::Conversion(status)
    }
}

impl Codec {
    /// What tells this way of writing from others; bookmarks do not count.
    fn form(&self) -> String {
        format!("{} {:?} {:?}", self.resource.api_version(), self.shape, self.include)
    }

    /// Whether the same events are written the same way from now on.
    fn is_settled(&self) -> bool {
        self.headed || self.shape != Shape::Table
    }

    /// Writes events of a resource that is stored in another version.
    async fn convert_all(&mut self, deliveries: &[Delivery]) -> Result<Bytes, Status> {
        if deliveries.is_empty() {
            return Ok(Bytes::new());
        }
        let objects: Vec<_> = deliveries.iter().map(|d| d.object.clone()).collect();
        let mut values = self.resource.decode_all(&objects).await?;
        if self.shape == Shape::Object {
            let revisions = deliveries.iter().map(|d| d.revision);
            values.iter_mut().zip(revisions).for_each(|(value, at)| set_resource_version(value, at));
        }
        Ok(self.write_all(deliveries, Some(values)))
    }

    /// Writes events; `converted` are their objects in the served version if that is not the stored one.
    fn write_all(&mut self, deliveries: &[Delivery], converted: Option<Vec<Value>>) -> Bytes {
        // Room at once, instead of by doubling.
        let size: usize = deliveries.iter().map(|d| d.object.bytes().len() + EVENT_FRAME).sum();
        let mut out = BytesMut::with_capacity(size);
        let mut converted = converted.map(Vec::into_iter);
        for delivery in deliveries {
            let value = converted.as_mut().and_then(Iterator::next);
            self.write(delivery, value, &mut out);
        }
        out.freeze()
    }

    fn write(&mut self, delivery: &Delivery, converted: Option<Value>, out: &mut BytesMut) {
        out.extend_from_slice(b"{\"type\":\"");
        out.extend_from_slice(delivery.kind.as_str().as_bytes());
        out.extend_from_slice(b"\",\"object\":");
        match self.shape {
            Shape::Object => match converted {
                None => delivery.object.write(delivery.revision, out),
                Some(value) => out.extend_from_slice(value.to_string().as_bytes()),
            },
            Shape::Metadata | Shape::MetadataList => match delivery.shared() {
                Some(change) => {
                    let made = || shapes::partial(&delivery.object, delivery.revision);
                    out.extend_from_slice(change.shapes.partial.get_or_init(made));
                }
                None => out.extend_from_slice(&shapes::partial(&delivery.object, delivery.revision)),
            },
            Shape::Table => self.write_table(delivery, converted, out),
        }
        out.extend_from_slice(b"}\n");
    }

    /// The first event carries the columns' definitions, later ones do not.
    fn write_table(&mut self, delivery: &Delivery, converted: Option<Value>, out: &mut BytesMut) {
        let columns = (!std::mem::replace(&mut self.headed, true)).then(|| self.resource.columns.as_slice());
        let metadata = json!({"resourceVersion": delivery.revision.to_string()});
        let mut frame = table::table(columns, Vec::new(), metadata);
        frame["rows"] = json!([]);
        let text = frame.to_string();
        // The row is shared between watchers that include the same; most include metadata.
        let may_share = self.include == IncludeObject::Metadata && converted.is_none();
        let row = || {
            let object = converted.unwrap_or_else(|| delivery.object.value());
            Bytes::from(shapes::row_of(&self.resource, object, self.include).to_string())
        };
        let row = match delivery.shared().filter(|_| may_share) {
            Some(change) => change.shapes.table_row.get_or_init(row).clone(),
            None => row(),
        };
        match text.rsplit_once("\"rows\":[]") {
            Some((head, tail)) => {
                out.extend_from_slice(head.as_bytes());
                out.extend_from_slice(b"\"rows\":[");
                out.extend_from_slice(&row);
                out.put_u8(b']');
                out.extend_from_slice(tail.as_bytes());
            }
            None => out.extend_from_slice(text.as_bytes()),
        }
    }

    fn bookmark(&self, revision: u64, ends_initial: bool) -> Bytes {
        let mut out = BytesMut::with_capacity(256);
        let (api_version, kind) = match self.shape {
            Shape::Object => (self.resource.api_version(), self.resource.kind.as_str()),
            Shape::Table => ("meta.k8s.io/v1".to_owned(), "Table"),
            _ => ("meta.k8s.io/v1".to_owned(), "PartialObjectMetadata"),
        };
        let mark =
            if ends_initial { ",\"annotations\":{\"k8s.io/initial-events-end\":\"true\"}" } else { "" };
        let rest = if self.shape == Shape::Table { ",\"columnDefinitions\":[],\"rows\":[]" } else { "" };
        out.extend_from_slice(b"{\"type\":\"BOOKMARK\",\"object\":{");
        out.extend_from_slice(
            format!("\"kind\":\"{kind}\",\"apiVersion\":\"{api_version}\",\"metadata\":{{").as_bytes(),
        );
        write_resource_version(revision, &mut out);
        out.extend_from_slice(format!("{mark}}}{rest}}}}}\n").as_bytes());
        out.freeze()
    }
}

fn error_frame(status: &Status) -> Bytes {
    let event: Value = json!({"type": "ERROR", "object": status.to_value()});
    Bytes::from(event.to_string() + "\n")
}
