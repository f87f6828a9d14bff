//! Limits and guarantees, at every level of the role tree.

use kernel_model::{
    quota::{Quantities, Quota},
    resources::Value,
};

use super::*;

fn quantities(text: &str) -> Quantities {
    Quantities::of(&resources(text), |_| true)
}

fn set(pool: &mut Allocator, role: &str, guarantees: &str, limits: &str) {
    let quota = Quota { guarantees: quantities(guarantees), limits: quantities(limits) };
    pool.set_quota(&Role::parse(role).unwrap(), &quota);
}

fn consumed(pool: &Allocator, role: &str) -> String {
    pool.consumed(&Role::parse(role).unwrap()).to_string()
}

/// What each framework was given, in one line each.
fn given(allocations: &[Allocation]) -> Vec<String> {
    let mut lines: Vec<String> =
        allocations.iter().map(|a| format!("{} {}", a.framework, a.resources.unallocated())).collect();
    lines.sort();
    lines
}

#[test]
fn a_limit_holds_for_the_role_and_those_below_it() {
    let mut pool = pool();
    set(&mut pool, "team", "", "cpus:5;mem:5000;ssd:1");
    set(&mut pool, "team/batch", "", "cpus:2");
    client(&mut pool, "batch", "team/batch");
    client(&mut pool, "web", "team/web");
    let agents: Vec<AgentSlot> =
        (0..4).map(|_| pool.add_agent(&resources("cpus:4;mem:1000;ssd:3"), true)).collect();
    let all = pool.run(Time(0));
    assert_eq!(consumed(&pool, "team"), "cpus:5; mem:2000; ssd:1");
    assert_eq!(consumed(&pool, "team/batch"), "cpus:2; mem:1000; ssd:1");
    // The others are offered again when something of the team ends.
    let ended = all.iter().find(|a| a.framework.as_str() == "batch").unwrap();
    pool.recover(ended.agent, ended.client, &resources("cpus:1;mem:100"));
    let more = pool.run(Time(0));
    assert_eq!(more.iter().map(|a| a.resources.scalar("cpus")).sum_of(), Scalar::from_units(1), "{more:?}");
    // A limit that is raised, too.
    set(&mut pool, "team", "", "cpus:8");
    assert!(!pool.run(Time(0)).is_empty());
    assert!(consumed(&pool, "team").starts_with("cpus:8;"), "{}", consumed(&pool, "team"));
    assert!(agents.iter().all(|agent| pool.used(*agent).unwrap().scalar("cpus") <= Scalar::from_units(4)));
}

trait SumOf {
    fn sum_of(self) -> Scalar;
}

impl<I: Iterator<Item = Scalar>> SumOf for I {
    fn sum_of(self) -> Scalar {
        self.fold(Scalar::ZERO, |sum, amount| sum + amount)
    }
}

#[test]
fn what_is_guaranteed_is_left_for_the_role_and_given_to_it_first() {
    let mut pool = pool();
    set(&mut pool, "team", "cpus:6", "");
    let greedy = client(&mut pool, "greedy", "greedy");
    (0..4).for_each(|_| {
        pool.add_agent(&resources("cpus:4;mem:1000"), true);
    });
    // Nobody is subscribed in the role: ten of sixteen cpus are not guaranteed to it.
    let first = pool.run(Time(0));
    assert_eq!(first.iter().map(|a| a.resources.scalar("cpus")).sum_of(), Scalar::from_units(10));
    // The role gets its guarantee although its framework holds as much as the others.
    client(&mut pool, "late", "team/sub");
    let late = pool.run(Time(0));
    assert!(late.iter().all(|a| a.framework.as_str() == "late"), "{late:?}");
    assert_eq!(consumed(&pool, "team").split(';').next(), Some("cpus:6"));
    // Above its guarantee it has no precedence.
    for offer in &first {
        pool.offer_gone(offer.agent, greedy);
        pool.recover(offer.agent, greedy, &offer.resources);
    }
    let again = given(&pool.run(Time(0)));
    assert!(again.iter().any(|line| line.starts_with("greedy")), "{again:?}");
}

#[test]
fn reservations_count_although_nobody_uses_them() {
    let mut pool = pool();
    set(&mut pool, "team", "", "cpus:4");
    let role = "team/db";
    let agent = pool.add_agent(&resources("cpus(team/db):3;mem(team/db):100;cpus:8;mem:800"), true);
    assert_eq!(consumed(&pool, "team"), "cpus:3; mem:100");
    let db = client(&mut pool, "db", role);
    let offers = pool.run(Time(0));
    assert_eq!(offers[0].resources.scalar("cpus"), Scalar::from_units(4), "three reserved, one more");
    assert_eq!(consumed(&pool, "team"), "cpus:4; mem:900");
    assert_eq!(pool.explain(Time(0), db, None)[0], WaitReason::QuotaLimit);
    pool.recover(agent, db, &offers[0].resources);
    pool.set_client_active(db, false);
    pool.remove_client(db);
    assert_eq!(consumed(&pool, "team"), "cpus:3; mem:100");
    pool.remove_agent(agent);
    assert_eq!(consumed(&pool, "team"), "{}");
}

