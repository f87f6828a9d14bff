//! Offer operations on an agent's resources whose outcome a framework wants to know.

use std::{collections::BTreeMap, fmt};

use crate::{
    ids::{FrameworkId, OperationId, UpdateId},
    resources::{Conversion, ConversionKind, Resource, Resources, VolumeId},
    scheduler::OperationState,
};

/// The 16-byte UUID that the master gives an operation. (Its framework may use an [`OperationId`] again.)
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OperationUuid(pub [u8; 16]);

impl fmt::Debug for OperationUuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OperationUuid({:032x})", u128::from_be_bytes(self.0))
    }
}

/// An operation with an id, until its framework acknowledges its end (Mesos `Operation`).
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub struct OfferOperation {
    pub uuid: OperationUuid,
    pub framework_id: FrameworkId,
    pub id: OperationId,
    pub kind: ConversionKind,
    /// The resources that the operation names.
    pub resources: Resources,
    /// `Pending` until the agent has carried it out.
    pub state: OperationState,
    /// Why it failed, for people.
    pub message: String,
    /// The UUID of the status that is to be acknowledged.
    pub status: Option<UpdateId>,
}

/// The operations that have changed an agent's resources: all that the next one has to know of them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AppliedOperations {
    /// How many there were: master and agent tell by it who knows the newer resources.
    pub count: u64,
    /// The persistent volumes, each with the count of the operation that created it. A volume that is created again under the
    /// same name is another one.
    pub volumes: BTreeMap<VolumeId, u64>,
}

impl AppliedOperations {
    /// One more, which does this.
    pub fn after(&self, conversion: &Conversion) -> Self {
        let (count, mut volumes) = (self.count + 1, self.volumes.clone());
        let ids = |of: &Resources| of.iter().filter_map(Resource::volume_id).collect::<Vec<VolumeId>>();
        let (before, after) = (ids(&conversion.consumed), ids(&conversion.converted));
        volumes.retain(|id, _| !before.contains(id) || after.contains(id));
        volumes.extend(after.into_iter().filter(|id| !before.contains(id)).map(|id| (id, count)));
        Self { count, volumes }
    }
}
