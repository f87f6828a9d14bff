//! API tests over an in-memory store: requests in, transcripts out. One test binary for all of them.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

#[path = "api/harness.rs"]
mod harness;

#[path = "api/access.rs"]
mod access;
#[path = "api/aggregation.rs"]
mod aggregation;
#[path = "api/apply.rs"]
mod apply;
#[path = "api/audit.rs"]
mod audit;
#[path = "api/autoscaler.rs"]
mod autoscaler;
#[path = "api/catalog.rs"]
mod catalog;
#[path = "api/component_statuses.rs"]
mod component_statuses;
#[path = "api/custom_resources.rs"]
mod custom_resources;
#[path = "api/custom_versions.rs"]
mod custom_versions;
#[path = "api/delete.rs"]
mod delete;
#[path = "api/discovery.rs"]
mod discovery;
#[path = "api/encryption.rs"]
mod encryption;
#[path = "api/ephemeral_containers.rs"]
mod ephemeral_containers;
#[path = "api/eviction.rs"]
mod eviction;
#[path = "api/flow_control.rs"]
mod flow_control;
#[path = "api/gadget.rs"]
mod gadget;
#[path = "api/list_and_watch.rs"]
mod list_and_watch;
#[path = "api/metrics.rs"]
mod metrics;
#[path = "api/network.rs"]
mod network;
#[path = "api/oidc.rs"]
mod oidc;
#[path = "api/parity.rs"]
mod parity;
#[path = "api/pod_security.rs"]
mod pod_security;
#[path = "api/policies.rs"]
mod policies;
#[path = "api/protobuf.rs"]
mod protobuf;
#[path = "api/protocol.rs"]
mod protocol;
#[path = "api/quota.rs"]
mod quota;
#[path = "api/rbac.rs"]
mod rbac;
#[path = "api/routes.rs"]
mod routes;
#[path = "api/runtime_class.rs"]
mod runtime_class;
#[path = "api/scrape.rs"]
mod scrape;
#[path = "api/service_addresses.rs"]
mod service_addresses;
#[path = "api/unserved.rs"]
mod unserved;
#[path = "api/webhook_objects.rs"]
mod webhook_objects;
#[path = "api/webhook_server.rs"]
mod webhook_server;
#[path = "api/webhooks.rs"]
mod webhooks;
#[path = "api/write.rs"]
mod write;
