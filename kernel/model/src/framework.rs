//! Frameworks: the descriptions that schedulers subscribe with.

use std::{collections::BTreeSet, time::Duration};

use bytes::Bytes;

use crate::{ids::FrameworkId, labels::Labels, roles::Role};

/// A framework's description from its SUBSCRIBE (Mesos `FrameworkInfo`).
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct FrameworkInfo {
    /// The user that runs tasks without a user of their own.
    pub user: String,
    /// A display name.
    pub name: String,
    /// `None` until the master assigns one.
    pub id: Option<FrameworkId>,
    /// How long the master keeps a disconnected framework and its tasks.
    pub failover_timeout: Duration,
    /// Whether the agent checkpoints its executors and updates, so that they survive an agent restart.
    pub checkpoint: bool,
    /// The subscribed roles; exactly one without the MULTI_ROLE capability.
    pub roles: Vec<Role>,
    /// The scheduler's host name.
    pub hostname: String,
    pub principal: Option<String>,
    /// The URL of the framework's web UI.
    pub webui_url: String,
    pub capabilities: BTreeSet<FrameworkCapability>,
    pub labels: Labels,
    /// The encoded fields of `v1::FrameworkInfo` that the kernel does not interpret.
    pub extra: Bytes,
}

impl FrameworkInfo {
    /// Whether the framework has this capability.
    pub fn can(&self, capability: FrameworkCapability) -> bool {
        self.capabilities.contains(&capability)
    }
}

/// A framework capability (Mesos `FrameworkInfo.Capability.Type`, same numbers).
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
