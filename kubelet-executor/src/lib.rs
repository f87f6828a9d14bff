//! The executor of Kubernetes Pods on one machine: a custom executor in the agent's eyes, a kubelet in the API's.
//!
//! ```text
//!  agent ──LAUNCH, KILL, MESSAGE──▶ node ──▶ one worker a Pod ──▶ runtime (containerd by CRI, or a fake)
//!        ◀──UPDATE {status}──────────┘             ▲  │
//!                                          listing ┘  └──▶ volumes, images, hooks, Events
//!  API server ──mTLS──▶ door: logs, exec, attach, port-forward
//! ```
//!
//! Read [`node`] first (what the agent says and what it is told), then `pod/worker.rs` (how one Pod's machine of
//! `executor-core` is driven). The process may be killed at any time: containers run on, and the next one adopts them by
//! what the runtime lists. The private containerd, too, outlives it.

pub mod agent;
pub mod api;
pub mod hollow;
pub mod image;
pub mod labels;
pub mod node;
pub mod runtime;

mod cgroups;
mod clearing;
mod cni;
mod config;
mod containerd;
mod door;
mod events;
mod garbage;
mod http_client;
mod listing;
mod lock;
mod logs;
mod pod;
mod pulls;
mod remains;
mod setup;
mod shared;
mod streams;
mod tls;
mod volumes;

pub use clearing::clear_node;
pub use cni::taken_by as pod_network_taken_by;
pub use config::{CONFIG_ENV, Config, ConfigError};
pub use node::End;
pub use remains::{Remnant, find as find_remains};
pub use setup::{RunError, RuntimeChoice, Setup, run, start};
/// SPDY/3.1 frames; the door's tests, and whoever else must speak to a streaming server, share them.
pub use streams::spdy;
