//! The state without a ZooKeeper: no caller waits for longer than it wants. With a real one it is tested end to end.

use std::{
    net::TcpListener,
    time::{Duration, Instant},
};

use super::*;

fn open(servers: &[&str]) -> Storage {
    let options = StorageOptions {
        servers: servers.iter().map(|server| (*server).to_owned()).collect(),
        znode: "/state".to_owned(),
        session: SessionOptions { timeout: Duration::from_secs(10), authentication: None },
    };
    Storage::open(options).unwrap()
}

#[test]
fn an_ensemble_that_is_away_keeps_no_caller() {
    // Nothing listens on port 1; the other accepts and says nothing.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = silent.local_addr().unwrap().to_string();
    for servers in [["127.0.0.1:1"], [silent.as_str()]] {
        let storage = open(&servers);
        let began = Instant::now();
        let future = storage.start(Operation::Fetch("n".to_owned()));
        assert_eq!(future.wait(Duration::from_millis(50)), None);
        assert!(!future.is_done());
        let second = storage.start(Operation::Names);
        second.discard();
        assert!(second.is_done());
        drop(storage);
        let failure = Some(Err(Failure::Failed("No longer managing storage".to_owned())));
        assert_eq!(future.wait(Duration::from_secs(10)), failure);
        assert!(second.wait(Duration::from_secs(10)).is_some());
        assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    }
}

#[test]
fn a_discarded_operation_is_not_tried_again() {
    let storage = open(&["127.0.0.1:1"]);
    let future = storage.start(Operation::Names);
    future.discard();
    assert_eq!(future.wait(Duration::from_secs(10)), Some(Err(Failure::Discarded)));
}

#[test]
fn no_two_versions_are_equal() {
    let versions: std::collections::BTreeSet<[u8; 16]> = (0..1_000).map(|_| random_uuid()).collect();
    assert_eq!(versions.len(), 1_000);
}