/// A limit leaves less than the next task needs: the client declines it, and is told of the limit and not of its filter.
#[test]
fn a_limit_is_named_although_what_it_leaves_was_declined() {
    let mut pool = pool();
    set(&mut pool, "k8s/lim", "", "cpus:0.5");
    let agent = pool.add_agent(&resources("cpus:6;mem:6000"), true);
    let lim = client(&mut pool, "kubernetes", "k8s/lim");
    let wanted = quantities("cpus:0.2;mem:64");
    let use_of_it = |pool: &mut Allocator, used: &str| {
        let [offer] = &pool.run(Time(0))[..] else { panic!("no offer") };
        let rest = offer.resources.unallocated().saturating_sub(&resources(used));
        pool.recover(agent, lim, &rest.allocated_to(&Role::parse("k8s/lim").unwrap()));
        rest
    };
    let rest = use_of_it(&mut pool, "cpus:0.4;mem:128");
    assert_eq!(rest.scalar("cpus").0, 100, "the limit leaves a tenth");
    assert_eq!(pool.explain(Time(0), lim, None), [], "it is offered that next");
    assert_eq!(pool.explain(Time(0), lim, Some(&wanted)), [WaitReason::QuotaLimit], "but wants more");
    pool.refuse(Time(0), agent, lim, &rest, Duration::from_secs(1), true);
    assert_eq!(pool.run(Time(0)), []);
    for wanted in [None, Some(&wanted)] {
        assert_eq!(pool.explain(Time(0), lim, wanted), [WaitReason::QuotaLimit]);
    }
    // What fits into the limit does not wait for it.
    let small = quantities("cpus:0.1;mem:64");
    assert_eq!(pool.explain(Time(0), lim, Some(&small)), [WaitReason::AgentsRefused(1)]);
    // So is it beside the reason for which nothing is offered at all.
    pool.set_client_active(lim, false);
    assert_eq!(pool.explain(Time(0), lim, Some(&wanted)), [WaitReason::NotAsking]);
    assert_eq!(pool.explain_quotas(Time(0), lim, Some(&wanted)), [WaitReason::QuotaLimit]);
    assert_eq!(pool.explain_quotas(Time(0), lim, Some(&small)), []);
    pool.set_client_active(lim, true);
    // Without the limit all the rest is offered. One that declined all of it waits for its filter whatever the limit.
    set(&mut pool, "k8s/lim", "", "");
    assert_eq!(pool.explain(Time(0), lim, Some(&wanted)), [WaitReason::AgentsRefused(1)]);
    let rest = use_of_it(&mut pool, "cpus:0");
    assert_eq!(rest.scalar("cpus").0, 5600);
    pool.refuse(Time(0), agent, lim, &rest, Duration::from_secs(1), true);
    set(&mut pool, "k8s/lim", "", "cpus:0.5");
    assert_eq!(pool.explain(Time(0), lim, None), [WaitReason::AgentsRefused(1)]);
    // A limit of what tasks need not is none.
    set(&mut pool, "k8s/lim", "", "gpus:0");
    assert_eq!(pool.explain(Time(0), lim, None), [WaitReason::AgentsRefused(1)]);
}

/// The same with what is guaranteed to another role.
#[test]
fn a_guarantee_of_others_is_named_although_what_it_leaves_was_declined() {
    let mut pool = pool();
    set(&mut pool, "vip", "cpus:3.9;mem:100", "");
    let agent = pool.add_agent(&resources("cpus:4;mem:4000"), true);
    let small = client(&mut pool, "f", "small");
    let [offer] = &pool.run(Time(0))[..] else { panic!("no offer") };
    let rest = offer.resources.clone();
    assert_eq!(rest.scalar("cpus").0, 100);
    pool.recover(agent, small, &rest);
    pool.refuse(Time(0), agent, small, &rest.unallocated(), Duration::from_secs(1), true);
    let wanted = quantities("cpus:0.2;mem:64");
    let kept = WaitReason::AgentsKeptForGuarantees(1);
    for wanted in [None, Some(&wanted)] {
        assert_eq!(pool.explain(Time(0), small, wanted), [kept]);
        assert_eq!(pool.explain_quotas(Time(0), small, wanted), [kept]);
    }
    let fits = quantities("cpus:0.1;mem:64");
    assert_eq!(pool.explain(Time(0), small, Some(&fits)), [WaitReason::AgentsRefused(1)]);
    // The limit is the reason if it leaves less.
    set(&mut pool, "small", "", "cpus:0.05");
    assert_eq!(pool.explain(Time(0), small, Some(&wanted)), [WaitReason::QuotaLimit]);
    // With more wanted than is free, what is free is not kept from it.
    set(&mut pool, "small", "", "");
    set(&mut pool, "vip", "", "");
    assert_eq!(pool.explain(Time(0), small, Some(&quantities("cpus:40"))), [WaitReason::AgentsRefused(1)]);
}

