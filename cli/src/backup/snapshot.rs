//! The form of a snapshot of the store: a head with revision and number of keys, then the keys in order, each field with its
//! length before it. All numbers are big-endian.

use anyhow::{Context, ensure};
use bytes::Bytes;
use store::{Key, KeyValue, Revision};

/// The first bytes, with the version of the form.
const MAGIC: &[u8; 16] = b"catamaran-snap-1";
/// The longest key and value that are read: far above what the store takes.
const FIELD_BYTES_MAX: u64 = 1 << 30;

/// A snapshot that was read.
#[derive(Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// The revision of the store.
    pub revision: Revision,
    /// All keys.
    pub kvs: Vec<KeyValue>,
}

/// Appends the head.
pub fn write_head(to: &mut Vec<u8>, revision: Revision, count: usize) {
    to.extend_from_slice(MAGIC);
    for number in [revision.0, count as u64] {
        to.extend_from_slice(&number.to_be_bytes());
    }
}

/// Appends a key.
pub fn write_entry(to: &mut Vec<u8>, kv: &KeyValue) {
    for number in [kv.create_revision.0, kv.mod_revision.0, kv.version] {
        to.extend_from_slice(&number.to_be_bytes());
    }
    for field in [kv.key.as_str().as_bytes(), &kv.value] {
        to.extend_from_slice(&(field.len() as u64).to_be_bytes());
        to.extend_from_slice(field);
    }
}

/// Reads a whole snapshot. One that was cut short is an error.
pub fn read(bytes: &Bytes) -> anyhow::Result<Snapshot> {
    let mut at = 0;
    let magic = take(bytes, &mut at, MAGIC.len()).context("the snapshot of the store is empty")?;
    ensure!(*magic == MAGIC[..], "the snapshot of the store has an unknown form");
    let revision = Revision(number(bytes, &mut at)?);
    let count = number(bytes, &mut at)?;
    let mut kvs = Vec::new();
    for _ in 0..count {
        let [create_revision, mod_revision, version] =
            [number(bytes, &mut at)?, number(bytes, &mut at)?, number(bytes, &mut at)?];
        let key = field(bytes, &mut at)?;
        let key = Key::new(std::str::from_utf8(&key).context("a key of the store is not UTF-8")?);
        kvs.push(KeyValue {
            key,
            value: field(bytes, &mut at)?,
            create_revision: Revision(create_revision),
            mod_revision: Revision(mod_revision),
            version,
            unreadable: None,
        });
    }
    ensure!(at == bytes.len(), "the snapshot of the store has bytes after its end");
    Ok(Snapshot { revision, kvs })
}

fn take(bytes: &Bytes, at: &mut usize, length: usize) -> anyhow::Result<Bytes> {
    let end = at.checked_add(length).filter(|end| *end <= bytes.len());
    let end = end.context("the snapshot of the store is cut short")?;
    let part = bytes.slice(*at..end);
    *at = end;
    Ok(part)
}

fn number(bytes: &Bytes, at: &mut usize) -> anyhow::Result<u64> {
    let part = take(bytes, at, 8)?;
    Ok(part.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)))
}

fn field(bytes: &Bytes, at: &mut usize) -> anyhow::Result<Bytes> {
    let length = number(bytes, at)?;
    ensure!(length <= FIELD_BYTES_MAX, "the snapshot of the store is damaged");
    take(bytes, at, usize::try_from(length)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_is_read_as_it_was_written_and_never_in_part() {
        let kv = |key: &str, value: &'static str| KeyValue {
            key: Key::new(key),
            value: Bytes::from_static(value.as_bytes()),
            create_revision: Revision(3),
            mod_revision: Revision(7),
            version: 2,
            unreadable: None,
        };
        let kvs = vec![kv("/a", ""), kv("/b", "{}")];
        let mut written = Vec::new();
        write_head(&mut written, Revision(9), kvs.len());
        kvs.iter().for_each(|kv| write_entry(&mut written, kv));
        let written = Bytes::from(written);
        assert_eq!(read(&written).unwrap(), Snapshot { revision: Revision(9), kvs });
        for length in 0..written.len() {
            assert!(read(&written.slice(..length)).is_err(), "{length}");
        }
        let longer = Bytes::from([&written[..], b"x"].concat());
        assert!(read(&longer).is_err());
    }
}
