//! The driver against an agent and an executor that do anything in any order: lost and late answers, restarts of the agent,
//! orders to shut down, stops and exceptions at any time. The agent here believes what it is told, as a real one does.

use std::collections::{BTreeMap, BTreeSet};

use kernel_wire::v1::{self, TaskState};
use proptest::prelude::*;

use super::fixture::*;
use super::*;
use crate::machine::{CallOutcome, CloseReason};

#[derive(Debug, Clone)]
enum Action {
    Subscribed,
    Launch(u8),
    Update(u8),
    /// Acknowledges the oldest update that the agent has.
    Acknowledge,
    Lose,
    Return(bool),
    /// The outcome of the call in flight, or of one that was in flight.
    Answer(u8, bool),
    Deadline,
    Shutdown,
    Stop,
    Abort,
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        6 => Just(Action::Subscribed),
        6 => any::<u8>().prop_map(Action::Launch),
        8 => any::<u8>().prop_map(Action::Update),
        6 => Just(Action::Acknowledge),
        2 => Just(Action::Lose),
        10 => prop::bool::weighted(0.01).prop_map(Action::Return),
        8 => (0..3u8, prop::bool::weighted(0.8)).prop_map(|(back, ok)| Action::Answer(back, ok)),
        4 => Just(Action::Deadline),
        1 => prop::bool::weighted(0.1).prop_map(|on| if on { Action::Shutdown } else { Action::Deadline }),
        1 => prop::bool::weighted(0.05).prop_map(|on| if on { Action::Stop } else { Action::Deadline }),
        1 => prop::bool::weighted(0.05).prop_map(|on| if on { Action::Abort } else { Action::Deadline }),
    ]
}

/// What has been seen from outside, and what the agent has been told.
#[derive(Default)]
struct Observer {
    in_callback: bool,
    connected: bool,
    was_registered: bool,
    shut_down: bool,
    kills: u32,
    open: BTreeSet<u64>,
    in_flight: Option<u64>,
    calls: Vec<u64>,
    closed: bool,
    /// Updates that the executor has sent.
    requested: usize,
    /// Updates in the order in which the agent has got them.
    arrived: Vec<v1::TaskStatus>,
    launched: BTreeMap<String, usize>,
}

impl Observer {
    fn see(&mut self, effects: &[Effect], status: Status) {
        for effect in effects {
            match effect {
                Effect::Callback(callback) => self.callback(callback, status),
                Effect::Connect { stream, .. } => {
                    assert!(self.open.is_empty() && !self.closed, "two streams, or one after the end");
                    self.open.insert(*stream);
                    self.arrived.extend(subscription(std::slice::from_ref(effect)).unwrap().1);
                }
                Effect::Disconnect { stream } => {
                    assert!(self.open.remove(stream), "a stream is closed twice");
                    self.in_flight = None;
                }
                Effect::Call { call, .. } => {
                    assert!(!self.open.is_empty() && self.in_flight.is_none(), "two calls, or no stream");
                    assert!(self.calls.last().is_none_or(|last| last < call), "calls out of order");
                    self.calls.push(*call);
                    self.in_flight = Some(*call);
                    self.arrived.extend(updates(std::slice::from_ref(effect)));
                }
                Effect::KillGroup { .. } => self.kills += 1,
                Effect::Closed => {
                    assert!(!self.closed, "closed twice");
                    self.closed = true;
                }
                Effect::Detect | Effect::Reach { .. } => panic!("an executor knows its agent"),
                Effect::Log(_) => {}
            }
        }
        assert!(self.kills <= 1);
    }

    fn callback(&mut self, callback: &Callback, status: Status) {
        assert!(!self.in_callback, "two callbacks at once");
        self.in_callback = true;
        assert!(!self.shut_down || matches!(callback, Callback::Error { .. }), "nothing after shutdown");
        match callback {
            Callback::Registered { .. } => {
                assert!(!self.was_registered && !self.connected);
                (self.was_registered, self.connected) = (true, true);
            }
            Callback::Reregistered { .. } => {
                assert!(self.was_registered && !self.connected, "reregistered without disconnected");
                self.connected = true;
            }
            Callback::Disconnected => {
                assert!(self.connected, "disconnected twice");
                self.connected = false;
            }
            Callback::LaunchTask { task } => {
                let id = <v1::TaskInfo as prost::Message>::decode(task.clone()).unwrap().task_id.value;
                *self.launched.entry(id).or_default() += 1;
            }
            Callback::Shutdown => self.shut_down = true,
            Callback::Error { .. } => assert_ne!(status, Status::Running),
            Callback::KillTask { .. } | Callback::FrameworkMessage { .. } => {}
        }
        if !matches!(callback, Callback::Error { .. }) {
            assert_eq!(status, Status::Running, "a callback after the end");
        }
    }
}

