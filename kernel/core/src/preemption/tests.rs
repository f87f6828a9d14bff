//! Tables and properties of the plan.

use std::time::Duration;

use proptest::prelude::*;

use super::*;

fn quantities(cpus: i64, mem: i64) -> Quantities {
    let all = [("cpus", Scalar(cpus)), ("mem", Scalar(mem))];
    all.into_iter().filter(|(_, amount)| amount.0 != 0).collect()
}

fn role(name: &str) -> Role {
    Role::parse(name).unwrap()
}

fn task(of: &str, cpus: i64, priority: i64, launched_at: u64) -> Candidate {
    let (role, amounts, holder) = (role(of), quantities(cpus, 10 * cpus), position(of));
    Candidate { role, amounts, revocable: false, holder, priority, launched_at: Time(launched_at) }
}

const ROLES: [&str; 6] = ["a", "a/x", "b", "b/x", "b/y", "c"];

fn position(of: &str) -> usize {
    ROLES.iter().position(|name| *name == of).unwrap()
}

/// The roles with what they hold of 100 CPUs and as many of memory.
fn holders(held: impl Fn(&str) -> Quantities) -> Holders {
    let holder = |name: &&str| Holder {
        parent: name.split_once('/').map(|(above, _)| position(above)),
        role: Some(role(name)),
        weight: 1.0,
        held: held(name),
    };
    Holders { total: quantities(100_000, 100_000), list: ROLES.iter().map(holder).collect() }
}

/// What the role `b` holds, and what `c` does.
fn sharing(b: i64, c: i64) -> Holders {
    holders(|name| match name {
        "b" | "b/x" => quantities(b, 0),
        "c" => quantities(c, 0),
        _ => Quantities::default(),
    })
}

/// A claim of these CPUs by the role `a`, which consumes nothing, and one agent.
fn problem(cpus: i64, free: i64, tasks: Vec<Candidate>) -> Problem {
    let standing = Standing { guarantee: quantities(cpus, 0), consumed: Quantities::default() };
    Problem {
        roles: [(role("a"), standing)].into(),
        holders: sharing(20_000, 10_000),
        claims: vec![Claim { role: role("a"), missing: quantities(cpus, 0), scattered: false }],
        agents: vec![AgentWork { free: quantities(free, 0), tasks }],
    }
}

fn victims(problem: &Problem) -> Vec<(usize, Vec<usize>)> {
    plan(problem).into_iter().map(|preemption| (preemption.agent, preemption.tasks)).collect()
}

#[test]
fn the_order_of_victims() {
    // Furthest above the fair share first, then the lowest priority, then the newest.
    let two = |one, other| victims(&problem(1000, 0, vec![one, other]));
    assert_eq!(two(task("c", 1000, 0, 1), task("b", 1000, 9, 2)), [(0, vec![1])]);
    assert_eq!(two(task("b", 1000, 5, 9), task("b", 1000, 1, 1)), [(0, vec![1])]);
    assert_eq!(two(task("b", 1000, 5, 1), task("b", 1000, 5, 2)), [(0, vec![1])]);
    // Revocable work first, whatever its priority, also on another agent.
    let revocable = || Candidate { revocable: true, ..task("c", 1000, 9, 1) };
    assert_eq!(two(task("b", 1000, 0, 9), revocable()), [(0, vec![1])]);
    let elsewhere = |here, there| {
        let mut problem = problem(1000, 0, vec![here]);
        problem.agents.push(AgentWork { tasks: vec![there], ..AgentWork::default() });
        victims(&problem)
    };
    assert_eq!(elsewhere(task("b", 1000, 0, 9), revocable()), [(1, vec![0])]);
    // The order is the same for tasks of several agents.
    assert_eq!(elsewhere(task("c", 1000, 0, 9), task("b", 1000, 5, 1)), [(1, vec![0])]);
    assert_eq!(elsewhere(task("b", 1000, 1, 1), task("b", 1000, 0, 1)), [(1, vec![0])]);
    assert_eq!(elsewhere(task("b", 1000, 0, 1), task("b", 1000, 0, 2)), [(1, vec![0])]);
    // A large one makes the small ones before it superfluous.
    let small = || task("b", 300, 0, 9);
    let all = vec![small(), small(), task("b", 1000, 1, 1)];
    assert_eq!(victims(&problem(1000, 0, all)), [(0, vec![2])]);
}

