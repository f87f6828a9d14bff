//! Benchmark of a full offer cycle: every agent has free resources, and every framework wants them.
//!
//! `cargo run --release -p kernel-core --example offer_cycle` prints a table: the allocator alone, and whole steps of the
//! master (offers made, recorded and put into events). `fresh`: nobody has refused anything; `refused`: every framework
//! has refused every agent (the worst case of filters); `decline`: one framework declines all agents, and they are offered
//! to all the others.

#![allow(clippy::disallowed_methods)] // a benchmark reads the clock

use std::time::{Duration, Instant};

use kernel_core::{
    allocator::{Allocator, Capabilities, Policy},
    effect::{LinkId, RequestId},
    master::{Effect, Event, Master, MasterConfig, Registry},
};
use kernel_model::{
    agent::{AgentInfo, ToMaster},
    caller::Caller,
    framework::{FrameworkCapability, FrameworkInfo},
    ids::{FrameworkId, StreamId},
    labels::Labels,
    offer::Filters,
    resources::Resources,
    roles::Role,
    scheduler::{self, Call, MasterInfo, Subscribe},
    time::Time,
};

fn main() {
    println!(
        "{:>7} {:>11} {:>13} {:>13} {:>14} {:>14}",
        "agents", "frameworks", "fresh ms", "refused ms", "master ms", "decline ms"
    );
    for (agents, frameworks) in [(1_000, 10), (10_000, 100)] {
        let (fresh, refused) = allocator(agents, frameworks);
        let (offered, declined) = master(agents, frameworks);
        println!(
            "{agents:>7} {frameworks:>11} {fresh:>13.2} {refused:>13.2} {offered:>14.2} {declined:>14.2}"
        );
    }
}

fn agent_resources() -> Resources {
    "cpus:24;mem:4096;disk:4096;ports:[31000-32000]".parse().expect("a valid text")
}

fn milliseconds(work: impl FnOnce()) -> f64 {
    let start = Instant::now();
    work();
    start.elapsed().as_secs_f64() * 1e3
}

/// A cycle that offers every agent, and one in which every client has filtered every agent.
fn allocator(agents: usize, frameworks: usize) -> (f64, f64) {
    let mut pool =
        Allocator::new(Policy { filter_gpu_agents: true, shortest_refusal: Duration::from_secs(1) });
    let total = agent_resources();
    let slots: Vec<_> = (0..agents).map(|_| pool.add_agent(&total, true)).collect();
    let clients: Vec<_> = (0..frameworks)
        .map(|n| {
            let role = Role::parse(&format!("role{n}")).expect("a valid role");
            (pool.add_client(&FrameworkId::from(format!("f{n}")), &role, Capabilities::default()), role)
        })
        .collect();
    for (client, _) in &clients {
        pool.set_client_active(*client, true);
    }
    let mut given = Vec::new();
    let fresh = milliseconds(|| given = pool.run(Time(0)));
    assert_eq!(given.len(), agents);
    for back in given {
        pool.recover(back.agent, back.client, &back.resources);
    }
    let refuse = Duration::from_secs(86_400);
    for slot in slots {
        for (client, role) in &clients {
            pool.refuse(Time(0), slot, *client, &total.allocated_to(role), refuse, false);
        }
    }
    let mut left = Vec::new();
    let refused = milliseconds(|| left = pool.run(Time(0)));
    assert_eq!(left, []);
    (fresh, refused)
}

/// A step of the master that offers every agent, and the steps in which the frameworks decline them all.
fn master(agents: usize, frameworks: usize) -> (f64, f64) {
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
    let now = Time(1);
    for n in 0..agents {
        let link = LinkId(n as u64);
        let info = AgentInfo {
            id: None,
            hostname: format!("node{n}"),
            ip: "127.0.0.1".into(),
            port: 5051,
            resources: agent_resources(),
            attributes: Vec::new(),
        };
        let _ = master.step(now, Event::AgentConnected { link });
        let _ =
            master.step(now, Event::AgentMessage { link, message: ToMaster::Register { info: info.into() } });
    }
    let mut ids = Vec::new();
    for n in 0..frameworks {
        let role = Role::parse(&format!("role{n}")).expect("a valid role");
        let framework = framework(n, role.clone());
        let subscribe =
            Subscribe { framework, suppressed_roles: [role].into(), preferences: Default::default() }.into();
        let stream = StreamId::from(format!("s{n}"));
        let request = RequestId(0);
        let _ = master.step(now, Event::Subscribe { request, stream, caller: Caller::InProcess, subscribe });
        ids.push(FrameworkId::from(format!("3f0c2f8e-9f0a-4c4e-9a59-1f6c1f2d3e4b-{n:04}")));
    }
    // One step offers every agent to the first framework; then it declines, and the second gets them all.
    let mut offers = Vec::new();
    let mut effects = Vec::new();
    let offered =
        milliseconds(|| effects = call(&mut master, now, 0, &ids[0], Call::Revive { roles: vec![] }));
    for effect in effects {
        if let Effect::ToScheduler { event: scheduler::Event::Offers { offers: some }, .. } = effect {
            offers.extend(some);
        }
    }
    assert_eq!(offers.len(), agents);
    for (n, id) in ids.iter().enumerate().skip(1) {
        call(&mut master, now, n, id, Call::Revive { roles: vec![] });
    }
    let declined = milliseconds(|| {
        let filters = Filters { refuse: Duration::from_secs(3600) };
        let offer_ids = offers.into_iter().map(|o| o.id.clone()).collect();
        call(&mut master, now, 0, &ids[0], Call::Decline { offer_ids, filters });
    });
    (offered, declined)
}

fn call(master: &mut Master, now: Time, n: usize, id: &FrameworkId, call: Call) -> Vec<Effect> {
    let stream = Some(StreamId::from(format!("s{n}")));
    let (framework_id, request) = (id.clone(), RequestId(0));
    master
        .step(now, Event::SchedulerCall { request, framework_id, stream, caller: Caller::InProcess, call })
        .after_persist
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
