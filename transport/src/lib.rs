//! HTTP over TCP and TLS, once for every part: the server loop of the API server, master, agent and executor, and the
//! client with which they call each other.
//!
//! [`tls`] builds rustls configurations and names the cryptography provider; [`server`] accepts connections and bounds
//! them; [`client`] sends requests over pooled connections. This crate knows no protocol above HTTP: paths, bodies and
//! authentication belong to its users.

pub mod client;
pub mod server;
pub mod tls;

/// An error of any kind, for bounds that hyper asks for.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;
