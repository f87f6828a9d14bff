//! The host: cgroups, mounts, the lock on the node's directory, the Pod network, virtual addresses and the health checks of their
//! Services, the machine's address, questions about the packet filter, and pipes that containerd leaves full.

pub(crate) mod cgroups;
pub(crate) mod cluster_dns;
mod conntrack;
pub(crate) mod dead_pipes;
mod health_checks;
pub(crate) mod host_address;
pub(crate) mod lock;
pub(crate) mod mounts;
pub(crate) mod netfilter;
pub mod pod_network;
pub(crate) mod virtual_addresses;
