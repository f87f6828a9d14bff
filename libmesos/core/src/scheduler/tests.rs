//! Tables of events and their effects, without clock and sleep.

use kernel_wire::v1;
use prost::Message;

use super::fixture::{Fixture, callbacks, calls, id, launch, leader, update, update_event};
use super::*;
use crate::wire::{event, status as numbers};

fn methods(effects: &[Effect]) -> Vec<&'static str> {
    callbacks(effects).iter().map(Callback::name).collect()
}

fn states(effects: &[Effect]) -> Vec<(String, i32)> {
    let state = |callback: &Callback| match callback {
        Callback::StatusUpdate { status } => {
            let status = wire::TaskStatus::decode(status.clone()).unwrap();
            Some((status.task_id.value, status.state))
        }
        _ => None,
    };
    callbacks(effects).iter().filter_map(state).collect()
}

#[test]
fn a_framework_is_registered_and_later_reregistered_with_its_id() {
    let mut fixture = Fixture::new(true);
    assert_eq!(fixture.step(Event::Start), [Effect::Detect]);
    assert_eq!(fixture.step(Event::Start), []);
    let effects = fixture.step(Event::Leader(Some(leader())));
    let subscribe = &calls(&effects)[0];
    assert_eq!((subscribe.framework_id.clone(), subscribe.subscribe.is_some()), (None, true));
    let effects = fixture.open();
    let registered = Callback::Registered { framework_id: id("f"), master: Bytes::from_static(b"m") };
    assert_eq!(callbacks(&effects), [registered]);
    fixture.returned();
    assert_eq!(methods(&fixture.lose()), ["disconnected"]);
    fixture.returned();
    let effects = fixture.advance_to_deadline();
    let again = &calls(&effects)[0];
    assert_eq!(again.framework_id.as_ref().unwrap().value, "f");
    assert_eq!(again.subscribe.as_ref().unwrap().framework_info.id.as_ref().unwrap().value, "f");
    assert_eq!(callbacks(&fixture.open()), [Callback::Reregistered { master: Bytes::from_static(b"m") }]);
}

#[test]
fn callbacks_run_one_at_a_time_and_in_order() {
    let mut fixture = Fixture::subscribed(true);
    let offers = |name: &'static str| wire::Event {
        r#type: Some(event::OFFERS),
        offers: Some(wire::Offers { offers: vec![Bytes::from(name)] }),
        ..Default::default()
    };
    assert_eq!(methods(&fixture.record(offers("1"))), ["resourceOffers"]);
    assert_eq!(fixture.record(update_event("t", None)), []);
    let rescind = wire::Rescind { offer_id: Bytes::from_static(b"1") };
    let rescinded =
        wire::Event { r#type: Some(event::RESCIND), rescind: Some(rescind), ..Default::default() };
    assert_eq!(fixture.record(rescinded), []);
    assert_eq!(methods(&fixture.returned()), ["statusUpdate"]);
    assert_eq!(methods(&fixture.returned()), ["offerRescinded"]);
    assert_eq!(fixture.returned(), []);
}

#[test]
fn updates_are_acknowledged_after_their_callback_and_only_with_a_uuid() {
    let mut fixture = Fixture::subscribed(true);
    assert_eq!(calls(&fixture.record(update_event("t", Some("u")))).len(), 0);
    let acknowledged = calls(&fixture.returned());
    assert_eq!(acknowledged[0].acknowledge.as_ref().unwrap().uuid, "u");
    fixture.answer(CallOutcome::Accepted);
    fixture.record(update_event("t", None));
    assert_eq!(calls(&fixture.returned()).len(), 0);
    fixture.record(update_event("t", Some("")));
    assert_eq!(calls(&fixture.returned()).len(), 0);

    let mut explicit = Fixture::subscribed(false);
    explicit.record(update_event("t", Some("u")));
    assert_eq!(calls(&explicit.returned()).len(), 0);
    let acknowledged = explicit.step(Event::Request(Request::Acknowledge { status: update("t", Some("u")) }));
    assert_eq!(calls(&acknowledged)[0].acknowledge.as_ref().unwrap().task_id.value, "t");
}

#[test]
fn launches_without_a_master_are_lost() {
    let mut fixture = Fixture::subscribed(true);
    fixture.lose();
    fixture.returned();
    let effects = fixture.step(Event::Request(launch("t1")));
    assert_eq!(states(&effects), [("t1".to_owned(), numbers::TASK_LOST)]);
    // It has no uuid, so that nothing is acknowledged after the next subscription.
    fixture.advance_to_deadline();
    fixture.open();
    assert_eq!(calls(&fixture.returned()).len(), 0);
    // Other requests are dropped.
    fixture.lose();
    assert_eq!(fixture.step(Event::Request(Request::Kill { task: id("t1") })), []);
}

