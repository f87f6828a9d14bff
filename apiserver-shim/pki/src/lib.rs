//! Keys and certificates of the cluster: the authority, the certificates that it signs, the join token, the
//! administrator's kubeconfig, and the TLS configurations of servers and clients.
//!
//! All functions work on PEM text; only [`directory`] accesses the file system. It is a crate of its own because CLI,
//! API server and executor need TLS and none depends on the others. It names the user of a certificate ([`identity`])
//! and does not authorize.

pub mod authority;
pub mod directory;
pub mod identity;
pub mod join_token;
pub mod kubeconfig;
pub mod tls;

pub use authority::{CertificateAuthority, Issued, NodeRequest, ServerNames};
pub use directory::Pki;
pub use identity::Identity;
pub use join_token::JoinToken;

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
    /// rustls refused a configuration.
    #[error("tls configuration was refused: {0}")]
    Tls(#[source] rustls::Error),
    /// A file of the PKI directory could not be read or written.
    #[error("{path}: {source}")]
    File {
        path: std::path::PathBuf,
        /// The reason.
        source: std::io::Error,
    },
}

impl PkiError {
    pub(crate) fn malformed(what: &'static str, reason: impl std::fmt::Display) -> Self {
        PkiError::Malformed { what, reason: reason.to_string() }
    }
}

#[cfg(test)]
mod tests;
