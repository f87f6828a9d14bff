//! One resource, and collections of them.

use std::{collections::BTreeSet, fmt, sync::Arc};

use super::{Ranges, Scalar};
use crate::{labels::Labels, roles::Role};

/// An amount of one kind of thing, with all that makes it distinct (Mesos `Resource`, post-refinement form).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Resource {
    /// `cpus`, `mem` and `disk` (MiB), `gpus`, `ports`, or any other.
    pub name: Arc<str>,
    /// How much.
    pub value: Value,
    /// The role that it is allocated to, on offered and allocated resources.
    pub allocation_role: Option<Role>,
    /// Reservations, bottom to top; empty is unreserved.
    pub reservations: Vec<Reservation>,
    /// For disks only.
    pub disk: Option<Disk>,
    /// May be taken away.
    pub revocable: bool,
    /// May be used by several tasks at once.
    pub shared: bool,
    /// The resource provider, if not the agent.
    pub provider_id: Option<String>,
}

/// The amount of a resource.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Value {
    Scalar(Scalar),
    Ranges(Ranges),
    Set(BTreeSet<String>),
}

/// One level of a reservation stack.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub struct Reservation {
    pub kind: ReservationKind,
    pub role: Role,
    pub principal: Option<String>,
    pub labels: Labels,
}

/// Where a reservation comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ReservationKind {
    /// The agent's flags.
    Static,
    /// RESERVE.
    Dynamic,
}

/// What makes a disk distinct: carried whole, compared whole.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Disk {
    /// The encoded wire message.
    pub definition: bytes::Bytes,
    /// Whether it is one indivisible unit (a persistent volume, a mount, a block device).
    pub indivisible: bool,
}

/// A normal collection of resources. A clone shares it until one of both changes: most amounts are passed on, shown and
/// remembered more often than they change.
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub struct Resources(
    /// `None` where there is nothing, and only there.
    Option<Arc<Vec<Resource>>>,
);

impl Resource {
    /// An unreserved scalar.
    pub fn scalar(name: &str, amount: Scalar) -> Self {
        Self::new(name, Value::Scalar(amount))
    }

    /// Unreserved ranges.
    pub fn ranges(name: &str, ranges: Ranges) -> Self {
        Self::new(name, Value::Ranges(ranges))
    }

    /// An unreserved amount.
    pub fn new(name: &str, value: Value) -> Self {
        Self {
            name: name.into(),
            value,
            allocation_role: None,
            reservations: Vec::new(),
            disk: None,
            revocable: false,
            shared: false,
            provider_id: None,
        }
    }
}

impl Resources {
    /// Nothing.
    pub const fn new() -> Self {
        Self(None)
    }

    /// The resources, in their fixed order.
    pub fn iter(&self) -> std::slice::Iter<'_, Resource> {
        self.list().iter()
    }

    /// Whether there is nothing.
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    pub(super) fn list(&self) -> &[Resource] {
        self.0.as_deref().map_or(&[], Vec::as_slice)
    }

    /// What is in normal order already.
    pub(super) fn from_list(list: Vec<Resource>) -> Self {
        Self((!list.is_empty()).then(|| Arc::new(list)))
    }

    /// Changes the list, which is made its own first; the order must stay normal.
    pub(super) fn change<T>(&mut self, change: impl FnOnce(&mut Vec<Resource>) -> T) -> T {
        let list = Arc::make_mut(self.0.get_or_insert_default());
        let result = change(list);
        if list.is_empty() {
            self.0 = None;
        }
        result
    }
}

impl fmt::Debug for Resources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Resources").field(&self.list()).finish()
    }
}

impl IntoIterator for Resources {
    type Item = Resource;
    type IntoIter = std::vec::IntoIter<Resource>;
    fn into_iter(self) -> Self::IntoIter {
        self.0.map(Arc::unwrap_or_clone).unwrap_or_default().into_iter()
    }
}
