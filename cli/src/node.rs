//! This machine as a node of the cluster: its name, its certificate, and the executor's configuration file.

use std::{
    net::IpAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context, anyhow, bail};
use kernel::{agent::AgentOptions, agent_link};
use kernel_model::{
    oversubscription::Oversubscription,
    resources::{Attribute, AttributeValue},
};
use shim_pki::{JoinToken, NodeRequest, authority, directory, tls::joining_config};
use transport::{client::TlsSource, tls};

use crate::{arguments::node::AgentArguments, logging, preflight, task_images::TaskImages};

/// The agent attribute that lists the packages missing to run Pods; the scheduler places no Pods on such a node.
const RUNTIME_ATTRIBUTE: &str = "catamaran.dev/runtime";
/// The agent attribute with the node's Pod CIDR.
const POD_CIDR_ATTRIBUTE: &str = "catamaran.dev/pod-cidr";

/// The agent attribute that becomes the Node's role `control-plane`.
pub const CONTROL_PLANE_ATTRIBUTE: &str = "node-role.kubernetes.io/control-plane";

/// The node's files in its data directory.
#[derive(Clone)]
pub struct NodeFiles {
    /// The executor's directory.
    pub root: PathBuf,
}

impl NodeFiles {
    /// The node's files in `data_directory`.
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

    /// Writes what the join returned.
    pub fn write_joined(&self, joined: &agent_link::Joined, key: &str) -> anyhow::Result<()> {
        std::fs::create_dir_all(&self.root)
            .with_context(|| format!("cannot create {}", self.root.display()))?;
        directory::write_public(&self.authority(), &joined.authority)?;
        directory::write_private(&self.key(), key)?;
        directory::write_public(&self.api_server(), &joined.api_server)?;
        // Written last: `joined` tests for this file.
        directory::write_public(&self.certificate(), &joined.certificate)?;
        Ok(())
    }

    /// Whether this machine has joined.
    pub fn joined(&self) -> bool {
        self.certificate().exists()
    }

    /// TLS configurations with the node's current certificate.
    pub fn tls_source(&self) -> TlsSource {
        let files = self.clone();
        Arc::new(move || {
            let [authority, certificate, key] =
                [files.authority(), files.certificate(), files.key()].map(|path| tls::read_pem(&path));
            tls::client_config(&authority?, Some((&certificate?, &key?)), tls::ALPN_HTTP1)
        })
    }

    /// The node's key, PEM.
    pub fn key_pem(&self) -> anyhow::Result<String> {
        Ok(tls::read_pem(&self.key())?)
    }

    /// The node's certificate, PEM; `None` if this machine has not joined.
    pub fn certificate_pem(&self) -> Option<String> {
        std::fs::read_to_string(self.certificate()).ok()
    }

    /// TLS configuration with the node's certificate, for the link to the master.
    pub fn client_tls(&self) -> anyhow::Result<Arc<rustls::ClientConfig>> {
        Ok(self.tls_source()()?)
    }

    /// Reads the executor's configuration.
    pub fn read_config(&self) -> anyhow::Result<kubelet_executor::Config> {
        Ok(kubelet_executor::Config::from_file(&self.config())?)
    }

    /// Writes the executor's configuration.
    pub fn write_config(
        &self,
        name: &str,
        arguments: &AgentArguments,
        pod_cidr: Option<&str>,
        virtual_ranges: &[String],
    ) -> anyhow::Result<()> {
        let api_server = std::fs::read_to_string(self.api_server())
            .with_context(|| format!("cannot read {}", self.api_server().display()))?;
        let config = serde_json::json!({
            "node_name": name,
            "node_ip": advertised(arguments).to_string(),
            "root_dir": self.root,
            "api_server": api_server.trim(),
            "ca_file": self.authority(),
            "cert_file": self.certificate(),
            "key_file": self.key(),
            "cri_endpoint": arguments.cri_endpoint,
            "pod_cidr": pod_cidr,
            "virtual_ranges": virtual_ranges,
            "allowed_unsafe_sysctls": arguments.allowed_unsafe_sysctls,
            "eviction_hard": arguments.eviction_hard,
            "stop_grace_max_ms": arguments.shutdown_grace_period.map(|longest| longest.as_millis() as u64),
        });
        directory::write_private(&self.config(), &format!("{config:#}\n"))?;
        Ok(())
    }
}