/// A weight counts, and a role above counts before those below it.
#[test]
fn shares_are_by_weight_and_from_the_top() {
    let mut either = problem(1000, 0, vec![task("b/x", 1000, 0, 1), task("c", 1000, 0, 1)]);
    assert_eq!(victims(&either), [(0, vec![0])]);
    either.holders.list[position("b")].weight = 3.0;
    assert_eq!(victims(&either), [(0, vec![1])], "b is below c, whatever b/x has of it");
    either.holders.list[position("b/x")].weight = 0.001;
    assert_eq!(victims(&either), [(0, vec![1])]);
    // What moves below a role leaves its share as it is.
    let tasks = (0..4).map(|at| if at < 2 { task("b/x", 1000, 0, at) } else { task("c", 1000, 0, at) });
    let mut inside = problem(2000, 0, tasks.collect());
    inside.holders = sharing(10_500, 10_000);
    assert_eq!(victims(&inside), [(0, vec![1, 3])], "the first one lowers the share of b");
    inside.claims[0].role = role("b/y");
    assert_eq!(victims(&inside), [(0, vec![1, 0])]);
}

/// Each victim lowers the share of its role, so a large claim does not leave nothing to the role that had most.
#[test]
fn no_role_that_is_spared_has_a_higher_share() {
    let tasks = (0..8).map(|at| task(if at < 5 { "b" } else { "c" }, 1000, 0, at)).collect();
    let mut large = problem(4000, 0, tasks);
    large.holders = sharing(5000, 3000);
    assert_eq!(victims(&large), [(0, vec![4, 3, 7, 2])], "each has 2000 left");
}

/// What frameworks hold counts, whether they want offers or not. The numbers are those of a fault: of six CPUs one role held three
/// quarters, and of two small roles all tasks of one ended, because nobody wanted offers and so each share was taken for a share of
/// what was left.
#[test]
fn small_roles_keep_their_tasks() {
    let held = [("k8s/hog", 5, 900), ("k8s/lim", 3, 200), ("k8s/web", 4, 50), ("k8s/vip", 0, 0)];
    let resources = |text: &str| text.parse::<kernel_model::resources::Resources>().unwrap();
    let clients = held.map(|(name, _, _)| ("kubernetes".into(), role(name), Default::default()));
    let used = |(client, (_, count, each)): (usize, &(&str, i64, i64))| {
        // The executor has a tenth of a CPU.
        let all = count * each + if *count > 0 { 25 } else { 0 };
        (0, client, resources(&format!("cpus:{}", all as f64 / 1000.0)))
    };
    let market = crate::allocator::Problem {
        agents: vec![resources("cpus:6")],
        clients: clients.to_vec(),
        used: held.iter().enumerate().map(used).filter(|(_, _, used)| !used.is_empty()).collect(),
        ..Default::default()
    };
    let policy =
        crate::allocator::Policy { filter_gpu_agents: true, shortest_refusal: Duration::from_secs(1) };
    for wanting in 0..16 {
        let mut allocator = market.allocator(&policy);
        let (_, places) = allocator.holders();
        let clients: Vec<(crate::allocator::ClientSlot, usize)> = places.into_iter().collect();
        for (at, (client, _)) in clients.iter().enumerate() {
            allocator.set_client_active(*client, wanting & (1 << at) != 0);
        }
        let tasks = held.iter().enumerate().flat_map(|(client, (name, count, each))| {
            let at = move |n| Time(10 * client as u64 + n as u64);
            let holder = clients[client].1;
            (0..*count).map(move |n| Candidate {
                role: role(name),
                amounts: quantities(*each, 0),
                revocable: false,
                holder,
                priority: 0,
                launched_at: at(n),
            })
        });
        let mut problem = problem(1700, 600, tasks.collect());
        problem.holders = allocator.holders().0;
        problem.claims[0].role = role("k8s/vip");
        let k8s = Standing { guarantee: quantities(3000, 0), consumed: quantities(5375, 0) };
        let vip = Standing { guarantee: quantities(2000, 0), consumed: Quantities::default() };
        problem.roles = [(role("k8s"), k8s), (role("k8s/vip"), vip)].into();
        assert_eq!(victims(&problem), [(0, vec![4, 3])], "two of the large role: {wanting:b}");
    }
}

#[test]
fn an_agent_that_has_all_is_better_than_two_that_have_parts() {
    let mut two = problem(1000, 0, vec![task("b", 500, 0, 1)]);
    let whole = AgentWork { tasks: vec![task("c", 600, 1, 1), task("c", 600, 1, 1)], ..AgentWork::default() };
    two.agents.push(whole);
    assert_eq!(victims(&two), [(1, vec![0, 1])]);
    two.agents[1].tasks.pop();
    assert_eq!(victims(&two), [(1, vec![0]), (0, vec![0])]);
}

