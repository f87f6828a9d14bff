//! ValidatingAdmissionPolicy and MutatingAdmissionPolicy: evaluates the policies that are bound to a request. The decision is
//! in `shim_core::admission_policy`; here are the objects that it needs.

mod bindings;
mod mutating;
mod validating;

pub(super) use mutating::MutatingAdmissionPolicy;
pub(super) use validating::ValidatingAdmissionPolicy;

use std::borrow::Cow;
use std::sync::Arc;

use serde_json::{Value, json};
use shim_core::admission_policy::matching::{MatchResources, Requested};
use shim_core::admission_policy::{Policy, RequestFacts, request};
use shim_core::controllers::served;
use shim_model::access;
use shim_model::resource::split_api_version;
use shim_model::selector::LabelSelector;
use shim_model::status::Status;

use super::{Attributes, Operation, RequestContext};
use crate::storage::catalog::ServedResource;
use crate::storage::registry::Registry;
use bindings::{Binding, PolicyCache};

/// The group of policies, which do not apply to themselves.
const GROUP: &str = "admissionregistration.k8s.io";
const EXEMPT: [&str; 6] = [
    "validatingadmissionpolicies",
    "validatingadmissionpolicybindings",
    "mutatingadmissionpolicies",
    "mutatingadmissionpolicybindings",
    "validatingwebhookconfigurations",
    "mutatingwebhookconfigurations",
];

/// The part of the plugins that both share.
struct Policies {
    registry: Registry,
    cache: PolicyCache,
    namespaces: Arc<ServedResource>,
}

impl Policies {
    fn new(registry: Registry, policies: &'static str, bindings: &'static str) -> Policies {
        let namespaces = registry.builtin(&served("", "namespaces"));
        Policies { cache: PolicyCache::new(&registry, policies, bindings), registry, namespaces }
    }

    /// Whether any bound policy has a rule for the request.
    fn handles(&self, attributes: &Attributes<'_>) -> bool {
        let resource = attributes.resource;
        if resource.group == GROUP && EXEMPT.contains(&resource.plural.as_str()) {
            return false;
        }
        let bound = self.cache.bound();
        bound.iter().any(|(policy, _)| self.matched_version(&policy.constraints, attributes).is_some())
    }

    /// The resource in the version that the rules match: the requested one, or another one if rules match all.
    fn matched_version(&self, rules: &MatchResources, attributes: &Attributes<'_>) -> Option<Matched> {
        if rules.matches_rules(&requested(attributes, &attributes.resource.version)) {
            return Some(Matched::Same);
        }
        if !rules.equivalent {
            return None;
        }
        let store = attributes.resource.store()?;
        let same = |row: &&Arc<ServedResource>| row.store().is_some_and(|other| Arc::ptr_eq(store, other));
        let matches = |row: &&Arc<ServedResource>| {
            let request = requested(attributes, &row.version);
            rules.matches_rules(&Requested { group: &row.group, resource: &row.plural, ..request })
        };
        self.registry.catalog().iter().filter(same).find(matches).map(|row| Matched::Other(row.clone()))
    }

    /// The request's namespace for the selectors of a policy and its bindings: null if the object has none, or if nothing
    /// selects by it.
    async fn namespace_for_selectors(
        &self,
        attributes: &Attributes<'_>,
        (policy, bindings): (&Policy, &[Arc<Binding>]),
    ) -> Result<Value, Status> {
        let of_bindings = bindings.iter().filter_map(|binding| binding.resources.as_ref());
        let mut all = of_bindings.chain([&policy.constraints]);
        if !all.any(MatchResources::selects_namespaces) {
            return Ok(Value::Null);
        }
        if attributes.is_core("namespaces") {
            return match (&attributes.object, attributes.old_object) {
                (Some(object), _) => Ok(object.clone()),
                (None, Some(old)) => Ok(old.clone()),
                (None, None) => Ok(Value::Null),
            };
        }
        self.find_namespace(attributes).await
    }

    /// The namespace's object, if the policy's expressions use it.
    async fn namespace(&self, attributes: &Attributes<'_>, policy: &Policy) -> Result<Value, Status> {
        if policy.uses_namespace() { self.find_namespace(attributes).await } else { Ok(Value::Null) }
    }

    /// The namespace's object as expressions see it.
    async fn find_namespace(&self, attributes: &Attributes<'_>) -> Result<Value, Status> {
        if attributes.namespace.is_empty() || attributes.is_core("namespaces") {
            return Ok(Value::Null);
        }
        let found = match self.registry.peek(&self.namespaces, "", attributes.namespace) {
            Some(found) => found,
            None => self.registry.get(&self.namespaces, "", attributes.namespace).await?,
        };
        Ok(found.value())
    }

