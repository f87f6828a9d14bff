//! The driver against a master and a framework that do anything in any order: lost and late answers, repeated and reordered
//! records, stops and exceptions at any time.

use std::collections::BTreeSet;

use kernel_wire::v1;
use proptest::prelude::*;
use prost::Message;

use super::fixture::{Fixture, callbacks, calls, launch, leader, update, update_event};
use super::*;

#[derive(Debug, Clone)]
enum Action {
    Leader(bool),
    Open,
    Update(u8, bool),
    /// A record of an earlier stream.
    StaleUpdate(u8),
    Lose,
    Redirect,
    Launch(u8),
    Kill(u8),
    Acknowledge(u8),
    Suppress,
    Revive,
    Return(bool),
    /// The outcome of the call in flight, or of one that was in flight.
    Answer(u8, bool),
    Deadline,
    Stop(bool),
    Abort,
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        2 => any::<bool>().prop_map(Action::Leader),
        6 => Just(Action::Open),
        8 => (any::<u8>(), any::<bool>()).prop_map(|(task, uuid)| Action::Update(task, uuid)),
        1 => any::<u8>().prop_map(Action::StaleUpdate),
        2 => Just(Action::Lose),
        1 => Just(Action::Redirect),
        6 => any::<u8>().prop_map(Action::Launch),
        2 => any::<u8>().prop_map(Action::Kill),
        2 => any::<u8>().prop_map(Action::Acknowledge),
        1 => Just(Action::Suppress),
        1 => Just(Action::Revive),
        10 => prop::bool::weighted(0.01).prop_map(Action::Return),
        8 => (0..3u8, prop::bool::weighted(0.8)).prop_map(|(back, ok)| Action::Answer(back, ok)),
        3 => Just(Action::Deadline),
        1 => prop::bool::weighted(0.02).prop_map(Action::Stop),
    ]
}

/// What has been seen from outside.
#[derive(Default)]
struct Observer {
    in_callback: bool,
    /// The kinds of subscription callbacks, to see their alternation.
    connected: bool,
    was_registered: bool,
    calls: Vec<u64>,
    in_flight: Option<u64>,
    open: BTreeSet<u64>,
    /// uuids whose callback has returned.
    returned: BTreeSet<Vec<u8>>,
    current: Option<Callback>,
    closed: bool,
}

impl Observer {
    fn see(&mut self, effects: &[Effect], status: Status) {
        for effect in effects {
            match effect {
                Effect::Callback(callback) => self.callback(callback, status),
                Effect::Connect { stream, .. } => {
                    assert!(self.open.is_empty(), "two streams at once");
                    assert!(!self.closed, "a connection after the end");
                    self.open.insert(*stream);
                }
                Effect::Disconnect { stream } => {
                    assert!(self.open.remove(stream), "a stream is closed twice");
                    self.in_flight = None;
                }
                Effect::Call { call, body, .. } => {
                    assert!(!self.open.is_empty(), "a call without a stream");
                    assert_eq!(self.in_flight, None, "two calls at once");
                    assert!(self.calls.last().is_none_or(|last| last < call), "calls out of order");
                    self.calls.push(*call);
                    self.in_flight = Some(*call);
                    self.acknowledgement(body);
                }
                Effect::Closed => {
                    assert!(!self.closed, "closed twice");
                    self.closed = true;
                }
                Effect::Detect | Effect::Log(_) => {}
                Effect::KillGroup { .. } | Effect::Reach { .. } => panic!("not of a scheduler"),
            }
        }
    }

    fn callback(&mut self, callback: &Callback, status: Status) {
        assert!(!self.in_callback, "two callbacks at once");
        self.in_callback = true;
        self.current = Some(callback.clone());
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
            Callback::Error { .. } => assert_ne!(status, Status::Running),
            _ => assert_eq!(status, Status::Running, "a callback after the end"),
        }
    }

    /// No update is acknowledged before its callback has returned.
    fn acknowledgement(&mut self, body: &Bytes) {
        let call = v1::scheduler::Call::decode(body.clone()).unwrap();
        if let Some(acknowledge) = call.acknowledge {
            assert!(
                self.returned.contains(acknowledge.uuid.as_ref()),
                "acknowledged before its callback returned"
            );
        }
    }

    fn returned(&mut self) {
        self.in_callback = false;
        if let Some(Callback::StatusUpdate { status }) = self.current.take() {
            let uuid = wire::TaskStatus::decode(status).unwrap().uuid;
            self.returned.extend(uuid.map(|uuid| uuid.to_vec()));
        }
    }
}

/// 256 distinct uuids.
fn uuid(task: u8) -> &'static str {
    const DIGITS: &str = "0123456789abcdefghijklmnopqrstuvwxyz";
    let (row, column) = (usize::from(task) / 16, usize::from(task) % 16);
    &DIGITS[row..row + column + 1]
}

