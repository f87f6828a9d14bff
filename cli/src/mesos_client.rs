//! A client of the Mesos APIs of this machine's cluster, for the verbs that ask or run something.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, bail};
use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{Request, header};
use http_body_util::{BodyExt, Full, Limited};
use kernel::access::Credential;
use serde_json::{Value, json};
use transport::client::{Client, ClientOptions};

/// How long a server may take to answer.
const ANSWER_MAX: Duration = Duration::from_secs(20);
/// The longest answer: the state of a large cluster.
const ANSWER_BYTES_MAX: usize = 256 << 20;
/// Bytes per read of a file.
const READ_BYTES: u64 = 256 << 10;

/// A server that does not accept the credentials.
#[derive(Debug)]
pub struct Unauthorized(String);

impl std::fmt::Display for Unauthorized {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} does not accept the credentials", self.0)
    }
}

impl std::error::Error for Unauthorized {}

/// A client with the credentials of a file.
pub struct MesosClient {
    client: Client,
    credential: Option<Credential>,
}

impl MesosClient {
    /// Reads the credentials. A file that does not exist means none, for clusters that need none.
    pub fn new(credentials: Option<&Path>) -> anyhow::Result<Self> {
        let credential = credentials.filter(|path| path.exists()).map(read_credential).transpose()?;
        let options = ClientOptions { response_timeout: ANSWER_MAX, ..ClientOptions::default() };
        Ok(Self { client: Client::new(options), credential })
    }

    /// The credentials.
    pub fn credential(&self) -> Option<&Credential> {
        self.credential.as_ref()
    }

    /// The JSON of a page, such as `/state`.
    pub async fn get(&self, server: &str, path: &str) -> anyhow::Result<Value> {
        let body = self.send(server, Request::get(url(server, path)), Bytes::new()).await?;
        serde_json::from_slice(&body)
            .with_context(|| format!("{server} answers {path} with something else than JSON"))
    }

    /// Whether a server answers its health check.
    pub async fn is_healthy(&self, server: &str) -> anyhow::Result<()> {
        self.send(server, Request::get(url(server, "/health")), Bytes::new()).await.map(drop)
    }

    /// A part of a file of a sandbox, and whether more of it is there already.
    pub async fn read_file(&self, agent: &str, path: &str, offset: u64) -> anyhow::Result<(Vec<u8>, bool)> {
        let call =
            json!({"type": "READ_FILE", "read_file": {"path": path, "offset": offset, "length": READ_BYTES}});
        let request = Request::post(url(agent, "/api/v1"))
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::ACCEPT, "application/json");
        let answer: Value =
            serde_json::from_slice(&self.send(agent, request, call.to_string().into()).await?)?;
        let file = &answer["read_file"];
        let data =
            STANDARD.decode(file["data"].as_str().unwrap_or_default()).context("the file is not base64")?;
        let more = file["size"].as_u64().is_some_and(|size| offset + (data.len() as u64) < size);
        Ok((data, more))
    }

    async fn send(
        &self,
        server: &str,
        request: http::request::Builder,
        body: Bytes,
    ) -> anyhow::Result<Bytes> {
        let request = match &self.credential {
            Some(credential) => request.header(header::AUTHORIZATION, credential.basic()),
            None => request,
        };
        let response = self.client.send(request.body(Full::new(body))?).await?;
        let status = response.status();
        if status == http::StatusCode::UNAUTHORIZED {
            return Err(Unauthorized(server.to_owned()).into());
        }
        let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
        let body = body.map_err(|error| anyhow::anyhow!("{server}: {error}"))?.to_bytes();
        if !status.is_success() {
            bail!("{server} answers {status}: {}", String::from_utf8_lossy(&body).trim());
        }
        Ok(body)
    }
}

fn url(server: &str, path: &str) -> String {
    format!("http://{server}{path}")
}

/// The first principal of a file in Mesos' form, with its secret.
fn read_credential(path: &Path) -> anyhow::Result<Credential> {
    let unreadable = || format!("cannot read {}", path.display());
    let text = std::fs::read_to_string(path).with_context(unreadable)?;
    let all = Credential::parse_list(&text).with_context(unreadable)?;
    all.into_iter().next().with_context(|| format!("{} has no principal with a secret", path.display()))
}

/// The credentials file: the given one, or that of a data directory.
pub fn credentials_file(given: Option<&Path>, running: Option<&Path>, data: &Path) -> PathBuf {
    given.or(running).map_or_else(|| data.join(crate::mesos_access::CREDENTIALS_FILE), Path::to_owned)
}