#[derive(Debug, Clone)]
enum Change {
    Recover { part: u8, refuse: Option<u8> },
    Active(u8, bool),
    Wait(u8),
}

fn changes() -> impl Strategy<Value = Vec<Change>> {
    let change = prop_oneof![
        4 => (any::<u8>(), proptest::option::of(0u8..20))
            .prop_map(|(part, refuse)| Change::Recover { part, refuse }),
        1 => (any::<u8>(), any::<bool>()).prop_map(|(which, active)| Change::Active(which, active)),
        1 => any::<u8>().prop_map(Change::Wait),
    ];
    proptest::collection::vec(change, 0..80)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// Whatever happens, no role and no role above it is lifted above a limit by an offer, and what is guaranteed and not
    /// used yet is free. What the allocator counts is what was given, reservations included.
    #[test]
    fn no_offer_exceeds_a_limit_or_takes_a_guarantee(
        limits in proptest::collection::vec(0u8..12, 4),
        guarantees in proptest::collection::vec(0u8..4, 3),
        changes in changes(),
    ) {
        let mut pool = pool();
        // `a` contains its children.
        let [a, b, c] = [guarantees[0] + guarantees[1] + guarantees[2], guarantees[1], guarantees[2]].map(i64::from);
        let limit = |at: usize, least: i64| i64::from(limits[at]).max(least);
        let roles = [("a", a, limit(0, a + 2)), ("a/b", b, limit(1, b)), ("a/c", c, limit(2, c)), ("d", 0, limit(3, 0))];
        for (role, guarantee, limit) in roles {
            let amounts = |of: &[(&str, i64)]| -> Quantities {
                of.iter().map(|(name, amount)| (*name, Scalar::from_units(*amount))).collect()
            };
            let guarantees = amounts(&[("cpus", guarantee), ("xyz", guarantee)]);
            let quota = Quota { guarantees, limits: amounts(&[("cpus", limit), ("mem", limit * 100)]) };
            pool.set_quota(&Role::parse(role).unwrap(), &quota);
        }
        let text = "cpus:4;mem:300;xyz:5;cpus(a/b):0.5";
        let agents: Vec<_> = (0..4).map(|_| pool.add_agent(&resources(text), true)).collect();
        let clients: Vec<_> = ["a", "a/b", "a/b", "a/c", "d", "*"]
            .iter()
            .enumerate()
            .map(|(n, role)| client(&mut pool, &format!("f{n}"), role))
            .collect();
        let mut given: Vec<Allocation> = Vec::new();
        let mut now = Time(0);
        for change in changes {
            given.extend(pool.run(now));
            prop_assert!(!pool.lacks_guaranteed());
            for (role, _, limit) in roles {
                let consumed = pool.consumed(&Role::parse(role).unwrap());
                prop_assert!(consumed.get("cpus").unwrap_or_default() <= Scalar::from_units(limit.max(2)), "{} {}", role, consumed);
                prop_assert!(consumed.get("mem").unwrap_or_default() <= Scalar::from_units(limit * 100), "{} {}", role, consumed);
                let within = |of: &Role| of.as_str() == role || of.as_str().starts_with(&format!("{role}/"));
                let held: Scalar = given
                    .iter()
                    .filter(|a| within(&a.role))
                    .flat_map(|a| a.resources.iter())
                    .filter(|r| &*r.name == "cpus" && r.reservations.is_empty())
                    .map(|r| match r.value { Value::Scalar(amount) => amount, _ => Scalar::ZERO })
                    .sum_of();
                let reserved = if role.starts_with("a") && role != "a/c" { Scalar::from_units(2) } else { Scalar::ZERO };
                prop_assert_eq!(consumed.get("cpus").unwrap_or_default(), held + reserved);
            }
            match change {
                Change::Recover { part, refuse } if !given.is_empty() => {
                    let back = given.swap_remove(usize::from(part) % given.len());
                    pool.offer_gone(back.agent, back.client);
                    pool.recover(back.agent, back.client, &back.resources);
                    if let Some(seconds) = refuse {
                        let length = Duration::from_secs(seconds.into());
                        pool.refuse(now, back.agent, back.client, &back.resources, length, part % 2 == 0);
                    }
                }
                Change::Active(which, active) => pool.set_client_active(clients[usize::from(which) % clients.len()], active),
                Change::Wait(seconds) => now = now + Duration::from_secs(seconds.into()),
                Change::Recover { .. } => {}
            }
        }
        prop_assert_eq!(agents.len(), 4);
    }
}
