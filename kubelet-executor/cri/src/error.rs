//! What can go wrong between us and the runtime, with the runtime's own sentence kept.

use std::error::Error as _;

/// A failed call.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{operation}: {message}")]
#[allow(clippy::error_impl_error)]
pub struct Error {
    /// The call's name in the interface.
    pub operation: &'static str,
    /// What sort of failure it is, as far as callers act on it.
    pub kind: Kind,
    /// The runtime's sentence.
    pub message: String,
}

/// Failures by what a caller does about them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The runtime does not answer: wait for it.
    Unavailable,
    /// The call took longer than its deadline; whether it happened is unknown: list again.
    DeadlineExceeded,
    /// What the call names is not there: for removals, success.
    NotFound,
    /// Anything else: report it.
    Other,
}

impl Error {
    pub(crate) fn from_status(operation: &'static str, status: tonic::Status) -> Self {
        let kind = match status.code() {
            tonic::Code::Unavailable => Kind::Unavailable,
            tonic::Code::DeadlineExceeded | tonic::Code::Cancelled => Kind::DeadlineExceeded,
            tonic::Code::NotFound => Kind::NotFound,
            // A transport that broke in the middle of a call surfaces as Unknown with a source.
            tonic::Code::Unknown if status.source().is_some() => Kind::Unavailable,
            _ => Kind::Other,
        };
        Self { operation, kind, message: status.message().to_owned() }
    }

    /// Whether the thing named is simply not there.
    pub fn is_not_found(&self) -> bool {
        self.kind == Kind::NotFound
    }

    /// Whether the runtime as a whole does not answer.
    pub fn is_unavailable(&self) -> bool {
        self.kind == Kind::Unavailable
    }
}
