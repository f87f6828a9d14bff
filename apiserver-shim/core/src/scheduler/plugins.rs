//! The plugins, one file each, under upstream's names. `framework::DEFAULT_PLUGINS` defines their order and weights;
//! the reason of the first plugin that refuses a node is reported.
//!
//! `NodeRuntime`, `KernelOffers` and `UnsupportedConstraints` have no upstream counterpart. `node_admission` is not a
//! plugin: it implements the checks of upstream's kubelet.

pub mod default_preemption;
pub mod dynamic_resources;
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
pub mod volume_binding;

#[cfg(test)]
#[path = "plugins/tests.rs"]
mod tests;
