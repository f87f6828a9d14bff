//! What one cycle sees: the machines in the order of their names, what runs there, and what is offered of them.

use std::sync::Arc;

use crate::rows::Node;

use super::{Amounts, HostPort};

/// A Node and what is taken of it.
#[derive(Debug, Clone)]
pub struct NodeInfo {
    /// The Node.
    pub node: Arc<Node>,
    /// All that the agent has for tasks of anybody.
    pub total: Amounts,
    /// How many Pods it may run.
    pub pods_max: usize,
    /// How many Pods are bound to it.
    pub pods: usize,
    /// What the Pods bound to it request.
    pub used: Amounts,
    /// Host ports that the Pods bound to it have.
    pub host_ports: Vec<HostPort>,
    /// What tasks of other frameworks have of it.
    pub held: Held,
    /// Packages without which nothing there can run containers.
    pub lacking: Option<Box<str>>,
}

/// What other frameworks have of a machine.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Held {
    pub amounts: Amounts,
    /// Their names, ascending.
    pub by: Vec<Box<str>>,
}

impl NodeInfo {
    /// What is left for Pods, given what both hulls run there.
    pub fn left(&self) -> Amounts {
        let mut left = self.total.clone();
        left.subtract(&self.used);
        left.subtract(&self.held.amounts);
        left
    }
}

/// What is known of machines beside themselves, asked for where a class of Pods looks at one.
pub trait SharedLister {
    /// What is free of the kernel's offers of a machine in a role, if there is one; the executor's own share is taken off
    /// already where it has to be started first.
    fn free(&self, machine: usize, role: &str) -> Option<&Amounts>;

    /// How many Pods of a controller run on a machine.
    fn same_owner_pods(&self, machine: usize, owner: &str) -> u32;
}
