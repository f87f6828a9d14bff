//! Beginning and end of objects, for callers inside the process: create with the stamps that every object gets, and
//! delete with grace, finalizers and preconditions.

use std::sync::Arc;

use serde_json::Value;
use shim_model::access;
use shim_model::object::StoredObject;
use shim_model::status::{self, Status};
use shim_model::time::Instant;

use super::{CONFLICT_RETRIES_MAX, Expect, Registry, WriteError, release_all};
use crate::storage::catalog::ResourceName;
use crate::storage::deletion::{Decision, DeleteOptions, check_preconditions, decide};
use crate::storage::object::{Object, encoded, set_resource_version};

/// How a delete ended.
#[derive(Clone, Debug)]
pub enum Deleted {
    /// The object is gone; this is how it looked last.
    Gone(Value),
    /// It is on its way: somebody must let go of it first.
    Marked(Value),
}

impl Registry {
    /// Deletes an object as a user would.
    pub async fn delete(
        &self,
        resource: impl ResourceName,
        namespace: &str,
        name: &str,
        options: &DeleteOptions,
    ) -> Result<Deleted, Status> {
        self.delete_checked(resource, namespace, name, options, |_| Ok(())).await
    }

    /// Deletes an object that `check` agrees to; it is asked again whenever the object has changed meanwhile.
    pub async fn delete_checked(
        &self,
        resource: impl ResourceName,
        namespace: &str,
        name: &str,
        options: &DeleteOptions,
        check: impl Fn(&Object) -> Result<(), Status> + Send + Sync,
    ) -> Result<Deleted, Status> {
        let resource = &self.resolve(resource)?;
        let mut current = self.get(resource, namespace, name).await?;
        for _ in 0..CONFLICT_RETRIES_MAX {
            let before = current.value();
            check_preconditions(resource, &before, options, current.revision)?;
            check(&current)?;
            let decision = decide(resource, &before, options, now());
            let outcome = match decision {
                Decision::Nothing => return Ok(Deleted::Marked(before)),
                Decision::Remove(last) if options.dry_run => return Ok(Deleted::Gone(last)),
                Decision::Mark(marked) if options.dry_run => return Ok(Deleted::Marked(marked)),
                Decision::Remove(mut last) => {
                    let claims = release_all(resource, &last);
                    let removed = self.remove(resource, namespace, name, current.revision, &claims).await;
                    removed.map(|revision| {
                        set_resource_version(&mut last, revision);
                        Deleted::Gone(last)
                    })
                }
                Decision::Mark(marked) => {
                    let expect = Expect::Revision(current.revision);
                    let written = self.write(resource, &marked, expect, &Default::default()).await;
                    written.map(|object| Deleted::Marked(object.value()))
                }
            };
            match outcome {
                Ok(deleted) => return Ok(deleted),
                Err(WriteError::Conflict(Some(newer))) => current = newer,
                Err(WriteError::Conflict(None)) => return Err(status::not_found(resource, name)),
                Err(WriteError::Claimed(_)) => {}
                Err(WriteError::Status(status)) => return Err(status),
            }
        }
        Err(status::modified(resource, name))
    }

    /// Writes a new object that needs neither defaults nor validation: what the system itself makes (Events, Nodes,
    /// bootstrap objects). Name, UID and creation time are stamped.
    pub async fn create_raw(
        &self,
        resource: impl ResourceName,
        mut value: Value,
    ) -> Result<Arc<Object>, Status> {
        stamp(&mut value, now());
        self.create_encoded(resource, encoded(&value)).await
    }

    /// The same of an object that is stamped and encoded.
    pub async fn create_encoded(
        &self,
        resource: impl ResourceName,
        stored: StoredObject,
    ) -> Result<Arc<Object>, Status> {
        let resource = &self.resolve(resource)?;
        let header = stored.header.clone();
        match self.write_encoded(resource, stored, Expect::Absent, &Default::default()).await {
            Ok(object) => Ok(object),
            Err(WriteError::Conflict(_) | WriteError::Claimed(_)) => {
                Err(status::already_exists(resource, &header.name))
            }
            Err(WriteError::Status(status)) => Err(status),
        }
    }
}

/// Gives a new object its UID, its creation time and, if it asks for one, its name.
pub fn stamp(value: &mut Value, now: Instant) {
    let metadata = access::object_mut(value, &["metadata"]);
    metadata.insert("uid".into(), uuid::Uuid::new_v4().to_string().into());
    metadata.insert("creationTimestamp".into(), now.to_rfc3339().into());
    metadata.remove("selfLink");
    metadata.remove("resourceVersion");
    metadata.remove("deletionTimestamp");
    metadata.remove("deletionGracePeriodSeconds");
    let named = metadata.get("name").and_then(Value::as_str).is_some_and(|n| !n.is_empty());
    let base = metadata.get("generateName").and_then(Value::as_str).unwrap_or("").to_owned();
    if !named && !base.is_empty() {
        metadata.insert("name".into(), generate_name(&base).into());
    }
}

/// A name that begins with `base`, as upstream makes them: five characters that form no words, 63 in all.
pub fn generate_name(base: &str) -> String {
    const ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
    const SUFFIX: usize = 5;
    const NAME_MAX: usize = 63;
    let mut end = base.len().min(NAME_MAX - SUFFIX);
    while !base.is_char_boundary(end) {
        end -= 1;
    }
    let mut name = base[..end].to_owned();
    let mut random = uuid::Uuid::new_v4().as_u128();
    for _ in 0..SUFFIX {
        name.push(char::from(ALPHABET[(random % ALPHABET.len() as u128) as usize]));
        random /= ALPHABET.len() as u128;
    }
    name
}

/// The present moment, to the microsecond.
pub fn now() -> Instant {
    Instant(jiff::Timestamp::now().as_microsecond())
}
