//! The values of the Kubernetes API: how they are parsed, printed, compared and patched.
//!
//! No clock, store or socket: time and generated names are arguments. Defaults, validation and printing of a kind are
//! in `shim-core`; this crate knows the schema only.
//!
//! Where to look: `resource` lists what is served; `schema` has every field and drives decoding, pruning, patches and
//! OpenAPI; `status` has every error that a client can receive.

pub mod access;
pub mod base64;
pub mod catalog;
pub mod field;
pub mod go_quote;
pub mod managed_fields;
pub mod names;
pub mod object;
pub mod openapi;
pub mod patch;
pub mod pod_status;
pub mod protobuf;
pub use quantity;
pub mod resource;
pub mod schema;
pub mod selector;
pub mod status;
pub mod table;
pub mod time;
pub mod yaml;
