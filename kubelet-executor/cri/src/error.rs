//! Errors of runtime calls, with the runtime's own message.

use std::error::Error as _;

/// A failed call.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{operation}: {message}")]
#[allow(clippy::error_impl_error)]
#[allow(missing_docs)]
pub struct Error {
    /// The call's name in the interface.
    pub operation: &'static str,
    pub kind: ErrorKind,
    /// The runtime's message.
    pub message: String,
}

/// Kinds of failures, by what the caller does about them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// The runtime does not respond: wait for it.
    Unavailable,
    /// The deadline expired; it is unknown whether the call had an effect: list again.
    DeadlineExceeded,
    /// The named object does not exist: for removals, success.
    NotFound,
    /// Any other failure: report it.
    Other,
}

impl Error {
    pub(crate) fn from_status(operation: &'static str, status: tonic::Status) -> Self {
        let kind = match status.code() {
            tonic::Code::Unavailable => ErrorKind::Unavailable,
            tonic::Code::DeadlineExceeded | tonic::Code::Cancelled => ErrorKind::DeadlineExceeded,
            tonic::Code::NotFound => ErrorKind::NotFound,
            // A transport that fails during a call returns Unknown with a source.
            tonic::Code::Unknown if status.source().is_some() => ErrorKind::Unavailable,
            _ => ErrorKind::Other,
        };
        Self { operation, kind, message: status.message().to_owned() }
    }

    /// Whether the named object does not exist.
    pub fn is_not_found(&self) -> bool {
        self.kind == ErrorKind::NotFound
    }

    /// Whether the runtime does not respond.
    pub fn is_unavailable(&self) -> bool {
        self.kind == ErrorKind::Unavailable
    }
}
