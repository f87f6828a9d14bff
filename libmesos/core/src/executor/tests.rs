//! The executor's driver, situation by situation.

use kernel_wire::v1::{TaskState, executor::call::Type};

use super::fixture::*;
use super::*;
use crate::machine::{CallOutcome, CloseReason};
use crate::wire::executor::{self as wire, event};

#[test]
fn an_executor_subscribes_and_works() {
    let mut fixture = Fixture::new(true);
    let started = fixture.step(Event::Start);
    assert_eq!(fixture.driver.status(), Status::Running);
    assert_eq!(subscription(&started), Some((Vec::new(), Vec::new())));
    let call = &calls(&started)[0];
    assert_eq!((call.executor_id.value.as_str(), call.framework_id.value.as_str()), ("e", "f"));
    assert_eq!(callbacks(&fixture.record(subscribed())), ["registered"]);
    // One callback at a time.
    assert_eq!(callbacks(&fixture.record(launch("t1"))), [""; 0]);
    assert_eq!(callbacks(&fixture.record(kill("t1"))), [""; 0]);
    assert_eq!(fixture.returned(), [Effect::Callback(Callback::LaunchTask { task: task("t1") })]);
    assert_eq!(callbacks(&fixture.returned()), ["killTask"]);
    let message = wire::EventMessage { data: Bytes::from_static(b"m") };
    fixture.record(wire::Event {
        r#type: Some(event::MESSAGE),
        message: Some(message),
        ..Default::default()
    });
    let data = Bytes::from_static(b"m");
    assert_eq!(fixture.returned(), [Effect::Callback(Callback::FrameworkMessage { data })]);
    assert_eq!(fixture.driver.next_deadline(), None);
}

#[test]
fn updates_have_an_origin_and_are_kept_until_they_are_acknowledged() {
    let mut fixture = Fixture::subscribed(true);
    fixture.record(launch("t"));
    let sent = updates(&fixture.request(status("t", TaskState::TaskRunning)));
    assert_eq!(sent.len(), 1);
    let first = &sent[0];
    assert_eq!(first.agent_id.as_ref().unwrap().value, "a");
    assert_eq!(first.timestamp, Some(1.0));
    assert_eq!(first.source, Some(wire::SOURCE_EXECUTOR));
    let uuid = first.uuid.clone().unwrap();
    assert_eq!((uuid.len(), uuid[6] >> 4, uuid[8] >> 6), (16, 4, 2));
    // The second waits for the answer to the first.
    assert_eq!(updates(&fixture.request(status("t", TaskState::TaskFinished))), []);
    let second = updates(&fixture.answer(CallOutcome::Accepted)).remove(0);
    assert_ne!(second.uuid, first.uuid);
    fixture.answer(CallOutcome::Accepted);
    fixture.record(acknowledged(first));
    fixture.returned();
    fixture.lose();
    // The agent knows the task by the first update; the second is sent again as it was.
    let (tasks, again) = subscription(&fixture.advance_to_deadline()).unwrap();
    assert_eq!((tasks, again), (Vec::new(), vec![second.clone()]));
    // Acknowledgements of what a subscription has carried come before its answer.
    fixture.record(acknowledged(&second));
    let effects = fixture.record(subscribed());
    assert_eq!(updates(&effects), []);
    fixture.lose();
    assert_eq!(subscription(&fixture.advance_to_deadline()), Some((Vec::new(), Vec::new())));
}

#[test]
fn an_agent_that_returns_is_told_what_has_arrived() {
    let mut fixture = Fixture::subscribed(true);
    fixture.record(launch("t1"));
    fixture.record(launch("t2"));
    fixture.returned();
    fixture.request(status("t1", TaskState::TaskRunning));
    fixture.lose();
    // While the agent is away, updates are kept and messages are lost.
    assert_eq!(calls(&fixture.request(status("t1", TaskState::TaskFinished))), []);
    assert_eq!(calls(&fixture.request(Request::Message { data: Bytes::new() })), []);
    assert_eq!(callbacks(&fixture.returned()), ["disconnected"]);
    let (tasks, statuses) = subscription(&fixture.advance_to_deadline()).unwrap();
    assert_eq!(tasks, ["t1", "t2"]);
    let states: Vec<_> = statuses.iter().map(|status| status.state()).collect();
    assert_eq!(states, [TaskState::TaskRunning, TaskState::TaskFinished]);
    // One that comes while the subscription is under way follows it.
    assert_eq!(updates(&fixture.request(status("t2", TaskState::TaskRunning))), []);
    let effects = fixture.record(subscribed());
    assert_eq!(updates(&effects).len(), 1);
    assert_eq!(callbacks(&fixture.returned()), ["reregistered"]);
    // A task that the agent launches again has arrived already.
    assert_eq!(callbacks(&fixture.record(launch("t2"))), [""; 0]);
    fixture.returned();
    assert!(!callbacks(&fixture.effects).contains(&"shutdown"));
}

