//! The Container Runtime Interface: generated messages and a thin client over a Unix socket.
//!
//! No other crate of the executor links tonic. Of containerd itself it uses [`snapshots`]. The client adds a deadline per call, a message size that fits a full
//! node's listing, and errors that name the failed operation.

mod client;
mod error;
pub mod health;
pub mod snapshots;

pub use client::{CallObserver, Client};
pub use error::{Error, ErrorKind};

/// The generated messages of `runtime.v1`.
#[allow(missing_docs, clippy::all, clippy::unwrap_used)]
pub mod v1 {
    tonic::include_proto!("runtime.v1");
}
