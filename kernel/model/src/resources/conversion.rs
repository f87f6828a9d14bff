//! Conversions of resources: what an operation consumes, and what there is instead.

use super::{ReservationKind, Resource, Resources};

/// The operations that convert an agent's resources (Mesos `Offer.Operation.Type`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ConversionKind {
    /// The resources get the topmost level of their reservations.
    Reserve,
    /// The resources lose the topmost level of their reservations.
    Unreserve,
    /// Reserved disks become persistent volumes.
    Create,
    /// Persistent volumes become reserved disks; their data is removed.
    Destroy,
}

impl ConversionKind {
    /// All kinds.
    pub const ALL: [Self; 4] = [Self::Reserve, Self::Unreserve, Self::Create, Self::Destroy];

    /// The name on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::Reserve => "RESERVE",
            Self::Unreserve => "UNRESERVE",
            Self::Create => "CREATE",
            Self::Destroy => "DESTROY",
        }
    }

    /// What the operation does with the resources that it names.
    pub fn of(self, resources: &Resources) -> Conversion {
        let without_reservation = |resource: &Resource| {
            let mut popped = resource.clone();
            popped.reservations.pop();
            popped
        };
        let other = match self {
            Self::Reserve | Self::Unreserve => resources.iter().map(without_reservation).collect(),
            Self::Create | Self::Destroy => resources.iter().map(Resource::without_volume).collect(),
        };
        match self {
            Self::Reserve | Self::Create => Conversion { consumed: other, converted: resources.clone() },
            Self::Unreserve | Self::Destroy => Conversion { consumed: resources.clone(), converted: other },
        }
    }
}

/// What an operation consumes and what it makes of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Conversion {
    /// The resources as they are before.
    pub consumed: Resources,
    /// The same resources as they are afterwards.
    pub converted: Resources,
}

impl Conversion {
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

    /// The resource of the machine before all operations.
    fn before_operations(&self) -> Resource {
        let mut base = self.without_volume();
        while base.is_dynamically_reserved() {
            base.reservations.pop();
        }
        base
    }
}

impl Resources {
    /// The same resources without reservations.
    pub fn to_unreserved(&self) -> Resources {
        self.iter().map(|resource| Resource { reservations: Vec::new(), ..resource.clone() }).collect()
    }

    /// The resources that operations have made, reservations and persistent volumes, whatever is reserved beneath (Mesos'
    /// checkpointed resources).
    pub fn checkpointed(&self) -> Resources {
        self.filter(|resource| resource.is_dynamically_reserved() || resource.is_persistent_volume())
    }

    /// The machine's resources before all operations.
    pub fn without_checkpointed(&self) -> Resources {
        self.iter().map(Resource::before_operations).collect()
    }

