//! Whom a client certificate names, in the way of the Kubernetes API: the common name is the user, each
//! organisation is a group.

use rustls::pki_types::CertificateDer;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::PkiError;

/// A user and the groups it belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The certificate's common name.
    pub user: String,
    /// Its organisations.
    pub groups: Vec<String>,
}

/// Reads the identity out of a certificate that TLS has already verified.
pub fn of_certificate(der: &CertificateDer<'_>) -> Result<Identity, PkiError> {
    let (_, certificate) =
        X509Certificate::from_der(der).map_err(|e| PkiError::malformed("client certificate", e))?;
    let subject = certificate.subject();
    let user = subject
        .iter_common_name()
        .next()
        .and_then(|cn| cn.as_str().ok())
        .ok_or_else(|| PkiError::malformed("client certificate", "it has no common name"))?
        .to_owned();
    let groups = subject.iter_organization().filter_map(|o| o.as_str().ok()).map(str::to_owned).collect();
    Ok(Identity { user, groups })
}

/// The node that a user name stands for (`system:node:<name>`).
pub fn node_name(user: &str) -> Option<&str> {
    user.strip_prefix("system:node:").filter(|n| !n.is_empty())
}

/// When a PEM certificate ends, in seconds since 1970.
pub fn not_after(pem_text: &str) -> Result<i64, PkiError> {
    let block = pem::parse(pem_text).map_err(|e| PkiError::malformed("certificate", e))?;
    let (_, certificate) =
        X509Certificate::from_der(block.contents()).map_err(|e| PkiError::malformed("certificate", e))?;
    Ok(certificate.validity().not_after.timestamp())
}
