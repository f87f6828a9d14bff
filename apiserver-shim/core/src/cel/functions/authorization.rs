//! `authorizer`: what an expression asks about the access of the user whose request is evaluated.

use std::sync::Arc;

use shim_model::names;

use super::{Found, opaque};
use crate::cel::eval::{Activation, EvalError, text};
use crate::cel::value::{Opaque, Val};

/// Decides about access.
pub trait Authorizer: Sync {
    /// Whether a user may do something. `account` is a service account, by namespace and name; `None` is the user of the request.
    fn decide(&self, account: Option<(&str, &str)>, verb: &str, what: &AccessAttributes) -> Decision;

    /// What the request is about.
    fn requested(&self) -> ResourceAttributes;
}

/// A decision and its reason, which may be empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Decision {
    pub allowed: bool,
    pub reason: String,
}

/// What access is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AccessAttributes {
    /// A path that is no resource.
    Path(String),
    /// A resource.
    Resource(ResourceAttributes),
}

/// A resource that access is asked for. Selectors that cannot be parsed are left out, as upstream does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct ResourceAttributes {
    pub group: String,
    pub resource: String,
    pub subresource: String,
    pub namespace: String,
    pub name: String,
    pub field_selector: String,
    pub label_selector: String,
}

/// A value on the way from `authorizer` to a decision.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Access {
    Authorizer(Account),
    Path(Account, String),
    Group(Account, String),
    Resource(Account, ResourceAttributes),
    Decision(Decision),
}

/// A service account by namespace and name, or the user of the request.
pub(in crate::cel) type Account = Option<(String, String)>;

impl Access {
    /// The name of its type.
    pub(in crate::cel) fn type_name(&self) -> &'static str {
        match self {
            Access::Authorizer(_) => "kubernetes.authorization.Authorizer",
            Access::Path(..) => "kubernetes.authorization.PathCheck",
            Access::Group(..) => "kubernetes.authorization.GroupCheck",
            Access::Resource(..) => "kubernetes.authorization.ResourceCheck",
            Access::Decision(_) => "kubernetes.authorization.Decision",
        }
    }
}

/// The value of `authorizer`.
pub(crate) fn authorizer<'v>() -> Val<'v> {
    Val::Opaque(Opaque::Access(Arc::new(Access::Authorizer(None))))
}

/// The value of `authorizer.requestResource`.
pub(crate) fn request_resource<'v>(authorizer: &dyn Authorizer) -> Val<'v> {
    Val::Opaque(Opaque::Access(Arc::new(Access::Resource(None, authorizer.requested()))))
}

pub(super) fn call<'v>(function: &str, all: &[Val<'v>], a: &Activation<'v>) -> Found<'v> {
    let Some((Val::Opaque(Opaque::Access(access)), rest)) = all.split_first() else { return Ok(None) };
    let found = match (&**access, function, rest) {
        (Access::Authorizer(account), "path", [path]) => {
            Access::Path(account.clone(), not_empty("path", text(path)?)?)
        }
        (Access::Authorizer(account), "group", [group]) => {
            Access::Group(account.clone(), text(group)?.to_owned())
        }
        (Access::Authorizer(_), "serviceAccount", [namespace, name]) => {
            Access::Authorizer(Some(account(text(namespace)?, text(name)?)?))
        }
        (Access::Group(account, group), "resource", [resource]) => {
            let resource = not_empty("resource", text(resource)?)?;
            let asked =
                ResourceAttributes { group: group.clone(), resource, ..ResourceAttributes::default() };
            Access::Resource(account.clone(), asked)
        }
        (Access::Resource(account, asked), "check", [verb]) => {
            decide(a, account, verb, AccessAttributes::Resource(asked.clone()))?
        }
        (Access::Resource(account, asked), part, [value]) => match with(asked.clone(), part, text(value)?) {
            Some(asked) => Access::Resource(account.clone(), asked),
            None => return Ok(None),
        },
        (Access::Path(account, path), "check", [verb]) => {
            decide(a, account, verb, AccessAttributes::Path(path.clone()))?
        }
        (Access::Decision(verdict), _, []) => {
            return Ok(match function {
                "allowed" => Some(Val::Bool(verdict.allowed)),
                "reason" => Some(Val::text(verdict.reason.as_str())),
                // Deciding does not fail here.
                "errored" => Some(Val::Bool(false)),
                "error" => Some(Val::text("")),
                _ => None,
            });
        }
        _ => return Ok(None),
    };
    opaque(Opaque::Access(Arc::new(found)))
}

fn with(mut asked: ResourceAttributes, part: &str, value: &str) -> Option<ResourceAttributes> {
    let member = match part {
        "subresource" => &mut asked.subresource,
        "namespace" => &mut asked.namespace,
        "name" => &mut asked.name,
        "fieldSelector" => &mut asked.field_selector,
        "labelSelector" => &mut asked.label_selector,
        _ => return None,
    };
    value.clone_into(member);
    Some(asked)
}

fn decide<'v>(
    a: &Activation<'v>,
    account: &Account,
    verb: &Val<'v>,
    what: AccessAttributes,
) -> Result<Access, EvalError> {
    let authorizer = a.authorizer().ok_or_else(|| EvalError::new("no such attribute(s): authorizer"))?;
    let account = account.as_ref().map(|(namespace, name)| (namespace.as_str(), name.as_str()));
    Ok(Access::Decision(authorizer.decide(account, text(verb)?, &what)))
}

fn not_empty(what: &str, text: &str) -> Result<String, EvalError> {
    match text.trim() {
        "" => Err(EvalError::new(format!("{what} must not be empty"))),
        _ => Ok(text.to_owned()),
    }
}

fn account(namespace: &str, name: &str) -> Result<(String, String), EvalError> {
    let check = |wrong: Vec<String>, what: &str| match wrong.is_empty() {
        true => Ok(()),
        false => Err(EvalError::new(format!("Invalid service account {what}"))),
    };
    check(names::dns_subdomain(name), "name")?;
    check(names::dns_label(namespace), "namespace")?;
    Ok((namespace.to_owned(), name.to_owned()))
}