fn perform(fixture: &mut Fixture, observer: &mut Observer, action: Action) {
    let event = match action {
        Action::Leader(some) => Event::Leader(some.then(leader)),
        Action::Open => {
            let effects = fixture.open();
            return observer.see(&effects, fixture.driver.status());
        }
        Action::Update(task, with_uuid) => {
            let event = update_event(&task.to_string(), with_uuid.then(|| uuid(task)));
            let effects = fixture.record(event);
            return observer.see(&effects, fixture.driver.status());
        }
        Action::StaleUpdate(task) => Event::Record {
            stream: fixture.stream().saturating_sub(1),
            record: update_event(&task.to_string(), Some("stale")).encode_to_vec().into(),
        },
        Action::Lose => {
            Event::StreamClosed { stream: fixture.stream(), reason: CloseReason::Lost(String::new()) }
        }
        Action::Redirect => {
            Event::StreamClosed { stream: fixture.stream(), reason: CloseReason::Redirected(leader()) }
        }
        Action::Launch(task) => Event::Request(launch(&task.to_string())),
        Action::Kill(task) => Event::Request(Request::Kill { task: vec![10, 1, task & 0x7f].into() }),
        // Only of what was delivered, as the Java library's users do.
        Action::Acknowledge(task) if observer.returned.contains(uuid(task).as_bytes()) => {
            let status = update(&task.to_string(), Some(uuid(task)));
            Event::Request(Request::Acknowledge { status })
        }
        Action::Acknowledge(_) => return,
        Action::Suppress => Event::Request(Request::Suppress(None)),
        Action::Revive => Event::Request(Request::Revive(None)),
        Action::Return(thrown) => {
            if !observer.in_callback {
                return;
            }
            observer.returned();
            Event::CallbackReturned { thrown: thrown.then(|| "x".to_owned()) }
        }
        Action::Answer(back, ok) => {
            let Some(call) = observer.calls.iter().rev().nth(back.into()).copied() else { return };
            if observer.in_flight == Some(call) {
                observer.in_flight = None;
            }
            let outcome = if ok { CallOutcome::Accepted } else { CallOutcome::Lost("timeout".to_owned()) };
            Event::CallAnswered { call, outcome }
        }
        Action::Deadline => {
            let Some(deadline) = fixture.driver.next_deadline() else { return };
            fixture.now = fixture.now.max(deadline);
            Event::Tick
        }
        Action::Stop(failover) => Event::Stop { failover },
        Action::Abort => Event::Abort,
    };
    let effects = fixture.step(event);
    observer.see(&effects, fixture.driver.status());
}

/// From any state: an end in bounded time, without the master's help.
fn ends(fixture: &mut Fixture, observer: &mut Observer) {
    perform(fixture, observer, Action::Stop(false));
    for _ in 0..3 {
        if fixture.driver.is_finished() {
            break;
        }
        perform(fixture, observer, Action::Deadline);
        perform(fixture, observer, Action::Return(false));
    }
    assert!(fixture.driver.is_finished());
    assert!(observer.closed && observer.open.is_empty(), "something is left open");
}

proptest! {
    #[test]
    fn any_sequence_keeps_the_rules_of_the_driver(
        implicit in any::<bool>(),
        actions in prop::collection::vec(action(), 0..400),
        aborted in prop::bool::weighted(0.1),
    ) {
        let mut fixture = Fixture::new(implicit);
        let mut observer = Observer::default();
        let effects = fixture.step(Event::Start);
        observer.see(&effects, fixture.driver.status());
        perform(&mut fixture, &mut observer, Action::Leader(true));
        for action in actions {
            perform(&mut fixture, &mut observer, action);
        }
        if aborted {
            perform(&mut fixture, &mut observer, Action::Abort);
        }
        ends(&mut fixture, &mut observer);
    }

    #[test]
    fn every_launch_is_sent_told_lost_or_reconciled(actions in prop::collection::vec(action(), 0..300)) {
        let mut fixture = Fixture::new(true);
        let mut observer = Observer::default();
        let mut launched = 0_u32;
        fixture.step(Event::Start);
        perform(&mut fixture, &mut observer, Action::Leader(true));
        for action in actions {
            // Each launch has a name of its own here.
            let action = match action {
                Action::Stop(_) | Action::Abort | Action::Return(true) => continue,
                Action::Launch(_) => {
                    launched += 1;
                    let effects = fixture.step(Event::Request(launch(&format!("launch-{launched}"))));
                    observer.see(&effects, Status::Running);
                    continue;
                }
                other => other,
            };
            perform(&mut fixture, &mut observer, action);
        }
        // A master that answers from now on.
        for _ in 0..10_000 {
            perform(&mut fixture, &mut observer, Action::Return(false));
            perform(&mut fixture, &mut observer, Action::Leader(true));
            if !matches!(fixture.driver.phase, Phase::Subscribed(_)) {
                perform(&mut fixture, &mut observer, Action::Deadline);
                perform(&mut fixture, &mut observer, Action::Open);
            }
            if observer.in_flight.is_some() {
                perform(&mut fixture, &mut observer, Action::Answer(0, true));
            }
            if !observer.in_callback && observer.in_flight.is_none() {
                break;
            }
        }
        let told = settled(&fixture.effects);
        for number in 1..=launched {
            prop_assert!(told.contains(&format!("launch-{number}")), "launch-{} has no outcome", number);
        }
    }
}

/// Tasks whose launch was sent, or of which the framework was told.
fn settled(effects: &[Effect]) -> BTreeSet<String> {
    let mut told = BTreeSet::new();
    for call in calls(effects) {
        let operations = call.accept.into_iter().flat_map(|accept| accept.operations);
        let tasks = operations.filter_map(|o| o.launch).flat_map(|launch| launch.task_infos);
        told.extend(tasks.map(|task| task.task_id.value));
    }
    for callback in callbacks(effects) {
        if let Callback::StatusUpdate { status } = callback {
            told.insert(wire::TaskStatus::decode(status).unwrap().task_id.value);
        }
    }
    told
}
