//! Whose resources are: the reservation stack, and the role that offered or used resources are allocated to.

use super::{Reservation, Resource, Resources};
use crate::roles::Role;

impl Resource {
    /// The reservation that counts: the top of the stack.
    pub fn reservation(&self) -> Option<&Reservation> {
        self.reservations.last()
    }

    /// Whether a framework in this role may have it: it is unreserved, or reserved to the role or one above it.
    pub fn is_allocatable_to(&self, role: &Role) -> bool {
        self.reservation().is_none_or(|reservation| role.is_within(&reservation.role))
    }
}

impl Resources {
    /// Those that a framework in this role may have.
    pub fn allocatable_to(&self, role: &Role) -> Resources {
        self.filter(|r| r.is_allocatable_to(role))
    }

    /// Those that nobody has reserved.
    pub fn unreserved(&self) -> Resources {
        self.filter(|r| r.reservations.is_empty())
    }

    /// Those that satisfy a predicate.
    pub fn filter(&self, keep: impl Fn(&Resource) -> bool) -> Resources {
        // A part of a normal collection is normal.
        if self.iter().all(&keep) {
            return self.clone();
        }
        Resources::from_list(self.iter().filter(|r| keep(r)).cloned().collect())
    }

    /// All of them, allocated to this role.
    pub fn allocated_to(&self, role: &Role) -> Resources {
        self.map_allocation(|_| Some(role.clone()))
    }

    /// All of them, which are not allocated yet, allocated to this role: without a copy.
    pub fn into_allocated_to(mut self, role: &Role) -> Resources {
        if self.is_empty() || self.iter().any(|r| r.allocation_role.is_some()) {
            return self.allocated_to(role);
        }
        // One role for all changes no order.
        self.change(|list| list.iter_mut().for_each(|r| r.allocation_role = Some(role.clone())));
        self
    }

    /// Allocates to this role what is allocated to none.
    pub fn allocate_by_default_to(&mut self, role: &Role) {
        if self.iter().any(|r| r.allocation_role.is_none()) {
            *self = self.map_allocation(|r| Some(r.allocation_role.clone().unwrap_or_else(|| role.clone())));
        }
    }

    /// All of them, without the role that they are allocated to.
    pub fn unallocated(&self) -> Resources {
        self.map_allocation(|_| None)
    }

    fn map_allocation(&self, role: impl Fn(&Resource) -> Option<Role>) -> Resources {
        if let [first, rest @ ..] = self.list()
            && rest.iter().all(|r| r.allocation_role == first.allocation_role)
        {
            // One role for all changes no order and merges nothing.
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

    /// The roles that they are allocated to, each once.
    pub fn allocation_roles(&self) -> Vec<&Role> {
        let mut roles: Vec<&Role> = self.iter().filter_map(|r| r.allocation_role.as_ref()).collect();
        roles.sort_unstable();
        roles.dedup();
        roles
    }

    /// Those allocated to this role.
    pub fn of_allocation(&self, role: &Role) -> Resources {
        self.filter(|r| r.allocation_role.as_ref() == Some(role))
    }
}
