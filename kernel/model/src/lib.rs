//! The kernel's values: ids, roles, resources, agents, frameworks, tasks, offers, and the calls and events exchanged
//! between components. No module reads a clock, generates random numbers or does I/O.
//!
//! Names and numbers are those of Apache Mesos, whose clients the kernel serves. Each noun has its own file.

pub mod agent;
pub mod caller;
pub mod container;
pub mod container_path;
pub mod container_usage;
pub mod executor;
pub mod framework;
pub mod ids;
pub mod labels;
pub mod offer;
pub mod offer_preferences;
pub mod operation;
pub mod operator;
pub mod oversubscription;
pub mod quota;
pub mod random;
pub mod resources;
pub mod role_report;
pub mod roles;
pub mod scheduler;
pub mod task;
pub mod text;
pub mod time;
pub mod wait;
