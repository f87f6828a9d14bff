//! A node as a plugin sees it for one Pod: its `NodeInfo`, the placements of the present cycle, and its offers.

use std::sync::Arc;

use super::PodContext;
use crate::scheduler::{Amounts, HostPort, NodeInfo, SharedLister};

/// The Pods that a cycle placed on a node, and those that are nominated to it. They are not in the `NodeInfo`, because some launches may fail.
#[derive(Debug, Default, Clone)]
pub struct Placed {
    pub(crate) pods: usize,
    pub(crate) host_ports: Vec<HostPort>,
    pub(crate) requested: Option<Box<Amounts>>,
    /// The unused offers by role. A node has offers to one or two roles.
    pub(crate) left: Vec<(Arc<str>, Amounts)>,
}

/// The value for a node without placements.
pub(crate) static NOTHING_PLACED: Placed =
    Placed { pods: 0, host_ports: Vec::new(), requested: None, left: Vec::new() };

impl Placed {
    pub(crate) fn left(&self, role: &str) -> Option<&Amounts> {
        self.left.iter().find(|(of, _)| **of == *role).map(|(_, left)| left)
    }
}

/// A node as seen for one Pod.
#[derive(Clone, Copy)]
pub struct NodeView<'a> {
    /// The node without the present cycle's placements.
    pub info: &'a NodeInfo,
    pub(crate) placed: &'a Placed,
    pub(crate) offered: Option<&'a Amounts>,
    pub(crate) class_pods: u32,
    /// Whether `placed` contains nominated Pods, for which a part of the offers is left.
    pub(crate) leaves_room: bool,
    pub(crate) lister: &'a dyn SharedLister,
}

impl<'a> NodeView<'a> {
    /// The kernel's offers of the node to the Pod's role, without what the cycle has used.
    pub fn offered(&self) -> Option<&'a Amounts> {
        self.offered
    }

    /// Whether the kernel offers what it must offer of a charge.
    pub fn offers(&self, charge: &Amounts) -> bool {
        self.offered.is_some_and(|offered| offered.holds(&self.info.charge_of_kernel(charge)))
    }

    /// Whether enough is left for the Pods that are nominated to the node if the Pod gets its resources.
    pub fn leaves_room(&self, pod: &PodContext<'_>) -> bool {
        if !self.leaves_room || pod.is_bound() {
            return true;
        }
        let mut left = self.info.left();
        if let Some(in_cycle) = self.requested_in_cycle() {
            left.subtract(in_cycle);
        }
        left.holds(pod.charge)
    }

    /// The number of other Pods on the node. A bound Pod is among the node's Pods.
    pub fn other_pods(&self, pod: &PodContext<'_>) -> usize {
        (self.info.pods().len() + self.placed.pods).saturating_sub(usize::from(pod.is_bound()))
    }

    /// The requests of the node's Pods.
    pub fn requested(&self) -> &'a Amounts {
        &self.info.requested
    }

    /// The requests of the Pods that this cycle placed on the node.
    pub fn requested_in_cycle(&self) -> Option<&'a Amounts> {
        self.placed.requested.as_deref()
    }

    /// The host ports in use.
    pub fn used_ports(&self) -> impl Iterator<Item = &'a HostPort> {
        self.info.used_ports.iter().chain(&self.placed.host_ports)
    }

    /// Whether the kernel's offers of the node to the Pod's role have its host ports, as far as those are a resource.
    pub fn offers_ports(&self, pod: &PodContext<'_>) -> bool {
        let ports = self.info.ports.of(&pod.shape().host_ports);
        ports.is_empty() || self.lister.has_ports(self.info, &pod.pod.role, &ports)
    }

    /// The number of Pods on the node with the same controller.
    pub fn same_owner_pods(&self, pod: &PodContext<'_>) -> u32 {
        let owner = pod.pod.owner.as_deref();
        owner.map_or(0, |owner| self.lister.same_owner_pods(self.info, owner) + self.class_pods)
    }
}
