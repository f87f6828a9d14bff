//! Frameworks with tasks of different shapes on machines of different sizes: sharing incentive, envy and lies, in random markets.

use kernel_model::random::SplitMix64;

use super::*;

/// What one task of a framework takes: thousandths of CPUs, and MiB in thousandths.
type Shape = [i64; 2];

/// A framework: what its tasks really take, what it says that they take, its weight, and how many it has.
#[derive(Debug, Clone)]
struct Player {
    truth: Shape,
    says: Shape,
    weight: i64,
    wants: usize,
}

#[derive(Debug, Clone)]
struct Market {
    agents: Vec<Shape>,
    players: Vec<Player>,
}

fn amounts(of: &Shape) -> Resources {
    let named = [("cpus", of[0]), ("mem", of[1])];
    named
        .into_iter()
        .filter(|(_, amount)| *amount > 0)
        .map(|(name, amount)| Resource::scalar(name, Scalar(amount)))
        .collect()
}

/// How many tasks of this shape fit.
fn fits(shape: &Shape, into: &Shape) -> i64 {
    (0..2).map(|at| into[at] / shape[at]).min().unwrap_or(0)
}

fn shape_of(resources: &Resources) -> Shape {
    [resources.scalar("cpus").0, resources.scalar("mem").0]
}

impl Market {
    fn random(rng: &mut SplitMix64) -> Market {
        let mut pick = |from: u64, to: u64| (from + rng.next_u64() % (to - from + 1)) as i64;
        let agents = (0..pick(1, 8)).map(|_| [pick(4, 16) * 1000, pick(4, 16) * 1_000_000]).collect();
        let players = (0..pick(2, 5))
            .map(|_| {
                let truth = [pick(1, 8) * 250, pick(1, 8) * 250_000];
                let wants = if pick(0, 3) == 0 { pick(1, 20) as usize } else { usize::MAX };
                Player { truth, says: truth, weight: pick(1, 3), wants }
            })
            .collect();
        Market { agents, players }
    }

    /// Runs the market until nobody gets anything more. With `one_by_one` the next agent comes when all is settled.
    fn settle(&self, one_by_one: bool) -> Settled {
        let problem = Problem {
            clients: (0..self.players.len())
                .map(|n| (FrameworkId::from(format!("f{n}")), role(n), Capabilities::default()))
                .collect(),
            weights: self.players.iter().enumerate().map(|(n, p)| (role(n), p.weight as f64)).collect(),
            ..Problem::default()
        };
        let policy = Policy { filter_gpu_agents: true, shortest_refusal: Duration::from_secs(1) };
        let mut settled = Settled {
            pool: problem.allocator(&policy),
            agents: Vec::new(),
            now: Time(0),
            left: self.players.iter().map(|player| player.wants).collect(),
            held: vec![vec![[0, 0]; self.agents.len()]; self.players.len()],
            turns: Vec::new(),
        };
        for (at, total) in self.agents.iter().enumerate() {
            let slot = settled.pool.add_agent(&amounts(total), true);
            settled.agents.push(slot);
            if one_by_one || at + 1 == self.agents.len() {
                settled.come_to_rest(self);
            }
        }
        settled
    }

    /// The real tasks that a player can run on these parts of agents, no more than it has.
    fn worth(&self, player: usize, held: &[Shape]) -> i64 {
        let player = &self.players[player];
        let count: i64 = held.iter().map(|part| fits(&player.truth, part)).sum();
        count.min(i64::try_from(player.wants).unwrap_or(i64::MAX))
    }
}

/// An allocation of which something was used.
#[derive(Debug, Clone)]
struct Turn {
    player: usize,
    agent: usize,
    used: Shape,
    /// What the agent had free before the round.
    free: Shape,
}

/// A market that runs, or has come to rest.
struct Settled {
    pool: Allocator,
    agents: Vec<AgentSlot>,
    now: Time,
    /// How many more tasks each player has.
    left: Vec<usize>,
    /// What each player holds of each agent.
    held: Vec<Vec<Shape>>,
    turns: Vec<Turn>,
}

