//! A resource, and normal-form collections of resources.

use std::{collections::BTreeSet, fmt, sync::Arc};

use super::{Disk, Ranges, Scalar};
use crate::{labels::Labels, roles::Role};

/// A resource (Mesos `Resource`, in the form after reservation refinement).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub struct Resource {
    /// `cpus`, `mem` and `disk` (MiB), `gpus`, `ports`, or any other.
    pub name: Arc<str>,
    pub value: Value,
    /// The role that it is allocated to; set on offered and used resources.
    pub allocation_role: Option<Role>,
    /// The reservation stack, bottom to top; empty means unreserved.
    pub reservations: Vec<Reservation>,
    /// What a disk is beside its size.
    pub disk: Option<Arc<Disk>>,
    /// Whether it is revocable.
    pub revocable: bool,
    /// Whether several tasks can use it at once.
    pub shared: bool,
    /// The resource provider; `None` for the agent itself.
    pub provider_id: Option<String>,
}

/// The value of a resource.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Value {
    Scalar(Scalar),
    Ranges(Ranges),
    Set(BTreeSet<String>),
}

/// A level of a reservation stack.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub struct Reservation {
    pub kind: ReservationKind,
    pub role: Role,
    pub principal: Option<String>,
    pub labels: Labels,
}

/// The origin of a reservation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ReservationKind {
    /// The agent's `--resources` flag.
    Static,
    /// The RESERVE operation.
    Dynamic,
}

/// Resources in normal form, shared between clones (copy-on-write): amounts are read far more often than changed.
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub struct Resources(
    /// `None` exactly if there are no resources.
    Option<Arc<Vec<Resource>>>,
);

impl Resource {
    /// An unreserved, unallocated resource.
    pub fn scalar(name: &str, amount: Scalar) -> Self {
        Self::new(name, Value::Scalar(amount))
    }

    /// Unreserved ranges.
    pub fn ranges(name: &str, ranges: Ranges) -> Self {
        Self::new(name, Value::Ranges(ranges))
    }

    /// An unreserved, unallocated resource.
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
    /// No resources.
    pub const fn new() -> Self {
        Self(None)
    }

    /// The resources in normal order.
    pub fn iter(&self) -> std::slice::Iter<'_, Resource> {
        self.list().iter()
    }

    /// Whether there are no resources.
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    pub(super) fn list(&self) -> &[Resource] {
        self.0.as_deref().map_or(&[], Vec::as_slice)
    }

    /// Wraps a list that is in normal form already.
    pub(super) fn from_list(list: Vec<Resource>) -> Self {
        Self((!list.is_empty()).then(|| Arc::new(list)))
    }

    /// Changes the list (copy-on-write). The closure must keep the normal form.
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
