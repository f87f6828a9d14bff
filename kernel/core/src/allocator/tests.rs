//! Fairness, filters and restrictions on small pools, and the property that no resource is allocated twice.

mod browsing;
mod fairness;
mod holds;
mod market;
mod quota;
mod situations;

use std::collections::BTreeMap;
use std::time::Duration;

use kernel_model::{
    ids::FrameworkId,
    resources::{Resource, Resources, Scalar},
    roles::Role,
    time::Time,
};
use proptest::prelude::*;

use super::*;

fn pool() -> Allocator {
    Allocator::new(Policy { filter_gpu_agents: true, shortest_refusal: Duration::from_secs(1) })
}

fn client(pool: &mut Allocator, framework: &str, role: &str) -> ClientSlot {
    let client =
        pool.add_client(&FrameworkId::from(framework), &Role::parse(role).unwrap(), Capabilities::default());
    pool.set_client_active(client, true);
    client
}

fn resources(text: &str) -> Resources {
    text.parse().unwrap()
}

/// The number of agents that each framework was given.
fn shares(allocations: &[Allocation]) -> BTreeMap<&str, usize> {
    let mut counts = BTreeMap::new();
    for allocation in allocations {
        *counts.entry(allocation.framework.as_str()).or_default() += 1;
    }
    counts
}

#[test]
fn equal_roles_share_equally_and_weights_count() {
    for (weight, expected) in
        [(1.0, [("a", 6), ("b", 6)]), (2.0, [("a", 8), ("b", 4)]), (5.0, [("a", 10), ("b", 2)])]
    {
        let mut pool = pool();
        pool.set_weight(&Role::parse("x").unwrap(), weight);
        client(&mut pool, "a", "x");
        client(&mut pool, "b", "y");
        (0..12).for_each(|_| {
            pool.add_agent(&resources("cpus:4;mem:1024"), true);
        });
        assert_eq!(shares(&pool.run(Time(0))), BTreeMap::from(expected), "weight {weight}");
    }
}

#[test]
fn roles_share_level_by_level() {
    let mut pool = pool();
    // `team` has one half; its own clients and each subrole have a third of that.
    client(&mut pool, "own", "team");
    client(&mut pool, "web", "team/web");
    client(&mut pool, "batch", "team/batch");
    client(&mut pool, "other", "other");
    (0..12).for_each(|_| {
        pool.add_agent(&resources("cpus:4;mem:1024"), true);
    });
    let expected = BTreeMap::from([("other", 6), ("own", 2), ("web", 2), ("batch", 2)]);
    assert_eq!(shares(&pool.run(Time(0))), expected);
}

#[test]
fn dominant_shares_converge_as_tasks_end() {
    let mut pool = pool();
    let one = resources("cpus:1;mem:10");
    let late_role = Role::parse("late").unwrap();
    pool.set_weight(&late_role, 3.0);
    let first = client(&mut pool, "first", "early");
    let agent = pool.add_agent(&resources("cpus:40;mem:400"), true);
    // The first client takes everything at once, in tasks of one CPU.
    assert_eq!(pool.run(Time(0)).len(), 1);
    let mut leftovers = BTreeMap::from([(first, 40), (client(&mut pool, "second", "late"), 0)]);
    let second = *leftovers.keys().max().unwrap();
    pool.launched(first);
    pool.launched(second);
    // Tasks of both end; each freed piece goes to the client below its share.
    for n in 0..400 {
        let ends = if n * 7 % 40 < leftovers[&first] { first } else { second };
        *leftovers.get_mut(&ends).unwrap() -= 1;
        pool.recover(agent, ends, &one.allocated_to(&Role::any()));
        for allocation in pool.run(Time(0)) {
            *leftovers.get_mut(&allocation.client).unwrap() += 1;
        }
    }
    assert_eq!(leftovers, BTreeMap::from([(first, 10), (second, 30)]));
    assert_eq!(pool.dominant_share(second), 0.75);
}

