//! HTTP over TCP and TLS for all components: the server loop of the API server, master, agent and executor, and the
//! client with which they call each other.
//!
//! [`tls`] builds rustls configurations and names the cryptography provider; [`server`] accepts connections and bounds
//! them; [`client`] sends requests over pooled connections; [`relay`] connects a client and a server,
//! [`redirect`] says where a redirect leads, and [`open_files`] raises the limit of open files. This crate knows no
//! protocol above HTTP: paths, bodies and authentication belong to its users.

pub mod client;
pub mod open_files;
pub mod redirect;
pub mod relay;
pub mod server;
pub mod tls;

/// Any error, for bounds that hyper requires.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;
