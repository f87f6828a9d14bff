//! Server-side apply: creates the object, or merges a configuration into it and prunes what the manager no longer
//! applies. The decision is in `shim_model::managed_fields`.

use serde_json::Value;
use shim_core::kinds::{self, Subresource};
use shim_model::access;
use shim_model::managed_fields::{self, ApplyOptions, Versions};
use shim_model::schema::Strictness;
use shim_model::status::{self, Status};

use super::update::{Change, check_uid_kept};
use super::versions::{self, ConvertedVersions, with_conversions};
use super::{CONFLICT_RETRIES_MAX, ObjectRef, Pipeline, RequestContext, WriteOutcome, subresource_name};

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
            let change = Application { context, target, configuration };
            let absent = match self.update_by(context, target, change).await {
                Err(absent) if main && absent.code == 404 => absent,
                done => return done,
            };
            if !is_about(&absent, &target) {
                return Err(absent);
            }
            let make = || {
                may_create()?;
                // No other manager's version is asked for yet.
                let versions = ConvertedVersions::new(target.resource);
                Application { context, target, configuration }.object(None, &versions)
            };
            match self.create_from(context, target, make()?, make).await {
                // Somebody else created it meanwhile.
                Err(taken) if taken.reason == "AlreadyExists" => {}
                done => return done,
            }
        }
        Err(status::modified(target.resource, target.name))
    }
}

/// One application of a configuration.
#[derive(Clone, Copy)]
struct Application<'a> {
    context: &'a RequestContext,
    target: ObjectRef<'a>,
    configuration: Configuration<'a>,
}

impl Change for Application<'_> {
    async fn changed(&mut self, current: &Value) -> Result<Value, Status> {
        with_conversions(self.target.resource, |versions| self.object(Some(current), versions)).await
    }
}

impl Application<'_> {
    /// The object that results from a configuration, with its owners.
    fn object(&self, live: Option<&Value>, versions: &dyn Versions) -> Result<Value, Status> {
        let Application { context, target, configuration } = *self;
        let ObjectRef { resource, namespace, name, .. } = target;
        let writer = versions::writer(context, (resource, subresource_name(target.subresource)), versions);
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
