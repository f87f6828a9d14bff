//! What goes into the library's state machine and what comes out.

use bytes::Bytes;

use crate::machine;

/// A way in.
pub type Event = machine::Event<Request>;
/// A way out.
pub type Effect = machine::Effect<Callback>;

/// A method of the library.
#[derive(Debug, Clone, PartialEq)]
pub enum Request {
    /// `send`: an encoded `scheduler.Call`.
    Send(Bytes),
    /// `reconnect`.
    Reconnect,
}

/// A method of the framework's `Scheduler`.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub enum Callback {
    Connected,
    Disconnected,
    /// An encoded `scheduler.Event`.
    Received {
        event: Bytes,
    },
}

impl machine::Callback for Callback {
    fn method(&self) -> String {
        let name = match self {
            Callback::Connected => "connected",
            Callback::Disconnected => "disconnected",
            Callback::Received { .. } => "received",
        };
        format!("Scheduler.{name}")
    }
}
