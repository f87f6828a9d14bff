//! Roles: `*`, or names in a `/`-separated tree. The allocator shares resources between roles.

use std::{cmp::Ordering, fmt, sync::Arc};

/// The longest name of a role, where Mesos has no limit. Roles are directories of persistent volumes, so this is a path's
/// longest length (`PATH_MAX`); it also bounds the depth of the tree.
pub const ROLE_BYTES_MAX: usize = 4096;

/// A valid role name; `*` is the default role.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Role(Arc<str>);

/// An invalid role name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("role '{text}' is invalid: {rule}")]
#[allow(missing_docs)]
pub struct InvalidRole {
    pub text: String,
    pub rule: &'static str,
}

impl Role {
    /// The default role, `*`.
    pub fn any() -> Self {
        Self("*".into())
    }

    /// Parses a name (upstream's rules: `common/roles.cpp`).
    pub fn parse(text: &str) -> Result<Self, InvalidRole> {
        match Self::rule_broken(text) {
            None => Ok(Self(text.into())),
            Some(rule) => Err(InvalidRole { text: text.to_owned(), rule }),
        }
    }

    /// The names of its ancestors from the top on, and its own.
    pub fn lineage(&self) -> impl Iterator<Item = &str> {
        let ancestors = self.0.match_indices('/').map(|(at, _)| &self.0[..at]);
        ancestors.chain(std::iter::once(&*self.0))
    }

    fn rule_broken(text: &str) -> Option<&'static str> {
        if text.len() > ROLE_BYTES_MAX {
            return Some("it is longer than 4096 bytes");
        }
        if text == "*" {
            return None;
        }
        if text.is_empty() {
            return Some("it is empty");
        }
        if text.starts_with('-') {
            return Some("it starts with '-'");
        }
        for part in text.split('/') {
            match part {
                "" => return Some("it has an empty component"),
                "." | ".." | "*" => return Some("a component is '.', '..' or '*'"),
                _ => {}
            }
        }
        let banned = |c: char| matches!(c, ' ' | '\t' | '\n' | '\r' | '\x0b' | '\x0c' | '\x7f');
        text.contains(banned).then_some("it has white space or a delete character")
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
