//! The executor's configuration: a JSON file that `catamaran agent` writes.

use std::{
    net::Ipv4Addr,
    path::{Path, PathBuf},
    time::Duration,
};

use serde::{Deserialize, Serialize};

/// The environment variable with the file's path.
pub const CONFIG_ENV: &str = "CATAMARAN_KUBELET_CONFIG";

/// The node's configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct Config {
    pub node_name: String,
    /// The node's address, where the HTTPS server listens.
    pub node_ip: String,
    /// All files of the node are below it.
    pub root_dir: PathBuf,
    /// Base URL of the Kubernetes API.
    pub api_server: String,
    /// The cluster CA.
    pub ca_file: PathBuf,
    /// The node's certificate.
    pub cert_file: PathBuf,
    pub key_file: PathBuf,
    /// The socket of an external runtime; without one, the executor starts a private containerd.
    #[serde(default)]
    pub cri_endpoint: Option<String>,
    /// The node's Pod CIDR; absent until the server has assigned one.
    #[serde(default)]
    pub pod_cidr: Option<String>,
    /// Ranges of virtual addresses (the Service CIDR), which are on no network.
    #[serde(default)]
    pub virtual_ranges: Vec<String>,
    /// Patterns of unsafe sysctls that Pods may set, as `--allowed-unsafe-sysctls` of the kubelet.
    #[serde(default)]
    pub allowed_unsafe_sysctls: Vec<String>,
    /// When the node's disk is almost full, as `--eviction-hard` of the kubelet; without it, as upstream's defaults.
    #[serde(default)]
    pub eviction_hard: Option<String>,
    /// The longest grace period of Pods when the node stops, in milliseconds; without one, each has its own.
    #[serde(default)]
    pub stop_grace_max_ms: Option<u64>,
    /// The image of sandbox containers.
    #[serde(default = "default_sandbox_image")]
    pub sandbox_image: String,
}

fn default_sandbox_image() -> String {
    "localhost/catamaran/pause:1".to_owned()
}

/// Why the configuration cannot be read.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum ConfigError {
    #[error("{CONFIG_ENV} is not set")]
    NotSet,
    #[error("reading {0}")]
    Read(PathBuf, #[source] std::io::Error),
    #[error("parsing {0}")]
    Parse(PathBuf, #[source] serde_json::Error),
}

impl Config {
    /// Reads the file named by [`CONFIG_ENV`].
    pub fn from_environment() -> Result<Self, ConfigError> {
        let path = PathBuf::from(std::env::var_os(CONFIG_ENV).ok_or(ConfigError::NotSet)?);
        Self::from_file(&path)
    }

    /// Reads a file.
    pub fn from_file(path: &Path) -> Result<Self, ConfigError> {
        let bytes = std::fs::read(path).map_err(|e| ConfigError::Read(path.to_owned(), e))?;
        serde_json::from_slice(&bytes).map_err(|e| ConfigError::Parse(path.to_owned(), e))
    }

    /// A short, stable name for this node's resources on the machine, derived from its directory: two nodes on one
    /// machine do not collide.
    pub fn tag(&self) -> String {
        let path = std::path::absolute(&self.root_dir).unwrap_or_else(|_| self.root_dir.clone());
        executor_core::tag::node_tag(path.as_os_str().as_encoded_bytes())
    }

    /// The longest grace period of Pods when the node stops. The file is read again, because it is that of the agent's latest
    /// start, which the executor may have outlived.
    pub(crate) fn stop_grace_max(&self) -> Option<Duration> {
        self.newest().as_ref().unwrap_or(self).stop_grace_max_ms.map(Duration::from_millis)
    }

    /// What the file says now.
    pub(crate) fn newest(&self) -> Option<Self> {
        Self::from_environment().ok().filter(|newest| newest.root_dir == self.root_dir)
    }

    /// Where Pods ask for names: at the gateway of the private containerd's network, the first address of the Pod CIDR. With a
    /// runtime of the machine's owner the network is another.
    pub fn cluster_dns(&self) -> Option<Ipv4Addr> {
        let (network, _) = self.pod_cidr.as_ref().filter(|_| self.cri_endpoint.is_none())?.split_once('/')?;
        Some(Ipv4Addr::from(u32::from(network.parse::<Ipv4Addr>().ok()?) + 1))
    }

    /// The directory of container logs.
    pub fn pods_dir(&self) -> PathBuf {
        self.root_dir.join("pods")
    }

    /// The directory of volumes.
    pub fn volumes_dir(&self) -> PathBuf {
        self.root_dir.join("volumes")
    }

    /// The directory of image archives to import.
    pub fn images_dir(&self) -> PathBuf {
        self.root_dir.join("images")
    }
}
