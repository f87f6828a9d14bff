//! A whole cluster in one thread on a virtual clock: the state machines of master, agents and scheduler, and scripted
//! executors and frameworks. The network delays and loses messages, also in one direction only, and cuts connections. Processes
//! crash, also between a write and the effects that depend on it, and clocks jump. Half of the seeds also have quotas, weights and
//! reservations by operators, preemption, and frameworks with persistent volumes and on the machine of `libmesos`.
//!
//! [`run`] plays one seed. The same seed gives the same events in the same order, and hence the same [`Report::hash`]. The
//! kernel's audit checks the master after every step; the API server's audit compares objects and running tasks after every
//! write of the scheduler. `checks` has what else must hold once the cluster is at rest after the last fault.
//!
//! Read in this order: `world` (clock, queue, log), `network`, `control` (the master's process), `node` (the agents'
//! processes and their containers), `executor`, `framework`, `api_server` and `scheduler`
//! (the Kubernetes side: a store that survives crashes, and the scheduler machine of `shim_core`), `variety` with
//! `operators`, `storage` and `java`, `faults`, `acceptance`, `order`, `ledger`, `checks`.

mod acceptance;
mod api_server;
mod audit;
mod checks;
mod control;
mod executor;
mod faults;
mod framework;
mod java;
mod ledger;
mod network;
mod node;
mod operators;
mod order;
mod process;
mod random;
mod scheduler;
mod situations;
mod storage;
mod variety;
mod world;

use std::time::Duration;

pub use situations::{Situation, Situations};

/// Options of a run.
#[derive(Debug, Clone)]
pub struct Options {
    /// Number of machines.
    pub nodes: usize,
    /// Maximum number of tasks of each framework at the start.
    pub work: usize,
    /// How long faults are injected.
    pub faults: Duration,
    /// Time limit for the cluster to come to rest after the last fault.
    pub converge_within: Duration,
    /// Whether to keep the event log's text.
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

/// The result of a run.
#[derive(Debug, Clone)]
pub struct Report {
    /// The seed.
    pub seed: u64,
    /// Number of events.
    pub events: u64,
    /// Number of injected faults.
    pub faults: u64,
    /// Virtual time that passed.
    pub elapsed: Duration,
    /// Hash of all events in order.
    pub hash: u64,
    /// The event log; empty unless the options ask for it.
    pub log: String,
    /// Violations of what must hold; empty if the run is correct.
    pub failures: Vec<String>,
    /// The rare situations that occurred.
    pub situations: Situations,
}

/// Runs one seed.
pub fn run(seed: u64, options: &Options) -> Report {
    world::World::new(seed, options).play()
}
