//! Property test of the agent with crashes at every point: no task is started twice, no update is lost or reordered.

use std::collections::{BTreeMap, BTreeSet};

use kernel_model::{
    agent::{Launch, ToAgent, ToMaster},
    executor::{Call, Event as ExecutorEvent},
    ids::{ContainerId, TaskId, UpdateId},
    task::{Source, TaskState, TaskStatus},
    time::Time,
};
use proptest::prelude::*;

use super::script::{config, executor, framework, task};
use crate::agent::{Agent, ConnectionId, Effect, Effects, Event, Record, RequestId};

const TASKS: u8 = 5;

/// A random action; numbers select among what exists.
#[derive(Debug, Clone)]
enum Action {
    Launch(u8),
    Kill(u8),
    Report(u8, bool),
    Acknowledge(u8),
    Link(bool),
    Wait(u16),
    ExecutorDies,
    ExecutorSubscribes,
    Crash { before_effects: bool },
}

/// The executor's process, which survives the agent.
#[derive(Default)]
struct Process {
    container: Option<ContainerId>,
    connection: Option<ConnectionId>,
    /// The tasks that it runs, also those that a later run would adopt.
    running: BTreeSet<TaskId>,
    launches: BTreeMap<TaskId, u32>,
    unacknowledged: Vec<TaskStatus>,
    no_update_yet: BTreeSet<TaskId>,
    asked_to_kill: BTreeSet<TaskId>,
}

struct Harness {
    agent: Agent,
    now: Time,
    respawns: bool,
    records: Vec<Record>,
    process: Process,
    started: BTreeSet<ContainerId>,
    crash_next: bool,
    next_uuid: u64,
    next_connection: u64,
    starts: u64,
    link: bool,
    /// Updates that were acknowledged to the executor, in order, by task.
    acknowledged: BTreeMap<TaskId, Vec<UpdateId>>,
    /// Updates in the order in which the master received them first, by task.
    received: BTreeMap<TaskId, Vec<(UpdateId, TaskState)>>,
    in_flight: BTreeMap<TaskId, UpdateId>,
    launched: BTreeSet<TaskId>,
}

impl Harness {
    fn new(respawns: bool) -> Self {
        let mut harness = Self {
            agent: Agent::new(config(1)),
            now: Time(1_000_000_000_000),
            respawns,
            records: Vec::new(),
            process: Process::default(),
            started: BTreeSet::new(),
            crash_next: false,
            next_uuid: 1,
            next_connection: 1,
            starts: 1,
            link: false,
            acknowledged: BTreeMap::new(),
            received: BTreeMap::new(),
            in_flight: BTreeMap::new(),
            launched: BTreeSet::new(),
        };
        harness.apply(Action::Link(true));
        harness
    }

    fn step(&mut self, event: Event) {
        let effects = self.agent.step(self.now, event);
        self.carry_out(effects);
    }

    fn carry_out(&mut self, effects: Effects) {
        self.records.extend(effects.persist);
        if std::mem::take(&mut self.crash_next) {
            return self.recover();
        }
        for effect in effects.after_persist {
            self.effect(effect);
        }
    }

    fn recover(&mut self) {
        self.link = false;
        self.in_flight.clear();
        self.process.connection = None;
        self.starts += 1;
        let live = self.process.container.iter().cloned().collect();
        let config = config(self.starts << 32);
        let (agent, effects) =
            Agent::recover_with_ended(config, self.now, self.records.clone(), &live, &self.started);
        self.agent = agent;
        self.carry_out(effects);
    }

    fn effect(&mut self, effect: Effect) {
        match effect {
            Effect::ToMaster(message) if self.link => self.on_master_message(message),
            Effect::Start(start) => {
                assert!(self.process.container.is_none(), "two runs of one executor at once");
                assert!(self.started.insert(start.container_id.clone()), "a container id was used again");
                let kept = self.respawns;
                let former = std::mem::take(&mut self.process);
                self.process.container = Some(start.container_id);
                self.process.launches = former.launches;
                if kept {
                    self.process.running = former.running;
                }
            }
            Effect::Destroy { container_id } if self.process.container.as_ref() == Some(&container_id) => {
                self.apply(Action::ExecutorDies);
            }
            Effect::ToExecutor { connection, event } if self.process.connection == Some(connection) => {
                self.on_executor_event(event);
            }
            Effect::Close { connection } if self.process.connection == Some(connection) => {
                self.process.connection = None;
            }
            _ => {}
        }
    }

