//! Quotas of roles: checks, changes, and what they take back. The allocator enforces them.

use std::{collections::BTreeMap, time::Duration};

use kernel_model::{
    quota::{Quantities, Quota},
    resources::{Resource, Resources},
    roles::Role,
};

use super::{
    Master,
    effect::{Op, Record, RecordKey, Refusal},
    timers::Timer,
};

/// How many roles can have a quota: more than any cluster has tenants. Each is a record of the registry and is in memory.
const QUOTAS_MAX: usize = 16 * 1024;

/// The part of the known agents that must be registered after a start before offers are made, and how long they are awaited: as
/// Mesos does it. Otherwise roles would be offered more than their limits, because what they hold is not known yet.
const RECOVERED_AGENTS: f64 = 0.8;
const RECOVERY_TIMEOUT: Duration = Duration::from_secs(600);

impl Master {
    /// UPDATE_QUOTA: all quotas are set, or none. A default quota removes.
    pub(super) fn update_quota(&mut self, configs: Vec<(Role, Quota)>, force: bool) -> Result<(), Refusal> {
        let invalid = |why: String| format!("Invalid QuotaConfig: {why}");
        let refuse = |why| Refusal::Invalid(invalid(why));
        let unforced = |why| Refusal::Unforced(invalid(why));
        let mut all: BTreeMap<Role, Quota> = self.quotas().map(|(r, q)| (r.clone(), q.clone())).collect();
        if let Some(why) = configs.iter().find_map(|(_, quota)| quota.fault()) {
            return Err(refuse(why));
        }
        for (role, quota) in &configs {
            match quota.is_default() {
                true => all.remove(role),
                false => all.insert(role.clone(), quota.clone()),
            };
        }
        if all.len() > QUOTAS_MAX {
            return Err(refuse(format!("at most {QUOTAS_MAX} roles can have a quota")));
        }
        check_tree(&all).map_err(refuse)?;
        if !force {
            for (role, quota) in &configs {
                let consumed = self.quota_consumed(role);
                if !quota.allows(&consumed) {
                    return Err(unforced(format!(
                        "Role '{role}' is already consuming '{consumed}'; this is more than the requested limits '{}'",
                        quota.limits
                    )));
                }
            }
            let (guaranteed, capacity) = (total_guarantees(&all), self.quota_capacity());
            if !capacity.contains(&guaranteed) {
                return Err(unforced(format!(
                    "total quota guarantees '{guaranteed}' exceed cluster capacity '{capacity}'"
                )));
            }
        }
        self.set_quotas(configs);
        Ok(())
    }

    /// SET_QUOTA: of a role that had none before.
    pub(super) fn set_quota(&mut self, role: Role, quota: Quota, force: bool) -> Result<(), Refusal> {
        let refuse = |why: String| Refusal::Invalid(format!("Failed to validate set quota request: {why}"));
        let mut all: BTreeMap<Role, Quota> = self.quotas().map(|(r, q)| (r.clone(), q.clone())).collect();
        if all.contains_key(&role) {
            return Err(refuse(format!("Cannot set quota for role '{role}' which already has quota")));
        }
        if let Some(why) = quota.fault() {
            return Err(refuse(why));
        }
        all.insert(role.clone(), quota.clone());
        check_tree(&all).map_err(refuse)?;
        let (guaranteed, capacity) = (total_guarantees(&all), self.quota_capacity());
        if !force && !capacity.contains(&guaranteed) {
            return Err(Refusal::Conflict(format!(
                "Quota guarantees overcommit the cluster (use 'force' to bypass this check): Total quota guarantees \
                 '{guaranteed}' exceed cluster capacity '{capacity}'"
            )));
        }
        self.set_quotas(vec![(role, quota)]);
        Ok(())
    }

