//! The kernel's shell: sockets, timers, files and processes around the pure machines of `kernel-core`.
//!
//! A master is one task ([`master_driver`]) that owns the machine; every door ([`http`], [`agent_link`], [`driver`]) puts
//! commands into its bounded queue. [`server::start`] wires all of it. Nothing here knows of Kubernetes.

pub mod agent;
mod agent_driver;
mod agent_http;
pub mod agent_link;
mod clock;
pub mod command_executor;
pub mod driver;
pub mod hollow;
mod http;
mod listener;
mod master_driver;
mod registry_store;
mod runtime;
pub mod server;

pub use clock::Clock;