#[test]
fn launches_that_were_not_sent_are_lost_and_those_in_flight_are_reconciled() {
    let mut fixture = Fixture::subscribed(true);
    assert_eq!(calls(&fixture.step(Event::Request(launch("sent")))).len(), 1);
    assert_eq!(fixture.step(Event::Request(launch("waiting"))), []);
    assert_eq!(methods(&fixture.lose()), ["disconnected"]);
    assert_eq!(states(&fixture.returned()), [("waiting".to_owned(), numbers::TASK_LOST)]);
    fixture.returned();
    fixture.advance_to_deadline();
    let reconcile = calls(&fixture.open());
    let tasks = &reconcile[0].reconcile.as_ref().unwrap().tasks;
    assert_eq!(tasks.iter().map(|t| t.task_id.value.as_str()).collect::<Vec<_>>(), ["sent"]);
    // The answer to the call of the lost stream comes too late.
    assert_eq!(fixture.step(Event::CallAnswered { call: 1, outcome: CallOutcome::Accepted }), []);
}

#[test]
fn a_refused_launch_is_told() {
    let mut fixture = Fixture::subscribed(true);
    fixture.step(Event::Request(launch("t")));
    let effects = fixture.answer(CallOutcome::Rejected("no".into()));
    let Callback::StatusUpdate { status } = &callbacks(&effects)[0] else { panic!("{effects:?}") };
    let status = wire::TaskStatus::decode(status.clone()).unwrap();
    assert_eq!(status.message.as_deref(), Some("The master refused the launch: no"));
    assert_eq!(fixture.driver.status(), Status::Running);
}