/// Joins the cluster with the token and stores the returned certificate.
pub async fn join(
    files: &NodeFiles,
    master: &str,
    token: &str,
    name: &str,
    ip: IpAddr,
) -> anyhow::Result<()> {
    let token: JoinToken = token.parse()?;
    let tls = joining_config(&token, tls::ALPN_HTTP1)?;
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
    files.write_joined(&joined, &key)
}

/// The Node's name: `--hostname`, or the host name in lower case (RFC 1123).
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
        bail!("'{name}' is not a valid node name: use lower-case letters, digits, '-' and '.' (--hostname)");
    }
    Ok(name)
}

/// The agent's options.
pub fn agent_options(
    data_directory: &Path,
    files: &NodeFiles,
    arguments: &AgentArguments,
    pod_cidr: Option<&str>,
) -> anyhow::Result<AgentOptions> {
    let binary = std::env::current_exe().context("cannot find the path of this program")?;
    let mut options = AgentOptions::new(data_directory.join("agent"), binary);
    options.hostname = name(arguments)?;
    options.listen = arguments.agent_listen;
    options.advertise_ip = advertised(arguments);
    options.resources = arguments.resources.clone();
    options.stop_grace_max = arguments.shutdown_grace_period;
    options.oversubscription = Oversubscription {
        estimator: arguments.resource_estimator.clone(),
        estimate_every: arguments.oversubscribed_resources_interval,
        controller: arguments.qos_controller.clone(),
        correct_every: arguments.qos_correction_interval_min,
    };
    options.attributes = attributes(arguments, pod_cidr)?;
    if runs_containers(arguments) {
        options.images = Some(Arc::new(TaskImages::new(files.config(), options.binary.clone())));
    }
    options.executor_environment =
        vec![("CATAMARAN_KUBELET_CONFIG".to_owned(), files.config().to_string_lossy().into_owned())];
    options.executor_environment.extend(logging::environment());
    Ok(options)
}

/// Whether this machine has a container runtime, or what is needed to start one.
fn runs_containers(arguments: &AgentArguments) -> bool {
    arguments.cri_endpoint.is_some() || preflight::missing_packages().is_none()
}

/// The address at which others reach this agent.
pub fn advertised(arguments: &AgentArguments) -> IpAddr {
    preflight::advertised(arguments.agent_listen)
}

/// The agent's attributes: `--attributes`, the Pod CIDR, facts about the system, and what is missing to run Pods.
pub fn attributes(arguments: &AgentArguments, pod_cidr: Option<&str>) -> anyhow::Result<Vec<Attribute>> {
    let mut all = Vec::new();
    for part in arguments.attributes.iter().flat_map(|text| text.split(';')).filter(|part| !part.is_empty()) {
        let Some((key, value)) = part.split_once(':') else {
            bail!("--attributes: invalid attribute '{part}': expected NAME:VALUE[;…]");
        };
        let (key, value) = (key.trim(), value.trim());
        if key.is_empty() || value.is_empty() || key.contains(char::is_whitespace) {
            bail!(
                "--attributes: invalid attribute '{part}': expected NAME:VALUE[;…] with a name and a value"
            );
        }
        if all.iter().any(|known: &Attribute| known.name == key) {
            bail!("--attributes: the attribute '{key}' is given twice");
        }
        if [RUNTIME_ATTRIBUTE, POD_CIDR_ATTRIBUTE].contains(&key) {
            bail!("--attributes: the attribute '{key}' is set by the agent");
        }
        let value = AttributeValue::parse(value)
            .map_err(|why| anyhow!("--attributes: invalid attribute '{part}': {why}"))?;
        all.push(Attribute { name: key.to_owned(), value });
    }
    all.extend(pod_cidr.map(|cidr| Attribute::text(POD_CIDR_ATTRIBUTE, cidr)));
    all.extend(preflight::system_facts().into_iter().map(|(name, value)| Attribute::text(name, value)));
    if arguments.cri_endpoint.is_none()
        && let Some(missing) = preflight::missing_packages()
    {
        all.push(Attribute::text(RUNTIME_ATTRIBUTE, &missing));
    }
    Ok(all)
}
