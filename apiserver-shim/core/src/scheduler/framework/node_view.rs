//! One node as a plugin sees it for one Pod: the node's books, what the cycle has placed there, and what is offered of it.

use std::sync::Arc;

use super::PodContext;
use crate::scheduler::{Amounts, HostPort, NodeInfo, SharedLister};

/// What a cycle has placed on a node. It is not in the node's books: some of it may fail.
#[derive(Debug, Default)]
pub struct Placed {
    pub(crate) pods: usize,
    pub(crate) host_ports: Vec<HostPort>,
    pub(crate) requested: Option<Box<Amounts>>,
    /// What is left of offers, by role. A node has offers in one or two roles.
    pub(crate) left: Vec<(Arc<str>, Amounts)>,
}

/// A node on which nothing was placed.
pub(crate) static NOTHING_PLACED: Placed =
    Placed { pods: 0, host_ports: Vec::new(), requested: None, left: Vec::new() };

impl Placed {
    pub(crate) fn left(&self, role: &str) -> Option<&Amounts> {
        self.left.iter().find(|(of, _)| **of == *role).map(|(_, left)| left)
    }
}

/// A node for one Pod.
#[derive(Clone, Copy)]
pub struct NodeView<'a> {
    /// The node's books.
    pub info: &'a NodeInfo,
    pub(crate) placed: &'a Placed,
    pub(crate) offered: Option<&'a Amounts>,
    pub(crate) class_pods: u32,
    pub(crate) lister: &'a dyn SharedLister,
}

impl<'a> NodeView<'a> {
    /// What the kernel offers of the node to the Pod's role, less what the cycle has used of it.
    pub fn offered(&self) -> Option<&'a Amounts> {
        self.offered
    }

    /// How many other Pods the node has. A bound Pod is among the node's.
    pub fn other_pods(&self, pod: &PodContext<'_>) -> usize {
        (self.info.pods().len() + self.placed.pods).saturating_sub(usize::from(pod.is_bound()))
    }

    /// What the node's Pods request.
    pub fn requested(&self) -> &'a Amounts {
        &self.info.requested
    }

    /// What the Pods that this cycle has placed here request.
    pub fn requested_in_cycle(&self) -> Option<&'a Amounts> {
        self.placed.requested.as_deref()
    }

    /// The host ports in use.
    pub fn used_ports(&self) -> impl Iterator<Item = &'a HostPort> {
        self.info.used_ports.iter().chain(&self.placed.host_ports)
    }

    /// How many Pods of the Pod's controller the node has.
    pub fn same_owner_pods(&self, pod: &PodContext<'_>) -> u32 {
        let owner = pod.pod.owner.as_deref();
        owner.map_or(0, |owner| self.lister.same_owner_pods(self.info, owner) + self.class_pods)
    }
}
