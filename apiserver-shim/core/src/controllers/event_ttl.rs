//! The time to live of Events. Upstream uses etcd leases.

use shim_model::object::Header;

use super::{Action, Propagation, Target, served};
use crate::rows::{Seconds, seconds};

/// How long an Event is kept after its creation, as upstream's `--event-ttl`. The recorder creates a new Event if one that is
/// repeated has been deleted.
pub const TTL: Seconds = 3600;

/// Maximum number of deletions per sweep, so that a sweep does not delay other writes.
pub const SWEEP_MAX: usize = 1000;

/// The deletions of the Events whose time to live has passed.
pub fn sweep<'a>(events: impl Iterator<Item = &'a Header>, now: Seconds) -> Vec<Action> {
    events
        .filter(|header| seconds(&header.creation_timestamp).is_some_and(|at| at + TTL <= now))
        .take(SWEEP_MAX)
        .map(|header| Action::Delete {
            target: Target::of(served("", "events"), header),
            propagation: Propagation::Background,
            grace_seconds: None,
        })
        .collect()
}
