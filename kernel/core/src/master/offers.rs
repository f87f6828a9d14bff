//! Offers: created from allocations, and rescinded.

use kernel_model::{
    ids::{AgentId, FrameworkId, OfferId},
    offer::{Filters, Offer},
    resources::Resources,
    roles::Role,
    scheduler,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write,
    sync::Arc,
    time::Duration,
};

use super::{Master, timers::Timer};
use crate::allocator::{AgentSlot, Allocation, ClientSlot};

#[derive(Debug, Clone)]
pub(super) struct OutstandingOffer {
    pub(super) offer: Arc<Offer>,
    /// Its resources without their allocation role.
    pub(super) free: Resources,
    pub(super) slot: AgentSlot,
    pub(super) client: ClientSlot,
}

impl Master {
    /// Runs the allocator over what changed in this step, and sends the new offers: one OFFERS event per framework.
    pub(super) fn make_offers(&mut self) {
        if self.is_awaiting_agents_for_quotas() {
            return;
        }
        self.withdraw_overdue_offers();
        let allocations = self.allocator.run(self.now);
        self.counts.allocation_runs = self.allocator.runs();
        let mut batches = OfferBatches::default();
        let mut id = self.offer_prefix.clone();
        for allocation in allocations {
            let client = allocation.client;
            if let Some((number, offer)) = self.make_offer(allocation, &mut id) {
                batches.add(client, number, offer);
            }
        }
        for (framework_id, at) in batches.of_framework {
            let OfferBatch { numbers, offers } = std::mem::take(&mut batches.list[at]);
            if let Some(framework) = self.frameworks.get_mut(&framework_id) {
                framework.offers.extend(numbers);
            }
            self.send_to_framework(&framework_id, scheduler::Event::Offers { offers });
        }
    }

    /// Rescinds offers that a framework does not answer, as far as they exceed its fair share while others wait for offers.
    fn withdraw_overdue_offers(&mut self) {
        for client in self.allocator.overdue(self.now) {
            let framework = self.allocator.framework_of(client).and_then(|id| self.frameworks.get(id));
            let newest_first: Vec<u64> =
                framework.into_iter().flat_map(|f| f.offers.iter().rev().copied()).collect();
            for number in newest_first {
                if !self.allocator.is_above_fair_share(client) {
                    break;
                }
                let its = self.offers.get(&number).filter(|outstanding| outstanding.client == client);
                if its.is_some_and(|outstanding| self.is_of_use_to_others(outstanding)) {
                    self.withdraw_offer(number, true);
                }
            }
        }
    }

    /// Whether another framework that asks for offers may have something of this one: nobody waits for what is reserved for a role in
    /// which nobody else is.
    fn is_of_use_to_others(&self, outstanding: &OutstandingOffer) -> bool {
        let own = &outstanding.offer.framework_id;
        outstanding.free.iter().any(|resource| {
            resource.reservations.is_empty()
                || self.frameworks.values().any(|framework| {
                    let asks = |role: &Role| {
                        !framework.suppressed_roles.contains(role) && resource.is_allocatable_to(role)
                    };
                    framework.id != *own
                        && framework.stream().is_some()
                        && framework.info.roles.iter().any(asks)
                })
        })
    }

    /// Makes the offer of an allocation, and returns it with its number. Its framework has yet to note the number. `id` begins with the
    /// prefix of all ids, and is reused to avoid reallocating.
    fn make_offer(&mut self, allocation: Allocation, id: &mut String) -> Option<(u64, Arc<Offer>)> {
        let (agent_id, position) = self.agents_by_slot.get_mut(&allocation.agent)?;
        let agent = self.agents.get_mut_near(agent_id, position)?;
        let number = self.next_offer;
        self.next_offer += 1;
        id.truncate(self.offer_prefix.len());
        let _ = write!(id, "{number}"); // a String takes everything
        let executor_ids = (agent.executors.keys())
            .filter(|(owner, _)| *owner == allocation.framework)
            .map(|(_, executor)| executor.clone())
            .collect();
        let offer = Arc::new(Offer {
            id: OfferId::new(id.as_str()),
            framework_id: allocation.framework,
            agent_id: agent.id.clone(),
            agent: agent.info.clone(),
            role: allocation.role,
            resources: allocation.resources,
            executor_ids,
        });
        agent.offered += &offer.resources;
        agent.offers.insert(number);
        let outstanding = OutstandingOffer {
            offer: offer.clone(),
            free: allocation.free,
            slot: allocation.agent,
            client: allocation.client,
        };
        self.offers.insert(number, outstanding);
        if let Some(timeout) = self.config.offer_timeout {
            self.timers.set(self.now + timeout, Timer::OfferExpiry { number });
        }
        Some((number, offer))
    }