#[test]
fn updates_that_a_subscription_cannot_carry_follow_it() {
    let mut fixture = Fixture::subscribed(true);
    fixture.lose();
    for _ in 0..3 {
        let large = kernel_wire::v1::TaskStatus {
            task_id: kernel_wire::v1::TaskId { value: "t".into() },
            state: TaskState::TaskRunning as i32,
            data: Some(vec![0; 3 << 20].into()),
            ..Default::default()
        };
        let status = prost::Message::encode_to_vec(&large).into();
        fixture.request(Request::Update { status });
    }
    let (_, carried) = subscription(&fixture.advance_to_deadline()).unwrap();
    assert_eq!(carried.len(), 2);
    let following = updates(&fixture.record(subscribed()));
    assert_eq!(following.len(), 1);
    assert!(carried.iter().all(|status| status.uuid != following[0].uuid));
}

#[test]
fn without_checkpoints_the_loss_of_the_agent_ends_the_executor() {
    let mut fixture = Fixture::subscribed(false);
    let lost = fixture.lose();
    assert_eq!(callbacks(&lost), ["disconnected"]);
    assert_eq!(killed_after(&lost), Some(Duration::from_secs(5)));
    assert_eq!(callbacks(&fixture.returned()), ["shutdown"]);
    // The driver runs on until the executor stops it, or is killed.
    assert_eq!(fixture.driver.status(), Status::Running);
    assert_eq!(fixture.driver.next_deadline(), None);
    fixture.returned();
    fixture.step(Event::Stop { failover: false });
    assert!(fixture.driver.is_idle());
}

#[test]
fn an_agent_that_stays_away_is_given_up() {
    let mut fixture = Fixture::subscribed(true);
    fixture.lose();
    let began = fixture.now;
    let mut attempts = 0;
    while killed_after(&fixture.effects).is_none() {
        let effects = fixture.advance_to_deadline();
        if subscription(&effects).is_some() {
            attempts += 1;
            // The agent refuses connections, or is still recovering.
            fixture.lose();
        }
        assert!(attempts < 2_000, "attempts have pauses");
    }
    assert_eq!(fixture.now.since(began), Duration::from_secs(60));
    assert!(attempts > 20, "{attempts}");
    fixture.returned();
    assert_eq!(callbacks(&fixture.effects), ["disconnected", "shutdown"]);
    assert_eq!(fixture.driver.next_deadline(), None);
}

#[test]
fn the_recovery_time_is_that_of_one_absence() {
    let mut fixture = Fixture::subscribed(true);
    fixture.lose();
    fixture.now = fixture.now + Duration::from_secs(50);
    fixture.step(Event::Tick);
    fixture.record(subscribed());
    fixture.now = fixture.now + Duration::from_secs(50);
    fixture.step(Event::Tick);
    fixture.lose();
    fixture.now = fixture.now + Duration::from_secs(50);
    fixture.step(Event::Tick);
    assert_eq!(killed_after(&fixture.effects), None);
}

#[test]
fn the_first_subscription_is_tried_for_a_while() {
    let mut fixture = Fixture::new(false);
    fixture.step(Event::Start);
    fixture.lose();
    fixture.advance_to_deadline();
    assert_eq!(callbacks(&fixture.record(subscribed())), ["registered"]);
    let mut deserted = Fixture::new(false);
    deserted.step(Event::Start);
    deserted.lose();
    deserted.now = deserted.now + Duration::from_secs(60);
    assert_eq!(callbacks(&deserted.step(Event::Tick)), ["shutdown"]);
}

#[test]
fn after_the_order_to_shut_down_only_updates_go_out() {
    let mut fixture = Fixture::subscribed(true);
    fixture.record(launch("t"));
    let ordered = fixture.record(shutdown());
    assert_eq!(killed_after(&ordered), Some(Duration::from_secs(5)), "even if launchTask never returns");
    assert_eq!(callbacks(&fixture.returned()), ["shutdown"]);
    fixture.record(launch("late"));
    fixture.record(kill("t"));
    assert_eq!(fixture.record(shutdown()), [], "the second order says nothing new");
    assert_eq!(updates(&fixture.request(status("t", TaskState::TaskKilled))).len(), 1);
    assert_eq!(callbacks(&fixture.returned()), [""; 0]);
    assert_eq!(callbacks(&fixture.lose()), [""; 0]);
    assert_eq!(fixture.driver.next_deadline(), None);
    let mut local = Fixture::new(true);
    local.driver = Driver::new(Ok(Config { local: true, ..config(true) }), 1);
    local.step(Event::Start);
    assert_eq!(killed_after(&local.record(shutdown())), None);
}

