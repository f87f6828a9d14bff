//! Identifiers of the kernel: one newtype a noun, cheap to clone, ordered, printed as they came.
//!
//! Rules of legality are those of Mesos (`is_legal`); where an id comes from is an argument of the machines, never decided here.

use std::{borrow::Borrow, cmp::Ordering, fmt, sync::Arc};

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Wraps a text as it is; see [`is_legal`] for the rule that the doors apply.
            pub fn new(text: impl Into<Arc<str>>) -> Self {
                Self(text.into())
            }

            /// The text of the id.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl Ord for $name {
            fn cmp(&self, other: &Self) -> Ordering {
                // Mostly both are clones of one.
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
    /// A machine's agent: `<master id>-S<n>`, given at its first registration.
    AgentId
);
id!(
    /// One container run of an executor on an agent.
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
    /// A leadership term of a master: a UUID in text.
    MasterId
);
id!(
    /// One outstanding offer: `<master id>-O<n>`.
    OfferId
);
id!(
    /// An operation on offered resources, named by its framework.
    OperationId
);
id!(
    /// One subscription of a scheduler: the value of `Mesos-Stream-Id`, a UUID in text.
    StreamId
);
id!(
    /// A task, unique within its framework.
    TaskId
);

/// A 16-byte UUID of a status update.
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

/// Whether Mesos takes this text as the id of a framework, task, executor…: 1 to 255 bytes, not `.` or `..`,
/// no slash, backslash or control character (upstream: `common/validation.cpp`).
pub fn is_legal(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 255
        && text != "."
        && text != ".."
        && !text.chars().any(|c| c == '/' || c == '\\' || c.is_control())
}
