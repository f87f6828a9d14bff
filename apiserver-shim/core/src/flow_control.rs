//! Priority and fairness: which requests are served at once when there are too many. Pure; the shell
//! (`apiserver-shim/src/flow_control`) has the clock, the locks and the waiting requests.
//!
//! Reading order: `classification` (a request matches a FlowSchema, which leads to a priority level), `limits` (how many seats
//! each level has), `queue_set` (who of a level gets them), `drops` (when refused clients shall return), `dump` (what operators see of
//! all that), `bootstrap` (the default objects).

pub mod bootstrap;
pub mod classification;
pub mod drops;
pub mod dump;
pub mod limits;
pub mod queue_set;

pub use classification::{Distinguisher, FlowSchema, flow_hash, flow_schemas};
pub use drops::DropTracker;
pub use limits::{Demand, DemandStats, LevelLimits, PriorityLevel, priority_levels};
pub use queue_set::{Arrival, QueueSet, QueueSetConfig, Rejection, RequestKey, Started, Work};

/// The group of FlowSchemas and PriorityLevelConfigurations.
pub const GROUP: &str = "flowcontrol.apiserver.k8s.io";