#[test]
fn small_remainders_and_gpu_agents_are_withheld() {
    let mut pool = pool();
    let c = client(&mut pool, "f", "*");
    pool.add_agent(&resources("cpus:0.009;mem:31;disk:1000"), true);
    pool.add_agent(&resources("cpus:8;mem:1024;gpus:1"), true);
    pool.add_agent(&resources("cpus:8;mem:1024"), false);
    assert_eq!(pool.run(Time(0)), []);
    let why = [WaitReason::AgentsInactive(1), WaitReason::AgentsHaveGpus(1), WaitReason::AgentsTooSmall(1)];
    assert_eq!(pool.explain(Time(0), c, None), why);
    pool.set_client_capabilities(c, Capabilities { gpus: true, ..Capabilities::default() });
    assert_eq!(pool.run(Time(0)).len(), 1);
    pool.set_client_active(c, false);
    assert_eq!(pool.explain(Time(0), c, None), [WaitReason::NotAsking]);
}

#[test]
fn reservations_go_to_their_roles() {
    let mut pool = pool();
    client(&mut pool, "r", "r/sub");
    client(&mut pool, "s", "s");
    pool.add_agent(&resources("cpus(r):3;mem(r):64;cpus:1;mem(s):32"), true);
    let allocations: Vec<String> =
        pool.run(Time(0)).iter().map(|a| a.resources.unallocated().to_string()).collect();
    assert_eq!(
        allocations,
        [
            "cpus:1; cpus(reservations: [(STATIC,r)]):3; mem(reservations: [(STATIC,r)]):64",
            "mem(reservations: [(STATIC,s)]):32"
        ]
    );
}

#[test]
fn a_filter_covers_what_was_refused_and_less() {
    let mut pool = pool();
    let c = client(&mut pool, "f", "*");
    let agent = pool.add_agent(&resources("cpus:4;mem:1024"), true);
    let refuse = |pool: &mut Allocator, text: &str, seconds: u64| {
        let part = resources(text).allocated_to(&Role::any());
        pool.recover(agent, c, &part);
        pool.refuse(Time(0), agent, c, &part, Duration::from_secs(seconds), true);
    };
    assert_eq!(pool.run(Time(0)).len(), 1);
    refuse(&mut pool, "cpus:2;mem:512", 100);
    assert_eq!(pool.run(Time(0)), []);
    assert_eq!(pool.explain(Time(0), c, None), [WaitReason::AgentsRefused(1)]);
    // More is free than was declined.
    refuse(&mut pool, "cpus:1", 0);
    assert_eq!(pool.run(Time(0)).len(), 1);
    refuse(&mut pool, "cpus:2;mem:512", 10);
    assert_eq!(pool.run(Time(0)), []);
    let ends = pool.next_deadline().unwrap();
    assert_eq!(pool.run(ends), [], "the longer refusal still stands");
    pool.clear_filters(c);
    assert_eq!(pool.run(ends).len(), 1);
}

#[test]
fn filters_are_bounded() {
    let mut pool = pool();
    let c = client(&mut pool, "f", "*");
    let agent = pool.add_agent(&resources("cpus:100;mem:1024"), true);
    assert_eq!(pool.run(Time(0)).len(), 1);
    for n in 1..1000 {
        let part: Resources = resources(&format!("cpus:{};mem:{n}", 1000 - n)).allocated_to(&Role::any());
        pool.refuse(Time(n), agent, c, &part, Duration::from_secs(3600 * n), false);
    }
    assert!(pool.agents.get(agent.0 as usize).unwrap().filters.len() <= 16);
    assert!(pool.expiries.len() < 1000);
}

/// Whether the client's filters cover all that is free on the agent.
fn filters_cover_all(pool: &mut Allocator, now: Time, agent: AgentSlot, client: ClientSlot) -> bool {
    let generation = pool.shares.generation(client.0).unwrap();
    let row = pool.agents.get_mut(agent.0 as usize).unwrap();
    let offer = &row.available;
    row.filters.covers(now, &filters::CandidateOffer { client: client.0, generation, offer, version: None })
}

#[test]
fn refusals_are_not_inherited_with_a_slot() {
    let size = resources("cpus:4;mem:1024");
    let refused_by = |pool: &mut Allocator, client| {
        let offer = pool.run(Time(0)).pop().unwrap();
        assert_eq!(offer.client, client);
        pool.offer_gone(offer.agent, client);
        pool.recover(offer.agent, client, &offer.free);
        pool.refuse(Time(0), offer.agent, client, &offer.free, Duration::from_secs(3600), false);
        assert!(pool.refusals.refuses_all(client.0, offer.agent.0));
        assert_eq!(pool.run(Time(0)), []);
    };
    let mut pool = pool();
    let first = client(&mut pool, "f", "*");
    let agent = pool.add_agent(&size, true);
    refused_by(&mut pool, first);
    pool.remove_agent(agent);
    assert_eq!(pool.add_agent(&size, true), agent);
    refused_by(&mut pool, first);
    pool.remove_client(first);
    assert_eq!(client(&mut pool, "g", "*"), first);
    refused_by(&mut pool, first);
}

