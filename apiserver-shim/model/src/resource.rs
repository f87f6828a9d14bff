//! The served resources, one row each; used by discovery, routing, decoding and printing.

mod group_resource;

pub use group_resource::GroupResource;

use std::fmt;

/// A verb of the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum Verb {
    Create,
    Delete,
    DeleteCollection,
    Get,
    List,
    Patch,
    Update,
    Watch,
}

impl Verb {
    /// The name in discovery and authorization.
    pub const fn as_str(self) -> &'static str {
        match self {
            Verb::Create => "create",
            Verb::Delete => "delete",
            Verb::DeleteCollection => "deletecollection",
            Verb::Get => "get",
            Verb::List => "list",
            Verb::Patch => "patch",
            Verb::Update => "update",
            Verb::Watch => "watch",
        }
    }
}

/// Group, version and kind of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KindRef<'a> {
    /// API group; empty for the core group.
    pub group: &'a str,
    /// Version in the group.
    pub version: &'a str,
    /// Kind.
    pub kind: &'a str,
}

impl KindRef<'_> {
    /// `group/version`, or `version` alone in the core group.
    pub fn api_version(&self) -> String {
        api_version(self.group, self.version)
    }

    /// The owned form.
    pub fn to_owned(&self) -> GroupVersionKind {
        GroupVersionKind {
            group: self.group.to_owned(),
            version: self.version.to_owned(),
            kind: self.kind.to_owned(),
        }
    }
}

/// Owned group, version and kind; [`KindRef`] is the borrowed form.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupVersionKind {
    /// API group; empty for the core group.
    pub group: String,
    /// Version in the group.
    pub version: String,
    /// Kind.
    pub kind: String,
}

impl GroupVersionKind {
    /// The borrowed form.
    pub fn as_ref(&self) -> KindRef<'_> {
        KindRef { group: &self.group, version: &self.version, kind: &self.kind }
    }
}

/// A subresource of a served resource: `status`, `scale`, `log`…
#[derive(Debug, Clone)]
pub struct ServedSubresource {
    /// Last path segment.
    pub name: String,
    /// The kind of its request and response bodies.
    pub kind: GroupVersionKind,
    /// Supported verbs.
    pub verbs: Vec<Verb>,
}

/// A served resource: names, verbs, subresources.
#[derive(Debug, Clone)]
pub struct Resource {
    /// API group; empty for the core group.
    pub group: String,
    /// Version in the group.
    pub version: String,
    /// Path segment, plural and lower case.
    pub plural: String,
    /// Lower-case singular.
    pub singular: String,
    /// Kind of its objects.
    pub kind: String,
    /// Whether objects live in a namespace.
    pub namespaced: bool,
    /// Short names for kubectl.
    pub short_names: Vec<String>,
    /// Categories such as `all`.
    pub categories: Vec<String>,
    /// Supported verbs.
    pub verbs: Vec<Verb>,
    /// Subresources of its objects.
    pub subresources: Vec<ServedSubresource>,
    /// The group whose storage has the objects: its own, except for `events.k8s.io`, which shares the core group's
    /// Events.
    pub storage_group: String,
}

impl Resource {
    /// `group/version`, or `version` alone in the core group.
    pub fn api_version(&self) -> String {
        api_version(&self.group, &self.version)
    }

    /// `plural.group`, or `plural` alone in the core group, as in error messages.
    pub fn qualified(&self) -> String {
        if self.group.is_empty() { self.plural.clone() } else { format!("{}.{}", self.plural, self.group) }
    }

    /// Its name without the version.
    pub fn group_resource(&self) -> GroupResource {
        GroupResource::new(&self.group, &self.plural)
    }

    /// Whether this is the resource `plural` of `group`, in any version.
    pub fn is(&self, group: &str, plural: &str) -> bool {
        self.group == group && self.plural == plural
    }

    /// The kind of its objects.
    pub fn kind_ref(&self) -> KindRef<'_> {
        KindRef { group: &self.group, version: &self.version, kind: &self.kind }
    }

    /// The subresource called `name`.
    pub fn subresource(&self, name: &str) -> Option<&ServedSubresource> {
        self.subresources.iter().find(|s| s.name == name)
    }

    /// Whether `verb` is allowed.
    pub fn allows(&self, verb: Verb) -> bool {
        self.verbs.contains(&verb)
    }

    /// The store key prefix of its objects: `/registry/<group or core>/<plural>/`.
    pub fn storage_prefix(&self) -> String {
        let group = if self.storage_group.is_empty() { "core" } else { &self.storage_group };
        ["/registry/", group, "/", &self.plural, "/"].concat()
    }
}

