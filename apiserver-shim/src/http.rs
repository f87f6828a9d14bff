//! HTTP handling, one file per concern. Reading order: [`crate::request::info`] parses the request, [`negotiation`]
//! chooses the encoding of the response, [`objects`] implements the verbs, [`list`] and [`watch`] serve collections,
//! and [`shapes`] and [`reply`] write the response.

mod aggregated;
pub mod apply;
mod audit;
pub mod body;
pub mod component_statuses;
mod connection_guards;
mod deadline;
mod delete_options;
pub mod discovery;
mod flow_control;
pub mod forward;
pub mod health;
mod impersonation;
pub mod list;
mod list_body;
mod measure;
mod messages;
pub mod negotiation;
pub mod node_proxy;
pub mod objects;
pub mod openapi;
mod other_versions;
mod paths;
pub mod pretty;
pub mod reply;
mod routes;
pub mod service;
pub mod shapes;
pub mod subresources;
pub mod version;
pub mod watch;
pub mod websocket;
mod zpages;
