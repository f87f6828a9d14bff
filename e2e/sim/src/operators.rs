//! Operators: they set quotas and weights, reserve and free resources of agents, and drain agents. What the master answers with success must
//! outlive it.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use kernel_core::{
    effect::RequestId,
    master::{Event, OperatorCall, Refusal},
};
use kernel_model::{
    agent::{Activation, AgentInfo, DrainConfig},
    ids::AgentId,
    labels::Labels,
    quota::{Quantities, Quota},
    resources::{ConversionKind, Reservation, ReservationKind, Resource, Resources, Scalar},
    roles::Role,
};

use crate::{
    framework::Kind,
    situations::Situation,
    world::{Action, World},
};

/// The principal of the operators' reservations.
pub(crate) const PRINCIPAL: &str = "ops";
/// The roles that operators care for.
const ROLES: [&str; 6] = ["k8s", "k8s/a", "k8s/b", "batch", "store", "java"];
/// How long after the last fault one role gets its guarantee and work, when the cluster is full.
const WORK_AFTER: Duration = Duration::from_secs(40);
/// Tasks that it gets then, of which its guarantee covers two.
const WORK: usize = 3;
/// Changes of operators in a run, at most.
const CHANGES_MAX: u64 = 10;
/// In how many runs of a thousand an agent is drained.
const DRAINS: u64 = 300;
/// How often operators try what has not succeeded.
const AGAIN: Duration = Duration::from_secs(3);

/// What operators have asked for, and what must be in force.
#[derive(Default)]
pub(crate) struct Operators {
    requests: BTreeMap<RequestId, (Role, Quota)>,
    quotas: BTreeMap<Role, KnownQuota>,
    /// What is to be in force at the end, as far as it is not yet.
    wanted: Vec<(Role, Quota)>,
    /// The role that tasks of others end for, once faults are over.
    pub(crate) guaranteed: Option<Role>,
}

/// The quota of a role: the one that was answered last, or one of those without an answer since.
#[derive(Default)]
struct KnownQuota {
    sure: Quota,
    unsure: Vec<Quota>,
}

/// What an operator does.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Change {
    Quota,
    Weights,
    Reserve,
    Unreserve,
    Drain,
}

fn role(name: &str) -> Role {
    Role::parse(name).expect("a valid role")
}

fn quantities(amounts: &[(&str, i64)]) -> Quantities {
    Quantities::from_iter(amounts.iter().map(|(name, milli)| (*name, Scalar(*milli))))
}

impl World {
    pub(crate) fn plan_changes(&mut self) {
        if !self.variety.on {
            return;
        }
        let span = self.options.faults.as_millis() as u64;
        for _ in 0..self.variety.random.below(CHANGES_MAX + 1) {
            let change = match self.variety.random.below(8) {
                0..=2 => Change::Quota,
                3 => Change::Weights,
                4..=6 => Change::Reserve,
                _ => Change::Unreserve,
            };
            let at = self.variety.random.millis(500, span.max(501));
            self.after(at, Action::Operate(change));
        }
        if self.variety.drains.permille(DRAINS) {
            let at = self.variety.drains.millis(500, span.max(501));
            self.after(at, Action::Operate(Change::Drain));
        }
    }

    pub(crate) fn operate(&mut self, change: Change) {
        if !self.faults_enabled || self.control.master.is_none() {
            return;
        }
        let name = ROLES[self.variety.random.index(ROLES.len())];
        match change {
            Change::Quota => {
                let quota = self.some_quota();
                self.set_quota(role(name), quota);
            }
            Change::Weights => {
                let weight = 1.0 + self.variety.random.below(4) as f64;
                self.ask(OperatorCall::UpdateWeights { weights: vec![(role(name), weight)] });
            }
            Change::Reserve => self.reserve(name),
            Change::Unreserve => self.unreserve_one(),
            Change::Drain => self.drain_one(),
        }
    }

