//! The driver with real threads and sockets: masters that are dead, deaf or hostile never keep a caller.

use std::sync::mpsc::{Receiver, Sender, channel};

use bytes::Bytes;
use kernel_wire::v1;
use libmesos_core::{
    scheduler::{self, Callback, Config, Request},
    wire,
};
use prost::Message;
use v1::scheduler::call::Type;

use super::fake_server::{Behaviour, FakeMaster};
use super::*;
use crate::endpoint_client::{Api, Credential};

type Inside = Box<dyn FnMut(&Callback) -> Result<(), String> + Send>;

/// Sends the callbacks to the test, which may answer from inside.
struct Recorder {
    callbacks: Sender<Callback>,
    inside: Option<Inside>,
}

impl Handler<Callback> for Recorder {
    fn call(&mut self, callback: Callback) -> Result<(), String> {
        let outcome = self.inside.as_mut().map_or(Ok(()), |inside| inside(&callback));
        let _ = self.callbacks.send(callback);
        outcome
    }
}

fn driver(master: &str) -> Driver<scheduler::Driver> {
    let info = v1::FrameworkInfo { user: "u".into(), name: "n".into(), ..Default::default() };
    let config = Config {
        framework: info.encode_to_vec().into(),
        suppressed_roles: Vec::new(),
        implicit_acknowledgements: true,
        seed: 1,
    };
    let credential = Credential { principal: "p".into(), secret: "s".into() };
    let master = master.to_owned();
    Driver::new(scheduler::Driver::new(config), move || {
        Ok(Target { master: Some(find_master(&master)?), api: Api::scheduler(Some(&credential)) })
    })
}

fn start(driver: &Driver<scheduler::Driver>) -> Receiver<Callback> {
    let (callbacks, receiver) = channel();
    driver.start(Recorder { callbacks, inside: None }).unwrap();
    receiver
}

fn next(callbacks: &Receiver<Callback>) -> Callback {
    callbacks.recv_timeout(Duration::from_secs(10)).unwrap()
}

fn update(uuid: &'static [u8]) -> v1::scheduler::Event {
    let status = v1::TaskStatus {
        task_id: v1::TaskId { value: "t".into() },
        agent_id: Some(v1::AgentId { value: "a".into() }),
        uuid: Some(Bytes::from_static(uuid)),
        ..Default::default()
    };
    v1::scheduler::Event {
        r#type: Some(v1::scheduler::event::Type::Update as i32),
        update: Some(v1::scheduler::event::Update { status }),
        ..Default::default()
    }
}

#[test]
fn a_framework_subscribes_acknowledges_reconnects_and_tears_down() {
    let master = FakeMaster::start(Behaviour::Proper);
    let driver = driver(&master.address);
    assert_eq!(driver.status(), Status::NotStarted);
    assert_eq!(driver.join(), Status::NotStarted);
    let callbacks = start(&driver);
    let subscribe = master.next(Type::Subscribe);
    let head = subscribe.head.to_lowercase();
    assert!(head.starts_with("post /api/v1/scheduler http/1.1"), "{head}");
    // "p:s"
    assert!(head.contains("authorization: basic cdpz"), "{head}");
    assert!(head.contains("content-type: application/x-protobuf"), "{head}");
    assert_eq!(next(&callbacks).name(), "registered");
    master.send(&update(b"uuid"));
    assert_eq!(next(&callbacks).name(), "statusUpdate");
    let acknowledged = master.next(Type::Acknowledge);
    assert!(acknowledged.head.to_lowercase().contains("mesos-stream-id: stream-1"));
    assert_eq!(acknowledged.call.acknowledge.unwrap().uuid, "uuid");
    master.disconnect();
    assert_eq!(next(&callbacks), Callback::Disconnected);
    assert_eq!(master.next(Type::Subscribe).call.framework_id.unwrap().value, "f");
    assert_eq!(next(&callbacks).name(), "reregistered");
    assert_eq!(driver.stop(false), Status::Stopped);
    master.next(Type::Teardown);
    assert_eq!(driver.join(), Status::Stopped);
    // The thread of the callbacks has ended.
    assert!(callbacks.recv_timeout(Duration::from_secs(10)).is_err());
}

