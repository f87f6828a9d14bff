//! The index of roles and bindings: which bindings apply to a user is found by the names of the user and of its groups,
//! so a decision does not depend on the number of bindings of others.

use shim_model::go_quote::Quoted;
use std::fmt;
use std::sync::Arc;

use indexmap::IndexMap;
use serde_json::Value;
use shim_model::access;

use super::{AccessRequest, PolicyRule, SERVICE_ACCOUNT, Subject};

/// All roles and bindings. A role is kept apart from its bindings, because either may be missing.
#[derive(Debug, Default)]
pub struct RbacIndex {
    /// ClusterRoles and ClusterRoleBindings.
    cluster: Scope,
    /// Roles and RoleBindings by namespace.
    namespaces: IndexMap<Box<str>, Scope>,
}

/// Bindings by the name of a subject.
type ByName = IndexMap<Box<str>, Vec<Application>>;

/// The roles and bindings of one namespace, or those of the cluster.
#[derive(Debug, Default)]
struct Scope {
    roles: IndexMap<Box<str>, Arc<[PolicyRule]>>,
    bindings: IndexMap<Box<str>, Arc<Binding>>,
    by_user: ByName,
    by_group: ByName,
}

/// A subject of a binding.
#[derive(Debug, Clone)]
struct Application {
    binding: Arc<Binding>,
    /// The position in the binding's subjects.
    subject: usize,
}

/// A RoleBinding or ClusterRoleBinding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binding {
    /// Namespace; empty for ClusterRoleBindings.
    pub namespace: String,
    /// Name of the binding.
    pub name: String,
    /// Its role.
    pub role: RoleRef,
    /// Its subjects, in order.
    pub subjects: Vec<BindingSubject>,
}

/// The role that a binding grants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoleRef {
    /// `Role` or `ClusterRole`.
    pub kind: String,
    /// Name of the role.
    pub name: String,
}

/// A user, group or service account that a binding names.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum BindingSubject {
    User(String),
    Group(String),
    /// The namespace is empty if neither the subject nor the binding has one; then it applies to nobody.
    ServiceAccount {
        namespace: String,
        name: String,
    },
    /// A kind that upstream ignores too.
    Other(String),
}

impl Binding {
    /// Parses a RoleBinding or ClusterRoleBinding.
    pub fn of(binding: &Value) -> Binding {
        let of = |path: &[&str]| access::text(binding, path).to_owned();
        let namespace = of(&["metadata", "namespace"]);
        let subjects = access::list(binding, &["subjects"]).iter();
        Binding {
            name: of(&["metadata", "name"]),
            role: RoleRef { kind: of(&["roleRef", "kind"]), name: of(&["roleRef", "name"]) },
            subjects: subjects.map(|subject| BindingSubject::of(subject, &namespace)).collect(),
            namespace,
        }
    }
}

impl BindingSubject {
    fn of(subject: &Value, namespace: &str) -> BindingSubject {
        let name = access::text(subject, &["name"]).to_owned();
        match access::text(subject, &["kind"]) {
            "User" => BindingSubject::User(name),
            "Group" => BindingSubject::Group(name),
            "ServiceAccount" => {
                let own = access::text(subject, &["namespace"]);
                let namespace = if own.is_empty() { namespace } else { own }.to_owned();
                BindingSubject::ServiceAccount { namespace, name }
            }
            other => BindingSubject::Other(other.to_owned()),
        }
    }
}

impl fmt::Display for BindingSubject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BindingSubject::User(name) => write!(f, "User {name}", name = Quoted(name)),
            BindingSubject::Group(name) => write!(f, "Group {name}", name = Quoted(name)),
            // Upstream prints the name first.
            BindingSubject::ServiceAccount { namespace, name } => {
                write!(f, "ServiceAccount \"{name}/{namespace}\"")
            }
            BindingSubject::Other(kind) => f.write_str(kind),
        }
    }
}

/// Why a request is allowed. The text is that of upstream's access reviews.
#[derive(Debug, Clone, Copy)]
pub struct Grant<'a> {
    /// The binding whose role has the rule.
    pub binding: &'a Binding,
    /// The first subject of the binding that is the user or one of its groups.
    pub subject: &'a BindingSubject,
}

