//! Authorization: who may do what. Pure decisions over values.
//!
//! Reading order: `rule` (what one rule allows), `index` (the bindings, looked up by user and group), `escalation` (whether
//! rules cover other rules), `node`, `references` and `node_restriction` (what a node may do), `review` (access reviews), `bootstrap` (the default roles and their
//! reconciliation). The shell (`apiserver-shim/src/auth/authorization`) feeds them from the watch caches and chains them.

pub mod bootstrap;
pub mod escalation;
pub mod index;
pub mod node;
pub mod node_restriction;
pub mod references;
pub mod review;
pub mod rule;

use shim_model::selector::FieldTerm;

pub use index::{Grant, RbacIndex, UnknownRole};
pub use rule::PolicyRule;

/// Prefix of service accounts' user names.
const SERVICE_ACCOUNT: &str = "system:serviceaccount:";

/// The user whose request is authorized.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    /// The user name.
    pub name: &'a str,
    /// The groups, in the order in which authentication found them.
    pub groups: &'a [String],
}

impl Subject<'_> {
    /// Whether the user is in a group.
    pub fn is_in(&self, group: &str) -> bool {
        self.groups.iter().any(|own| own == group)
    }
}

/// A request to be authorized.
#[derive(Debug, Clone, Copy)]
pub struct AccessRequest<'a> {
    /// The verb in lower case.
    pub verb: &'a str,
    /// What it is about.
    pub object: Requested<'a>,
}

/// What a request is about.
#[derive(Debug, Clone, Copy)]
pub enum Requested<'a> {
    /// Objects of the API.
    Resource(RequestedResource<'a>),
    /// A path that is no resource.
    Path(&'a str),
}

/// The objects that a request is about.
#[derive(Debug, Clone, Copy, Default)]
pub struct RequestedResource<'a> {
    /// API group; empty for the core group.
    pub group: &'a str,
    /// Plural name of the resource.
    pub resource: &'a str,
    /// Subresource; empty for the object itself.
    pub subresource: &'a str,
    /// Namespace; empty for cluster-scoped objects, and for all namespaces.
    pub namespace: &'a str,
    /// Name; empty for collections. That of the field selector if it requires one.
    pub name: &'a str,
    /// What the field selector of a LIST, WATCH or DELETECOLLECTION requires.
    pub fields: &'a [FieldTerm],
}

impl<'a> AccessRequest<'a> {
    /// A request about objects.
    pub fn resource(verb: &'a str, resource: RequestedResource<'a>) -> AccessRequest<'a> {
        AccessRequest { verb, object: Requested::Resource(resource) }
    }

    /// A request for a path.
    pub fn path(verb: &'a str, path: &'a str) -> AccessRequest<'a> {
        AccessRequest { verb, object: Requested::Path(path) }
    }

    /// The namespace; empty for paths.
    pub fn namespace(&self) -> &'a str {
        match self.object {
            Requested::Resource(resource) => resource.namespace,
            Requested::Path(_) => "",
        }
    }
}

impl RequestedResource<'_> {
    /// `resource` or `resource/subresource`.
    pub fn qualified(&self) -> String {
        match self.subresource {
            "" => self.resource.to_owned(),
            subresource => format!("{}/{subresource}", self.resource),
        }
    }
}

#[cfg(test)]
mod tests;