#[test]
fn what_is_free_is_used_first() {
    let tasks = || vec![task("b", 400, 0, 1), task("b", 400, 0, 2)];
    assert_eq!(victims(&problem(1000, 600, tasks())), [(0, vec![1])]);
    assert_eq!(victims(&problem(1000, 1000, tasks())), []);
}

#[test]
fn nothing_is_taken_from_those_that_have_no_more_than_is_guaranteed() {
    let mut of_b = problem(1000, 0, vec![task("b/x", 500, 0, 1), task("b/y", 500, 0, 2)]);
    of_b.holders = holders(|_| quantities(500, 0));
    let mut guaranteed = |guarantee| {
        let standing = Standing { guarantee: quantities(guarantee, 0), consumed: quantities(1000, 0) };
        of_b.roles.insert(role("b"), standing);
        victims(&of_b)
    };
    assert_eq!(guaranteed(1000), []);
    assert_eq!(guaranteed(501), []);
    assert_eq!(guaranteed(500), [(0, vec![1])]);
    assert_eq!(guaranteed(0), [(0, vec![1, 0])]);
    // What moves below a role leaves the role what it has.
    let mut inside = problem(500, 0, vec![task("b/x", 500, 0, 1)]);
    inside.claims[0].role = role("b/a");
    let standing = Standing { guarantee: quantities(500, 0), consumed: quantities(500, 0) };
    inside.roles = [(role("b"), standing)].into();
    assert_eq!(victims(&inside), [(0, vec![0])]);
    // Its own tasks are no victims.
    assert_eq!(victims(&problem(500, 0, vec![task("a/x", 500, 0, 1)])), []);
}

#[test]
fn what_goes_to_a_role_counts_for_those_above_it() {
    let mut nested = problem(500, 100, (0..6).map(|n| task("b", 250, 0, n)).collect());
    nested.claims[0].role = role("a/x");
    nested.claims.push(Claim { role: role("a"), missing: quantities(700, 0), scattered: false });
    let roles: Vec<usize> = plan(&nested).iter().map(|preemption| preemption.claim).collect();
    assert_eq!(victims(&nested), [(0, vec![5, 4]), (0, vec![3])]);
    assert_eq!(roles, [0, 1]);
    nested.claims[1].missing = quantities(500, 0);
    assert_eq!(victims(&nested), [(0, vec![5, 4])]);
}

/// Half of what is missing is free on each of two agents, where no task fits into it.
#[test]
fn what_is_free_in_parts_that_nobody_takes_does_not_count() {
    let mut parts = problem(1000, 500, vec![task("b", 700, 0, 1), task("b", 700, 0, 2)]);
    parts.agents.push(AgentWork { free: quantities(500, 0), tasks: Vec::new() });
    assert_eq!(victims(&parts), []);
    parts.claims[0].scattered = true;
    assert_eq!(victims(&parts), [(0, vec![1, 0])]);
}

fn candidate() -> impl Strategy<Value = Candidate> {
    let of_task = (any::<bool>(), 0..3i64, 0..5u64);
    (0..ROLES.len(), 0..5i64, 0..5i64, of_task).prop_map(|(holder, cpus, mem, (revocable, priority, at))| {
        let (role, amounts) = (role(ROLES[holder]), quantities(cpus, mem));
        Candidate { role, amounts, revocable, holder, priority, launched_at: Time(at) }
    })
}

prop_compose! {
    fn any_problem()(
        guarantees in prop::collection::vec((0..8i64, 0..8i64), ROLES.len()),
        free in prop::collection::vec((0..3i64, 0..3i64), 1..4),
        tasks in prop::collection::vec(prop::collection::vec(candidate(), 0..7), 3),
        claims in prop::collection::vec(0..ROLES.len(), 0..3),
    ) -> Problem {
        let agents: Vec<AgentWork> = free.into_iter().zip(tasks)
            .map(|((cpus, mem), tasks)| AgentWork { free: quantities(cpus, mem), tasks })
            .collect();
        let standing = |(name, (cpus, mem)): (&str, (i64, i64))| {
            let mut consumed = Quantities::default();
            let all = agents.iter().flat_map(|agent| &agent.tasks);
            all.filter(|task| task.role.is_within(&role(name))).for_each(|task| consumed.add_all(&task.amounts));
            (role(name), Standing { guarantee: quantities(cpus, mem), consumed })
        };
        let roles: BTreeMap<Role, Standing> = ROLES.into_iter().zip(guarantees).map(standing).collect();
        let claim = |at: usize| {
            let mut missing = roles[&role(ROLES[at])].guarantee.clone();
            subtract(&mut missing, &roles[&role(ROLES[at])].consumed);
            Claim { role: role(ROLES[at]), missing, scattered: false }
        };
        let claims = claims.into_iter().map(claim).collect();
        let holders = Holders { total: quantities(40, 40), ..holders(|name| roles[&role(name)].consumed.clone()) };
        Problem { roles, holders, claims, agents }
    }
}

