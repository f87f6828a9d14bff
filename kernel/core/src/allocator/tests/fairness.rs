//! Fairness against an exact calculation, which shares no code with the allocator.

use kernel_model::{
    quota::{Quantities, Quota},
    random::SplitMix64,
};

use super::*;

const NAMES: [&str; 5] = ["cpus", "mem", "disk", "gpus", "licences"];

/// A node of the oracle's tree: what is allocated below it, exactly.
#[derive(Default)]
struct Group {
    weight: i128,
    held: [i128; 5],
    /// The members of the group, by path.
    members: Vec<String>,
    limit: Option<i128>,
    /// What is guaranteed of the CPUs.
    guarantee: i128,
}

impl Group {
    /// What is missing to its guarantee.
    fn missing(&self) -> i128 {
        (self.guarantee - self.held[0]).max(0)
    }
}

/// The dominant share by weight as a fraction.
fn share(group: &Group, pool: &[i128; 5]) -> (i128, i128) {
    let parts = group.held.iter().zip(pool).map(|(held, all)| (*held, all * group.weight));
    parts.max_by(|a, b| (a.0 * b.1).cmp(&(b.0 * a.1))).expect("five parts")
}

fn as_f64((part, whole): (i128, i128)) -> f64 {
    part as f64 / whole as f64
}

/// Frameworks in a tree of roles with weights; some roles have a limit, and these a guarantee. All want everything; each step frees one agent,
/// which is one allocation, or one for each guarantee that it fills and one of the rest. Checks each step against exact fractions, and
/// returns the widest gaps between siblings.
///
/// The guarantees come first, exactly: of each step's CPUs the others get what exceeds all that is missing to guarantees.
fn fill(frameworks: usize, steps: usize, seed: u64, guaranteed: &[&str]) -> Gap {
    let mut rng = SplitMix64::new(seed);
    let mut pool =
        Allocator::new(Policy { filter_gpu_agents: false, shortest_refusal: Duration::from_secs(1) });
    let mut groups: BTreeMap<String, Group> = BTreeMap::new();
    groups.insert(String::new(), Group { weight: 1, ..Group::default() });
    for n in 0..frameworks {
        let path =
            [format!("r{}", n % 7), format!("r{}/s{}", n % 7, n % 5), format!("r{}/s{}/f{n}", n % 7, n % 5)];
        let mut above = String::new();
        for name in &path {
            if !groups.contains_key(name) {
                let weight = 1 + (rng.next_u64() % 3) as i128;
                pool.set_weight(&Role::parse(name).unwrap(), weight as f64);
                groups.insert(name.clone(), Group { weight, ..Group::default() });
                groups.get_mut(&above).unwrap().members.push(name.clone());
            }
            above.clone_from(name);
        }
        client(&mut pool, &format!("f{n}"), &path[2]);
    }
    // More agents than are used, so that the last ones are not split for the sake of fair shares.
    let sizes: Vec<[i128; 5]> =
        (0..steps * 2).map(|_| std::array::from_fn(|_| 1000 * (1 + (rng.next_u64() % 8) as i128))).collect();
    let total = |size: &[i128; 5]| -> Resources {
        let text: Vec<String> =
            NAMES.iter().zip(size).map(|(name, amount)| format!("{name}:{}", amount / 1000 * 64)).collect();
        resources(&text.join(";"))
    };
    let agents: Vec<AgentSlot> = sizes.iter().map(|size| pool.add_agent(&total(size), false)).collect();
    let whole: [i128; 5] = std::array::from_fn(|name| sizes.iter().map(|size| size[name]).sum());
    // Two roles may have a tenth of their part of the CPUs.
    for name in ["r1", "r2/s2"] {
        let limit = whole[0] / 200;
        let units = Scalar::from_units((limit / 1000 * 64) as i64);
        let quota = Quota { limits: Quantities::from_iter([("cpus", units)]), ..Quota::default() };
        pool.set_quota(&Role::parse(name).unwrap(), &quota);
        if let Some(group) = groups.get_mut(name) {
            group.limit = Some(limit / 1000 * 1000);
        }
    }
    // Each is guaranteed a twentieth of the CPUs that come free.
    for name in guaranteed {
        let guarantee = whole[0] / 40 / 1000 * 1000;
        let units = Scalar::from_units((guarantee / 1000 * 64) as i64);
        let quota = Quota { guarantees: Quantities::from_iter([("cpus", units)]), ..Quota::default() };
        pool.set_quota(&Role::parse(name).unwrap(), &quota);
        if let Some(group) = groups.get_mut(*name) {
            group.guarantee = guarantee;
        }
    }
    let mut widest = Gap::default();
    for (agent, size) in agents.iter().zip(&sizes).take(steps) {
        pool.set_agent_active(*agent, true);
        let made = pool.run(Time(0));
        assert!(!made.is_empty(), "somebody can have it");
        let missing: i128 = groups.values().map(Group::missing).sum();
        let mut spare = (size[0] - missing).max(0);
        for one in made {
            let amounts = NAMES.map(|name| i128::from(one.resources.scalar(name).0 / 64));
            match one.role.lineage().map(|name| groups[name].missing()).max() {
                Some(owed) if owed > 0 => spare -= (amounts[0] - owed).max(0),
                _ => {
                    spare -= amounts[0];
                    widest = widest.max(gap(&groups, &one.role, &amounts, &whole));
                }
            }
            assert!(spare >= 0, "{} got what is guaranteed to others", one.role);
            for name in one.role.lineage() {
                let group = groups.get_mut(name).unwrap();
                group.held.iter_mut().zip(amounts).for_each(|(held, more)| *held += more);
                assert!(group.limit.is_none_or(|limit| group.held[0] <= limit), "{name} is above its limit");
            }
        }
    }
    widest
}

