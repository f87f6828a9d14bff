//! WATCH. Events are written in frames by copying the cached encoding; watchers of the same selection and encoding
//! share frames. All changes between two wake-ups of the cache form one frame.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use futures::future::BoxFuture;
use prometheus::IntCounter;
use serde_json::{Value, json};
use shim_model::resource::{KindRef, split_api_version};
use shim_model::schema::Media;
use shim_model::status::{self, Status};
use shim_model::table::{self, IncludeObject};
use tokio::time::{Instant, Sleep, sleep_until};

use super::body::{BoxError, Response, stream};
use super::list::{self, ListOptions};
use super::messages::{self, EventWriter};
use super::negotiation::{Accepted, Shape};
use super::{reply, shapes};
use crate::request::query::Query;
use crate::storage::catalog::ServedResource;
use crate::storage::object::{set_resource_version, write_resource_version};
use crate::storage::registry::Registry;
use crate::storage::selection::{Selection, ShownSelection};
use crate::storage::watch_cache::{
    BroadcastGroup, Delivery, EncodedBatch, WatchEnd, WatchFrom, Watcher, redeliver,
};

/// Maximum number of events in a frame. Small objects then make about 256 KiB, which is also the limit for large
/// ones.
const FRAME_EVENTS_MAX: usize = 256;
/// Bytes that an event adds to its object: type, resourceVersion and braces.
const EVENT_FRAME: usize = 96;
/// Interval of bookmarks, as upstream.
const BOOKMARK_EVERY: Duration = Duration::from_secs(60);
/// How long before its deadline a watch gets its last bookmark, as upstream, so that the next watch begins near the present.
const BOOKMARK_BEFORE_DEADLINE: Duration = Duration::from_secs(2);
/// Minimum of the default watch duration, which is random up to twice this value, as upstream.
const WATCH_SECONDS_MIN: u64 = 1800;
/// Maximum watch duration that a client may request.
const WATCH_SECONDS_MAX: i64 = 24 * 3600;

/// Encodes the events of one watcher.
#[derive(Clone)]
struct Codec {
    resource: Arc<ServedResource>,
    media: Media,
    shape: Shape,
    include: IncludeObject,
    headed: bool,
    /// The selection, if it can be compared with converted objects only.
    shown: Option<Arc<Selection>>,
}

struct State {
    registry: Registry,
    watcher: Watcher,
    group: Arc<BroadcastGroup>,
    codec: Codec,
    /// The bookmark that ends the initial events is still to be sent.
    initial_open: bool,
    /// There may be unread events that no wake-up announces.
    poll_due: bool,
    /// When to send a bookmark; none if the client wants none or the last has been sent.
    next_bookmark: Option<Instant>,
    deadline: Instant,
    /// Fires at the next bookmark or at the deadline. Reused across frames, because creating a timer costs more than
    /// a poll.
    timer: Pin<Box<Sleep>>,
    done: bool,
    /// Counts the events that are sent.
    events: IntCounter,
}

