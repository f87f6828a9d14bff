//! The library of the v1 API, situation by situation, and under any sequence of events.

use std::collections::BTreeSet;

use kernel_wire::v1;
use proptest::prelude::*;

use super::*;
use crate::machine::{CallOutcome, CloseReason};
use crate::wire::call;

struct Fixture {
    library: Library,
    now: Time,
    effects: Vec<Effect>,
}

fn master() -> Endpoint {
    crate::master::endpoint("m:5050").unwrap()
}

fn send(kind: i32) -> Event {
    let call = wire::Call { r#type: Some(kind), ..Default::default() };
    Event::Request(Request::Send(call.encode_to_vec().into()))
}

fn subscribed() -> Bytes {
    let event = wire::Event {
        r#type: Some(event::SUBSCRIBED),
        subscribed: Some(wire::Subscribed {
            framework_id: wire::Id { value: "f".into() },
            ..Default::default()
        }),
        ..Default::default()
    };
    event.encode_to_vec().into()
}

impl Fixture {
    fn new(framework: Option<Bytes>) -> Self {
        let mut fixture =
            Fixture { library: Library::new(framework, 1), now: Time(1_000_000_000), effects: Vec::new() };
        fixture.step(Event::Start);
        fixture.step(Event::Leader(Some(master())));
        fixture
    }

    /// With `connected` returned.
    fn connected(framework: Option<Bytes>) -> Self {
        let mut fixture = Self::new(framework);
        fixture.connect();
        fixture.returned();
        fixture
    }

    fn subscribed() -> Self {
        let mut fixture = Self::connected(None);
        fixture.step(send(call::SUBSCRIBE));
        fixture.open();
        fixture
    }

    fn step(&mut self, event: Event) -> Vec<Effect> {
        let effects = self.library.step(self.now, event);
        self.effects.extend(effects.clone());
        effects
    }

    fn stream(&self) -> u64 {
        self.library.current_stream().unwrap_or(0)
    }

    fn connect(&mut self) -> Vec<Effect> {
        self.advance_to_deadline();
        self.open()
    }

    fn open(&mut self) -> Vec<Effect> {
        self.step(Event::StreamOpened { stream: self.stream(), id: "s".into() })
    }

    fn close(&mut self, reason: CloseReason) -> Vec<Effect> {
        self.step(Event::StreamClosed { stream: self.stream(), reason })
    }

    fn lose(&mut self) -> Vec<Effect> {
        self.close(CloseReason::Lost("reset".into()))
    }

    fn returned(&mut self) -> Vec<Effect> {
        self.step(Event::CallbackReturned { thrown: None })
    }

    fn advance_to_deadline(&mut self) -> Vec<Effect> {
        self.now = self.library.next_deadline().unwrap();
        self.step(Event::Tick)
    }

    /// The callbacks so far; of errors their text.
    fn callbacks(&self) -> Vec<String> {
        let name = |effect: &Effect| match effect {
            Effect::Callback(Callback::Received { event }) => {
                let error = wire::Event::decode(event.clone()).ok().and_then(|event| event.error);
                Some(error.map_or("received".to_owned(), |error| error.message))
            }
            Effect::Callback(callback) => Some(callback.method().replace("Scheduler.", "")),
            _ => None,
        };
        self.effects.iter().filter_map(name).collect()
    }
}

fn calls(effects: &[Effect]) -> Vec<(i32, &str)> {
    let call = |effect: &'_ Effect| match effect {
        Effect::Connect { body, .. } => Some((call_type(body), "")),
        Effect::Call { body, .. } => Some((call_type(body), "s")),
        _ => None,
    };
    effects.iter().filter_map(call).collect()
}

#[test]
fn a_framework_subscribes_after_connected_and_sends_calls() {
    let mut fixture = Fixture::new(None);
    assert_eq!(calls(&fixture.step(send(call::SUBSCRIBE))), [], "before connected, calls are dropped");
    let reaching = fixture.advance_to_deadline();
    assert!(matches!(&reaching[..], [Effect::Reach { to, .. }] if *to == master()));
    fixture.open();
    assert_eq!(fixture.callbacks(), ["connected"]);
    assert_eq!(calls(&fixture.step(send(call::ACCEPT))), [], "not subscribed");
    assert_eq!(calls(&fixture.step(send(call::SUBSCRIBE))), [(call::SUBSCRIBE, "")]);
    assert_eq!(calls(&fixture.step(send(call::SUBSCRIBE))), [], "one at a time");
    fixture.open();
    fixture.step(Event::Record { stream: fixture.stream(), record: subscribed() });
    assert_eq!(fixture.callbacks(), ["connected"], "one callback at a time");
    assert_eq!(fixture.returned(), [Effect::Callback(Callback::Received { event: subscribed() })]);
    assert_eq!(calls(&fixture.step(send(call::REVIVE))), [(call::REVIVE, "s")]);
    assert_eq!(calls(&fixture.step(send(call::ACCEPT))), []);
    let next = fixture.step(Event::CallAnswered { call: 1, outcome: CallOutcome::Accepted });
    assert_eq!(calls(&next), [(call::ACCEPT, "s")]);
    assert!(!fixture.library.is_drained());
    fixture.step(Event::CallAnswered { call: 2, outcome: CallOutcome::Accepted });
    assert!(fixture.library.is_drained());
    assert_eq!(fixture.library.next_deadline(), None);
}