    fn drain_one(&mut self) {
        let Some(master) = &self.control.master else { return };
        let ids: Vec<AgentId> = master.agents().map(|agent| agent.id.clone()).collect();
        if ids.is_empty() {
            return;
        }
        let random = &mut self.variety.drains;
        let agent_id = ids[random.index(ids.len())].clone();
        let max_grace = random.permille(500).then(|| random.millis(0, 3000));
        self.ask(OperatorCall::DrainAgent { agent_id, config: DrainConfig { max_grace, mark_gone: false } });
    }

    /// Agents that are drained, or are to be.
    fn drains(&self) -> Vec<(AgentId, bool)> {
        let Some(master) = &self.control.master else { return Vec::new() };
        let registered = master.agents().map(|agent| (&agent.info, &agent.activation));
        let absent = master.absent_agents().map(|agent| (&agent.info, &agent.activation));
        let drain = |(info, activation): (&Arc<AgentInfo>, &Activation)| {
            Some((info.id.clone()?, activation.drain()?.is_drained))
        };
        registered.chain(absent).filter_map(drain).collect()
    }

    /// Agents that are drained take new work again.
    fn reactivate(&mut self) {
        for (agent_id, is_drained) in self.drains() {
            if is_drained {
                self.situations.count(Situation::AgentDrained);
                self.ask(OperatorCall::ReactivateAgent { agent_id });
            }
        }
    }

    fn some_quota(&mut self) -> Quota {
        let random = &mut self.variety.random;
        let limit = 1000 + random.below(6000) as i64;
        let guarantee = (random.below(1500) as i64).min(limit);
        let limits = match random.below(3) {
            0 => quantities(&[]),
            1 => quantities(&[("cpus", limit)]),
            _ => quantities(&[("cpus", limit), ("mem", 128_000 + random.below(600_000) as i64)]),
        };
        let guarantees =
            if random.permille(500) { quantities(&[("cpus", guarantee)]) } else { quantities(&[]) };
        Quota { guarantees, limits }
    }

    fn set_quota(&mut self, role: Role, quota: Quota) {
        self.note(format_args!("an operator sets the quota of {role}: {quota:?}"));
        let known = self.operators.quotas.entry(role.clone()).or_default();
        known.unsure.push(quota.clone());
        let call = OperatorCall::UpdateQuota { configs: vec![(role.clone(), quota.clone())], force: true };
        let request = self.control.next_request();
        self.operators.requests.insert(request, (role, quota));
        self.master_step(Event::Operator { request, call });
    }

    fn ask(&mut self, call: OperatorCall) {
        self.note(format_args!("an operator asks: {call:?}"));
        let request = self.control.next_request();
        self.master_step(Event::Operator { request, call });
    }

    /// The master answers an operator.
    pub(crate) fn operator_answered(&mut self, request: RequestId, result: Result<(), &Refusal>) {
        let Some((role, quota)) = self.operators.requests.remove(&request) else { return };
        let Some(known) = self.operators.quotas.get_mut(&role) else { return };
        let accepted = result.is_ok();
        if accepted {
            self.situations.count(Situation::QuotaSet);
        }
        match accepted {
            true => *known = KnownQuota { sure: quota.clone(), unsure: Vec::new() },
            // It is the latest: those without an answer are before it.
            false => drop(known.unsure.pop()),
        }
        match result {
            Ok(()) => self.operators.wanted.retain(|(of, wanted)| *of != role || *wanted != quota),
            Err(refusal) => self.note(format_args!("an operator is refused: {refusal}")),
        }
    }

    fn reserve(&mut self, name: &str) {
        let Some(agent_id) = self.some_agent() else { return };
        let level = Reservation {
            kind: ReservationKind::Dynamic,
            role: role(name),
            principal: Some(PRINCIPAL.to_owned()),
            labels: Labels::default(),
        };
        let milli = 500 + self.variety.random.below(1500) as i64;
        let plain = [Resource::scalar("cpus", Scalar(milli)), Resource::scalar("mem", Scalar(milli * 100))];
        let reserved = plain.map(|resource| Resource { reservations: vec![level.clone()], ..resource });
        self.convert(agent_id, ConversionKind::Reserve, reserved.into_iter().collect());
    }

