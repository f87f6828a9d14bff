//! The kernel's decisions as pure state machines: an event comes in, and a value comes out that says what to persist
//! and what to do afterwards. Nothing here reads a clock, generates random numbers or does I/O.
//!
//! Reading order: [`effect`] (the contract between a machine and its shell), [`master`] (`step` is the table of
//! contents), [`allocator`] (which client is offered which agent), [`audit`] (the invariants), [`agent`],
//! [`builtin_executor`] (command tasks and task groups), [`preemption`] and [`oversubscription`] (functions that the machines call).

pub mod effect;

pub mod agent;
pub mod allocator;
pub mod audit;
pub mod builtin_executor;
mod id_generator;
pub mod master;
pub mod oversubscription;
pub mod preemption;
pub mod snapshot_map;
