//! The host: cgroups, the lock on the node's directory, and the Pod network.

pub(crate) mod cgroups;
pub(crate) mod lock;
pub mod pod_network;
