//! The executor's driver with real threads and sockets: agents that are dead, deaf or hostile never keep a caller, and an
//! executor that does not end is killed.

use std::sync::{
    atomic::{AtomicU32, Ordering},
    mpsc::{Receiver, Sender, channel},
};

use bytes::Bytes;
use kernel_wire::v1;
use libmesos_core::executor::{self, Callback, Config, Request};
use prost::Message;
use v1::executor::call::Type;

use super::fake_server::{Behaviour, FakeAgent};
use super::*;
use crate::endpoint_client::Api;

/// Sends the callbacks to the test; `launchTask` never returns if so wanted.
struct Recorder {
    callbacks: Sender<Callback>,
    hangs: bool,
}

impl Handler<Callback> for Recorder {
    fn call(&mut self, callback: Callback) -> Result<(), String> {
        let launches = matches!(callback, Callback::LaunchTask { .. });
        let _ = self.callbacks.send(callback);
        if self.hangs && launches {
            loop {
                thread::park();
            }
        }
        Ok(())
    }
}

fn config(address: &str, checkpoint: bool) -> Config {
    let variables = [
        ("MESOS_SLAVE_PID", format!("slave(1)@{address}")),
        ("MESOS_FRAMEWORK_ID", "f".to_owned()),
        ("MESOS_EXECUTOR_ID", "e".to_owned()),
        ("MESOS_SLAVE_ID", "a".to_owned()),
        ("MESOS_CHECKPOINT", if checkpoint { "1" } else { "0" }.to_owned()),
        ("MESOS_SUBSCRIPTION_BACKOFF_MAX", "100ms".to_owned()),
        ("MESOS_RECOVERY_TIMEOUT", "30secs".to_owned()),
        ("MESOS_EXECUTOR_SHUTDOWN_GRACE_PERIOD", "200ms".to_owned()),
        ("MESOS_EXECUTOR_AUTHENTICATION_TOKEN", "token".to_owned()),
    ];
    let variable = |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, v)| v.clone());
    Config::from_environment(variable, false).unwrap()
}

/// A driver whose kills are counted.
fn driver(config: Config, kill: fn()) -> Driver<executor::Driver> {
    let api = Api::executor(&config.path, config.token.as_deref());
    let core = executor::Driver::new(Ok(config), 1);
    Driver::with_kill(core, move || Ok(Target { master: None, api }), kill)
}

fn never() {
    panic!("this executor is not killed");
}

fn start(driver: &Driver<executor::Driver>, hangs: bool) -> Receiver<Callback> {
    let (callbacks, receiver) = channel();
    driver.start(Recorder { callbacks, hangs }).unwrap();
    receiver
}

fn next(callbacks: &Receiver<Callback>) -> Callback {
    callbacks.recv_timeout(Duration::from_secs(10)).unwrap()
}

fn launch() -> v1::executor::Event {
    let task = v1::TaskInfo { task_id: v1::TaskId { value: "t".into() }, ..Default::default() };
    v1::executor::Event {
        r#type: Some(v1::executor::event::Type::Launch as i32),
        launch: Some(v1::executor::event::Launch { task }),
        ..Default::default()
    }
}

fn status(state: v1::TaskState) -> Request {
    let status = v1::TaskStatus {
        task_id: v1::TaskId { value: "t".into() },
        state: state as i32,
        ..Default::default()
    };
    Request::Update { status: status.encode_to_vec().into() }
}

