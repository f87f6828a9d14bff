//! The host: cgroups, the lock on the node's directory, the Pod network, and pipes that containerd leaves full.

pub(crate) mod cgroups;
pub(crate) mod dead_pipes;
pub(crate) mod lock;
pub mod pod_network;
