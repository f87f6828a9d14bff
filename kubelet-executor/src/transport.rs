//! Connections to other processes: the HTTP client and the TLS configurations.

pub(crate) mod http_client;
pub(crate) mod tls;
