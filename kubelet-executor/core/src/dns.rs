//! Cluster DNS: the names of Services and their endpoints, as the DNS-Based Service Discovery of Kubernetes (1.1.0) has them.
//!
//! [`message`] reads questions and writes answers, [`zone`] has the records. The shell has the sockets, and forwards what is not
//! of the cluster.

pub mod message;
pub mod zone;

#[cfg(test)]
mod tests;