/// By how many of the largest allocations, divided by weights, a group that gets one is ahead of a sibling that could have had it.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
struct Gap {
    /// Before the allocation. More than zero only if the sibling was passed over.
    before: f64,
    /// After it.
    after: f64,
}

impl Gap {
    fn max(self, other: Gap) -> Gap {
        Gap { before: self.before.max(other.before), after: self.after.max(other.after) }
    }
}

/// The widest gap between a group on the way to the role, which gets the amounts, and one of its siblings. Groups with a limit, and
/// those that contain one, are left out once they cannot have the amounts.
fn gap(groups: &BTreeMap<String, Group>, role: &Role, amounts: &[i128; 5], whole: &[i128; 5]) -> Gap {
    let (mut widest, mut above) = (Gap::default(), String::new());
    for name in role.lineage() {
        let group = &groups[name];
        let before = as_f64(share(group, whole));
        let mut held = group.held;
        held.iter_mut().zip(amounts).for_each(|(held, more)| *held += more);
        let after = as_f64(share(&Group { weight: group.weight, held, ..Group::default() }, whole));
        let largest = whole.iter().map(|all| 8000.0 / *all as f64).fold(0.0, f64::max);
        let open = |name: &&String| {
            let below =
                groups.range((*name).clone()..).take_while(|(path, _)| path.starts_with(name.as_str()));
            below
                .map(|(_, group)| group)
                .all(|group| group.limit.is_none_or(|l| group.held[0] + amounts[0] <= l))
        };
        for other in groups[&above].members.iter().filter(open) {
            let other = &groups[other];
            let (share, least) = (as_f64(share(other, whole)), group.weight.min(other.weight) as f64);
            let ahead = |of: f64| (of - share) / largest * least;
            widest = widest.max(Gap { before: ahead(before), after: ahead(after) });
        }
        above = name.to_owned();
    }
    widest
}

/// Roles with a guarantee, one of them below a role without one.
const GUARANTEED: [&str; 2] = ["r3", "r4/s1"];

/// An allocation goes to the lowest share, so it lifts nobody above another by more than itself, divided by their weights.
#[test]
fn shares_of_siblings_differ_by_one_allocation() {
    for (seed, guaranteed) in [(0, &GUARANTEED[..]), (1, &GUARANTEED), (0, &[])] {
        let widest = fill(105, 3000, seed, guaranteed);
        assert!(widest.before < 1e-6, "seed {seed}: chosen although ahead of a sibling: {widest:?}");
        assert!(widest.after < 1.0 + 1e-6, "seed {seed}: {widest:?}");
    }
}

