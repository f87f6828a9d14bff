//! The life of a Pod's task, as the scheduler knows it. The API server's Pod phase says what containers do; this says how
//! far the launch is and what the scheduler may do next.
//!
//! ```text
//!                 ┌────────── refused, intent not written ──────────┐
//!                 ▼                                                 │
//!  Unscheduled ──cycle──▶ Intended ──journal written──▶ Launched ──accepted──▶ Binding ──written──▶ Bound
//!    ▲    │   └─bound already: no intent needed─────────▶  │  └─accepted, bound already──────────────▶ │
//!    │    └─found in the journal, bound by hand──┐         │ no answer, refused as invalid             │
//!    │                                           ▼         ▼                                           ▼
//!    └── the kernel has no such task ───────── Requested ◀─┴─ every subscription ─────────────────── Known
//!                                                │  ▲                                              │   │
//!                                                └──┴──────────── the kernel has it ──────────────▶┘   │
//!                                                                          Ended ◀── Ending ◀── kill ──┘
//! ```

/// How far the task of one Pod is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TaskPhase {
    /// There is no task. A Pod that needs one is in the scheduling queue.
    Unscheduled,
    /// The kernel has been asked whether it has a task. Nothing is launched before the answer.
    Requested,
    /// A cycle chose an agent, and the launch intent is being written to the journal. Nothing has been sent.
    Intended,
    /// The ACCEPT was sent; its outcome, or the turn of the binding, is open.
    Launched,
    /// The kernel accepted the launch, and the binding is being written.
    Binding,
    /// The binding is written, and the kernel has said nothing of the task since.
    Bound,
    /// The Pod is bound, and the kernel has reported the task.
    Known,
    /// A kill was sent for the task of a Pod that is being deleted.
    Ending,
    /// The end of the task is in the store.
    Ended,
}

impl TaskPhase {
    /// Every phase, in order.
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

    /// The phases that may follow this one. Whatever is not `Unscheduled` may become `Requested`: a new subscription asks
    /// about everything, and so does a write that failed.
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

    /// Whether `next` may follow. Staying is no transition.
    pub fn may_become(self, next: TaskPhase) -> bool {
        self == next || self.successors().contains(&next)
    }

    /// Whether a launch is under way whose agent is chosen: only that agent's updates concern it.
    pub fn is_launching(self) -> bool {
        matches!(self, TaskPhase::Intended | TaskPhase::Launched | TaskPhase::Binding)
    }

    /// Whether a task of the Pod runs, as far as the scheduler knows, and a kill would reach it.
    pub fn has_task(self) -> bool {
        matches!(self, TaskPhase::Bound | TaskPhase::Known | TaskPhase::Ending)
    }
}

#[cfg(test)]
#[path = "task_phase/tests.rs"]
mod tests;
