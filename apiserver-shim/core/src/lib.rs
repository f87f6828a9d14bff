//! What the facade decides, purely: no clock, no store, no socket. Everything here is a function from what is known to what
//! shall be done; the shell (`apiserver-shim`) looks, asks, and carries out.
//!
//! Where to look: `controllers` (what the cluster should do next, one noun a file), `scheduler` (which Pod goes on which
//! offer, and why others wait), `audit` (whether the state that results keeps its invariants); `rows` is the vocabulary of
//! all three.

pub mod audit;
pub mod controllers;
pub mod definition;
pub mod kinds;
pub mod pod_cidrs;
pub mod rows;
pub mod scheduler;

#[cfg(test)]
mod testing;