#[derive(Debug, Clone)]
enum PoolStep {
    AddAgent(u8),
    SetActive(u8, bool),
    Recover { part: u8, refuse: Option<u8> },
    ClientActive(u8, bool),
    Clear(u8),
    Wait(u8),
}

fn steps() -> impl Strategy<Value = Vec<PoolStep>> {
    let step = prop_oneof![
        any::<u8>().prop_map(PoolStep::AddAgent),
        (any::<u8>(), any::<bool>()).prop_map(|(a, b)| PoolStep::SetActive(a, b)),
        (any::<u8>(), proptest::option::of(0u8..20))
            .prop_map(|(part, refuse)| PoolStep::Recover { part, refuse }),
        (any::<u8>(), any::<bool>()).prop_map(|(a, b)| PoolStep::ClientActive(a, b)),
        any::<u8>().prop_map(PoolStep::Clear),
        any::<u8>().prop_map(PoolStep::Wait),
    ];
    proptest::collection::vec(step, 0..60)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// Whatever happens, no agent allocates more than it has, and a second round allocates nothing. When everything is
    /// recovered, all is free and no client holds a share.
    #[test]
    fn no_resource_is_allocated_twice(steps in steps()) {
        let mut pool = pool();
        let roles = ["*", "a", "a/b", "b"];
        let clients: Vec<ClientSlot> =
            (0..6).map(|n| client(&mut pool, &format!("f{}", n / 2), roles[n % 4])).collect();
        let mut agents = Vec::new();
        let mut allocations: Vec<Allocation> = Vec::new();
        let mut now = Time(0);
        for step in steps {
            match step {
                PoolStep::AddAgent(size) => {
                    let text = format!("cpus:{};mem:{};cpus(a):2;mem(a):64", size % 8, 32 * (u32::from(size) % 5));
                    agents.push(pool.add_agent(&resources(&text), true));
                }
                PoolStep::SetActive(which, active) if !agents.is_empty() => {
                    pool.set_agent_active(agents[usize::from(which) % agents.len()], active);
                }
                PoolStep::Recover { part, refuse } if !allocations.is_empty() => {
                    let back = allocations.swap_remove(usize::from(part) % allocations.len());
                    pool.recover(back.agent, back.client, &back.resources);
                    if let Some(seconds) = refuse {
                        let length = Duration::from_secs(seconds.into());
                        pool.refuse(now, back.agent, back.client, &back.resources, length, part % 2 == 0);
                    }
                }
                PoolStep::ClientActive(which, active) => pool.set_client_active(clients[usize::from(which) % 6], active),
                PoolStep::Clear(which) => pool.clear_filters(clients[usize::from(which) % 6]),
                PoolStep::Wait(seconds) => now = now + Duration::from_secs(seconds.into()),
                PoolStep::SetActive(..) | PoolStep::Recover { .. } => {}
            }
            allocations.extend(pool.run(now));
            prop_assert_eq!(pool.run(now), vec![]);
            for &agent in &agents {
                for &client in &clients {
                    let known = pool.refusals.refuses_all(client.0, agent.0);
                    prop_assert!(!known || filters_cover_all(&mut pool, now, agent, client));
                }
                let mut leftovers = Resources::new();
                for allocation in allocations.iter().filter(|a| a.agent == agent) {
                    leftovers += &allocation.resources.unallocated();
                }
                prop_assert_eq!(pool.used(agent), Some(&leftovers));
                prop_assert!(pool.agents.get(agent.0 as usize).unwrap().total.contains(&leftovers));
            }
        }
        for back in allocations {
            pool.recover(back.agent, back.client, &back.resources);
        }
        for client in clients {
            prop_assert!(pool.is_idle(client));
            prop_assert_eq!(pool.dominant_share(client), 0.0);
        }
        for agent in agents {
            prop_assert_eq!(pool.available(agent), Some(&pool.agents.get(agent.0 as usize).unwrap().total));
            prop_assert!(pool.used(agent).unwrap().scalar("cpus") == Scalar::ZERO);
        }
    }
}

