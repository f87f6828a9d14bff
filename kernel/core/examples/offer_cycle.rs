//! Benchmark of a full offer cycle: every agent has free resources, and every framework wants them.
//!
//! `cargo run --release -p kernel-core --example offer_cycle` prints a table: the allocator alone, and whole steps of the
//! master (offers made, recorded and put into events). `fresh`: nobody has refused anything; `refused`: every framework
//! has refused every agent (the worst case of filters); `decline`: one framework declines all agents, and they are offered
//! to all the others. The last table is a market where nobody finds anything: every framework declines each event of offers,
//! several of them before the next round, until each has seen every agent.

#![allow(clippy::disallowed_methods)] // a benchmark reads the clock

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

use kernel_core::{
    allocator::{AgentSlot, Allocator, Capabilities, ClientSlot, Policy},
    effect::{LinkId, RequestId},
    master::{Effect, Event, Master, MasterConfig, Registry},
};
use kernel_model::{
    agent::{AgentInfo, ToMaster},
    caller::Caller,
    framework::{FrameworkCapability, FrameworkInfo},
    ids::{FrameworkId, StreamId},
    labels::Labels,
    offer::{Filters, Offer},
    resources::Resources,
    roles::Role,
    scheduler::{self, Call, MasterInfo, Subscribe},
    time::Time,
};

/// The time of all steps.
const NOW: Time = Time(1);

fn main() {
    match std::env::args().nth(1).as_deref() {
        // For a profiler: only the last table.
        Some("seen") => (0..10).for_each(|_| everything_seen()),
        _ => {
            full_cycles();
            single_events();
            everything_seen();
        }
    }
}

fn full_cycles() {
    println!(
        "{:>7} {:>11} {:>13} {:>13} {:>14} {:>14}",
        "agents", "frameworks", "fresh ms", "refused ms", "master ms", "decline ms"
    );
    for (agents, frameworks) in [(1_000, 10), (10_000, 100), (20_000, 2_000)] {
        let mut pool = Pool::new(agents, frameworks);
        let fresh = pool.offer_all();
        // One refusal takes some hundred bytes; 40 million of them would be a benchmark of the memory.
        let refused = match agents * frameworks <= 1_000_000 {
            true => format!("{:.2}", pool.offer_refused()),
            false => "-".to_owned(),
        };
        drop(pool);
        let (offered, declined) = master(agents, frameworks);
        println!("{agents:>7} {frameworks:>11} {fresh:>13.2} {refused:>13} {offered:>14.2} {declined:>14.2}");
    }
}

fn single_events() {
    println!("\n{:>7} {:>11} {:>13}", "agents", "frameworks", "one event µs");
    for agents in [1_000, 10_000, 100_000] {
        let mut pool = Pool::new(agents, 100);
        println!("{agents:>7} {:>11} {:>13.2}", 100, pool.one_event());
    }
}

fn everything_seen() {
    println!(
        "\n{:>7} {:>11} {:>13} {:>13} {:>13}",
        "agents", "frameworks", "each seen ms", "offers", "answers"
    );
    let (agents, frameworks) = (1_000, 50);
    let Seen { took, offers, answers } = everybody_sees_everything(agents, frameworks);
    println!("{agents:>7} {frameworks:>11} {took:>13.2} {offers:>13} {answers:>13}");
}

fn agent_resources() -> Resources {
    "cpus:24;mem:4096;disk:4096;ports:[31000-32000]".parse().expect("a valid text")
}

fn milliseconds(work: impl FnOnce()) -> f64 {
    let start = Instant::now();
    work();
    start.elapsed().as_secs_f64() * 1e3
}

/// An allocator with agents of one size and frameworks with a role each, which all want offers.
struct Pool {
    allocator: Allocator,
    agents: Vec<AgentSlot>,
    clients: Vec<(ClientSlot, Role)>,
    total: Resources,
}

