//! Orders the queue by priority, then by age.

use std::cmp::Ordering;

use crate::scheduler::{
    PendingPod,
    framework::{Plugin, QueueSort},
};

/// The `PrioritySort` plugin.
#[derive(Debug)]
pub struct PrioritySort;

impl Plugin for PrioritySort {
    fn name(&self) -> &'static str {
        "PrioritySort"
    }

    fn queue_sort(&self) -> Option<&dyn QueueSort> {
        Some(self)
    }
}

impl QueueSort for PrioritySort {
    fn compare(&self, a: &PendingPod, b: &PendingPod) -> Ordering {
        let (one, other) = (&a.pod, &b.pod);
        let names = || {
            let (one, other) = (one.header(), other.header());
            (&one.namespace, &one.name).cmp(&(&other.namespace, &other.name))
        };
        let priority = other.shape.priority.cmp(&one.shape.priority);
        priority.then_with(|| one.created.cmp(&other.created)).then_with(names)
    }
}
