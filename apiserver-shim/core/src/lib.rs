//! The decisions of the API server, controllers and scheduler, without clock, store or sockets: pure functions and
//! state machines. The shell (`apiserver-shim`) reads, calls and writes.
//!
//! Where to look: `kinds` (strategies), `custom_resources` (those that definitions bring), `structural_schema` (their
//! schemas), `controllers` (one file per noun), `scheduler` (which Pod goes to which offer,
//! and why others wait), `pod_cidrs` (address ranges of Nodes), `service_cidr`
//! and `service_addresses` (those of Services),
//! `admission_policy` and `admission_webhook` (what administrators add to admission),
//! `flow_control` (priority and fairness), `autoscaler` (how many replicas metrics ask for),
//! `certificates` (the built-in signers), `default_classes` (of claims and Ingresses),
//! `runtime_class` (what a class gives to Pods),
//! `kernel_roles` (the kernel's roles as objects), `kernel_resources` (names and units of the kernel),
//! `bootstrap_tokens`, `secret_tokens` (of service accounts), `encryption` (of stored values), `jwt` (users of other issuers),
//! `pod_security` (the Pod Security Standards), `quota` and `limit_ranges` (what a namespace may use),
//! `audit` (invariants). `rows` has the values that they share.

pub mod admission_policy;
pub mod admission_webhook;
pub mod audit;
pub mod authorization;
pub mod autoscaler;
pub mod bootstrap_tokens;
pub mod cel;
pub mod certificates;
pub mod controllers;
pub mod converter;
pub mod custom_resources;
pub mod default_classes;
pub mod definition;
pub mod disruption_budgets;
pub mod encryption;
pub mod flow_control;
pub mod go_regex;
pub mod jwt;
pub mod kernel_resources;
pub mod kernel_roles;
pub mod kinds;
pub mod limit_ranges;
pub mod pod_cidrs;
pub mod pod_resources;
pub mod pod_security;
pub mod quota;
pub mod resource_list;
pub mod rows;
pub mod runtime_class;
pub mod scheduler;
pub mod secret_references;
pub mod secret_tokens;
pub mod service_addresses;
pub mod service_cidr;
pub mod structural_schema;

#[cfg(test)]
mod testing;
