//! Benchmark of a snapshot: how long the master is blocked by taking one, and by the first change of every row while
//! the snapshot exists.
//!
//! `cargo run --release -p kernel-core --example snapshot` prints both for 5,000 agents with 10,000 tasks.

#![allow(clippy::disallowed_methods)] // a benchmark reads the clock

use std::time::Instant;

use bytes::Bytes;
use kernel_core::{
    effect::{LinkId, RequestId},
    master::{Event, Master, MasterConfig, Registry},
};
use kernel_model::{
    agent::{AgentInfo, ToMaster},
    caller::Caller,
    executor::CommandInfo,
    framework::{FrameworkCapability, FrameworkInfo},
    ids::{FrameworkId, StreamId, UpdateId},
    labels::Labels,
    offer::Filters,
    roles::Role,
    scheduler::{Call, MasterInfo, Operation, Subscribe},
    task::{Source, TaskInfo, TaskState, TaskStatus},
    time::Time,
};

const AGENTS: u64 = 5_000;

fn main() {
    let mut master = cluster();
    let tasks: usize = master.frameworks().map(|framework| framework.tasks.len()).sum();
    let start = Instant::now();
    let snapshot = master.snapshot();
    println!("a snapshot of {} agents, {tasks} tasks: {:.2} ms", snapshot.agents().count(), since(start));
    let start = Instant::now();
    for link in 0..AGENTS {
        update(&mut master, link);
    }
    println!("{AGENTS} status updates while it exists: {:.2} ms", since(start));
    drop(snapshot);
    let start = Instant::now();
    for link in 0..AGENTS {
        update(&mut master, link);
    }
    println!("{AGENTS} status updates without one: {:.2} ms", since(start));
}

fn since(start: Instant) -> f64 {
    start.elapsed().as_secs_f64() * 1e3
}

fn cluster() -> Master {
    let info = MasterInfo {
        id: "m".into(),
        hostname: "m".into(),
        ip: "127.0.0.1".into(),
        port: 5050,
        version: String::new(),
    };
    let mut master = Master::new(MasterConfig::new(info), Registry::default());
    for link in 0..AGENTS {
        let info = AgentInfo {
            id: None,
            hostname: format!("h{link}"),
            ip: "127.0.0.1".into(),
            port: 5051,
            resources: "cpus:8;mem:16384;disk:100000;ports:[31000-32000]".parse().expect("a valid text"),
            attributes: Vec::new(),
            runs_images: false,
            operations: Default::default(),
        };
        let link = LinkId(link);
        let _ = master.step(Time(1), Event::AgentConnected { link });
        let _ = master
            .step(Time(1), Event::AgentMessage { link, message: ToMaster::Register { info: info.into() } });
    }
    let (stream, request) = (StreamId::from("s"), RequestId(1));
    let subscribe = Subscribe {
        framework: framework(),
        suppressed_roles: Default::default(),
        preferences: Default::default(),
    };
    let event = Event::Subscribe {
        request,
        stream: stream.clone(),
        caller: Caller::InProcess,
        subscribe: subscribe.into(),
    };
    let _ = master.step(Time(1), event);
    let offers: Vec<_> = master.offers(None).cloned().collect();
    for offer in offers {
        let task = |n: usize| TaskInfo {
            name: format!("task {n}"),
            task_id: format!("{}-{n}", offer.agent_id).into(),
            agent_id: offer.agent_id.clone(),
            resources: "cpus:1;mem:64".parse().expect("a valid text"),
            zero_resources: Vec::new(),
            executor: None,
            command: Some(CommandInfo { shell: true, value: Some("sleep 1".into()), ..Default::default() }),
            kill_grace: None,
            max_completion_time: None,
            image: None,
            data: Bytes::new(),
            labels: Labels::default(),
            extra: Bytes::new(),
        };
        let operations = vec![Operation::Launch { tasks: vec![task(0), task(1)] }];
        let filters = Filters { refuse: std::time::Duration::from_secs(1_000_000) };
        let call = Call::Accept { offer_ids: vec![offer.id.clone()], operations, filters };
        let framework_id = FrameworkId::from("m-0000");
        let stream = Some(stream.clone());
        let event = Event::SchedulerCall { request, framework_id, stream, caller: Caller::InProcess, call };
        let _ = master.step(Time(1), event);
    }
    master
}

fn update(master: &mut Master, link: u64) {
    let status = TaskStatus {
        uuid: Some(UpdateId(u128::from(link).to_be_bytes())),
        ..TaskStatus::new(format!("m-S{link}-0").into(), TaskState::Running, Source::Executor, Time(2))
    };
    let (framework_id, latest_state) = ("m-0000".into(), TaskState::Running);
    let message = ToMaster::Update { framework_id, status: status.into(), latest_state };
    let _ = master.step(Time(2), Event::AgentMessage { link: LinkId(link), message });
}

fn framework() -> FrameworkInfo {
    FrameworkInfo {
        user: "root".into(),
        name: "f".into(),
        id: None,
        failover_timeout: std::time::Duration::from_secs(100),
        checkpoint: true,
        roles: vec![Role::any()],
        hostname: String::new(),
        principal: None,
        webui_url: String::new(),
        capabilities: [FrameworkCapability::PartitionAware].into(),
        labels: Labels::default(),
        extra: Bytes::new(),
    }
}