/// Serves a WATCH and counts the events that are sent.
pub async fn watch(
    (registry, events): (&Registry, IntCounter),
    resource: &Arc<ServedResource>,
    options: &ListOptions,
    accepted: Accepted,
    query: &Query,
) -> Result<Response, Status> {
    // Without them the objects would look deleted.
    resource.stored().unreadable().check_all(options.selection.namespace())?;
    let initial = list::initial_events(query) == Some(true);
    let include = shapes::include_object(query)?;
    let reached = match (initial, options.revision) {
        (true, None) => registry.fresh().await.map(|_| WatchFrom::Start),
        (true, Some(0)) => Ok(WatchFrom::Start),
        (true, Some(oldest)) => registry.wait_for(oldest).await.map(|()| WatchFrom::Start),
        (false, None | Some(0)) => Ok(WatchFrom::Now),
        (false, Some(revision)) => Ok(WatchFrom::After(revision)),
    };
    let seconds = match query.number("timeoutSeconds")? {
        Some(asked) if asked > 0 => asked.min(WATCH_SECONDS_MAX) as u64,
        _ => WATCH_SECONDS_MIN + u64::from(uuid::Uuid::new_v4().as_u128() as u16) % WATCH_SECONDS_MIN,
    };
    let Accepted { media, shape, .. } = accepted;
    let converted = ShownSelection::new(resource, &options.selection).map(|shown| shown.coarse());
    let shown = converted.is_some().then(|| Arc::new(options.selection.clone()));
    let codec = Codec { resource: resource.clone(), media, shape, include, headed: false, shown };
    let now = Instant::now();
    let bookmarks = query.flag("allowWatchBookmarks");
    let delivered = converted.unwrap_or_else(|| options.selection.clone());
    let watcher = match reached.map(|from| resource.cache().watch_debounced(from, delivered)) {
        Ok(Ok(watcher)) => Ok(watcher),
        Ok(Err(WatchEnd::Closed)) => return Err(status::unknown_path()),
        Ok(Err(WatchEnd::Lagged { oldest })) => Err(status::too_old(options.revision.unwrap_or(0), oldest)),
        // As upstream, the watch has begun by then.
        Err(late) => Err(late),
    };
    let parts = match watcher {
        Err(status) => {
            let frame = codec.error_frame(&status);
            events.inc();
            stream(futures::stream::iter([Ok(frame)]))
        }
        Ok(watcher) => {
            let deadline = now + Duration::from_secs(seconds);
            let state = State {
                registry: registry.clone(),
                watcher,
                group: resource.cache().broadcast_group(&options.selection, codec.form()),
                codec,
                initial_open: initial && bookmarks,
                poll_due: true,
                next_bookmark: bookmark_after(now, deadline).filter(|_| bookmarks),
                deadline,
                timer: Box::pin(sleep_until(now)),
                done: false,
                events,
            };
            stream(futures::stream::unfold(state, |mut state| async move {
                let frame = state.next().await?;
                Some((Ok::<Bytes, BoxError>(frame), state))
            }))
        }
    };
    let media_type = if media == Media::Protobuf { messages::STREAM_TYPE } else { "application/json" };
    let mut response = reply::typed(200, media_type, Bytes::new());
    *response.body_mut() = parts;
    Ok(response)
}

