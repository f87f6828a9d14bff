//! Quota in the allocator: limits and guarantees of roles, and what they leave of an offer.

use std::collections::BTreeMap;

use kernel_model::{
    quota::{Quantities, Quota},
    resources::{Resource, Resources, Scalar, Value},
    roles::Role,
    time::Time,
};

use super::{
    AgentRow, AgentSlot, Allocator, ClientSlot,
    amounts::Counts,
    shares::{Attention, NodeQuota},
};
use crate::preemption::Holders;

impl Allocator {
    /// Sets the quota of a role. A default quota removes it.
    pub fn set_quota(&mut self, role: &Role, quota: &Quota) {
        let had_guarantees = self.shares.has_guarantees();
        let names = &mut self.names;
        let mut amounts = |of: &Quantities| -> Vec<(usize, i64)> {
            of.iter().map(|(name, amount)| (names.index(name), amount.0)).collect()
        };
        let mut guarantees = Counts::default();
        guarantees.add(&amounts(&quota.guarantees), 1);
        let limits = amounts(&quota.limits);
        let quota = (!quota.is_default()).then_some(NodeQuota { guarantees, limits });
        self.shares.set_quota(role, quota);
        if self.shares.has_guarantees() && !had_guarantees {
            let agents: Vec<u32> = self.agents.iter().map(|(slot, _)| super::slot_of(slot)).collect();
            agents.into_iter().for_each(|agent| self.refresh_open(AgentSlot(agent)));
        }
        self.candidates.append(&mut self.leftovers);
    }

    /// What a role consumes: what a quota of it counts.
    pub fn consumed(&self, role: &Role) -> Quantities {
        let names = (0..).map_while(|index| Some((index, self.names.name(index)?)));
        let amounts = names.map(|(index, name)| (name.clone(), Scalar(self.shares.consumed(role, index))));
        amounts.filter(|(_, amount)| *amount != Scalar::ZERO).collect()
    }

    /// Whether the limits of the client's role and its ancestors allow it more.
    pub fn quota_allows(&self, client: ClientSlot, more: &Resources) -> bool {
        !self.shares.has_quotas()
            || counted(more).all(|(resource, amount)| {
                let name = self.names.known(&resource.name);
                let room = name.and_then(|name| self.shares.allowance(client.0, name).room);
                room.is_none_or(|room| amount <= room)
            })
    }

    /// Whether a role consumes more than its limit of any name.
    pub fn exceeds(&self, role: &Role, limits: &Quantities) -> bool {
        let name = |name: &str| self.names.known(name);
        limits.iter().any(|(of, limit)| name(of).is_some_and(|n| self.shares.consumed(role, n) > limit.0))
    }

    /// Who holds what, whether they want offers or not; and where each client is among them.
    pub fn holders(&self) -> (Holders, BTreeMap<ClientSlot, usize>) {
        self.shares.holders(&self.names)
    }

    /// Whether the client wants offers, and answers them.
    pub fn wants_offers(&self, now: Time, client: ClientSlot) -> bool {
        let active = self.shares.client(client.0).is_some_and(|who| who.active);
        active && self.shares.attention(client.0, now) != Attention::None
    }

    /// Whether something is missing to any guarantee.
    pub fn misses_guarantees(&self) -> bool {
        self.shares.is_anything_required()
    }

    /// Whether less is free than is missing to all guarantees.
    pub fn lacks_guaranteed(&self) -> bool {
        self.shares.is_anything_required()
            && (0..self.names.len()).any(|name| self.open.get(name) < self.shares.required(name))
    }

    /// What of an offer the quotas leave to the client. `None` for all.
    pub(super) fn within_quota(&self, client: u32, offer: &Resources) -> Option<Resources> {
        let mut reduced = false;
        let mut cap = |resource: &Resource, amount: i64| {
            let cap = self.quota_cap(client, &resource.name).min(amount);
            reduced |= cap < amount;
            cap
        };
        let part = with_scalars(offer, |resource, amount| Some(cap(resource, amount)), 1.0);
        reduced.then_some(part)
    }