#[test]
fn a_lost_master_is_told_and_looked_for_again() {
    let mut fixture = Fixture::subscribed();
    fixture.step(send(call::KILL));
    fixture.lose();
    assert!(fixture.library.is_drained(), "calls of a lost stream are lost");
    // It does not answer for a while: that is no further callback.
    for _ in 0..5 {
        fixture.advance_to_deadline();
        fixture.lose();
    }
    fixture.connect();
    fixture.returned();
    assert_eq!(fixture.callbacks(), ["connected", "disconnected", "connected"]);
    // Lost while subscribing.
    fixture.returned();
    fixture.step(send(call::SUBSCRIBE));
    fixture.advance_to_deadline();
    assert_eq!(fixture.callbacks().last().unwrap(), "disconnected");
}

#[test]
fn leaders_and_redirects_are_followed() {
    let other = crate::master::endpoint("n:5050").unwrap();
    let mut fixture = Fixture::subscribed();
    fixture.step(Event::Leader(Some(other.clone())));
    let reaching = fixture.advance_to_deadline();
    assert!(matches!(&reaching[..], [Effect::Reach { to, .. }] if *to == other));
    fixture.step(Event::Leader(None));
    assert_eq!(fixture.library.next_deadline(), None);
    let mut redirected = Fixture::connected(None);
    redirected.step(send(call::SUBSCRIBE));
    redirected.close(CloseReason::Redirected(other.clone()));
    let reaching = redirected.advance_to_deadline();
    assert!(matches!(&reaching[..], [Effect::Reach { to, .. }] if *to == other));
    redirected.open();
    redirected.returned();
    assert_eq!(redirected.callbacks(), ["connected", "disconnected", "connected"]);
}

#[test]
fn refusals_are_events() {
    let mut fixture = Fixture::connected(None);
    fixture.step(send(call::SUBSCRIBE));
    fixture.close(CloseReason::Refused("Master refused".into()));
    fixture.returned();
    // The framework may try again.
    assert_eq!(calls(&fixture.step(send(call::SUBSCRIBE))), [(call::SUBSCRIBE, "")]);
    fixture.open();
    fixture.step(send(call::ACCEPT));
    fixture.step(Event::CallAnswered { call: 1, outcome: CallOutcome::Rejected("400: no".into()) });
    let wanted = ["connected", "Master refused", "Received unexpected '400: no' for ACCEPT"];
    assert_eq!(fixture.callbacks(), wanted);
    fixture.returned();
    // An answer that may not have arrived ends the connection.
    fixture.step(send(call::ACCEPT));
    fixture.step(Event::CallAnswered { call: 2, outcome: CallOutcome::Lost("reset".into()) });
    assert_eq!(fixture.callbacks().last().unwrap(), "disconnected");
}

#[test]
fn reconnect_is_for_a_master_that_is_silent() {
    let mut fixture = Fixture::new(None);
    assert_eq!(fixture.step(Event::Request(Request::Reconnect)), [], "without a master");
    let mut fixture = Fixture::subscribed();
    fixture.step(Event::Request(Request::Reconnect));
    fixture.connect();
    fixture.returned();
    assert_eq!(fixture.callbacks(), ["connected", "disconnected", "connected"]);
}

#[test]
fn a_v0_library_subscribes_with_its_own_framework() {
    let info = v1::FrameworkInfo { user: "u".into(), name: "own".into(), ..Default::default() };
    let mut fixture = Fixture::connected(Some(info.encode_to_vec().into()));
    let subscribe = |effects: Vec<Effect>| {
        let body = effects.into_iter().find_map(|effect| match effect {
            Effect::Connect { body, .. } => Some(body),
            _ => None,
        });
        let call = v1::scheduler::Call::decode(body.unwrap()).unwrap();
        let info = call.subscribe.unwrap().framework_info;
        (info.name, info.id.map(|id| id.value), call.framework_id.map(|id| id.value))
    };
    let first = subscribe(fixture.step(send(call::SUBSCRIBE)));
    assert_eq!(first, ("own".to_owned(), None, None));
    fixture.open();
    fixture.step(Event::Record { stream: fixture.stream(), record: subscribed() });
    fixture.lose();
    fixture.connect();
    let again = subscribe(fixture.step(send(call::SUBSCRIBE)));
    assert_eq!(again, ("own".to_owned(), Some("f".to_owned()), Some("f".to_owned())));
}

