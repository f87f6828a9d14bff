//! Frames of a version that is not stored. A conversion is asynchronous and may be slow, so that the watchers of a broadcast
//! group that have reached the same place await one conversion. Selectors are compared with the converted objects there.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures::FutureExt;
use futures::future::{BoxFuture, Shared};
use shim_model::status::Status;

use super::ChangeKind;
use super::broadcast::{BroadcastGroup, Frame, keep_newest};
use super::watcher::{Delivery, WatchEnd, Watcher, deliver_as};
use crate::storage::object::Object;
use crate::storage::selection::ShownSelection;

/// A frame whose conversion may be under way.
pub type ConvertedFrame = Shared<BoxFuture<'static, Result<Arc<Frame>, Status>>>;

/// Where a conversion begins: its first change's number and revision.
#[derive(Debug)]
struct Conversion {
    from: u64,
    oldest: u64,
    frame: ConvertedFrame,
}

/// The newest conversions of a group.
#[derive(Debug, Default)]
pub(super) struct Conversions(Mutex<VecDeque<Conversion>>);

impl Conversions {
    /// The conversion from a place, for a watcher that knows the changes up to `after`. A failed one is not repeated to
    /// watchers that come later.
    fn find(&self, from: u64, after: u64) -> Option<ConvertedFrame> {
        let recent = self.0.lock().expect("invariant: nobody panics who looks for a conversion");
        let usable = |it: &&Conversion| {
            it.from == from && it.oldest > after && it.frame.peek().is_none_or(Result::is_ok)
        };
        recent.iter().rev().find(usable).map(|it| it.frame.clone())
    }

    fn keep(&self, conversion: Conversion) {
        let mut recent = self.0.lock().expect("invariant: nobody panics who keeps a conversion");
        keep_newest(&mut recent, conversion, |kept| kept.from);
    }
}

impl Watcher {
    /// What there is to deliver now, converted by `convert`, or by another watcher of the group that began at the same
    /// place. Once it is there, [`Watcher::take_frame`] goes on behind it.
    pub fn convert(
        &mut self,
        group: &Arc<BroadcastGroup>,
        limit: usize,
        convert: impl FnOnce(Vec<Delivery>) -> BoxFuture<'static, Result<(Bytes, usize), Status>>,
    ) -> Result<ConvertedFrame, WatchEnd> {
        let (from, initial) = (self.next, self.has_initial());
        let known = (!initial).then(|| group.conversions.find(from, self.after)).flatten();
        if let Some(frame) = known {
            return Ok(frame);
        }
        let first = self.cache.view().state.revision_at(from);
        let batch = self.poll(limit)?;
        let (to, revision, cut) = (self.next, batch.revision, batch.cut);
        let oldest = first.unwrap_or(0);
        let converted = convert(batch.deliveries);
        let frame = async move {
            let (bytes, events) = converted.await?;
            Ok(Arc::new(Frame { from, to, oldest, revision, cut, events, bytes }))
        };
        let frame = frame.boxed().shared();
        if !initial && to > from && oldest > self.after && Arc::strong_count(group) > 1 {
            group.conversions.keep(Conversion { from, oldest, frame: frame.clone() });
        }
        Ok(frame)
    }
}

/// The events of a selection in a version that is not stored, out of those of its coarse part: an object enters and leaves
/// the selection by what the version shows.
pub async fn redeliver(
    selection: &ShownSelection<'_>,
    deliveries: Vec<Delivery>,
) -> Result<Vec<Delivery>, Status> {
    let mut objects: Vec<&Arc<Object>> = Vec::with_capacity(2 * deliveries.len());
    for delivery in &deliveries {
        match &delivery.change {
            None => objects.push(&delivery.object),
            Some(change) => {
                objects.extend(change.previous.as_ref());
                objects.extend((change.kind != ChangeKind::Deleted).then_some(&change.object));
            }
        }
    }
    let mut selected = selection.matches(&objects).await?.into_iter();
    let mut next = || selected.next().unwrap_or(false);
    let mut out = Vec::with_capacity(deliveries.len());
    for delivery in deliveries {
        match delivery.change.clone() {
            None if next() => out.push(delivery),
            None => {}
            Some(change) => {
                let before = change.previous.is_some() && next();
                let after = change.kind != ChangeKind::Deleted && next();
                out.extend(deliver_as(change, before, after));
            }
        }
    }
    Ok(out)
}
