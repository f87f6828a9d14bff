//! The Pod network of the private containerd: a CNI bridge, addresses from the Pod CIDR, host ports.

use std::path::{Path, PathBuf};

use serde_json::json;

use crate::config::Config;

/// Where distributions install the reference plugins.
const PLUGIN_DIRS: [&str; 3] = ["/usr/lib/cni", "/opt/cni/bin", "/usr/libexec/cni"];

/// The directory with the plugins.
pub(crate) fn plugin_dir() -> Option<PathBuf> {
    PLUGIN_DIRS.iter().map(Path::new).find(|dir| dir.join("bridge").exists()).map(Path::to_owned)
}

/// The bridge's name; interface names have at most 15 bytes.
pub(crate) fn bridge_name(config: &Config) -> String {
    format!("cat{}", config.tag())
}

/// The CNI network's name, which the plugins write into everything that they create.
pub(crate) fn network_name(config: &Config) -> String {
    format!("catamaran-{}", config.tag())
}

/// Where the host-local plugin records allocated addresses.
pub(crate) fn addresses_dir(config: &Config) -> PathBuf {
    config.root_dir.join("cni/addresses")
}

/// Writes the CNI configuration and enables IP forwarding. Returns the configuration directory for containerd.
pub(crate) fn prepare(config: &Config) -> std::io::Result<PathBuf> {
    let Some(pod_cidr) = &config.pod_cidr else {
        return Err(std::io::Error::other("no Pod CIDR is assigned to this node"));
    };
    let dir = config.root_dir.join("cni/net.d");
    std::fs::create_dir_all(&dir)?;
    let network = json!({
        "cniVersion": "0.4.0",
        "name": network_name(config),
        "plugins": [
            {
                "type": "bridge",
                "bridge": bridge_name(config),
                "isGateway": true,
                "ipMasq": true,
                "hairpinMode": true,
                "ipam": {
                    "type": "host-local",
                    "dataDir": addresses_dir(config),
                    "ranges": [[{ "subnet": pod_cidr }]],
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

/// The interface, other than our bridge, that this machine sends the Pods' addresses to already: another cluster on the
/// same machine, most often. Our Pods would not be reached, and no probe of theirs would succeed.
pub fn taken_by(config: &Config) -> Option<String> {
    let routes = std::fs::read_to_string("/proc/net/route").ok()?;
    route_within(&routes, config.pod_cidr.as_deref()?, &bridge_name(config))
}

/// Looks for a route that overlaps with a network (`a.b.c.d/n`) in the text of `/proc/net/route`: addresses are words in
/// the machine's order of bytes.
fn route_within(routes: &str, network: &str, ours: &str) -> Option<String> {
    let (address, length) = network.split_once('/')?;
    let address = u32::from(address.parse::<std::net::Ipv4Addr>().ok()?);
    let mask = u32::MAX.checked_shl(32 - length.parse::<u32>().ok().filter(|n| (1..=32).contains(n))?)?;
    routes.lines().skip(1).find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let word = |at: usize| u32::from_str_radix(fields.get(at)?, 16).ok().map(u32::from_be);
        let (to, to_mask) = (word(1)?, word(7)?);
        // A default route overlaps with everything and takes nothing away.
        let both = mask & to_mask;
        (to_mask != 0 && to & both == address & both && fields[0] != ours).then(|| fields[0].to_owned())
    })
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
            tracing::warn!(%bridge, error = %String::from_utf8_lossy(&output.stderr).trim(), "cannot remove bridge");
        }
        Err(error) => tracing::warn!(%bridge, %error, "cannot remove bridge"),
    }
}

#[cfg(test)]
mod tests {
    //! Tests of reading routes.

    use super::route_within;

    #[test]
    fn overlapping_routes_of_other_interfaces_are_found() {
        let head = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n";
        // The default route, and 10.244.0.0/24, as a little-endian machine prints them.
        let routes = format!(
            "{head}eth0\t00000000\t010200C0\t3\t0\t0\t0\t00000000\t0\t0\t0\n\
             cm1\t0000F40A\t0\t1\t0\t0\t0\t00FFFFFF\t0\t0\t0\n"
        );
        let within = |network, ours| route_within(&routes, network, ours);
        assert_eq!(within("10.244.0.0/24", "cm2").as_deref(), Some("cm1"));
        assert_eq!(within("10.244.0.0/16", "cm2").as_deref(), Some("cm1"));
        assert_eq!(within("10.244.0.0/24", "cm1"), None);
        assert_eq!(within("10.244.1.0/24", "cm2"), None);
        assert_eq!(within("no network", "cm2"), None);
    }
}
