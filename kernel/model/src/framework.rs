//! Frameworks: what a scheduler says of itself.

use std::{collections::BTreeSet, time::Duration};

use bytes::Bytes;

use crate::{ids::FrameworkId, labels::Labels, roles::Role};

/// A framework's description, as its SUBSCRIBE gave it (Mesos `FrameworkInfo`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FrameworkInfo {
    /// The operating-system user for tasks that name none.
    pub user: String,
    /// A name for people.
    pub name: String,
    /// `None` until the master has given one.
    pub id: Option<FrameworkId>,
    /// How long a disconnected framework keeps its tasks.
    pub failover_timeout: Duration,
    /// Whether its executors and updates survive a restart of the agent.
    pub checkpoint: bool,
    /// The roles that it subscribes in; exactly one unless `MULTI_ROLE`.
    pub roles: Vec<Role>,
    /// Host name of the scheduler.
    pub hostname: String,
    /// The authenticated principal.
    pub principal: Option<String>,
    /// Page for people.
    pub webui_url: String,
    /// What it can handle.
    pub capabilities: BTreeSet<FrameworkCapability>,
    /// Free labels.
    pub labels: Labels,
    /// Fields of the wire message that the kernel carries and does not read.
    pub extra: Bytes,
}

impl FrameworkInfo {
    /// Whether the framework has this capability.
    pub fn can(&self, capability: FrameworkCapability) -> bool {
        self.capabilities.contains(&capability)
    }
}

/// What a framework can handle (Mesos `FrameworkInfo.Capability.Type`, same numbers).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum FrameworkCapability {
    RevocableResources = 1,
    TaskKillingState = 2,
    GpuResources = 3,
    SharedResources = 4,
    PartitionAware = 5,
    MultiRole = 6,
    ReservationRefinement = 7,
    RegionAware = 8,
}
