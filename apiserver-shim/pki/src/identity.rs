//! The user of a client certificate, as in the Kubernetes API: the common name is the user, each organization a group.

use std::time::{SystemTime, UNIX_EPOCH};

use x509_parser::prelude::{FromDer, X509Certificate};

use crate::PkiError;

/// A user and its groups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The common name.
    pub user: String,
    /// The organizations.
    pub groups: Vec<String>,
}

/// Reads the identity out of a certificate (DER) that TLS has already verified.
pub fn of_certificate(der: &[u8]) -> Result<Identity, PkiError> {
    let (_, certificate) =
        X509Certificate::from_der(der).map_err(|e| PkiError::malformed("client certificate", e))?;
    let subject = certificate.subject();
    let user = subject
        .iter_common_name()
        // As upstream: of several common names, the last one counts. Signers look at the same one.
        .last()
        .and_then(|cn| cn.as_str().ok())
        .ok_or_else(|| PkiError::malformed("client certificate", "it has no common name"))?
        .to_owned();
    let groups = subject.iter_organization().filter_map(|o| o.as_str().ok()).map(str::to_owned).collect();
    Ok(Identity { user, groups })
}

/// The node of a user name `system:node:<name>`.
pub fn node_name(user: &str) -> Option<&str> {
    user.strip_prefix("system:node:").filter(|n| !n.is_empty())
}

/// Whether two thirds of the validity of a PEM certificate are over.
pub fn is_due_for_renewal(pem_text: &str, now: SystemTime) -> Result<bool, PkiError> {
    let block = pem::parse(pem_text).map_err(|e| PkiError::malformed("certificate", e))?;
    let (_, certificate) =
        X509Certificate::from_der(block.contents()).map_err(|e| PkiError::malformed("certificate", e))?;
    let validity = certificate.validity();
    let (start, end) = (validity.not_before.timestamp(), validity.not_after.timestamp());
    let now = now.duration_since(UNIX_EPOCH).map_or(0, |d| i64::try_from(d.as_secs()).unwrap_or(i64::MAX));
    Ok(now >= start + (end - start) / 3 * 2)
}

/// End of validity of a PEM certificate, in seconds since 1970.
pub fn not_after(pem_text: &str) -> Result<i64, PkiError> {
    let block = pem::parse(pem_text).map_err(|e| PkiError::malformed("certificate", e))?;
    let (_, certificate) =
        X509Certificate::from_der(block.contents()).map_err(|e| PkiError::malformed("certificate", e))?;
    Ok(certificate.validity().not_after.timestamp())
}
