//! What clients refused on an agent, and for how long.
//!
//! Many clients refuse the same: each different set of resources is kept once an agent, and compared once for each change
//! of what the agent has free.

use std::time::Duration;

use kernel_model::{resources::Resources, time::Time};

/// How many refusals of one client an agent remembers: those that a newer and larger one covers are dropped, so more than
/// a few stand only for a client that refuses ever different pieces; its oldest is forgotten.
const FILTERS_MAX: usize = 16;

#[derive(Debug, Clone)]
struct Filter {
    client: u32,
    set: u32,
    generation: u64,
    until: Time,
}

/// Resources that somebody refused.
#[derive(Debug, Clone)]
struct Refused {
    resources: Resources,
    /// How many filters say so; zero is a free place.
    filters: u32,
    /// The agent's version for which `verdict` holds.
    version: u64,
    verdict: bool,
}

/// All refusals on one agent, by client.
#[derive(Debug, Clone, Default)]
pub(super) struct Filters {
    list: Vec<Filter>,
    sets: Vec<Refused>,
}

/// Ends are rounded up by at most a hundredth of the length (and 10 ms), so that the refusals of a busy cluster end in few
/// common moments and not each at its own.
pub(super) fn round_up(until: Time, length: Duration) -> Time {
    let grain = u64::try_from(length.as_nanos() / 100).unwrap_or(u64::MAX).max(10_000_000);
    Time(until.0.div_ceil(grain).saturating_mul(grain))
}

/// What is asked of the filters: may this be offered?
pub(super) struct Prospect<'a> {
    pub(super) client: u32,
    pub(super) generation: u64,
    pub(super) offer: &'a Resources,
    /// The agent's version, where the offer is the same for every client.
    pub(super) version: Option<u64>,
}

impl Filters {
    pub(super) fn add(&mut self, now: Time, client: u32, generation: u64, until: Time, refused: Resources) {
        let sets = &self.sets;
        let covered = |f: &Filter| {
            f.generation != generation
                || (f.until <= until && refused.contains(&sets[f.set as usize].resources))
        };
        let mut dropped = Vec::new();
        self.list.retain(|f| {
            let keep = f.until > now && !(f.client == client && covered(f));
            if !keep {
                dropped.push(f.set);
            }
            keep
        });
        let from = self.list.partition_point(|f| f.client < client);
        let mut to = self.list.partition_point(|f| f.client <= client);
        if to - from >= FILTERS_MAX {
            dropped.push(self.list.remove(from).set);
            to -= 1;
        }
        let set = self.intern(refused);
        self.list.insert(to, Filter { client, set, generation, until });
        dropped.into_iter().for_each(|set| self.release(set));
    }

    fn intern(&mut self, resources: Resources) -> u32 {
        let same = |set: &Refused| set.filters > 0 && set.resources == resources;
        let at = self.sets.iter().position(same);
        if let Some(at) = at {
            self.sets[at].filters += 1;
            return at as u32;
        }
        let set = Refused { resources, filters: 1, version: 0, verdict: false };
        match self.sets.iter().position(|set| set.filters == 0) {
            Some(at) => {
                self.sets[at] = set;
                at as u32
            }
            None => {
                self.sets.push(set);
                (self.sets.len() - 1) as u32
            }
        }
    }

    fn release(&mut self, set: u32) {
        let set = &mut self.sets[set as usize];
        set.filters -= 1;
        if set.filters == 0 {
            set.resources = Resources::new();
        }
    }

    /// Whether some refusal that stands covers all of the prospective offer.
    pub(super) fn cover(&mut self, now: Time, prospect: &Prospect<'_>) -> bool {
        let from = self.list.partition_point(|f| f.client < prospect.client);
        for filter in self.list[from..].iter().take_while(|f| f.client == prospect.client) {
            if filter.generation != prospect.generation || filter.until <= now {
                continue;
            }
            let set = &mut self.sets[filter.set as usize];
            let covers = match prospect.version {
                Some(version) if set.version == version => set.verdict,
                version => {
                    let verdict = set.resources.contains(prospect.offer);
                    (set.version, set.verdict) = (version.unwrap_or(0), verdict);
                    verdict
                }
            };
            if covers {
                return true;
            }
        }
        false
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.list.len()
    }

    /// Forgets what has ended; returns whether there was something.
    pub(super) fn expire(&mut self, now: Time) -> bool {
        let mut dropped = Vec::new();
        self.list.retain(|f| {
            let keep = f.until > now;
            if !keep {
                dropped.push(f.set);
            }
            keep
        });
        let any = !dropped.is_empty();
        dropped.into_iter().for_each(|set| self.release(set));
        any
    }

    /// Whether the client refuses something here.
    pub(super) fn any_of(&self, now: Time, client: u32, generation: u64) -> bool {
        self.list.iter().any(|f| f.client == client && f.generation == generation && f.until > now)
    }
}
