//! Encryption at rest: values of API objects are encrypted before they reach the store, by the providers of an
//! `EncryptionConfiguration`, and decrypted when they come from it. Keys, revisions and everything else that is in the store
//! stay as they are. The file may be read again while the server runs.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use prometheus::core::Collector;
use sha2::{Digest, Sha256};
use shim_core::encryption::{
    Cipher, EncryptionConfiguration, EncryptionConfigurationError, NamedKey, Provider,
};
use shim_model::schema::plain_yaml;
use store::{Store, TransformedStore, ValueTransformer};
use tokio::sync::watch;

mod ciphers;
mod metrics;

use ciphers::{CipherError, aes_cbc, gcm, secretbox};
use metrics::{Direction, EncryptionMetrics};

/// What all encrypted values begin with.
const ENCRYPTED: &[u8] = b"k8s:enc:";
/// How often the file is looked at; upstream's.
const RELOAD_PERIOD: Duration = Duration::from_secs(60);

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("encryption configuration {}", path.display())]
pub struct EncryptionFileError {
    path: PathBuf,
    #[source]
    cause: Cause,
}

#[derive(Debug, thiserror::Error)]
enum Cause {
    #[error("cannot read the file")]
    Read(#[from] std::io::Error),
    #[error("the file is empty")]
    Empty,
    /// Where it is wrong. What is wrong is not said, because that may quote keys.
    #[error("invalid YAML{0}")]
    Yaml(String),
    #[error(transparent)]
    Content(#[from] EncryptionConfigurationError),
}

/// Encrypts and decrypts the values of API objects.
pub struct EncryptionAtRest {
    configuration: ArcSwap<EncryptionConfiguration>,
    path: PathBuf,
    /// The digest of the file that was read first.
    digest: [u8; 32],
    generation: watch::Sender<u64>,
    metrics: EncryptionMetrics,
}

impl EncryptionAtRest {
    /// Reads a configuration.
    ///
    /// # Errors
    /// The file cannot be read or is not valid.
    pub fn read(path: &Path) -> Result<Arc<EncryptionAtRest>, EncryptionFileError> {
        let (configuration, digest) = read(path)?;
        Ok(Arc::new(EncryptionAtRest {
            configuration: ArcSwap::from_pointee(configuration),
            path: path.to_owned(),
            digest,
            generation: watch::Sender::new(0),
            metrics: EncryptionMetrics::new(),
        }))
    }

    /// The store with encrypted values.
    pub fn wrap(self: &Arc<Self>, store: Arc<dyn Store>) -> Arc<dyn Store> {
        Arc::new(TransformedStore::new(store, self.clone()))
    }

    /// Reads the file again whenever it has changed. A file that is not valid changes nothing.
    pub async fn follow(self: Arc<Self>) {
        let mut used = self.digest;
        loop {
            tokio::time::sleep(RELOAD_PERIOD).await;
            let result = match read(&self.path) {
                Ok((_, digest)) if used == digest => continue,
                Ok((configuration, digest)) => {
                    self.replace(configuration);
                    Ok(digest)
                }
                Err(error) => Err(error),
            };
            self.metrics.reloaded(result.is_ok());
            match result {
                Ok(digest) => {
                    used = digest;
                    tracing::info!(path = %self.path.display(), "encryption configuration loaded again");
                }
                Err(error) => {
                    let error = &error as &dyn std::error::Error;
                    tracing::error!(error, "encryption configuration not loaded; the previous one remains");
                }
            }
        }
    }

    /// Reads the file again; returns the digest of its content.
    ///
    /// # Errors
    /// The file cannot be read or is not valid; the previous configuration remains.
    pub fn reload(&self) -> Result<[u8; 32], EncryptionFileError> {
        let (configuration, digest) = read(&self.path)?;
        self.replace(configuration);
        Ok(digest)
    }

    fn replace(&self, configuration: EncryptionConfiguration) {
        self.configuration.store(Arc::new(configuration));
        self.generation.send_modify(|generation| *generation += 1);
    }
}

/// The line that an error of YAML names; upstream's do not name the first.
fn line_of(error: &str) -> String {
    let rest = error.strip_prefix("yaml: line ").and_then(|rest| rest.split_once(':'));
    let line = rest.and_then(|(line, _)| line.parse::<usize>().ok());
    line.map_or_else(String::new, |line| format!(" in line {line}"))
}

/// Reads a file; also the digest of its content.
fn read(path: &Path) -> Result<(EncryptionConfiguration, [u8; 32]), EncryptionFileError> {
    let parse = || -> Result<_, Cause> {
        let bytes = std::fs::read(path)?;
        if bytes.is_empty() {
            return Err(Cause::Empty);
        }
        let value = plain_yaml(&bytes).map_err(|error| Cause::Yaml(line_of(&error)))?;
        Ok((EncryptionConfiguration::decode(&value)?, Sha256::digest(&bytes).into()))
    };
    parse().map_err(|cause| EncryptionFileError { path: path.to_owned(), cause })
}

/// Group and resource of `/registry/GROUP/RESOURCE/…`; `None` for other keys, which are not encrypted.
fn resource_of(key: &str) -> Option<(&str, &str)> {
    let (group, rest) = key.strip_prefix("/registry/")?.split_once('/')?;
    let (resource, _) = rest.split_once('/')?;
    Some((if group == "core" { "" } else { group }, resource))
}

impl ValueTransformer for EncryptionAtRest {
    fn encode(&self, key: &str, value: Bytes) -> Result<Bytes, String> {
        let Some((group, resource)) = resource_of(key) else { return Ok(value) };
        let configuration = self.configuration.load();
        let Some(first) = configuration.providers(group, resource).into_iter().next() else {
            return Ok(value);
        };
        let kept = write_with(first, value, key);
        self.metrics.transformed((group, resource), Direction::ToStorage, Some(first), kept.is_ok());
        kept.map_err(|error| error.to_string())
    }

    fn decode(&self, key: &str, kept: Bytes) -> Result<Bytes, String> {
        let Some((group, resource)) = resource_of(key) else { return Ok(kept) };
        let configuration = self.configuration.load();
        let providers = configuration.providers(group, resource);
        let opened = open_any(&providers, &kept, key);
        if !providers.is_empty() {
            let used = opened.as_ref().ok().and_then(|opened| providers.get(opened.provider).copied());
            self.metrics.transformed((group, resource), Direction::FromStorage, used, opened.is_ok());
        }
        opened.map(|opened| opened.value)
    }

    fn is_stale(&self, key: &str, kept: &Bytes) -> bool {
        let Some((group, resource)) = resource_of(key) else { return false };
        let configuration = self.configuration.load();
        open_any(&configuration.providers(group, resource), kept, key).is_ok_and(|opened| opened.is_stale)
    }

    fn generations(&self) -> watch::Receiver<u64> {
        self.generation.subscribe()
    }

    fn collectors(&self) -> Vec<Box<dyn Collector>> {
        self.metrics.collectors()
    }
}

/// The kept form of a value.
fn write_with(provider: &Provider, value: Bytes, key: &str) -> Result<Bytes, CipherError> {
    let Provider::Keys(cipher, keys) = provider else { return Ok(value) };
    let Some(first) = keys.first() else { return Ok(value) };
    let sealed = seal(*cipher, first, &value, key)?;
    let prefix = [cipher.prefix().as_bytes(), first.name.as_bytes(), b":"].concat();
    Ok([prefix, sealed].concat().into())
}

/// A value that was read.
struct Decrypted {
    value: Bytes,
    /// Whether another provider or key would write it now.
    is_stale: bool,
    /// Which provider has read it.
    provider: usize,
}

/// Reads a value. The messages are upstream's.
fn open_any(providers: &[&Provider], kept: &Bytes, key: &str) -> Result<Decrypted, String> {
    let is_plain = !kept.starts_with(ENCRYPTED);
    if providers.is_empty() {
        let refused = || "identity transformer tried to read encrypted data".to_owned();
        let plain = || Decrypted { value: kept.clone(), is_stale: false, provider: 0 };
        return if is_plain { Ok(plain()) } else { Err(refused()) };
    }
    let mut errors = Vec::new();
    for (at, provider) in providers.iter().enumerate() {
        match provider {
            Provider::Identity if is_plain => {
                return Ok(Decrypted { value: kept.clone(), is_stale: at > 0, provider: at });
            }
            Provider::Identity => {}
            Provider::Keys(cipher, keys) => {
                let Some(named) = kept.strip_prefix(cipher.prefix().as_bytes()) else { continue };
                match open_with(*cipher, keys, named, key) {
                    Ok((value, stale)) => {
                        return Ok(Decrypted { value, is_stale: stale || at > 0, provider: at });
                    }
                    Err(error) => errors.push(error),
                }
            }
        }
    }
    Err(joined(errors).unwrap_or_else(|| "no matching prefix found".to_owned()))
}

/// Decrypts with the first key that has the name in the value and is right.
fn open_with(cipher: Cipher, keys: &[NamedKey], named: &[u8], key: &str) -> Result<(Bytes, bool), String> {
    let mut errors = Vec::new();
    for (at, one) in keys.iter().enumerate() {
        let sealed = named.strip_prefix(one.name.as_bytes()).and_then(|rest| rest.strip_prefix(b":"));
        match sealed.map(|sealed| open(cipher, one, sealed, key)) {
            Some(Ok(value)) => return Ok((value.into(), at > 0)),
            Some(Err(error)) => errors.push(error.to_string()),
            None => {}
        }
    }
    let family = if cipher == Cipher::Secretbox { "Secretbox" } else { "AES" };
    Err(joined(errors)
        .unwrap_or_else(|| format!("no matching key was found for the provided {family} transformer")))
}

/// Several errors as one, as upstream prints them; `None` without errors.
fn joined(mut errors: Vec<String>) -> Option<String> {
    let mut seen = std::collections::BTreeSet::new();
    errors.retain(|error| seen.insert(error.clone()));
    match errors.len() {
        0 => None,
        1 => errors.pop(),
        _ => Some(format!("[{}]", errors.join(", "))),
    }
}

fn seal(cipher: Cipher, key: &NamedKey, value: &[u8], store_key: &str) -> Result<Vec<u8>, CipherError> {
    match cipher {
        Cipher::AesGcm => gcm::seal(&key.secret, value, store_key),
        Cipher::AesCbc => aes_cbc::seal(&key.secret, value),
        Cipher::Secretbox => secretbox::seal(&key.secret, value),
    }
}

fn open(cipher: Cipher, key: &NamedKey, sealed: &[u8], store_key: &str) -> Result<Vec<u8>, CipherError> {
    match cipher {
        Cipher::AesGcm => gcm::open(&key.secret, sealed, store_key),
        Cipher::AesCbc => aes_cbc::open(&key.secret, sealed),
        Cipher::Secretbox => secretbox::open(&key.secret, sealed),
    }
}

#[cfg(test)]
mod tests;
