//! The served resources, one row each; used by discovery, routing, decoding and printing.

mod group_resource;

pub use group_resource::GroupResource;

use std::fmt;
use std::sync::Arc;

use crate::schema::roots::{Root, root};
use crate::schema::{ObjectType, Schema};
use crate::table::{self, Column};

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
    /// Every verb.
    pub const ALL: [Verb; 8] = [
        Verb::Create,
        Verb::Delete,
        Verb::DeleteCollection,
        Verb::Get,
        Verb::List,
        Verb::Patch,
        Verb::Update,
        Verb::Watch,
    ];

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
    /// The type of those bodies; none where there is no body, as for `log` and `exec`.
    pub object_type: Option<ObjectType>,
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
    /// The version that its objects are stored in.
    pub storage_version: String,
    /// The type of its objects.
    pub object_type: ObjectType,
    /// The columns of its tables.
    pub columns: Vec<Column>,
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

    /// Whether its objects are served as they are stored.
    pub fn is_stored_version(&self) -> bool {
        self.group == self.storage_group && self.version == self.storage_version
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

/// The built-in resources, group by group; `schema` is that of the built-in kinds.
pub fn builtin(schema: &Arc<Schema>) -> Vec<Resource> {
    TABLE.iter().map(|row| row.to_resource(schema)).collect()
}

/// The kinds of the built-in resources with their types.
pub(crate) fn builtin_roots() -> impl Iterator<Item = &'static Root> {
    TABLE.iter().map(|row| &row.root)
}

use Verb::*;
use k8s_openapi::api::{
    apps::v1 as apps, authentication::v1 as authentication, authorization::v1 as authorization,
    coordination::v1 as coordination, core::v1 as core, discovery::v1 as discovery, events::v1 as events,
    scheduling::v1 as scheduling,
};

const FULL: &[Verb] = &Verb::ALL;
const NO_COLLECTION_DELETE: &[Verb] = &[Create, Delete, Get, List, Patch, Update, Watch];
const CREATE: &[Verb] = &[Create];
const GET: &[Verb] = &[Get];
const STREAM: &[Verb] = &[Create, Get];
const PROXY: &[Verb] = &[Create, Delete, Get, Patch, Update];
const WRITE: &[Verb] = &[Get, Patch, Update];

