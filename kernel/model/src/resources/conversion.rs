//! Conversions of resources: what an operation consumes, and what there is instead.

use super::{ReservationKind, Resource, Resources};

/// What an operation consumes and what it makes of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Conversion {
    /// The resources as they are before.
    pub consumed: Resources,
    /// The same resources as they are afterwards.
    pub converted: Resources,
}

impl Conversion {
    /// RESERVE: the resources get the topmost level of their reservations.
    pub fn reserve(resources: &Resources) -> Self {
        Self { consumed: resources.without_top_reservation(), converted: resources.clone() }
    }

    /// UNRESERVE: the resources lose the topmost level of their reservations.
    pub fn unreserve(resources: &Resources) -> Self {
        Self { consumed: resources.clone(), converted: resources.without_top_reservation() }
    }

    /// `resources` after the conversion; `None` if they do not contain what it consumes.
    pub fn apply(&self, resources: &Resources) -> Option<Resources> {
        let mut after = resources.checked_sub(&self.consumed)?;
        after += &self.converted;
        Some(after)
    }

    /// The same for resources that are not allocated.
    pub fn unallocated(&self) -> Self {
        Self { consumed: self.consumed.unallocated(), converted: self.converted.unallocated() }
    }
}

impl Resource {
    /// Whether the topmost reservation was made by an operation.
    pub fn is_dynamically_reserved(&self) -> bool {
        self.reservation().is_some_and(|level| level.kind == ReservationKind::Dynamic)
    }
}

impl Resources {
    fn without_top_reservation(&self) -> Resources {
        let pop = |resource: &Resource| {
            let mut popped = resource.clone();
            popped.reservations.pop();
            popped
        };
        self.iter().map(pop).collect()
    }

    /// The same resources without reservations.
    pub fn to_unreserved(&self) -> Resources {
        self.iter().map(|resource| Resource { reservations: Vec::new(), ..resource.clone() }).collect()
    }

    /// The resources that are reserved by operations, whatever is reserved beneath.
    pub fn dynamically_reserved(&self) -> Resources {
        self.filter(Resource::is_dynamically_reserved)
    }

    /// These resources of a machine with the reservations of its operations made again. What the machine does not have any
    /// more stays as it is, and is returned.
    pub fn with_reservations(&self, reserved: &Resources) -> (Resources, Resources) {
        let (mut all, mut missing) = (self.clone(), Resources::new());
        for resource in reserved {
            let mut base = resource.clone();
            while base.is_dynamically_reserved() {
                base.reservations.pop();
            }
            let one = |resource: Resource| std::iter::once(resource).collect::<Resources>();
            let again = Conversion { consumed: one(base), converted: one(resource.clone()) };
            match again.apply(&all) {
                Some(after) => all = after,
                None => missing.add(resource.clone()),
            }
        }
        (all, missing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        labels::Labels,
        resources::{Reservation, Scalar},
        roles::Role,
    };

    fn cpus(amount: i64, roles: &[&str]) -> Resource {
        let level = |role: &&str| Reservation {
            kind: ReservationKind::Dynamic,
            role: Role::parse(role).unwrap(),
            principal: None,
            labels: Labels::default(),
        };
        Resource {
            reservations: roles.iter().map(level).collect(),
            ..Resource::scalar("cpus", Scalar::from_units(amount))
        }
    }

    fn all(resources: &[Resource]) -> Resources {
        resources.iter().cloned().collect()
    }

    #[test]
    fn a_reservation_is_made_and_undone() {
        let machine = all(&[cpus(4, &[])]);
        let reserve = Conversion::reserve(&all(&[cpus(1, &["eng"])]));
        let reserved = reserve.apply(&machine).unwrap();
        assert_eq!(reserved, all(&[cpus(3, &[]), cpus(1, &["eng"])]));
        let refine = Conversion::reserve(&all(&[cpus(1, &["eng", "eng/dev"])]));
        let refined = refine.apply(&reserved).unwrap();
        assert_eq!(refined, all(&[cpus(3, &[]), cpus(1, &["eng", "eng/dev"])]));
        assert_eq!(refine.apply(&refined), None, "nothing is reserved to eng alone any more");
        let undone = Conversion::unreserve(&all(&[cpus(1, &["eng", "eng/dev"])])).apply(&refined).unwrap();
        assert_eq!(undone, reserved);
        assert_eq!(Conversion::unreserve(&all(&[cpus(1, &["eng"])])).apply(&undone), Some(machine));
    }

    #[test]
    fn reservations_are_made_again_as_far_as_the_machine_goes() {
        let reserved = all(&[cpus(1, &["eng", "eng/dev"]), cpus(2, &["ops"])]);
        let (made, missing) = all(&[cpus(4, &[])]).with_reservations(&reserved);
        assert_eq!(made, all(&[cpus(1, &[]), cpus(1, &["eng", "eng/dev"]), cpus(2, &["ops"])]));
        assert!(missing.is_empty());
        assert_eq!(made.dynamically_reserved(), reserved);
        let (made, missing) = all(&[cpus(2, &[])]).with_reservations(&reserved);
        assert_eq!(
            (made.scalar("cpus"), missing.scalar("cpus")),
            (Scalar::from_units(2), Scalar::from_units(1))
        );
    }
}
