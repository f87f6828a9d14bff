//! Who makes a call, as established by authentication.

/// The principal of frameworks that run in the master's own process. No client can authenticate as it.
pub const IN_PROCESS_PRINCIPAL: &str = "catamaran-internal";

/// The origin of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Caller {
    /// A part of the master's own process, which is trusted.
    InProcess,
    /// A client without credentials, which only a master without authentication has.
    Anonymous,
    /// A client that has proved to be this principal.
    Principal(String),
}
