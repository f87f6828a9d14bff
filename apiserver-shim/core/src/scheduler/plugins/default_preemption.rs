//! Reports whether preemption would help an unschedulable Pod. Evicting Pods of lower priority is not supported yet;
//! the report says so.

use crate::scheduler::{
    PendingPod, Preemption, Report,
    framework::{Plugin, PostFilter},
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
    fn post_filter(&self, pod: &PendingPod, report: &Report) -> Option<Preemption> {
        Some(Preemption { not_helpful: report.unresolvable, wanted: pod.pod.shape.priority > 0 })
    }
}