    fn on_master_message(&mut self, message: ToMaster) {
        let agent_id = "A0".into();
        let ping_interval = std::time::Duration::ZERO;
        match message {
            ToMaster::Register { .. } => {
                self.step(Event::FromMaster(ToAgent::Registered {
                    agent_id,
                    ping_interval,
                    ping_timeouts: 5,
                }));
            }
            ToMaster::Reregister { tasks, .. } => {
                let here: BTreeSet<_> = tasks.iter().map(|task| task.info.task_id.clone()).collect();
                let unknown_here = self
                    .launched
                    .iter()
                    .filter(|id| !here.contains(*id) && !self.master_knows_end(id))
                    .map(|id| ("F".into(), id.clone()))
                    .collect();
                let message =
                    ToAgent::Reregistered { agent_id, ping_interval, ping_timeouts: 5, unknown_here };
                self.step(Event::FromMaster(message));
            }
            ToMaster::Update { status, .. } => {
                let uuid = status.uuid.unwrap();
                let received = self.received.entry(status.task_id.clone()).or_default();
                if !received.iter().any(|(known, _)| *known == uuid) {
                    let last = received.last();
                    assert!(!last.is_some_and(|(_, state)| state.is_terminal()), "an update after the end");
                    received.push((uuid, status.state));
                }
                self.in_flight.insert(status.task_id.clone(), uuid);
            }
            _ => {}
        }
    }

    /// Whether the master has received the task's terminal update.
    fn master_knows_end(&self, id: &TaskId) -> bool {
        self.received
            .get(id)
            .and_then(|received| received.last())
            .is_some_and(|(_, state)| state.is_terminal())
    }

    fn on_executor_event(&mut self, event: ExecutorEvent) {
        match event {
            ExecutorEvent::Launch { task } => {
                let count = self.process.launches.entry(task.task_id.clone()).or_default();
                *count += 1;
                assert!(self.respawns || *count == 1, "{} was launched twice", task.task_id);
                self.process.no_update_yet.insert(task.task_id.clone());
                self.process.running.insert(task.task_id);
            }
            ExecutorEvent::Kill { task_id, .. } => {
                self.process.asked_to_kill.insert(task_id);
            }
            ExecutorEvent::Acknowledged { task_id, uuid } => {
                self.process.unacknowledged.retain(|status| status.uuid != Some(uuid));
                self.process.no_update_yet.remove(&task_id);
                let acknowledged = self.acknowledged.entry(task_id).or_default();
                if !acknowledged.contains(&uuid) {
                    acknowledged.push(uuid);
                }
            }
            ExecutorEvent::Shutdown => self.apply(Action::ExecutorDies),
            _ => {}
        }
    }

    fn call(&mut self, call: Call) {
        let (framework_id, executor_id) = ("F".into(), "x".into());
        self.step(Event::Call { request: RequestId(0), framework_id, executor_id, call });
    }

    fn report(&mut self, task_id: TaskId, state: TaskState) {
        let mut uuid = [0; 16];
        uuid[..8].copy_from_slice(&self.next_uuid.to_be_bytes());
        self.next_uuid += 1;
        let status = TaskStatus {
            uuid: Some(UpdateId(uuid)),
            ..TaskStatus::new(task_id.clone(), state, Source::Executor, self.now)
        };
        if state.is_terminal() {
            self.process.running.remove(&task_id);
        }
        self.process.unacknowledged.push(status.clone());
        self.call(Call::Update { status: status.into() });
    }

