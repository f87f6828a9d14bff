//! Decisions about a Pod on its node, without access to the node.
//!
//! [`PodMachine`] is the state machine of one Pod. Its inputs are listings of the runtime, results of actions and
//! requests; its outputs are actions. The other modules compute container environments, downward API fields, files of
//! volumes and cgroup values. There is no clock, file access or runtime in this crate; the shell (`kubelet-executor`)
//! has those.
//!
//! Read [`machine`] first, then [`status`] (what kubectl shows) and [`probe`].

pub mod action;
pub mod admission;
pub mod audit;
pub mod backoff;
pub mod disk_pressure;
pub mod dns;
pub mod env;
pub mod eviction;
pub mod field;
pub mod hostname;
pub mod image_name;
pub mod log_line;
pub mod log_render;
pub mod machine;
pub mod node_access;
pub mod observed;
pub mod payload;
pub mod probe;
pub mod resources;
pub mod services;
pub mod spec;
pub mod status;
pub mod sysctl;
pub mod tag;
pub mod time;
pub mod usage;

pub use action::{Action, Effects, Event, PodOutcome};
pub use machine::PodMachine;
