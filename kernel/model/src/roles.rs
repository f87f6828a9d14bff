//! Roles: `*`, or names in a `/`-separated tree, the units of fair sharing.

use std::{cmp::Ordering, fmt, sync::Arc};

/// A valid role name. `*` is the default role.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Role(Arc<str>);

/// A text that is no role name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("role '{text}' is invalid: {why}")]
pub struct InvalidRole {
    /// The refused text.
    pub text: String,
    /// The rule that it breaks.
    pub why: &'static str,
}

impl Role {
    /// The default role.
    pub fn any() -> Self {
        Self("*".into())
    }

    /// Parses a name by the rules of Mesos (upstream: `common/roles.cpp`).
    pub fn parse(text: &str) -> Result<Self, InvalidRole> {
        match Self::defect(text) {
            None => Ok(Self(text.into())),
            Some(why) => Err(InvalidRole { text: text.to_owned(), why }),
        }
    }

    fn defect(text: &str) -> Option<&'static str> {
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

    /// Whether `self` is `ancestor` or lies below it in the tree.
    pub fn is_within(&self, ancestor: &Role) -> bool {
        self == ancestor || self.is_strictly_within(ancestor)
    }

    /// Whether `self` lies below `ancestor` in the tree.
    pub fn is_strictly_within(&self, ancestor: &Role) -> bool {
        self.0.len() > ancestor.0.len() + 1
            && self.0.starts_with(&*ancestor.0)
            && self.0.as_bytes()[ancestor.0.len()] == b'/'
    }
}

impl Ord for Role {
    fn cmp(&self, other: &Self) -> Ordering {
        // Mostly both are clones of one.
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
