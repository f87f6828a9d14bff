//! `kill -9` during writes, several times on one directory: everything acknowledged is there, no transaction is
//! partial, and writing continues.
//!
//! The writer is this test binary, started again with a directory in its environment.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use store::{EmbeddedStore, Key, ListRequest, Revision, Store, Txn};

const DIRECTORY: &str = "STORE_CRASH_DIRECTORY";
const WRITERS: u64 = 8;
const KILLS: usize = 6;

#[tokio::test]
async fn acknowledged_writes_survive_sigkill() {
    let directory = tempfile::tempdir().unwrap();
    let mut acknowledged = BTreeMap::new();
    let mut newest = Revision::ZERO;
    for kill in 0..KILLS {
        // A different number of acknowledgements each time, so that the kill comes at another point.
        for (writer, number, revision) in write_until_killed(directory.path(), 150 + 97 * kill) {
            acknowledged.insert((writer, number), revision);
            newest = newest.max(revision);
        }
        check(directory.path(), &acknowledged, newest).await;
    }
    assert!(acknowledged.len() > 150 * KILLS);
}

/// Runs a writing process, kills it after `count` acknowledgements and returns its output.
fn write_until_killed(directory: &Path, count: usize) -> Vec<(u64, u64, Revision)> {
    let mut writer = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "crash::writing_process", "--nocapture"])
        .env(DIRECTORY, directory)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(writer.stdout.take().unwrap()).lines();
    let mut acknowledged = Vec::new();
    // Acknowledgements that are still in the pipe after the kill count.
    while let Some(Ok(line)) = lines.next() {
        acknowledged.extend(parse(&line));
        if acknowledged.len() == count {
            writer.kill().unwrap();
        }
    }
    assert!(!writer.wait().unwrap().success(), "it was killed, it did not end");
    assert!(acknowledged.len() >= count);
    acknowledged
}

/// Parses `ack WRITER NUMBER REVISION`; a line that the kill truncated is no acknowledgement.
fn parse(line: &str) -> Option<(u64, u64, Revision)> {
    let numbers: Vec<u64> = line.strip_prefix("ack ")?.split(' ').flat_map(str::parse).collect();
    let &[writer, number, revision, 0] = &*numbers else { return None };
    Some((writer, number, Revision(revision)))
}

async fn check(directory: &Path, acknowledged: &BTreeMap<(u64, u64), Revision>, newest: Revision) {
    let store = EmbeddedStore::open(directory).expect("it opens after a kill");
    let listing = store.list(ListRequest::prefix("/written/")).await.unwrap();
    assert!(listing.revision >= newest);
    let written: BTreeMap<String, Revision> =
        listing.kvs.iter().map(|kv| (kv.key.as_str().to_owned(), kv.mod_revision)).collect();
    for ((writer, number), revision) in acknowledged {
        let found = written.get(&written_key(*writer, *number));
        assert_eq!(found, Some(revision), "writer {writer}, number {number} was acknowledged");
    }
    for writer in 0..WRITERS {
        let last = last_number(&store, writer).await;
        let own = format!("/written/{writer}/");
        let count = written.keys().filter(|key| key.starts_with(&own)).count() as u64;
        assert_eq!(count, last, "writer {writer}: a transaction is there whole or not at all");
    }
}

fn written_key(writer: u64, number: u64) -> String {
    format!("/written/{writer}/{number:08}")
}

async fn last_number(store: &dyn Store, writer: u64) -> u64 {
    let kv = store.get(&Key::new(format!("/last/{writer}"))).await.unwrap().kv;
    kv.map_or(0, |kv| std::str::from_utf8(&kv.value).unwrap().parse().unwrap())
}

/// Not a test: the process to kill. Does nothing without a directory.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writing_process() {
    let Some(directory) = std::env::var_os(DIRECTORY) else { return };
    let store = Arc::new(EmbeddedStore::open(Path::new(&directory)).unwrap());
    println!();
    let writers = (0..WRITERS).map(|writer| tokio::spawn(write_forever(Arc::clone(&store), writer)));
    for writer in writers.collect::<Vec<_>>() {
        writer.await.unwrap();
    }
}

async fn write_forever(store: Arc<EmbeddedStore>, writer: u64) {
    let mut number = last_number(&*store, writer).await;
    loop {
        number += 1;
        let txn = Txn::new()
            .put(Key::new(written_key(writer, number)), vec![b'x'; 200].into())
            .put(Key::new(format!("/last/{writer}")), number.to_string().into());
        let revision = store.txn(txn).await.unwrap().committed().unwrap();
        let mut out = std::io::stdout().lock();
        // The zero at the end marks a complete line.
        writeln!(out, "ack {writer} {number} {revision} 0").unwrap();
        out.flush().unwrap();
    }
}
