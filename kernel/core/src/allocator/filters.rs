//! What clients refused on an agent, and for how long.

use std::time::Duration;

use kernel_model::{resources::Resources, time::Time};

/// How many refusals of one client an agent remembers: those that a newer and larger one covers are dropped, so more than
/// a few stand only for a client that refuses ever different pieces; its oldest is forgotten.
const FILTERS_MAX: usize = 16;

#[derive(Debug, Clone)]
struct Filter {
    client: u32,
    generation: u64,
    until: Time,
    refused: Resources,
    /// The agent's version for which `verdict` holds.
    version: u64,
    verdict: bool,
}

/// All refusals on one agent, by client.
#[derive(Debug, Clone, Default)]
pub(super) struct Filters(Vec<Filter>);

/// Ends are rounded up by at most a hundredth of the length (and 10 ms), so that the refusals of a busy cluster end in few
/// common moments and not each at its own.
pub(super) fn round_up(until: Time, length: Duration) -> Time {
    let grain = (length.as_nanos() as u64 / 100).max(10_000_000);
    Time(until.0.div_ceil(grain).saturating_mul(grain))
}

impl Filters {
    pub(super) fn add(&mut self, now: Time, client: u32, generation: u64, until: Time, refused: Resources) {
        self.0.retain(|f| {
            f.until > now
                && !(f.client == client
                    && (f.generation != generation || (f.until <= until && refused.contains(&f.refused))))
        });
        let from = self.0.partition_point(|f| f.client < client);
        let to = self.0.partition_point(|f| f.client <= client);
        if to - from >= FILTERS_MAX {
            self.0.remove(from);
        }
        let at = self.0.partition_point(|f| f.client <= client);
        self.0.insert(at, Filter { client, generation, until, refused, version: 0, verdict: false });
    }

    /// Whether some refusal that stands covers all of the prospective offer.
    pub(super) fn cover(
        &mut self,
        now: Time,
        client: u32,
        generation: u64,
        version: u64,
        offer: &Resources,
    ) -> bool {
        let from = self.0.partition_point(|f| f.client < client);
        for filter in self.0[from..].iter_mut().take_while(|f| f.client == client) {
            if filter.generation != generation || filter.until <= now {
                continue;
            }
            if filter.version != version {
                filter.version = version;
                filter.verdict = filter.refused == *offer || filter.refused.contains(offer);
            }
            if filter.verdict {
                return true;
            }
        }
        false
    }

    /// Forgets what has ended; returns whether there was something.
    pub(super) fn expire(&mut self, now: Time) -> bool {
        let before = self.0.len();
        self.0.retain(|f| f.until > now);
        self.0.len() != before
    }

    /// Whether the client refuses something here.
    pub(super) fn any_of(&self, now: Time, client: u32, generation: u64) -> bool {
        self.0.iter().any(|f| f.client == client && f.generation == generation && f.until > now)
    }
}
