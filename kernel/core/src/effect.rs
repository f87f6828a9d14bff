//! The contract between a machine and its shell: durable before visible, by type.
//!
//! A shell takes one event after another into `step`, makes everything in `persist` durable, and only then carries out
//! `after_persist`, in order. Effects of a later step never overtake those of an earlier one. A crash between the two
//! leaves the writes without the effects; every peer copes with that, and the simulator crashes there on purpose.

/// What one step asks of its shell.
#[derive(Debug, Clone, PartialEq)]
#[must_use]
pub struct Effects<Op, Effect> {
    /// To be made durable, all or nothing, before anything else.
    pub persist: Vec<Op>,
    /// To be carried out afterwards, in order.
    pub after_persist: Vec<Effect>,
}

impl<Op, Effect> Default for Effects<Op, Effect> {
    fn default() -> Self {
        Self { persist: Vec::new(), after_persist: Vec::new() }
    }
}

impl<Op, Effect> Effects<Op, Effect> {
    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.persist.is_empty() && self.after_persist.is_empty()
    }
}

/// One question at a door that awaits an answer. The shell numbers them; a machine only gives the number back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequestId(pub u64);

/// One connection between an agent and the master. The shell numbers them and uses no number twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LinkId(pub u64);
