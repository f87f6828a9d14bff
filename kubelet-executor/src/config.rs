//! The executor's configuration: one JSON file, written by the agent's side of the binary.

use std::{
    hash::Hasher,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

/// The variable that names the file.
pub const CONFIG_ENV: &str = "CATAMARAN_KUBELET_CONFIG";

/// See the file's head.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Config {
    /// The Node object's name.
    pub node_name: String,
    /// The machine's address, and where the HTTPS door listens.
    pub node_ip: String,
    /// Everything of ours lies below it.
    pub root_dir: PathBuf,
    /// Base URL of the Kubernetes API.
    pub api_server: String,
    /// The cluster's authority.
    pub ca_file: PathBuf,
    /// The node's certificate.
    pub cert_file: PathBuf,
    /// Its key.
    pub key_file: PathBuf,
    /// The socket of a runtime that somebody else runs; without one a private containerd is started.
    #[serde(default)]
    pub cri_endpoint: Option<String>,
    /// The range of this node's Pod addresses; absent until the server has assigned one.
    #[serde(default)]
    pub pod_cidr: Option<String>,
    /// The image that holds a sandbox's namespaces.
    #[serde(default = "default_sandbox_image")]
    pub sandbox_image: String,
}

fn default_sandbox_image() -> String {
    "localhost/catamaran/pause:1".to_owned()
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The variable is not set.
    #[error("{CONFIG_ENV} is not set")]
    NotSet,
    /// The file cannot be read.
    #[error("reading {0}")]
    Read(PathBuf, #[source] std::io::Error),
    /// The file is no configuration.
    #[error("parsing {0}")]
    Parse(PathBuf, #[source] serde_json::Error),
}

impl Config {
    /// Reads the file that the environment names.
    pub fn from_environment() -> Result<Self, ConfigError> {
        let path = PathBuf::from(std::env::var_os(CONFIG_ENV).ok_or(ConfigError::NotSet)?);
        Self::from_file(&path)
    }

    /// Reads a file.
    pub fn from_file(path: &Path) -> Result<Self, ConfigError> {
        let bytes = std::fs::read(path).map_err(|e| ConfigError::Read(path.to_owned(), e))?;
        serde_json::from_slice(&bytes).map_err(|e| ConfigError::Parse(path.to_owned(), e))
    }

    /// A short name for this node's things on the machine, from its directory: two nodes on one machine do not collide.
    pub fn tag(&self) -> String {
        let mut hasher = Fnv(0xcbf2_9ce4_8422_2325);
        let path = std::path::absolute(&self.root_dir).unwrap_or_else(|_| self.root_dir.clone());
        hasher.write(path.as_os_str().as_encoded_bytes());
        format!("{:08x}", (hasher.finish() ^ (hasher.finish() >> 32)) as u32)
    }

    /// Where container logs lie.
    pub fn pods_dir(&self) -> PathBuf {
        self.root_dir.join("pods")
    }

    /// Where volumes lie.
    pub fn volumes_dir(&self) -> PathBuf {
        self.root_dir.join("volumes")
    }

    /// Image archives to import.
    pub fn images_dir(&self) -> PathBuf {
        self.root_dir.join("images")
    }
}

/// FNV-1a: the same in every release, unlike the standard library's.
struct Fnv(u64);

impl Hasher for Fnv {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}
