//! Offer filters of an agent: what each client declined, and until when.
//!
//! Many clients decline equal resources: each distinct set of resources is stored once per agent, and compared once per
//! change of the agent's free resources.

use std::{ops::Range, time::Duration};

use kernel_model::{resources::Resources, time::Time};

/// How many filters of one client an agent keeps. A newer filter replaces those that it covers, so more than a few
/// exist only for a client that declines ever different resources; the oldest is dropped.
const FILTERS_MAX: usize = 16;

#[derive(Debug, Clone)]
struct OfferFilter {
    client: u32,
    set: u32,
    generation: u64,
    until: Time,
}

/// The client of a filter, and the generation of its filters that it belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FilterOwner {
    pub(super) client: u32,
    pub(super) generation: u64,
}

impl OfferFilter {
    fn owner(&self) -> FilterOwner {
        FilterOwner { client: self.client, generation: self.generation }
    }
}

/// Declined resources, shared by filters.
#[derive(Debug, Clone)]
struct RefusedResources {
    resources: Resources,
    /// How many filters refer to it; zero means that the slot is free.
    filters: u32,
    /// The agent's version for which `covers_offer` is valid.
    version: u64,
    covers_offer: bool,
}

/// The filters of one agent, sorted by client.
#[derive(Debug, Clone, Default)]
pub(super) struct Filters {
    list: Vec<OfferFilter>,
    sets: Vec<RefusedResources>,
}

/// Rounds an expiry up by at most a hundredth of the filter's length (at least 10 ms), so that filters of a busy
/// cluster expire together instead of one by one.
pub(super) fn round_up(until: Time, length: Duration) -> Time {
    let grain = u64::try_from(length.as_nanos() / 100).unwrap_or(u64::MAX).max(10_000_000);
    Time(until.0.div_ceil(grain).saturating_mul(grain))
}

/// An offer to be checked against the filters.
pub(super) struct CandidateOffer<'a> {
    pub(super) client: u32,
    pub(super) generation: u64,
    pub(super) offer: &'a Resources,
    /// The agent's version, if the offer is the same for every client and can be cached.
    pub(super) version: Option<u64>,
}

impl Filters {
    /// Adds a filter; returns the owners of those that it replaces.
    pub(super) fn add(
        &mut self,
        client: u32,
        generation: u64,
        until: Time,
        refused: Resources,
    ) -> Vec<FilterOwner> {
        let own = self.of_client(client);
        let sets = &self.sets;
        let is_replaced = |f: &OfferFilter| {
            f.generation != generation
                || (f.until <= until && refused.contains(&sets[f.set as usize].resources))
        };
        let mut dropped = Vec::new();
        let mut to = own.start;
        for at in own.clone() {
            if is_replaced(&self.list[at]) {
                dropped.push(self.list[at].clone());
            } else {
                self.list.swap(to, at);
                to += 1;
            }
        }
        self.list.drain(to..own.end);
        if to - own.start >= FILTERS_MAX {
            dropped.push(self.list.remove(own.start));
            to -= 1;
        }
        let set = self.intern(refused);
        self.list.insert(to, OfferFilter { client, set, generation, until });
        self.release_all(dropped)
    }

    /// Where the client's filters are in the list, the oldest first.
    fn of_client(&self, client: u32) -> Range<usize> {
        let from = self.list.partition_point(|f| f.client < client);
        let length = self.list[from..].iter().take_while(|f| f.client == client).count();
        from..from + length
    }

    fn release_all(&mut self, dropped: Vec<OfferFilter>) -> Vec<FilterOwner> {
        dropped.iter().for_each(|filter| self.release(filter.set));
        dropped.iter().map(OfferFilter::owner).collect()
    }

    /// The owners of all filters.
    pub(super) fn owners(&self) -> impl Iterator<Item = FilterOwner> {
        self.list.iter().map(OfferFilter::owner)
    }

    fn intern(&mut self, resources: Resources) -> u32 {
        let same = |set: &RefusedResources| set.filters > 0 && set.resources == resources;
        let at = self.sets.iter().position(same);
        if let Some(at) = at {
            self.sets[at].filters += 1;
            return at as u32;
        }
        let set = RefusedResources { resources, filters: 1, version: 0, covers_offer: false };
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

    /// Whether a filter covers all of the candidate offer.
    pub(super) fn covers(&mut self, now: Time, candidate: &CandidateOffer<'_>) -> bool {
        for filter in &self.list[self.of_client(candidate.client)] {
            if filter.generation != candidate.generation || filter.until <= now {
                continue;
            }
            let set = &mut self.sets[filter.set as usize];
            let covers = match candidate.version {
                Some(version) if set.version == version => set.covers_offer,
                version => {
                    let covers_offer = set.resources.contains(candidate.offer);
                    (set.version, set.covers_offer) = (version.unwrap_or(0), covers_offer);
                    covers_offer
                }
            };
            if covers {
                return true;
            }
        }
        false
    }

    /// The same without a cache, to explain.
    pub(super) fn cover(&self, now: Time, client: u32, generation: u64, offer: &Resources) -> bool {
        self.list[self.of_client(client)].iter().any(|filter| {
            filter.generation == generation
                && filter.until > now
                && self.sets[filter.set as usize].resources.contains(offer)
        })
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.list.len()
    }

    /// Removes expired filters; returns their owners.
    pub(super) fn expire(&mut self, now: Time) -> Vec<FilterOwner> {
        let mut dropped = Vec::new();
        self.list.retain(|f| {
            let keep = f.until > now;
            if !keep {
                dropped.push(f.clone());
            }
            keep
        });
        self.release_all(dropped)
    }

    /// Whether the client has a filter on this agent.
    pub(super) fn refuses_any(&self, now: Time, client: u32, generation: u64) -> bool {
        self.list[self.of_client(client)].iter().any(|f| f.generation == generation && f.until > now)
    }
}
