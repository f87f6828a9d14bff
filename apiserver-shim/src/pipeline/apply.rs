//! Server-side apply: creates the object, or merges a configuration into it and prunes what the manager no longer
//! applies. The decision is in `shim_model::managed_fields`.

use futures::FutureExt;
use serde_json::Value;
use shim_core::kinds::reset_fields::reset_fields;
use shim_core::kinds::{self, Subresource};
use shim_model::access;
use shim_model::managed_fields::{self, ApplyOptions, Versions};
use shim_model::resource::split_api_version;
use shim_model::schema::{ObjectType, Strictness};
use shim_model::status::{self, Status};
use std::sync::Arc;

use super::update::check_uid_kept;
use super::{CONFLICT_RETRIES_MAX, ObjectRef, Pipeline, RequestContext, WriteOutcome, subresource_name};
use crate::storage::catalog::{Catalog, ServedResource};
use crate::storage::registry::now;

/// An applied configuration.
#[derive(Clone, Copy, Debug)]
pub struct Configuration<'a> {
    /// The decoded body.
    pub value: &'a Value,
    /// Take fields from other managers instead of refusing.
    pub force: bool,
    /// What strict field validation finds in the body.
    pub complaint: Option<&'a str>,
}

impl Configuration<'_> {
    /// Refuses what strict field validation finds. Upstream does so after the configuration was applied.
    pub fn judge(&self, strictness: Strictness) -> Result<(), Status> {
        match self.complaint.filter(|_| strictness == Strictness::Strict) {
            Some(why) => Err(status::bad_request(format!("error strict decoding YAML: {why}"))),
            None => Ok(()),
        }
    }
}

impl Pipeline {
    /// Applies a configuration. `may_create` authorizes the creation of an object that does not exist.
    pub async fn apply(
        &self,
        context: &RequestContext,
        target: ObjectRef<'_>,
        configuration: Configuration<'_>,
        may_create: impl Fn() -> Result<(), Status> + Send + Sync,
    ) -> Result<WriteOutcome, Status> {
        let main = target.subresource == Subresource::Main;
        for _ in 0..CONFLICT_RETRIES_MAX {
            let change = |current: &Value| self.applied(context, &target, Some(current), configuration);
            let absent = match self.update_with(context, target, change).await {
                Err(absent) if main && absent.code == 404 => absent,
                done => return done,
            };
            if !is_about(&absent, &target) {
                return Err(absent);
            }
            let make = || {
                may_create()?;
                self.applied(context, &target, None, configuration)
            };
            match self.create_from(context, target, make()?, make).await {
                // Somebody else created it meanwhile.
                Err(taken) if taken.reason == "AlreadyExists" => {}
                done => return done,
            }
        }
        Err(status::modified(target.resource, target.name))
    }

    /// The object that results from a configuration, with its owners.
    fn applied(
        &self,
        context: &RequestContext,
        target: &ObjectRef<'_>,
        live: Option<&Value>,
        configuration: Configuration<'_>,
    ) -> Result<Value, Status> {
        let ObjectRef { resource, namespace, name, .. } = *target;
        let catalog = self.registry.catalog();
        let versions = OtherVersions { catalog: &catalog, resource };
        let subresource = subresource_name(target.subresource);
        let writer = managed_fields::Writer {
            manager: &context.field_manager,
            ty: &resource.object_type,
            subresource,
            now: now(),
            reset: reset_fields(resource, subresource),
            versions: &versions,
        };
        let options = ApplyOptions { writer, force: configuration.force };
        let mut object = managed_fields::apply(live, configuration.value, options)?;
        configuration.judge(context.strictness)?;
        if live.is_none() {
            let uid = access::text(&object, &["metadata", "uid"]);
            if !uid.is_empty() {
                let why = format!(
                    "uid mismatch: the provided object specified uid {uid}, and no existing object was found"
                );
                return Err(status::conflict(resource, name, why));
            }
            // There is no version to compare with.
            access::remove(&mut object, &["metadata", "resourceVersion"]);
        }
        kinds::check_identity(resource, namespace, name, &mut object)?;
        if let Some(live) = live {
            check_uid_kept(resource, live, &object)?;
        }
        Ok(object)
    }
}

/// Whether a 404 is about the object, and not about its namespace.
fn is_about(absent: &Status, target: &ObjectRef<'_>) -> bool {
    absent.details.as_ref().is_some_and(|d| d.kind == target.resource.plural && d.name == target.name)
}

/// The versions of a resource that are served now.
#[derive(Debug)]
pub(super) struct OtherVersions<'a> {
    pub catalog: &'a Catalog,
    pub resource: &'a Arc<ServedResource>,
}

impl OtherVersions<'_> {
    /// The row of a version of the same objects.
    fn row(&self, api_version: &str) -> Option<&Arc<ServedResource>> {
        let (group, version) = split_api_version(api_version);
        let mut rows = self.catalog.iter().filter(|row| row.group == group && row.version == version);
        let store = self.resource.store()?;
        rows.find(|row| row.store().is_some_and(|other| Arc::ptr_eq(store, other)))
    }
}

impl Versions for OtherVersions<'_> {
    fn object_type(&self, api_version: &str) -> Option<ObjectType> {
        self.row(api_version).map(|row| row.object_type.clone())
    }

    fn convert(&self, object: Value, api_version: &str) -> Result<Value, Status> {
        let from = access::text(&object, &["apiVersion"]).to_owned();
        let unknown =
            || status::internal(format!("{} is not served in {api_version}", self.resource.qualified()));
        let (from, to) = self.row(&from).zip(self.row(api_version)).ok_or_else(unknown)?;
        let converted = async { to.to_served(from.to_stored(object).await?).await };
        // Built-in conversions are ready at once.
        converted
            .now_or_never()
            .unwrap_or_else(|| Err(status::internal("the conversion has to wait for a webhook")))
    }
}
