//! Encryption at rest: which providers an `EncryptionConfiguration` names for which resources. The rules and messages are
//! upstream's. Ciphers and files are the shell's.

use std::fmt;

use serde::Deserialize;
use serde_json::Value;
use shim_model::field::FieldError;
use shim_model::{base64, status};

mod shape;
mod validation;

/// The group and version of the configuration.
const API_VERSION: &str = "apiserver.config.k8s.io/v1";
const KIND: &str = "EncryptionConfiguration";

/// Providers by resource, validated.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EncryptionConfiguration {
    entries: Vec<Entry>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    resources: Vec<ResourcePattern>,
    providers: Vec<Provider>,
}

/// `secrets`, `pandas.bears.example`, `*.apps`, `*.` or `*.*`.
#[derive(Debug, Clone, PartialEq, Eq)]
struct ResourcePattern {
    group: String,
    resource: String,
}

/// How values are stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Provider {
    /// As they are.
    Identity,
    /// Encrypted: the first key writes, all keys read.
    Keys(Cipher, Vec<NamedKey>),
}

/// A way to encrypt values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Cipher {
    AesGcm,
    AesCbc,
    Secretbox,
}

impl Cipher {
    /// The prefix of the values in the store.
    pub fn prefix(self) -> &'static str {
        match self {
            Cipher::AesGcm => "k8s:enc:aesgcm:v1:",
            Cipher::AesCbc => "k8s:enc:aescbc:v1:",
            Cipher::Secretbox => "k8s:enc:secretbox:v1:",
        }
    }

    /// The permitted lengths of keys, in bytes.
    fn key_lengths(self) -> &'static [usize] {
        match self {
            Cipher::AesGcm | Cipher::AesCbc => &[16, 24, 32],
            Cipher::Secretbox => &[32],
        }
    }

    fn field(self) -> &'static str {
        match self {
            Cipher::AesGcm => "aesgcm",
            Cipher::AesCbc => "aescbc",
            Cipher::Secretbox => "secretbox",
        }
    }
}

/// A key with its name. The secret is not printed.
#[derive(Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct NamedKey {
    pub name: String,
    pub secret: Vec<u8>,
}

impl fmt::Debug for NamedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: [REDACTED]", self.name)
    }
}

