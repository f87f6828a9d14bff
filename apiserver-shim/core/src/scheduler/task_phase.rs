//! The life cycle of a Pod's task from the scheduler's view. The Pod phase describes its containers; the task phase describes
//! the progress of the launch and what the scheduler may do next.
//!
//! ```text
//!                 ┌────────── refused, intent not written ──────────┐
//!                 ▼                                                 │
//!  Unscheduled ──cycle──▶ Intended ──journal written──▶ Launched ──accepted──▶ Binding ──written──▶ Bound
//!    ▲    │   └─bound already: no intent needed─────────▶  │  └─accepted, bound already──────────────▶ │
//!    │    └─found in the journal, client-bound───┐         │ no answer, refused as invalid             │
//!    │                                           ▼         ▼                                           ▼
//!    └── the kernel has no such task ───────── Requested ◀─┴─ every subscription ─────────────────── Known
//!                                                │  ▲                                              │   │
//!                                                └──┴──────────── the kernel has it ──────────────▶┘   │
//!                                                                          Ended ◀── Ending ◀── kill ──┘
//! ```

/// The phase of a Pod's task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TaskPhase {
    /// There is no task. A Pod that needs one is in the scheduling queue.
    Unscheduled,
    /// The kernel was asked whether it has a task. Nothing is launched before the answer.
    Requested,
    /// A cycle chose an agent and the launch intent is being written to the journal. Nothing has been sent.
    Intended,
    /// The ACCEPT was sent; it is unanswered, or the binding has not started.
    Launched,
    /// The kernel accepted the launch and the binding is being written.
    Binding,
    /// The binding is written; the kernel has not reported the task since.
    Bound,
    /// The Pod is bound, and the kernel has reported the task.
    Known,
    /// A kill was sent for the task of a Pod that is being deleted.
    Ending,
    /// The end of the task is stored.
    Ended,
}

impl TaskPhase {
    /// All phases, in order.
    pub const ALL: [TaskPhase; 9] = [
        TaskPhase::Unscheduled,
        TaskPhase::Requested,
        TaskPhase::Intended,
        TaskPhase::Launched,
        TaskPhase::Binding,
        TaskPhase::Bound,
        TaskPhase::Known,
        TaskPhase::Ending,
        TaskPhase::Ended,
    ];

    /// The phases that may follow. All but `Unscheduled` may become `Requested`, because a new subscription or a
    /// failed write leads to reconciliation.
    pub fn successors(self) -> &'static [TaskPhase] {
        use TaskPhase::*;
        match self {
            Unscheduled => &[Requested, Intended, Launched],
            Requested => &[Unscheduled, Bound, Known, Ended],
            Intended => &[Unscheduled, Requested, Launched],
            Launched => &[Unscheduled, Requested, Binding, Bound],
            Binding => &[Requested, Bound],
            Bound => &[Unscheduled, Requested, Known, Ending, Ended],
            Known => &[Unscheduled, Requested, Ending, Ended],
            Ending => &[Requested, Ended],
            Ended => &[Requested],
        }
    }

    /// Whether `next` may follow. Staying in a phase is not a transition.
    pub fn may_become(self, next: TaskPhase) -> bool {
        self == next || self.successors().contains(&next)
    }

    /// Whether a launch on a chosen agent is in progress, so that only that agent's updates count.
    pub fn is_launching(self) -> bool {
        matches!(self, TaskPhase::Intended | TaskPhase::Launched | TaskPhase::Binding)
    }

    /// Whether the Pod has a task that a kill would reach, as far as the scheduler knows.
    pub fn has_task(self) -> bool {
        matches!(self, TaskPhase::Bound | TaskPhase::Known | TaskPhase::Ending)
    }
}

#[cfg(test)]
#[path = "task_phase/tests.rs"]
mod tests;
