//! The served resources, one row each; used by discovery, routing, decoding and printing.

mod builtin;
mod group_resource;
pub mod priorities;

pub use builtin::builtin;
pub(crate) use builtin::builtin_roots;
pub use group_resource::GroupResource;

use std::fmt;

use crate::schema::ObjectType;
use crate::table::Column;

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
    /// Kind of its lists.
    pub list_kind: String,
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
    /// What a CustomResourceDefinition says of it; none for built-in resources.
    pub custom: Option<Custom>,
}

/// What a CustomResourceDefinition says of one version of its resource.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Custom {
    /// Whether clients may use it. A version that is not served may still be the storage version.
    pub is_served: bool,
    /// A warning that each response carries, because the version is deprecated.
    pub deprecation: Option<String>,
    /// The definition is being deleted, so that nothing can be created.
    pub terminating: bool,
    /// The store may have objects in other versions than the storage version, which only the converter can read.
    pub mixed_storage: bool,
    /// The fields of `selectableFields`, as in `spec.color`.
    pub selectable_fields: Vec<String>,
    /// The schema that OpenAPI v3 publishes; null if the definition has none.
    pub schema_v3: serde_json::Value,
    /// The schema that OpenAPI v2 publishes: less than v3 can say.
    pub schema_v2: serde_json::Value,
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
        self.is_storage_version() && !self.custom.as_ref().is_some_and(|custom| custom.mixed_storage)
    }

    /// Whether its objects are written in this version.
    pub fn is_storage_version(&self) -> bool {
        self.group == self.storage_group && self.version == self.storage_version
    }

    /// The verbs that discovery shows: nothing can be written to a resource whose definition is being deleted.
    pub fn discovered_verbs(&self) -> Vec<Verb> {
        let terminating = self.custom.as_ref().is_some_and(|custom| custom.terminating);
        let writes = |verb: &Verb| matches!(verb, Verb::Create | Verb::Patch | Verb::Update);
        self.verbs.iter().copied().filter(|verb| !terminating || !writes(verb)).collect()
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
