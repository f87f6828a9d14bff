//! The kernel's shell: sockets, timers, files and processes around the state machines of `kernel-core`.
//!
//! The master is one task ([`master_driver`]) that owns its state machine; every server ([`http`], [`agent_link`],
//! [`driver`]) sends commands to its bounded queue. [`server::start`] wires everything. Nothing here knows Kubernetes.

pub mod access;
pub mod agent;
mod agent_driver;
mod agent_http;
pub mod agent_link;
pub mod builtin_executor;
mod clock;
pub mod driver;
pub mod hollow;
mod http;
pub mod images;
mod master_driver;
mod registry_store;
mod runtime;
pub mod server;
pub mod supervisor;
mod task_trace;

pub use clock::Clock;
