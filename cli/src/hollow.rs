//! Hollow nodes: simulated machines that report Pods as running without running them, for load tests.

use std::{cell::LazyCell, sync::Arc};

use bytes::Bytes;
use kernel::{
    hollow::{HollowHandle, HollowOptions},
    server::MasterHandle,
};
use kernel_model::{resources::Attribute, task::TaskState};
use kubelet_executor::pod::simulated::SimulatedPod;

use crate::progress::Progress;

/// The agent attribute with the taints with which its Node is created.
const TAINTS_ATTRIBUTE: &str = "catamaran.dev/register-with-taints";
/// The taint of hollow nodes.
const TAINT: &str = "catamaran.dev/hollow=true:NoSchedule";

/// Starts `count` hollow nodes; `None` for zero.
pub fn start(master: &MasterHandle, count: u32, progress: &Progress) -> Option<HollowHandle> {
    if count == 0 {
        return None;
    }
    progress.doing(&format!("adding {count} hollow nodes"));
    let mut options = HollowOptions::new();
    // Pods that are to run are not placed where nothing runs.
    options.attributes = vec![Attribute::text(TAINTS_ATTRIBUTE, TAINT)];
    options.status_data = Arc::new(|agent, task, states| {
        // Tasks of other frameworks carry other data.
        let pod = LazyCell::new(|| SimulatedPod::read(&task.data).ok());
        let data = |state: &TaskState| {
            let running = match state {
                TaskState::Starting => false,
                TaskState::Running => true,
                // A terminal state needs no Pod status; the API server keeps the last one.
                _ => return Bytes::new(),
            };
            pod.as_ref().map(|pod| pod.status_data(&agent.ip, running)).unwrap_or_default()
        };
        states.iter().map(data).collect()
    });
    Some(kernel::hollow::start(count, master, options))
}
