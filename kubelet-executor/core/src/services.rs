//! Services on a node: where the packets to a Service's addresses go, and the packet filter's rules for it.
//!
//! [`routes`] combines Services with their EndpointSlices, [`ruleset`] turns the result into nftables transactions. [`ranges`] are
//! those of cluster IPs, and [`health_checks`] what load balancers are told. What an
//! address leads to is decided here alone; the shell watches the objects and applies transactions. [`stale_flows`] says which UDP
//! flows lead to endpoints that are gone. [`ctnetlink`] has the messages with which the kernel forgets them, [`nf_tables`] those about
//! rules, and [`netlink`] what both are made of.

pub mod ctnetlink;
pub mod health_checks;
pub mod netlink;
pub mod nf_tables;
pub mod ranges;
pub mod routes;
pub mod ruleset;
pub mod stale_flows;

#[cfg(test)]
mod tests;
