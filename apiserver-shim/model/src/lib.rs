//! The vocabulary of the Kubernetes facade: values, how they are parsed, printed, compared and patched.
//!
//! No clock, no store, no socket: time and fresh names come in as arguments. What a kind *means* (defaults, validation,
//! printing) is `shim-core`; this crate knows only shapes.
//!
//! Where to look: `resource` says what is served; `schema` knows every field of it and drives decoding, pruning, patches
//! and OpenAPI; `status` holds every error a client can see.

pub mod access;
pub mod base64;
pub mod catalog;
pub mod field;
pub mod managed_fields;
pub mod names;
pub mod object;
pub mod openapi;
pub mod patch;
pub mod pod_status;
pub mod quantity;
pub mod resource;
pub mod schema;
pub mod selector;
pub mod status;
pub mod table;
pub mod time;
pub mod yaml;
