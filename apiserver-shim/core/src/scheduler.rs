//! The scheduler: which pending Pod becomes a task on which offer, and why the others wait.
//!
//! ```text
//! pending Pods ──queue──▶ classes ──plugins (filters)──▶ candidates ──score──▶ Decision::Place
//! offers ─────────────────────────────┘                     └─ none ─▶ Decision::Wait with typed reasons
//! ```
//!
//! One `schedule` call is one cycle: many Pods against many offers. Pods that ask for the same are one class; a class looks
//! at each machine once, keeps what it found in a heap from cycle to cycle (`rankings`), and looks again only at what has
//! changed, so that a Pod costs a few heap steps however many nodes there are. `promise_book` is what is written of launches
//! before they leave, `promises` decides what becomes of them after a crash; `reasons` is the one place that words why a
//! Pod waits.

mod amounts;
mod cycle;
mod node_affinity;
pub mod plugins;
mod promise_book;
mod promises;
mod queue;
mod rankings;
mod reasons;
mod shape;
mod snapshot;
mod toleration;

pub use amounts::Amounts;
pub use cycle::{Decision, Outcome, schedule};
pub use node_affinity::{NodeAffinity, Requirement, Term, Test};
pub use promise_book::{PromiseBook, PromiseRecord};
pub use promises::{Known, PodView, Step, TaskView, settle};
pub use queue::{BACKOFF_FIRST, BACKOFF_MAX, PendingPod, Retry, in_order};
pub use rankings::Rankings;
pub use reasons::{Preemption, Reason, Report, held_by_promise};
pub use shape::{HostPort, PodShape, Shapes};
pub use snapshot::{Board, Held, Machine};
pub use toleration::Toleration;

/// The name that Pods ask for in `spec.schedulerName`.
pub const NAME: &str = "default-scheduler";
