//! A driver under test, and what its effects contain.

use kernel_wire::v1;
use prost::Message;

use super::*;
use crate::wire::event;

/// A driver with a virtual clock and a record of its effects.
pub(super) struct Fixture {
    pub(super) driver: Driver,
    pub(super) now: Time,
    pub(super) effects: Vec<Effect>,
}

pub(super) fn framework(roles: &[&str]) -> Bytes {
    let multi_role = v1::framework_info::capability::Type::MultiRole as i32;
    let info = v1::FrameworkInfo {
        user: "u".into(),
        name: "n".into(),
        roles: roles.iter().map(|r| (*r).to_owned()).collect(),
        capabilities: vec![v1::framework_info::Capability { r#type: Some(multi_role) }],
        ..Default::default()
    };
    info.encode_to_vec().into()
}

pub(super) fn leader() -> Endpoint {
    crate::master::endpoint("m:5050").unwrap()
}

pub(super) fn id(value: &str) -> Bytes {
    wire::Id { value: value.to_owned() }.encode_to_vec().into()
}

pub(super) fn update(task: &str, uuid: Option<&'static str>) -> Bytes {
    let status = wire::TaskStatus {
        task_id: wire::Id { value: task.into() },
        state: 1,
        agent_id: Some(wire::Id { value: "a".into() }),
        uuid: uuid.map(Bytes::from),
        ..Default::default()
    };
    status.encode_to_vec().into()
}

pub(super) fn update_event(task: &str, uuid: Option<&'static str>) -> wire::Event {
    wire::Event {
        r#type: Some(event::UPDATE),
        update: Some(wire::Update { status: update(task, uuid) }),
        ..Default::default()
    }
}

pub(super) fn launch(task: &str) -> Request {
    let task = v1::TaskInfo {
        name: task.into(),
        task_id: v1::TaskId { value: task.into() },
        agent_id: v1::AgentId { value: "a".into() },
        ..Default::default()
    };
    Request::launch(vec![id("o")], vec![task.encode_to_vec().into()], None)
}

impl Fixture {
    pub(super) fn new(implicit: bool) -> Self {
        let config = Config {
            framework: framework(&["r1", "r2"]),
            suppressed_roles: Vec::new(),
            implicit_acknowledgements: implicit,
            seed: 1,
        };
        Fixture { driver: Driver::new(config), now: Time(1_000_000_000), effects: Vec::new() }
    }

    /// A driver that is subscribed, whose `registered` has returned.
    pub(super) fn subscribed(implicit: bool) -> Self {
        let mut fixture = Self::new(implicit);
        fixture.step(Event::Start);
        fixture.step(Event::Leader(Some(leader())));
        fixture.open();
        fixture.returned();
        fixture.effects.clear();
        fixture
    }

    pub(super) fn step(&mut self, event: Event) -> Vec<Effect> {
        let effects = self.driver.step(self.now, event);
        self.effects.extend(effects.clone());
        effects
    }

    pub(super) fn stream(&self) -> u64 {
        self.driver.current_stream().unwrap_or(0)
    }

    pub(super) fn record(&mut self, event: wire::Event) -> Vec<Effect> {
        let record = event.encode_to_vec().into();
        self.step(Event::Record { stream: self.stream(), record })
    }

    /// The master answers SUBSCRIBE.
    pub(super) fn open(&mut self) -> Vec<Effect> {
        self.step(Event::StreamOpened { stream: self.stream(), id: "s".into() });
        self.record(wire::Event {
            r#type: Some(event::SUBSCRIBED),
            subscribed: Some(wire::Subscribed {
                framework_id: wire::Id { value: "f".into() },
                heartbeat_interval_seconds: Some(15.0),
                master_info: Some(Bytes::from_static(b"m")),
            }),
            ..Default::default()
        })
    }

    pub(super) fn returned(&mut self) -> Vec<Effect> {
        self.step(Event::CallbackReturned { thrown: None })
    }

    pub(super) fn lose(&mut self) -> Vec<Effect> {
        let reason = CloseReason::Lost("reset".into());
        self.step(Event::StreamClosed { stream: self.stream(), reason })
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
pub(super) fn calls(effects: &[Effect]) -> Vec<v1::scheduler::Call> {
    let body = |effect: &Effect| match effect {
        Effect::Connect { body, .. } | Effect::Call { body, .. } => Some(body.clone()),
        _ => None,
    };
    effects.iter().filter_map(body).map(|body| v1::scheduler::Call::decode(body).unwrap()).collect()
}

pub(super) fn callbacks(effects: &[Effect]) -> Vec<Callback> {
    let callback = |effect: &Effect| match effect {
        Effect::Callback(callback) => Some(callback.clone()),
        _ => None,
    };
    effects.iter().filter_map(callback).collect()
}