impl AsRef<Resource> for Resource {
    fn as_ref(&self) -> &Resource {
        self
    }
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.qualified())
    }
}

/// `group/version`, or `version` alone in the core group.
pub fn api_version(group: &str, version: &str) -> String {
    if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") }
}

/// Splits an `apiVersion` into group and version.
pub fn split_api_version(api_version: &str) -> (&str, &str) {
    api_version.split_once('/').unwrap_or(("", api_version))
}

/// The built-in resources, group by group.
pub fn builtin() -> Vec<Resource> {
    TABLE.iter().map(Row::to_resource).collect()
}

use Verb::*;

const FULL: &[Verb] = &[Create, Delete, DeleteCollection, Get, List, Patch, Update, Watch];
const NO_COLLECTION_DELETE: &[Verb] = &[Create, Delete, Get, List, Patch, Update, Watch];
const CREATE: &[Verb] = &[Create];
const GET: &[Verb] = &[Get];
const STREAM: &[Verb] = &[Create, Get];
const PROXY: &[Verb] = &[Create, Delete, Get, Patch, Update];
const WRITE: &[Verb] = &[Get, Patch, Update];

const fn core(kind: &'static str) -> KindRef<'static> {
    KindRef { group: "", version: "v1", kind }
}
const fn apps(kind: &'static str) -> KindRef<'static> {
    KindRef { group: "apps", version: "v1", kind }
}
const SCALE: KindRef<'static> = KindRef { group: "autoscaling", version: "v1", kind: "Scale" };

/// A row of the table of built-in resources.
struct Row {
    group: &'static str,
    version: &'static str,
    plural: &'static str,
    singular: &'static str,
    kind: &'static str,
    namespaced: bool,
    short_names: &'static [&'static str],
    categories: &'static [&'static str],
    verbs: &'static [Verb],
    subresources: &'static [SubresourceRow],
    storage_group: &'static str,
}

type SubresourceRow = (&'static str, KindRef<'static>, &'static [Verb]);

const fn sub(name: &'static str, kind: KindRef<'static>, verbs: &'static [Verb]) -> SubresourceRow {
    (name, kind, verbs)
}

impl Row {
    fn to_resource(&self) -> Resource {
        let owned = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect();
        let subresource = |(name, kind, verbs): &SubresourceRow| ServedSubresource {
            name: (*name).to_owned(),
            kind: kind.to_owned(),
            verbs: verbs.to_vec(),
        };
        Resource {
            group: self.group.to_owned(),
            version: self.version.to_owned(),
            plural: self.plural.to_owned(),
            singular: self.singular.to_owned(),
            kind: self.kind.to_owned(),
            namespaced: self.namespaced,
            short_names: owned(self.short_names),
            categories: owned(self.categories),
            verbs: self.verbs.to_vec(),
            subresources: self.subresources.iter().map(subresource).collect(),
            storage_group: self.storage_group.to_owned(),
        }
    }
}

const fn row(
    group: &'static str,
    version: &'static str,
    plural: &'static str,
    singular: &'static str,
    kind: &'static str,
    namespaced: bool,
) -> Row {
    Row {
        group,
        version,
        plural,
        singular,
        kind,
        namespaced,
        short_names: &[],
        categories: &[],
        verbs: FULL,
        subresources: &[],
        storage_group: group,
    }
}

impl Row {
    const fn short(mut self, names: &'static [&'static str]) -> Self {
        self.short_names = names;
        self
    }
    const fn in_all(mut self) -> Self {
        self.categories = &["all"];
        self
    }
    const fn verbs(mut self, verbs: &'static [Verb]) -> Self {
        self.verbs = verbs;
        self
    }
    const fn with(mut self, subresources: &'static [SubresourceRow]) -> Self {
        self.subresources = subresources;
        self
    }
    const fn stored_in(mut self, group: &'static str) -> Self {
        self.storage_group = group;
        self
    }
}

