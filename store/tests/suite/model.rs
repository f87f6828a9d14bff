//! Random histories: the embedded store behaves like the memory store, also after it was reopened.

use std::path::Path;

use bytes::Bytes;
use futures::FutureExt;
use proptest::prelude::*;
use store::{
    Condition, EmbeddedStore, Error, Event, Key, ListRequest, MemoryStore, Revision, Store, Txn, Watch,
};

#[derive(Clone, Debug)]
enum StoreStep {
    Txn(Txn),
    /// List a prefix with a limit, at an earlier revision.
    List {
        prefix: &'static str,
        limit: usize,
        back: u64,
    },
    /// Compact to an earlier revision.
    Compact {
        back: u64,
    },
    Reopen,
}

const KEYS: [&str; 6] = ["/a", "/a/1", "/a/2", "/b", "/b/1", "/c"];

fn key() -> impl Strategy<Value = Key> {
    prop::sample::select(&KEYS[..]).prop_map(Key::new)
}

fn condition() -> impl Strategy<Value = Condition> {
    prop_oneof![
        Just(Condition::Absent),
        Just(Condition::Exists),
        (0..30_u64).prop_map(|revision| Condition::ModRevision(Revision(revision))),
    ]
}

fn txn() -> impl Strategy<Value = Txn> {
    let compares = prop::collection::vec((key(), condition()), 0..2);
    let ops = prop::collection::vec((key(), prop::option::weighted(0.7, any::<u8>())), 0..4);
    (compares, ops).prop_map(|(compares, ops)| {
        let txn = compares.into_iter().fold(Txn::new(), |txn, (key, condition)| txn.when(key, condition));
        ops.into_iter().fold(txn, |txn, (key, value)| match value {
            Some(byte) => txn.put(key, Bytes::from(vec![byte; byte as usize])),
            None => txn.delete(key),
        })
    })
}

fn step() -> impl Strategy<Value = StoreStep> {
    let prefix = prop::sample::select(&["", "/", "/a", "/a/", "/b/1", "/x"][..]);
    prop_oneof![
        12 => txn().prop_map(StoreStep::Txn),
        4 => (prefix, 0..4_usize, 0..6_u64).prop_map(|(prefix, limit, back)| StoreStep::List { prefix, limit, back }),
        1 => (0..6_u64).prop_map(|back| StoreStep::Compact { back }),
        1 => Just(StoreStep::Reopen),
    ]
}

struct Pair<'a> {
    directory: &'a Path,
    memory: MemoryStore,
    embedded: EmbeddedStore,
    watches: [Watch; 2],
}

impl Pair<'_> {
    async fn open(directory: &Path) -> Pair<'_> {
        let memory = MemoryStore::new();
        let embedded = EmbeddedStore::open(directory).unwrap();
        let watches = watches(&memory, &embedded, Revision::FIRST).await;
        Pair { directory, memory, embedded, watches }
    }

    async fn take(mut self, step: StoreStep) -> Self {
        match step {
            StoreStep::Txn(txn) => {
                let (one, other) = (self.memory.txn(txn.clone()).await, self.embedded.txn(txn).await);
                assert_eq!(text(one), text(other));
            }
            StoreStep::List { prefix, limit, back } => {
                let at = Some(self.back(back).await);
                let request = ListRequest { limit, at, ..ListRequest::prefix(prefix) };
                let (one, other) =
                    (self.memory.list(request.clone()).await, self.embedded.list(request).await);
                assert_eq!(text(one), text(other));
            }
            StoreStep::Compact { back } => {
                let at = self.back(back).await;
                let (one, other) = (self.memory.compact(at).await, self.embedded.compact(at).await);
                assert_eq!(text(one), text(other));
            }
            StoreStep::Reopen => {
                let Pair { directory, memory, embedded, watches: open } = self;
                drop((embedded, open));
                let embedded = EmbeddedStore::open(directory).unwrap();
                let revision = memory.current_revision().await.unwrap();
                memory.compact(revision).await.unwrap();
                let watches = watches(&memory, &embedded, revision).await;
                return Pair { directory, memory, embedded, watches };
            }
        }
        let [one, other] = &mut self.watches;
        assert_eq!(ready(one), ready(other));
        let all = ListRequest::default();
        assert_eq!(text(self.memory.list(all.clone()).await), text(self.embedded.list(all).await));
        self
    }

    async fn back(&self, back: u64) -> Revision {
        Revision(self.memory.current_revision().await.unwrap().0.saturating_sub(back))
    }
}

async fn watches(memory: &MemoryStore, embedded: &EmbeddedStore, after: Revision) -> [Watch; 2] {
    [memory.watch("/a", after).await.unwrap(), embedded.watch("/a", after).await.unwrap()]
}

/// The events that are ready.
fn ready(watch: &mut Watch) -> Vec<Event> {
    let mut events = Vec::new();
    while let Some(batch) = watch.next_batch().now_or_never() {
        events.extend(batch.expect("the watch lives").expect("the watch is well").events.iter().cloned());
    }
    events
}

fn text<T: std::fmt::Debug>(result: Result<T, Error>) -> String {
    format!("{result:?}")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn embedded_behaves_like_memory(steps in prop::collection::vec(step(), 1..60)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let directory = tempfile::tempdir().unwrap();
            let mut pair = Pair::open(directory.path()).await;
            for step in steps {
                pair = pair.take(step).await;
            }
        });
    }
}
