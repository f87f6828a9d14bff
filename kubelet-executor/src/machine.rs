//! The host: cgroups, mounts, the lock on the node's directory, the Pod network, virtual addresses, questions about the packet
//! filter, and pipes that containerd leaves full.

pub(crate) mod cgroups;
pub(crate) mod cluster_dns;
mod conntrack;
pub(crate) mod dead_pipes;
pub(crate) mod lock;
pub(crate) mod mounts;
pub(crate) mod netfilter;
pub mod pod_network;
pub(crate) mod virtual_addresses;