    /// REMOVE_QUOTA. A refusal begins with `refusal`.
    pub(super) fn remove_quota(&mut self, role: Role, refusal: &str) -> Result<(), Refusal> {
        let mut all: BTreeMap<Role, Quota> = self.quotas().map(|(r, q)| (r.clone(), q.clone())).collect();
        if all.remove(&role).is_none() {
            return Err(Refusal::Invalid(format!("{refusal}: Role '{role}' has no quota set")));
        }
        check_tree(&all).map_err(|why| Refusal::Invalid(format!("{refusal}: {why}")))?;
        self.set_quotas(vec![(role, Quota::default())]);
        Ok(())
    }

    fn set_quotas(&mut self, configs: Vec<(Role, Quota)>) {
        for (role, quota) in &configs {
            self.allocator.set_quota(role, quota);
            let key = RecordKey::Quota(role.clone());
            let record = Record::Quota { role: role.clone(), quota: quota.clone() };
            match (quota.is_default(), self.registry.get(&key)) {
                (true, Some(_)) => self.persist(Op::Delete(key)),
                (false, known) if known != Some(&record) => self.persist(Op::Put(record)),
                _ => {}
            }
        }
        for (role, quota) in &configs {
            self.rescind_above_limit(role, &quota.limits);
        }
        self.rescind_for_guarantees(&configs);
    }

    /// Rescinds the newest offers to the role, and to those below it, that exceed its limits.
    fn rescind_above_limit(&mut self, role: &Role, limits: &Quantities) {
        if !self.allocator.exceeds(role, limits) {
            return;
        }
        let mut newest: Vec<u64> = self.offers.iter().map(|(number, _)| *number).collect();
        newest.sort_unstable_by(|a, b| b.cmp(a));
        for number in newest {
            if !self.allocator.exceeds(role, limits) {
                return;
            }
            if self.offers.get(&number).is_some_and(|outstanding| outstanding.offer.role.is_within(role)) {
                self.withdraw_offer(number, true);
            }
        }
    }

    /// Rescinds the newest offers to others, as far as guarantees could not be filled otherwise.
    fn rescind_for_guarantees(&mut self, configs: &[(Role, Quota)]) {
        if !self.allocator.lacks_guaranteed() {
            return;
        }
        let guaranteed = |offer: &Role| {
            let of = |(role, quota): &(Role, Quota)| !quota.guarantees.is_empty() && offer.is_within(role);
            configs.iter().any(of)
        };
        let others = self.offers.iter().filter(|(_, outstanding)| !guaranteed(&outstanding.offer.role));
        let mut newest: Vec<u64> = others.map(|(number, _)| *number).collect();
        newest.sort_unstable_by(|a, b| b.cmp(a));
        for number in newest {
            if !self.allocator.lacks_guaranteed() {
                return;
            }
            self.withdraw_offer(number, true);
        }
    }

    /// The master starts: if there are quotas, it waits for the agents that are known from the registry.
    pub(super) fn await_agents_for_quotas(&mut self) {
        if self.quotas().next().is_some() {
            self.quota_recovery = Some((self.absent.len() as f64 * RECOVERED_AGENTS).ceil() as usize);
            self.timers.set(self.now + RECOVERY_TIMEOUT, Timer::QuotaRecovery);
        }
    }

    pub(super) fn is_awaiting_agents_for_quotas(&mut self) -> bool {
        self.quota_recovery = self.quota_recovery.filter(|wanted| self.agents.len() < *wanted);
        self.quota_recovery.is_some()
    }

    pub(super) fn restore_quotas(&mut self) {
        let quotas: Vec<(Role, Quota)> = self.quotas().map(|(r, q)| (r.clone(), q.clone())).collect();
        for (role, quota) in quotas {
            self.allocator.set_quota(&role, &quota);
        }
    }

    /// The quotas that were set.
    pub fn quotas(&self) -> impl Iterator<Item = (&Role, &Quota)> {
        self.registry.iter().filter_map(|record| match record {
            Record::Quota { role, quota } => Some((role, quota)),
            _ => None,
        })
    }

