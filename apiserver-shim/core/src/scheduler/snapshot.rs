//! What one cycle sees: the machines, what runs there, and the offers.

use std::{collections::BTreeMap, sync::Arc};

use crate::rows::Node;

use super::{Amounts, HostPort};

/// A Node and what is taken of it.
#[derive(Debug, Clone)]
pub struct Machine {
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
    /// Nothing there can run containers.
    pub runtime_missing: bool,
}

/// What other frameworks have of a machine.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Held {
    pub amounts: Amounts,
    /// Their names, ascending.
    pub by: Vec<Box<str>>,
}

impl Machine {
    /// What is left for Pods, given what both hulls run there.
    pub fn left(&self) -> Amounts {
        let mut left = self.total.clone();
        left.subtract(&self.used);
        left.subtract(&self.held.amounts);
        left
    }
}

/// What the kernel offers of one machine in one role.
#[derive(Debug, Clone, Copy)]
#[allow(missing_docs)]
pub struct Offer<'a> {
    /// Index in [`Snapshot::machines`].
    pub machine: usize,
    pub role: &'a str,
    /// What is free; the executor's own share is taken off already where it has to be started first.
    pub free: &'a Amounts,
}

/// Pods of one controller per machine: `(index of the machine, count)`, ascending.
pub type Siblings = Vec<(usize, u32)>;

/// The machines.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// Every Node, in the order of names.
    pub machines: Vec<Machine>,
    /// Where Pods of the controllers of pending Pods run already.
    pub siblings: BTreeMap<Arc<str>, Siblings>,
}
