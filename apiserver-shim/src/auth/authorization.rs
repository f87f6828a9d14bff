//! Authorization. The rules are fixed: `system:masters` may do anything, nodes what their executors need, and
//! everybody may use discovery. RBAC is not supported yet; it will be another [`Authorizer`].

use serde_json::{Value, json};
use shim_model::status::{self, Status};

use crate::auth::authentication::{AUTHENTICATED, MASTERS, User};
use crate::request::info::{RequestInfo, Target};

/// The attributes of a request to be authorized.
#[derive(Clone, Copy, Debug, Default)]
pub struct Attributes<'a> {
    /// The verb in lower case.
    pub verb: &'a str,
    /// The resource; `None` for non-resource paths.
    pub target: Option<&'a Target>,
    /// The path of a non-resource request.
    pub path: &'a str,
}

impl<'a> Attributes<'a> {
    /// The attributes of a request.
    pub fn of(info: &'a RequestInfo) -> Attributes<'a> {
        Attributes { verb: info.verb, target: info.target.as_ref(), path: &info.path }
    }
}

/// The rules that apply to a user, as in SelfSubjectRulesReview.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    /// Rules for resources.
    pub resource_rules: Vec<Value>,
    /// Rules for non-resource paths.
    pub path_rules: Vec<Value>,
}

/// Decides whether a user may carry out a request.
pub trait Authorizer: Send + Sync {
    /// Returns whether the request is allowed, and a reason, which may be empty.
    fn authorize(&self, user: &User, attributes: &Attributes<'_>) -> (bool, String);
    /// The rules that apply to the user in a namespace.
    fn rules(&self, user: &User, namespace: &str) -> Rules;
}

/// The authorizer with fixed rules.
pub struct FixedAuthorizer;

struct Rule {
    verbs: &'static [&'static str],
    group: &'static str,
    /// `plural` or `plural/subresource`.
    resources: &'static [&'static str],
}

const READ: &[&str] = &["get", "list", "watch"];
const PUBLIC_PATHS: &[&str] = &["/healthz", "/livez", "/readyz", "/version", "/version/"];
const DISCOVERY_PATHS: &[&str] = &["/api", "/api/*", "/apis", "/apis/*", "/openapi", "/openapi/*"];
/// The non-resource paths that upstream's role `system:monitoring` allows in addition to the public ones.
const MONITORING_PATHS: &[&str] = &["/healthz/*", "/livez/*", "/readyz/*", "/metrics"];
const ISSUER_PATHS: &[&str] = &["/.well-known/openid-configuration", "/openid/v1/jwks"];

const BASIC: &[Rule] = &[
    Rule {
        verbs: &["create"],
        group: "authorization.k8s.io",
        resources: &["selfsubjectaccessreviews", "selfsubjectrulesreviews"],
    },
    Rule { verbs: &["create"], group: "authentication.k8s.io", resources: &["selfsubjectreviews"] },
];

const NODE: &[Rule] = &[
    Rule {
        verbs: READ,
        group: "",
        resources: &["pods", "nodes", "configmaps", "secrets", "services", "serviceaccounts", "namespaces"],
    },
    Rule { verbs: &["create"], group: "", resources: &["serviceaccounts/token"] },
    Rule { verbs: &["patch", "update"], group: "", resources: &["nodes/status", "pods/status"] },
    Rule { verbs: &["create", "patch", "update"], group: "", resources: &["events"] },
    Rule { verbs: &["create", "patch", "update"], group: "events.k8s.io", resources: &["events"] },
    Rule {
        verbs: &["get", "create", "patch", "update"],
        group: "coordination.k8s.io",
        resources: &["leases"],
    },
    Rule { verbs: &["create"], group: "authentication.k8s.io", resources: &["tokenreviews"] },
    Rule { verbs: &["create"], group: "authorization.k8s.io", resources: &["subjectaccessreviews"] },
    Rule { verbs: READ, group: "discovery.k8s.io", resources: &["endpointslices"] },
];

impl Rule {
    fn allows(&self, verb: &str, group: &str, resource: &str) -> bool {
        self.group == group && self.verbs.contains(&verb) && self.resources.contains(&resource)
    }

    fn to_value(&self) -> Value {
        json!({"verbs": self.verbs, "apiGroups": [self.group], "resources": self.resources})
    }
}

fn rules_of(user: &User) -> impl Iterator<Item = &'static Rule> {
    let node: &[Rule] = if user.is_in("system:nodes") { NODE } else { &[] };
    let basic: &[Rule] = if user.is_in(AUTHENTICATED) { BASIC } else { &[] };
    basic.iter().chain(node)
}

fn paths_of(user: &User) -> impl Iterator<Item = &'static &'static str> {
    let discovery: &[&str] = if user.is_in(AUTHENTICATED) { DISCOVERY_PATHS } else { &[] };
    let issuer: &[&str] = if user.is_in("system:serviceaccounts") { ISSUER_PATHS } else { &[] };
    let monitoring: &[&str] = if user.is_in("system:monitoring") { MONITORING_PATHS } else { &[] };
    PUBLIC_PATHS.iter().chain(discovery).chain(issuer).chain(monitoring)
}

impl Authorizer for FixedAuthorizer {
    fn authorize(&self, user: &User, attributes: &Attributes<'_>) -> (bool, String) {
        if user.is_in(MASTERS) {
            return (true, String::new());
        }
        let allowed = match attributes.target {
            Some(target) => {
                let resource = qualified_resource(target);
                rules_of(user).any(|r| r.allows(attributes.verb, &target.group, &resource))
            }
            None => attributes.verb == "get" && paths_of(user).any(|p| path_matches(p, attributes.path)),
        };
        (allowed, String::new())
    }

    fn rules(&self, user: &User, _namespace: &str) -> Rules {
        if user.is_in(MASTERS) {
            return Rules {
                resource_rules: vec![json!({"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]})],
                path_rules: vec![json!({"verbs": ["*"], "nonResourceURLs": ["*"]})],
            };
        }
        let paths: Vec<_> = paths_of(user).collect();
        Rules {
            resource_rules: rules_of(user).map(Rule::to_value).collect(),
            path_rules: vec![json!({"verbs": ["get"], "nonResourceURLs": paths})],
        }
    }
}

fn path_matches(pattern: &str, path: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(prefix) => path.starts_with(prefix),
        None => pattern == path,
    }
}

fn qualified_resource(target: &Target) -> String {
    if target.subresource.is_empty() {
        target.plural.clone()
    } else {
        format!("{}/{}", target.plural, target.subresource)
    }
}

/// The 403 response for a request that is not allowed.
pub fn refusal(user: &User, attributes: &Attributes<'_>, reason: &str) -> Status {
    let Some(target) = attributes.target else {
        return status::forbidden_path(&user.name, attributes.verb, attributes.path);
    };
    let place = if target.namespace.is_empty() {
        " at the cluster scope".to_owned()
    } else {
        format!(" in the namespace \"{}\"", target.namespace)
    };
    let because = if reason.is_empty() { String::new() } else { format!(": {reason}") };
    let why = format!(
        "User \"{}\" cannot {} resource \"{}\" in API group \"{}\"{place}{because}",
        user.name,
        attributes.verb,
        qualified_resource(target),
        target.group,
    );
    status::forbidden(&target.group, &target.plural, &target.name, why)
}
