//! rustls configurations for servers and clients. The cryptography provider is chosen only here, so that a dependency
//! which enables another one cannot change it.

mod bundle;
mod verifier;

use std::fmt;
use std::sync::Arc;

use rustls::client::WantsClientCert;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, ConfigBuilder, RootCertStore, ServerConfig};

pub use verifier::{Presented, verifier};

/// HTTP/2 and HTTP/1.1, in this order of preference.
pub const ALPN_HTTP: &[&str] = &["h2", "http/1.1"];
/// HTTP/1.1 alone, for servers whose connections are upgraded.
pub const ALPN_HTTP1: &[&str] = &["http/1.1"];

/// Why there is no TLS configuration.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A PEM text does not contain the expected items.
    #[error("{what}: {reason}")]
    Malformed {
        /// The expected item, such as `private key`.
        what: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// A file could not be read.
    #[error("reading {path}")]
    Read {
        /// Path of the file.
        path: std::path::PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// rustls rejects the combination of certificates, keys and versions.
    #[error("TLS configuration")]
    Setup(#[from] rustls::Error),
}

impl TlsError {
    fn malformed(what: &'static str, reason: impl fmt::Display) -> Self {
        TlsError::Malformed { what, reason: reason.to_string() }
    }
}

/// Whether clients must present a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientCertificate {
    /// A client may present one, which is then verified against the certificate authority.
    Optional,
    /// The handshake fails without one.
    Required,
}

/// Configuration of a server that presents `certificate` (PEM) and verifies clients against `authority` (PEM). The
/// authority's certificate is sent too, because a joining machine knows only its digest.
pub fn server_config(
    certificate: &str,
    key: &str,
    authority: &str,
    clients: ClientCertificate,
    alpn: &[&str],
) -> Result<Arc<ServerConfig>, TlsError> {
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots(authority)?), provider());
    let verifier = match clients {
        ClientCertificate::Optional => builder.allow_unauthenticated(),
        ClientCertificate::Required => builder,
    }
    .build()
    .map_err(|e| TlsError::malformed("authority certificate", e))?;
    let mut chain = certificates(certificate)?;
    chain.extend(certificates(authority)?);
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, private_key(key)?)?;
    config.alpn_protocols = alpn.iter().map(|p| p.as_bytes().to_vec()).collect();
    Ok(Arc::new(config))
}

/// Configuration of a client that trusts `authority` (PEM) and optionally presents a certificate with its key (PEM).
pub fn client_config(
    authority: &str,
    identity: Option<(&str, &str)>,
    alpn: &[&str],
) -> Result<Arc<ClientConfig>, TlsError> {
    client_config_trusting(Trust::Authorities(authority), identity, alpn)
}

/// Configuration of a client with a custom verifier and without a certificate.
pub fn client_config_with(
    verifier: Arc<dyn ServerCertVerifier>,
    alpn: &[&str],
) -> Result<Arc<ClientConfig>, TlsError> {
    let builder = ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions()?;
    finish(builder.dangerous().with_custom_certificate_verifier(verifier), None, alpn)
}

/// Configuration of a client that accepts any certificate: for probes, which ask whether a container responds and not who it is,
/// and for the API server's proxy to Pods, as upstream.
pub fn unverified_client_config() -> Result<Arc<ClientConfig>, TlsError> {
    client_config_trusting(Trust::Anybody, None, ALPN_HTTP1)
}

/// Whose certificates a client accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trust<'a> {
    /// Those of the certificate authorities in this PEM text.
    Authorities(&'a str),
    /// Those of the certificate authorities in this PEM text, and the certificates in it themselves: as with Go, a server that
    /// signed its own is trusted by listing it, also if it is marked as an authority's.
    Bundle(&'a str),
    /// Those of this machine's certificate authorities.
    Machine,
    /// All.
    Anybody,
}

/// Configuration of a client that presents `identity` (certificate and key, PEM), if any, to servers that `trust` names.
pub fn client_config_trusting(
    trust: Trust<'_>,
    identity: Option<(&str, &str)>,
    alpn: &[&str],
) -> Result<Arc<ClientConfig>, TlsError> {
    let builder = ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions()?;
    let builder = match trust {
        Trust::Authorities(pem) => builder.with_root_certificates(roots(pem)?),
        Trust::Bundle(pem) => {
            builder.dangerous().with_custom_certificate_verifier(bundle::bundle_verifier(pem)?)
        }
        Trust::Machine => builder.with_root_certificates(machine_roots()),
        Trust::Anybody => builder.dangerous().with_custom_certificate_verifier(verifier(|_| Ok(()))),
    };
    finish(builder, identity, alpn)
}

fn finish(
    builder: ConfigBuilder<ClientConfig, WantsClientCert>,
    identity: Option<(&str, &str)>,
    alpn: &[&str],
) -> Result<Arc<ClientConfig>, TlsError> {
    let mut config = match identity {
        Some((certificate, key)) => {
            builder.with_client_auth_cert(certificates(certificate)?, private_key(key)?)?
        }
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = alpn.iter().map(|p| p.as_bytes().to_vec()).collect();
    Ok(Arc::new(config))
}

/// Configuration of a client that trusts the certificate authorities of this machine, for external servers.
pub fn public_client_config() -> Result<Arc<ClientConfig>, TlsError> {
    client_config_trusting(Trust::Machine, None, ALPN_HTTP)
}

fn machine_roots() -> RootCertStore {
    let found = rustls_native_certs::load_native_certs();
    let mut store = RootCertStore::empty();
    let (added, _) = store.add_parsable_certificates(found.certs);
    if added == 0 {
        let reason = match found.errors.first() {
            Some(error) => error.to_string(),
            None => "this machine has none (on Debian: apt-get install ca-certificates)".to_owned(),
        };
        tracing::warn!(%reason, "no certificate authority is trusted: https requests to other machines will fail");
    }
    store
}

/// Reads a PEM file.
pub fn read_pem(path: &std::path::Path) -> Result<String, TlsError> {
    std::fs::read_to_string(path).map_err(|source| TlsError::Read { path: path.to_owned(), source })
}

/// Parses the certificates of a PEM text; at least one is required.
pub fn certificates(pem: &str) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let all: Vec<_> = CertificateDer::pem_slice_iter(pem.as_bytes())
        .collect::<Result<_, _>>()
        .map_err(|e| TlsError::malformed("certificate", format!("{e:?}")))?;
    if all.is_empty() {
        return Err(TlsError::malformed("certificate", "the PEM text holds none"));
    }
    Ok(all)
}

/// The provider of all our TLS.
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn private_key(pem: &str) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_slice(pem.as_bytes())
        .map_err(|e| TlsError::malformed("private key", format!("{e:?}")))
}

fn roots(authority: &str) -> Result<RootCertStore, TlsError> {
    let mut store = RootCertStore::empty();
    for certificate in certificates(authority)? {
        store.add(certificate).map_err(|e| TlsError::malformed("authority certificate", e))?;
    }
    Ok(store)
}
