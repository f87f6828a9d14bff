//! Roles: `*`, or names in a `/`-separated tree. The allocator shares resources between roles.

use std::{cmp::Ordering, fmt, sync::Arc};

/// The longest name of a role, where Mesos has no limit. Roles are directories of persistent volumes, so this is a path's
/// longest length (`PATH_MAX`); it also bounds the depth of the tree.
pub const ROLE_BYTES_MAX: usize = 4096;

/// A valid role name; `*` is the default role.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Role(Arc<str>);

/// An invalid role name. The texts are Mesos'.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)]
pub enum InvalidRole {
    #[error("Role '{0}' cannot start with a slash")]
    LeadingSlash(String),
    #[error("Role '{0}' cannot end with a slash")]
    TrailingSlash(String),
    #[error("Role '{0}' cannot contain two adjacent slashes")]
    AdjacentSlashes(String),
    #[error("Role names cannot be the empty string")]
    Empty,
    #[error("Role names cannot be longer than {ROLE_BYTES_MAX} bytes")]
    TooLong,
    /// `.`, `..` or `*` as a component.
    #[error("Role '{role}' cannot include '{component}' as a component")]
    ReservedComponent { role: String, component: String },
    #[error("Role component '{0}' is invalid because it starts with a dash")]
    LeadingDash(String),
    #[error("Role component '{0}' is invalid because it contains backspace or whitespace")]
    Whitespace(String),
}

impl Role {
    /// The default role, `*`.
    pub fn any() -> Self {
        Self("*".into())
    }

    /// Parses a name.
    pub fn parse(text: &str) -> Result<Self, InvalidRole> {
        if text.len() > ROLE_BYTES_MAX {
            return Err(InvalidRole::TooLong);
        }
        if text == "*" {
            return Ok(Self::any());
        }
        let role = || text.to_owned();
        if text.starts_with('/') {
            return Err(InvalidRole::LeadingSlash(role()));
        }
        if text.ends_with('/') {
            return Err(InvalidRole::TrailingSlash(role()));
        }
        if text.contains("//") {
            return Err(InvalidRole::AdjacentSlashes(role()));
        }
        if text.is_empty() {
            return Err(InvalidRole::Empty);
        }
        let banned = |c: char| matches!(c, ' ' | '\t' | '\n' | '\r' | '\x0b' | '\x0c' | '\x7f');
        for component in text.split('/') {
            let component = component.to_owned();
            if matches!(component.as_str(), "." | ".." | "*") {
                return Err(InvalidRole::ReservedComponent { role: role(), component });
            }
            if component.starts_with('-') {
                return Err(InvalidRole::LeadingDash(component));
            }
            if component.contains(banned) {
                return Err(InvalidRole::Whitespace(component));
            }
        }
        Ok(Self(text.into()))
    }

    /// The names of its ancestors from the top on, and its own.
    pub fn lineage(&self) -> impl Iterator<Item = &str> {
        let ancestors = self.0.match_indices('/').map(|(at, _)| &self.0[..at]);
        ancestors.chain(std::iter::once(&*self.0))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether `self` is `ancestor` or a descendant of it.
    pub fn is_within(&self, ancestor: &Role) -> bool {
        self == ancestor || self.is_strictly_within(ancestor)
    }

    /// Whether `self` is a descendant of `ancestor`.
    pub fn is_strictly_within(&self, ancestor: &Role) -> bool {
        self.0.len() > ancestor.0.len() + 1
            && self.0.starts_with(&*ancestor.0)
            && self.0.as_bytes()[ancestor.0.len()] == b'/'
    }
}

impl Ord for Role {
    fn cmp(&self, other: &Self) -> Ordering {
        // Fast path: the two are usually clones of one `Arc`.
        if Arc::ptr_eq(&self.0, &other.0) { Ordering::Equal } else { self.0.cmp(&other.0) }
    }
}

impl PartialOrd for Role {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Role({})", self.0)
    }
}