impl Pool {
    fn new(agents: usize, frameworks: usize) -> Self {
        let mut allocator =
            Allocator::new(Policy { filter_gpu_agents: true, shortest_refusal: Duration::from_secs(1) });
        let total = agent_resources();
        let agents = (0..agents).map(|_| allocator.add_agent(&total, true)).collect();
        let clients: Vec<_> = (0..frameworks)
            .map(|n| {
                let role = Role::parse(&format!("role{n}")).expect("a valid role");
                let framework = FrameworkId::from(format!("f{n}"));
                (allocator.add_client(&framework, &role, Capabilities::default()), role)
            })
            .collect();
        clients.iter().for_each(|(client, _)| allocator.set_client_active(*client, true));
        Self { allocator, agents, clients, total }
    }

    /// A cycle that offers every agent, in milliseconds. Everything is free again afterwards.
    fn offer_all(&mut self) -> f64 {
        let mut given = Vec::new();
        let took = milliseconds(|| given = self.allocator.run(Time(0)));
        assert_eq!(given.len(), self.agents.len());
        for back in given {
            self.allocator.recover(back.agent, back.client, &back.resources);
        }
        took
    }

    /// A cycle in which every client has refused every agent, in milliseconds.
    fn offer_refused(&mut self) -> f64 {
        let refuse = Duration::from_secs(86_400);
        for slot in &self.agents {
            for (client, role) in &self.clients {
                let all = self.total.allocated_to(role);
                self.allocator.refuse(Time(0), *slot, *client, &all, refuse, false);
            }
        }
        let mut left = Vec::new();
        let took = milliseconds(|| left = self.allocator.run(Time(0)));
        assert_eq!(left, []);
        took
    }

    /// What it takes to offer an agent again that becomes free while all others are in use, in microseconds.
    fn one_event(&mut self) -> f64 {
        const EVENTS: usize = 10_000;
        let mut given = self.allocator.run(Time(0));
        let took = milliseconds(|| {
            for n in 0..EVENTS {
                let at = n * 7919 % given.len();
                let back = &given[at];
                self.allocator.recover(back.agent, back.client, &back.resources);
                let mut again = self.allocator.run(Time(0));
                given[at] = again.pop().expect("the agent is offered again");
            }
        });
        took * 1e3 / EVENTS as f64
    }
}

/// A master with agents of one size and frameworks with a role each, suppressed. Returns the frameworks' ids too.
fn cluster(agents: usize, frameworks: usize) -> (Master, Vec<FrameworkId>) {
    let mut master = Master::new(
        MasterConfig::new(MasterInfo {
            id: "3f0c2f8e-9f0a-4c4e-9a59-1f6c1f2d3e4b".into(),
            hostname: "localhost".into(),
            ip: "127.0.0.1".into(),
            port: 5050,
            version: "1.11.0".into(),
        }),
        Registry::default(),
    );
    for n in 0..agents {
        let link = LinkId(n as u64);
        let info = AgentInfo {
            id: None,
            hostname: format!("node{n}"),
            ip: "127.0.0.1".into(),
            port: 5051,
            resources: agent_resources(),
            attributes: Vec::new(),
            runs_images: false,
            operations: Default::default(),
        };
        let _ = master.step(NOW, Event::AgentConnected { link });
        let _ =
            master.step(NOW, Event::AgentMessage { link, message: ToMaster::Register { info: info.into() } });
    }
    let mut ids = Vec::new();
    for n in 0..frameworks {
        let role = Role::parse(&format!("role{n}")).expect("a valid role");
        let framework = framework(n, role.clone());
        let subscribe =
            Subscribe { framework, suppressed_roles: [role].into(), preferences: Default::default() }.into();
        let stream = StreamId::from(format!("s{n}"));
        let request = RequestId(0);
        let _ = master.step(NOW, Event::Subscribe { request, stream, caller: Caller::InProcess, subscribe });
        ids.push(FrameworkId::from(format!("3f0c2f8e-9f0a-4c4e-9a59-1f6c1f2d3e4b-{n:04}")));
    }
    (master, ids)
}

