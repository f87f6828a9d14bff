//! The token with which a machine joins: `K10<sha256 of the authority's certificate>::<secret>`. The machine verifies
//! the cluster by the digest before it trusts any certificate; the cluster verifies the machine by the secret.

use rustls::pki_types::CertificateDer;
use sha2::{Digest, Sha256};

use crate::PkiError;

const PREFIX: &str = "K10";
const SEPARATOR: &str = "::";
/// A SHA-256 digest in hexadecimal.
const DIGEST_LENGTH: usize = 64;

/// A parsed join token. `Debug` does not print the secret.
#[derive(Clone, PartialEq, Eq)]
pub struct JoinToken {
    digest: String,
    secret: String,
}

impl std::fmt::Debug for JoinToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{PREFIX}{}{SEPARATOR}…", self.digest)
    }
}

impl std::fmt::Display for JoinToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{PREFIX}{}{SEPARATOR}{}", self.digest, self.secret)
    }
}

impl std::str::FromStr for JoinToken {
    type Err = PkiError;

    fn from_str(text: &str) -> Result<Self, PkiError> {
        let refuse = |reason: &str| PkiError::malformed("join token", reason);
        let rest = text.trim().strip_prefix(PREFIX).ok_or_else(|| refuse("it does not begin with K10"))?;
        let (digest, secret) = rest.split_once(SEPARATOR).ok_or_else(|| refuse("it has no :: in it"))?;
        if digest.len() != DIGEST_LENGTH || !digest.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(refuse("its first half is not a SHA-256 digest"));
        }
        if secret.is_empty() {
            return Err(refuse("its secret is empty"));
        }
        Ok(JoinToken { digest: digest.to_ascii_lowercase(), secret: secret.to_owned() })
    }
}

impl JoinToken {
    /// The token of the cluster with this authority certificate.
    pub fn new(authority_pem: &str, secret: &str) -> Result<Self, PkiError> {
        let block = pem::parse(authority_pem).map_err(|e| PkiError::malformed("authority certificate", e))?;
        Ok(JoinToken { digest: digest_of(block.contents()), secret: secret.to_owned() })
    }

    /// Whether `authority` is the certificate that the token's digest names.
    pub fn names(&self, authority: &CertificateDer<'_>) -> bool {
        digest_of(authority) == self.digest
    }

    /// Whether a presented token equals this one, in constant time.
    pub fn accepts(&self, presented: &str) -> bool {
        let Ok(presented) = presented.parse::<JoinToken>() else { return false };
        same(presented.digest.as_bytes(), self.digest.as_bytes())
            & same(presented.secret.as_bytes(), self.secret.as_bytes())
    }
}

fn digest_of(der: &[u8]) -> String {
    use std::fmt::Write;
    Sha256::digest(der).iter().fold(String::with_capacity(DIGEST_LENGTH), |mut out, byte| {
        // Writing to a `String` cannot fail.
        let _ = write!(out, "{byte:02x}");
        out
    })
}

fn same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |acc, (x, y)| acc | (x ^ y)) == 0
}
