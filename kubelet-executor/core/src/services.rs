//! Services on a node: where the packets to a Service's addresses go, and the packet filter's rules for it.
//!
//! [`routes`] combines Services with their EndpointSlices, [`ruleset`] turns the result into nftables transactions. What an
//! address leads to is decided here alone; the shell watches the objects and applies transactions.

pub mod routes;
pub mod ruleset;

#[cfg(test)]
mod tests;
