//! The whole cluster in one thread on a virtual clock: a real master, real agents, and scripted executors and frameworks,
//! over a network that delays, cuts and loses, in processes that crash, also between a write and what depends on it.
//!
//! [`run`] plays one seed. The same seed gives the same events in the same order, and hence the same [`Report::hash`]. The
//! kernel's auditor looks at the master after every step, the API server's after every write of the scheduler, at objects
//! and at what really runs. What else must hold while the cluster runs, and when it has come to rest after the last fault,
//! is in `checks`.
//!
//! Read in this order: `world` (clock, queue, log), `network`, `control` (the master's process), `node` (the agents'
//! processes and their containers), `executor`, `framework`, `api_server` and `scheduler`
//! (the Kubernetes side: a store that survives, and the scheduler machine of `shim_core`, which does not), `faults`, `checks`.

mod api_server;
mod audit;
mod checks;
mod control;
mod executor;
mod faults;
mod framework;
mod network;
mod node;
mod process;
mod random;
mod scheduler;
mod situations;
mod world;

use std::time::Duration;

pub use situations::{Situation, Situations};

/// What to play.
#[derive(Debug, Clone)]
pub struct Options {
    /// How many machines.
    pub nodes: usize,
    /// How many tasks the batch framework wants done, and how many pods the other one.
    pub work: usize,
    /// How long faults happen.
    pub faults: Duration,
    /// How long the cluster may take to come to rest after the last one.
    pub converge_within: Duration,
    /// Whether to keep the text of the event log.
    pub log: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            nodes: 3,
            work: 5,
            faults: Duration::from_secs(40),
            converge_within: Duration::from_secs(1800),
            log: false,
        }
    }
}

/// What came of it.
#[derive(Debug, Clone)]
pub struct Report {
    /// Which seed.
    pub seed: u64,
    /// How many events there were.
    pub events: u64,
    /// How many faults.
    pub faults: u64,
    /// How much virtual time passed.
    pub elapsed: Duration,
    /// Of all events, in order.
    pub hash: u64,
    /// The event log, if it was asked for.
    pub log: String,
    /// Whatever must not be. Empty is as it should be.
    pub failures: Vec<String>,
    /// Which rare situations occurred.
    pub situations: Situations,
}

/// Plays one seed.
pub fn run(seed: u64, options: &Options) -> Report {
    world::World::new(seed, options).play()
}