impl Settled {
    fn come_to_rest(&mut self, market: &Market) {
        let end = self.now + Duration::from_secs(1000);
        for _ in 0..2000 {
            let free: Vec<Shape> = (self.agents.iter())
                .map(|agent| self.pool.available(*agent).map(shape_of).unwrap_or_default())
                .collect();
            let made = self.pool.run(self.now);
            if made.is_empty() {
                match self.pool.next_deadline() {
                    Some(next) if next < end => self.now = next.max(self.now),
                    _ => return,
                }
            }
            for one in made {
                self.use_offer(market, &one, free[one.agent.0 as usize]);
            }
        }
        panic!("the market does not come to rest: {market:?}");
    }

    /// The player launches as many tasks as fit, and refuses the rest.
    fn use_offer(&mut self, market: &Market, one: &Allocation, free: Shape) {
        let (player, agent) = (one.client.0 as usize, one.agent.0 as usize);
        let says = &market.players[player].says;
        let left = &mut self.left[player];
        let count = fits(says, &shape_of(&one.resources)).min(i64::try_from(*left).unwrap_or(i64::MAX));
        *left = left.saturating_sub(usize::try_from(count).unwrap());
        let used = [says[0] * count, says[1] * count];
        let mine = &mut self.held[player][agent];
        (mine[0], mine[1]) = (mine[0] + used[0], mine[1] + used[1]);
        let rest = one.resources.saturating_sub(&amounts(&used).allocated_to(&one.role));
        self.pool.offer_gone(one.agent, one.client);
        if count > 0 {
            self.pool.launched(one.client);
            self.turns.push(Turn { player, agent, used, free });
        }
        self.pool.answered(self.now, one.client);
        if !rest.is_empty() {
            self.pool.recover(one.agent, one.client, &rest);
            self.pool.refuse(self.now, one.agent, one.client, &rest, Duration::from_secs(10_000), count > 0);
        }
        if self.left[player] == 0 {
            self.pool.set_client_active(one.client, false);
        }
    }
}

fn role(n: usize) -> Role {
    Role::parse(&format!("r{n}")).unwrap()
}

/// By how many tasks one market misses the bounds, and the envy in it.
#[derive(Debug, Default)]
struct Excess {
    /// What somebody would run more of with its part of each agent, than it does and fits on one agent.
    sharing: i64,
    /// What a lie gains more than fits on one agent.
    lie: i64,
    /// What a lie gains more than fits on one agent and a half.
    larger_lie: i64,
    envy: Envy,
}

/// How many pairs of players there are, and in how many the first would rather have what the other holds, in proportion to their weights
/// and without the other's parts of the best one, two and three machines.
#[derive(Debug, Default)]
struct Envy {
    pairs: u64,
    beyond: [u64; 3],
    /// In how many without the other's last turn, of those turns on agents on which the first could have run a task.
    beyond_last_turn: u64,
}

impl Envy {
    fn add(&mut self, other: &Envy) {
        self.pairs += other.pairs;
        self.beyond.iter_mut().zip(other.beyond).for_each(|(all, more)| *all += more);
        self.beyond_last_turn += other.beyond_last_turn;
    }

    /// What player `n` thinks of what player `m` holds.
    fn of(market: &Market, settled: &Settled, n: usize, m: usize) -> Envy {
        let (player, other) = (&market.players[n], &market.players[m]);
        let own = market.worth(n, &settled.held[n]);
        let theirs = scaled(&settled.held[m], player.weight, other.weight);
        let more = market.worth(n, &theirs) - own;
        let mut parts: Vec<i64> = theirs.iter().map(|part| fits(&player.truth, part)).collect();
        parts.sort_unstable_by(|a, b| b.cmp(a));
        let beyond = |machines: usize| u64::from(more > parts.iter().take(machines).sum::<i64>());
        let mut turns: Vec<&Turn> = (settled.turns.iter())
            .filter(|turn| turn.player == m && fits(&player.truth, &turn.free) > 0)
            .collect();
        turns.pop();
        let mut before = vec![[0, 0]; market.agents.len()];
        for turn in turns {
            before[turn.agent].iter_mut().zip(turn.used).for_each(|(held, used)| *held += used);
        }
        let earlier = market.worth(n, &scaled(&before, player.weight, other.weight));
        Envy {
            pairs: 1,
            beyond: [beyond(1), beyond(2), beyond(3)],
            beyond_last_turn: u64::from(earlier > own),
        }
    }
}

