//! Names a resource by group and plural, in any version: what controllers and the scheduler hold instead of a row of the
//! catalog, which can change while they run.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// A resource's name. Built-in names are constants; a clone never copies text.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupResource {
    group: Text,
    resource: Text,
}

impl GroupResource {
    /// The name of a built-in resource.
    pub const fn builtin(group: &'static str, resource: &'static str) -> Self {
        GroupResource { group: Text::Static(group), resource: Text::Static(resource) }
    }

    /// Any resource's name.
    pub fn new(group: &str, resource: &str) -> Self {
        GroupResource { group: Text::Shared(group.into()), resource: Text::Shared(resource.into()) }
    }

    /// API group; empty for the core group.
    pub fn group(&self) -> &str {
        self.group.as_str()
    }

    /// Plural, lower case.
    pub fn resource(&self) -> &str {
        self.resource.as_str()
    }

    /// Group and plural, to match on.
    pub fn parts(&self) -> (&str, &str) {
        (self.group(), self.resource())
    }
}

impl fmt::Display for GroupResource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.parts() {
            ("", resource) => f.write_str(resource),
            (group, resource) => write!(f, "{resource}.{group}"),
        }
    }
}

impl fmt::Debug for GroupResource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Text that is a constant or shared.
#[derive(Clone)]
enum Text {
    Static(&'static str),
    Shared(Arc<str>),
}

impl Text {
    fn as_str(&self) -> &str {
        match self {
            Text::Static(text) => text,
            Text::Shared(text) => text,
        }
    }
}

impl PartialEq for Text {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for Text {}

impl PartialOrd for Text {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Text {
    fn cmp(&self, other: &Self) -> Ordering {
        self.as_str().cmp(other.as_str())
    }
}

impl Hash for Text {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_str().hash(state);
    }
}
