//! What a client gets of an agent.

use kernel_model::{
    resources::{Resource, Resources, Scalar, Value},
    roles::Role,
    time::Time,
};

use super::{
    AgentRow, AgentSlot, Allocator, Capabilities, Policy,
    amounts::{Amounts, ResourceNames},
    filters,
    run::AllocationStage,
    shares::{Appetite, Attention},
};

/// What a client may have of an agent.
struct Choice {
    /// `None` for everything that is available.
    part: Option<Resources>,
    amounts: Amounts,
}

impl Allocator {
    /// Allocates to a client what it gets in this stage. Sets `held_back` if the client could have had more, or gets it later.
    pub(super) fn take(
        &mut self,
        now: Time,
        agent: AgentSlot,
        client: u32,
        stage: AllocationStage,
        held_back: &mut bool,
    ) -> Option<(Resources, Amounts)> {
        self.considered += 1;
        let attention = self.attention(now, agent, client, stage)?;
        let sharing = stage == AllocationStage::FairShare && self.shares.active_clients() > 1;
        if sharing && self.shares.is_looking(client) {
            *held_back = true;
            return None;
        }
        let mut choice = self.acceptable(now, agent, client)?;
        if self.shares.has_quotas() {
            choice = self.within_quotas(now, agent, client, choice, stage)?;
        }
        if sharing {
            choice = self.within_fair_share(now, agent, client, choice, attention, held_back)?;
        }
        let row = self.agents.get_mut(agent.0 as usize)?;
        let taken = match choice.part {
            None => {
                row.available_amounts = Amounts::default();
                std::mem::take(&mut row.available)
            }
            Some(part) => {
                row.available.remove_all(&part);
                row.available_amounts = self.names.amounts(&row.available);
                part
            }
        };
        row.used += &taken;
        let used_up = !row.available_amounts.allocatable();
        if stage == AllocationStage::Remainder || used_up {
            row.leftover_until = None;
        }
        self.version += 1;
        row.version = self.version;
        self.refusals.free_changed(agent.0, row.refused_number());
        if used_up {
            self.free.remove(agent.0);
            self.leftovers.remove(agent.0);
        }
        Some((taken, choice.amounts))
    }

    /// Everything available, as far as the client can use it and has not refused it.
    fn acceptable(&mut self, now: Time, agent: AgentSlot, client: u32) -> Option<Choice> {
        if self.refusals.refuses_all(client, agent.0) {
            return None;
        }
        let row = self.agents.get_mut(agent.0 as usize)?;
        let who = self.shares.client(client)?;
        if !admits(&self.policy, row, who.capabilities) || !who.preferences.admit(&row.properties) {
            return None;
        }
        let (part, amounts) = match offerable_resources(row, &who.role, who.capabilities) {
            Offerable::All => (None, row.available_amounts),
            Offerable::Part(part) => {
                let amounts = self.names.amounts(&part);
                if part.is_empty() {
                    return None;
                }
                (Some(part), amounts)
            }
        };
        let whole = part.as_ref().unwrap_or(&row.available);
        if !who.preferences.meets_minimum(whole, amounts.allocatable()) {
            return None;
        }
        let (version, generation) = (part.is_none().then_some(row.version), who.generation);
        let candidate = filters::CandidateOffer { client, generation, offer: whole, version };
        if !row.filters.covers(now, &candidate) {
            return Some(Choice { part, amounts });
        }
        if part.is_none() {
            self.note_refusal(agent, client);
        }
        None
    }

    /// The choice, reduced to what the quotas of roles allow, or to what fills the guarantees of the client's role.
    fn within_quotas(
        &mut self,
        now: Time,
        agent: AgentSlot,
        client: u32,
        choice: Choice,
        stage: AllocationStage,
    ) -> Option<Choice> {
        let row = self.agents.get(agent.0 as usize)?;
        let whole = choice.part.as_ref().unwrap_or(&row.available);
        let mut part = self.within_quota(client, whole);
        if part.is_some() {
            // It is offered again when the quotas allow more.
            self.leftovers.insert(agent.0);
        }
        if stage == AllocationStage::Guarantee {
            let allowed = part.as_ref().unwrap_or(whole);
            part = Some(self.guaranteed_part(client, allowed)?);
        }
        let Some(part) = part else { return Some(choice) };
        let amounts = self.names.amounts(&part);
        let who = self.shares.client(client)?;
        if !amounts.is_useful_part_of(&choice.amounts)
            || !who.preferences.meets_minimum(&part, amounts.allocatable())
        {
            return None;
        }
        let refused =
            filters::CandidateOffer { client, generation: who.generation, offer: &part, version: None };
        let row = self.agents.get_mut(agent.0 as usize)?;
        (!row.filters.covers(now, &refused)).then_some(Choice { part: Some(part), amounts })
    }

