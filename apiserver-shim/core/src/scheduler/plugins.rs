//! The plugins, one a file, named as upstream names them. `framework::DEFAULT_PLUGINS` has their order and weights: the
//! first that refuses a node is the reason that is reported.
//!
//! Ours are `NodeRuntime`, `KernelOffers` (facts that the kernel knows) and `UnsupportedConstraints`. `node_admission` is
//! no plugin: it is what upstream's kubelet checks.

pub mod default_preemption;
pub mod kernel_offers;
pub mod node_admission;
pub mod node_affinity;
pub mod node_name;
pub mod node_ports;
pub mod node_resources_fit;
pub mod node_runtime;
pub mod node_unschedulable;
pub mod priority_sort;
pub mod scheduling_gates;
pub mod selector_spread;
pub mod taint_toleration;
pub mod unsupported_constraints;

#[cfg(test)]
#[path = "plugins/tests.rs"]
mod tests;