#[test]
fn stop_sends_what_waits() {
    let mut fixture = Fixture::subscribed(true);
    fixture.request(status("t", TaskState::TaskRunning));
    fixture.request(status("t", TaskState::TaskFinished));
    fixture.step(Event::Stop { failover: false });
    assert_eq!(fixture.driver.status(), Status::Stopped);
    assert!(!fixture.driver.is_closed());
    assert_eq!(updates(&fixture.answer(CallOutcome::Accepted)).len(), 1);
    let last = fixture.answer(CallOutcome::Accepted);
    assert!(last.contains(&Effect::Closed));
    assert!(fixture.driver.is_idle());
    // An agent that answers nothing delays it by a bound.
    let mut deaf = Fixture::subscribed(true);
    deaf.request(status("t", TaskState::TaskRunning));
    deaf.step(Event::Abort);
    assert!(deaf.advance_to_deadline().contains(&Effect::Closed));
    assert_eq!(deaf.now.since(Time(1_000_000_000)), Duration::from_secs(5));
    assert_eq!(deaf.driver.status(), Status::Aborted);
    deaf.step(Event::Stop { failover: false });
    assert_eq!(deaf.driver.status(), Status::Stopped);
}

#[test]
fn errors_abort_and_are_told() {
    let error = wire::Event {
        r#type: Some(event::ERROR),
        error: Some(crate::wire::Error { message: "no".into() }),
        ..Default::default()
    };
    let mut by_event = Fixture::subscribed(true);
    assert_eq!(callbacks(&by_event.record(error)), ["error"]);
    let mut refused = Fixture::new(true);
    refused.step(Event::Start);
    let reason = CloseReason::Refused("Agent at http://a:5051 refused".into());
    assert_eq!(callbacks(&refused.step(Event::StreamClosed { stream: 1, reason })), ["error"]);
    let mut rejected = Fixture::subscribed(true);
    rejected.request(status("t", TaskState::TaskStaging));
    let message = "The agent refused an update of task 't': 400".to_owned();
    let effects = rejected.answer(CallOutcome::Rejected("400".into()));
    assert!(effects.contains(&Effect::Callback(Callback::Error { message })), "{effects:?}");
    let mut thrown = Fixture::subscribed(true);
    thrown.record(launch("t"));
    let message = "Exception in Executor.launchTask: no".to_owned();
    let effects = thrown.step(Event::CallbackReturned { thrown: Some("no".into()) });
    assert!(effects.contains(&Effect::Callback(Callback::Error { message })), "{effects:?}");
    let mut unconfigured = Fixture::new(true);
    unconfigured.driver = Driver::new(Err("Expecting 'MESOS_SLAVE_PID'".into()), 1);
    assert_eq!(callbacks(&unconfigured.step(Event::Start)), ["error"]);
    for mut fixture in [by_event, refused, rejected, thrown, unconfigured] {
        assert_eq!(fixture.driver.status(), Status::Aborted);
        fixture.returned();
        assert!(fixture.driver.is_idle());
        assert_eq!(calls(&fixture.request(status("t", TaskState::TaskRunning))), []);
    }
}

#[test]
fn a_refused_message_is_lost_alone() {
    let mut fixture = Fixture::subscribed(true);
    let sent = fixture.request(Request::Message { data: Bytes::from_static(b"m") });
    assert_eq!(calls(&sent)[0].r#type(), Type::Message);
    fixture.answer(CallOutcome::Rejected("400".into()));
    assert_eq!(fixture.driver.status(), Status::Running);
    // A call that may not have arrived ends the subscription; its update is sent again.
    fixture.request(status("t", TaskState::TaskRunning));
    fixture.answer(CallOutcome::Lost("reset".into()));
    assert_eq!(subscription(&fixture.advance_to_deadline()).unwrap().1.len(), 1);
}

#[test]
fn the_tasks_of_a_group_are_launched_one_by_one() {
    let mut fixture = Fixture::subscribed(true);
    let group = wire::LaunchGroup { task_group: wire::TaskGroup { tasks: vec![task("t1"), task("t2")] } };
    fixture.record(wire::Event {
        r#type: Some(event::LAUNCH_GROUP),
        launch_group: Some(group),
        ..Default::default()
    });
    fixture.returned();
    fixture.returned();
    assert_eq!(callbacks(&fixture.effects), ["launchTask", "launchTask"]);
}

#[test]
fn a_slow_executor_stops_the_reading() {
    let mut fixture = Fixture::subscribed(true);
    for number in 0..=CALLBACKS_READ_MAX {
        fixture.record(launch(&number.to_string()));
    }
    assert!(!fixture.driver.accepts_records());
    fixture.returned();
    assert!(fixture.driver.accepts_records());
}
