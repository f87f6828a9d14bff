//! Benchmark of the embedded store: `cargo run --release -p store --example store_bench [DIR]`.
//!
//! Prints rates by wall time, and CPU time of the whole process per operation (clients included: they are tasks of this
//! process). Rates depend on the disk; CPU per operation hardly does.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use store::{EmbeddedStore, Key, ListRequest, Store, Txn};

/// About the size of a Pod.
const VALUE_BYTES: usize = 1_500;
const WATCHERS: usize = 500;

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.expect("a runtime").block_on(run());
}

async fn run() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = std::env::args_os().nth(1).map_or_else(|| directory.path().to_owned(), Into::into);
    let store = Arc::new(EmbeddedStore::open(&path).expect("the store opens"));
    println!("{:<34} idle RSS {} KiB", "", rss_kib());
    for (writers, count) in [(1, 3_000), (64, 100_000), (512, 200_000)] {
        puts(&store, writers, count).await;
    }
    fan_out(&store).await;
    let start = Meter::start();
    let listing = store.list(ListRequest::prefix("/bench/")).await.expect("a listing");
    start.report("list, per key", listing.kvs.len());
    drop(listing);
    drop(store);
    reopen(&path).await;
}

/// `count` durable puts over 20,000 keys.
async fn puts(store: &Arc<EmbeddedStore>, writers: usize, count: usize) {
    let meter = Meter::start();
    let tasks: Vec<_> = (0..writers)
        .map(|writer| {
            let store = Arc::clone(store);
            tokio::spawn(async move {
                let mut latencies = Vec::with_capacity(count / writers);
                for number in 0..count / writers {
                    let key = Key::new(format!("/bench/{:06}", (number * writers + writer) % 20_000));
                    let begun = Instant::now();
                    store.put(key, Bytes::from(vec![b'x'; VALUE_BYTES])).await.expect("a put");
                    latencies.push(begun.elapsed());
                }
                latencies
            })
        })
        .collect();
    let mut latencies = Vec::new();
    for task in tasks {
        latencies.extend(task.await.expect("a writer"));
    }
    meter.report(&format!("durable put, {writers} writers"), latencies.len());
    latencies.sort_unstable();
    let at = |percent: usize| latencies[latencies.len() * percent / 100];
    println!("{:<34} p50 {:?} p99 {:?} RSS {} KiB", "", at(50), at(99), rss_kib());
}

/// Every watcher receives every write.
async fn fan_out(store: &Arc<EmbeddedStore>) {
    const WRITES: usize = 1_000;
    let start = store.current_revision().await.expect("a revision");
    let mut watches = Vec::new();
    for _ in 0..WATCHERS {
        watches.push(store.watch("/fan/", start).await.expect("a watch"));
    }
    let meter = Meter::start();
    let readers: Vec<_> = watches
        .into_iter()
        .map(|mut watch| {
            tokio::spawn(async move {
                for _ in 0..WRITES {
                    watch.next_batch().await.expect("it lives").expect("it is well");
                }
            })
        })
        .collect();
    for writes in 0..WRITES / 10 {
        let puts = (0..10)
            .map(|i| store.put(Key::new(format!("/fan/{}", writes * 10 + i)), vec![b'x'; 1_500].into()));
        futures::future::join_all(puts).await;
    }
    for reader in readers {
        reader.await.expect("a reader");
    }
    meter.report(&format!("delivery to {WATCHERS} watchers"), WATCHERS * WRITES);
    store.txn(Txn::new()).await.expect("the store still answers");
}

async fn reopen(path: &std::path::Path) {
    let begun = Instant::now();
    let store = EmbeddedStore::open(path).expect("the store opens again");
    let opened = begun.elapsed();
    let count = store.list(ListRequest::default()).await.expect("a listing").kvs.len();
    println!("{:<34} {count} keys in {opened:?}, RSS {} KiB", "open", rss_kib());
}

/// Wall time and CPU time of this process.
struct Meter {
    begun: Instant,
    cpu: Duration,
}

impl Meter {
    fn start() -> Meter {
        Meter { begun: Instant::now(), cpu: cpu() }
    }

    fn report(&self, what: &str, count: usize) {
        let (wall, cpu) = (self.begun.elapsed(), cpu() - self.cpu);
        let rate = count as f64 / wall.as_secs_f64();
        let each = cpu.as_secs_f64() * 1e6 / count as f64;
        println!("{what:<34} {rate:>12.0}/s {each:>8.2} µs CPU each");
    }
}

/// User and system time of this process, from the kernel's clock of 10 ms ticks.
fn cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("Linux");
    let fields = stat.rsplit(") ").next().expect("the name is in parentheses");
    let ticks: u64 = fields.split(' ').skip(11).take(2).flat_map(str::parse::<u64>).sum();
    Duration::from_millis(ticks * 10)
}

fn rss_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("VmRSS");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}
