//! The TLS client of a machine that joins: it has a token and no certificate yet. All other configurations are
//! `transport::tls`.

use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::{ClientConfig, RootCertStore};
use transport::tls::{Presented, client_config_with, provider, verifier};

use crate::{JoinToken, PkiError};

/// Accepts exactly the servers whose certificate chain ends in the authority that the token names.
pub fn joining_config(token: &JoinToken, alpn: &[&str]) -> Result<Arc<ClientConfig>, PkiError> {
    let token = token.clone();
    Ok(client_config_with(verifier(move |presented| verify(&token, presented)), alpn)?)
}

/// Verifies a server by the digest of its authority's certificate.
fn verify(token: &JoinToken, presented: &Presented<'_>) -> Result<(), rustls::Error> {
    let authority = presented
        .intermediates
        .iter()
        .find(|c| token.names(c))
        .ok_or_else(|| rustls::Error::General("the server's authority is not the join token's".into()))?;
    let mut roots = RootCertStore::empty();
    roots.add(authority.clone().into_owned())?;
    let signed = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider())
        .build()
        .map_err(|e| rustls::Error::General(e.to_string()))?;
    presented.verify_by(&*signed)
}
