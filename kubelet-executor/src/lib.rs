//! The executor that runs Pods on a node: a custom executor for the Mesos agent, a kubelet for the Kubernetes API.
//!
//! ```text
//!  agent ──LAUNCH, KILL, MESSAGE──▶ task loop ──▶ one worker per Pod ──▶ runtime (containerd over CRI, or a fake)
//!        ◀──UPDATE {status}──────────┘                 ▲  │
//!                                              PLEG ───┘  └──▶ volumes, images, hooks, Events
//!  API server ──mTLS──▶ server: logs, exec, attach, port-forward
//! ```
//!
//! Read `node/task_loop.rs` first (calls and events of the agent), then `pod/worker.rs` (how the state machine of
//! `executor-core` is driven). The process may be killed at any time: containers keep running, and the next executor
//! adopts them from the runtime's listing. The private containerd outlives it as well.
//!
//! The modules, lowest first; none imports from one that is listed after it (`cargo xtask tidy` checks it):
//!
//! | module | content |
//! |---|---|
//! | `config` | the node's configuration file |
//! | `tls` | TLS configurations with the node's certificate |
//! | `metrics` | the metrics of `/metrics` |
//! | `machine` | the host: cgroups, the node's lock, the Pod network |
//! | `api` | access to the Kubernetes API, the Event recorder |
//! | `agent` | the Mesos executor API |
//! | `runtime` | the container runtime behind one trait, the private containerd, image archives |
//! | `pod` | the worker of one Pod: sandbox, containers, volumes, hooks, image pulls, logs |
//! | `task_container` | containers of images in which framework tasks run |
//! | `node` | the loop between agent and Pods, the PLEG, log rotation, garbage collection, teardown |
//! | `server` | the node's HTTPS server: logs, exec, attach, port-forward |
//! | `setup` | wiring |

pub mod agent;
pub mod api;
pub mod pod;
pub mod runtime;
pub mod server;
pub mod task_container;

mod config;
mod machine;
mod metrics;
mod node;
mod setup;
mod stop_signals;
mod tls;

pub use config::{CONFIG_ENV, Config, ConfigError};
/// Patterns of sysctls, for the configuration.
pub use executor_core::{disk_pressure, sysctl};
pub use machine::{lock::executor_runs, pod_network::conflicting_interface};
pub use node::{
    leftovers::{OrphanedResource, find as find_leftovers},
    stopping::StoppingNode,
    task_loop::ExitReason,
    teardown::teardown_node,
};
/// SPDY/3.1 frames, shared with the tests of the node's server.
pub use server::streams::spdy;
pub use setup::{RunError, RuntimeChoice, Setup, run, start};
