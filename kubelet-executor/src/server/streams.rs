//! Streams of exec, attach and port-forward, between the client's protocol and the runtime's streaming server.
//!
//! The runtime's server uses SPDY/3.1. SPDY clients are proxied byte by byte; the channels of WebSocket clients are
//! bridged to SPDY streams; SPDY that is tunnelled in a WebSocket is unwrapped.

pub(crate) mod bridge;
mod dictionary;
pub mod spdy;
pub(crate) mod upstream;
pub(crate) mod websocket;