    fn unreserve_one(&mut self) {
        if let Some((agent_id, reserved)) = self.reserved_by_operators().into_iter().next() {
            self.convert(agent_id, ConversionKind::Unreserve, reserved);
        }
    }

    fn convert(&mut self, agent_id: AgentId, kind: ConversionKind, resources: Resources) {
        let principal = Some(PRINCIPAL.to_owned());
        self.ask(OperatorCall::Convert { agent_id, kind, principal, resources });
    }

    fn some_agent(&mut self) -> Option<AgentId> {
        let ids: Vec<AgentId> =
            self.control.master.as_ref()?.agents().map(|agent| agent.id.clone()).collect();
        (!ids.is_empty()).then(|| ids[self.variety.random.index(ids.len())].clone())
    }

    /// What operators have reserved, by agent.
    fn reserved_by_operators(&self) -> Vec<(AgentId, Resources)> {
        let Some(master) = &self.control.master else { return Vec::new() };
        let own = |resource: &Resource| {
            resource.reservation().is_some_and(|level| level.principal.as_deref() == Some(PRINCIPAL))
        };
        let of = |agent: &kernel_core::master::Agent| (agent.id.clone(), agent.info.resources.filter(own));
        master.agents().map(of).filter(|(_, reserved)| !reserved.is_empty()).collect()
    }

    /// Faults are over: no limit keeps work waiting for good, and one role may get a guarantee.
    pub(crate) fn operators_settle(&mut self) {
        if !self.variety.on {
            return;
        }
        self.operators.wanted =
            self.operators.quotas.keys().map(|role| (role.clone(), Quota::default())).collect();
        if self.variety.preemption {
            let others = self.frameworks.iter().filter(|f| !matches!(f.kind, Kind::Hog | Kind::Command));
            let roles: Vec<Role> = others.flat_map(|framework| framework.roles.clone()).collect();
            self.operators.guaranteed = Some(roles[self.variety.random.index(roles.len())].clone());
            self.after(WORK_AFTER, Action::WantGuaranteed);
        }
        self.after(Duration::from_secs(1), Action::Tidy);
    }

    /// One role gets a guarantee, and work.
    pub(crate) fn want_guaranteed(&mut self) {
        let Some(guaranteed) = self.operators.guaranteed.clone() else { return };
        let guarantees = quantities(&[("cpus", 1800), ("mem", 400_000)]);
        // The roles above must have as much.
        for name in guaranteed.lineage() {
            let quota = Quota { guarantees: guarantees.clone(), limits: quantities(&[]) };
            self.operators.wanted.retain(|(of, _)| of.as_str() != name);
            self.operators.wanted.push((role(name), quota));
        }
        let role = guaranteed;
        let index = self.frameworks.iter().position(|framework| framework.roles.contains(&role));
        if let Some(index) = index {
            (0..WORK).for_each(|_| self.want_in(index, &role));
        }
    }

    /// Operators repeat what has not succeeded, and give back what is reserved or drained.
    pub(crate) fn tidy(&mut self) {
        if self.control.master.is_some() {
            for (role, quota) in self.operators.wanted.clone() {
                self.set_quota(role, quota);
            }
            self.unreserve_one();
            self.reactivate();
        }
        // Agents may come back with what was reserved.
        self.after(AGAIN, Action::Tidy);
    }

    pub(crate) fn operators_are_done(&self) -> bool {
        self.operators.wanted.is_empty()
            && self.reserved_by_operators().is_empty()
            && self.drains().is_empty()
    }

    /// A quota that was answered with success is in force.
    pub(crate) fn check_quotas(&mut self) {
        let Some(master) = &self.control.master else { return };
        let mut broken = Vec::new();
        for (role, known) in &self.operators.quotas {
            let now = master.quotas().find(|(of, _)| *of == role).map(|(_, quota)| quota.clone());
            let now = now.unwrap_or_default();
            if now != known.sure && !known.unsure.contains(&now) {
                broken.push(format!("the quota of {role} is {now:?}, it was set to {:?}", known.sure));
            }
        }
        broken.into_iter().for_each(|what| self.fail(what));
    }
}
