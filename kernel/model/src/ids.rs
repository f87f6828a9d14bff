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

/// Whether Mesos accepts this text as the id of a framework, task or executor: 1 to 255 bytes, not `.` or `..`, without
/// slash, backslash or control character (upstream: `common/validation.cpp`).
pub fn is_legal(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 255
        && text != "."
        && text != ".."
        && !text.chars().any(|c| c == '/' || c == '\\' || c.is_control())
}
