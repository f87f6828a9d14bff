//! Scenario tests of the master: events in, a readable log of effects out. Every step is audited.

mod absence;
mod agents;
pub(crate) mod cluster;
mod draining;
mod executors;
mod explain;
mod frameworks;
mod guarantees;
mod hoarding;
mod images;
mod offer_preferences;
mod operations;
mod oversubscription;
mod pending_operations;
mod quota;
mod reservations;
mod resizes;
mod run_as;
pub(crate) mod tampering;
mod tasks;
