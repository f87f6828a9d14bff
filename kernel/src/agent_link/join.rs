//! Joining: a machine presents a token and a certificate signing request, and receives its certificate. The authority
//! decides which machines may join. With its certificate in place of a token, a machine receives a new one.

use std::{net::IpAddr, sync::Arc};

use async_trait::async_trait;
use serde_json::{Value, json};

use super::{AddressRangeError, Addresses, JOIN_PATH, LinkError, dial};

/// A machine's request.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct JoinRequest {
    /// Empty for the renewal of a certificate.
    pub token: String,
    pub node_name: String,
    /// The machine's addresses.
    pub addresses: Vec<IpAddr>,
    /// PEM.
    pub csr: String,
}

/// The response to a machine that joined.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Joined {
    /// PEM.
    pub certificate: String,
    /// The cluster's CA certificate, PEM.
    pub authority: String,
    /// The API server's URL, for executors on the machine.
    pub api_server: String,
}

/// A refusal, with a message for the machine's operator.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct JoinRefusal(pub String);

/// Decides which machines belong to the cluster.
#[async_trait]
pub trait JoinAuthority: Send + Sync {
    /// Admits a machine and signs its certificate.
    async fn join(&self, request: JoinRequest) -> Result<Joined, JoinRefusal>;

    /// Signs a new certificate for the owner of this verified certificate (DER).
    async fn renew(&self, certificate: &[u8], request: JoinRequest) -> Result<Joined, JoinRefusal> {
        let _ = (certificate, request);
        Err(JoinRefusal("this cluster renews no certificates".to_owned()))
    }

    /// Whether the owner of this verified certificate (DER) may open an agent link. Returns its name for the log.
    fn admits(&self, certificate: &[u8]) -> Result<String, JoinRefusal>;

    /// Assigns the range of addresses that a machine may give to its tasks (the requested one, if it is free), and says which
    /// ranges are virtual.
    async fn address_range(
        &self,
        node_name: &str,
        requested: Option<&str>,
    ) -> Result<Addresses, AddressRangeError> {
        let _ = (node_name, requested);
        Err(AddressRangeError::Refused("this cluster assigns no address ranges".to_owned()))
    }
}

/// Requests a certificate from a master. `tls` trusts the CA that the token names, or presents the certificate that is
/// renewed.
pub async fn join(
    master: &str,
    tls: &Arc<rustls::ClientConfig>,
    request: &JoinRequest,
) -> Result<Joined, LinkError> {
    let body = json!({
        "token": request.token,
        "node_name": request.node_name,
        "addresses": request.addresses.iter().map(IpAddr::to_string).collect::<Vec<_>>(),
        "csr": request.csr,
    });
    let answer = dial::post_json(master, tls, JOIN_PATH, &body).await?;
    let field = |name: &str| match answer[name].as_str() {
        Some(text) => Ok(text.to_owned()),
        None => Err(LinkError::Unreachable(format!("the answer has no '{name}'"))),
    };
    Ok(Joined {
        certificate: field("certificate")?,
        authority: field("authority")?,
        api_server: field("api_server")?,
    })
}

/// Parses the body of a join request.
pub(crate) fn request_from_json(body: &[u8]) -> Result<JoinRequest, JoinRefusal> {
    let value: Value =
        serde_json::from_slice(body).map_err(|e| JoinRefusal(format!("the body is no JSON: {e}")))?;
    let field = |name: &str| match value[name].as_str() {
        Some(text) if !text.is_empty() => Ok(text.to_owned()),
        _ => Err(JoinRefusal(format!("'{name}' is missing"))),
    };
    let missing = || JoinRefusal("'addresses' is not a list of IP addresses".to_owned());
    let addresses = value["addresses"].as_array().ok_or_else(missing)?;
    let address = |value: &Value| value.as_str().and_then(|text| text.parse().ok()).ok_or_else(missing);
    Ok(JoinRequest {
        token: value["token"].as_str().unwrap_or_default().to_owned(),
        node_name: field("node_name")?,
        csr: field("csr")?,
        addresses: addresses.iter().map(address).collect::<Result<_, _>>()?,
    })
}

/// Encodes the body of a positive response.
pub(crate) fn to_json(joined: &Joined) -> String {
    json!({
        "certificate": joined.certificate,
        "authority": joined.authority,
        "api_server": joined.api_server,
    })
    .to_string()
}
