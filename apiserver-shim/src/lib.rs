//! The Kubernetes API server over the store, as one tower service, with the controllers and the scheduler that run beside it.
//!
//! Rooms, lowest first; a module imports from its own room and from rooms above it in this list:
//! - [`metrics`]: the metrics behind `/metrics`, and the handles through which other layers count;
//! - [`storage`]: objects, the registry over the store, watch caches;
//! - [`node_endpoints`]: where the nodes' executors listen;
//! - [`service_client`]: clients of webhooks and aggregated API servers;
//! - [`webhook_client`]: calls webhooks;
//! - [`request`]: what a request asks for;
//! - [`flow_control`]: priority and fairness: makes requests wait or refuses them;
//! - [`auth`]: authentication and authorization;
//! - [`pipeline`]: the request pipeline, the only writer of user intent;
//! - [`custom_resources`]: serves what CustomResourceDefinitions define;
//! - [`aggregation`]: group-versions that other API servers answer for;
//! - [`controllers`]: runs the controllers of `shim-core`;
//! - [`scheduler`]: drives the scheduler machine against the store and the kernel;
//! - [`kernel_roles`]: shows and sets the kernel's roles as objects;
//! - [`http`]: request handlers, one file per HTTP concern;
//! - [`autoscaler`]: runs the HorizontalPodAutoscaler controller, a client of `http`;
//! - [`server`]: listener, TLS, bootstrap objects, startup and shutdown.
//!
//! Decisions are in `shim-core`, values in `shim-model`.

pub mod aggregation;
pub mod auth;
pub mod autoscaler;
pub mod controllers;
pub mod custom_resources;
pub mod flow_control;
pub mod http;
pub mod kernel_roles;
pub mod metrics;
pub mod node_endpoints;
pub mod pipeline;
pub mod request;
pub mod scheduler;
pub mod server;
pub mod service_client;
pub mod storage;
pub mod webhook_client;
