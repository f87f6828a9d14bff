//! Paths of a Pod's files on the node.

use std::path::PathBuf;

use k8s_openapi::api::core::v1::Pod;

use crate::config::Config;

#[derive(Debug, Clone)]
pub(crate) struct PodPaths {
    /// The log directory, which outlives the Pod's containers.
    pub logs: PathBuf,
    /// The directory of volumes and container files.
    pub volumes: PathBuf,
}

impl PodPaths {
    pub fn of(config: &Config, pod: &Pod) -> Self {
        let metadata = &pod.metadata;
        let (namespace, name) = (metadata.namespace.as_deref(), metadata.name.as_deref());
        let uid = metadata.uid.as_deref().unwrap_or_default();
        Self {
            logs: logs(config, namespace.unwrap_or_default(), name.unwrap_or_default(), uid),
            volumes: config.volumes_dir().join(uid),
        }
    }

    pub fn volume(&self, name: &str) -> PathBuf {
        self.volumes.join("volumes").join(name)
    }

    /// The directory of mounted images.
    pub fn images(&self) -> PathBuf {
        self.volumes.join("images")
    }

    /// The file mounted as `/etc/hosts`.
    pub fn hosts(&self) -> PathBuf {
        self.volumes.join("etc-hosts")
    }

    /// The file of a container's termination message.
    pub fn termination(&self, container: &str, attempt: u32) -> PathBuf {
        self.volumes.join("containers").join(container).join(attempt.to_string())
    }

    /// The record of the Pod's final status.
    pub fn record(&self) -> PathBuf {
        self.logs.join(".ended.json")
    }

    /// The record of the Pod's newest version.
    pub fn newest(&self) -> PathBuf {
        self.logs.join(".pod.json")
    }

    /// The record of the Pod's progress when its node stopped.
    pub fn interrupted(&self) -> PathBuf {
        self.logs.join(".interrupted.json")
    }
}

pub(crate) fn logs(config: &Config, namespace: &str, name: &str, uid: &str) -> PathBuf {
    config.pods_dir().join(format!("{namespace}_{name}_{uid}"))
}

/// The path of an instance's log, relative to the Pod's log directory.
pub(crate) fn log_path(container: &str, attempt: u32) -> String {
    format!("{container}/{attempt}.log")
}
