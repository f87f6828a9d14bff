//! Hollow nodes: simulated machines whose Pods run on paper, for load.

use std::sync::Arc;

use bytes::Bytes;
use kernel::{
    hollow::{HollowHandle, HollowOptions},
    server::MasterHandle,
};
use kernel_model::task::TaskState;

use crate::progress::Progress;

/// Starts as many as were asked for.
pub fn start(master: &MasterHandle, count: u32, progress: &Progress) -> Option<HollowHandle> {
    if count == 0 {
        return None;
    }
    progress.doing(&format!("adding {count} hollow nodes"));
    let mut options = HollowOptions::new();
    options.status_data = Arc::new(|agent, task, state| match state {
        TaskState::Starting => kubelet_executor::hollow::status_data(&task.data, &agent.ip, false),
        TaskState::Running => kubelet_executor::hollow::status_data(&task.data, &agent.ip, true),
        // The end of a task says enough; the facade keeps the last status.
        _ => Bytes::new(),
    });
    Some(kernel::hollow::start(count, master, options))
}
