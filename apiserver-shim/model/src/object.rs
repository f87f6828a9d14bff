//! An object as it is kept: encoded JSON and the few header fields that lists, watches, selectors and the garbage
//! collector look at, so that nothing else has to be decoded. The bytes hold no resourceVersion: it is the store's
//! revision, spliced in when the object is served.

use bytes::Bytes;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;
use std::borrow::Cow;
use std::collections::BTreeMap;

/// One owner of an object.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Owner {
    /// Its apiVersion.
    pub api_version: String,
    /// Its kind.
    pub kind: String,
    /// Its name, in the same namespace or cluster-wide.
    pub name: String,
    /// Its UID, which alone identifies it.
    pub uid: String,
    /// Whether it is the managing controller.
    pub controller: bool,
    /// Whether its foreground deletion waits for this object.
    pub block_owner_deletion: bool,
}

/// What is known of an object without decoding it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Header {
    /// Name.
    pub name: String,
    /// Namespace; empty for cluster-wide objects.
    pub namespace: String,
    /// UID.
    pub uid: String,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Generation; 0 for kinds that have none.
    pub generation: i64,
    /// When it was created, as printed.
    pub creation_timestamp: String,
    /// When it is to be gone, as printed.
    pub deletion_timestamp: Option<String>,
    /// Grace that was granted with the deletion.
    pub deletion_grace_period_seconds: Option<i64>,
    /// Who must let go before it disappears.
    pub finalizers: Vec<String>,
    /// Owners.
    pub owners: Vec<Owner>,
}

#[derive(Deserialize)]
#[serde(bound(deserialize = "S: Deserialize<'de> + Default, T: Deserialize<'de> + Default"))]
struct Outer<'a, S, T> {
    #[serde(borrow, default)]
    metadata: Meta<'a>,
    #[serde(default)]
    spec: S,
    #[serde(default)]
    status: T,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Meta<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
    #[serde(borrow)]
    namespace: Cow<'a, str>,
    #[serde(borrow)]
    uid: Cow<'a, str>,
    #[serde(borrow)]
    creation_timestamp: Option<Cow<'a, str>>,
    labels: Option<BTreeMap<String, String>>,
    generation: i64,
    deletion_timestamp: Option<String>,
    deletion_grace_period_seconds: Option<i64>,
    finalizers: Option<Vec<String>>,
    owner_references: Option<Vec<Owner>>,
}

impl Header {
    /// Reads the header of an encoded object; every other field is skipped, not built.
    pub fn parse(bytes: &[u8]) -> Result<Header, serde_json::Error> {
        let (header, IgnoredAny, IgnoredAny) = Header::parse_with(bytes)?;
        Ok(header)
    }

    /// Reads the header, and in the same pass what `S` takes of `spec` and `T` of `status`.
    pub fn parse_with<'a, S, T>(bytes: &'a [u8]) -> Result<(Header, S, T), serde_json::Error>
    where
        S: Deserialize<'a> + Default,
        T: Deserialize<'a> + Default,
    {
        let Outer { metadata: m, spec, status } = serde_json::from_slice(bytes)?;
        let header = Header {
            name: m.name.into_owned(),
            namespace: m.namespace.into_owned(),
            uid: m.uid.into_owned(),
            labels: m.labels.unwrap_or_default(),
            generation: m.generation,
            creation_timestamp: m.creation_timestamp.map(Cow::into_owned).unwrap_or_default(),
            deletion_timestamp: m.deletion_timestamp,
            deletion_grace_period_seconds: m.deletion_grace_period_seconds,
            finalizers: m.finalizers.unwrap_or_default(),
            owners: m.owner_references.unwrap_or_default(),
        };
        Ok((header, spec, status))
    }

    /// The header of an object at hand.
    pub fn of(value: &Value) -> Header {
        let meta = &value["metadata"];
        let text = |key: &str| meta.get(key).and_then(Value::as_str).unwrap_or("").to_owned();
        let texts = |key: &str| -> Vec<String> {
            let list = meta.get(key).and_then(Value::as_array);
            list.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
        };
        Header {
            name: text("name"),
            namespace: text("namespace"),
            uid: text("uid"),
            labels: string_map(&meta["labels"]),
            generation: meta.get("generation").and_then(Value::as_i64).unwrap_or(0),
            creation_timestamp: text("creationTimestamp"),
            deletion_timestamp: meta.get("deletionTimestamp").and_then(Value::as_str).map(str::to_owned),
            deletion_grace_period_seconds: meta.get("deletionGracePeriodSeconds").and_then(Value::as_i64),
            finalizers: texts("finalizers"),
            owners: owners(&meta["ownerReferences"]),
        }
    }

    /// The owner that controls the object.
    pub fn controller(&self) -> Option<&Owner> {
        self.owners.iter().find(|o| o.controller)
    }
}

