//! What the master says about a role, for those who show or administer it.

use std::collections::BTreeMap;

use crate::{
    ids::FrameworkId,
    quota::{Quantities, Quota},
    roles::Role,
};

/// A role with frameworks, a weight, a quota or reservations.
#[derive(Debug, Clone, PartialEq)]
pub struct RoleReport {
    /// Its name.
    pub role: Role,
    /// 1 by default.
    pub weight: f64,
    /// Its own quota.
    pub quota: Quota,
    /// What the tasks and executors of each framework hold in the role and below it.
    pub allocated: BTreeMap<FrameworkId, Quantities>,
    /// What is reserved for the role and those below it, allocated or not.
    pub reserved: Quantities,
    /// The largest part of any resource of the cluster that is allocated in the role and below it: 0 to 1.
    pub dominant_share: f64,
}
