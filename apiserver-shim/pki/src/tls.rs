//! rustls configurations of servers and clients. The cryptography provider is set here only, so that a dependency with
//! another provider does not change it.

use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, ServerConfig, SignatureScheme};

use crate::{JoinToken, PkiError};

/// Whether clients need a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientCertificate {
    /// Optional; verified against the cluster's authority if presented.
    Optional,
    /// Required; the handshake fails without.
    Required,
}

/// HTTP/2 preferred, and HTTP/1.1: for the API server.
pub const ALPN_HTTP: &[&str] = &["h2", "http/1.1"];
/// HTTP/1.1 only: for connections that are upgraded.
pub const ALPN_HTTP1: &[&str] = &["http/1.1"];

/// A server that presents `certificate` (PEM) and verifies clients against `authority` (PEM). The chain includes the
/// authority's certificate, because a joining machine knows its digest only.
pub fn server_config(
    certificate: &str,
    key: &str,
    authority: &str,
    clients: ClientCertificate,
    alpn: &[&str],
) -> Result<Arc<ServerConfig>, PkiError> {
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots(authority)?), provider());
    let verifier = match clients {
        ClientCertificate::Optional => builder.allow_unauthenticated(),
        ClientCertificate::Required => builder,
    }
    .build()
    .map_err(|e| PkiError::malformed("authority certificate", e))?;
    let mut chain = certificates(certificate)?;
    chain.extend(certificates(authority)?);
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(PkiError::Tls)?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, private_key(key)?)
        .map_err(PkiError::Tls)?;
    config.alpn_protocols = alpn.iter().map(|p| p.as_bytes().to_vec()).collect();
    Ok(Arc::new(config))
}

/// A client that trusts `authority` (PEM) and, if given, presents a certificate and its key (PEM).
pub fn client_config(
    authority: &str,
    identity: Option<(&str, &str)>,
    alpn: &[&str],
) -> Result<Arc<ClientConfig>, PkiError> {
    let builder = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(PkiError::Tls)?
        .with_root_certificates(roots(authority)?);
    let mut config = match identity {
        Some((certificate, key)) => builder
            .with_client_auth_cert(certificates(certificate)?, private_key(key)?)
            .map_err(PkiError::Tls)?,
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = alpn.iter().map(|p| p.as_bytes().to_vec()).collect();
    Ok(Arc::new(config))
}

/// A client with a join token and no certificate yet. It accepts servers whose chain ends in the authority that the
/// token names.
pub fn joining_config(token: &JoinToken, alpn: &[&str]) -> Result<Arc<ClientConfig>, PkiError> {
    let verifier = Arc::new(TokenVerifier { token: token.clone(), provider: provider() });
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(PkiError::Tls)?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|p| p.as_bytes().to_vec()).collect();
    Ok(Arc::new(config))
}

/// The certificates of a PEM text.
pub fn certificates(pem_text: &str) -> Result<Vec<CertificateDer<'static>>, PkiError> {
    let all: Vec<_> = CertificateDer::pem_slice_iter(pem_text.as_bytes())
        .collect::<Result<_, _>>()
        .map_err(|e| PkiError::malformed("certificate", format!("{e:?}")))?;
    if all.is_empty() {
        return Err(PkiError::malformed("certificate", "there is none in the PEM text"));
    }
    Ok(all)
}

fn private_key(pem_text: &str) -> Result<PrivateKeyDer<'static>, PkiError> {
    PrivateKeyDer::from_pem_slice(pem_text.as_bytes())
        .map_err(|e| PkiError::malformed("private key", format!("{e:?}")))
}

fn roots(authority: &str) -> Result<RootCertStore, PkiError> {
    let mut store = RootCertStore::empty();
    for certificate in certificates(authority)? {
        store.add(certificate).map_err(|e| PkiError::malformed("authority certificate", e))?;
    }
    Ok(store)
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// Verifies a server by the digest of its authority's certificate.
#[derive(Debug)]
struct TokenVerifier {
    token: JoinToken,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for TokenVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let authority = intermediates
            .iter()
            .find(|c| self.token.names(c))
            .ok_or_else(|| rustls::Error::General("the server's authority is not the join token's".into()))?;
        let mut roots = RootCertStore::empty();
        roots.add(authority.clone().into_owned())?;
        WebPkiServerVerifier::builder_with_provider(Arc::new(roots), self.provider.clone())
            .build()
            .map_err(|e| rustls::Error::General(e.to_string()))?
            .verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