#[test]
fn freed_resources_raise_no_client_above_its_fair_share() {
    let mut pool = pool();
    pool.set_weight(&Role::parse("heavy").unwrap(), 2.0);
    let heavy = client(&mut pool, "heavy", "heavy");
    let light = client(&mut pool, "light", "light");
    pool.add_agent(&resources("cpus:6;mem:600;ports:[1-60]"), true);
    // Both want all of one free agent: the ratio is two to one.
    let allocations = pool.run(Time(0));
    assert_eq!(allocations.iter().map(|a| a.client).collect::<Vec<_>>(), [heavy, light]);
    let amounts = |a: &Allocation| (a.resources.scalar("cpus"), a.resources.scalar("mem"));
    assert_eq!(amounts(&allocations[0]), (Scalar::from_units(4), Scalar::from_units(400)));
    assert_eq!(amounts(&allocations[1]), (Scalar::from_units(2), Scalar::from_units(200)));
}

/// A client is above its fair share or not whether it, or anybody, wants offers.
#[test]
fn who_is_above_its_fair_share_does_not_depend_on_its_own_demand() {
    let mut pool = pool();
    let agent = pool.add_agent(&resources("cpus:4;mem:4000"), true);
    let clients = ["large", "small", "idle"].map(|name| client(&mut pool, name, &format!("k8s/{name}")));
    pool.charge(agent, clients[0], &resources("cpus:3;mem:3000"));
    pool.charge(agent, clients[1], &resources("cpus:0.5;mem:500"));
    for wanting in 0..8 {
        let want =
            |pool: &mut Allocator, at: usize| pool.set_client_active(clients[at], wanting & (1 << at) != 0);
        (0..3).for_each(|at| want(&mut pool, at));
        // With no sibling that wants any of it the share is what others do not hold.
        let alone = wanting & 0b110 == 0;
        assert_eq!(pool.is_above_fair_share(clients[0]), !alone, "{wanting:b}");
        assert!(!pool.is_above_fair_share(clients[1]), "{wanting:b}");
    }
}

#[test]
fn a_client_that_refuses_its_fair_share_is_offered_the_whole_agent() {
    let mut pool = pool();
    let big = client(&mut pool, "big", "big");
    let idle = client(&mut pool, "idle", "idle");
    let agent = pool.add_agent(&resources("cpus:4;mem:400"), true);
    for allocation in pool.run(Time(0)) {
        pool.offer_gone(agent, allocation.client);
        pool.recover(agent, allocation.client, &allocation.resources);
        let refused = allocation.resources.clone();
        pool.refuse(Time(0), agent, allocation.client, &refused, Duration::from_secs(5), false);
    }
    // Both declined their half; the first in order is now offered the whole agent.
    let allocations = pool.run(Time(1));
    assert_eq!(allocations.len(), 1);
    assert_eq!(allocations[0].resources.scalar("cpus"), Scalar::from_units(4));
    pool.recover(agent, allocations[0].client, &allocations[0].resources);
    pool.set_client_active(if allocations[0].client == big { idle } else { big }, false);
    // The only active client may have everything.
    assert_eq!(pool.run(Time(2))[0].resources.scalar("cpus"), Scalar::from_units(4));
}

#[test]
fn leftovers_wait_for_clients_with_pending_offers() {
    let mut pool = pool();
    let quick = client(&mut pool, "quick", "quick");
    let slow = client(&mut pool, "slow", "slow");
    let agent = pool.add_agent(&resources("cpus:4;mem:400"), true);
    // Both launch tasks. Each client has a half on offer, and the slow one does not answer.
    pool.launched(quick);
    pool.launched(slow);
    assert_eq!(pool.run(Time(0)).len(), 2);
    pool.offer_gone(agent, quick);
    pool.answered(Time(0), quick);
    // A task of the slow client ends: the quick client has its share already, and the slow one may want it.
    pool.recover(agent, slow, &resources("cpus:1"));
    let allocations = pool.run(Time(1));
    assert_eq!(allocations.iter().map(|a| a.client).collect::<Vec<_>>(), [slow]);
    pool.recover(agent, slow, &resources("cpus:1"));
    pool.refuse(Time(1), agent, slow, &resources("cpus:1"), Duration::from_secs(9), false);
    assert_eq!(pool.run(Time(2)), []);
    // The slow client never answers: the remainder does not stay idle.
    let later = pool.next_deadline().unwrap();
    assert_eq!(pool.run(later).iter().map(|a| a.client).collect::<Vec<_>>(), [quick]);
}
