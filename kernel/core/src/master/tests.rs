//! The master from outside: events in, a readable log of effects out. Every step is audited.

mod agents;
pub(crate) mod cluster;
mod frameworks;
mod tasks;
mod wishes;
