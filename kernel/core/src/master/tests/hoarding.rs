//! Frameworks that do not answer their offers, beside frameworks that want all they can get. A small simulation in virtual
//! time: tasks end, offers expire, and each event is a step of the master.

use std::{collections::BTreeMap, time::Duration};

use kernel_model::{
    agent::{ToAgent, ToMaster},
    caller::Caller,
    ids::{FrameworkId, OfferId, StreamId, TaskId, UpdateId},
    offer::{Filters, Offer},
    resources::Resources,
    scheduler::{Call, Event as ToScheduler, Operation, Subscribe},
    task::{Source, TaskState, TaskStatus},
    time::Time,
};

use super::cluster::{agent_info, config, framework, task};
use crate::{
    effect::{LinkId, RequestId},
    master::*,
};

/// What a framework does with its offers.
#[derive(Clone, Copy, PartialEq)]
enum Behaviour {
    /// Launches tasks of these resources and this length, and declines the rest.
    Greedy {
        task: &'static str,
        length: Duration,
    },
    Silent,
    /// Answers until then, and is silent afterwards.
    FallsSilent {
        at: Time,
        task: &'static str,
        length: Duration,
    },
}

struct Simulation {
    master: Master,
    now: Time,
    frameworks: BTreeMap<StreamId, (FrameworkId, Behaviour)>,
    inbox: Vec<(StreamId, ToScheduler)>,
    ends: BTreeMap<(Time, u64), (FrameworkId, TaskId, u64)>,
    running: BTreeMap<FrameworkId, usize>,
    /// Task-seconds of each framework.
    used: BTreeMap<FrameworkId, f64>,
    pings: Vec<LinkId>,
    next: u64,
    offers: usize,
}

impl Simulation {
    fn new(agents: u64, resources: &str) -> Self {
        let mut config = config("m");
        config.offer_timeout = Some(Duration::from_secs(30));
        let mut simulation = Self {
            master: Master::new(config, Registry::default()),
            now: Time(1_000_000_000_000),
            frameworks: BTreeMap::new(),
            inbox: Vec::new(),
            ends: BTreeMap::new(),
            running: BTreeMap::new(),
            used: BTreeMap::new(),
            pings: Vec::new(),
            next: 0,
            offers: 0,
        };
        for link in 0..agents {
            simulation.step(Event::AgentConnected { link: LinkId(link) });
            let info = agent_info(link, resources).into();
            let message = ToMaster::Register { info };
            simulation.step(Event::AgentMessage { link: LinkId(link), message });
        }
        simulation
    }

    fn subscribe(&mut self, role: &str, behaviour: Behaviour) -> FrameworkId {
        let stream = StreamId::from(format!("s{}", self.frameworks.len()));
        let id = FrameworkId::from(format!("m-{:04}", self.frameworks.len()));
        self.frameworks.insert(stream.clone(), (id.clone(), behaviour));
        let info = framework(role, &[role]);
        let subscribe = Subscribe {
            framework: info,
            suppressed_roles: Default::default(),
            preferences: Default::default(),
        };
        let caller = Caller::InProcess;
        self.step(Event::Subscribe { request: RequestId(0), stream, caller, subscribe: subscribe.into() });
        id
    }

    fn step(&mut self, event: Event) {
        for effect in self.master.step(self.now, event).after_persist {
            match effect {
                Effect::ToScheduler { stream, event } => self.inbox.push((stream, event)),
                Effect::ToAgent { link, message: ToAgent::Ping } => self.pings.push(link),
                _ => {}
            }
        }
    }

    fn call(&mut self, stream: &StreamId, framework_id: &FrameworkId, call: Call) {
        let (stream, framework_id) = (Some(stream.clone()), framework_id.clone());
        let (request, caller) = (RequestId(0), Caller::InProcess);
        self.step(Event::SchedulerCall { request, framework_id, stream, caller, call });
    }

    fn answer_all(&mut self) {
        while !self.inbox.is_empty() {
            for (stream, event) in std::mem::take(&mut self.inbox) {
                let ToScheduler::Offers { offers } = event else { continue };
                self.offers += offers.len();
                let (id, behaviour) = self.frameworks[&stream].clone();
                for offer in offers {
                    match behaviour {
                        Behaviour::Greedy { task, length } => self.answer(&stream, &id, &offer, task, length),
                        Behaviour::FallsSilent { at, task, length } if self.now < at => {
                            self.answer(&stream, &id, &offer, task, length);
                        }
                        Behaviour::Silent | Behaviour::FallsSilent { .. } => {}
                    }
                }
            }
        }
    }

    fn answer(&mut self, stream: &StreamId, id: &FrameworkId, offer: &Offer, wanted: &str, length: Duration) {
        let one: Resources = wanted.parse::<Resources>().unwrap().allocated_to(&offer.role);
        let mut left = offer.resources.clone();
        let mut tasks = Vec::new();
        while left.contains(&one) {
            left.remove_all(&one);
            self.next += 1;
            let task_id = format!("t{}", self.next);
            tasks.push(task(&task_id, offer.agent_id.as_str(), wanted));
            let link = offer.agent_id.as_str().rsplit('S').next().unwrap().parse().unwrap();
            // Tasks end apart from each other, as real ones do.
            let end = self.now + length + Duration::from_millis(self.next * 37 % 1000);
            self.ends.insert((end, self.next), (id.clone(), task_id.into(), link));
        }
        *self.running.entry(id.clone()).or_default() += tasks.len();
        let offer_ids: Vec<OfferId> = vec![offer.id.clone()];
        let filters = Filters::default();
        let call = match tasks.is_empty() {
            true => Call::Decline { offer_ids, filters },
            false => Call::Accept { offer_ids, operations: vec![Operation::Launch { tasks }], filters },
        };
        self.call(stream, id, call);
    }

