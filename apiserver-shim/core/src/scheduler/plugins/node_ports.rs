//! Host ports are had by one Pod of a machine only.

use crate::scheduler::{HostPort, NodeInfo, PendingPod, Reason};

/// Refuses machines where a port is taken, by a Pod that is bound or by one `placed` in this cycle.
pub fn filter(pod: &PendingPod, machine: &NodeInfo, placed: &[HostPort]) -> Option<Reason> {
    let taken =
        |wanted: &HostPort| machine.host_ports.iter().chain(placed).any(|port| port.conflicts_with(wanted));
    pod.shape.host_ports.iter().any(taken).then_some(Reason::HostPorts)
}