    /// The quota of a role.
    pub fn quota_of(&self, role: &Role) -> Option<&Quota> {
        match self.registry.get(&RecordKey::Quota(role.clone())) {
            Some(Record::Quota { quota, .. }) => Some(quota),
            _ => None,
        }
    }

    /// What a quota of the role counts as consumed: what tasks and executors hold in it and below it, and what is reserved
    /// there. Offers do not count: they can be rescinded.
    pub(super) fn quota_consumed(&self, role: &Role) -> Quantities {
        let held = self.agents.values().flat_map(|agent| agent.allocated.values());
        consumption(role, held, self.agents.values().map(|agent| &agent.info.resources))
    }

    /// What can be guaranteed: all that registered agents have, whether they are connected or not.
    fn quota_capacity(&self) -> Quantities {
        let mut capacity = Quantities::default();
        for agent in self.agents.values() {
            capacity.add_all(&Quantities::of(&agent.info.resources, |r| !r.revocable));
        }
        capacity
    }
}

/// Whether an allocated resource counts for a quota of the role. Reserved ones count as reserved.
fn counts_as_used(resource: &Resource, role: &Role) -> bool {
    let allocated = resource.allocation_role.as_ref().is_some_and(|of| of.is_within(role));
    allocated && resource.reservations.is_empty() && !resource.revocable
}

/// Whether a resource of an agent is reserved for the role or one below it.
fn counts_as_reserved(resource: &Resource, role: &Role) -> bool {
    !resource.revocable && resource.reservation().is_some_and(|top| top.role.is_within(role))
}

/// What a role consumes of resources that are allocated or offered, and of the totals of agents.
pub(crate) fn consumption<'a>(
    role: &Role,
    held: impl Iterator<Item = &'a Resources>,
    totals: impl Iterator<Item = &'a Resources>,
) -> Quantities {
    let mut consumed = Quantities::default();
    held.for_each(|held| consumed.add_all(&Quantities::of(held, |r| counts_as_used(r, role))));
    totals.for_each(|total| consumed.add_all(&Quantities::of(total, |r| counts_as_reserved(r, role))));
    consumed
}

/// Checks that what is guaranteed to the children of a role is guaranteed to it, and that no role has a higher limit than one above
/// it. (Mesos refuses quotas of nested roles, and has only the first check.)
fn check_tree(quotas: &BTreeMap<Role, Quota>) -> Result<(), String> {
    let mut below: BTreeMap<&str, Quantities> = BTreeMap::new();
    for (role, quota) in quotas.iter().filter(|(_, quota)| !quota.guarantees.is_empty()) {
        if let Some((parent, _)) = role.as_str().rsplit_once('/') {
            below.entry(parent).or_default().add_all(&quota.guarantees);
        }
    }
    let none = Quantities::default();
    let of = |name: &str| Role::parse(name).ok().and_then(|role| quotas.get(&role));
    for (parent, sum) in &below {
        let own = of(parent).map_or(&none, |quota| &quota.guarantees);
        if !own.contains(sum) {
            return Err(format!(
                "Invalid quota configuration. Parent role '{parent}' with guarantees ({own}) does not contain the sum \
                 of its children's guarantees ({sum})"
            ));
        }
    }
    for (role, quota) in quotas {
        for above in role.lineage().filter(|name| *name != role.as_str()) {
            let Some(parent) = of(above) else { continue };
            if !parent.allows(&quota.limits) {
                return Err(format!(
                    "Invalid quota configuration. Role '{role}' with limits ({}) exceeds the limits of '{above}' ({})",
                    quota.limits, parent.limits
                ));
            }
        }
    }
    Ok(())
}

/// The guarantees of top-level roles, which contain those below.
fn total_guarantees(quotas: &BTreeMap<Role, Quota>) -> Quantities {
    let mut total = Quantities::default();
    for (role, quota) in quotas {
        if !role.as_str().contains('/') {
            total.add_all(&quota.guarantees);
        }
    }
    total
}