    fn finish(&mut self, id: &FrameworkId, task_id: TaskId, link: u64) {
        *self.running.get_mut(id).unwrap() -= 1;
        self.next += 1;
        let uuid = UpdateId(u128::from(self.next).to_be_bytes());
        let status = TaskStatus {
            uuid: Some(uuid),
            ..TaskStatus::new(task_id.clone(), TaskState::Finished, Source::Executor, self.now)
        };
        let (framework_id, latest_state) = (id.clone(), TaskState::Finished);
        let message = ToMaster::Update { framework_id, status: status.into(), latest_state };
        self.step(Event::AgentMessage { link: LinkId(link), message });
        let stream = self.frameworks.iter().find(|(_, (of, _))| of == id).unwrap().0.clone();
        let agent_id = format!("m-S{link}").as_str().into();
        self.call(&stream, id, Call::Acknowledge { agent_id, task_id, uuid });
    }

    /// Plays this long; returns the average number of running tasks of each framework.
    fn play(&mut self, length: Duration) -> BTreeMap<FrameworkId, f64> {
        let end = self.now + length;
        self.used.clear();
        self.answer_all();
        loop {
            let due = self.ends.first_key_value().map(|((at, _), _)| *at);
            let deadline = self.master.next_deadline();
            let next = due.into_iter().chain(deadline).min().unwrap_or(end).clamp(self.now, end);
            let elapsed = next.since(self.now).as_secs_f64();
            for (id, running) in &self.running {
                *self.used.entry(id.clone()).or_default() += *running as f64 * elapsed;
            }
            self.now = next;
            if self.now >= end {
                break;
            }
            match due {
                Some(at) if at <= self.now => {
                    let (_, (id, task_id, link)) = self.ends.pop_first().unwrap();
                    self.finish(&id, task_id, link);
                }
                _ => self.step(Event::Tick),
            }
            for link in std::mem::take(&mut self.pings) {
                self.step(Event::AgentMessage { link, message: ToMaster::Pong });
            }
            self.answer_all();
        }
        self.used.iter().map(|(id, used)| (id.clone(), used / length.as_secs_f64())).collect()
    }
}

const TASK: Behaviour = Behaviour::Greedy { task: "cpus:1;mem:100", length: Duration::from_secs(2) };

#[test]
fn a_silent_framework_leaves_the_others_their_half() {
    for (agents, resources) in [
        (1, "cpus:16;mem:1600"),
        (1, "cpus:16;mem:16000;disk:1000;ports:[31000-32000]"),
        (4, "cpus:4;mem:700"),
        (5, "cpus:3;mem:1000"),
        (16, "cpus:1;mem:200"),
        (8, "cpus:2;mem:130"),
    ] {
        for silent_first in [true, false] {
            let mut s = Simulation::new(agents, resources);
            let mut greedy = None;
            for silent in [silent_first, !silent_first] {
                match silent {
                    true => drop(s.subscribe("silent", Behaviour::Silent)),
                    false => greedy = Some(s.subscribe("greedy", TASK)),
                }
            }
            let greedy = greedy.unwrap();
            let slots = agents as f64 * if agents == 8 { 1.0 } else { 16.0 / agents as f64 }.floor();
            // The first lease, and from then on.
            let begin = s.play(Duration::from_secs(31))[&greedy];
            let later = s.play(Duration::from_secs(120))[&greedy];
            let case = format!(
                "{agents} x {resources}, silent first {silent_first}: {begin:.1}, then {later:.1} of {slots}"
            );
            assert!(later >= slots / 2.0, "{case}");
        }
    }
}

/// The case of a thousand agents and fifty frameworks in small.
#[test]
fn frameworks_that_fall_silent_do_not_collect_pieces() {
    let mut s = Simulation::new(20, "cpus:4;mem:1000");
    let greedy: Vec<_> = (0..4).map(|n| s.subscribe(&format!("greedy{n}"), TASK)).collect();
    let at = s.now + Duration::from_secs(10);
    let length = Duration::from_secs(2);
    for n in 0..4 {
        let task = "cpus:1;mem:100";
        s.subscribe(&format!("silent{n}"), Behaviour::FallsSilent { at, task, length });
    }
    s.play(Duration::from_secs(45));
    let used = s.play(Duration::from_secs(60));
    let total: f64 = greedy.iter().map(|id| used[id]).sum();
    assert!(total > 70.0, "{total:.1} of 80 slots are in use, {} offers", s.offers);
}

#[test]
fn a_framework_that_answers_again_gets_offers_at_once() {
    let mut s = Simulation::new(4, "cpus:4;mem:400");
    let silent = s.subscribe("silent", Behaviour::Silent);
    let greedy = s.subscribe("greedy", TASK);
    s.play(Duration::from_secs(200));
    for (_, behaviour) in s.frameworks.values_mut() {
        *behaviour = TASK;
    }
    let stream = StreamId::from("s0");
    s.call(&stream, &silent, Call::Revive { roles: vec![] });
    let used = s.play(Duration::from_secs(60));
    assert!(used[&silent] > 6.0 && used[&greedy] > 6.0, "{used:?}");
}