    /// The choice, reduced to what lifts the client to its fair share at most. Clients that launch tasks are offered parts of
    /// agents; others see agents whole, as long as their fair share has room for one.
    fn within_fair_share(
        &mut self,
        now: Time,
        agent: AgentSlot,
        client: u32,
        choice: Choice,
        attention: Attention,
        held_back: &mut bool,
    ) -> Option<Choice> {
        let headroom = self.shares.headroom(client);
        let appetite = self.shares.appetite(client);
        let row = self.agents.get_mut(agent.0 as usize)?;
        let others_pending = row.pending.iter().any(|other| *other != client);
        if appetite != Appetite::Uses && others_pending && row.total_amounts.fit(&headroom.share) {
            // The rest of the agent is on offer to others: this one is to see all that they decline.
            *held_back = true;
            return None;
        }
        if choice.amounts.fit(&headroom.amounts) {
            return Some(choice);
        }
        if attention == Attention::Whole {
            return self.pass_over(agent, client);
        }
        *held_back = true;
        match appetite {
            Appetite::Unknown | Appetite::Declines if choice.amounts.fit(&headroom.share) => return None,
            Appetite::Declines => return headroom.below_fair_share.then_some(choice),
            Appetite::Unknown | Appetite::Uses => {}
        }
        let who = self.shares.client(client)?;
        let whole = choice.part.as_ref().unwrap_or(&row.available);
        let part = fair_share_part(&headroom.amounts, &self.names, whole);
        let amounts = self.names.amounts(&part);
        if !amounts.is_useful_part_of(&choice.amounts) || !who.preferences.meets_minimum(&part, true) {
            return None;
        }
        let generation = who.generation;
        let refused = filters::CandidateOffer { client, generation, offer: &part, version: None };
        match row.filters.covers(now, &refused) {
            false => Some(Choice { part: Some(part), amounts }),
            // The client filtered its fair share: it needs a larger offer. A client far below its share is offered the whole.
            true => headroom.below_fair_share.then_some(choice),
        }
    }
}

impl Allocator {
    /// What the client may be offered of the agent in this stage; `None` if nothing. A client that does not answer gets
    /// nothing more of an agent that it has offers of, and no remainders.
    fn attention(
        &mut self,
        now: Time,
        agent: AgentSlot,
        client: u32,
        stage: AllocationStage,
    ) -> Option<Attention> {
        let attention = self.shares.attention(client, now);
        let row = self.agents.get(agent.0 as usize)?;
        match attention {
            Attention::Full => Some(attention),
            Attention::Whole if stage == AllocationStage::FairShare && !row.pending.contains(&client) => {
                Some(attention)
            }
            Attention::Whole | Attention::None => self.pass_over(agent, client),
        }
    }

    fn pass_over<T>(&mut self, agent: AgentSlot, client: u32) -> Option<T> {
        self.shares.passed_over(client);
        self.leftovers.insert(agent.0);
        None
    }
}

/// The part of an offer that fits the headroom of a client. Reserved resources are included whole, because no other
/// role may use them. Resources that do not count for fairness are included in proportion.
fn fair_share_part(headroom: &Amounts, names: &ResourceNames, offer: &Resources) -> Resources {
    let fraction = offer
        .scalars()
        .filter_map(|(name, amount)| Some(headroom.of(names, name)?.min(amount.0) as f64 / amount.0 as f64))
        .fold(0.0, f64::max);
    let mut part = Resources::new();
    for resource in offer.iter().filter(|r| !r.is_indivisible() && !r.shared) {
        let value = match &resource.value {
            _ if !resource.reservations.is_empty() => resource.value.clone(),
            Value::Scalar(amount) => match headroom.of(names, &resource.name) {
                Some(headroom) => Value::Scalar(Scalar(amount.0.min(headroom))),
                None => Value::Scalar(Scalar((amount.0 as f64 * fraction) as i64)),
            },
            Value::Ranges(ranges) => {
                let count = (ranges.count() as f64 * fraction) as u64;
                Value::Ranges(ranges.lowest(count).unwrap_or_default())
            }
            Value::Set(_) => continue,
        };
        part.add(Resource { value, ..resource.clone() });
    }
    part
}

enum Offerable {
    All,
    Part(Resources),
}

/// Whether a framework with these capabilities may be offered the agent.
pub(super) fn admits(policy: &Policy, row: &AgentRow, capabilities: Capabilities) -> bool {
    !policy.filter_gpu_agents || !row.has_gpus || capabilities.gpus
}

/// The free resources of the agent that the client may be offered.
fn offerable_resources(row: &AgentRow, role: &Role, capabilities: Capabilities) -> Offerable {
    let held = row.held_for_others(role);
    if row.plain && held.is_none() {
        return Offerable::All;
    }
    let mut part = row.available.filter(|r| {
        r.is_allocatable_to(role)
            && (capabilities.revocable || !r.revocable)
            && (capabilities.shared || !r.shared)
            && (capabilities.refined || r.reservations.len() <= 1)
    });
    if let Some(held) = held {
        part.remove_all(&held);
    }
    Offerable::Part(part)
}
