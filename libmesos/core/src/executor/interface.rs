//! What goes into the executor's state machine and what comes out.

use bytes::Bytes;

use crate::machine;

/// A way in.
pub type Event = machine::Event<Request>;
/// A way out.
pub type Effect = machine::Effect<Callback>;

/// A method of the driver that leads to a call.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub enum Request {
    /// `sendStatusUpdate`: the encoded `TaskStatus`.
    Update { status: Bytes },
    /// `sendFrameworkMessage`.
    Message { data: Bytes },
}

/// A method of the framework's `Executor`. Messages are encoded.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub enum Callback {
    Registered { executor: Bytes, framework: Bytes, agent: Bytes },
    Reregistered { agent: Bytes },
    Disconnected,
    LaunchTask { task: Bytes },
    KillTask { task: Bytes },
    FrameworkMessage { data: Bytes },
    Shutdown,
    Error { message: String },
}

impl Callback {
    /// The name of the Java method.
    pub fn name(&self) -> &'static str {
        match self {
            Callback::Registered { .. } => "registered",
            Callback::Reregistered { .. } => "reregistered",
            Callback::Disconnected => "disconnected",
            Callback::LaunchTask { .. } => "launchTask",
            Callback::KillTask { .. } => "killTask",
            Callback::FrameworkMessage { .. } => "frameworkMessage",
            Callback::Shutdown => "shutdown",
            Callback::Error { .. } => "error",
        }
    }
}

impl machine::Callback for Callback {
    fn method(&self) -> String {
        format!("Executor.{}", self.name())
    }
}