impl State {
    /// The next frame; `None` when the watch ends.
    async fn next(&mut self) -> Option<Bytes> {
        if self.done {
            return None;
        }
        loop {
            let now = Instant::now();
            let mark = self.next_bookmark.is_some_and(|at| now >= at);
            if self.poll_due || mark || self.initial_open || self.watcher.is_due() {
                // Read the progress before polling: if the poll finds nothing, everything up to it has been seen.
                let known = self.registry.progress();
                match self.frame().await {
                    Ok(frame) if !frame.is_empty() => return Some(frame),
                    Ok(_) => {}
                    // As upstream, the watch of a resource that is no longer served ends without an error.
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
                    self.next_bookmark = bookmark_after(now, self.deadline);
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

    /// The next frame; empty if no further event matches.
    async fn frame(&mut self) -> Result<Bytes, FrameError> {
        loop {
            let codec = &mut self.codec;
            let stored_version = codec.resource.is_stored_version();
            let EncodedBatch { bytes, events, cut } = if codec.is_shareable() && !stored_version {
                let convert = |deliveries| codec.conversion(deliveries);
                let frame = self.watcher.convert(&self.group, FRAME_EVENTS_MAX, convert)?.await?;
                self.watcher.take_frame(&frame)
            } else if !stored_version {
                // The first frame of a Table, as below.
                let batch = self.watcher.poll(FRAME_EVENTS_MAX)?;
                let (bytes, events) = codec.convert_all(batch.deliveries).await?;
                EncodedBatch { bytes, events, cut: batch.cut }
            } else if codec.is_shareable() {
                let write = |deliveries: &[Delivery]| codec.write_all(deliveries, None);
                self.watcher.poll_written(&self.group, FRAME_EVENTS_MAX, write)?
            } else {
                // The first frame of a Table is never shared, because it contains the column definitions.
                let batch = self.watcher.poll(FRAME_EVENTS_MAX)?;
                let bytes = codec.write_all(&batch.deliveries, None);
                EncodedBatch { bytes, events: batch.deliveries.len(), cut: batch.cut }
            };
            self.poll_due = cut;
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
        self.codec.error_frame(status)
    }

    /// Sleeps until there may be something to say.
    async fn wait(&mut self) {
        let until = self.next_bookmark.map_or(self.deadline, |at| at.min(self.deadline));
        if self.timer.deadline() != until {
            self.timer.as_mut().reset(until);
        }
        tokio::select! {
            () = self.watcher.changed() => {}
            () = self.timer.as_mut() => {}
        }
    }
}

/// When the next bookmark of a watch is due: after the interval, and shortly before the deadline.
fn bookmark_after(now: Instant, deadline: Instant) -> Option<Instant> {
    let last = deadline.checked_sub(BOOKMARK_BEFORE_DEADLINE)?;
    Some(last.min(now + BOOKMARK_EVERY)).filter(|at| *at > now)
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
    /// Identifies the encoding. Bookmarks do not matter, because they are not part of shared frames.
    fn form(&self) -> String {
        format!("{} {:?} {:?} {:?}", self.resource.api_version(), self.media, self.shape, self.include)
    }

    /// Whether the same events have the same encoding from now on.
    fn is_shareable(&self) -> bool {
        self.headed || self.shape != Shape::Table
    }

    /// [`Codec::convert_all`] as a future of its own, which other watchers may await as well.
    fn conversion(&self, deliveries: Vec<Delivery>) -> BoxFuture<'static, Result<(Bytes, usize), Status>> {
        let mut codec = self.clone();
        Box::pin(async move { codec.convert_all(deliveries).await })
    }

    /// Writes events of a resource whose storage version differs from the served one. Returns their number, too.
    async fn convert_all(&mut self, mut deliveries: Vec<Delivery>) -> Result<(Bytes, usize), Status> {
        if let Some(selection) = &self.shown
            && let Some(shown) = ShownSelection::new(&self.resource, selection)
        {
            deliveries = redeliver(&shown, deliveries).await?;
        }
        if deliveries.is_empty() {
            return Ok((Bytes::new(), 0));
        }
        let objects: Vec<_> = deliveries.iter().map(|d| d.object.clone()).collect();
        let mut values = self.resource.decode_all(&objects).await?;
        if self.shape == Shape::Object {
            let revisions = deliveries.iter().map(|d| d.revision);
            values.iter_mut().zip(revisions).for_each(|(value, at)| set_resource_version(value, at));
        }
        Ok((self.write_all(&deliveries, Some(values)), deliveries.len()))
    }

    /// Writes events. `converted` holds the objects in the served version if it differs from the storage version.
    fn write_all(&mut self, deliveries: &[Delivery], converted: Option<Vec<Value>>) -> Bytes {
        // Reserve the whole size at once instead of growing.
        let size: usize = deliveries.iter().map(|d| d.object.bytes().len() + EVENT_FRAME).sum();
        let mut out = BytesMut::with_capacity(size);
        let mut converted = converted.map(Vec::into_iter);
        let mut messages = EventWriter::default();
        for delivery in deliveries {
            let value = converted.as_mut().and_then(Iterator::next);
            match self.media {
                Media::Protobuf => self.write_message(delivery, value, &mut messages, &mut out),
                _ => self.write(delivery, value, &mut out),
            }
        }
        out.freeze()
    }

    /// Writes an event in protobuf; Tables have none.
    fn write_message(
        &self,
        delivery: &Delivery,
        converted: Option<Value>,
        messages: &mut EventWriter,
        out: &mut BytesMut,
    ) {
        let object = &delivery.object;
        // Initial events show objects that lists have encoded.
        if let (Shape::Object, None, Some(message)) = (self.shape, &converted, object.message())
            && object.revision == delivery.revision
        {
            let (api_version, kind) = self.kind();
            return EventWriter::message(delivery.kind.as_str(), (&api_version, kind), message, out);
        }
        let json = match (self.shape, converted) {
            (Shape::Object, None) => (object.bytes().clone(), Some(delivery.revision)),
            (Shape::Object, Some(value)) => (value.to_string().into(), None),
            _ => (shapes::partial(&self.resource, object, delivery.revision), None),
        };
        self.write_event(messages, delivery.kind.as_str(), (&json.0, json.1), out);
    }

    /// Writes an event in protobuf with an object of the watch's kind.
    fn write_event(
        &self,
        messages: &mut EventWriter,
        event: &str,
        json: (&[u8], Option<u64>),
        out: &mut BytesMut,
    ) {
        let (api_version, kind) = self.kind();
        let (group, version) = split_api_version(&api_version);
        let written = messages::message_of(KindRef { group, version, kind })
            .and_then(|id| messages.object(event, (id, &api_version, kind), json, out));
        if let Err(status) = written {
            tracing::error!(%status, "an event cannot be sent");
        }
    }

    /// `apiVersion` and `kind` of the events' objects.
    fn kind(&self) -> (String, &str) {
        match self.shape {
            Shape::Object => (self.resource.api_version(), self.resource.kind.as_str()),
            Shape::Table => ("meta.k8s.io/v1".to_owned(), "Table"),
            _ => ("meta.k8s.io/v1".to_owned(), "PartialObjectMetadata"),
        }
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
                    let made = || shapes::partial(&self.resource, &delivery.object, delivery.revision);
                    out.extend_from_slice(change.shapes.partial.get_or_init(made));
                }
                None => out.extend_from_slice(&shapes::partial(
                    &self.resource,
                    &delivery.object,
                    delivery.revision,
                )),
            },
            Shape::Table => self.write_table(delivery, converted, out),
        }
        out.extend_from_slice(b"}\n");
    }

    /// Writes an event whose object is a Table. Only the first carries column definitions.
    fn write_table(&mut self, delivery: &Delivery, converted: Option<Value>, out: &mut BytesMut) {
        let columns = (!std::mem::replace(&mut self.headed, true)).then(|| self.resource.columns.as_slice());
        let metadata = json!({"resourceVersion": delivery.revision.to_string()});
        let mut frame = table::table(columns, Vec::new(), metadata);
        frame["rows"] = json!([]);
        let text = frame.to_string();
        // Rows are shared between watchers with the default `includeObject`, which is metadata.
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
        let (api_version, kind) = self.kind();
        let mut annotations = match self.shape {
            Shape::Object => self.resource.unset_annotations(),
            _ => Vec::new(),
        };
        annotations.extend(ends_initial.then_some(("k8s.io/initial-events-end", "true")));
        let annotations: Vec<String> =
            annotations.iter().map(|(key, value)| format!("\"{key}\":\"{value}\"")).collect();
        let mark = match annotations.is_empty() {
            true => String::new(),
            false => format!(",\"annotations\":{{{}}}", annotations.join(",")),
        };
        let rest = match self.shape {
            Shape::Table => ",\"columnDefinitions\":[],\"rows\":[]".to_owned(),
            Shape::Object => self.unset_members(),
            _ => String::new(),
        };
        let head = format!("{{\"kind\":\"{kind}\",\"apiVersion\":\"{api_version}\",\"metadata\":{{");
        let mut object = BytesMut::from(head.as_bytes());
        write_resource_version(revision, &mut object);
        object.extend_from_slice(format!("{mark}}}{rest}}}").as_bytes());
        if self.media == Media::Protobuf {
            self.write_event(&mut EventWriter::default(), "BOOKMARK", (&object, None), &mut out);
            return out.freeze();
        }
        out.extend_from_slice(b"{\"type\":\"BOOKMARK\",\"object\":");
        out.extend_from_slice(&object);
        out.extend_from_slice(b"}\n");
        out.freeze()
    }

    /// The members that an object of the watch's kind has, although nothing is set.
    fn unset_members(&self) -> String {
        let members = self.resource.unset_members();
        members.iter().map(|(name, value)| format!(",{}:{value}", json!(name))).collect()
    }

    fn error_frame(&self, status: &Status) -> Bytes {
        if self.media == Media::Protobuf {
            return EventWriter::error(status);
        }
        let event: Value = json!({"type": "ERROR", "object": status.to_value()});
        Bytes::from(event.to_string() + "\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_watch_has_its_last_bookmark_two_seconds_before_its_end() {
        let start = Instant::now();
        let after = |now: u64, deadline: u64| {
            let at = |seconds| start + Duration::from_secs(seconds);
            bookmark_after(at(now), at(deadline)).map(|next| (next - start).as_secs())
        };
        assert_eq!(after(0, 300), Some(60));
        assert_eq!(after(240, 300), Some(298));
        assert_eq!(after(298, 300), None);
        assert_eq!(after(0, 5), Some(3));
        assert_eq!(after(0, 2), None);
        assert_eq!(after(0, 1), None);
    }
}