/// How many allocations the long run takes: `CATAMARAN_ALLOCATIONS`, or a million.
#[expect(
    clippy::disallowed_methods,
    reason = "asks for another length of the same test, as PROPTEST_CASES does"
)]
fn allocations() -> usize {
    std::env::var("CATAMARAN_ALLOCATIONS").ok().and_then(|number| number.parse().ok()).unwrap_or(1_000_000)
}

/// As many, and ten thousand: near the fair shares of those with the smallest weights, which are little more than one agent then. One
/// that another agent would lift above its fair share is passed over there, as long as another has room for all of it within its own:
/// otherwise those of small weight would take what others need to get whole agents up to their part
/// (`nobody_gets_less_than_its_part_of_the_agents`). As nobody exceeds its fair share so, the one passed over is still less than one
/// allocation behind. The bound does not hold where an agent is larger than a fair share, and is offered in parts: who has its part of
/// one resource waits until the others' offers are answered, but for a second at most.
fn long_run(guaranteed: &[&str]) {
    for steps in [10_000, allocations()] {
        let widest = fill(1000, steps, 1, guaranteed);
        println!("{steps} allocations: {widest:?}");
        assert!(widest.after < 1.0 + 1e-6, "{steps} allocations: {widest:?}");
    }
}

#[test]
#[ignore = "takes minutes without optimisation: run it with --release"]
fn shares_of_siblings_differ_by_one_allocation_a_million_times() {
    long_run(&[]);
}

#[test]
#[ignore = "takes minutes without optimisation: run it with --release"]
fn shares_of_siblings_differ_by_one_allocation_a_million_times_with_guarantees() {
    long_run(&GUARANTEED);
}

fn problem(agents: usize, weights: &[u8]) -> Problem {
    let role = |n: usize| Role::parse(&format!("r{n}")).unwrap();
    Problem {
        agents: vec![resources("cpus:4;mem:1000;disk:100"); agents],
        clients: (0..weights.len())
            .map(|n| (FrameworkId::from(format!("f{n}")), role(n), Capabilities::default()))
            .collect(),
        weights: weights.iter().enumerate().map(|(n, weight)| (role(n), f64::from(*weight))).collect(),
        ..Problem::default()
    }
}

const POLICY: Policy = Policy { filter_gpu_agents: true, shortest_refusal: Duration::from_secs(1) };

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn nobody_gets_less_than_its_part_of_the_agents(
        agents in 1usize..60,
        weights in proptest::collection::vec(1u8..6, 1..8),
    ) {
        // All use what they get: the rest of an agent whose other part is on offer is left until that is answered.
        let mut allocator = problem(agents, &weights).allocator(&POLICY);
        let mut made = Vec::new();
        loop {
            let more = allocator.run(Time(0));
            if more.is_empty() {
                break;
            }
            for one in &more {
                allocator.offer_gone(one.agent, one.client);
                allocator.launched(one.client);
                allocator.answered(Time(0), one.client);
            }
            made.extend(more);
        }
        let sum: usize = weights.iter().map(|weight| usize::from(*weight)).sum();
        for (n, weight) in weights.iter().enumerate() {
            let own = made.iter().filter(|a| a.client.0 as usize == n);
            let cpus = own.map(|a| a.resources.scalar("cpus").0).sum::<i64>();
            let part = (agents * usize::from(*weight) / sum) as i64 * 4000;
            prop_assert!(cpus >= part, "{n} has {cpus} of {part}: {made:?}");
        }
    }

    #[test]
    fn a_second_round_allocates_nothing(agents in 1usize..60, weights in proptest::collection::vec(1u8..6, 1..8)) {
        let mut allocator = problem(agents, &weights).allocator(&POLICY);
        allocator.run(Time(0));
        prop_assert_eq!(allocator.run(Time(0)), []);
    }

    #[test]
    fn a_problem_has_one_answer(agents in 1usize..40, weights in proptest::collection::vec(1u8..6, 1..8)) {
        let problem = problem(agents, &weights);
        prop_assert_eq!(allocate(&problem, &POLICY), allocate(&problem.clone(), &POLICY));
    }
}
