//! Identifiers: one newtype per noun, cheap to clone, ordered by their text.
//!
//! The validity rules are those of Mesos ([`is_legal`]). Ids come from the caller: nothing here generates one.

use std::{borrow::Borrow, cmp::Ordering, fmt, sync::Arc};

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Wraps a text without checking it; the HTTP servers check [`is_legal`].
            pub fn new(text: impl Into<Arc<str>>) -> Self {
                Self(text.into())
            }

            /// The id as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl Ord for $name {
            fn cmp(&self, other: &Self) -> Ordering {
                // Fast path: the two are usually clones of one `Arc`.
                if Arc::ptr_eq(&self.0, &other.0) { Ordering::Equal } else { self.0.cmp(&other.0) }
            }
        }

        impl PartialOrd for $name {
            fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
                Some(self.cmp(other))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({})", stringify!($name), self.0)
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self(text.into())
            }
        }

        impl From<String> for $name {
            fn from(text: String) -> Self {
                Self(text.into())
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
    };
}

id!(
    /// An agent: `<master id>-S<n>`, assigned by the master at the first registration.
    AgentId
);
id!(
    /// One run of an executor's container on an agent.
    ContainerId
);
id!(
    /// An executor, unique within its framework and agent.
    ExecutorId
);
id!(
    /// A framework (scheduler): `<master id>-<nnnn>`.
    FrameworkId
);
id!(
    /// A master process: a UUID in text, new at each start.
    MasterId
);
id!(
    /// An outstanding offer: `<master id>-O<n>`.
    OfferId
);
id!(
    /// An offer operation, named by its framework.
    OperationId
);
id!(
    /// A scheduler's subscription: the `Mesos-Stream-Id`, a UUID in text.
    StreamId
);
id!(
    /// A task, unique within its framework.
    TaskId
);

/// The 16-byte UUID of a status update.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UpdateId(pub [u8; 16]);

impl fmt::Debug for UpdateId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("UpdateId(")?;
        for byte in self.0 {
            write!(f, "{byte:02x}")?;
        }
        f.write_str(")")
    }
}

/// Why a text is no id. The texts are Mesos'.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)]
pub enum InvalidId {
    #[error("ID must not be empty")]
    Empty,
    #[error("ID must not be greater than {ID_BYTES_MAX} characters")]
    TooLong,
    /// `.` or `..`
    #[error("'{0}' is disallowed")]
    Dots(String),
    /// A slash, a backslash or a control character.
    #[error("'{0}' contains invalid characters")]
    Characters(String),
}

/// The longest id: ids are names of directories (`NAME_MAX`).
pub const ID_BYTES_MAX: usize = 255;

/// Checks the id of a framework, task, executor or persistent volume (upstream: `common/validation.cpp`).
pub fn check(text: &str) -> Result<(), InvalidId> {
    if text.is_empty() {
        return Err(InvalidId::Empty);
    }
    if text.len() > ID_BYTES_MAX {
        return Err(InvalidId::TooLong);
    }
    if text == "." || text == ".." {
        return Err(InvalidId::Dots(text.to_owned()));
    }
    match text.chars().any(|c| c == '/' || c == '\\' || c.is_control()) {
        true => Err(InvalidId::Characters(text.to_owned())),
        false => Ok(()),
    }
}

/// Whether [`check`] accepts this text.
pub fn is_legal(text: &str) -> bool {
    check(text).is_ok()
}
