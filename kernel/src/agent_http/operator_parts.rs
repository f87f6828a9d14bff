//! The part of a call of the agent's operator API that its type requires.

use kernel_wire::v1::agent::{Call, call::Type};

/// The name of the part that is missing.
pub(super) fn missing(kind: Type, call: &Call) -> Option<&'static str> {
    let (is_present, name) = match kind {
        Type::GetMetrics => (call.get_metrics.is_some(), "get_metrics"),
        Type::SetLoggingLevel => (call.set_logging_level.is_some(), "set_logging_level"),
        Type::ListFiles => (call.list_files.is_some(), "list_files"),
        Type::ReadFile => (call.read_file.is_some(), "read_file"),
        Type::LaunchNestedContainer => (call.launch_nested_container.is_some(), "launch_nested_container"),
        Type::WaitNestedContainer => (call.wait_nested_container.is_some(), "wait_nested_container"),
        Type::KillNestedContainer => (call.kill_nested_container.is_some(), "kill_nested_container"),
        Type::RemoveNestedContainer => (call.remove_nested_container.is_some(), "remove_nested_container"),
        Type::LaunchNestedContainerSession => {
            (call.launch_nested_container_session.is_some(), "launch_nested_container_session")
        }
        Type::AttachContainerInput => (call.attach_container_input.is_some(), "attach_container_input"),
        Type::AttachContainerOutput => (call.attach_container_output.is_some(), "attach_container_output"),
        Type::LaunchContainer => (call.launch_container.is_some(), "launch_container"),
        Type::WaitContainer => (call.wait_container.is_some(), "wait_container"),
        Type::KillContainer => (call.kill_container.is_some(), "kill_container"),
        Type::RemoveContainer => (call.remove_container.is_some(), "remove_container"),
        Type::AddResourceProviderConfig => {
            (call.add_resource_provider_config.is_some(), "add_resource_provider_config")
        }
        Type::UpdateResourceProviderConfig => {
            (call.update_resource_provider_config.is_some(), "update_resource_provider_config")
        }
        Type::RemoveResourceProviderConfig => {
            (call.remove_resource_provider_config.is_some(), "remove_resource_provider_config")
        }
        Type::MarkResourceProviderGone => {
            (call.mark_resource_provider_gone.is_some(), "mark_resource_provider_gone")
        }
        _ => return None,
    };
    (!is_present).then_some(name)
}