fn scaled(parts: &[Shape], by: i64, of: i64) -> Vec<Shape> {
    parts.iter().map(|part| part.map(|amount| amount * by / of)).collect()
}

/// The bounds are those of an allocation, which is an agent or a part of one: it goes to one player whole, so nobody can be closer to
/// its share than the last one.
fn excess(market: &Market, one_by_one: bool, rng: &mut SplitMix64) -> Excess {
    let settled = market.settle(one_by_one);
    let weights: i64 = market.players.iter().map(|player| player.weight).sum();
    let mut excess = Excess { sharing: i64::MIN, lie: i64::MIN, larger_lie: i64::MIN, envy: Envy::default() };
    for (n, player) in market.players.iter().enumerate() {
        let own = market.worth(n, &settled.held[n]);
        let agent = market.agents.iter().map(|agent| fits(&player.truth, agent)).max().unwrap_or(0);
        let part = scaled(&market.agents, player.weight, weights);
        excess.sharing = excess.sharing.max(market.worth(n, &part) - own - agent);
        for m in (0..market.players.len()).filter(|m| *m != n) {
            excess.envy.add(&Envy::of(market, &settled, n, m));
        }
        let mut lie = market.clone();
        let at = (rng.next_u64() % 2) as usize;
        lie.players[n].says[at] += [250, 250_000][at] * (1 + (rng.next_u64() % 8) as i64);
        let gain = lie.worth(n, &lie.settle(one_by_one).held[n]) - own;
        excess.lie = excess.lie.max(gain - agent);
        excess.larger_lie = excess.larger_lie.max(gain - agent * 3 / 2);
    }
    excess
}

/// How many random markets are looked at: `CATAMARAN_MARKETS`, or as many as take few seconds.
#[expect(
    clippy::disallowed_methods,
    reason = "asks for a longer run of the same tests, as PROPTEST_CASES does"
)]
pub(super) fn markets() -> u64 {
    std::env::var("CATAMARAN_MARKETS").ok().and_then(|number| number.parse().ok()).unwrap_or(150)
}

/// Agents come one by one, each when all is settled, as tasks end in a cluster. Exactly, in each market:
///
/// - With its weight's part of each agent for itself, nobody would run more tasks than it does, by more than fit on one agent.
/// - Nobody gains more than that by a lie about its tasks.
/// - Nobody would rather have what another holds, in proportion to their weights, of the turns on agents on which it could have run a
///   task, without the last of them. Before that turn the other was not ahead of it, since turns go to the lowest share.
///
/// Tasks and agents cannot be divided, so no allocator can do without such an allowance: of two with equal shares one gets the only agent
/// that is left. And none that is fair up to an allocation and leaves nothing idle is proof against every lie (Parkes, Procaccia and
/// Shah, Beyond Dominant Resource Fairness, 2015).
#[test]
fn with_agents_one_by_one_sharing_pays_lies_do_not_and_nobody_envies_more_than_a_turn() {
    for seed in 0..markets() {
        let mut rng = SplitMix64::new(seed);
        let market = Market::random(&mut rng);
        let excess = excess(&market, true, &mut rng);
        let sound = excess.sharing <= 0 && excess.lie <= 0 && excess.envy.beyond_last_turn == 0;
        assert!(sound, "seed {seed}: {excess:?} in {market:?}");
    }
}

