//! Events are forgotten an hour after they were last seen.

use shim_model::object::Header;

use super::{Action, Propagation, Target, served};
use crate::rows::{Seconds, seconds};

/// How long an Event is kept after it was written first. An Event that is counted up is written anew by the recorder once
/// its first hour is over.
pub const TTL: Seconds = 3600;

/// Deletions by one sweep at most, so that a sweep never holds up other writes for long.
pub const SWEEP_MAX: usize = 1000;

/// The deletions of one sweep.
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
