//! The cluster's keys and certificates: one authority, the certificates that it signs, the token with which a
//! machine joins, the kubeconfig of the administrator and the TLS configurations of both ends.
//!
//! Everything here is a plain function over PEM text; only [`directory`] touches the disk. It is a crate of its
//! own because the kernel's shell, the executor and the facade all need TLS and none should know the others.
//! It is not an authenticator: it says who a certificate names ([`identity`]), never what they may do.

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

/// What can go wrong with keys and certificates.
#[derive(Debug, thiserror::Error)]
pub enum PkiError {
    /// A certificate or key could not be made or signed.
    #[error("certificate could not be made: {0}")]
    Make(#[source] rcgen::Error),
    /// PEM or DER that is not what it should be.
    #[error("{what} is not valid: {reason}")]
    Malformed {
        /// Which input.
        what: &'static str,
        /// Why it was refused.
        reason: String,
    },
    /// TLS refused a configuration.
    #[error("tls configuration was refused: {0}")]
    Tls(#[source] rustls::Error),
    /// A file of the PKI directory could not be read or written.
    #[error("{path}: {source}")]
    File {
        /// The file.
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
