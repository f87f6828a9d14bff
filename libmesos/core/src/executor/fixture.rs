//! An executor's driver under test, and what its effects contain.

use kernel_wire::v1::{self, executor::call::Type};
use prost::Message;

use super::*;
use crate::machine::{CallOutcome, CloseReason};
use crate::wire::{
    Id,
    executor::{self as wire, event},
};

/// A driver with a virtual clock and a record of its effects.
pub(super) struct Fixture {
    pub(super) driver: Driver,
    pub(super) now: Time,
    pub(super) effects: Vec<Effect>,
}

pub(super) fn config(checkpoint: bool) -> Config {
    Config {
        endpoint: crate::master::endpoint("a:5051").unwrap(),
        path: "/slave(1)/api/v1/executor".into(),
        framework_id: "f".into(),
        executor_id: "e".into(),
        agent_id: "a".into(),
        checkpoint,
        recovery_timeout: Duration::from_secs(60),
        backoff_max: Duration::from_secs(2),
        shutdown_grace: Duration::from_secs(5),
        local: false,
        token: None,
    }
}

pub(super) fn subscribed() -> wire::Event {
    let subscribed = wire::Subscribed {
        executor_info: Bytes::from_static(b"e"),
        framework_info: Bytes::from_static(b"f"),
        agent_info: Bytes::from_static(b"a"),
    };
    wire::Event { r#type: Some(event::SUBSCRIBED), subscribed: Some(subscribed), ..Default::default() }
}

pub(super) fn task(id: &str) -> Bytes {
    let info = v1::TaskInfo {
        name: "n".into(),
        task_id: v1::TaskId { value: id.into() },
        agent_id: v1::AgentId { value: "a".into() },
        data: Some(Bytes::from_static(b"work")),
        ..Default::default()
    };
    info.encode_to_vec().into()
}

pub(super) fn launch(id: &str) -> wire::Event {
    let launch = wire::Launch { task: task(id) };
    wire::Event { r#type: Some(event::LAUNCH), launch: Some(launch), ..Default::default() }
}

pub(super) fn kill(id: &str) -> wire::Event {
    let task_id = Id { value: id.into() }.encode_to_vec().into();
    let kill = wire::Kill { task_id };
    wire::Event { r#type: Some(event::KILL), kill: Some(kill), ..Default::default() }
}

pub(super) fn acknowledged(status: &v1::TaskStatus) -> wire::Event {
    let acknowledged = wire::Acknowledged {
        task_id: Id { value: status.task_id.value.clone() },
        uuid: status.uuid.clone().unwrap(),
    };
    wire::Event { r#type: Some(event::ACKNOWLEDGED), acknowledged: Some(acknowledged), ..Default::default() }
}

pub(super) fn shutdown() -> wire::Event {
    wire::Event { r#type: Some(event::SHUTDOWN), ..Default::default() }
}

/// A status as an executor makes it.
pub(super) fn status(id: &str, state: v1::TaskState) -> Request {
    let status = v1::TaskStatus {
        task_id: v1::TaskId { value: id.into() },
        state: state as i32,
        // Of a status that it has kept: all this is replaced.
        uuid: Some(Bytes::from_static(b"old")),
        agent_id: Some(v1::AgentId { value: "old".into() }),
        ..Default::default()
    };
    Request::Update { status: status.encode_to_vec().into() }
}

impl Fixture {
    pub(super) fn new(checkpoint: bool) -> Self {
        Fixture {
            driver: Driver::new(Ok(config(checkpoint)), 1),
            now: Time(1_000_000_000),
            effects: Vec::new(),
        }
    }

    /// A driver that is subscribed, whose `registered` has returned.
    pub(super) fn subscribed(checkpoint: bool) -> Self {
        let mut fixture = Self::new(checkpoint);
        fixture.step(Event::Start);
        fixture.record(subscribed());
        fixture.returned();
        fixture.effects.clear();
        fixture
    }

    pub(super) fn step(&mut self, event: Event) -> Vec<Effect> {
        let effects = self.driver.step(self.now, event);
        self.effects.extend(effects.clone());
        effects
    }

    pub(super) fn record(&mut self, event: wire::Event) -> Vec<Effect> {
        let stream = self.driver.current_stream().unwrap_or(0);
        self.step(Event::Record { stream, record: event.encode_to_vec().into() })
    }

    pub(super) fn request(&mut self, request: Request) -> Vec<Effect> {
        self.step(Event::Request(request))
    }

    pub(super) fn returned(&mut self) -> Vec<Effect> {
        self.step(Event::CallbackReturned { thrown: None })
    }

    pub(super) fn lose(&mut self) -> Vec<Effect> {
        let stream = self.driver.current_stream().unwrap_or(0);
        self.step(Event::StreamClosed { stream, reason: CloseReason::Lost("reset".into()) })
    }

    pub(super) fn advance_to_deadline(&mut self) -> Vec<Effect> {
        self.now = self.driver.next_deadline().unwrap();
        self.step(Event::Tick)
    }

    pub(super) fn answer(&mut self, outcome: CallOutcome) -> Vec<Effect> {
        let call = self.effects.iter().rev().find_map(|effect| match effect {
            Effect::Call { call, .. } => Some(*call),
            _ => None,
        });
        self.step(Event::CallAnswered { call: call.unwrap(), outcome })
    }
}

/// The calls among effects, as complete messages.
pub(super) fn calls(effects: &[Effect]) -> Vec<v1::executor::Call> {
    let body = |effect: &Effect| match effect {
        Effect::Connect { body, .. } | Effect::Call { body, .. } => Some(body.clone()),
        _ => None,
    };
    effects.iter().filter_map(body).map(|body| v1::executor::Call::decode(body).unwrap()).collect()
}

/// The statuses of the calls UPDATE among effects.
pub(super) fn updates(effects: &[Effect]) -> Vec<v1::TaskStatus> {
    let calls = calls(effects).into_iter().filter(|call| call.r#type() == Type::Update);
    calls.map(|call| call.update.unwrap().status).collect()
}

/// What the subscription among effects carries: ids of tasks, and statuses.
pub(super) fn subscription(effects: &[Effect]) -> Option<(Vec<String>, Vec<v1::TaskStatus>)> {
    let call = calls(effects).into_iter().find(|call| call.r#type() == Type::Subscribe)?;
    let subscribe = call.subscribe.unwrap();
    let tasks = subscribe.unacknowledged_tasks.into_iter().map(|task| task.task_id.value).collect();
    Some((tasks, subscribe.unacknowledged_updates.into_iter().map(|update| update.status).collect()))
}

/// The names of the callbacks among effects.
pub(super) fn callbacks(effects: &[Effect]) -> Vec<&'static str> {
    let name = |effect: &Effect| match effect {
        Effect::Callback(callback) => Some(callback.name()),
        _ => None,
    };
    effects.iter().filter_map(name).collect()
}

/// When the process group is killed.
pub(super) fn killed_after(effects: &[Effect]) -> Option<Duration> {
    effects.iter().find_map(|effect| match effect {
        Effect::KillGroup { after } => Some(*after),
        _ => None,
    })
}
