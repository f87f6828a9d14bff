//! The checkpoint on disk: an append-only file, synced before any effect is carried out, and compacted from the
//! machine's current state when it has grown too long.
//!
//! A torn record after a crash is at the end, fails its checksum, and had no effects yet: it is truncated.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use kernel_core::agent::Record;

use super::record_codec::{self, RecordError};

/// The file's magic number; the digit is the format version.
const MAGIC: &[u8; 8] = b"catagnt1";

/// A log is compacted from this length on, if it is [`GROWTH_MAX`] times as long as after the last compaction.
const LENGTH_MIN: u64 = 1 << 20;

/// With this factor, compaction writes at most a quarter of all bytes ever written.
const GROWTH_MAX: u64 = 4;

/// A record holds one value with its data and is far smaller.
const RECORD_LENGTH_MAX: usize = 256 << 20;

/// A checkpoint that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// An I/O error.
    #[error("{0}: {1}")]
    Io(PathBuf, io::Error),
    /// Another file format, or a later version.
    #[error("{0} is not a checkpoint that this version can read")]
    Format(PathBuf),
    /// A complete record that does not decode.
    #[error("{0}: {1}")]
    Record(PathBuf, String),
    /// The writing task panicked.
    #[error("writing ended unexpectedly")]
    Panicked,
}

impl LogError {
    pub(super) fn panicked(_: tokio::task::JoinError) -> Self {
        Self::Panicked
    }
}

pub(crate) struct CheckpointLog {
    path: PathBuf,
    file: File,
    length: u64,
    /// The length after the last compaction.
    compact_length: u64,
}

impl CheckpointLog {
    /// Opens or creates the checkpoint below `dir`, and reads its records.
    pub(crate) fn open(dir: &Path) -> Result<(Self, Vec<Record>), LogError> {
        let path = dir.join("checkpoint.log");
        let failed = |error| LogError::Io(path.clone(), error);
        fs::create_dir_all(dir).map_err(failed)?;
        let bytes = match fs::read(&path) {
            Ok(bytes) => Bytes::from(bytes),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Bytes::new(),
            Err(error) => return Err(failed(error)),
        };
        let (records, good) = read(&path, bytes)?;
        let file = File::options().create(true).truncate(false).write(true).open(&path).map_err(failed)?;
        let mut log = Self { path, file, length: good, compact_length: good };
        if good == 0 {
            log.rewrite(&[])?;
        } else {
            log.cut().map_err(|error| LogError::Io(log.path.clone(), error))?;
        }
        Ok((log, records))
    }

    /// Truncates the file after the last good record.
    fn cut(&mut self) -> io::Result<()> {
        self.file.set_len(self.length)?;
        io::Seek::seek(&mut self.file, io::SeekFrom::Start(self.length))?;
        Ok(())
    }

    /// Appends records and syncs the file.
    pub(crate) fn append(&mut self, records: &[Record]) -> Result<(), LogError> {
        let bytes = frames(records);
        let written = self.file.write_all(&bytes).and_then(|()| self.file.sync_data());
        written.map_err(|error| LogError::Io(self.path.clone(), error))?;
        self.length += bytes.len() as u64;
        Ok(())
    }

    /// Whether the log should be compacted.
    pub(crate) fn wants_compaction(&self) -> bool {
        self.length > LENGTH_MIN.max(self.compact_length * GROWTH_MAX)
    }

    /// Replaces the log atomically by one with these records.
    pub(crate) fn rewrite(&mut self, records: &[Record]) -> Result<(), LogError> {
        let temporary = self.path.with_extension("new");
        let replace = || -> io::Result<(File, u64)> {
            let mut file = File::create(&temporary)?;
            let body = frames(records);
            file.write_all(MAGIC)?;
            file.write_all(&body)?;
            file.sync_all()?;
            fs::rename(&temporary, &self.path)?;
            if let Some(dir) = self.path.parent() {
                File::open(dir)?.sync_all()?;
            }
            Ok((file, (MAGIC.len() + body.len()) as u64))
        };
        let (file, length) = replace().map_err(|error| LogError::Io(self.path.clone(), error))?;
        (self.file, self.length, self.compact_length) = (file, length, length);
        Ok(())
    }
}

/// The records, and the number of good bytes.
fn read(path: &Path, mut bytes: Bytes) -> Result<(Vec<Record>, u64), LogError> {
    if bytes.is_empty() {
        return Ok((Vec::new(), 0));
    }
    let total = bytes.len();
    if bytes.len() < MAGIC.len() || bytes.split_to(MAGIC.len()) != MAGIC[..] {
        return Err(LogError::Format(path.to_owned()));
    }
    let mut records = Vec::new();
    let mut good = total - bytes.len();
    while let Some(body) = next_frame(&mut bytes) {
        let record = record_codec::decode(body);
        records.push(record.map_err(|e: RecordError| LogError::Record(path.to_owned(), e.to_string()))?);
        good = total - bytes.len();
    }
    Ok((records, good as u64))
}

fn next_frame(bytes: &mut Bytes) -> Option<Bytes> {
    let length = bytes.try_get_u32().ok()? as usize;
    let checksum = bytes.try_get_u64().ok()?;
    if length > RECORD_LENGTH_MAX || bytes.len() < length {
        return None;
    }
    let body = bytes.split_to(length);
    (sum(&body) == checksum).then_some(body)
}

fn frames(records: &[Record]) -> BytesMut {
    let mut all = BytesMut::new();
    for record in records {
        let start = all.len();
        all.put_bytes(0, 12);
        record_codec::encode(record, &mut all);
        let body = start + 12..all.len();
        let length = u32::try_from(body.len()).expect("invariant: a record is below RECORD_LENGTH_MAX");
        let checksum = sum(&all[body]);
        all[start..start + 4].copy_from_slice(&length.to_be_bytes());
        all[start + 4..start + 12].copy_from_slice(&checksum.to_be_bytes());
    }
    all
}

/// FNV-1a: enough to detect a torn record.
fn sum(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}
