//! The decisions of the kernel as pure machines: what comes in is an event, what goes out is a value that says what to
//! persist and what to do afterwards. Nothing here reads a clock, draws a number, or touches a socket or file.
//!
//! Read in this order: [`effect`] (the contract between a machine and its shell), [`master`] (`step` is its table of
//! contents), [`allocator`] (who is offered what), [`audit`] (the invariants), then the agent's machine.

pub mod effect;

pub mod agent;
pub mod allocator;
pub mod audit;
pub mod master;
pub mod shelf;
