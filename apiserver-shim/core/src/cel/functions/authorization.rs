//! `authorizer`: expressions ask what the user of the request, or a service account, may do.

use std::fmt;
use std::sync::Arc;

use shim_model::names;
use shim_model::selector::FieldSelector;

use super::Found;
use crate::authorization::{AccessRequest, RequestedResource};
use crate::cel::eval::{EvalError, text};
use crate::cel::types::Type;
use crate::cel::value::{Opaque, Val};

/// Units of cost of a check: two of them fit into one evaluation (upstream's).
const CHECK_COST: u64 = 350_000;

/// Decides what a user may do.
pub trait Authorize: Send + Sync {
    /// Decides for the user of the request, or for a service account: namespace and name.
    fn authorize(&self, account: Option<(&str, &str)>, request: &AccessRequest<'_>) -> CheckedAccess;
}

/// A decision.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CheckedAccess {
    /// Whether it is allowed.
    pub allowed: bool,
    /// Why; may be empty.
    pub reason: String,
}

/// Who is asked about.
#[derive(Clone)]
struct Principal {
    by: Arc<dyn Authorize>,
    account: Option<(Arc<str>, Arc<str>)>,
}

impl Principal {
    fn check(&self, request: &AccessRequest<'_>) -> Access {
        let account = self.account.as_ref().map(|(namespace, name)| (&**namespace, &**name));
        Access(Arc::new(Step::Decision(self.by.authorize(account, request))))
    }
}

/// Objects of an API, as a check describes them.
#[derive(Clone, Default)]
struct Resource {
    group: String,
    resource: String,
    subresource: String,
    namespace: String,
    name: String,
    fields: String,
}

enum Step {
    Authorizer(Principal),
    Path(Principal, String),
    Group(Principal, String),
    Resource(Principal, Resource),
    Decision(CheckedAccess),
}

/// A value of the library.
#[derive(Clone)]
pub struct Access(Arc<Step>);

impl PartialEq for Access {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.type_name())
    }
}

impl Access {
    /// The variable `authorizer`.
    pub(crate) fn authorizer(by: &Arc<dyn Authorize>) -> Access {
        Access(Arc::new(Step::Authorizer(Principal { by: by.clone(), account: None })))
    }

    /// The variable `authorizer.requestResource`: the objects of a request.
    pub(crate) fn of_request(by: &Arc<dyn Authorize>, requested: &RequestedResource<'_>) -> Access {
        let RequestedResource { group, resource, subresource, namespace, name, .. } = *requested;
        let [group, resource, subresource, namespace, name] =
            [group, resource, subresource, namespace, name].map(str::to_owned);
        let resource = Resource { group, resource, subresource, namespace, name, fields: String::new() };
        Access(Arc::new(Step::Resource(Principal { by: by.clone(), account: None }, resource)))
    }

    /// The type of `authorizer`.
    pub(crate) fn authorizer_type() -> Type {
        Type::Opaque("kubernetes.authorization.Authorizer")
    }

    /// The type of `authorizer.requestResource`.
    pub(crate) fn resource_type() -> Type {
        Type::Opaque("kubernetes.authorization.ResourceCheck")
    }

    pub(in crate::cel) fn type_name(&self) -> &'static str {
        match &*self.0 {
            Step::Authorizer(_) => "kubernetes.authorization.Authorizer",
            Step::Path(..) => "kubernetes.authorization.PathCheck",
            Step::Group(..) => "kubernetes.authorization.GroupCheck",
            Step::Resource(..) => "kubernetes.authorization.ResourceCheck",
            Step::Decision(_) => "kubernetes.authorization.Decision",
        }
    }
}

