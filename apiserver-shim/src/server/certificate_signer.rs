//! Signs certificate signing requests with the cluster's authority, for the controllers of `shim-core`.

use std::sync::Arc;

use shim_core::certificates::{CertificateSigner, RequestedCertificate};
use shim_pki::{Pki, SigningRequest, identity};

/// The cluster's authority as a signer.
pub struct ClusterSigner(pub Arc<Pki>);

impl std::fmt::Debug for ClusterSigner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ClusterSigner")
    }
}

impl CertificateSigner for ClusterSigner {
    fn read(&self, request: &[u8]) -> Result<RequestedCertificate, String> {
        let asked = SigningRequest::parse(request).map_err(|error| error.to_string())?;
        Ok(RequestedCertificate {
            common_name: asked.common_name,
            organizations: asked.organizations,
            dns_names: asked.dns_names,
            emails: asked.emails,
            addresses: asked.addresses.iter().map(ToString::to_string).collect(),
            uris: asked.uris,
        })
    }

    fn sign(&self, request: &[u8], usages: &[&str], validity: (i64, i64)) -> Result<String, String> {
        let asked = SigningRequest::parse(request).map_err(|error| error.to_string())?;
        self.0.authority.sign_request(&asked, usages, validity).map_err(|error| error.to_string())
    }

    fn end(&self, certificate: &[u8]) -> Option<i64> {
        identity::not_after(std::str::from_utf8(certificate).ok()?).ok()
    }
}
