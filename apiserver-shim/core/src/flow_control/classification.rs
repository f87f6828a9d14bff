//! FlowSchemas: which one a request matches, and which flow of it the request belongs to.

use std::collections::BTreeSet;

use serde_json::Value;
use shim_model::access;

use super::bootstrap::{CATCH_ALL, EXEMPT, default_spec};
use crate::authorization::{AccessRequest, Requested, Subject};

/// Prefix of service accounts' user names.
const SERVICE_ACCOUNT: &str = "system:serviceaccount:";

/// A FlowSchema whose priority level exists.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct FlowSchema {
    pub name: String,
    /// Empty for a mandatory schema without an object.
    pub uid: String,
    /// Lower numbers are tried first.
    pub precedence: i64,
    /// The name of its priority level.
    pub level: String,
    /// What makes two requests belong to different flows; `None`: all are one flow.
    pub distinguisher: Option<Distinguisher>,
    rules: Vec<Rule>,
}

/// What makes two requests belong to different flows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Distinguisher {
    User,
    Namespace,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Rule {
    subjects: Vec<Who>,
    resources: Vec<ResourceRule>,
    paths: Vec<PathRule>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Who {
    AnyUser,
    User(String),
    AnyGroup,
    Group(String),
    /// The beginning of the names of a namespace's service accounts.
    ServiceAccounts(String),
}

/// Strings, or all of them.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Set {
    All,
    Of(Vec<String>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct ResourceRule {
    verbs: Set,
    groups: Set,
    resources: Set,
    namespaces: Set,
    cluster_scope: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct PathRule {
    verbs: Set,
    paths: Vec<String>,
}

/// The FlowSchemas in the order in which they are tried. Those without a priority level are left out, the mandatory ones
/// are always there.
pub fn flow_schemas<'a>(
    objects: impl IntoIterator<Item = &'a Value>,
    levels: &BTreeSet<String>,
) -> Vec<FlowSchema> {
    let mut out: Vec<FlowSchema> = objects.into_iter().map(FlowSchema::of).collect();
    out.retain(|schema| levels.contains(&schema.level));
    for name in [EXEMPT, CATCH_ALL] {
        if !out.iter().any(|schema| schema.name == name) {
            out.extend(default_spec("FlowSchema", name).map(|spec| FlowSchema::new(name, "", &spec)));
        }
    }
    out.sort_by(|a, b| (a.precedence, &a.name).cmp(&(b.precedence, &b.name)));
    out
}

impl FlowSchema {
    fn of(object: &Value) -> FlowSchema {
        let text = |key| access::text(object, &["metadata", key]);
        FlowSchema::new(text("name"), text("uid"), &object["spec"])
    }

    fn new(name: &str, uid: &str, spec: &Value) -> FlowSchema {
        FlowSchema {
            name: name.to_owned(),
            uid: uid.to_owned(),
            precedence: access::int(spec, &["matchingPrecedence"]).unwrap_or(1000),
            level: access::text(spec, &["priorityLevelConfiguration", "name"]).to_owned(),
            distinguisher: match access::text(spec, &["distinguisherMethod", "type"]) {
                "ByUser" => Some(Distinguisher::User),
                "ByNamespace" => Some(Distinguisher::Namespace),
                _ => None,
            },
            rules: access::list(spec, &["rules"]).iter().map(Rule::of).collect(),
        }
    }

    /// Whether a request of this user matches.
    pub fn matches(&self, subject: &Subject<'_>, request: &AccessRequest<'_>) -> bool {
        self.rules.iter().any(|rule| {
            rule.subjects.iter().any(|who| who.is(subject))
                && match request.object {
                    Requested::Resource(_) => rule.resources.iter().any(|rule| rule.matches(request)),
                    Requested::Path(path) => rule.paths.iter().any(|rule| rule.matches(request.verb, path)),
                }
        })
    }
}

impl Rule {
    fn of(rule: &Value) -> Rule {
        let each = |key| access::list(rule, &[key]).iter();
        Rule {
            subjects: each("subjects").filter_map(Who::of).collect(),
            resources: each("resourceRules").map(ResourceRule::of).collect(),
            paths: each("nonResourceRules").map(PathRule::of).collect(),
        }
    }
}

impl Who {
    fn of(subject: &Value) -> Option<Who> {
        let text = |path: &[&str]| access::text(subject, path).to_owned();
        Some(match access::text(subject, &["kind"]) {
            "User" => match text(&["user", "name"]) {
                all if all == "*" => Who::AnyUser,
                name => Who::User(name),
            },
            "Group" => match text(&["group", "name"]) {
                all if all == "*" => Who::AnyGroup,
                name => Who::Group(name),
            },
            "ServiceAccount" => {
                let namespace = text(&["serviceAccount", "namespace"]);
                match text(&["serviceAccount", "name"]) {
                    all if all == "*" => Who::ServiceAccounts(format!("{SERVICE_ACCOUNT}{namespace}:")),
                    name => Who::User(format!("{SERVICE_ACCOUNT}{namespace}:{name}")),
                }
            }
            _ => return None,
        })
    }

    fn is(&self, subject: &Subject<'_>) -> bool {
        match self {
            Who::AnyUser | Who::AnyGroup => true,
            Who::User(name) => name == subject.name,
            Who::Group(name) => subject.groups.contains(name),
            Who::ServiceAccounts(prefix) => subject.name.starts_with(prefix),
        }
    }
}

impl Set {
    fn of(rule: &Value, key: &str) -> Set {
        let all: Vec<String> =
            access::list(rule, &[key]).iter().filter_map(|v| v.as_str().map(str::to_owned)).collect();
        if all.len() == 1 && all[0] == "*" { Set::All } else { Set::Of(all) }
    }

    fn has(&self, text: &str) -> bool {
        match self {
            Set::All => true,
            Set::Of(all) => all.iter().any(|each| each == text),
        }
    }

    /// Whether `resource/subresource` is in the set; nothing is allocated.
    fn has_resource(&self, resource: &str, subresource: &str) -> bool {
        let Set::Of(all) = self else { return true };
        all.iter().any(|each| match subresource {
            "" => each == resource,
            _ => {
                let rest = each.strip_prefix(resource).and_then(|rest| rest.strip_prefix('/'));
                rest == Some(subresource)
            }
        })
    }
}

impl ResourceRule {
    fn of(rule: &Value) -> ResourceRule {
        ResourceRule {
            verbs: Set::of(rule, "verbs"),
            groups: Set::of(rule, "apiGroups"),
            resources: Set::of(rule, "resources"),
            namespaces: Set::of(rule, "namespaces"),
            cluster_scope: rule["clusterScope"] == true,
        }
    }

    fn matches(&self, request: &AccessRequest<'_>) -> bool {
        let Requested::Resource(asked) = request.object else { return false };
        self.verbs.has(request.verb)
            && self.resources.has_resource(asked.resource, asked.subresource)
            && self.groups.has(asked.group)
            && match asked.namespace {
                "" => self.cluster_scope,
                namespace => self.namespaces.has(namespace),
            }
    }
}

impl PathRule {
    fn of(rule: &Value) -> PathRule {
        let paths = access::list(rule, &["nonResourceURLs"]).iter();
        PathRule {
            verbs: Set::of(rule, "verbs"),
            paths: paths.filter_map(|path| path.as_str().map(str::to_owned)).collect(),
        }
    }

    /// A path matches itself and all paths below it, with or without `*` at its end.
    fn matches(&self, verb: &str, path: &str) -> bool {
        self.verbs.has(verb)
            && self.paths.iter().any(|rule| {
                let prefix = rule.trim_end_matches('*').trim_end_matches('/');
                rule == "*"
                    || rule == path
                    || path.strip_prefix(prefix).is_some_and(|rest| rest.starts_with('/'))
            })
    }
}

/// The number that a flow's queues are drawn from.
pub fn flow_hash(schema: &FlowSchema, subject: &Subject<'_>, request: &AccessRequest<'_>) -> u64 {
    let flow = match schema.distinguisher {
        None => "",
        Some(Distinguisher::User) => subject.name,
        Some(Distinguisher::Namespace) => request.namespace(),
    };
    // FNV-1a. The shuffle needs all bits, so they are mixed at the end (the finalizer of splitmix64).
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in schema.name.bytes().chain([0xff]).chain(flow.bytes()) {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authorization::RequestedResource;
    use crate::flow_control::bootstrap::defaults;

    fn schemas() -> Vec<FlowSchema> {
        let objects: Vec<Value> = defaults().into_iter().map(|default| default.object).collect();
        let (levels, schemas): (Vec<&Value>, Vec<&Value>) =
            objects.iter().partition(|object| object["kind"] == "PriorityLevelConfiguration");
        let levels = levels.iter().map(|level| access::text(level, &["metadata", "name"]).to_owned());
        flow_schemas(schemas, &levels.collect())
    }

    fn matched(user: &str, groups: &[&str], request: AccessRequest<'_>) -> String {
        let groups: Vec<String> = groups.iter().map(|group| (*group).to_owned()).collect();
        let subject = Subject { name: user, groups: &groups };
        let schemas = schemas();
        // What matches nothing belongs to the last one.
        let found = schemas.iter().find(|schema| schema.matches(&subject, &request));
        found.or(schemas.last()).unwrap().name.clone()
    }

    fn resource<'a>(
        verb: &'a str,
        group: &'a str,
        resource: &'a str,
        namespace: &'a str,
    ) -> AccessRequest<'a> {
        let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
        let asked =
            RequestedResource { group, resource, subresource, namespace, ..RequestedResource::default() };
        AccessRequest::resource(verb, asked)
    }

    #[test]
    fn requests_match_the_default_schemas_as_upstream() {
        const ALL: &str = "system:authenticated";
        let pods = || resource("list", "", "pods", "ns");
        for (expected, user, groups, request) in [
            ("exempt", "admin", &["system:masters", ALL][..], pods()),
            ("global-default", "jane", &[ALL][..], pods()),
            ("catch-all", "jane", &[][..], pods()),
            (
                "probes",
                "system:anonymous",
                &["system:unauthenticated"][..],
                AccessRequest::path("get", "/livez/ping"),
            ),
            ("global-default", "jane", &[ALL][..], AccessRequest::path("get", "/livezz")),
            ("system-nodes", "system:node:a", &["system:nodes", ALL][..], pods()),
            (
                "system-node-high",
                "system:node:a",
                &["system:nodes", ALL][..],
                resource("patch", "", "nodes/status", ""),
            ),
            (
                "system-nodes",
                "system:node:a",
                &["system:nodes", ALL][..],
                resource("get", "", "nodes/proxy", ""),
            ),
            (
                "system-leader-election",
                "system:kube-scheduler",
                &[ALL][..],
                resource("update", "coordination.k8s.io", "leases", "kube-system"),
            ),
            ("kube-scheduler", "system:kube-scheduler", &[ALL][..], pods()),
            (
                "kube-system-service-accounts",
                "system:serviceaccount:kube-system:x",
                &["system:serviceaccounts", ALL][..],
                pods(),
            ),
            ("service-accounts", "system:serviceaccount:ns:x", &["system:serviceaccounts", ALL][..], pods()),
        ] {
            assert_eq!(matched(user, groups, request), expected, "{user} {request:?}");
        }
    }

    #[test]
    fn mandatory_schemas_are_always_there() {
        let names: Vec<String> = flow_schemas([], &BTreeSet::new()).into_iter().map(|s| s.name).collect();
        assert_eq!(names, ["exempt", "catch-all"]);
    }

    #[test]
    fn flows_have_different_hashes() {
        let (all, groups) = (schemas(), []);
        let schema = all.iter().find(|schema| schema.name == "global-default").unwrap();
        let hash =
            |name| flow_hash(schema, &Subject { name, groups: &groups }, &resource("get", "", "pods", "a"));
        assert_ne!(hash("a"), hash("b"));
        assert_eq!(hash("a"), hash("a"));
    }
}