    /// These resources of a machine with what operations have made of them made again. What the machine does not have any more
    /// stays as it is, and is returned.
    pub fn with_checkpointed(&self, made: &Resources) -> (Resources, Resources) {
        let (mut all, mut missing) = (self.clone(), Resources::new());
        for resource in made {
            let one = |resource: Resource| std::iter::once(resource).collect::<Resources>();
            let again =
                Conversion { consumed: one(resource.before_operations()), converted: one(resource.clone()) };
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
    use super::{ConversionKind::*, *};
    use crate::{
        labels::Labels,
        resources::{Disk, Persistence, Reservation, Scalar, VolumeId, VolumeMount},
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
        let reserve = Reserve.of(&all(&[cpus(1, &["eng"])]));
        let reserved = reserve.apply(&machine).unwrap();
        assert_eq!(reserved, all(&[cpus(3, &[]), cpus(1, &["eng"])]));
        let refine = Reserve.of(&all(&[cpus(1, &["eng", "eng/dev"])]));
        let refined = refine.apply(&reserved).unwrap();
        assert_eq!(refined, all(&[cpus(3, &[]), cpus(1, &["eng", "eng/dev"])]));
        assert_eq!(refine.apply(&refined), None, "nothing is reserved to eng alone any more");
        let undone = Unreserve.of(&all(&[cpus(1, &["eng", "eng/dev"])])).apply(&refined).unwrap();
        assert_eq!(undone, reserved);
        assert_eq!(Unreserve.of(&all(&[cpus(1, &["eng"])])).apply(&undone), Some(machine));
    }

    #[test]
    fn reservations_are_made_again_as_far_as_the_machine_goes() {
        let reserved = all(&[cpus(1, &["eng", "eng/dev"]), cpus(2, &["ops"])]);
        let (made, missing) = all(&[cpus(4, &[])]).with_checkpointed(&reserved);
        assert_eq!(made, all(&[cpus(1, &[]), cpus(1, &["eng", "eng/dev"]), cpus(2, &["ops"])]));
        assert!(missing.is_empty());
        assert_eq!(made.checkpointed(), reserved);
        let (made, missing) = all(&[cpus(2, &[])]).with_checkpointed(&reserved);
        assert_eq!(
            (made.scalar("cpus"), missing.scalar("cpus")),
            (Scalar::from_units(2), Scalar::from_units(1))
        );
    }

    /// A volume on a disk that is reserved for these roles.
    fn volume(id: &str, amount: i64, roles: &[&str]) -> Resource {
        let persistence = Persistence { id: id.into(), principal: None };
        let mount = VolumeMount { container_path: "data".into(), read_only: false };
        let disk = Disk { source: None, persistence: Some(persistence), volume: Some(mount) };
        Resource { name: "disk".into(), disk: Some(disk.into()), ..cpus(amount, roles) }
    }

    #[test]
    fn a_volume_is_created_and_destroyed() {
        let disk = Resource { name: "disk".into(), ..cpus(10, &["eng"]) };
        let reserved = all(&[disk]);
        let (small, large) = (volume("a", 4, &["eng"]), volume("b", 6, &["eng"]));
        let made = Create.of(&all(&[small.clone(), large])).apply(&reserved).unwrap();
        assert_eq!(
            made.to_string(),
            "disk(reservations: [(DYNAMIC,eng)])[a:data]:4; \
            disk(reservations: [(DYNAMIC,eng)])[b:data]:6"
        );
        assert_eq!(made.checkpointed(), made);
        assert_eq!(small.volume_id(), Some(VolumeId { role: Role::parse("eng").unwrap(), id: "a".into() }));
        // Where it is mounted is of no importance; its size is.
        let destroy = |amount| {
            let mut other = volume("a", amount, &["eng"]);
            other.disk = Some(Disk { volume: None, ..Disk::clone(other.disk.as_ref().unwrap()) }.into());
            Destroy.of(&all(&[other]))
        };
        assert_eq!(destroy(3).apply(&made), None);
        let left = destroy(4).apply(&made).unwrap();
        assert_eq!(left.scalar("disk"), Scalar::from_units(10));
        assert_eq!(Destroy.of(&left.persistent_volumes()).apply(&left), Some(reserved));
    }

    #[test]
    fn volumes_are_made_again_on_the_same_machine() {
        let machine = all(&[Resource { name: "disk".into(), ..cpus(10, &[]) }]);
        let made = all(&[volume("a", 4, &["eng", "eng/dev"])]);
        let (after, missing) = machine.with_checkpointed(&made);
        assert!(missing.is_empty());
        assert_eq!((after.checkpointed(), after.without_checkpointed()), (made, machine));
    }

    proptest::proptest! {
        /// What an operation takes of a machine it gives back, in the same amounts, and its opposite undoes it.
        #[test]
        fn operations_conserve_resources(
            parts in proptest::collection::vec((1..20i64, 0..3usize, 0..3u8), 1..6),
            number in 0..4usize,
        ) {
            let kind = ConversionKind::ALL[number];
            let stacks: [&[&str]; 3] = [&["eng"], &["ops"], &["eng", "eng/dev"]];
            let one = |(at, (amount, stack, what)): (usize, &(i64, usize, u8))| {
                let volume = matches!(kind, Create | Destroy) || *what == 0;
                match volume {
                    true => volume_of(at, *amount, stacks[*stack]),
                    false => cpus(*amount, stacks[*stack]),
                }
            };
            let named: Resources = parts.iter().enumerate().map(one).collect();
            let Conversion { consumed, converted } = kind.of(&named);
            let plain = |all: &Resources| all.without_checkpointed();
            proptest::prop_assert_eq!(plain(&consumed), plain(&converted));
            let mut machine = consumed.clone();
            machine += &all(&[cpus(7, &[])]);
            let after = kind.of(&named).apply(&machine).unwrap();
            proptest::prop_assert_eq!(plain(&after), plain(&machine));
            let opposite = match kind {
                Reserve => Unreserve,
                Unreserve => Reserve,
                Create => Destroy,
                Destroy => Create,
            };
            proptest::prop_assert_eq!(opposite.of(&named).apply(&after), Some(machine));
        }
    }

    fn volume_of(at: usize, amount: i64, roles: &[&str]) -> Resource {
        volume(&format!("v{at}"), amount, roles)
    }
}
