//! The executor as a whole: against fakes, and against a real private containerd where this machine can run one.

mod client;
mod containerd;
mod fakes;
mod runtimes;
mod stage;
