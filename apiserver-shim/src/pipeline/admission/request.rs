//! What policies and webhooks see of a request: the version that their rules match, the objects in that version, and the
//! namespace.

use std::borrow::Cow;
use std::sync::Arc;

use serde_json::{Value, json};
use shim_core::admission_policy::matching::{MatchResources, Requested};
use shim_core::admission_policy::{RequestFacts, request};
use shim_core::controllers::served;
use shim_model::access;
use shim_model::schema::ObjectType;
use shim_model::status::Status;

use super::{Attributes, Operation, RequestContext};
use crate::storage::catalog::ServedResource;
use crate::storage::deletion::{DeleteOptions, Propagation};
use crate::storage::registry::Registry;

/// The group of webhook configurations and policies, which neither webhooks nor policies apply to.
pub(super) const GROUP: &str = "admissionregistration.k8s.io";
const EXEMPT: [&str; 6] = [
    "validatingadmissionpolicies",
    "validatingadmissionpolicybindings",
    "mutatingadmissionpolicies",
    "mutatingadmissionpolicybindings",
    "validatingwebhookconfigurations",
    "mutatingwebhookconfigurations",
];

/// Whether the request is about what configures admission.
pub(super) fn configures_admission(attributes: &Attributes<'_>) -> bool {
    let resource = attributes.resource;
    resource.group == GROUP && EXEMPT.contains(&resource.plural.as_str())
}

/// The version of a resource that rules match.
#[derive(Clone, Debug)]
pub(super) enum Matched {
    /// The requested one.
    Same,
    /// Another one of the same objects.
    Other(Arc<ServedResource>),
}

impl Matched {
    /// The resource in the version that the rules match: the requested one, or another one if rules match all.
    pub fn find(registry: &Registry, rules: &MatchResources, attributes: &Attributes<'_>) -> Option<Matched> {
        if rules.matches_rules(&requested(attributes, attributes.resource)) {
            return Some(Matched::Same);
        }
        let store = attributes.resource.store().filter(|_| rules.equivalent)?;
        let catalog = registry.catalog();
        let same = |row: &&Arc<ServedResource>| row.store().is_some_and(|other| Arc::ptr_eq(store, other));
        let rows: Vec<&Arc<ServedResource>> = catalog.iter().filter(same).collect();
        let forms: Vec<Requested<'_>> = rows.iter().map(|row| requested(attributes, row)).collect();
        rules.preferred(&forms).map(|at| Matched::Other(rows[at].clone()))
    }

    /// Whether both are the same version.
    pub fn is(&self, other: &Matched) -> bool {
        match (self, other) {
            (Matched::Same, Matched::Same) => true,
            (Matched::Other(one), Matched::Other(other)) => Arc::ptr_eq(one, other),
            _ => false,
        }
    }

    pub fn row<'a>(&'a self, attributes: &'a Attributes<'_>) -> &'a ServedResource {
        match self {
            Matched::Same => attributes.resource,
            Matched::Other(row) => row,
        }
    }

    /// The type of the request's objects in the version; `None` for kinds without a schema.
    pub fn object_type(&self, attributes: &Attributes<'_>) -> Option<ObjectType> {
        let row = self.row(attributes);
        if attributes.is_own_kind() {
            return Some(row.object_type.clone());
        }
        let of_subresource = row.subresource(attributes.subresource).and_then(|s| s.object_type.clone());
        of_subresource.or_else(|| row.object_type.of_kind(attributes.kind))
    }

    /// An object of the request in the version; null for none.
    pub async fn convert<'v>(
        &self,
        attributes: &Attributes<'_>,
        object: Option<&'v Value>,
    ) -> Result<Cow<'v, Value>, Status> {
        match (self, object) {
            (_, None) => Ok(Cow::Owned(Value::Null)),
            (Matched::Other(row), Some(object)) if attributes.is_own_kind() => {
                let stored = attributes.resource.to_stored(object.clone()).await?;
                Ok(Cow::Owned(row.to_served(stored).await?))
            }
            (_, Some(object)) => Ok(Cow::Borrowed(object)),
        }
    }

    /// A changed object in the version of the request.
    pub async fn convert_back(&self, attributes: &Attributes<'_>, object: Value) -> Result<Value, Status> {
        match self {
            Matched::Other(row) if attributes.is_own_kind() => {
                attributes.resource.to_served(row.to_stored(object).await?).await
            }
            _ => Ok(object),
        }
    }
}

