//! The executor of Kubernetes Pods on one machine: a custom executor in the agent's eyes, a kubelet in the API's.
//!
//! ```text
//!  agent ──LAUNCH, KILL, MESSAGE──▶ node ──▶ one worker a Pod ──▶ runtime (containerd by CRI, or a fake)
//!        ◀──UPDATE {status}──────────┘             ▲  │
//!                                          listing ┘  └──▶ volumes, images, hooks, Events
//!  API server ──mTLS──▶ server: logs, exec, attach, port-forward
//! ```
//!
//! Read `node/task_loop.rs` first (what the agent says and what it is told), then `pod/worker.rs` (how one Pod's machine of
//! `executor-core` is driven). The process may be killed at any time: containers run on, and the next one adopts them by
//! what the runtime lists. The private containerd, too, outlives it.
//!
//! The modules, lowest first; none imports from one that is listed after it (`cargo xtask tidy` checks it):
//!
//! | module | what it has |
//! |---|---|
//! | `config` | the node's configuration file |
//! | `transport` | the HTTP client and TLS configurations |
//! | `machine` | the host: control groups, the node's lock, the Pod network |
//! | `api` | access to the Kubernetes API, the Event recorder |
//! | `agent` | the Mesos executor API |
//! | `runtime` | the container runtime behind one trait, the private containerd, image archives |
//! | `pod` | the worker of one Pod: sandbox, containers, volumes, hooks, image pulls, logs |
//! | `node` | the loop between agent and Pods, runtime listings, garbage collection, teardown |
//! | `server` | the node's HTTPS server: logs, exec, attach, port-forward |
//! | `setup` | wiring |

pub mod agent;
pub mod api;
pub mod pod;
pub mod runtime;
pub mod server;

mod config;
mod machine;
mod node;
mod setup;
mod transport;

pub use config::{CONFIG_ENV, Config, ConfigError};
pub use machine::pod_network::taken_by as pod_network_taken_by;
pub use node::{
    leftovers::{Remnant, find as find_remains},
    task_loop::End,
    teardown::clear_node,
};
/// SPDY/3.1 frames, shared with the tests of the node's server.
pub use server::streams::spdy;
pub use setup::{RunError, RuntimeChoice, Setup, run, start};
