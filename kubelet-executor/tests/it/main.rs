//! The whole executor: with fakes, and with a real private containerd where the machine can run one.

// Clippy does not recognize helper functions of tests.
#![allow(clippy::unwrap_used)]

mod client;
mod containerd;
mod fakes;
mod fixture;
mod node_rules;
mod runtimes;
