//! What is served: one row per resource. Discovery, routing, decoding and printing all read this table, so that adding a
//! kind is one row here, one name in `schema/roots.rs` and one file of rules in `shim-core`.

use std::fmt;

/// What a client may do with a resource.
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
    /// The word used in discovery and in authorisation.
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct KindRef {
    /// API group; empty for the core group.
    pub group: &'static str,
    /// Version in the group.
    pub version: &'static str,
    /// Kind.
    pub kind: &'static str,
}

impl KindRef {
    /// `group/version`, or `version` alone in the core group.
    pub fn api_version(&self) -> String {
        api_version(self.group, self.version)
    }
}

/// A door below an object: `/status`, `/scale`, `/log`…
#[derive(Debug)]
pub struct Subresource {
    /// Last path segment.
    pub name: &'static str,
    /// What is sent and received there.
    pub kind: KindRef,
    /// What it allows.
    pub verbs: &'static [Verb],
}

/// One served resource.
#[derive(Debug)]
pub struct Resource {
    /// API group; empty for the core group.
    pub group: &'static str,
    /// Version in the group.
    pub version: &'static str,
    /// Path segment, plural and lower case.
    pub plural: &'static str,
    /// Lower-case singular.
    pub singular: &'static str,
    /// Kind of its objects.
    pub kind: &'static str,
    /// Whether objects live in a namespace.
    pub namespaced: bool,
    /// kubectl's abbreviations.
    pub short_names: &'static [&'static str],
    /// Groups such as `all`.
    pub categories: &'static [&'static str],
    /// What it allows.
    pub verbs: &'static [Verb],
    /// What hangs below its objects.
    pub subresources: &'static [Subresource],
    /// The group whose storage it shares; its own but for `events.k8s.io`, which shares the core group's events.
    pub storage_group: &'static str,
}

impl Resource {
    /// `group/version`, or `version` alone in the core group.
    pub fn api_version(&self) -> String {
        api_version(self.group, self.version)
    }

    /// `plural.group`, or `plural` alone in the core group: how errors name a resource.
    pub fn qualified(&self) -> String {
        if self.group.is_empty() { self.plural.to_owned() } else { format!("{}.{}", self.plural, self.group) }
    }

    /// The kind of its objects.
    pub fn kind_ref(&self) -> KindRef {
        KindRef { group: self.group, version: self.version, kind: self.kind }
    }

    /// The subresource called `name`.
    pub fn subresource(&self, name: &str) -> Option<&'static Subresource> {
        self.subresources.iter().find(|s| s.name == name)
    }

    /// Whether `verb` is allowed.
    pub fn allows(&self, verb: Verb) -> bool {
        self.verbs.contains(&verb)
    }

    /// The store key prefix below which all its objects are: `/registry/<group or core>/<plural>/`.
    pub fn storage_prefix(&self) -> String {
        let group = if self.storage_group.is_empty() { "core" } else { self.storage_group };
        ["/registry/", group, "/", self.plural, "/"].concat()
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

/// The resource at a path.
pub fn find(group: &str, version: &str, plural: &str) -> Option<&'static Resource> {
    all().iter().find(|r| r.plural == plural && r.group == group && r.version == version)
}

/// The resource whose objects have this kind.
pub fn by_kind(group: &str, version: &str, kind: &str) -> Option<&'static Resource> {
    all().iter().find(|r| r.kind == kind && r.group == group && r.version == version)
}

/// Every served resource, group by group.
pub fn all() -> &'static [Resource] {
    TABLE
}

use Verb::*;

const FULL: &[Verb] = &[Create, Delete, DeleteCollection, Get, List, Patch, Update, Watch];
const NO_COLLECTION_DELETE: &[Verb] = &[Create, Delete, Get, List, Patch, Update, Watch];
const CREATE: &[Verb] = &[Create];
const GET: &[Verb] = &[Get];
const STREAM: &[Verb] = &[Create, Get];
const PROXY: &[Verb] = &[Create, Delete, Get, Patch, Update];
const WRITE: &[Verb] = &[Get, Patch, Update];

const fn core(kind: &'static str) -> KindRef {
    KindRef { group: "", version: "v1", kind }
}
const fn apps(kind: &'static str) -> KindRef {
    KindRef { group: "apps", version: "v1", kind }
}
const SCALE: KindRef = KindRef { group: "autoscaling", version: "v1", kind: "Scale" };

const fn sub(name: &'static str, kind: KindRef, verbs: &'static [Verb]) -> Subresource {
    Subresource { name, kind, verbs }
}

const fn row(
    group: &'static str,
    version: &'static str,
    plural: &'static str,
    singular: &'static str,
    kind: &'static str,
    namespaced: bool,
) -> Resource {
    Resource {
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

impl Resource {
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
    const fn with(mut self, subresources: &'static [Subresource]) -> Self {
        self.subresources = subresources;
        self
    }
    const fn stored_in(mut self, group: &'static str) -> Self {
        self.storage_group = group;
        self
    }
}

static TABLE: &[Resource] = &[
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
