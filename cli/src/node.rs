//! A machine's place in the cluster: its name, its certificate, and the file that its executor reads.

use std::{
    net::IpAddr,
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};
use kernel::{agent::AgentOptions, agent_link};
use kernel_model::resources::Attribute;
use shim_pki::{JoinToken, NodeRequest, authority, directory, tls};

use crate::{arguments::AgentArguments, preflight};

/// The attribute by which a machine says that it cannot run Pods: the packages that it lacks (read by the facade's scheduler).
const RUNTIME_ATTRIBUTE: &str = "catamaran.dev/runtime";
/// The attribute that gives a machine's Pod network.
const POD_CIDR_ATTRIBUTE: &str = "catamaran.dev/pod-cidr";

/// The node's files, below its data directory.
pub struct NodeFiles {
    /// Everything of the executor's.
    pub root: PathBuf,
}

impl NodeFiles {
    /// The files below a data directory.
    pub fn below(data_directory: &Path) -> Self {
        Self { root: data_directory.join("node") }
    }

    fn authority(&self) -> PathBuf {
        self.root.join("ca.crt")
    }

    fn certificate(&self) -> PathBuf {
        self.root.join("node.crt")
    }

    fn key(&self) -> PathBuf {
        self.root.join("node.key")
    }

    fn api_server(&self) -> PathBuf {
        self.root.join("api-server")
    }

    /// The executor's configuration.
    pub fn config(&self) -> PathBuf {
        self.root.join("kubelet.json")
    }

    /// Keeps what joining gave.
    pub fn keep(&self, joined: &agent_link::Joined, key: &str) -> anyhow::Result<()> {
        std::fs::create_dir_all(&self.root)
            .with_context(|| format!("cannot create {}", self.root.display()))?;
        directory::write_public(&self.authority(), &joined.authority)?;
        directory::write_private(&self.key(), key)?;
        directory::write_public(&self.api_server(), &joined.api_server)?;
        // Last: where it is, the rest is.
        directory::write_public(&self.certificate(), &joined.certificate)?;
        Ok(())
    }

    /// Whether this machine has joined.
    pub fn joined(&self) -> bool {
        self.certificate().exists()
    }

    /// TLS with the node's certificate, for the link to the master.
    pub fn client_tls(&self) -> anyhow::Result<std::sync::Arc<rustls::ClientConfig>> {
        let read = |path: PathBuf| {
            std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
        };
        let (authority, certificate, key) =
            (read(self.authority())?, read(self.certificate())?, read(self.key())?);
        Ok(tls::client_config(&authority, Some((&certificate, &key)), tls::ALPN_HTTP1)?)
    }

    /// The executor's configuration as it was written.
    pub fn read_config(&self) -> anyhow::Result<kubelet_executor::Config> {
        Ok(kubelet_executor::Config::from_file(&self.config())?)
    }

    /// Writes the executor's configuration.
    pub fn write_config(&self, name: &str, ip: IpAddr, arguments: &AgentArguments) -> anyhow::Result<()> {
        let api_server = std::fs::read_to_string(self.api_server())
            .with_context(|| format!("cannot read {}", self.api_server().display()))?;
        let config = serde_json::json!({
            "node_name": name,
            "node_ip": ip.to_string(),
            "root_dir": self.root,
            "api_server": api_server.trim(),
            "ca_file": self.authority(),
            "cert_file": self.certificate(),
            "key_file": self.key(),
            "cri_endpoint": arguments.cri_endpoint,
            "pod_cidr": arguments.pod_cidr,
        });
        directory::write_private(&self.config(), &format!("{config:#}\n"))?;
        Ok(())
    }
}

/// Shows the token to the server and keeps the certificate that comes back.
pub async fn join(
    files: &NodeFiles,
    master: &str,
    token: &str,
    name: &str,
    ip: IpAddr,
) -> anyhow::Result<()> {
    let token: JoinToken = token.parse()?;
    let tls = tls::joining_config(&token, tls::ALPN_HTTP1)?;
    let NodeRequest { csr, key } = authority::node_request(name)?;
    let request = agent_link::JoinRequest {
        token: token.to_string(),
        node_name: name.to_owned(),
        addresses: vec![ip],
        csr,
    };
    let joined = agent_link::join(master, &tls, &request)
        .await
        .with_context(|| format!("could not join the cluster at {master}"))?;
    files.keep(&joined, &key)
}

/// A machine's name: what was asked for, or its host name in lower case, as Kubernetes wants names.
pub fn name(arguments: &AgentArguments) -> anyhow::Result<String> {
    let name = match &arguments.hostname {
        Some(name) => name.clone(),
        None => rustix::system::uname().nodename().to_string_lossy().to_lowercase(),
    };
    let legal = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '.';
    let ends = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    if name.len() > 253
        || !name.chars().all(legal)
        || !ends(name.chars().next())
        || !ends(name.chars().last())
    {
        bail!("'{name}' cannot name a node: use lower-case letters, digits, '-' and '.' (--hostname)");
    }
    Ok(name)
}

/// What the agent is told.
pub fn agent_options(
    data_directory: &Path,
    files: &NodeFiles,
    arguments: &AgentArguments,
) -> anyhow::Result<AgentOptions> {
    let binary = std::env::current_exe().context("cannot tell where this program lies")?;
    let mut options = AgentOptions::new(data_directory.join("agent"), binary);
    options.hostname = name(arguments)?;
    options.listen = arguments.agent_listen;
    options.advertise_ip = advertised(arguments);
    options.resources = arguments.resources.clone();
    options.attributes = attributes(arguments)?;
    options.executor_environment =
        vec![("CATAMARAN_KUBELET_CONFIG".to_owned(), files.config().to_string_lossy().into_owned())];
    if let Ok(filter) = std::env::var("CATAMARAN_LOG") {
        options.executor_environment.push(("CATAMARAN_LOG".to_owned(), filter));
    }
    Ok(options)
}

/// The address under which others reach this machine.
pub fn advertised(arguments: &AgentArguments) -> IpAddr {
    preflight::advertised(arguments.agent_listen)
}

/// The machine's attributes, and what it lacks to run Pods.
fn attributes(arguments: &AgentArguments) -> anyhow::Result<Vec<Attribute>> {
    let mut all = Vec::new();
    for part in arguments.attributes.iter().flat_map(|text| text.split(';')).filter(|part| !part.is_empty()) {
        let Some((key, value)) = part.split_once(':') else {
            bail!("'{part}' is no attribute: give NAME:VALUE[;…]");
        };
        all.push(Attribute::text(key, value));
    }
    all.push(Attribute::text(POD_CIDR_ATTRIBUTE, &arguments.pod_cidr));
    all.extend(preflight::system_facts().into_iter().map(|(name, value)| Attribute::text(name, value)));
    if arguments.cri_endpoint.is_none()
        && let Some(lacking) = preflight::missing_packages()
    {
        all.push(Attribute::text(RUNTIME_ATTRIBUTE, &lacking));
    }
    Ok(all)
}
