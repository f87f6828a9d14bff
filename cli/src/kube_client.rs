//! Reads of the Kubernetes API with the administrator's kubeconfig, for the verbs that ask.

use std::{path::Path, time::Duration};

use anyhow::{Context, bail};
use bytes::Bytes;
use http::{Request, header};
use http_body_util::{BodyExt, Full, Limited};
use serde_json::Value;
use shim_pki::kubeconfig;
use transport::{
    client::{Client, ClientOptions},
    tls,
};

/// How long the server may take to answer.
const ANSWER_MAX: Duration = Duration::from_secs(20);
/// The longest answer: one object.
const ANSWER_BYTES_MAX: usize = 8 << 20;

/// A client of one cluster.
pub struct KubeClient {
    client: Client,
    server: String,
}

impl KubeClient {
    /// Reads a kubeconfig.
    pub fn new(path: &Path) -> anyhow::Result<Self> {
        let unreadable = || format!("cannot read {}", path.display());
        let text = std::fs::read_to_string(path).with_context(unreadable)?;
        let access = kubeconfig::read(&text).with_context(unreadable)?;
        let identity = Some((access.certificate.as_str(), access.key.as_str()));
        let config = tls::client_config(&access.authority, identity, tls::ALPN_HTTP1)?;
        let options = ClientOptions { response_timeout: ANSWER_MAX, ..ClientOptions::with_tls(config) };
        Ok(Self { client: Client::new(options), server: access.server })
    }

    /// An object.
    pub async fn get(&self, path: &str) -> anyhow::Result<Value> {
        let server = &self.server;
        let request = Request::get(format!("{server}{path}")).header(header::ACCEPT, "application/json");
        let response = self.client.send(request.body(Full::new(Bytes::new()))?).await?;
        let status = response.status();
        let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
        let body = body.map_err(|error| anyhow::anyhow!("{server}: {error}"))?.to_bytes();
        let value: Value =
            serde_json::from_slice(&body).with_context(|| format!("{server} answers {status}"))?;
        if !status.is_success() {
            bail!("{}", value["message"].as_str().unwrap_or("the API server refuses"));
        }
        Ok(value)
    }
}
