//! Evicts Pods of lower priority for a Pod that no node can take; see `scheduler::preemption`.

use crate::scheduler::{
    PendingPod,
    framework::{Plugin, PostFilter},
    preemption::{DryRun, PostFilterResult, preempt},
};

/// The `DefaultPreemption` plugin.
#[derive(Debug)]
pub struct DefaultPreemption;

impl Plugin for DefaultPreemption {
    fn name(&self) -> &'static str {
        "DefaultPreemption"
    }

    fn post_filter(&self) -> Option<&dyn PostFilter> {
        Some(self)
    }
}

impl PostFilter for DefaultPreemption {
    fn post_filter(&self, pod: &PendingPod, dry_run: &dyn DryRun) -> PostFilterResult {
        preempt(pod, dry_run)
    }
}
