//! Limits of what clients send where Mesos has none. Without them one call could use up the master's time or memory, or
//! make a record that the registry cannot store.

use prost::Message;

use crate::{Invalid, v1};

/// The longest `FrameworkInfo`. It is sent to agents with every launch and is in every `/state`.
pub const FRAMEWORK_INFO_BYTES_MAX: usize = 1 << 20;

/// The most roles of a framework over HTTP. Each is a client of the allocator, which visits every client for every agent:
/// 8,192 clients and a thousand agents take it about a second.
pub const ROLES_MAX: usize = 8192;

/// Checks a framework's description before it is converted.
pub(crate) fn check_framework(info: &v1::FrameworkInfo) -> Result<(), Invalid> {
    if info.roles.len() > ROLES_MAX {
        let count = info.roles.len();
        return Err(Invalid::new(format!(
            "'FrameworkInfo.roles' contains {count} roles, more than the limit of {ROLES_MAX}"
        )));
    }
    let bytes = info.encoded_len();
    if bytes > FRAMEWORK_INFO_BYTES_MAX {
        return Err(Invalid::new(format!(
            "'FrameworkInfo' has {bytes} bytes, more than the limit of {FRAMEWORK_INFO_BYTES_MAX}"
        )));
    }
    Ok(())
}

/// The most resources of one task, executor or agent. They are kept sorted by insertion, whose cost grows with the square:
/// this many take some ten milliseconds.
pub const RESOURCES_MAX: usize = 4096;

/// The longest `TaskInfo` without its data. The master keeps a thousand completed tasks of each framework.
pub const TASK_INFO_BYTES_MAX: usize = 1 << 20;

/// Checks a collection of resources before it is converted.
pub(crate) fn check_resources(resources: &[v1::Resource]) -> Result<(), Invalid> {
    match resources.len() {
        count if count > RESOURCES_MAX => {
            Err(Invalid::new(format!("{count} resources are more than the limit of {RESOURCES_MAX}")))
        }
        _ => Ok(()),
    }
}

/// Checks a task before it is converted.
pub(crate) fn check_task(info: &v1::TaskInfo) -> Result<(), Invalid> {
    let data = info.executor.as_ref().and_then(|executor| executor.data.as_ref());
    let data = [info.data.as_ref(), data].into_iter().flatten().map(bytes::Bytes::len).sum::<usize>();
    match info.encoded_len().saturating_sub(data) {
        bytes if bytes > TASK_INFO_BYTES_MAX => Err(Invalid::new(format!(
            "'TaskInfo' has {bytes} bytes besides its data, more than the limit of {TASK_INFO_BYTES_MAX}"
        ))),
        _ => Ok(()),
    }
}

/// The longest id of an operation. Agents report the operations that are not acknowledged in one message.
pub const OPERATION_ID_BYTES_MAX: usize = 4096;

/// Checks the id of an operation before it is converted.
pub(crate) fn check_operation_id(id: &str) -> Result<(), Invalid> {
    match id.len() {
        bytes if bytes > OPERATION_ID_BYTES_MAX => Err(Invalid::new(format!(
            "'Operation.id' has {bytes} bytes, more than the limit of {OPERATION_ID_BYTES_MAX}"
        ))),
        _ => Ok(()),
    }
}