fn act(
    fixture: &mut Fixture,
    observer: &mut Observer,
    acknowledged_uuids: &mut BTreeSet<Bytes>,
    action: Action,
) {
    let stream = fixture.driver.current_stream().unwrap_or(0);
    let effects = match action {
        Action::Subscribed => fixture.record(subscribed()),
        Action::Launch(task) => fixture.record(launch(&format!("t{}-{stream}", task % 8))),
        Action::Update(task) => {
            let numbered = v1::TaskStatus {
                task_id: v1::TaskId { value: format!("t{}", task % 8) },
                state: TaskState::TaskRunning as i32,
                message: Some(observer.requested.to_string()),
                ..Default::default()
            };
            if fixture.driver.status() == Status::Running {
                observer.requested += 1;
            }
            fixture.request(Request::Update { status: prost::Message::encode_to_vec(&numbered).into() })
        }
        Action::Acknowledge => {
            let next = observer.arrived.iter().find(|status| {
                let uuid = status.uuid.clone().unwrap();
                !acknowledged_uuids.contains(&uuid)
            });
            let Some(status) = next.cloned() else { return };
            if stream != 0 && fixture.driver.status() == Status::Running {
                acknowledged_uuids.insert(status.uuid.clone().unwrap());
            }
            fixture.record(acknowledged(&status))
        }
        Action::Lose => fixture.lose(),
        Action::Return(throws) => {
            if !std::mem::take(&mut observer.in_callback) {
                return;
            }
            fixture.step(Event::CallbackReturned { thrown: throws.then(|| "thrown".to_owned()) })
        }
        Action::Answer(back, ok) => {
            let Some(call) = observer.calls.iter().rev().nth(back.into()).copied() else { return };
            if observer.in_flight == Some(call) {
                observer.in_flight = None;
            }
            let outcome = if ok { CallOutcome::Accepted } else { CallOutcome::Lost("reset".into()) };
            fixture.step(Event::CallAnswered { call, outcome })
        }
        Action::Deadline => {
            let Some(deadline) = fixture.driver.next_deadline() else { return };
            fixture.now = fixture.now.max(deadline);
            fixture.step(Event::Tick)
        }
        Action::Shutdown => fixture.record(shutdown()),
        Action::Stop => fixture.step(Event::Stop { failover: false }),
        Action::Abort => fixture.step(Event::Abort),
    };
    observer.see(&effects, fixture.driver.status());
}

proptest! {
    #[test]
    fn any_sequence_keeps_the_rules_of_the_executor_driver(checkpoint: bool, actions in prop::collection::vec(action(), 0..200)) {
        let mut fixture = Fixture::new(checkpoint);
        let mut observer = Observer::default();
        let mut acknowledged = BTreeSet::new();
        let effects = fixture.step(Event::Start);
        observer.see(&effects, fixture.driver.status());
        for action in actions {
            act(&mut fixture, &mut observer, &mut acknowledged, action);
        }
        // Each launch was told at most once.
        prop_assert!(observer.launched.values().all(|times| *times == 1), "{:?}", observer.launched);
        // Whatever state it is in, a stop ends it in bounded time.
        let effects = fixture.step(Event::Stop { failover: false });
        observer.see(&effects, fixture.driver.status());
        if !fixture.driver.is_closed() {
            let effects = fixture.advance_to_deadline();
            observer.see(&effects, fixture.driver.status());
        }
        prop_assert!(fixture.driver.is_closed());
    }

    /// With an agent that returns, each update arrives, and those of a stream in the order in which they were sent.
    #[test]
    fn each_update_arrives_in_order(actions in prop::collection::vec(action(), 0..200)) {
        let mut fixture = Fixture::new(true);
        let mut observer = Observer::default();
        let mut acknowledged = BTreeSet::new();
        let effects = fixture.step(Event::Start);
        observer.see(&effects, fixture.driver.status());
        for action in actions {
            if matches!(action, Action::Stop | Action::Abort | Action::Shutdown | Action::Return(true)) {
                continue;
            }
            act(&mut fixture, &mut observer, &mut acknowledged, action);
        }
        if killed_after(&fixture.effects).is_some() {
            return Ok(()); // The agent has stayed away.
        }
        while !matches!(fixture.driver.phase, Phase::Subscribed { .. }) {
            let next = match fixture.driver.phase {
                Phase::Subscribing { .. } => Action::Subscribed,
                _ => Action::Deadline,
            };
            act(&mut fixture, &mut observer, &mut acknowledged, next);
            if killed_after(&fixture.effects).is_some() {
                return Ok(());
            }
        }
        while observer.in_flight.is_some() {
            act(&mut fixture, &mut observer, &mut acknowledged, Action::Answer(0, true));
        }
        let mut first_arrivals: Vec<usize> = Vec::new();
        for status in &observer.arrived {
            let number = status.message.clone().unwrap().parse().unwrap();
            if !first_arrivals.contains(&number) {
                first_arrivals.push(number);
            }
        }
        prop_assert_eq!(first_arrivals, (0..observer.requested).collect::<Vec<_>>());
    }
}

#[test]
fn a_lost_subscription_is_not_a_refusal() {
    let mut fixture = Fixture::new(true);
    fixture.step(Event::Start);
    let reason = CloseReason::Lost("503 Service Unavailable: the agent recovers".into());
    fixture.step(Event::StreamClosed { stream: 1, reason });
    assert_eq!(fixture.driver.status(), Status::Running);
    assert!(fixture.driver.next_deadline().is_some());
}