    fn apply(&mut self, action: Action) {
        match action {
            Action::Launch(n) => {
                let id = TaskId::from(format!("t{n}"));
                if self.link && self.agent.is_registered() && self.launched.insert(id.clone()) {
                    let executor = Some(executor("x", self.respawns).into());
                    let launch = Launch::Task(task(id.as_str()).into());
                    let framework = framework(true).into();
                    let message = ToAgent::RunTask { framework, executor, launch, launch_executor: true };
                    self.step(Event::FromMaster(message));
                }
            }
            Action::Kill(n) => {
                let task_id = TaskId::from(format!("t{n}"));
                if self.link && self.launched.contains(&task_id) && !self.master_knows_end(&task_id) {
                    let framework_id = "F".into();
                    self.step(Event::FromMaster(ToAgent::KillTask { framework_id, task_id, grace: None }));
                }
            }
            Action::Report(n, ends) => {
                let running: Vec<_> = self.process.running.iter().cloned().collect();
                if self.process.connection.is_some() && !running.is_empty() {
                    let task_id = running[usize::from(n) % running.len()].clone();
                    self.report(task_id, if ends { TaskState::Finished } else { TaskState::Running });
                }
            }
            Action::Acknowledge(n) => {
                let task_id = TaskId::from(format!("t{n}"));
                if let (true, Some(uuid)) = (self.link, self.in_flight.remove(&task_id)) {
                    let framework_id = "F".into();
                    self.step(Event::FromMaster(ToAgent::Acknowledge { framework_id, task_id, uuid }));
                }
            }
            Action::Link(up) if up != self.link => {
                self.link = up;
                self.in_flight.clear();
                self.step(if up { Event::LinkUp } else { Event::LinkDown });
            }
            Action::Link(_) => {}
            Action::Wait(milliseconds) => {
                self.now = self.now + std::time::Duration::from_millis(milliseconds.into());
                self.step(Event::Tick);
            }
            Action::ExecutorDies => {
                if let Some(container_id) = self.process.container.take() {
                    self.process.connection = None;
                    self.process.unacknowledged.clear();
                    self.step(Event::Exited { container_id, status: 9, limitation: None });
                }
            }
            Action::ExecutorSubscribes => self.subscribe(),
            Action::Crash { before_effects } if before_effects => self.crash_next = true,
            Action::Crash { .. } => self.recover(),
        }
    }

    fn subscribe(&mut self) {
        if self.process.container.is_none() {
            return;
        }
        let connection = ConnectionId(self.next_connection);
        self.next_connection += 1;
        self.process.connection = Some(connection);
        self.step(Event::Subscribe {
            request: RequestId(0),
            connection,
            framework_id: "F".into(),
            executor_id: "x".into(),
            unacknowledged_tasks: self.process.no_update_yet.iter().cloned().collect(),
            unacknowledged_updates: self.process.unacknowledged.clone(),
        });
    }

    /// Without further faults, everything must complete.
    fn drain(&mut self) {
        self.crash_next = false;
        self.apply(Action::Link(true));
        for _ in 0..40 {
            self.apply(Action::Wait(60_000));
            self.apply(Action::Link(true));
            if self.process.connection.is_none() {
                self.subscribe();
            }
            (0..TASKS).for_each(|n| self.apply(Action::Acknowledge(n)));
        }
        for id in self.process.running.clone() {
            self.report(id, TaskState::Finished);
        }
        for _ in 0..600 {
            (0..TASKS).for_each(|n| self.apply(Action::Acknowledge(n)));
        }
    }

    fn check(&self) {
        for (task_id, acknowledged) in &self.acknowledged {
            let received: Vec<_> =
                self.received.get(task_id).into_iter().flatten().map(|(id, _)| *id).collect();
            let ended = self.received[task_id].iter().position(|(_, state)| state.is_terminal());
            let arrived: Vec<_> = received.iter().filter(|id| acknowledged.contains(id)).copied().collect();
            // An update after a terminal one of the agent is dropped correctly.
            assert!(acknowledged.starts_with(&arrived), "{task_id}: order kept");
            assert!(arrived == *acknowledged || ended == Some(received.len() - 1), "{task_id}: nothing lost");
        }
        for task_id in &self.launched {
            let last = self.received.get(task_id).and_then(|received| received.last());
            assert!(last.is_some_and(|(_, state)| state.is_terminal()), "{task_id} has no end: {last:?}");
        }
        assert_eq!(self.agent.undelivered().count(), 0);
    }
}

fn any_action() -> impl Strategy<Value = Action> {
    prop_oneof![
        4 => (0..TASKS).prop_map(Action::Launch),
        1 => (0..TASKS).prop_map(Action::Kill),
        5 => (any::<u8>(), prop::bool::weighted(0.2)).prop_map(|(n, ends)| Action::Report(n, ends)),
        5 => (0..TASKS).prop_map(Action::Acknowledge),
        1 => any::<bool>().prop_map(Action::Link),
        3 => (0u16..15_000).prop_map(Action::Wait),
        1 => Just(Action::ExecutorDies),
        4 => Just(Action::ExecutorSubscribes),
        1 => any::<bool>().prop_map(|before_effects| Action::Crash { before_effects }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn updates_arrive_in_order_and_no_task_starts_twice(
        respawns in any::<bool>(),
        actions in prop::collection::vec(any_action(), 1..120),
    ) {
        let mut harness = Harness::new(respawns);
        for action in actions {
            harness.apply(action);
        }
        harness.drain();
        harness.check();
    }
}