static TABLE: &[Row] = &[
    row("", "v1", "bindings", "binding", "Binding", true).verbs(CREATE),
    row("", "v1", "configmaps", "configmap", "ConfigMap", true).short(&["cm"]),
    row("", "v1", "endpoints", "endpoints", "Endpoints", true).short(&["ep"]),
    row("", "v1", "events", "event", "Event", true).short(&["ev"]),
    row("", "v1", "namespaces", "namespace", "Namespace", false)
        .short(&["ns"])
        .verbs(NO_COLLECTION_DELETE)
        .with(&[sub("finalize", core("Namespace"), &[Update]), sub("status", core("Namespace"), WRITE)]),
    row("", "v1", "nodes", "node", "Node", false)
        .short(&["no"])
        .with(&[sub("proxy", core("NodeProxyOptions"), PROXY), sub("status", core("Node"), WRITE)]),
    row("", "v1", "pods", "pod", "Pod", true).short(&["po"]).in_all().with(&[
        sub("attach", core("PodAttachOptions"), STREAM),
        sub("binding", core("Binding"), CREATE),
        sub("ephemeralcontainers", core("Pod"), WRITE),
        sub("eviction", KindRef { group: "policy", version: "v1", kind: "Eviction" }, CREATE),
        sub("exec", core("PodExecOptions"), STREAM),
        sub("log", core("Pod"), GET),
        sub("portforward", core("PodPortForwardOptions"), STREAM),
        sub("proxy", core("PodProxyOptions"), PROXY),
        sub("resize", core("Pod"), WRITE),
        sub("status", core("Pod"), WRITE),
    ]),
    row("", "v1", "podtemplates", "podtemplate", "PodTemplate", true),
    row("", "v1", "secrets", "secret", "Secret", true),
    row("", "v1", "serviceaccounts", "serviceaccount", "ServiceAccount", true).short(&["sa"]).with(&[sub(
        "token",
        KindRef { group: "authentication.k8s.io", version: "v1", kind: "TokenRequest" },
        CREATE,
    )]),
    row("", "v1", "services", "service", "Service", true)
        .short(&["svc"])
        .in_all()
        .with(&[sub("proxy", core("ServiceProxyOptions"), PROXY), sub("status", core("Service"), WRITE)]),
    row("apps", "v1", "controllerrevisions", "controllerrevision", "ControllerRevision", true),
    row("apps", "v1", "deployments", "deployment", "Deployment", true)
        .short(&["deploy"])
        .in_all()
        .with(&[sub("scale", SCALE, WRITE), sub("status", apps("Deployment"), WRITE)]),
    row("apps", "v1", "replicasets", "replicaset", "ReplicaSet", true)
        .short(&["rs"])
        .in_all()
        .with(&[sub("scale", SCALE, WRITE), sub("status", apps("ReplicaSet"), WRITE)]),
    row("events.k8s.io", "v1", "events", "event", "Event", true).short(&["ev"]).stored_in(""),
    row("scheduling.k8s.io", "v1", "priorityclasses", "priorityclass", "PriorityClass", false).short(&["pc"]),
    row("coordination.k8s.io", "v1", "leases", "lease", "Lease", true),
    row("discovery.k8s.io", "v1", "endpointslices", "endpointslice", "EndpointSlice", true),
    row("authentication.k8s.io", "v1", "selfsubjectreviews", "selfsubjectreview", "SelfSubjectReview", false)
        .verbs(CREATE),
    row("authentication.k8s.io", "v1", "tokenreviews", "tokenreview", "TokenReview", false).verbs(CREATE),
    row(
        "authorization.k8s.io",
        "v1",
        "localsubjectaccessreviews",
        "localsubjectaccessreview",
        "LocalSubjectAccessReview",
        true,
    )
    .verbs(CREATE),
    row(
        "authorization.k8s.io",
        "v1",
        "selfsubjectaccessreviews",
        "selfsubjectaccessreview",
        "SelfSubjectAccessReview",
        false,
    )
    .verbs(CREATE),
    row(
        "authorization.k8s.io",
        "v1",
        "selfsubjectrulesreviews",
        "selfsubjectrulesreview",
        "SelfSubjectRulesReview",
        false,
    )
    .verbs(CREATE),
    row(
        "authorization.k8s.io",
        "v1",
        "subjectaccessreviews",
        "subjectaccessreview",
        "SubjectAccessReview",
        false,
    )
    .verbs(CREATE),
];
