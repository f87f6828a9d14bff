//! TLS with the node's certificate: as a client of the API server, and as the node's server. The files are read for each
//! connection, since certificates are renewed in place.

use std::sync::Arc;

use transport::{
    client, server,
    tls::{ALPN_HTTP1, ClientCertificate, TlsError, client_config, read_pem, server_config},
};

use crate::config::Config;

/// The node's files as PEM texts.
struct NodePem {
    authority: String,
    certificate: String,
    key: String,
}

fn read(config: &Config) -> Result<NodePem, TlsError> {
    Ok(NodePem {
        authority: read_pem(&config.ca_file)?,
        certificate: read_pem(&config.cert_file)?,
        key: read_pem(&config.key_file)?,
    })
}

/// Connections to the API server: trusts the cluster CA and presents the node's certificate.
pub(crate) fn client(config: &Arc<Config>) -> client::TlsSource {
    let config = config.clone();
    Arc::new(move || {
        let pem = read(&config)?;
        client_config(&pem.authority, Some((&pem.certificate, &pem.key)), ALPN_HTTP1)
    })
}

/// Connections to the node's server: clients have a certificate of the cluster CA, or send a bearer token.
pub(crate) fn server(config: &Arc<Config>) -> server::TlsSource {
    let config = config.clone();
    Arc::new(move || {
        let pem = read(&config)?;
        server_config(&pem.certificate, &pem.key, &pem.authority, ClientCertificate::Optional, ALPN_HTTP1)
    })
}
