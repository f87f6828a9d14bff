//! Where a Pod's things lie on this machine.

use std::path::PathBuf;

use k8s_openapi::api::core::v1::Pod;

use crate::config::Config;

/// The paths of one Pod.
#[derive(Debug, Clone)]
pub(crate) struct Places {
    /// Its logs: what outlives the Pod's containers.
    pub logs: PathBuf,
    /// Its volumes and what belongs to its containers.
    pub volumes: PathBuf,
}

impl Places {
    pub fn of(config: &Config, pod: &Pod) -> Self {
        let metadata = &pod.metadata;
        let (namespace, name) = (metadata.namespace.as_deref(), metadata.name.as_deref());
        let uid = metadata.uid.as_deref().unwrap_or_default();
        Self {
            logs: logs(config, namespace.unwrap_or_default(), name.unwrap_or_default(), uid),
            volumes: config.volumes_dir().join(uid),
        }
    }

    /// A volume's directory.
    pub fn volume(&self, name: &str) -> PathBuf {
        self.volumes.join("volumes").join(name)
    }

    /// The file that is `/etc/hosts` in the Pod's containers.
    pub fn hosts(&self) -> PathBuf {
        self.volumes.join("etc-hosts")
    }

    /// The file that is a container's termination message.
    pub fn termination(&self, container: &str, attempt: u32) -> PathBuf {
        self.volumes.join("containers").join(container).join(attempt.to_string())
    }

    /// Where the Pod's end is written down.
    pub fn record(&self) -> PathBuf {
        self.logs.join(".ended.json")
    }

    /// Where it is written down how far the Pod had come when its node stopped.
    pub fn interrupted(&self) -> PathBuf {
        self.logs.join(".interrupted.json")
    }
}

/// A Pod's log directory.
pub(crate) fn logs(config: &Config, namespace: &str, name: &str, uid: &str) -> PathBuf {
    config.pods_dir().join(format!("{namespace}_{name}_{uid}"))
}

/// The path of an instance's log below the Pod's log directory.
pub(crate) fn log_path(container: &str, attempt: u32) -> String {
    format!("{container}/{attempt}.log")
}
