//! The scheduler as a framework of the kernel, and the executor that it launches.

use std::time::Duration;

use bytes::Bytes;
use kernel_model::{
    executor::{CommandInfo, ExecutorInfo, ExecutorKind, RESPAWN_LABEL},
    framework::{FrameworkCapability, FrameworkInfo},
    ids::{ExecutorId, FrameworkId},
    labels::Labels,
    resources::{Resource, Resources, Scalar},
    roles::Role,
};

use super::node_projection::{EXECUTOR_CPU_MILLI, EXECUTOR_MEM_MIB};

/// How long the kernel keeps the tasks of an API server that is away: as long as Mesos allows, for Pods end when they are
/// deleted and not because the API server was down.
const FAILOVER_TIMEOUT: Duration = Duration::from_secs(365 * 24 * 3600);

/// The framework as it subscribes in these roles.
pub fn framework_info(id: Option<FrameworkId>, roles: &[Role]) -> FrameworkInfo {
    use FrameworkCapability::*;
    FrameworkInfo {
        user: "root".to_owned(),
        name: "kubernetes".to_owned(),
        id,
        failover_timeout: FAILOVER_TIMEOUT,
        checkpoint: true,
        roles: roles.to_vec(),
        hostname: String::new(),
        principal: None,
        webui_url: String::new(),
        capabilities: [MultiRole, PartitionAware, TaskKillingState, ReservationRefinement].into(),
        labels: Labels::default(),
        extra: Bytes::new(),
    }
}

/// The executor that carries the Pods of an agent.
pub const EXECUTOR_ID: &str = "kubelet";

/// Its description: nothing in it depends on configuration, so that an upgrade is no other executor.
///
/// It is whole, so that the kernel has nothing to fill in and all tasks of a cycle share it: which framework it belongs to,
/// and in which role its share is allocated.
pub(super) fn executor_info(framework_id: Option<&FrameworkId>, role: &str) -> ExecutorInfo {
    let resources: Resources = [
        Resource::scalar("cpus", Scalar(EXECUTOR_CPU_MILLI)),
        Resource::scalar("mem", Scalar::from_units(EXECUTOR_MEM_MIB)),
    ]
    .into_iter()
    .collect();
    let resources = match Role::parse(role) {
        Ok(role) => resources.into_allocated_to(&role),
        Err(_) => resources,
    };
    ExecutorInfo {
        kind: ExecutorKind::Custom,
        executor_id: ExecutorId::from(EXECUTOR_ID),
        framework_id: framework_id.cloned(),
        command: Some(CommandInfo {
            shell: true,
            value: Some("exec \"$CATAMARAN_BINARY\" executor".to_owned()),
            ..CommandInfo::default()
        }),
        resources,
        name: "kubelet".to_owned(),
        source: "kubernetes".to_owned(),
        data: Bytes::new(),
        shutdown_grace: None,
        labels: Labels::default().with(RESPAWN_LABEL, "true"),
        extra: Bytes::new(),
    }
}