/// All agents come at once. Sharing pays as much, and a lie gains less than fits on one agent and a half, more than fits on one in fewer
/// than one market of 50,000 (that of seed 32069: 1.2 agents).
///
/// Nobody knows the tasks yet, so everybody's first turns are whole agents, offered together: whoever uses little of what it was offered
/// was passed over for the others while that counted as its own. Nobody can take these turns back, and what is left of an agent of
/// which one resource is used up goes to the one whose tasks fit, however large its share is. So there is envy beyond a turn: in fewer
/// than one pair of a thousand beyond the other's part of one machine, in fewer than one of 20,000 beyond two, and beyond three
/// in two of a million (seeds 91087 and 96916). An allocator that moves no running task cannot prevent it.
#[test]
fn with_all_agents_at_once_sharing_pays_and_hardly_anybody_envies_more_than_a_turn() {
    let (mut envy, mut lies) = (Envy::default(), 0);
    for seed in 0..markets() {
        let mut rng = SplitMix64::new(seed);
        let market = Market::random(&mut rng);
        let excess = excess(&market, false, &mut rng);
        assert!(excess.sharing <= 0 && excess.larger_lie <= 0, "seed {seed}: {excess:?} in {market:?}");
        lies += u64::from(excess.lie > 0);
        envy.add(&excess.envy);
    }
    println!("{lies} lies, {envy:?}");
    // Some more among few.
    assert!(lies * 50_000 <= markets() + 50_000, "{lies}");
    assert!(envy.beyond[0] * 1000 <= envy.pairs + 5000, "{envy:?}");
    assert!(envy.beyond[1] * 20_000 <= envy.pairs + 40_000, "{envy:?}");
    assert!(envy.beyond[2] * 400_000 <= envy.pairs + 400_000, "{envy:?}");
}

/// After one event (a player joins or leaves, or its task ends), what is free is allocated by the rounds in which its offers are used,
/// and nothing is left while anybody wants it; and none of it goes to a player that is ahead of another by more than one allocation.
#[test]
fn one_event_is_settled_at_once() {
    for seed in 0..markets() {
        let mut rng = SplitMix64::new(seed);
        let (agents, players) = (2 + (rng.next_u64() % 8) as usize, 2 + (rng.next_u64() % 5) as usize);
        let mut pool = pool();
        let all: Vec<AgentSlot> =
            (0..agents).map(|_| pool.add_agent(&resources("cpus:4;mem:1000"), true)).collect();
        let mut clients: Vec<ClientSlot> =
            (0..players).map(|n| client(&mut pool, &format!("f{n}"), &format!("r{n}"))).collect();
        let mut held: Vec<Allocation> = Vec::new();
        for event in 0..12 {
            for one in use_all_offers(&mut pool) {
                let cpus = |client: &ClientSlot| -> i64 {
                    let own = held.iter().filter(|made| made.client == *client);
                    own.map(|made| made.resources.scalar("cpus").0).sum()
                };
                let least = clients.iter().map(cpus).min().unwrap_or(0);
                assert!(cpus(&one.client) <= least + 4000, "seed {seed}, event {event}: {one:?} of {held:?}");
                held.push(one);
            }
            assert_eq!(pool.run(Time(0)), [], "seed {seed}, event {event}: something was left");
            let offerable = |free: &Resources| free.scalar("cpus").0 >= 10 || free.scalar("mem").0 >= 32_000;
            let free = all.iter().filter(|agent| pool.available(**agent).is_some_and(offerable));
            assert_eq!(free.count(), 0, "seed {seed}, event {event}");
            match rng.next_u64() % 3 {
                0 => clients.push(client(&mut pool, &format!("g{event}"), &format!("s{event}"))),
                1 if clients.len() > 1 => {
                    let gone = clients.swap_remove(rng.next_u64() as usize % clients.len());
                    let (its, others) = held.into_iter().partition(|one| one.client == gone);
                    let its: Vec<Allocation> = its;
                    its.iter().for_each(|one| pool.recover(one.agent, gone, &one.resources));
                    held = others;
                    pool.remove_client(gone);
                }
                _ => {
                    let ended = held.swap_remove(rng.next_u64() as usize % held.len());
                    pool.recover(ended.agent, ended.client, &ended.resources);
                }
            }
        }
    }
}

/// Rounds whose offers are all used, until one makes none.
fn use_all_offers(pool: &mut Allocator) -> Vec<Allocation> {
    let mut made = Vec::new();
    loop {
        let more = pool.run(Time(0));
        if more.is_empty() {
            return made;
        }
        for one in &more {
            pool.offer_gone(one.agent, one.client);
            pool.launched(one.client);
            pool.answered(Time(0), one.client);
        }
        made.extend(more);
    }
}