/// Each of these is stopped, or aborted, and joined in bounded time.
#[test]
fn hostile_masters_keep_no_caller() {
    for behaviour in Behaviour::hostile() {
        let master = FakeMaster::start(behaviour.clone());
        let driver = driver(&master.address);
        let began = Instant::now();
        let callbacks = start(&driver);
        master.next(Type::Subscribe);
        driver.request(Request::Kill { task: Bytes::new() });
        assert_eq!(driver.stop(false), Status::Stopped, "{behaviour:?}");
        assert_eq!(driver.join(), Status::Stopped);
        assert!(callbacks.recv_timeout(Duration::from_secs(10)).is_err(), "{behaviour:?}");
        assert!(began.elapsed() < Duration::from_secs(10), "{behaviour:?}: {:?}", began.elapsed());
    }
}

#[test]
fn dead_masters_keep_no_caller() {
    // Nothing listens on port 1.
    for address in ["127.0.0.1:1", "localhost:1", "https://127.0.0.1:1"] {
        let driver = driver(address);
        let _callbacks = start(&driver);
        let began = Instant::now();
        assert_eq!(driver.abort(), Status::Aborted);
        assert_eq!(driver.join(), Status::Aborted);
        assert_eq!(driver.stop(false), Status::Aborted);
        assert_eq!(driver.stop(false), Status::Stopped);
        assert!(began.elapsed() < Duration::from_secs(5), "{address}: {:?}", began.elapsed());
    }
}

#[test]
fn a_master_that_answers_no_call_delays_stop_by_a_bound() {
    let master = FakeMaster::start(Behaviour::DeafToCalls);
    let driver = driver(&master.address);
    let callbacks = start(&driver);
    assert_eq!(next(&callbacks).name(), "registered");
    let began = Instant::now();
    assert_eq!(driver.stop(false), Status::Stopped);
    assert!(began.elapsed() < STOP_MAX, "{:?}", began.elapsed());
    assert_eq!(driver.join(), Status::Stopped);
}

#[test]
fn callbacks_may_call_the_driver_and_stop_it() {
    let master = FakeMaster::start(Behaviour::Proper);
    let driver = Arc::new(driver(&master.address));
    let (callbacks, receiver) = channel();
    let inner = driver.clone();
    let inside = move |callback: &Callback| {
        if let Callback::Registered { .. } = callback {
            let task = wire::Id { value: "t".into() }.encode_to_vec().into();
            assert_eq!(inner.request(Request::Kill { task }), Status::Running);
            assert_eq!(inner.stop(false), Status::Stopped);
            assert_eq!(inner.join(), Status::Stopped);
        }
        Ok(())
    };
    driver.start(Recorder { callbacks, inside: Some(Box::new(inside)) }).unwrap();
    master.next(Type::Kill);
    master.next(Type::Teardown);
    assert_eq!(next(&receiver).name(), "registered");
    assert_eq!(driver.join(), Status::Stopped);
}

#[test]
fn what_a_callback_throws_reaches_error() {
    let master = FakeMaster::start(Behaviour::Proper);
    let driver = driver(&master.address);
    let (callbacks, receiver) = channel();
    let inside = |callback: &Callback| match callback {
        Callback::Registered { .. } => Err("java.lang.RuntimeException: no".to_owned()),
        _ => panic!("error() panics"),
    };
    driver.start(Recorder { callbacks, inside: Some(Box::new(inside)) }).unwrap();
    assert_eq!(driver.join(), Status::Aborted);
    assert_eq!(next(&receiver).name(), "registered");
    assert_eq!(driver.start(Recorder { callbacks: channel().0, inside: None }).unwrap(), Status::Aborted);
}

#[test]
fn names_that_are_none_of_a_master_abort() {
    let directory = std::env::temp_dir().join(format!("libmesos-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let file = directory.join("master");
    std::fs::write(&file, "file:///etc/passwd").unwrap();
    let nested = format!("file://{}", file.display());
    let folder = format!("file://{}", directory.display());
    for name in ["zk://", "file:///no/such/file", nested.as_str(), folder.as_str(), "a b"] {
        let driver = driver(name);
        let callbacks = start(&driver);
        assert_eq!(driver.join(), Status::Aborted, "{name}");
        assert_eq!(next(&callbacks).name(), "error", "{name}");
    }
    let master = FakeMaster::start(Behaviour::Proper);
    std::fs::write(&file, format!("{}\n", master.address)).unwrap();
    let by_file = driver(&nested);
    let callbacks = start(&by_file);
    assert_eq!(next(&callbacks).name(), "registered");
    by_file.stop(true);
    std::fs::remove_dir_all(directory).unwrap();
}