fn owners(list: &Value) -> Vec<Owner> {
    let list = list.as_array().map_or(&[][..], Vec::as_slice);
    list.iter().filter_map(|o| Owner::deserialize(o).ok()).collect()
}

/// The string members of a JSON object.
pub fn string_map(value: &Value) -> BTreeMap<String, String> {
    let members = value.as_object().into_iter().flatten();
    members.filter_map(|(k, v)| Some((k.clone(), v.as_str()?.to_owned()))).collect()
}

/// An encoded object with its header and the fields that field selectors may ask for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredObject {
    /// Encoded JSON, without resourceVersion.
    pub bytes: Bytes,
    /// Its header.
    pub header: Header,
    /// Selectable fields beside `metadata.name` and `metadata.namespace`, as its kind lists them.
    pub fields: Vec<(&'static str, String)>,
}

/// `bytes` with `metadata.resourceVersion` put in, without decoding: the metadata object is found by a scan of the
/// outermost level. Bytes that are no object with metadata come back as they are.
pub fn with_resource_version(bytes: &[u8], revision: u64) -> Vec<u8> {
    let Some(at) = metadata_start(bytes) else { return bytes.to_vec() };
    let mut out = Vec::with_capacity(bytes.len() + 44);
    out.extend_from_slice(&bytes[..at]);
    let empty = bytes[at..].iter().find(|b| !b.is_ascii_whitespace()) == Some(&b'}');
    out.extend_from_slice(
        format!("\"resourceVersion\":\"{revision}\"{}", if empty { "" } else { "," }).as_bytes(),
    );
    out.extend_from_slice(&bytes[at..]);
    out
}

/// Where the members of the outermost `metadata` object begin (just after its brace).
pub fn metadata_start(bytes: &[u8]) -> Option<usize> {
    const KEY: &[u8] = b"\"metadata\"";
    let (mut depth, mut i) = (0usize, 0usize);
    while i < bytes.len() {
        match bytes[i] {
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth = depth.checked_sub(1)?,
            b'"' => {
                let end = string_end(bytes, i)?;
                if depth == 1 && &bytes[i..end] == KEY {
                    let colon = skip_space(bytes, end)?;
                    if bytes[colon] == b':' {
                        let brace = skip_space(bytes, colon + 1)?;
                        return (bytes[brace] == b'{').then_some(brace + 1);
                    }
                }
                i = end;
                continue;
            }
            _ => {}
        }
        i += 1;
    }
    None
}

fn string_end(bytes: &[u8], start: usize) -> Option<usize> {
    let mut i = start + 1;
    while i < bytes.len() {
        match bytes[i] {
            b'\\' => i += 1,
            b'"' => return Some(i + 1),
            _ => {}
        }
        i += 1;
    }
    None
}

fn skip_space(bytes: &[u8], mut i: usize) -> Option<usize> {
    while bytes.get(i)?.is_ascii_whitespace() {
        i += 1;
    }
    Some(i)
}

#[cfg(test)]
#[path = "object/tests.rs"]
mod tests;
