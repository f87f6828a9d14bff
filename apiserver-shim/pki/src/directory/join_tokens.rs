//! The join tokens of a cluster, in `pki/join-tokens`: each line has a secret and the Unix time at which it expires. The file
//! is read for each use, so tokens can be replaced while a server runs.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::{MODE_PRIVATE, create_directory, file, random_secret, read, write};
use crate::{JoinToken, PkiError};

/// The file of versions whose single token did not expire.
const UNLIMITED_FILE: &str = "join-secret";

/// The tokens with which machines can join.
#[derive(Clone, Debug)]
pub struct JoinTokens {
    directory: PathBuf,
    /// The authority's certificate, PEM.
    authority: String,
}

struct Entry {
    secret: String,
    expires: u64,
}

impl JoinTokens {
    /// The tokens of a data directory whose cluster has this authority certificate.
    pub fn new(data_dir: &Path, authority_pem: &str) -> Result<Self, PkiError> {
        let directory = data_dir.join("pki");
        create_directory(&directory)?;
        Ok(Self { directory, authority: authority_pem.to_owned() })
    }

    /// A token that is valid for at least half of `lifetime`; a new one is created if there is none.
    pub fn current(&self, now: SystemTime, lifetime: Duration) -> Result<JoinToken, PkiError> {
        let _lock = self.lock()?;
        let mut entries = self.entries(now, lifetime)?;
        let enough = seconds(now) + lifetime.as_secs() / 2;
        if entries.last().is_none_or(|entry| entry.expires < enough) {
            entries.push(entry(now, lifetime)?);
            self.store(&entries)?;
        }
        let newest = entries.last().expect("invariant: pushed above if there was none");
        JoinToken::new(&self.authority, &newest.secret)
    }

    /// Creates a token, and withdraws all others.
    pub fn rotate(&self, now: SystemTime, lifetime: Duration) -> Result<JoinToken, PkiError> {
        let _lock = self.lock()?;
        let entry = entry(now, lifetime)?;
        let token = JoinToken::new(&self.authority, &entry.secret)?;
        self.store(&[entry])?;
        Ok(token)
    }

    /// Whether a machine may join with this token.
    pub fn accepts(&self, presented: &str, now: SystemTime) -> Result<bool, PkiError> {
        let mut accepted = false;
        for entry in parse(&read(&self.path())?.unwrap_or_default()) {
            let token = JoinToken::new(&self.authority, &entry.secret)?;
            accepted |= token.accepts(presented) & (entry.expires > seconds(now));
        }
        Ok(accepted)
    }

    fn path(&self) -> PathBuf {
        self.directory.join("join-tokens")
    }

    /// The tokens that have not expired, oldest first. The token of an earlier version gets an end.
    fn entries(&self, now: SystemTime, lifetime: Duration) -> Result<Vec<Entry>, PkiError> {
        let mut entries = match read(&self.path())? {
            Some(text) => parse(&text),
            None => Vec::new(),
        };
        let unlimited = self.directory.join(UNLIMITED_FILE);
        if let Some(secret) = read(&unlimited)? {
            let expires = seconds(now) + lifetime.as_secs();
            entries.push(Entry { secret: secret.trim().to_owned(), expires });
            self.store(&entries)?;
            std::fs::remove_file(&unlimited).map_err(|e| file(&unlimited, e))?;
        }
        entries.retain(|entry| entry.expires > seconds(now));
        Ok(entries)
    }

    fn store(&self, entries: &[Entry]) -> Result<(), PkiError> {
        let lines = entries.iter().map(|entry| format!("{} {}\n", entry.secret, entry.expires));
        write(&self.path(), &lines.collect::<String>(), MODE_PRIVATE)
    }

    /// Excludes other processes from reading and writing in between.
    fn lock(&self) -> Result<File, PkiError> {
        let path = self.directory.join("join-tokens.lock");
        let lock = File::create(&path).map_err(|e| file(&path, e))?;
        lock.lock().map_err(|e| file(&path, e))?;
        Ok(lock)
    }
}

fn entry(now: SystemTime, lifetime: Duration) -> Result<Entry, PkiError> {
    Ok(Entry { secret: random_secret()?, expires: seconds(now) + lifetime.as_secs() })
}

/// Lines that cannot be parsed are no tokens.
fn parse(text: &str) -> Vec<Entry> {
    let line = |line: &str| {
        let (secret, expires) = line.split_once(' ')?;
        Some(Entry { secret: secret.to_owned(), expires: expires.parse().ok()? })
    };
    text.lines().filter_map(line).collect()
}

fn seconds(now: SystemTime) -> u64 {
    now.duration_since(UNIX_EPOCH).map(|d| d.as_secs()).unwrap_or(0)
}
