//! The Kubernetes facade: an API server over the store, in one tower service.
//!
//! Reading order: [`server`] starts it and [`service`] routes; `http/` has one file per concern; [`request_pipeline`]
//! is the only writer of user intent; [`registry`] keeps objects and [`watch_cache`] shows them; controllers and the
//! scheduler run beside it. Decisions are in `shim-core`, shapes in `shim-model`.

pub mod authentication;
pub mod authorization;
pub mod bootstrap;
pub mod controller_runner;
pub mod deletion;
pub mod event_versions;
pub mod fields;
pub mod http;
pub mod kernel_client;
pub mod node_endpoints;
pub mod node_proxy;
pub mod object;
pub mod pod_rows;
pub mod registry;
pub mod request_pipeline;
pub mod runners;
pub mod scheduler_runner;
pub mod selection;
pub mod server;
pub mod service;
pub mod service_addresses;
pub mod watch_cache;
