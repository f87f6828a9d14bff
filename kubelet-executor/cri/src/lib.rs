//! The Container Runtime Interface: generated messages and a thin client over a Unix socket.
//!
//! Nothing else in the executor links tonic. The client adds to the generated one what every caller needs: a deadline per
//! call, a message size that a full node's listing fits in, and errors that say which operation failed.

mod client;
mod error;
pub mod health;

pub use client::Client;
pub use error::{Error, Kind};

/// The generated messages of `runtime.v1`.
#[allow(missing_docs, clippy::all, clippy::unwrap_used)]
pub mod v1 {
    tonic::include_proto!("runtime.v1");
}
