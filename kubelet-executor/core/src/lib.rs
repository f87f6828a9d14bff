//! What should happen to a Pod on its machine, decided without touching the machine.
//!
//! [`PodMachine`] is the life of one Pod: it is told what was seen of its containers, what finished and what was asked,
//! and answers with actions. Beside it stand the pure parts of a container's making: environment, downward API, files of
//! volumes, cgroup values. No clock, no files, no runtime here; the shell (`kubelet-executor`) has those.
//!
//! Read [`machine`] first, then [`status`] (what kubectl shows) and [`probe`].

pub mod action;
pub mod audit;
pub mod backoff;
pub mod env;
pub mod field;
pub mod image_name;
pub mod log_line;
pub mod machine;
pub mod payload;
pub mod probe;
pub mod quantity;
pub mod resources;
pub mod seen;
pub mod spec;
pub mod status;
pub mod time;

pub use action::{Action, Effects, Event, Outcome};
pub use machine::PodMachine;
