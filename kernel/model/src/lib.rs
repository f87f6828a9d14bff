//! The nouns of the kernel and their arithmetic: ids, roles, resources, agents, frameworks, tasks, offers, and the calls
//! and events that pass between them. Values only: nothing here reads a clock, draws a number or touches a socket.
//!
//! Names and numbers are those of Apache Mesos, because its clients speak them. Each noun is one file.

pub mod agent;
pub mod executor;
pub mod framework;
pub mod ids;
pub mod labels;
pub mod offer;
pub mod offer_wishes;
pub mod operator;
pub mod resources;
pub mod roles;
pub mod scheduler;
pub mod task;
pub mod time;
