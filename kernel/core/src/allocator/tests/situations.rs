//! The event-driven allocator against [`allocate`] of the same situation: with use, reservations, nested roles, weights and quotas.

use kernel_model::{
    quota::{Quantities, Quota},
    random::SplitMix64,
};

use super::{market::markets, *};

const ROLES: [&str; 7] = ["a", "a/b", "a/b/c", "a/d", "e", "e/f", "g"];

const POLICY: Policy = Policy { filter_gpu_agents: true, shortest_refusal: Duration::from_secs(1) };

fn role(text: &str) -> Role {
    Role::parse(text).unwrap()
}

fn amounts(cpus: i64, mem: i64) -> Quantities {
    let all = [("cpus", cpus), ("mem", mem)].into_iter().filter(|(_, amount)| *amount > 0);
    all.map(|(name, amount)| (name, Scalar(amount))).collect()
}

/// A random situation: agents with reservations, clients in nested roles, use of both kinds of resources, weights, guarantees, limits.
fn random(rng: &mut SplitMix64) -> Problem {
    let mut pick = |from: u64, to: u64| from + rng.next_u64() % (to - from + 1);
    let mut problem = Problem::default();
    for _ in 0..pick(1, 8) {
        let mut text = format!("cpus:{};mem:{};ports:[1-{}]", pick(2, 16), pick(1, 16) * 100, pick(1, 50));
        if pick(0, 2) == 0 {
            let of = ROLES[pick(0, 6) as usize];
            text += &format!(";cpus({of}):{};mem({of}):{}", pick(1, 4), pick(1, 4) * 100);
        }
        problem.agents.push(resources(&text));
    }
    for n in 0..pick(2, 6) {
        let capabilities = Capabilities { refined: pick(0, 1) == 0, ..Capabilities::default() };
        let client = (FrameworkId::from(format!("f{n}")), role(ROLES[pick(0, 6) as usize]), capabilities);
        problem.clients.push(client);
    }
    let mut free = problem.agents.clone();
    for _ in 0..pick(0, 10) {
        let agent = pick(0, free.len() as u64 - 1) as usize;
        let client = pick(0, problem.clients.len() as u64 - 1) as usize;
        let of = &problem.clients[client].1;
        let amount = pick(1, 4);
        let wanted = match pick(0, 1) {
            0 => resources(&format!("cpus:{amount};mem:{}", amount * 50)),
            _ => resources(&format!("cpus({of}):1;mem({of}):100")),
        };
        if free[agent].contains(&wanted) {
            free[agent].remove_all(&wanted);
            problem.used.push((agent, client, wanted.allocated_to(of)));
        }
    }
    for name in ROLES {
        if pick(0, 2) == 0 {
            problem.weights.push((role(name), pick(1, 4) as f64));
        }
        // Guarantees at the leaves only, and small: they are part of those above and of every limit.
        let guarantee = if name.contains('/') && pick(0, 2) == 0 { pick(1, 2) as i64 * 1000 } else { 0 };
        let limit = if pick(0, 2) == 0 { pick(8, 40) as i64 * 1000 } else { 0 };
        let quota =
            Quota { guarantees: amounts(guarantee, guarantee * 50), limits: amounts(limit, limit * 100) };
        if !quota.is_default() {
            problem.quotas.push((role(name), quota));
        }
    }
    problem
}

/// Brings an allocator into the situation by events in another order than [`Problem::allocator`], with detours: agents of another size,
/// use of others that ends, quotas and weights that change, clients that come and go.
fn by_events(problem: &Problem, rng: &mut SplitMix64) -> Allocator {
    let mut pool = Allocator::new(POLICY);
    let agents: Vec<AgentSlot> =
        problem.agents.iter().map(|_| pool.add_agent(&resources("cpus:1"), false)).collect();
    let clients: Vec<ClientSlot> =
        problem.clients.iter().map(|(id, role, can)| pool.add_client(id, role, *can)).collect();
    let passing = client(&mut pool, "passing", "elsewhere");
    for name in ROLES {
        pool.set_weight(&role(name), 7.0);
        let quota = Quota { guarantees: amounts(500, 0), limits: amounts(600, 700) };
        pool.set_quota(&role(name), &quota);
    }
    for (agent, total) in agents.iter().zip(&problem.agents).rev() {
        pool.set_total(*agent, total);
    }
    assert_eq!(pool.run(Time(0)), []);
    let mut order: Vec<usize> = (0..problem.used.len()).collect();
    for at in (1..order.len()).rev() {
        order.swap(at, (rng.next_u64() % (at as u64 + 1)) as usize);
    }
    for at in order {
        let (agent, client, used) = &problem.used[at];
        pool.charge(agents[*agent], clients[*client], used);
        // Something else runs there for a while. (Of its own client it would count: of equal shares the one with fewer charges goes first.)
        if rng.next_u64().is_multiple_of(2) {
            pool.charge(agents[*agent], passing, used);
            pool.recover(agents[*agent], passing, used);
        }
    }
    pool.set_client_active(passing, false);
    pool.remove_client(passing);
    for name in ROLES {
        pool.set_weight(&role(name), 1.0);
        pool.set_quota(&role(name), &Quota::default());
    }
    problem.quotas.iter().rev().for_each(|(role, quota)| pool.set_quota(role, quota));
    problem.weights.iter().rev().for_each(|(role, weight)| pool.set_weight(role, *weight));
    assert_eq!(pool.run(Time(0)), []);
    // Both in one round: a client that has asked for longer is not offered once more what was kept from it.
    clients.iter().rev().for_each(|client| pool.set_client_active(*client, true));
    agents.iter().rev().for_each(|agent| pool.set_agent_active(*agent, true));
    pool
}

fn shown(allocations: &[Allocation]) -> Vec<String> {
    let line = |one: &Allocation| format!("{} {} {}", one.agent.0, one.framework, one.resources);
    allocations.iter().map(line).collect()
}

fn described(problem: &Problem) -> String {
    let agents: Vec<String> = problem.agents.iter().map(ToString::to_string).collect();
    let used: Vec<String> =
        problem.used.iter().map(|(at, who, what)| format!("{at} f{who} {what}")).collect();
    let clients: Vec<String> = problem.clients.iter().map(|(id, role, _)| format!("{id} {role}")).collect();
    let quotas: Vec<String> =
        problem.quotas.iter().map(|(role, q)| format!("{role} {}/{}", q.guarantees, q.limits)).collect();
    format!("{agents:#?} {clients:?} used {used:#?} weights {:?} quotas {quotas:#?}", problem.weights)
}

/// An allocator that was brought into a situation by events in another order decides the same in its next round as [`allocate`] of that
/// situation, and counts the same as consumed.
#[test]
fn the_way_to_a_situation_does_not_matter() {
    for seed in 0..markets() * 4 {
        let mut rng = SplitMix64::new(seed);
        let problem = random(&mut rng);
        let mut direct = problem.allocator(&POLICY);
        let mut pool = by_events(&problem, &mut rng);
        let expected = allocate(&problem, &POLICY);
        assert_eq!(direct.run(Time(0)), expected);
        assert_eq!(shown(&pool.run(Time(0))), shown(&expected), "seed {seed}: {}", described(&problem));
        for name in ROLES {
            let of = role(name);
            assert_eq!(
                pool.consumed(&of).to_string(),
                direct.consumed(&of).to_string(),
                "seed {seed}, {name}"
            );
        }
        assert_eq!(pool.lacks_guaranteed(), direct.lacks_guaranteed(), "seed {seed}");
    }
}