fn requested<'a>(attributes: &'a Attributes<'_>, row: &'a ServedResource) -> Requested<'a> {
    Requested {
        operation: attributes.operation.name(),
        group: &row.group,
        version: &row.version,
        resource: &row.plural,
        subresource: attributes.subresource,
        name: attributes.name,
        namespaced: attributes.resource.namespaced,
    }
}

/// The request in the version that rules match, without its objects.
pub(super) fn request_of(
    context: &RequestContext,
    attributes: &Attributes<'_>,
    row: &ServedResource,
) -> Value {
    let user = &context.user;
    let mut info = json!({"username": user.name});
    if !user.uid.is_empty() {
        info["uid"] = user.uid.as_str().into();
    }
    if !user.groups.is_empty() {
        info["groups"] = json!(user.groups);
    }
    if !user.extra.is_empty() {
        info["extra"] = json!(user.extra);
    }
    let (kind, resource) = (attributes.kind, attributes.resource);
    let version = if attributes.is_own_kind() { row.version.as_str() } else { kind.version };
    let group = if attributes.is_own_kind() { row.group.as_str() } else { kind.group };
    let dry_run = is_dry_run(context, attributes);
    let mut options = context.options(attributes.operation, dry_run);
    if let Some(asked) = attributes.delete_options {
        add_delete_options(&mut options, asked);
    }
    request(&RequestFacts {
        kind: (group, version, kind.kind),
        resource: (&row.group, &row.version, &row.plural),
        request_kind: (kind.group, kind.version, kind.kind),
        request_resource: (&resource.group, &resource.version, &resource.plural),
        subresource: attributes.subresource,
        name: attributes.name,
        namespace: namespace_of(attributes),
        operation: attributes.operation.name(),
        user: &info,
        dry_run,
        options: &options,
    })
}

/// Whether the request stops before the write.
pub(super) fn is_dry_run(context: &RequestContext, attributes: &Attributes<'_>) -> bool {
    context.dry_run || attributes.delete_options.is_some_and(|options| options.dry_run)
}

fn add_delete_options(options: &mut Value, asked: &DeleteOptions) {
    if let Some(seconds) = asked.grace_period_seconds {
        options["gracePeriodSeconds"] = seconds.into();
    }
    if let Some(uid) = &asked.uid {
        options["preconditions"]["uid"] = uid.as_str().into();
    }
    if let Some(version) = &asked.resource_version {
        options["preconditions"]["resourceVersion"] = version.as_str().into();
    }
    if let Some(propagation) = asked.propagation {
        options["propagationPolicy"] = match propagation {
            Propagation::Background => "Background",
            Propagation::Foreground => "Foreground",
            Propagation::Orphan => "Orphan",
        }
        .into();
    }
}

/// The namespace of a request. As upstream, a Namespace is in itself.
fn namespace_of<'a>(attributes: &'a Attributes<'_>) -> &'a str {
    match attributes.resource.is("", "namespaces") {
        true => attributes.name,
        false => attributes.namespace,
    }
}

/// Finds the namespace's object for selectors and expressions.
pub(super) struct Namespaces {
    registry: Registry,
    row: Arc<ServedResource>,
}

impl Namespaces {
    pub fn new(registry: Registry) -> Namespaces {
        Namespaces { row: registry.builtin(&served("", "namespaces")), registry }
    }

    /// The namespace whose labels selectors match; null if the object has none. The labels of a Namespace that is written are
    /// its new ones.
    pub async fn for_selectors(&self, attributes: &Attributes<'_>) -> Result<Value, Status> {
        let writes = matches!(attributes.operation, Operation::Create | Operation::Update);
        match &attributes.object {
            Some(object) if writes && attributes.is_core("namespaces") => Ok(object.clone()),
            _ => self.find(namespace_of(attributes)).await,
        }
    }

    /// The namespace's object as expressions see it; a Namespace has none.
    pub async fn for_expressions(&self, attributes: &Attributes<'_>) -> Result<Value, Status> {
        if attributes.is_core("namespaces") { Ok(Value::Null) } else { self.find(attributes.namespace).await }
    }

    async fn find(&self, name: &str) -> Result<Value, Status> {
        if name.is_empty() {
            return Ok(Value::Null);
        }
        let found = match self.registry.peek(&self.row, "", name) {
            Some(found) => found,
            None => self.registry.get(&self.row, "", name).await?,
        };
        Ok(found.value())
    }
}

/// The managed fields of an object.
pub(super) fn managed_fields(object: Option<&Value>) -> Option<Value> {
    access::get(object?, &["metadata", "managedFields"]).cloned()
}