const fn core_kind(kind: &'static str) -> KindRef<'static> {
    KindRef { group: "", version: "v1", kind }
}
const fn apps_kind(kind: &'static str) -> KindRef<'static> {
    KindRef { group: "apps", version: "v1", kind }
}
const SCALE: KindRef<'static> = KindRef { group: "autoscaling", version: "v1", kind: "Scale" };

/// A row of the table of built-in resources.
struct Row {
    /// The kind of its objects and their type.
    root: Root,
    plural: &'static str,
    singular: &'static str,
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
    fn to_resource(&self, schema: &Arc<Schema>) -> Resource {
        let owned = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect();
        let subresource = |(name, kind, verbs): &SubresourceRow| ServedSubresource {
            name: (*name).to_owned(),
            kind: kind.to_owned(),
            object_type: schema.object_type(*kind),
            verbs: verbs.to_vec(),
        };
        let kind = self.root.kind;
        Resource {
            group: kind.group.to_owned(),
            version: kind.version.to_owned(),
            plural: self.plural.to_owned(),
            singular: self.singular.to_owned(),
            kind: kind.kind.to_owned(),
            namespaced: self.namespaced,
            short_names: owned(self.short_names),
            categories: owned(self.categories),
            verbs: self.verbs.to_vec(),
            subresources: self.subresources.iter().map(subresource).collect(),
            storage_group: self.storage_group.to_owned(),
            storage_version: kind.version.to_owned(),
            object_type: schema.object_type(kind).expect("invariant: every built-in kind has a root"),
            columns: table::builtin_columns(&kind.api_version(), self.plural),
        }
    }
}

const fn row(root: Root, plural: &'static str, singular: &'static str, namespaced: bool) -> Row {
    Row {
        storage_group: root.kind.group,
        root,
        plural,
        singular,
        namespaced,
        short_names: &[],
        categories: &[],
        verbs: FULL,
        subresources: &[],
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
    row(root::<core::Binding>("", "v1", "Binding"), "bindings", "binding", true).verbs(CREATE),
    row(root::<core::ConfigMap>("", "v1", "ConfigMap"), "configmaps", "configmap", true).short(&["cm"]),
    row(root::<core::Endpoints>("", "v1", "Endpoints"), "endpoints", "endpoints", true).short(&["ep"]),
    row(root::<core::Event>("", "v1", "Event"), "events", "event", true).short(&["ev"]),
    row(root::<core::Namespace>("", "v1", "Namespace"), "namespaces", "namespace", false)
        .short(&["ns"])
        .verbs(NO_COLLECTION_DELETE)
        .with(&[
            sub("finalize", core_kind("Namespace"), &[Update]),
            sub("status", core_kind("Namespace"), WRITE),
        ]),
    row(root::<core::Node>("", "v1", "Node"), "nodes", "node", false)
        .short(&["no"])
        .with(&[sub("proxy", core_kind("NodeProxyOptions"), PROXY), sub("status", core_kind("Node"), WRITE)]),
    row(root::<core::Pod>("", "v1", "Pod"), "pods", "pod", true).short(&["po"]).in_all().with(&[
        sub("attach", core_kind("PodAttachOptions"), STREAM),
        sub("binding", core_kind("Binding"), CREATE),
        sub("ephemeralcontainers", core_kind("Pod"), WRITE),
        sub("eviction", KindRef { group: "policy", version: "v1", kind: "Eviction" }, CREATE),
        sub("exec", core_kind("PodExecOptions"), STREAM),
        sub("log", core_kind("Pod"), GET),
        sub("portforward", core_kind("PodPortForwardOptions"), STREAM),
        sub("proxy", core_kind("PodProxyOptions"), PROXY),
        sub("resize", core_kind("Pod"), WRITE),
        sub("status", core_kind("Pod"), WRITE),
    ]),
    row(root::<core::PodTemplate>("", "v1", "PodTemplate"), "podtemplates", "podtemplate", true),
    row(root::<core::Secret>("", "v1", "Secret"), "secrets", "secret", true),
    row(root::<core::ServiceAccount>("", "v1", "ServiceAccount"), "serviceaccounts", "serviceaccount", true)
        .short(&["sa"])
        .with(&[sub(
            "token",
            KindRef { group: "authentication.k8s.io", version: "v1", kind: "TokenRequest" },
            CREATE,
        )]),
    row(root::<core::Service>("", "v1", "Service"), "services", "service", true)
        .short(&["svc"])
        .in_all()
        .with(&[
            sub("proxy", core_kind("ServiceProxyOptions"), PROXY),
            sub("status", core_kind("Service"), WRITE),
        ]),
    row(
        root::<apps::ControllerRevision>("apps", "v1", "ControllerRevision"),
        "controllerrevisions",
        "controllerrevision",
        true,
    ),
    row(root::<apps::Deployment>("apps", "v1", "Deployment"), "deployments", "deployment", true)
        .short(&["deploy"])
        .in_all()
        .with(&[sub("scale", SCALE, WRITE), sub("status", apps_kind("Deployment"), WRITE)]),
    row(root::<apps::ReplicaSet>("apps", "v1", "ReplicaSet"), "replicasets", "replicaset", true)
        .short(&["rs"])
        .in_all()
        .with(&[sub("scale", SCALE, WRITE), sub("status", apps_kind("ReplicaSet"), WRITE)]),
    row(root::<events::Event>("events.k8s.io", "v1", "Event"), "events", "event", true)
        .short(&["ev"])
        .stored_in(""),
    row(
        root::<scheduling::PriorityClass>("scheduling.k8s.io", "v1", "PriorityClass"),
        "priorityclasses",
        "priorityclass",
        false,
    )
    .short(&["pc"]),
    row(root::<coordination::Lease>("coordination.k8s.io", "v1", "Lease"), "leases", "lease", true),
    row(
        root::<discovery::EndpointSlice>("discovery.k8s.io", "v1", "EndpointSlice"),
        "endpointslices",
        "endpointslice",
        true,
    ),
    row(
        root::<authentication::SelfSubjectReview>("authentication.k8s.io", "v1", "SelfSubjectReview"),
        "selfsubjectreviews",
        "selfsubjectreview",
        false,
    )
    .verbs(CREATE),
    row(
        root::<authentication::TokenReview>("authentication.k8s.io", "v1", "TokenReview"),
        "tokenreviews",
        "tokenreview",
        false,
    )
    .verbs(CREATE),
    row(
        root::<authorization::LocalSubjectAccessReview>(
            "authorization.k8s.io",
            "v1",
            "LocalSubjectAccessReview",
        ),
        "localsubjectaccessreviews",
        "localsubjectaccessreview",
        true,
    )
    .verbs(CREATE),
    row(
        root::<authorization::SelfSubjectAccessReview>(
            "authorization.k8s.io",
            "v1",
            "SelfSubjectAccessReview",
        ),
        "selfsubjectaccessreviews",
        "selfsubjectaccessreview",
        false,
    )
    .verbs(CREATE),
    row(
        root::<authorization::SelfSubjectRulesReview>("authorization.k8s.io", "v1", "SelfSubjectRulesReview"),
        "selfsubjectrulesreviews",
        "selfsubjectrulesreview",
        false,
    )
    .verbs(CREATE),
    row(
        root::<authorization::SubjectAccessReview>("authorization.k8s.io", "v1", "SubjectAccessReview"),
        "subjectaccessreviews",
        "subjectaccessreview",
        false,
    )
    .verbs(CREATE),
];
