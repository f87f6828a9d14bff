//! The contract between a state machine and its shell: the types ensure that writes are durable before their
//! consequences are visible.
//!
//! The shell passes events to `step` one by one, makes everything in `persist` durable, and only then carries out
//! `after_persist` in order. Effects of a later step never overtake those of an earlier one. A crash between the two
//! leaves the writes without the effects; every peer handles that, and the simulator crashes there on purpose.

/// The effects of one step.
#[derive(Debug, Clone, PartialEq)]
#[must_use]
pub struct Effects<Op, Effect> {
    /// Writes, to be made durable atomically before any other effect.
    pub persist: Vec<Op>,
    /// Effects, to be carried out in order once the writes are durable.
    pub after_persist: Vec<Effect>,
}

impl<Op, Effect> Default for Effects<Op, Effect> {
    fn default() -> Self {
        Self { persist: Vec::new(), after_persist: Vec::new() }
    }
}

impl<Op, Effect> Effects<Op, Effect> {
    /// Whether there are neither writes nor effects.
    pub fn is_empty(&self) -> bool {
        self.persist.is_empty() && self.after_persist.is_empty()
    }
}

/// A request that awaits a reply. The shell numbers requests; the machine returns the number with the reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequestId(pub u64);

/// A connection between an agent and the master. The shell numbers connections and never reuses a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LinkId(pub u64);
