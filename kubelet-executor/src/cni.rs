//! The Pod network of a private containerd: a bridge, addresses from the node's range, host ports.

use std::path::{Path, PathBuf};

use serde_json::json;

use crate::config::Config;

/// Where distributions put the reference plugins.
const PLUGIN_DIRS: [&str; 3] = ["/usr/lib/cni", "/opt/cni/bin", "/usr/libexec/cni"];

/// The directory that has the plugins, if any has.
pub(crate) fn plugin_dir() -> Option<PathBuf> {
    PLUGIN_DIRS.iter().map(Path::new).find(|dir| dir.join("bridge").exists()).map(Path::to_owned)
}

/// The bridge's name; an interface's name has at most 15 bytes.
pub(crate) fn bridge_name(config: &Config) -> String {
    format!("cat{}", config.tag())
}

/// Writes the network's configuration and lets the kernel forward. Answers the directory for containerd.
pub(crate) fn prepare(config: &Config) -> std::io::Result<PathBuf> {
    let dir = config.root_dir.join("cni/net.d");
    std::fs::create_dir_all(&dir)?;
    let network = json!({
        "cniVersion": "0.4.0",
        "name": format!("catamaran-{}", config.tag()),
        "plugins": [
            {
                "type": "bridge",
                "bridge": bridge_name(config),
                "isGateway": true,
                "ipMasq": true,
                "hairpinMode": true,
                "ipam": {
                    "type": "host-local",
                    "dataDir": config.root_dir.join("cni/addresses"),
                    "ranges": [[{ "subnet": config.pod_cidr }]],
                    "routes": [{ "dst": "0.0.0.0/0" }],
                },
            },
            { "type": "portmap", "capabilities": { "portMappings": true } },
        ],
    });
    let file = dir.join("10-catamaran.conflist");
    let text = format!("{network:#}\n");
    if std::fs::read_to_string(&file).ok().as_deref() != Some(&text) {
        std::fs::write(&file, text)?;
    }
    std::fs::write("/proc/sys/net/ipv4/ip_forward", "1")?;
    Ok(dir)
}

/// Removes the bridge; what is not there is no error.
pub(crate) async fn remove(config: &Config) {
    let bridge = bridge_name(config);
    if !Path::new("/sys/class/net").join(&bridge).exists() {
        return;
    }
    let removed = tokio::process::Command::new("ip").args(["link", "delete", &bridge]).output().await;
    match removed {
        Ok(output) if output.status.success() => {}
        Ok(output) => {
            tracing::warn!(%bridge, error = %String::from_utf8_lossy(&output.stderr).trim(), "bridge not removed");
        }
        Err(error) => tracing::warn!(%bridge, %error, "bridge not removed"),
    }
}
