//! The cluster's keys and certificates: one authority, the certificates that it signs, the token with which a
//! machine joins, its TLS configuration, and the kubeconfig of the administrator.
//!
//! All functions work on PEM text; only [`directory`] accesses the file system. It is a crate of its own because CLI,
//! API server and executor need TLS and none depends on the others. It names the user of a certificate ([`identity`])
//! and does not authorize.

pub mod authority;
pub mod directory;
pub mod identity;
pub mod join_token;
pub mod kubeconfig;
pub mod signing;
pub mod tls;

pub use authority::{CertificateAuthority, Issued, NodeRequest, ServerNames};
pub use directory::{JoinTokens, Pki};
pub use identity::Identity;
pub use join_token::JoinToken;
pub use signing::SigningRequest;

/// Errors of keys and certificates.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum PkiError {
    /// A certificate or key could not be created or signed.
    #[error("certificate could not be made: {0}")]
    Make(#[source] rcgen::Error),
    /// Malformed PEM or DER.
    #[error("{what} is not valid: {reason}")]
    Malformed {
        /// Which input.
        what: &'static str,
        /// Why it was refused.
        reason: String,
    },
    /// There is no usable TLS configuration.
    #[error(transparent)]
    Tls(#[from] transport::tls::TlsError),
    /// An existing kubeconfig could not be read.
    #[error("{}: {source}; repair or remove the file", path.display())]
    Kubeconfig { path: std::path::PathBuf, source: Box<PkiError> },
    /// A file of the PKI directory could not be read or written.
    #[error("{path}: {source}")]
    File { path: std::path::PathBuf, source: std::io::Error },
}

impl PkiError {
    pub(crate) fn malformed(what: &'static str, reason: impl std::fmt::Display) -> Self {
        PkiError::Malformed { what, reason: reason.to_string() }
    }
}

#[cfg(test)]
mod tests;
