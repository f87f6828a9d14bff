//! The executor as a whole: against fakes, and against a real private containerd where this machine can run one.

// Everything here is a test, whatever clippy takes for one.
#![allow(clippy::unwrap_used)]

mod client;
mod containerd;
mod fakes;
mod runtimes;
mod stage;
