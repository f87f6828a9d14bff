//! Containers by their paths: a container can be below another one, whose life it shares.

use std::{fmt, iter};

use crate::ids::{self, ContainerId, InvalidId};

/// The longest part of a path (Mesos' `MAX_CONTAINER_ID_LENGTH`): it is the name of a cgroup as well.
pub const PART_BYTES_MAX: usize = 242;

/// The longest path: each part is a directory in the one of its parent.
pub const DEPTH_MAX: usize = 16;

/// A container by its path: that of an executor, one without an executor, or one below another (Mesos' `ContainerID`, whose
/// `parent` is the path without its last part).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContainerPath {
    root: ContainerId,
    below: Vec<ContainerId>,
}

/// Why a path names no container. The texts are Mesos'.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)]
pub enum InvalidPath {
    #[error("{0}")]
    Id(#[from] InvalidId),
    #[error("'ContainerID.value' '{0}' exceeds the maximum length ({PART_BYTES_MAX})")]
    TooLong(String),
    /// A dot or a space: paths are printed with dots.
    #[error("'ContainerID.value' '{0}' contains invalid characters")]
    Characters(String),
    #[error("'ContainerID.parent' is invalid: {0}")]
    Parent(Box<InvalidPath>),
    #[error("containers can be nested {DEPTH_MAX} deep")]
    TooDeep,
}

impl ContainerPath {
    /// A container that is below no other.
    pub fn root(id: ContainerId) -> Self {
        Self { root: id, below: Vec::new() }
    }

    /// A container below this one.
    #[must_use]
    pub fn child(&self, id: ContainerId) -> Self {
        let below = self.below.iter().cloned().chain(iter::once(id)).collect();
        Self { root: self.root.clone(), below }
    }

    /// The path with these parts, outermost first; `None` without any.
    pub fn of_parts(parts: impl IntoIterator<Item = ContainerId>) -> Option<Self> {
        let mut parts = parts.into_iter();
        Some(Self { root: parts.next()?, below: parts.collect() })
    }

    /// Its parts, outermost first.
    pub fn parts(&self) -> impl Iterator<Item = &ContainerId> {
        iter::once(&self.root).chain(&self.below)
    }

    /// The outermost container.
    pub fn root_id(&self) -> &ContainerId {
        &self.root
    }

    /// The last part.
    pub fn id(&self) -> &ContainerId {
        self.below.last().unwrap_or(&self.root)
    }

    /// The container that it is below; `None` for an outermost one.
    pub fn parent(&self) -> Option<Self> {
        let (_, above) = self.below.split_last()?;
        Some(Self { root: self.root.clone(), below: above.to_vec() })
    }

    /// Whether it is below another one.
    pub fn is_nested(&self) -> bool {
        !self.below.is_empty()
    }

    /// Whether it is this container or one below it.
    pub fn is_within(&self, other: &Self) -> bool {
        self.root == other.root && self.below.starts_with(&other.below)
    }

    /// Checks the parts, innermost first (upstream: `slave/validation.cpp`).
    pub fn check(&self) -> Result<(), InvalidPath> {
        if self.below.len() >= DEPTH_MAX {
            return Err(InvalidPath::TooDeep);
        }
        let mut result = Ok(());
        for part in self.parts() {
            result = match (check_part(part.as_str()), result) {
                (Err(own), _) => Err(own),
                (Ok(()), Err(above)) => Err(InvalidPath::Parent(Box::new(above))),
                (Ok(()), Ok(())) => Ok(()),
            };
        }
        result
    }
}

fn check_part(id: &str) -> Result<(), InvalidPath> {
    ids::check(id)?;
    if id.len() > PART_BYTES_MAX {
        return Err(InvalidPath::TooLong(id.to_owned()));
    }
    match id.contains(['.', ' ']) {
        true => Err(InvalidPath::Characters(id.to_owned())),
        false => Ok(()),
    }
}

impl From<ContainerId> for ContainerPath {
    fn from(id: ContainerId) -> Self {
        Self::root(id)
    }
}

impl From<&ContainerId> for ContainerPath {
    fn from(id: &ContainerId) -> Self {
        Self::root(id.clone())
    }
}

/// As Mesos prints it: the parts with dots between them.
impl fmt::Display for ContainerPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.root)?;
        self.below.iter().try_for_each(|part| write!(f, ".{part}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> ContainerPath {
        ContainerPath::of_parts(text.split('/').map(ContainerId::from)).unwrap()
    }

    #[test]
    fn a_path_has_a_parent_until_its_root() {
        let deep = path("a/b/c");
        assert_eq!(
            (deep.to_string().as_str(), deep.id().as_str(), deep.root_id().as_str()),
            ("a.b.c", "c", "a")
        );
        assert_eq!(deep.parent(), Some(path("a/b")));
        assert_eq!(deep.parent().and_then(|p| p.parent()), Some(path("a")));
        assert_eq!(path("a").parent(), None);
        assert!(deep.is_nested() && !path("a").is_nested());
        assert_eq!(path("a").child("b".into()), path("a/b"));
        let within = ["a", "a/b", "a/b/c"].map(|other| deep.is_within(&path(other)));
        assert_eq!(within, [true; 3]);
        let outside = ["b", "a/c", "a/b/c/d", "a/b/d"].map(|other| deep.is_within(&path(other)));
        assert_eq!(outside, [false; 4]);
    }

    #[test]
    fn parts_are_checked_as_in_mesos() {
        let why = |parts: &[&str]| {
            let path = ContainerPath::of_parts(parts.iter().map(|part| ContainerId::from(*part))).unwrap();
            path.check().err().map(|error| error.to_string()).unwrap_or_default()
        };
        let long = "x".repeat(243);
        let table: [(&[&str], &str); 8] = [
            (&["a", "b"], ""),
            (&["a", ""], "ID must not be empty"),
            (&["a", ".."], "'..' is disallowed"),
            (&["a", "b/c"], "'b/c' contains invalid characters"),
            (&["a", "b.c"], "'ContainerID.value' 'b.c' contains invalid characters"),
            (&["a b"], "'ContainerID.value' 'a b' contains invalid characters"),
            (&["", "b"], "'ContainerID.parent' is invalid: ID must not be empty"),
            (
                &["", "b", "c"],
                "'ContainerID.parent' is invalid: 'ContainerID.parent' is invalid: ID must not be empty",
            ),
        ];
        for (parts, expected) in table {
            assert_eq!(why(parts), expected, "{parts:?}");
        }
        assert_eq!(why(&[&long]), format!("'ContainerID.value' '{long}' exceeds the maximum length (242)"));
        assert_eq!(why(&["a"; 17]), "containers can be nested 16 deep");
        assert_eq!(why(&["a"; 16]), "");
    }
}
