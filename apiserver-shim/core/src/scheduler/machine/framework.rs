//! The scheduler's FrameworkInfo, and the ExecutorInfo that it launches.

use std::time::Duration;

use bytes::Bytes;
use kernel_model::{
    caller::IN_PROCESS_PRINCIPAL,
    executor::{CommandInfo, ExecutorInfo, ExecutorKind, RESPAWN_LABEL},
    framework::{FrameworkCapability, FrameworkInfo},
    ids::{ExecutorId, FrameworkId},
    labels::Labels,
    resources::{Resource, Resources, Scalar},
    roles::Role,
};

use super::node_projection::{EXECUTOR_CPU_MILLI, EXECUTOR_MEM_MIB};

/// How long the kernel keeps the tasks while the API server is away. It is the longest time that Mesos allows,
/// because Pods end when they are deleted and not when the API server is down.
const FAILOVER_TIMEOUT: Duration = Duration::from_secs(365 * 24 * 3600);

/// The FrameworkInfo for a subscription with these roles.
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
        principal: Some(IN_PROCESS_PRINCIPAL.to_owned()),
        webui_url: String::new(),
        capabilities: [
            MultiRole,
            PartitionAware,
            TaskKillingState,
            ReservationRefinement,
            RevocableResources,
            GpuResources, // Pods that need none run beside those that do, as upstream
        ]
        .into(),
        labels: Labels::default(),
        extra: Bytes::new(),
    }
}

/// The ID of the executor that runs an agent's Pods.
pub const EXECUTOR_ID: &str = "kubelet";

/// The ExecutorInfo. It does not depend on configuration, so that an upgrade does not change the executor.
///
/// It is complete, including the framework and the role of its resources, so that the kernel adds nothing and all
/// tasks of a cluster share it.
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
        image: None,
        labels: Labels::default().with(RESPAWN_LABEL, "true"),
        extra: Bytes::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The kernel offers machines with GPUs, or revocable resources, to those with the capability alone.
    #[test]
    fn pods_are_offered_machines_with_gpus_and_what_is_revocable() {
        let capabilities = framework_info(None, &[]).capabilities;
        assert!(capabilities.contains(&FrameworkCapability::GpuResources), "{capabilities:?}");
        assert!(capabilities.contains(&FrameworkCapability::RevocableResources), "{capabilities:?}");
    }
}