    /// The parameters of a binding: one evaluation for each; null stands for none.
    async fn params(
        &self,
        policy: &Policy,
        binding: &Binding,
        attributes: &Attributes<'_>,
    ) -> Result<Vec<Value>, String> {
        let (Some((api_version, kind)), Some(reference)) = (&policy.param_kind, &binding.param_ref) else {
            return Ok(vec![Value::Null]);
        };
        let (group, version) = split_api_version(api_version);
        let catalog = self.registry.catalog();
        let mut rows = catalog.iter().filter(|row| row.store().is_some());
        let row = rows.find(|row| row.group == group && row.version == version && row.kind == *kind);
        let unknown =
            || format!("failed to find resource referenced by paramKind: '{api_version}, Kind={kind}'");
        let row = row.cloned().ok_or_else(unknown)?;
        let named = access::text(reference, &["namespace"]);
        let namespace = match (row.namespaced, named) {
            (false, "") => "",
            (false, _) => {
                return Err(
                    "paramRef.namespace must not be provided for a cluster-scoped `paramKind`".to_owned()
                );
            }
            (true, "") if attributes.namespace.is_empty() => {
                return Err(
                    "cannot use namespaced paramRef in policy binding that matches cluster-scoped resources"
                        .to_owned(),
                );
            }
            (true, "") => attributes.namespace,
            (true, named) => named,
        };
        let name = access::text(reference, &["name"]);
        let found = if name.is_empty() {
            let selector =
                LabelSelector::from_value(&reference["selector"]).map_err(|error| error.to_string())?;
            let in_namespace = row.namespaced.then_some(namespace);
            let mut objects = row.cache().list(in_namespace);
            objects.retain(|object| selector.matches(&object.header().labels));
            objects
        } else {
            match self.registry.peek(&row, namespace, name) {
                Some(object) => vec![object],
                None => match self.registry.get(&row, namespace, name).await {
                    Ok(object) => vec![object],
                    Err(status) if status.code == 404 => Vec::new(),
                    Err(status) => return Err(status.message),
                },
            }
        };
        if found.is_empty() && access::text(reference, &["parameterNotFoundAction"]) == "Deny" {
            return Err("no params found for policy binding with `Deny` parameterNotFoundAction".to_owned());
        }
        row.decode_all(&found).await.map_err(|status| status.message)
    }
}

/// The version of a resource that a policy's rules match.
enum Matched {
    Same,
    Other(Arc<ServedResource>),
}

impl Matched {
    fn row<'a>(&'a self, attributes: &'a Attributes<'_>) -> &'a ServedResource {
        match self {
            Matched::Same => attributes.resource,
            Matched::Other(row) => row,
        }
    }

    /// An object of the request in the matched version.
    async fn convert<'v>(
        &self,
        attributes: &Attributes<'_>,
        object: Option<&'v Value>,
    ) -> Result<Cow<'v, Value>, Status> {
        match (self, object) {
            (_, None) => Ok(Cow::Owned(Value::Null)),
            (Matched::Same, Some(object)) => Ok(Cow::Borrowed(object)),
            (Matched::Other(row), Some(object)) => {
                let stored = attributes.resource.to_stored(object.clone()).await?;
                Ok(Cow::Owned(row.to_served(stored).await?))
            }
        }
    }
}

fn requested<'a>(attributes: &'a Attributes<'_>, version: &'a str) -> Requested<'a> {
    Requested {
        operation: attributes.operation.name(),
        group: &attributes.resource.group,
        version,
        resource: &attributes.resource.plural,
        subresource: attributes.subresource,
        name: attributes.object_name(),
        namespaced: attributes.resource.namespaced,
    }
}

/// The request as expressions see it.
fn request_of(context: &RequestContext, attributes: &Attributes<'_>, row: &ServedResource) -> Value {
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
    let kind = attributes.kind;
    let version = if kind.group == row.group { row.version.as_str() } else { kind.version };
    request(&RequestFacts {
        kind: (kind.group, version, kind.kind),
        resource: (&row.group, &row.version, &row.plural),
        subresource: attributes.subresource,
        name: attributes.object_name(),
        namespace: attributes.namespace,
        operation: attributes.operation.name(),
        user: &info,
        dry_run: context.dry_run,
    })
}

/// Whether an operation has an object that policies may change.
fn has_object(operation: Operation) -> bool {
    matches!(operation, Operation::Create | Operation::Update | Operation::Connect)
}
