//! Renewal of what expires while a process runs: the join token, the administrator's kubeconfig, certificates of nodes.

use std::{
    net::IpAddr,
    path::PathBuf,
    sync::Arc,
    time::{Duration, SystemTime},
};

use anyhow::Context;
use kernel::agent_link::{self, JoinRequest, Joined};
use shim_pki::{Issued, NodeRequest, Pki, authority, directory, identity, kubeconfig};

use crate::{node::NodeFiles, server::Authority, user_kubeconfig::UserKubeconfig};

/// The longest time between checks: certificates are renewed months before they end.
const CHECK_EVERY_MAX: Duration = Duration::from_secs(6 * 3600);
/// The shortest time between checks, for join tokens that are valid for seconds.
const CHECK_EVERY_MIN: Duration = Duration::from_secs(1);

/// The file in the data directory with a valid join token.
pub const JOIN_TOKEN_FILE: &str = "join-token";

/// The files of a server that expire.
pub struct ServerFiles {
    pub(crate) pki: Arc<Pki>,
    /// The file [`JOIN_TOKEN_FILE`].
    pub(crate) join_token: PathBuf,
    pub(crate) join_token_ttl: Duration,
    pub(crate) kubeconfig: PathBuf,
    pub(crate) kubeconfig_mode: u32,
    /// The kubeconfig of the user who started the cluster, if the cluster is added to it.
    pub(crate) user_kubeconfig: Option<UserKubeconfig>,
    /// Base URL of the Kubernetes API, for the kubeconfig.
    pub(crate) api_url: String,
}

/// The name of the context in the user's kubeconfig, or why there is none; `None` if it was not asked for.
pub type MergeResult = Option<anyhow::Result<String>>;

impl ServerFiles {
    /// Writes a join token that is valid for at least half of its lifetime.
    pub fn write_join_token(&self) -> anyhow::Result<()> {
        let token = self.pki.join_tokens.current(SystemTime::now(), self.join_token_ttl)?;
        let text = format!("{token}\n");
        if std::fs::read_to_string(&self.join_token).is_ok_and(|current| current == text) {
            return Ok(());
        }
        Ok(directory::write_private(&self.join_token, &text)?)
    }

    /// Writes the administrator's kubeconfig with a new certificate, and merges it into the user's.
    pub fn write_kubeconfig(&self) -> anyhow::Result<(Issued, MergeResult)> {
        let admin = self.pki.authority.issue_admin(SystemTime::now())?;
        let rendered = kubeconfig::render(&self.api_url, self.pki.authority.certificate(), &admin);
        directory::merge_kubeconfig(&self.kubeconfig, &rendered, Some(self.kubeconfig_mode))?;
        let merged = self.user_kubeconfig.as_ref().map(|user| user.merge(&rendered));
        Ok((admin, merged))
    }

    /// Renews the files until the task is aborted.
    pub async fn keep(self, mut admin: Issued) {
        let every = (self.join_token_ttl / 4).clamp(CHECK_EVERY_MIN, CHECK_EVERY_MAX);
        loop {
            tokio::time::sleep(every).await;
            if let Err(error) = self.write_join_token() {
                tracing::error!(%error, "the join token cannot be renewed");
            }
            if !is_due(&admin.certificate) {
                continue;
            }
            match self.write_kubeconfig() {
                Ok((renewed, merged)) => {
                    admin = renewed;
                    if let Some(Err(error)) = merged {
                        tracing::error!(
                            error = format!("{error:#}"),
                            "the user's kubeconfig cannot be renewed"
                        );
                    }
                }
                Err(error) => tracing::error!(%error, "the kubeconfig cannot be renewed"),
            }
        }
    }
}

/// Who signs the certificate of this machine's node.
pub enum Signer {
    /// The server at this `host:port`, over TLS with the certificate that is renewed.
    Remote(String),
    /// The server in this process.
    Local(Authority),
}

/// Renews the certificate of this machine's node until the task is aborted.
pub async fn keep_node_certificate(signer: Signer, files: NodeFiles, name: String, ip: IpAddr) {
    loop {
        if files.certificate_pem().is_some_and(|certificate| is_due(&certificate)) {
            match renew(&signer, &files, &name, ip).await {
                Ok(()) => tracing::info!(node = name, "the node's certificate is renewed"),
                Err(error) => {
                    tracing::error!(
                        node = name,
                        error = format!("{error:#}"),
                        "the node's certificate is not renewed"
                    )
                }
            }
        }
        tokio::time::sleep(CHECK_EVERY_MAX).await;
    }
}

/// Replaces the certificate. The key stays, so that files which are read meanwhile fit each other.
async fn renew(signer: &Signer, files: &NodeFiles, name: &str, ip: IpAddr) -> anyhow::Result<()> {
    let NodeRequest { csr, key } = authority::renewal_request(name, &files.key_pem()?)?;
    let request = JoinRequest { token: String::new(), node_name: name.to_owned(), addresses: vec![ip], csr };
    let joined: Joined = match signer {
        Signer::Remote(master) => agent_link::join(master, &files.client_tls()?, &request)
            .await
            .with_context(|| format!("{master} renews no certificate"))?,
        Signer::Local(authority) => authority.sign(&request)?,
    };
    files.write_joined(&joined, &key)
}

/// Whether a certificate should be renewed; one that cannot be read is not.
fn is_due(certificate: &str) -> bool {
    identity::is_due_for_renewal(certificate, SystemTime::now()).unwrap_or(false)
}

/// This machine's certificate has ended, so that only a join token helps.
pub fn has_ended(files: &NodeFiles) -> bool {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |now| now.as_secs());
    let end = files.certificate_pem().and_then(|certificate| identity::not_after(&certificate).ok());
    end.is_some_and(|end| u64::try_from(end).is_ok_and(|end| end <= now))
}