#[test]
fn an_exception_ends_the_library_with_an_error() {
    let mut fixture = Fixture::new(None);
    fixture.connect();
    fixture.step(Event::CallbackReturned { thrown: Some("no".into()) });
    assert_eq!(fixture.callbacks(), ["connected", "Exception in Scheduler.connected: no"]);
    assert!(fixture.effects.contains(&Effect::Closed));
    fixture.returned();
    assert!(fixture.library.is_idle());
    assert_eq!(calls(&fixture.step(send(call::SUBSCRIBE))), []);
    let mut stopped = Fixture::subscribed();
    stopped.step(Event::Abort);
    assert!(stopped.library.is_idle());
}

#[derive(Debug, Clone)]
enum Action {
    Leader(Option<u8>),
    Open,
    Close(u8),
    Record,
    Send(i32),
    Return(bool),
    Answer(u8),
    Deadline,
    Reconnect,
    Abort,
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        2 => prop::option::weighted(0.8, 0..3u8).prop_map(Action::Leader),
        6 => Just(Action::Open),
        2 => (0..3u8).prop_map(Action::Close),
        4 => Just(Action::Record),
        8 => (0..6).prop_map(Action::Send),
        8 => prop::bool::weighted(0.01).prop_map(Action::Return),
        6 => (0..4u8).prop_map(Action::Answer),
        5 => Just(Action::Deadline),
        1 => Just(Action::Reconnect),
        1 => prop::bool::weighted(0.05).prop_map(|on| if on { Action::Abort } else { Action::Open }),
    ]
}

#[derive(Default)]
struct Observer {
    in_callback: bool,
    connected: bool,
    open: BTreeSet<u64>,
    in_flight: Option<u64>,
    closed: bool,
}

impl Observer {
    fn see(&mut self, effects: &[Effect], status: Status) {
        for effect in effects {
            match effect {
                Effect::Callback(callback) => {
                    assert!(!std::mem::replace(&mut self.in_callback, true), "two callbacks at once");
                    match callback {
                        Callback::Connected => assert!(!std::mem::replace(&mut self.connected, true)),
                        Callback::Disconnected => assert!(std::mem::replace(&mut self.connected, false)),
                        Callback::Received { .. } => {
                            assert!(self.connected || status != Status::Running, "an event before connected");
                        }
                    }
                }
                Effect::Connect { stream, .. } | Effect::Reach { stream, .. } => {
                    assert!(!self.closed, "a connection after the end");
                    // One that has reached its master needs no end.
                    self.open.clear();
                    self.open.insert(*stream);
                }
                Effect::Disconnect { stream } => {
                    assert!(self.open.remove(stream), "a stream is closed twice");
                    self.in_flight = None;
                }
                Effect::Call { call, .. } => {
                    assert!(self.in_flight.replace(*call).is_none(), "two calls at once");
                }
                Effect::Closed => assert!(!std::mem::replace(&mut self.closed, true), "closed twice"),
                Effect::KillGroup { .. } => panic!("a scheduler is not killed"),
                Effect::Detect | Effect::Log(_) => {}
            }
        }
    }
}

proptest! {
    #[test]
    fn any_sequence_keeps_the_rules_of_the_library(own: bool, actions in prop::collection::vec(action(), 0..200)) {
        let info = v1::FrameworkInfo::default().encode_to_vec();
        let mut library = Library::new(own.then(|| info.into()), 7);
        let mut observer = Observer::default();
        let mut now = Time(0);
        observer.see(&library.step(now, Event::Start), library.status());
        for action in actions {
            let stream = library.current_stream().unwrap_or(0);
            let event = match action {
                Action::Leader(which) => {
                    Event::Leader(which.map(|n| crate::master::endpoint(&format!("m{n}:5050")).unwrap()))
                }
                Action::Open => Event::StreamOpened { stream, id: "s".into() },
                Action::Close(0) => Event::StreamClosed { stream, reason: CloseReason::Redirected(master()) },
                Action::Close(1) => Event::StreamClosed { stream, reason: CloseReason::Refused("no".into()) },
                Action::Close(_) => Event::StreamClosed { stream, reason: CloseReason::Lost("reset".into()) },
                Action::Record => Event::Record { stream, record: subscribed() },
                Action::Send(kind) => send(kind),
                Action::Return(throws) => {
                    if !std::mem::take(&mut observer.in_callback) {
                        continue;
                    }
                    Event::CallbackReturned { thrown: throws.then(|| "thrown".to_owned()) }
                }
                Action::Answer(how) => {
                    let Some(call) = observer.in_flight.take() else { continue };
                    let outcome = match how {
                        0 => CallOutcome::Lost("reset".into()),
                        1 => CallOutcome::Rejected("400".into()),
                        _ => CallOutcome::Accepted,
                    };
                    Event::CallAnswered { call, outcome }
                }
                Action::Deadline => {
                    let Some(deadline) = library.next_deadline() else { continue };
                    now = now.max(deadline);
                    Event::Tick
                }
                Action::Reconnect => Event::Request(Request::Reconnect),
                Action::Abort => Event::Abort,
            };
            observer.see(&library.step(now, event), library.status());
        }
        observer.see(&library.step(now, Event::Abort), library.status());
        prop_assert!(library.is_closed());
    }
}
