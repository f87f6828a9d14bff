//! The log: drafts are written as one atomic, synced batch, and the current state is read at the start.
//!
//! One fjall keyspace holds everything. A key is one byte for its type, then its name: `k` + key → create_revision,
//! mod_revision, version (big-endian u64 each), value; `r` → the store's revision. Both change in the same batch, so
//! they agree after a crash.

use std::io::ErrorKind;
use std::path::PathBuf;

use fjall::{CompressionType, Database, Keyspace, KeyspaceCreateOptions, PersistMode};

use super::directory::{Directory, TREE};
use crate::mvcc::Draft;
use crate::{Error, Key, KeyValue, Revision};

/// Makes drafts durable. A trait so that tests can inject a failing disk.
pub(super) trait Log: Send {
    /// Returns when all writes of the draft are on disk. After an error it is unknown what is on disk, and nothing more
    /// may be appended before [`Log::reopen`].
    fn append(&mut self, draft: &Draft) -> Result<(), Failure>;

    /// Opens the log again after a failure, and returns the state that is on disk.
    fn reopen(&mut self) -> Result<(Vec<KeyValue>, Revision), Error>;
}

/// Why a draft could not be made durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    /// Whether the file system or the quota is full.
    pub(super) is_full: bool,
    pub(super) reason: String,
}

impl From<fjall::Error> for Failure {
    fn from(error: fjall::Error) -> Failure {
        let causes = std::iter::successors(Some(&error as &dyn std::error::Error), |error| error.source());
        let mut kinds =
            causes.filter_map(|cause| cause.downcast_ref::<std::io::Error>()).map(std::io::Error::kind);
        let is_full = kinds.any(|kind| matches!(kind, ErrorKind::StorageFull | ErrorKind::QuotaExceeded));
        Failure { is_full, reason: error.to_string() }
    }
}

const KEYSPACE: &str = "store";
const KEY_TAG: u8 = b'k';
const REVISION_KEY: &[u8] = b"r";
const HEADER_BYTES: usize = 24;

/// The size of the in-memory table. Everything is in the index already, so this is as small as the number of files
/// allows.
const MEMTABLE_BYTES: u64 = 16 * 1024 * 1024;

/// The tree is read once and sequentially, so a cache has no use.
const CACHE_BYTES: u64 = 1024 * 1024;

/// fjall's minimum; bounds the replay when the store is opened.
const JOURNALS_BYTES: u64 = 64 * 1024 * 1024;

/// Keys per batch of a restore: some megabytes, as the largest objects have 1.5 MiB and most one KiB.
const FILL_KEYS_MAX: usize = 512;

/// A log in a local directory.
pub(super) struct FjallLog {
    path: PathBuf,
    /// `None` after a failed [`Log::reopen`].
    tree: Option<Tree>,
    /// Buffer, reused for every entry.
    key: Vec<u8>,
    value: Vec<u8>,
}

struct Tree {
    database: Database,
    keyspace: Keyspace,
}

impl FjallLog {
    /// Opens the log and reads the current state.
    pub(super) fn open(directory: &Directory) -> Result<(FjallLog, Vec<KeyValue>, Revision), Error> {
        let mut log =
            FjallLog { path: directory.path().to_owned(), tree: None, key: Vec::new(), value: Vec::new() };
        let (kvs, revision) = log.reopen()?;
        Ok((log, kvs, revision))
    }

    /// Writes all keys of a restored store. The revision comes last, so that a crash in between leaves no store of that
    /// revision.
    pub(super) fn fill(&mut self, kvs: &[KeyValue], revision: Revision) -> Result<(), Failure> {
        let Some(tree) = &self.tree else {
            return Err(Failure { is_full: false, reason: "the log is not open".to_owned() });
        };
        for part in kvs.chunks(FILL_KEYS_MAX) {
            let mut batch = tree.database.batch();
            for kv in part {
                self.key.clear();
                self.key.push(KEY_TAG);
                self.key.extend_from_slice(kv.key.as_str().as_bytes());
                encode(kv, &mut self.value);
                batch.insert(&tree.keyspace, self.key.as_slice(), self.value.as_slice());
            }
            batch.commit().map_err(Failure::from)?;
        }
        let mut batch = tree.database.batch().durability(Some(PersistMode::SyncAll));
        batch.insert(&tree.keyspace, REVISION_KEY, revision.0.to_be_bytes());
        batch.commit().map_err(Failure::from)
    }
}

