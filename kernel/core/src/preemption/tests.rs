//! Tables and properties of the plan.

use proptest::prelude::*;

use super::*;

fn quantities(cpus: i64, mem: i64) -> Quantities {
    let all = [("cpus", Scalar(cpus)), ("mem", Scalar(mem))];
    all.into_iter().filter(|(_, amount)| amount.0 != 0).collect()
}

fn role(name: &str) -> Role {
    Role::parse(name).unwrap()
}

fn task(of: &str, cpus: i64, share: f64, priority: i64, launched_at: u64) -> Candidate {
    let (role, amounts) = (role(of), quantities(cpus, 10 * cpus));
    Candidate { role, amounts, revocable: false, share, priority, launched_at: Time(launched_at) }
}

/// A claim of these CPUs by the role `a`, which consumes nothing, and one agent.
fn problem(cpus: i64, free: i64, tasks: Vec<Candidate>) -> Problem {
    let standing = Standing { guarantee: quantities(cpus, 0), consumed: Quantities::default() };
    Problem {
        roles: [(role("a"), standing)].into(),
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
    assert_eq!(two(task("b", 1000, 1.5, 0, 1), task("c", 1000, 2.0, 9, 2)), [(0, vec![1])]);
    assert_eq!(two(task("b", 1000, 2.0, 5, 9), task("c", 1000, 2.0, 1, 1)), [(0, vec![1])]);
    assert_eq!(two(task("b", 1000, 2.0, 5, 1), task("b", 1000, 2.0, 5, 2)), [(0, vec![1])]);
    // Revocable work first, whatever its priority, also on another agent.
    let revocable = || Candidate { revocable: true, ..task("b", 1000, 1.5, 9, 1) };
    assert_eq!(two(task("c", 1000, 3.0, 0, 9), revocable()), [(0, vec![1])]);
    let mut elsewhere = problem(1000, 0, vec![task("c", 1000, 3.0, 0, 9)]);
    elsewhere.agents.push(AgentWork { tasks: vec![revocable()], ..AgentWork::default() });
    assert_eq!(victims(&elsewhere), [(1, vec![0])]);
    // A large one makes the small ones before it superfluous.
    let small = || task("b", 300, 2.0, 0, 9);
    let all = vec![small(), small(), task("b", 1000, 2.0, 1, 1)];
    assert_eq!(victims(&problem(1000, 0, all)), [(0, vec![2])]);
}

#[test]
fn an_agent_that_has_all_is_better_than_two_that_have_parts() {
    let mut two = problem(1000, 0, vec![task("b", 500, 3.0, 0, 1)]);
    let whole = AgentWork {
        tasks: vec![task("b", 600, 2.0, 1, 1), task("b", 600, 2.0, 1, 1)],
        ..AgentWork::default()
    };
    two.agents.push(whole);
    assert_eq!(victims(&two), [(1, vec![0, 1])]);
    two.agents[1].tasks.pop();
    assert_eq!(victims(&two), [(1, vec![0]), (0, vec![0])]);
}

#[test]
fn what_is_free_is_used_first() {
    let tasks = || vec![task("b", 400, 2.0, 0, 1), task("b", 400, 2.0, 0, 2)];
    assert_eq!(victims(&problem(1000, 600, tasks())), [(0, vec![1])]);
    assert_eq!(victims(&problem(1000, 1000, tasks())), []);
}

#[test]
fn nothing_is_taken_from_those_that_have_no_more_than_is_guaranteed() {
    let mut of_b = problem(1000, 0, vec![task("b/x", 500, 2.0, 0, 1), task("b/y", 500, 2.0, 0, 2)]);
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
    let mut inside = problem(500, 0, vec![task("b/x", 500, 2.0, 0, 1)]);
    inside.claims[0].role = role("b/a");
    let standing = Standing { guarantee: quantities(500, 0), consumed: quantities(500, 0) };
    inside.roles = [(role("b"), standing)].into();
    assert_eq!(victims(&inside), [(0, vec![0])]);
    // Its own tasks are no victims.
    assert_eq!(victims(&problem(500, 0, vec![task("a/x", 500, 2.0, 0, 1)])), []);
}

#[test]
fn what_goes_to_a_role_counts_for_those_above_it() {
    let mut nested = problem(500, 100, (0..6).map(|n| task("b", 250, 2.0, 0, n)).collect());
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
    let mut parts = problem(1000, 500, vec![task("b", 700, 2.0, 0, 1), task("b", 700, 2.0, 0, 2)]);
    parts.agents.push(AgentWork { free: quantities(500, 0), tasks: Vec::new() });
    assert_eq!(victims(&parts), []);
    parts.claims[0].scattered = true;
    assert_eq!(victims(&parts), [(0, vec![1, 0])]);
}

const ROLES: [&str; 6] = ["a", "a/x", "b", "b/x", "b/y", "c"];

fn candidate() -> impl Strategy<Value = Candidate> {
    let role = prop::sample::select(&ROLES[..]).prop_map(role);
    let of_task = (any::<bool>(), 0..4u8, 0..3i64, 0..5u64);
    (role, 0..5i64, 0..5i64, of_task).prop_map(|(role, cpus, mem, (revocable, share, priority, at))| {
        let (amounts, share) = (quantities(cpus, mem), f64::from(share));
        Candidate { role, amounts, revocable, share, priority, launched_at: Time(at) }
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
        Problem { roles, claims, agents }
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

    #[test]
    fn nothing_is_planned_if_nothing_is_missing(problem in any_problem()) {
        let mut met = problem;
        met.claims.iter_mut().for_each(|claim| claim.missing = Quantities::default());
        prop_assert_eq!(plan(&met), vec![]);
    }
}