fn sum<'a>(amounts: impl Iterator<Item = &'a Quantities>) -> Quantities {
    let mut sum = Quantities::default();
    amounts.for_each(|amounts| sum.add_all(amounts));
    sum
}

proptest! {
    #[test]
    fn nothing_is_taken_below_a_guarantee(problem in any_problem()) {
        let plan = plan(&problem);
        for preemption in &plan {
            let claim = &problem.claims[preemption.claim];
            for at in &preemption.tasks {
                prop_assert!(!problem.agents[preemption.agent].tasks[*at].role.is_within(&claim.role));
            }
        }
        for (role, standing) in &problem.roles {
            // What goes to a role below it stays with it.
            let lost = plan.iter().filter(|p| !problem.claims[p.claim].role.is_within(role)).flat_map(|p| {
                let tasks = &problem.agents[p.agent].tasks;
                p.tasks.iter().map(|at| &tasks[*at]).filter(|task| task.role.is_within(role)).map(|task| &task.amounts)
            });
            let mut left = standing.consumed.clone();
            let lost = sum(lost);
            subtract(&mut left, &lost);
            for (name, amount) in standing.guarantee.iter().filter(|(name, _)| lost.get(name).is_some_and(|n| n.0 > 0)) {
                prop_assert!(left.get(name).unwrap_or_default() >= amount, "{role} {name}");
            }
        }
    }

    #[test]
    fn no_victim_is_superfluous(problem in any_problem()) {
        let plan = plan(&problem);
        let mut seen = std::collections::BTreeSet::new();
        for preemption in &plan {
            let tasks = &problem.agents[preemption.agent].tasks;
            prop_assert!(!preemption.tasks.is_empty());
            for at in &preemption.tasks {
                prop_assert!(seen.insert((preemption.agent, *at)), "no task ends twice");
                let rest = sum(preemption.tasks.iter().filter(|other| *other != at).map(|other| &tasks[*other].amounts));
                prop_assert!(!rest.contains(&preemption.amounts));
            }
        }
        for (at, claim) in problem.claims.iter().enumerate() {
            let freed = sum(plan.iter().filter(|p| p.claim == at).map(|p| &p.amounts));
            prop_assert!(positive(&claim.missing).contains(&freed) || freed.is_empty());
        }
    }

    /// With tasks of one size of which each may end, nobody is spared whose share is higher than that of a victim was.
    #[test]
    fn equal_tasks_end_in_the_order_of_shares(of_b in 0..6u64, of_c in 0..6u64, wanted in 0..12i64) {
        let tasks = (0..of_b + of_c).map(|at| task(if at < of_b { "b" } else { "c" }, 1000, 0, at)).collect();
        let mut problem = problem(1000 * wanted, 0, tasks);
        problem.holders = sharing(1000 * of_b.cast_signed(), 1000 * of_c.cast_signed());
        let ended = victims(&problem).into_iter().flat_map(|(_, tasks)| tasks).collect::<Vec<_>>();
        let count = |is_b: bool| ended.iter().filter(|at| (**at < of_b as usize) == is_b).count() as u64;
        prop_assert_eq!(ended.len() as i64, wanted.min((of_b + of_c).cast_signed()));
        let left = (of_b - count(true), of_c - count(false));
        prop_assert!(count(true) == 0 || left.1 <= left.0 + 1, "{left:?}");
        prop_assert!(count(false) == 0 || left.0 <= left.1 + 1, "{left:?}");
    }

    #[test]
    fn nothing_is_planned_if_nothing_is_missing(problem in any_problem()) {
        let mut met = problem;
        met.claims.iter_mut().for_each(|claim| claim.missing = Quantities::default());
        prop_assert_eq!(plan(&met), vec![]);
    }
}
