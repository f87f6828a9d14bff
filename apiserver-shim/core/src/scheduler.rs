//! The scheduler: which pending Pod becomes a task on which offer, and why the others wait.
//!
//! ```text
//! pending Pods ──queue──▶ classes ──plugins (filters)──▶ candidates ──score──▶ Decision::Place
//! offers ─────────────────────────────┘                     └─ none ─▶ Decision::Wait with typed reasons
//! ```
//!
//! One `schedule` call is one cycle: many Pods against many offers. Pods that ask for the same are one class; a class looks
//! at each machine once, keeps what it found in a heap from cycle to cycle (`rankings`), and looks again only at what has
//! changed, so that a Pod costs a few heap steps however many nodes there are. `launch_journal` records launch
//! intents before launches leave, `task_status` decides what becomes of a Pod and its task; `reasons` is the one place that words why a
//! Pod waits.

mod amounts;
mod binding;
mod cycle;
mod launch_journal;
pub mod machine;
mod node_affinity;
pub mod plugins;
mod pod_edits;
mod queue;
mod rankings;
mod reasons;
mod shape;
mod snapshot;
mod task_phase;
mod task_status;
mod toleration;

pub use amounts::Amounts;
pub use binding::{BindRefusal, BindRequest, bind, bind_encoded, with_status};
pub use cycle::{Decision, Outcome, schedule};
pub use launch_journal::{IntentRecord, LaunchJournal};
pub use node_affinity::{NodeAffinity, Requirement, Term, Test};
pub use pod_edits::set_unschedulable;
pub use queue::{BACKOFF_FIRST, BACKOFF_MAX, PendingPod, Retry, in_order};
pub use rankings::Rankings;
pub use reasons::{Preemption, Reason, Report, held_by_intent};
pub use shape::{HostPort, PodShape, Shapes};
pub use snapshot::{Held, NodeInfo, SharedLister};
pub use task_phase::TaskPhase;
pub use task_status::{
    LaunchRefusal, Observation, ObservedTaskState, PodView, Step, TaskView, observe, resolve_task_status,
};
pub use toleration::Toleration;

/// The name that Pods ask for in `spec.schedulerName`.
pub const NAME: &str = "default-scheduler";
