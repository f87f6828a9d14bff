//! The scheduler: which pending Pod becomes a task on which node, and why the others wait.
//!
//! ```text
//! pending Pods ──queue──▶ classes ──Filter──▶ candidates ──Score──▶ Reserve, Permit, PreBind ──▶ Outcome::Place
//! offers, nodes ────────────┘                     └─ none ─▶ Outcome::Wait with typed reasons ──▶ queue
//! ```
//!
//! `machine` is the scheduler as a state machine; the other modules are its parts. `framework` has the extension points and
//! profiles, `plugins` the rules, one file each. `Scheduler::schedule` runs one cycle: many Pods against many offers. Pods
//! with equal requirements form an equivalence class. A class evaluates each node once, keeps the results in a heap across
//! cycles (`score_cache`), and evaluates only changed nodes again. So scheduling a Pod takes a few heap operations,
//! regardless of the number of nodes. `queue` holds Pods until an event can help them. `launch_journal` records launch
//! intents before launches are sent, `task_status` decides what follows for a Pod and its task, and `reasons` has the texts
//! of all reasons. See `docs/decisions/0011`.

mod amounts;
mod binding;
mod change_log;
mod configuration;
mod cycle;
mod domain_counts;
mod domain_ranking;
pub mod framework;
mod launch_journal;
pub mod machine;
mod node_affinity;
mod node_info;
mod node_infos;
mod normalization;
pub mod plugins;
mod pod_edits;
pub mod preemption;
mod queue;
mod reasons;
mod reports;
mod score_cache;
mod shape;
mod task_phase;
mod task_status;
#[cfg(test)]
mod testing;
mod toleration;
mod volumes;

pub use amounts::Amounts;
pub use binding::{BindRefusal, BindRequest, bind, bind_encoded, topology_labels, with_status};
pub use configuration::{ConfigurationError, SchedulerConfiguration};
pub use cycle::{Decision, Outcome, Scheduler};
pub use domain_counts::{DomainCount, DomainCounts, DomainQuery};
pub use framework::{
    ClusterEvent, EventSet, ExtensionPoint, PluginSet, Profile, Profiles, QueueingHint, Refusal,
};
pub use launch_journal::{IntentRecord, LaunchJournal};
pub use node_affinity::{NodeAffinity, Requirement, Term, Test};
pub use node_info::{AgentPorts, Held, NodeCapacity, NodeInfo, SharedLister};
pub use node_infos::{NodeInfos, Nomination};
pub use pod_edits::{NominatedNode, set_unschedulable};
pub use queue::{
    BACKOFF_FIRST, BACKOFF_MAX, Backoff, FLUSH_AFTER, PendingPod, QueueLengths, SchedulingQueue,
};
pub use reasons::{Preemption, Reason, Report, held_by_intent};
pub use reports::{AttemptResult, SchedulerStats};
pub(crate) use shape::resized_requests;
pub use shape::{DeviceClaim, HostPort, PodShape, Shapes, UnsupportedConstraint};
pub use task_phase::TaskPhase;
pub use task_status::{
    LaunchRefusal, Observation, ObservedTaskState, PodView, Step, TaskView, observe, resolve_task_status,
};
pub use toleration::Toleration;
pub use volumes::{
    ClaimReference, ClaimRefusal, DelayingClass, PodVolumes, ProvisionedClaim, Topologies, Volume,
    VolumeClaim,
};

/// The default of `spec.schedulerName`.
pub const NAME: &str = "default-scheduler";