#[test]
fn an_executor_works_and_outlives_its_agent() {
    let agent = FakeAgent::start(Behaviour::Proper);
    let driver = driver(config(&agent.address, true), never);
    let callbacks = start(&driver, false);
    let head = agent.next(Type::Subscribe).head.to_lowercase();
    assert!(head.starts_with("post /slave(1)/api/v1/executor http/1.1"), "{head}");
    assert!(head.contains("authorization: bearer token"), "{head}");
    assert_eq!(next(&callbacks).name(), "registered");
    agent.send(&launch());
    assert_eq!(next(&callbacks).name(), "launchTask");
    assert_eq!(driver.request(status(v1::TaskState::TaskRunning)), Status::Running);
    let sent = agent.next(Type::Update).call.update.unwrap().status;
    driver.request(Request::Message { data: Bytes::from_static(b"m") });
    assert_eq!(agent.next(Type::Message).call.message.unwrap().data, "m");
    agent.disconnect();
    assert_eq!(next(&callbacks), Callback::Disconnected);
    let again = agent.next(Type::Subscribe).call.subscribe.unwrap();
    assert_eq!(again.unacknowledged_tasks[0].task_id.value, "t");
    assert_eq!(again.unacknowledged_updates[0].status, sent);
    assert_eq!(next(&callbacks).name(), "reregistered");
    driver.request(status(v1::TaskState::TaskFinished));
    assert_eq!(driver.stop(false), Status::Stopped);
    assert_eq!(agent.next(Type::Update).call.update.unwrap().status.state(), v1::TaskState::TaskFinished);
    assert_eq!(driver.join(), Status::Stopped);
    assert!(
        callbacks.recv_timeout(Duration::from_secs(10)).is_err(),
        "the thread of the callbacks has ended"
    );
}

#[test]
fn an_executor_that_does_not_end_is_killed() {
    static KILLS: AtomicU32 = AtomicU32::new(0);
    fn count() {
        KILLS.fetch_add(1, Ordering::SeqCst);
    }
    let agent = FakeAgent::start(Behaviour::Proper);
    let driver = driver(config(&agent.address, false), count);
    let callbacks = start(&driver, true);
    assert_eq!(next(&callbacks).name(), "registered");
    agent.send(&launch());
    assert_eq!(next(&callbacks).name(), "launchTask");
    // launchTask does not return, the agent goes: whatever the framework does, it is killed once.
    agent.disconnect();
    let began = Instant::now();
    while KILLS.load(Ordering::SeqCst) == 0 {
        assert!(began.elapsed() < Duration::from_secs(10));
        thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(driver.abort(), Status::Aborted);
    thread::sleep(Duration::from_millis(300));
    assert_eq!(KILLS.load(Ordering::SeqCst), 1);
}

/// Each of these is stopped, or aborted, and joined in bounded time.
#[test]
fn hostile_agents_keep_no_caller() {
    for behaviour in Behaviour::hostile() {
        let agent = FakeAgent::start(behaviour.clone());
        let driver = driver(config(&agent.address, true), never);
        let began = Instant::now();
        let callbacks = start(&driver, false);
        agent.next(Type::Subscribe);
        driver.request(status(v1::TaskState::TaskRunning));
        assert_eq!(driver.stop(false), Status::Stopped, "{behaviour:?}");
        assert_eq!(driver.join(), Status::Stopped);
        assert!(callbacks.recv_timeout(Duration::from_secs(10)).is_err(), "{behaviour:?}");
        assert!(began.elapsed() < Duration::from_secs(10), "{behaviour:?}: {:?}", began.elapsed());
    }
    // Nothing listens on port 1.
    let dead = driver(config("127.0.0.1:1", true), never);
    let _callbacks = start(&dead, false);
    assert_eq!(dead.abort(), Status::Aborted);
    assert_eq!(dead.join(), Status::Aborted);
    let deaf = FakeAgent::start(Behaviour::DeafToCalls);
    let driver = driver(config(&deaf.address, true), never);
    let callbacks = start(&driver, false);
    assert_eq!(next(&callbacks).name(), "registered");
    driver.request(status(v1::TaskState::TaskRunning));
    let began = Instant::now();
    assert_eq!(driver.stop(false), Status::Stopped);
    assert!(began.elapsed() < STOP_MAX, "{:?}", began.elapsed());
}

#[test]
fn an_executor_that_no_agent_has_started_is_told_so() {
    let config = Config::from_environment(|_| None, false);
    let message = config.clone().unwrap_err();
    let core = executor::Driver::new(config, 1);
    let failure = message.clone();
    let driver = Driver::with_kill(core, move || Err(failure), never);
    let callbacks = start(&driver, false);
    assert_eq!(next(&callbacks), Callback::Error { message });
    assert_eq!(driver.join(), Status::Aborted);
}