impl Log for FjallLog {
    fn append(&mut self, draft: &Draft) -> Result<(), Failure> {
        let Some(tree) = &self.tree else {
            return Err(Failure { is_full: false, reason: "the log is not open".to_owned() });
        };
        let mut batch = tree.database.batch().durability(Some(PersistMode::SyncData));
        for (key, written) in draft.writes() {
            self.key.clear();
            self.key.push(KEY_TAG);
            self.key.extend_from_slice(key.as_str().as_bytes());
            match written {
                Some(kv) => {
                    encode(kv, &mut self.value);
                    batch.insert(&tree.keyspace, self.key.as_slice(), self.value.as_slice());
                }
                None => batch.remove(&tree.keyspace, self.key.as_slice()),
            }
        }
        batch.insert(&tree.keyspace, REVISION_KEY, draft.revision().0.to_be_bytes());
        batch.commit().map_err(Failure::from)
    }

    fn reopen(&mut self) -> Result<(Vec<KeyValue>, Revision), Error> {
        // Its lock must be free before it is opened again.
        self.tree = None;
        let failed = |error: fjall::Error| match error {
            fjall::Error::Locked => Error::DirectoryInUse { path: self.path.clone() },
            error => Error::Directory { path: self.path.clone(), reason: error.to_string() },
        };
        let database = Database::builder(self.path.join(TREE))
            .cache_size(CACHE_BYTES)
            .journal_compression(CompressionType::None)
            .manual_journal_persist(true)
            .max_journaling_size(JOURNALS_BYTES)
            .worker_threads(1)
            .open()
            .map_err(failed)?;
        let options = || {
            KeyspaceCreateOptions::default().max_memtable_size(MEMTABLE_BYTES).manual_journal_persist(true)
        };
        let keyspace = database.keyspace(KEYSPACE, options).map_err(failed)?;
        let state = load(&keyspace, failed)?;
        self.tree = Some(Tree { database, keyspace });
        Ok(state)
    }
}

fn load(
    keyspace: &Keyspace,
    failed: impl Fn(fjall::Error) -> Error,
) -> Result<(Vec<KeyValue>, Revision), Error> {
    let mut kvs = Vec::new();
    let mut revision = Revision::FIRST;
    for entry in keyspace.iter() {
        let (key, value) = entry.into_inner().map_err(&failed)?;
        match key.first() {
            Some(&KEY_TAG) => kvs.push(decode(&key[1..], &value)?),
            _ if &*key == REVISION_KEY => revision = Revision(u64_at(&value, 0)?),
            _ => return Err(damaged(&key)),
        }
    }
    Ok((kvs, revision))
}

fn encode(kv: &KeyValue, into: &mut Vec<u8>) {
    into.clear();
    for number in [kv.create_revision.0, kv.mod_revision.0, kv.version] {
        into.extend_from_slice(&number.to_be_bytes());
    }
    into.extend_from_slice(&kv.value);
}

fn decode(key: &[u8], entry: &[u8]) -> Result<KeyValue, Error> {
    let name = std::str::from_utf8(key).map_err(|_| damaged(key))?;
    let value = entry.get(HEADER_BYTES..).ok_or_else(|| damaged(key))?;
    Ok(KeyValue {
        key: Key::new(name),
        // Copied: a slice would keep a whole block alive.
        value: bytes::Bytes::copy_from_slice(value),
        create_revision: Revision(u64_at(entry, 0)?),
        mod_revision: Revision(u64_at(entry, 8)?),
        version: u64_at(entry, 16)?,
        unreadable: None,
    })
}

fn u64_at(bytes: &[u8], offset: usize) -> Result<u64, Error> {
    let number = bytes.get(offset..offset + 8).and_then(|number| number.try_into().ok());
    number.map(u64::from_be_bytes).ok_or_else(|| damaged(bytes))
}

fn damaged(key: &[u8]) -> Error {
    Error::Damaged { reason: format!("entry {:?} cannot be read", String::from_utf8_lossy(key)) }
}
