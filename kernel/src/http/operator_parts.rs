//! The parts of calls of the operator APIs that their types require.

/// Defines a function that names the part of a call that its type requires and that is missing.
macro_rules! required_parts {
    ($(#[$doc:meta])* $function:ident($kind:ty, $call:ty): $($variant:ident $part:ident,)*) => {
        $(#[$doc])*
        pub(crate) fn $function(kind: $kind, call: &$call) -> Option<&'static str> {
            match kind {
                $(<$kind>::$variant => call.$part.is_none().then_some(stringify!($part)),)*
                _ => None,
            }
        }
    };
}

required_parts! {
    /// The part that is missing in a call of the master's API.
    missing_for_master(kernel_wire::v1::master::call::Type, kernel_wire::v1::master::Call):
    GetMetrics get_metrics,
    SetLoggingLevel set_logging_level,
    ListFiles list_files,
    ReadFile read_file,
    UpdateWeights update_weights,
    ReserveResources reserve_resources,
    UnreserveResources unreserve_resources,
    CreateVolumes create_volumes,
    DestroyVolumes destroy_volumes,
    GrowVolume grow_volume,
    ShrinkVolume shrink_volume,
    UpdateMaintenanceSchedule update_maintenance_schedule,
    StartMaintenance start_maintenance,
    StopMaintenance stop_maintenance,
    DrainAgent drain_agent,
    DeactivateAgent deactivate_agent,
    ReactivateAgent reactivate_agent,
    UpdateQuota update_quota,
    SetQuota set_quota,
    RemoveQuota remove_quota,
    Teardown teardown,
    MarkAgentGone mark_agent_gone,
}

required_parts! {
    /// The part that is missing in a call of the agent's API.
    missing_for_agent(kernel_wire::v1::agent::call::Type, kernel_wire::v1::agent::Call):
    GetMetrics get_metrics,
    SetLoggingLevel set_logging_level,
    ListFiles list_files,
    ReadFile read_file,
    LaunchNestedContainer launch_nested_container,
    WaitNestedContainer wait_nested_container,
    KillNestedContainer kill_nested_container,
    RemoveNestedContainer remove_nested_container,
    LaunchNestedContainerSession launch_nested_container_session,
    AttachContainerInput attach_container_input,
    AttachContainerOutput attach_container_output,
    LaunchContainer launch_container,
    WaitContainer wait_container,
    KillContainer kill_container,
    RemoveContainer remove_container,
    AddResourceProviderConfig add_resource_provider_config,
    UpdateResourceProviderConfig update_resource_provider_config,
    RemoveResourceProviderConfig remove_resource_provider_config,
    MarkResourceProviderGone mark_resource_provider_gone,
}