/// What a call costs beyond one unit: a selector is parsed, a check is expensive.
pub(super) fn cost(function: &str, target: Option<&Val<'_>>, args: &[Val<'_>]) -> Option<u64> {
    if !matches!(target, Some(Val::Opaque(Opaque::Access(_)))) {
        return None;
    }
    Some(match function {
        "check" => CHECK_COST - 1,
        // The list, the text, and for each requirement, of which there is one in eight characters, a list and a struct.
        "fieldSelector" | "labelSelector" => {
            let length = args.first().map_or(0, Val::size);
            9 + length.div_ceil(10) + length.div_ceil(8) * 50
        }
        _ => 0,
    })
}

pub(super) fn call<'v>(function: &str, all: &[Val<'v>]) -> Found<'v> {
    let [Val::Opaque(Opaque::Access(Access(step))), args @ ..] = all else { return Ok(None) };
    let made = |step: Step| Ok(Some(Val::Opaque(Opaque::Access(Access(Arc::new(step))))));
    match (&**step, function, args) {
        (Step::Authorizer(who), "path", [path]) => {
            let path = not_blank(path, "path must not be empty")?;
            made(Step::Path(who.clone(), path))
        }
        (Step::Authorizer(who), "group", [group]) => made(Step::Group(who.clone(), text(group)?.to_owned())),
        (Step::Authorizer(who), "serviceAccount", [namespace, name]) => {
            let (namespace, name) = (text(namespace)?, text(name)?);
            if !names::dns_subdomain(name).is_empty() {
                return Err(EvalError::new("Invalid service account name"));
            }
            if !names::dns_label(namespace).is_empty() {
                return Err(EvalError::new("Invalid service account namespace"));
            }
            let account = Some((namespace.into(), name.into()));
            made(Step::Authorizer(Principal { by: who.by.clone(), account }))
        }
        (Step::Group(who, group), "resource", [resource]) => {
            let resource = not_blank(resource, "resource must not be empty")?;
            made(Step::Resource(
                who.clone(),
                Resource { group: group.clone(), resource, ..Resource::default() },
            ))
        }
        (Step::Path(who, path), "check", [verb]) => {
            Ok(Some(Val::Opaque(Opaque::Access(who.check(&AccessRequest::path(text(verb)?, path))))))
        }
        (Step::Resource(who, resource), "check", [verb]) => {
            Ok(Some(Val::Opaque(Opaque::Access(check(who, resource, text(verb)?)))))
        }
        (Step::Resource(who, resource), member, [value]) => {
            let (mut resource, value) = (resource.clone(), text(value)?.to_owned());
            match member {
                "subresource" => resource.subresource = value,
                "namespace" => resource.namespace = value,
                "name" => resource.name = value,
                "fieldSelector" => resource.fields = value,
                // No authorizer of this server looks at labels.
                "labelSelector" => {}
                _ => return Ok(None),
            }
            made(Step::Resource(who.clone(), resource))
        }
        (Step::Decision(decision), "allowed", []) => Ok(Some(Val::Bool(decision.allowed))),
        (Step::Decision(decision), "reason", []) => Ok(Some(Val::text(decision.reason.as_str()))),
        // The authorizers of this server do not fail.
        (Step::Decision(_), "errored", []) => Ok(Some(Val::Bool(false))),
        (Step::Decision(_), "error", []) => Ok(Some(Val::text(""))),
        _ => Ok(None),
    }
}

fn check(who: &Principal, resource: &Resource, verb: &str) -> Access {
    // A selector that cannot be parsed requires nothing.
    let fields = FieldSelector::parse(&resource.fields).map(|selector| selector.terms).unwrap_or_default();
    who.check(&AccessRequest::resource(
        verb,
        RequestedResource {
            group: &resource.group,
            resource: &resource.resource,
            subresource: &resource.subresource,
            namespace: &resource.namespace,
            name: &resource.name,
            fields: &fields,
        },
    ))
}

fn not_blank(value: &Val<'_>, why: &str) -> Result<String, EvalError> {
    let value = text(value)?;
    if value.trim().is_empty() { Err(EvalError::new(why)) } else { Ok(value.to_owned()) }
}