    /// The most that the client may get of a name: up to the limits, and no more than is left when everybody else gets what is
    /// guaranteed.
    fn quota_cap(&self, client: u32, name: &str) -> i64 {
        let (room, unguaranteed) = self.quota_caps(client, name);
        room.min(unguaranteed)
    }

    /// What the limits leave the client of a name, and what the guarantees of others do.
    fn quota_caps(&self, client: u32, name: &str) -> (i64, i64) {
        let Some(name) = self.names.known(name) else { return (i64::MAX, i64::MAX) };
        let allowance = self.shares.allowance(client, name);
        let room = allowance.room.unwrap_or(i64::MAX);
        match self.shares.required(name) {
            0 => (room, i64::MAX),
            required => {
                let spare = self.open.get(name).saturating_sub(required).max(0);
                (room, allowance.owed.saturating_add(spare))
            }
        }
    }

    /// The part of an offer that fills the guarantees of the client's role and its ancestors: as much of each guaranteed name as
    /// is missing, and the others in proportion. `None` if nothing is missing.
    pub(super) fn guaranteed_part(&self, client: u32, offer: &Resources) -> Option<Resources> {
        let owed = |resource: &Resource| {
            let name = self.names.known(&resource.name)?;
            Some(self.shares.allowance(client, name).owed).filter(|owed| *owed > 0)
        };
        let fraction = counted(offer)
            .filter_map(|(resource, amount)| Some(owed(resource)?.min(amount) as f64 / amount as f64))
            .fold(0.0, f64::max);
        let cap = |resource: &Resource, amount: i64| Some(owed(resource)?.min(amount));
        (fraction > 0.0).then(|| with_scalars(offer, cap, fraction))
    }

    /// Notes what of the agent is free and counts for quota.
    pub(super) fn refresh_open(&mut self, agent: AgentSlot) {
        if !self.shares.has_guarantees() {
            return;
        }
        let Some(row) = self.agents.get_mut(agent.0 as usize) else { return };
        let open = if row.active { self.names.counted(&row.available) } else { Vec::new() };
        self.open.add(&row.open, -1);
        self.open.add(&open, 1);
        row.open = open;
    }

    /// Notes what of the agent is reserved.
    pub(super) fn refresh_reserved(&mut self, agent: AgentSlot, total: &Resources) {
        let reserved = self.reserved(total);
        let Some(row) = self.agents.get_mut(agent.0 as usize) else { return };
        reserved.iter().for_each(|(role, amounts)| self.shares.change_reserved(role, amounts, 1));
        for (role, amounts) in std::mem::replace(&mut row.reserved, reserved) {
            self.shares.change_reserved(&role, &amounts, -1);
        }
    }

    /// The scalars that are reserved, by role; revocable ones count for no quota.
    fn reserved(&mut self, total: &Resources) -> Vec<(Role, Vec<(usize, i64)>)> {
        let mut reserved = Vec::new();
        for resource in total.iter().filter(|r| !r.revocable) {
            if let (Some(top), Value::Scalar(amount)) = (resource.reservation(), &resource.value) {
                reserved.push((top.role.clone(), vec![(self.names.index(&resource.name), amount.0)]));
            }
        }
        reserved
    }

    /// Whether the client's role, or one above it, has reached a limit of what each task needs.
    pub(super) fn has_reached_a_limit(&self, client: u32) -> bool {
        let reached = |name: &str| {
            let name = self.names.known(name);
            name.is_some_and(|name| self.shares.allowance(client, name).room == Some(0))
        };
        self.shares.has_quotas() && ["cpus", "mem"].into_iter().any(reached)
    }

