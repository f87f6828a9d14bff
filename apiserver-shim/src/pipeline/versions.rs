//! The other versions of an object, for the owners of its fields. A conversion by a webhook takes time, and the decisions
//! about owners are pure functions: they are repeated until all conversions are there that they ask for.

use std::sync::{Arc, Mutex};

use futures::FutureExt;
use serde_json::Value;
use shim_core::definition::ResourceDefinition;
use shim_core::kinds::reset_fields::reset_fields;
use shim_model::access;
use shim_model::managed_fields::{Versions, Writer};
use shim_model::resource::split_api_version;
use shim_model::schema::ObjectType;
use shim_model::status::{self, Status};

use super::RequestContext;
use crate::storage::catalog::ServedResource;
use crate::storage::registry::now;

/// How often a decision is repeated: a decision that asks for the same objects again has an end, so this is never reached.
/// Each manager's version needs a few conversions, and an object has at most eleven versions of updaters and some of appliers.
const REPETITIONS_MAX: usize = 256;

/// An object, the version that it is wanted in, and how it looks there.
#[derive(Debug)]
struct Converted {
    object: Value,
    api_version: String,
    result: Result<Value, Status>,
}

/// The versions of a resource's objects, with what webhooks have converted so far.
#[derive(Debug)]
pub(super) struct ConvertedVersions<'a> {
    resource: &'a ServedResource,
    known: Mutex<Vec<Converted>>,
    /// The objects that were asked for and not converted yet.
    wanted: Mutex<Vec<(Value, String)>>,
}

impl<'a> ConvertedVersions<'a> {
    pub fn new(resource: &'a ServedResource) -> Self {
        ConvertedVersions { resource, known: Mutex::default(), wanted: Mutex::default() }
    }

    fn version(&self, api_version: &str) -> Option<&Arc<ResourceDefinition>> {
        let (group, version) = split_api_version(api_version);
        self.resource.versions().iter().find(|row| row.group == group && row.version == version)
    }

    /// Converts what was asked for. Returns whether that was anything.
    async fn resolve(&self) -> bool {
        let wanted =
            std::mem::take(&mut *self.wanted.lock().expect("invariant: nobody panics with the lock"));
        let any = !wanted.is_empty();
        for (object, api_version) in wanted {
            let result = self.converted(object.clone(), &api_version).await;
            let converted = Converted { object, api_version, result };
            self.known.lock().expect("invariant: nobody panics with the lock").push(converted);
        }
        any
    }

    async fn converted(&self, object: Value, api_version: &str) -> Result<Value, Status> {
        let from = access::text(&object, &["apiVersion"]).to_owned();
        let unknown =
            || status::internal(format!("{} has no version {api_version}", self.resource.qualified()));
        let (from, to) = self.version(&from).zip(self.version(api_version)).ok_or_else(unknown)?;
        let mut objects = vec![object];
        if !from.is_stored_version() {
            objects = from.converter().to_stored(objects).await?;
        }
        if !to.is_stored_version() {
            objects = to.converter().to_served(objects).await?;
        }
        objects.pop().ok_or_else(unknown)
    }
}

impl Versions for ConvertedVersions<'_> {
    fn object_type(&self, api_version: &str) -> Option<ObjectType> {
        self.version(api_version).map(|row| row.object_type.clone())
    }

    fn convert(&self, object: Value, api_version: &str) -> Result<Value, Status> {
        let waits = || status::internal("the conversion has to wait for a webhook");
        if !self.renames_fields() {
            // Built-in conversions are ready at once.
            return self.converted(object, api_version).now_or_never().unwrap_or_else(|| Err(waits()));
        }
        let known = self.known.lock().expect("invariant: nobody panics with the lock");
        match known.iter().find(|it| it.api_version == api_version && it.object == object) {
            Some(converted) => converted.result.clone(),
            None => {
                let mut wanted = self.wanted.lock().expect("invariant: nobody panics with the lock");
                wanted.push((object, api_version.to_owned()));
                Err(waits())
            }
        }
    }

    fn renames_fields(&self) -> bool {
        self.resource.versions().iter().any(|row| row.converter().is_remote())
    }
}

/// The writer of a request to a resource or a subresource.
pub(super) fn writer<'a>(
    context: &'a RequestContext,
    (resource, subresource): (&'a ServedResource, &'a str),
    versions: &'a dyn Versions,
) -> Writer<'a> {
    Writer {
        manager: &context.field_manager,
        ty: &resource.object_type,
        subresource,
        now: now(),
        reset: reset_fields(resource, subresource),
        versions,
    }
}

/// Takes a decision about the owners of an object's fields, with all conversions that it asks for.
pub(super) async fn with_conversions<T>(
    resource: &ServedResource,
    mut decide: impl FnMut(&dyn Versions) -> T,
) -> T {
    let versions = ConvertedVersions::new(resource);
    let mut decision = decide(&versions);
    for _ in 0..REPETITIONS_MAX {
        if !versions.resolve().await {
            break;
        }
        decision = decide(&versions);
    }
    decision
}
