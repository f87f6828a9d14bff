//! A stored object: encoded JSON, and the few header fields that lists, watches, selectors and the garbage collector
//! read without decoding the rest. The bytes contain no resourceVersion; it is the store's revision and is inserted
//! when the object is served.

use bytes::Bytes;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

/// One owner of an object.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[allow(missing_docs)]
pub struct Owner {
    pub api_version: String,
    pub kind: String,
    /// Its name, in the same namespace or cluster-wide.
    pub name: String,
    /// Its UID, which alone identifies the owner.
    pub uid: String,
    /// Whether it is the managing controller.
    pub controller: bool,
    /// Whether its foreground deletion waits for this object.
    pub block_owner_deletion: bool,
}

/// The metadata that are available without decoding the object.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[allow(missing_docs)]
pub struct Header {
    pub name: String,
    /// Namespace; empty for cluster-wide objects.
    pub namespace: String,
    pub uid: String,
    pub labels: BTreeMap<String, String>,
    /// Generation; 0 for kinds that have none.
    pub generation: i64,
    /// Creation time (RFC 3339).
    pub creation_timestamp: String,
    /// Deletion time (RFC 3339), grace period included.
    pub deletion_timestamp: Option<String>,
    /// Grace period of the deletion, in seconds.
    pub deletion_grace_period_seconds: Option<i64>,
    /// Names that must be removed before the object is.
    pub finalizers: Vec<String>,
    /// Owner references.
    pub owners: Vec<Owner>,
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
    /// Reads the header from the encoded `metadata`; other members are skipped, not built. Empty bytes give an empty
    /// header.
    fn of_metadata(bytes: &[u8]) -> Result<Header, serde_json::Error> {
        let m: Meta<'_> = if bytes.is_empty() { Meta::default() } else { serde_json::from_slice(bytes)? };
        Ok(Header {
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
        })
    }

    /// The header of a decoded object.
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

    /// The owner that is the managing controller.
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

/// Byte ranges of the members that are read most in an encoded object. An absent member has an empty range.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[allow(missing_docs)]
pub struct Parts {
    /// `metadata`, with its braces.
    pub metadata: Range<usize>,
    pub spec: Range<usize>,
    pub status: Range<usize>,
}

#[derive(Deserialize)]
struct Outer<'a> {
    #[serde(borrow)]
    metadata: Option<&'a RawValue>,
    #[serde(borrow)]
    spec: Option<&'a RawValue>,
    #[serde(borrow)]
    status: Option<&'a RawValue>,
}

impl Parts {
    /// Finds the ranges and checks that the object is well-formed.
    pub fn of(bytes: &[u8]) -> Result<Parts, serde_json::Error> {
        let outer: Outer<'_> = serde_json::from_slice(bytes)?;
        let range = |member: Option<&RawValue>| {
            member.map_or(0..0, |member| {
                let start = member.get().as_ptr().addr() - bytes.as_ptr().addr();
                start..start + member.get().len()
            })
        };
        Ok(Parts { metadata: range(outer.metadata), spec: range(outer.spec), status: range(outer.status) })
    }

    /// The ranges in `bytes`, if these differ from `object` in the status only and the status comes last.
    fn but_for_status(&self, object: &[u8], bytes: &[u8]) -> Option<Parts> {
        let status = self.status.start..bytes.len().checked_sub(1)?;
        let last = !self.status.is_empty() && self.status.end + 1 == object.len();
        let same = last && !status.is_empty() && bytes[..status.start] == object[..status.start];
        let sound = same && serde_json::from_slice::<&RawValue>(&bytes[status.clone()]).is_ok();
        (sound && bytes.ends_with(b"}")).then(|| Parts { status, ..self.clone() })
    }
}

/// An encoded object with header and member ranges.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[allow(missing_docs)]
pub struct StoredObject {
    /// Encoded JSON, without resourceVersion.
    pub bytes: Bytes,
    /// The header; versions with the same metadata share it.
    pub header: Arc<Header>,
    pub parts: Parts,
}

impl StoredObject {
    /// Parses an encoded object.
    pub fn parse(bytes: Bytes) -> Result<StoredObject, serde_json::Error> {
        let parts = Parts::of(&bytes)?;
        let header = Arc::new(Header::of_metadata(&bytes[parts.metadata.clone()])?);
        Ok(StoredObject { bytes, header, parts })
    }

    /// Parses another version of this object; unchanged parts are not parsed again.
    pub fn parse_next(&self, bytes: Bytes) -> Result<StoredObject, serde_json::Error> {
        let parts = match self.parts.but_for_status(&self.bytes, &bytes) {
            Some(parts) => parts,
            None => Parts::of(&bytes)?,
        };
        let metadata = &bytes[parts.metadata.clone()];
        let header = match *metadata == self.bytes[self.parts.metadata.clone()] {
            true => self.header.clone(),
            false => Arc::new(Header::of_metadata(metadata)?),
        };
        Ok(StoredObject { bytes, header, parts })
    }

    /// Shares the header of an older version if the metadata are the same.
    pub fn sharing(self: Arc<Self>, older: &StoredObject) -> Arc<Self> {
        if Arc::ptr_eq(&self.header, &older.header) || self.metadata() != older.metadata() {
            return self;
        }
        Arc::new(StoredObject { header: older.header.clone(), ..Self::clone(&self) })
    }

    /// An object with a header and no bytes.
    pub fn bare(header: Header) -> StoredObject {
        StoredObject { header: Arc::new(header), ..StoredObject::default() }
    }

    /// The encoded metadata; empty if there are none.
    pub fn metadata(&self) -> &[u8] {
        &self.bytes[self.parts.metadata.clone()]
    }

    /// The encoded spec; empty if there is none.
    pub fn spec(&self) -> &[u8] {
        &self.bytes[self.parts.spec.clone()]
    }

    /// The encoded status; empty if there is none.
    pub fn status(&self) -> &[u8] {
        &self.bytes[self.parts.status.clone()]
    }
}

#[cfg(test)]
#[path = "object/tests.rs"]
mod tests;