    /// Which quota keeps some of these amounts from the client.
    fn first_bound<'n>(
        &self,
        client: u32,
        amounts: impl Iterator<Item = (&'n str, i64)>,
    ) -> Option<QuotaBound> {
        let bound = |(name, amount): (&str, i64)| match self.quota_caps(client, name) {
            (room, unguaranteed) if room < amount && room <= unguaranteed => Some(QuotaBound::Limit),
            (_, unguaranteed) if unguaranteed < amount => Some(QuotaBound::Guarantee),
            _ => None,
        };
        amounts.filter_map(bound).min()
    }

    /// Which quota keeps something free from a client that wants these amounts. `None` if it gets all of them that are free.
    pub(super) fn bound_by_demand(&self, client: u32, wanted: &Quantities) -> Option<QuotaBound> {
        if !self.shares.has_quotas() {
            return None;
        }
        let mut free = Quantities::default();
        let rows = self.agents.iter().filter(|(_, row)| row.active);
        rows.flat_map(|(_, row)| counted(&row.available))
            .for_each(|(resource, amount)| free.add(&resource.name, Scalar(amount)));
        let lacks = wanted.iter().map(|(name, amount)| {
            let free = free.get(name).unwrap_or_default();
            (&**name, amount.min(free).0)
        });
        self.first_bound(client, lacks)
    }

    /// Which quota keeps the client from an offer of what is free on an agent: it has not declined all of that, and the quota
    /// leaves nothing that could start a task, or only what the client declined.
    pub(super) fn bound_of_offer(
        &self,
        now: Time,
        client: u32,
        row: &AgentRow,
        offer: &Resources,
    ) -> Option<QuotaBound> {
        if !self.shares.has_quotas() {
            return None;
        }
        let who = self.shares.client(client)?;
        let part = self.within_quota(client, offer)?;
        let amounts = self.names.known_amounts(&part);
        let declined = |resources: &Resources| row.filters.cover(now, client, who.generation, resources);
        let gets_some = amounts.is_useful_part_of(&self.names.known_amounts(offer))
            && who.preferences.meets_minimum(&part, amounts.allocatable())
            && !declined(&part);
        if gets_some || declined(offer) {
            return None;
        }
        self.first_bound(client, counted(offer).map(|(resource, amount)| (&*resource.name, amount)))
    }
}

/// What a quota does that keeps something free from a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum QuotaBound {
    /// The client's role, or one above it, may not have more.
    Limit,
    /// It is guaranteed to other roles.
    Guarantee,
}

/// The scalars that a quota counts.
fn counted(resources: &Resources) -> impl Iterator<Item = (&Resource, i64)> {
    resources.iter().filter_map(|resource| match resource.value {
        Value::Scalar(amount) if is_counted(resource) => Some((resource, amount.0)),
        _ => None,
    })
}

fn is_counted(resource: &Resource) -> bool {
    resource.reservations.is_empty() && !resource.revocable
}

/// The offer with other amounts of its counted scalars: those that `amount` gives, others scaled by `fraction`, as are ranges.
/// Indivisible resources are left out if anything is scaled.
fn with_scalars(
    offer: &Resources,
    mut amount: impl FnMut(&Resource, i64) -> Option<i64>,
    fraction: f64,
) -> Resources {
    let mut part = Resources::new();
    for resource in offer.iter() {
        let value = match &resource.value {
            _ if !is_counted(resource) => resource.value.clone(),
            Value::Scalar(all) => match amount(resource, all.0) {
                Some(some) if some < all.0 && resource.is_indivisible() => continue,
                Some(some) => Value::Scalar(Scalar(some)),
                None if fraction < 1.0 && resource.is_indivisible() => continue,
                None => Value::Scalar(Scalar((all.0 as f64 * fraction) as i64)),
            },
            Value::Ranges(ranges) if fraction < 1.0 => {
                let count = (ranges.count() as f64 * fraction) as u64;
                Value::Ranges(ranges.lowest(count).unwrap_or_default())
            }
            Value::Set(_) if fraction < 1.0 => continue,
            other => other.clone(),
        };
        part.add(Resource { value, ..resource.clone() });
    }
    part
}