impl fmt::Display for Grant<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Binding { namespace, name, role, .. } = self.binding;
        f.write_str("RBAC: allowed by ")?;
        match namespace.as_str() {
            "" => write!(f, "ClusterRoleBinding {name}", name = Quoted(name))?,
            namespace => write!(f, "RoleBinding \"{name}/{namespace}\"")?,
        }
        write!(f, " of {} {} to {}", role.kind, Quoted(&role.name), self.subject)
    }
}

/// A binding names a role that does not exist.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct UnknownRole {
    /// `Role` or `ClusterRole`.
    pub kind: String,
    /// Name of the role.
    pub name: String,
}

impl fmt::Display for UnknownRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let UnknownRole { kind, name } = self;
        match kind.as_str() {
            "Role" | "ClusterRole" => {
                write!(
                    f,
                    "{}.rbac.authorization.k8s.io {name} not found",
                    kind.to_lowercase(),
                    name = Quoted(name)
                )
            }
            kind => write!(f, "unsupported role reference kind: {kind}", kind = Quoted(kind)),
        }
    }
}

/// Several errors as one text: alone as it is, otherwise as a list without duplicates.
pub fn aggregate(errors: &[UnknownRole]) -> String {
    let mut texts: Vec<String> = Vec::new();
    for error in errors.iter().map(ToString::to_string) {
        if !texts.contains(&error) {
            texts.push(error);
        }
    }
    match texts.as_slice() {
        [only] => only.clone(),
        texts => format!("[{}]", texts.join(", ")),
    }
}

impl Scope {
    fn is_empty(&self) -> bool {
        self.roles.is_empty() && self.bindings.is_empty()
    }

    fn insert(&mut self, binding: Binding) {
        self.remove(&binding.name);
        let binding = Arc::new(binding);
        for (subject, each) in binding.subjects.iter().enumerate() {
            if let Some((by_name, name)) = self.entry(each) {
                by_name.entry(name).or_default().push(Application { binding: binding.clone(), subject });
            }
        }
        self.bindings.insert(binding.name.as_str().into(), binding);
    }

    fn remove(&mut self, name: &str) {
        let Some(binding) = self.bindings.swap_remove(name) else { return };
        for subject in &binding.subjects {
            let Some((by_name, name)) = self.entry(subject) else { continue };
            if let Some(applications) = by_name.get_mut(&name) {
                applications.retain(|application| !Arc::ptr_eq(&application.binding, &binding));
                if applications.is_empty() {
                    by_name.swap_remove(&name);
                }
            }
        }
    }

    /// The map that has the subject, and its name there.
    fn entry(&mut self, subject: &BindingSubject) -> Option<(&mut ByName, Box<str>)> {
        match subject {
            BindingSubject::User(name) => Some((&mut self.by_user, name.as_str().into())),
            BindingSubject::Group(name) => Some((&mut self.by_group, name.as_str().into())),
            BindingSubject::ServiceAccount { namespace, name } if !namespace.is_empty() => {
                Some((&mut self.by_user, format!("{SERVICE_ACCOUNT}{namespace}:{name}").into()))
            }
            BindingSubject::ServiceAccount { .. } | BindingSubject::Other(_) => None,
        }
    }

    /// The bindings that apply to a user, by name; each with the first subject that does.
    fn applications(&self, subject: &Subject<'_>) -> Vec<&Application> {
        let mut found: Vec<&Application> = Vec::new();
        found.extend(self.by_user.get(subject.name).into_iter().flatten());
        for group in subject.groups {
            found.extend(self.by_group.get(group.as_str()).into_iter().flatten());
        }
        if found.len() > 1 {
            found.sort_by(|a, b| (&a.binding.name, a.subject).cmp(&(&b.binding.name, b.subject)));
            found.dedup_by(|a, b| Arc::ptr_eq(&a.binding, &b.binding));
        }
        found
    }
}

