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
