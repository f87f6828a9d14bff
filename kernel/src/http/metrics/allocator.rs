//! The metrics of the allocator. It has no queue of its own, because it runs within the master's steps, and it does not measure
//! its runs: it knows no clock.

use std::collections::BTreeMap;

use kernel_core::master::{Master, RoleView};
use kernel_model::{
    resources::{Resource, Value},
    roles::Role,
};

/// Amounts of scalars by name.
type Amounts = BTreeMap<String, f64>;

fn add(amounts: &mut Amounts, resource: &Resource) {
    if let Value::Scalar(amount) = resource.value {
        *amounts.entry(resource.name.to_string()).or_default() += amount.as_f64();
    }
}

/// `filters` are the active offer filters of each role.
pub(super) fn metrics(master: &Master, filters: &BTreeMap<Role, u64>) -> Vec<(String, f64)> {
    let mut all: Vec<(String, f64)> = Vec::new();
    let mut put = |name: String, value: f64| all.push((format!("allocator/{name}"), value));
    put("event_queue_dispatches".to_owned(), 0.0);
    put("mesos/event_queue_dispatches".to_owned(), 0.0);
    put("mesos/allocation_runs".to_owned(), master.counts().allocation_runs as f64);
    let mut total = Amounts::new();
    for agent in master.agents() {
        agent.total().iter().for_each(|resource| add(&mut total, resource));
    }
    let (mut held, by_role) = held(master);
    for name in ["cpus", "mem", "disk"] {
        put(format!("mesos/resources/{name}/total"), total.get(name).copied().unwrap_or(0.0));
        put(format!("mesos/resources/{name}/offered_or_allocated"), held.remove(name).unwrap_or(0.0));
    }
    let weights: BTreeMap<&Role, f64> = master.weights().collect();
    for (role, count) in filters {
        put(format!("mesos/offer_filters/roles/{role}/active"), *count as f64);
        let none = Amounts::new();
        let held = by_role.get(role).unwrap_or(&none);
        let part = |(name, total): (&String, &f64)| match total {
            total if *total > 0.0 => held.get(name).copied().unwrap_or(0.0) / total,
            _ => 0.0,
        };
        let share = total.iter().map(part).fold(0.0, f64::max);
        let weight = weights.get(role).copied().unwrap_or(1.0);
        put(format!("mesos/roles/{role}/shares/dominant"), share / weight);
    }
    for view in master.roles() {
        let quota =
            |name: &str, what: &str| format!("mesos/quota/roles/{}/resources/{name}/{what}", view.role);
        for (name, amount) in consumed(&view).into_iter().filter(|(_, amount)| *amount > 0.0) {
            put(quota(&name, "consumed"), amount);
            if !view.quota.is_default() {
                put(quota(&name, "offered_or_allocated"), amount);
            }
        }
        for (of, what) in [(&view.quota.guarantees, "guarantee"), (&view.quota.limits, "limit")] {
            of.iter().for_each(|(name, amount)| put(quota(name, what), amount.as_f64()));
        }
    }
    all
}

/// What is offered or in use, in all and by role.
fn held(master: &Master) -> (Amounts, BTreeMap<Role, Amounts>) {
    let (mut all, mut by_role) = (Amounts::new(), BTreeMap::<Role, Amounts>::new());
    let in_use = master.agents().flat_map(|agent| agent.allocated.values());
    let offered = master.offers(None).map(|offer| &offer.resources);
    for resource in in_use.chain(offered).flat_map(|resources| resources.iter()) {
        add(&mut all, resource);
        if let Some(role) = &resource.allocation_role {
            add(by_role.entry(role.clone()).or_default(), resource);
        }
    }
    (all, by_role)
}

/// What a quota of the role would count: its reservations, and what it holds or is offered beside them.
fn consumed(view: &RoleView) -> Amounts {
    let mut amounts = Amounts::new();
    let counts = |resource: &&Resource| resource.reservations.is_empty() && !resource.revocable;
    let held = view.allocated.iter().chain(view.offered.iter()).filter(counts);
    held.chain(view.reserved.iter()).for_each(|resource| add(&mut amounts, resource));
    amounts
}