impl RbacIndex {
    fn scope(&self, namespace: &str) -> Option<&Scope> {
        if namespace.is_empty() { Some(&self.cluster) } else { self.namespaces.get(namespace) }
    }

    fn change(&mut self, namespace: &str, change: impl FnOnce(&mut Scope)) {
        if namespace.is_empty() {
            return change(&mut self.cluster);
        }
        let scope = self.namespaces.entry(namespace.into()).or_default();
        change(scope);
        if scope.is_empty() {
            self.namespaces.swap_remove(namespace);
        }
    }

    /// Adds or replaces a Role, or a ClusterRole if the namespace is empty.
    pub fn put_role(&mut self, namespace: &str, name: &str, rules: Vec<PolicyRule>) {
        self.change(namespace, |scope| {
            scope.roles.insert(name.into(), rules.into());
        });
    }

    /// Removes a Role, or a ClusterRole if the namespace is empty.
    pub fn remove_role(&mut self, namespace: &str, name: &str) {
        self.change(namespace, |scope| {
            scope.roles.swap_remove(name);
        });
    }

    /// Adds or replaces a binding.
    pub fn put_binding(&mut self, binding: Binding) {
        let namespace = binding.namespace.clone();
        self.change(&namespace, |scope| scope.insert(binding));
    }

    /// Removes a RoleBinding, or a ClusterRoleBinding if the namespace is empty.
    pub fn remove_binding(&mut self, namespace: &str, name: &str) {
        self.change(namespace, |scope| scope.remove(name));
    }

    /// The rules of a role that is bound in a namespace; empty for a ClusterRoleBinding.
    pub fn rules_of(&self, role: &RoleRef, namespace: &str) -> Result<&[PolicyRule], UnknownRole> {
        let scope = match role.kind.as_str() {
            "ClusterRole" => Some(&self.cluster),
            "Role" if !namespace.is_empty() => self.namespaces.get(namespace),
            _ => None,
        };
        let found = scope.and_then(|scope| scope.roles.get(role.name.as_str()));
        let unknown = || UnknownRole { kind: role.kind.clone(), name: role.name.clone() };
        found.map(|rules| &**rules).ok_or_else(unknown)
    }

    /// Decides a request: the first rule that allows it, of ClusterRoleBindings before RoleBindings, in the order of their
    /// names; or the roles that are missing.
    pub fn decide(
        &self,
        subject: &Subject<'_>,
        request: &AccessRequest<'_>,
    ) -> Result<Grant<'_>, Vec<UnknownRole>> {
        let mut unknown = Vec::new();
        for application in self.applications(subject, request.namespace()) {
            let binding = &*application.binding;
            match self.rules_of(&binding.role, &binding.namespace) {
                Ok(rules) if rules.iter().any(|rule| rule.allows(request)) => {
                    return Ok(Grant { binding, subject: &binding.subjects[application.subject] });
                }
                Ok(_) => {}
                Err(error) => unknown.push(error),
            }
        }
        Err(unknown)
    }

    /// The rules that apply to a user in a namespace, or in the whole cluster if it is empty; and the roles that are
    /// missing.
    pub fn rules_for(&self, subject: &Subject<'_>, namespace: &str) -> (Vec<PolicyRule>, Vec<UnknownRole>) {
        let (mut rules, mut unknown) = (Vec::new(), Vec::new());
        for application in self.applications(subject, namespace) {
            match self.rules_of(&application.binding.role, &application.binding.namespace) {
                Ok(found) => rules.extend_from_slice(found),
                Err(error) => unknown.push(error),
            }
        }
        (rules, unknown)
    }

    fn applications<'s>(
        &'s self,
        subject: &Subject<'_>,
        namespace: &str,
    ) -> impl Iterator<Item = &'s Application> + use<'s> {
        let of_cluster = self.cluster.applications(subject);
        let scope = Some(namespace).filter(|n| !n.is_empty()).and_then(|n| self.scope(n));
        let of_namespace = scope.map(|scope| scope.applications(subject)).unwrap_or_default();
        of_cluster.into_iter().chain(of_namespace)
    }
}