    /// The number in an offer's id, if this master made the offer.
    pub(super) fn offer_number(&self, id: &OfferId) -> Option<u64> {
        let digits = id.as_str().strip_prefix(self.offer_prefix.as_str())?;
        let plain = digits.bytes().all(|b| b.is_ascii_digit()) && (digits == "0" || !digits.starts_with('0'));
        plain.then(|| digits.parse().ok()).flatten()
    }

    /// Removes an offer. Its resources stay charged in the allocator: the caller decides where they go.
    pub(super) fn remove_offer(&mut self, number: u64) -> Option<OutstandingOffer> {
        let outstanding = self.take_offer(number)?;
        if let Some(framework) = self.frameworks.get_mut(&outstanding.offer.framework_id) {
            framework.offers.remove(&number);
        }
        Some(outstanding)
    }

    /// [`Master::remove_offer`], but for the number in the framework, which the caller removes.
    fn take_offer(&mut self, number: u64) -> Option<OutstandingOffer> {
        let outstanding = self.offers.remove(&number)?;
        self.allocator.offer_gone(outstanding.slot, outstanding.client);
        if let Some((agent_id, position)) = self.agents_by_slot.get_mut(&outstanding.slot)
            && let Some(agent) = self.agents.get_mut_near(agent_id, position)
        {
            agent.offered.remove_all(&outstanding.offer.resources);
            agent.offers.remove(&number);
        }
        Some(outstanding)
    }

    /// Removes an offer and returns its resources; `rescind` tells the framework.
    pub(super) fn withdraw_offer(&mut self, number: u64, rescind: bool) {
        let Some(outstanding) = self.remove_offer(number) else { return };
        let offer = outstanding.offer;
        self.allocator.recover(outstanding.slot, outstanding.client, &outstanding.free);
        if rescind {
            self.send_to_framework(
                &offer.framework_id,
                scheduler::Event::Rescind { offer_id: offer.id.clone() },
            );
        }
    }

    pub(super) fn withdraw_framework_offers(&mut self, id: &FrameworkId, rescind: bool) {
        let numbers = self.frameworks.get(id).map(|f| f.offers.clone()).unwrap_or_default();
        for number in numbers {
            self.withdraw_offer(number, rescind);
        }
    }

    pub(super) fn withdraw_agent_offers(&mut self, id: &AgentId) {
        let numbers = self.agents.get(id).map(|a| a.offers.clone()).unwrap_or_default();
        for number in numbers {
            self.withdraw_offer(number, true);
        }
    }

    pub(super) fn withdraw_all_offers(&mut self) {
        let mut numbers: Vec<u64> = self.offers.keys().copied().collect();
        numbers.sort_unstable();
        for number in numbers {
            self.withdraw_offer(number, true);
        }
    }

    /// Rescinds the offers in roles that the framework has left.
    pub(super) fn withdraw_offers_of_dropped_roles(&mut self, id: &FrameworkId) {
        let Some(framework) = self.frameworks.get(id) else { return };
        let roles: BTreeSet<&Role> = framework.info.roles.iter().collect();
        let is_dropped =
            |number: &u64| self.offers.get(number).is_some_and(|o| !roles.contains(&o.offer.role));
        let dropped: Vec<u64> = framework.offers.iter().copied().filter(is_dropped).collect();
        for number in dropped {
            self.withdraw_offer(number, true);
        }
    }

