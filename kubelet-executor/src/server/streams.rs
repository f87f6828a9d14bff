//! exec, attach and port-forward: between the client's protocol and the runtime's streaming server.
//!
//! The runtime's server speaks SPDY/3.1. A client that speaks it too is joined to the runtime byte by byte; a WebSocket
//! client's channels are carried over SPDY streams that we open; SPDY tunnelled in a WebSocket is unwrapped.

pub(crate) mod bridge;
mod dictionary;
pub mod spdy;
pub(crate) mod upstream;
pub(crate) mod websocket;