#[test]
fn stop_tears_down_after_what_waits() {
    let mut fixture = Fixture::subscribed(true);
    fixture.step(Event::Request(launch("t")));
    fixture.step(Event::Stop { failover: false });
    assert_eq!((fixture.driver.status(), fixture.driver.is_closed()), (Status::Stopped, false));
    let teardown = calls(&fixture.answer(CallOutcome::Accepted));
    assert_eq!(teardown[0].r#type(), v1::scheduler::call::Type::Teardown);
    let stream = fixture.stream();
    assert_eq!(fixture.answer(CallOutcome::Accepted), [Effect::Disconnect { stream }, Effect::Closed]);
    assert!(fixture.driver.is_finished());
    // Nothing happens after the end.
    assert_eq!(fixture.step(Event::Request(launch("t"))), []);
    assert_eq!(fixture.step(Event::Abort), []);
    assert_eq!(fixture.driver.status(), Status::Stopped);
}

#[test]
fn stop_with_failover_leaves_the_tasks() {
    let mut fixture = Fixture::subscribed(true);
    let stream = fixture.stream();
    let effects = fixture.step(Event::Stop { failover: true });
    assert_eq!(effects, [Effect::Disconnect { stream }, Effect::Closed]);
}

#[test]
fn a_master_that_does_not_answer_delays_the_end_by_five_seconds() {
    let mut fixture = Fixture::subscribed(true);
    fixture.step(Event::Stop { failover: false });
    assert!(!fixture.driver.is_closed());
    let started = fixture.now;
    fixture.advance_to_deadline();
    assert!(fixture.driver.is_finished());
    assert_eq!(fixture.now.since(started), CLOSING);
}

#[test]
fn an_exception_aborts_with_error() {
    let mut fixture = Fixture::subscribed(true);
    fixture.record(update_event("t", Some("u")));
    fixture.record(update_event("t2", Some("u")));
    let effects = fixture.step(Event::CallbackReturned { thrown: Some("java.lang.Error: x".into()) });
    let message = "Exception in Scheduler.statusUpdate: java.lang.Error: x".to_owned();
    assert_eq!(callbacks(&effects), [Callback::Error { message }]);
    assert_eq!(fixture.driver.status(), Status::Aborted);
    assert!(fixture.driver.is_closed() && !fixture.driver.is_finished());
    // What error() itself throws changes nothing.
    fixture.step(Event::CallbackReturned { thrown: Some("y".into()) });
    assert!(fixture.driver.is_idle());
    // stop() of an aborted driver.
    fixture.step(Event::Stop { failover: false });
    assert_eq!(fixture.driver.status(), Status::Stopped);
}

#[test]
fn errors_and_refusals_abort() {
    let mut fixture = Fixture::subscribed(true);
    let error = wire::Error { message: "Framework has been removed".into() };
    let effects =
        fixture.record(wire::Event { r#type: Some(event::ERROR), error: Some(error), ..Default::default() });
    assert_eq!(callbacks(&effects), [Callback::Error { message: "Framework has been removed".into() }]);
    assert_eq!(fixture.driver.status(), Status::Aborted);

    let mut refused = Fixture::new(true);
    refused.step(Event::Start);
    refused.step(Event::Leader(Some(leader())));
    let reason = CloseReason::Refused("401 Unauthorized.".into());
    let effects = refused.step(Event::StreamClosed { stream: 1, reason });
    assert_eq!(methods(&effects), ["error"]);

    let mut failed = Fixture::new(true);
    let effects = failed.step(Event::StartFailed("no such master".into()));
    assert_eq!((methods(&effects), failed.driver.status()), (vec!["error"], Status::Aborted));
}

#[test]
fn silence_ends_a_subscription_but_not_while_reading_is_paused() {
    let mut fixture = Fixture::subscribed(true);
    let deadline = fixture.driver.next_deadline().unwrap();
    assert_eq!(deadline.since(fixture.now), Duration::from_secs(75));
    for task in 0..=CALLBACKS_READ_MAX {
        fixture.record(update_event(&task.to_string(), None));
    }
    assert!(!fixture.driver.accepts_records());
    assert_eq!(fixture.driver.next_deadline(), None);
    fixture.now = deadline + Duration::from_secs(1);
    assert_eq!(fixture.step(Event::Tick), []);
    fixture.returned();
    assert!(fixture.driver.accepts_records());
    assert_eq!(fixture.driver.next_deadline().unwrap().since(fixture.now), Duration::from_secs(75));
    let effects = fixture.advance_to_deadline();
    assert!(effects.contains(&Effect::Disconnect { stream: 1 }), "{effects:?}");
}

#[test]
fn heartbeat_intervals_are_bounded() {
    for (interval, wanted) in [
        (None, 75.0),
        (Some(f64::NAN), 75.0),
        (Some(f64::INFINITY), 75.0),
        (Some(-1.0), 0.5),
        (Some(1e300), 18_000.0),
        (Some(0.5), 2.5),
    ] {
        assert_eq!(connection::silence_max(interval), Duration::from_secs_f64(wanted), "{interval:?}");
    }
}

#[test]
fn redirects_are_followed_within_a_bound() {
    let mut fixture = Fixture::new(true);
    fixture.step(Event::Start);
    fixture.step(Event::Leader(Some(leader())));
    let other = crate::master::endpoint("n:5050").unwrap();
    for _ in 0..5 {
        let reason = CloseReason::Redirected(other.clone());
        let effects = fixture.step(Event::StreamClosed { stream: fixture.stream(), reason });
        assert!(matches!(effects.last(), Some(Effect::Connect { to, .. }) if *to == other), "{effects:?}");
    }
    let reason = CloseReason::Redirected(other.clone());
    fixture.step(Event::StreamClosed { stream: fixture.stream(), reason });
    let effects = fixture.advance_to_deadline();
    assert!(matches!(&effects[..], [Effect::Connect { to, .. }] if *to == leader()), "{effects:?}");
    assert_eq!(methods(&fixture.effects), Vec::<&str>::new());
}

#[test]
fn pauses_between_attempts_grow_to_a_bound() {
    let mut fixture = Fixture::new(true);
    fixture.step(Event::Start);
    fixture.step(Event::Leader(Some(leader())));
    let mut longest = Duration::ZERO;
    for attempt in 0..40 {
        fixture.lose();
        let pause = fixture.driver.next_deadline().unwrap().since(fixture.now);
        assert!(pause >= Duration::from_millis(125) && pause <= Duration::from_secs(15), "{pause:?}");
        assert!(attempt > 0 || pause <= Duration::from_millis(250), "{pause:?}");
        longest = longest.max(pause);
        fixture.advance_to_deadline();
    }
    assert!(longest > Duration::from_secs(10), "{longest:?}");
}

#[test]
fn a_new_leader_is_followed_at_once() {
    let mut fixture = Fixture::subscribed(true);
    let other = crate::master::endpoint("n:5050").unwrap();
    assert_eq!(fixture.step(Event::Leader(None)), []);
    let effects = fixture.step(Event::Leader(Some(other.clone())));
    assert_eq!(methods(&effects), ["disconnected"]);
    assert!(effects.iter().any(|e| matches!(e, Effect::Connect { to, .. } if *to == other)));
    // The same one again changes nothing.
    assert_eq!(fixture.step(Event::Leader(Some(other))), []);
    // Without a leader, a lost connection waits for one.
    fixture.open();
    fixture.step(Event::Leader(None));
    fixture.lose();
    assert_eq!(fixture.driver.next_deadline(), None);
}

#[test]
fn suppressed_roles_survive_a_new_subscription() {
    let mut fixture = Fixture::subscribed(true);
    let suppressed = |fixture: &mut Fixture| {
        fixture.lose();
        let effects = fixture.advance_to_deadline();
        let subscribe = calls(&effects)[0].subscribe.clone().unwrap();
        fixture.open();
        subscribe.suppressed_roles
    };
    fixture.step(Event::Request(Request::Suppress(None)));
    assert_eq!(suppressed(&mut fixture), ["r1", "r2"]);
    fixture.step(Event::Request(Request::Revive(Some(vec!["r1".into()]))));
    assert_eq!(suppressed(&mut fixture), ["r2"]);
    fixture.step(Event::Request(Request::Revive(None)));
    assert_eq!(suppressed(&mut fixture), Vec::<String>::new());
}

#[test]
fn the_framework_is_updated_now_or_with_the_next_subscription() {
    let with_id = |id: &str| {
        let id = Some(v1::FrameworkId { value: id.into() });
        let info = v1::FrameworkInfo { user: "u".into(), name: "new".into(), id, ..Default::default() };
        Request::UpdateFramework {
            framework: info.encode_to_vec().into(),
            suppressed_roles: vec!["x".into()],
            constraints: None,
        }
    };
    let mut fixture = Fixture::subscribed(true);
    let update = calls(&fixture.step(Event::Request(with_id("f"))))[0].update_framework.clone().unwrap();
    assert_eq!((update.framework_info.name.as_str(), update.suppressed_roles), ("new", vec!["x".to_owned()]));
    fixture.lose();
    fixture.step(Event::Request(with_id("f")));
    fixture.advance_to_deadline();
    assert!(calls(&fixture.open())[0].update_framework.is_some());
    fixture.step(Event::Request(with_id("other")));
    assert_eq!(fixture.driver.status(), Status::Aborted);

    let mut early = Fixture::new(true);
    early.step(Event::Start);
    assert_eq!(methods(&early.step(Event::Request(with_id("f")))), ["error"]);
}

#[test]
fn failures_are_of_executors_or_of_agents() {
    let failure = |agent: Option<&'static str>, executor: Option<&'static str>| wire::Event {
        r#type: Some(event::FAILURE),
        failure: Some(wire::Failure {
            agent_id: agent.map(Bytes::from),
            executor_id: executor.map(Bytes::from),
            status: Some(9),
        }),
        ..Default::default()
    };
    let mut fixture = Fixture::subscribed(true);
    let lost = callbacks(&fixture.record(failure(Some("a"), Some("e"))));
    assert_eq!(lost, [Callback::ExecutorLost { executor: "e".into(), agent: "a".into(), status: 9 }]);
    fixture.returned();
    let lost = callbacks(&fixture.record(failure(Some("a"), None)));
    assert_eq!(lost, [Callback::AgentLost { agent: "a".into() }]);
    fixture.returned();
    assert_eq!(fixture.record(failure(None, None)), []);
}

#[test]
fn calls_that_wait_too_long_end_the_subscription() {
    let mut fixture = Fixture::subscribed(true);
    let data = Bytes::from(vec![0; 1 << 20]);
    let message = || Request::Message { executor: id("e"), agent: id("a"), data: data.clone() };
    let mut sent = 0;
    while !fixture.effects.iter().any(|e| matches!(e, Effect::Disconnect { .. })) {
        fixture.step(Event::Request(message()));
        sent += 1;
        assert!(sent < 100);
    }
    assert!(sent > 60, "{sent}");
    assert_eq!(methods(&fixture.effects), ["disconnected"]);
}

#[test]
fn what_does_not_decode_ends_the_stream() {
    let mut fixture = Fixture::subscribed(true);
    let record = Bytes::from_static(&[0xff; 11]);
    let effects = fixture.step(Event::Record { stream: 1, record });
    assert!(effects.contains(&Effect::Disconnect { stream: 1 }), "{effects:?}");
    // Unknown types of events are skipped.
    let mut other = Fixture::subscribed(true);
    assert_eq!(other.record(wire::Event { r#type: Some(99), ..Default::default() }), []);
}