    /// An offer timed out. Unlike in Mesos this counts as a decline, of ever longer: otherwise a framework that never
    /// answers, and so never holds anything, would get the same resources again at once, forever.
    pub(super) fn offer_expired(&mut self, number: u64) {
        let Some(outstanding) = self.offers.get(&number) else { return };
        let (slot, client) = (outstanding.slot, outstanding.client);
        let resources = outstanding.free.clone();
        self.withdraw_offer(number, true);
        self.allocator.expired(self.now, slot, client, &resources);
    }

    /// The framework answered these offers. It is not known whose those were that are gone.
    pub(super) fn note_answer(&mut self, framework_id: &FrameworkId, offer_ids: &[OfferId]) {
        let mut clients = BTreeSet::new();
        for id in offer_ids {
            match self.offer_number(id).and_then(|number| self.offers.get(&number)) {
                Some(outstanding) if outstanding.offer.framework_id == *framework_id => {
                    clients.insert(outstanding.client)
                }
                Some(_) => false,
                None => {
                    let framework = self.frameworks.get(framework_id);
                    clients = framework.into_iter().flat_map(|f| f.clients.values().copied()).collect();
                    break;
                }
            };
        }
        for client in clients {
            self.allocator.answered(self.now, client);
        }
    }

    pub(super) fn decline(&mut self, framework_id: &FrameworkId, offer_ids: &[OfferId], filters: Filters) {
        let mut declined = Vec::with_capacity(offer_ids.len());
        for id in offer_ids {
            let Some(number) = self.offer_number(id) else { continue };
            let own = self.offers.get(&number).is_some_and(|o| o.offer.framework_id == *framework_id);
            if !own {
                continue;
            }
            let outstanding = self.take_offer(number).expect("invariant: looked up above");
            self.return_resources(&outstanding, &outstanding.free, filters.refuse, false);
            declined.push(number);
        }
        // Once for all of them: frameworks are found by long ids.
        if let Some(framework) = self.frameworks.get_mut(framework_id) {
            for number in &declined {
                framework.offers.remove(number);
            }
            Arc::make_mut(&mut framework.counts).offers_declined += declined.len() as u64;
        }
    }

    /// Returns resources of an answered offer to the pool, and filters them for the framework.
    pub(super) fn return_resources(
        &mut self,
        outstanding: &OutstandingOffer,
        resources: &Resources,
        refuse: Duration,
        progress: bool,
    ) {
        if resources.is_empty() {
            return;
        }
        self.allocator.recover(outstanding.slot, outstanding.client, resources);
        let refuse = refuse.min(REFUSE_MAX);
        self.allocator.refuse(self.now, outstanding.slot, outstanding.client, resources, refuse, progress);
    }
}

/// The longest filter, as in Mesos: 365 days.
const REFUSE_MAX: Duration = Duration::from_secs(365 * 24 * 3600);

/// The offers of a round by framework, in the order in which they were made. A round makes many offers for each client: so the framework
/// is found by its client, because ids are long.
#[derive(Default)]
struct OfferBatches {
    list: Vec<OfferBatch>,
    /// Positions in the list.
    of_client: BTreeMap<ClientSlot, usize>,
    of_framework: BTreeMap<FrameworkId, usize>,
}

#[derive(Default)]
struct OfferBatch {
    numbers: Vec<u64>,
    offers: Vec<Arc<Offer>>,
}

impl OfferBatches {
    fn add(&mut self, client: ClientSlot, number: u64, offer: Arc<Offer>) {
        let at = *self.of_client.entry(client).or_insert_with(|| {
            *self.of_framework.entry(offer.framework_id.clone()).or_insert_with(|| {
                self.list.push(OfferBatch::default());
                self.list.len() - 1
            })
        });
        let batch = &mut self.list[at];
        batch.numbers.push(number);
        batch.offers.push(offer);
    }
}
