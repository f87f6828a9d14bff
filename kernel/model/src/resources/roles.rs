//! Reservations and allocation: which roles may use a resource, and which role it is allocated to.

use super::{Reservation, Resource, Resources};
use crate::roles::Role;

impl Resource {
    /// The effective reservation: the top of the stack.
    pub fn reservation(&self) -> Option<&Reservation> {
        self.reservations.last()
    }

    /// Whether a framework in this role may be offered it: it is unreserved, or reserved to the role or an ancestor.
    pub fn is_allocatable_to(&self, role: &Role) -> bool {
        self.reservation().is_none_or(|reservation| role.is_within(&reservation.role))
    }
}

impl Resources {
    /// The resources that a framework in this role may be offered.
    pub fn allocatable_to(&self, role: &Role) -> Resources {
        self.filter(|r| r.is_allocatable_to(role))
    }

    /// The unreserved resources.
    pub fn unreserved(&self) -> Resources {
        self.filter(|r| r.reservations.is_empty())
    }

    /// The revocable resources.
    pub fn revocable(&self) -> Resources {
        self.filter(|r| r.revocable)
    }

    /// The resources that satisfy a predicate.
    pub fn filter(&self, keep: impl Fn(&Resource) -> bool) -> Resources {
        // A subset of a normal collection is normal.
        if self.iter().all(&keep) {
            return self.clone();
        }
        Resources::from_list(self.iter().filter(|r| keep(r)).cloned().collect())
    }

    /// The same resources, allocated to this role.
    pub fn allocated_to(&self, role: &Role) -> Resources {
        self.map_allocation(|_| Some(role.clone()))
    }

    /// The same resources, allocated to this role. Does not copy if none of them is allocated yet.
    pub fn into_allocated_to(mut self, role: &Role) -> Resources {
        if self.is_empty() || self.iter().any(|r| r.allocation_role.is_some()) {
            return self.allocated_to(role);
        }
        // One role for all keeps the order.
        self.change(|list| list.iter_mut().for_each(|r| r.allocation_role = Some(role.clone())));
        self
    }

    /// Allocates the unallocated resources to this role.
    pub fn allocate_by_default_to(&mut self, role: &Role) {
        if self.iter().any(|r| r.allocation_role.is_none()) {
            *self = self.map_allocation(|r| Some(r.allocation_role.clone().unwrap_or_else(|| role.clone())));
        }
    }

    /// The same resources without an allocation role.
    pub fn unallocated(&self) -> Resources {
        if self.iter().all(|r| r.allocation_role.is_none()) {
            return self.clone();
        }
        self.map_allocation(|_| None)
    }

    fn map_allocation(&self, role: impl Fn(&Resource) -> Option<Role>) -> Resources {
        if let [first, rest @ ..] = self.list()
            && rest.iter().all(|r| r.allocation_role == first.allocation_role)
        {
            // One role for all keeps the order and merges nothing.
            let mut all = self.clone();
            all.change(|list| list.iter_mut().for_each(|r| r.allocation_role = role(r)));
            return all;
        }
        self.iter()
            .map(|r| {
                let allocation_role = role(r);
                Resource { allocation_role, ..r.clone() }
            })
            .collect()
    }

    /// The allocation roles, each once, in ascending order.
    pub fn allocation_roles(&self) -> Vec<&Role> {
        let mut roles: Vec<&Role> = self.iter().filter_map(|r| r.allocation_role.as_ref()).collect();
        roles.sort_unstable();
        roles.dedup();
        roles
    }

    /// The resources allocated to this role.
    pub fn allocated_in(&self, role: &Role) -> Resources {
        self.filter(|r| r.allocation_role.as_ref() == Some(role))
    }
}