/// Why a configuration is refused.
#[derive(Debug, thiserror::Error)]
pub enum EncryptionConfigurationError {
    /// It is of another kind or version.
    #[error("expected {KIND} of {API_VERSION}, found {0}")]
    Kind(String),
    /// Unknown members, or members of a wrong type. No value is quoted: it may be a key.
    #[error("{0}")]
    Content(String),
    /// Values are not valid.
    #[error("{0}")]
    Invalid(String),
    /// An earlier entry makes a later one ineffective.
    #[error("resource {resource:?} is masked by earlier rule {earlier:?}")]
    #[allow(missing_docs)]
    Masked { resource: String, earlier: String },
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct File {
    #[serde(rename = "apiVersion")]
    _api_version: String,
    #[serde(rename = "kind")]
    _kind: String,
    resources: Option<Vec<FileEntry>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileEntry {
    resources: Option<Vec<String>>,
    providers: Option<Vec<FileProvider>>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct FileProvider {
    aesgcm: Option<FileKeys>,
    aescbc: Option<FileKeys>,
    secretbox: Option<FileKeys>,
    identity: Option<Empty>,
    kms: Option<Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Empty {}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileKeys {
    keys: Option<Vec<FileKey>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileKey {
    #[serde(default)]
    name: String,
    #[serde(default)]
    secret: String,
}

impl FileProvider {
    /// The one that is set, by upstream's order; validation has ensured that there is one.
    fn keys(&self) -> Option<(Cipher, &[FileKey])> {
        let all = [
            (Cipher::AesGcm, &self.aesgcm),
            (Cipher::AesCbc, &self.aescbc),
            (Cipher::Secretbox, &self.secretbox),
        ];
        let (cipher, keys) = all.into_iter().find_map(|(cipher, keys)| Some((cipher, keys.as_ref()?)))?;
        Some((cipher, keys.keys.as_deref().unwrap_or_default()))
    }
}

impl ResourcePattern {
    fn parse(text: &str) -> ResourcePattern {
        let (resource, group) = text.split_once('.').unwrap_or((text, ""));
        ResourcePattern { group: group.to_owned(), resource: resource.to_owned() }
    }

    fn any(group: &str) -> ResourcePattern {
        ResourcePattern { group: group.to_owned(), resource: "*".to_owned() }
    }
}

impl fmt::Display for ResourcePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.resource.as_str(), self.group.as_str()) {
            ("*", "") => f.write_str("*."),
            (resource, "") => f.write_str(resource),
            (resource, group) => write!(f, "{resource}.{group}"),
        }
    }
}

impl EncryptionConfiguration {
    /// Decodes and validates a configuration.
    ///
    /// # Errors
    /// Another kind, unknown members, values that are not valid, and entries without effect.
    pub fn decode(value: &Value) -> Result<Self, EncryptionConfigurationError> {
        let text = |member: &str| value.get(member).and_then(Value::as_str).unwrap_or("nothing");
        if text("kind") != KIND || text("apiVersion") != API_VERSION {
            let found = format!("{} of {}", text("kind"), text("apiVersion"));
            return Err(EncryptionConfigurationError::Kind(found));
        }
        if let Some(error) = shape::error(value) {
            return Err(EncryptionConfigurationError::Content(error));
        }
        let unreadable = |_| EncryptionConfigurationError::Content("members of a wrong type".to_owned());
        let file = File::deserialize(value).map_err(unreadable)?;
        let entries = file.resources.unwrap_or_default();
        let errors = validation::errors(&entries);
        if !errors.is_empty() {
            return Err(EncryptionConfigurationError::Invalid(status::aggregate(&errors)));
        }
        let mut configuration = EncryptionConfiguration::default();
        for entry in &entries {
            configuration.add(entry)?;
        }
        Ok(configuration)
    }

    fn add(&mut self, entry: &FileEntry) -> Result<(), EncryptionConfigurationError> {
        let mut added = Entry {
            resources: Vec::new(),
            providers: entry.providers.iter().flatten().map(provider).collect(),
        };
        for text in entry.resources.iter().flatten() {
            let pattern = ResourcePattern::parse(text);
            let known = |wanted: &ResourcePattern| {
                self.entries.iter().chain([&added]).any(|entry| entry.resources.contains(wanted))
            };
            let wider = [ResourcePattern::any(&pattern.group), ResourcePattern::any("*")];
            if let Some(earlier) = wider.into_iter().find(known) {
                return Err(EncryptionConfigurationError::Masked {
                    resource: pattern.to_string(),
                    earlier: earlier.to_string(),
                });
            }
            added.resources.push(pattern);
        }
        self.entries.push(added);
        Ok(())
    }

    /// The providers of a resource, the one that writes first; empty if none are configured. An entry that names the
    /// resource precedes one of its group, which precedes one of all.
    pub fn providers(&self, group: &str, resource: &str) -> Vec<&Provider> {
        let exact = ResourcePattern { group: group.to_owned(), resource: resource.to_owned() };
        [exact, ResourcePattern::any(group), ResourcePattern::any("*")]
            .iter()
            .map(|wanted| {
                let entries = self.entries.iter().filter(|entry| entry.resources.contains(wanted));
                entries.flat_map(|entry| &entry.providers).collect::<Vec<_>>()
            })
            .find(|providers| !providers.is_empty())
            .unwrap_or_default()
    }
}

fn provider(file: &FileProvider) -> Provider {
    match file.keys() {
        None => Provider::Identity,
        Some((cipher, keys)) => {
            let decoded = |key: &FileKey| NamedKey {
                name: key.name.clone(),
                secret: base64::decode(&key.secret).expect("invariant: validated keys are base64"),
            };
            Provider::Keys(cipher, keys.iter().map(decoded).collect())
        }
    }
}

#[cfg(test)]
mod tests;