/// A step of the master that offers every agent, and the steps in which the frameworks decline them all.
fn master(agents: usize, frameworks: usize) -> (f64, f64) {
    let (mut master, ids) = cluster(agents, frameworks);
    // One step offers every agent to the first framework; then it declines, and the second gets them all.
    let mut offers = Vec::new();
    let mut effects = Vec::new();
    let offered = milliseconds(|| effects = call(&mut master, 0, &ids[0], Call::Revive { roles: vec![] }));
    events(effects).for_each(|(_, some)| offers.extend(some));
    assert_eq!(offers.len(), agents);
    for (n, id) in ids.iter().enumerate().skip(1) {
        call(&mut master, n, id, Call::Revive { roles: vec![] });
    }
    let declined = milliseconds(|| {
        let filters = Filters { refuse: Duration::from_secs(3600) };
        let offer_ids = offers.into_iter().map(|o| o.id.clone()).collect();
        call(&mut master, 0, &ids[0], Call::Decline { offer_ids, filters });
    });
    (offered, declined)
}

/// What it took until every framework had seen every agent.
struct Seen {
    /// In milliseconds.
    took: f64,
    offers: usize,
    /// OFFERS events, each answered by one DECLINE.
    answers: usize,
}

/// Calls that wait in the master's queue when it makes the next offers.
const ANSWERS_AT_ONCE: usize = 4;

fn everybody_sees_everything(agents: usize, frameworks: usize) -> Seen {
    let (mut master, ids) = cluster(agents, frameworks);
    let mut seen = Seen { took: 0.0, offers: 0, answers: 0 };
    let mut inbox: VecDeque<(StreamId, Vec<Arc<Offer>>)> = VecDeque::new();
    let filters = Filters { refuse: Duration::from_secs(3600) };
    seen.took = milliseconds(|| {
        for (n, id) in ids.iter().enumerate() {
            inbox.extend(events(call(&mut master, n, id, Call::Revive { roles: vec![] })));
        }
        while !inbox.is_empty() {
            for (stream, offers) in inbox.drain(..inbox.len().min(ANSWERS_AT_ONCE)) {
                seen.answers += 1;
                seen.offers += offers.len();
                let n: usize = stream.as_str()[1..].parse().expect("named by number");
                let offer_ids = offers.into_iter().map(|offer| offer.id.clone()).collect();
                let _ = master
                    .step_unsettled(NOW, scheduler_call(n, &ids[n], Call::Decline { offer_ids, filters }));
            }
            inbox.extend(events(master.settle().after_persist));
        }
    });
    assert_eq!(seen.offers, agents * frameworks);
    seen
}

/// The OFFERS events among the effects.
fn events(effects: Vec<Effect>) -> impl Iterator<Item = (StreamId, Vec<Arc<Offer>>)> {
    effects.into_iter().filter_map(|effect| match effect {
        Effect::ToScheduler { stream, event: scheduler::Event::Offers { offers } } => Some((stream, offers)),
        _ => None,
    })
}

fn call(master: &mut Master, n: usize, id: &FrameworkId, call: Call) -> Vec<Effect> {
    master.step(NOW, scheduler_call(n, id, call)).after_persist
}

fn scheduler_call(n: usize, id: &FrameworkId, call: Call) -> Event {
    let stream = Some(StreamId::from(format!("s{n}")));
    let (framework_id, request) = (id.clone(), RequestId(0));
    Event::SchedulerCall { request, framework_id, stream, caller: Caller::InProcess, call }
}

fn framework(n: usize, role: Role) -> FrameworkInfo {
    FrameworkInfo {
        user: "root".into(),
        name: format!("f{n}"),
        id: None,
        failover_timeout: Duration::ZERO,
        checkpoint: true,
        roles: vec![role],
        hostname: String::new(),
        principal: None,
        webui_url: String::new(),
        capabilities: [FrameworkCapability::MultiRole, FrameworkCapability::PartitionAware].into(),
        labels: Labels::default(),
        extra: Default::default(),
    }
}
