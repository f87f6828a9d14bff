//! What the network plugins wrote down and put into the kernel for our sandboxes. Done by hand, because the plugins find
//! a sandbox's rules through its namespace, which may be gone.

use std::{
    collections::BTreeSet,
    fmt::Write as _,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use sha2::{Digest, Sha512};
use tokio::io::AsyncWriteExt;

use crate::{config::Config, machine::pod_network};

/// Where the plugins' library keeps what they answered, by network and container.
const RESULTS: &str = "/var/lib/cni/results";
/// How long `iptables-restore` may wait for others that change rules.
const RULES_TIMEOUT: Duration = Duration::from_secs(5);

/// Containers that addresses of ours were given to: the plugin writes a file an address, which holds the id first.
pub(super) fn addressed(config: &Config) -> Vec<String> {
    let files = address_files(config).into_iter();
    files.filter_map(|file| std::fs::read_to_string(file).ok()?.lines().next().map(str::to_owned)).collect()
}

fn address_files(config: &Config) -> Vec<PathBuf> {
    let dir = pod_network::addresses_dir(config).join(pod_network::network_name(config));
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let is_address = |entry: &std::fs::DirEntry| {
        entry.file_name().to_str().is_some_and(|name| name.parse::<std::net::IpAddr>().is_ok())
    };
    entries.filter(is_address).map(|entry| entry.path()).collect()
}

fn result_files(config: &Config, ids: &BTreeSet<String>) -> Vec<PathBuf> {
    let network = pod_network::network_name(config);
    let entries = std::fs::read_dir(RESULTS).into_iter().flatten().flatten();
    let ours = |name: &str| {
        let of_network = name.strip_prefix(&network).is_some_and(|rest| rest.starts_with('-'));
        let loopback = name.strip_prefix("cni-loopback-").and_then(|rest| rest.strip_suffix("-lo"));
        of_network || loopback.is_some_and(|id| ids.contains(id))
    };
    entries.filter(|entry| entry.file_name().to_str().is_some_and(ours)).map(|entry| entry.path()).collect()
}

/// Namespaces outside our directory: of sandboxes that an earlier version made. The plugins' answers tell which.
pub(super) fn old_namespaces(config: &Config, ids: &BTreeSet<String>) -> Vec<PathBuf> {
    let mut found = BTreeSet::new();
    for file in result_files(config, ids) {
        let text = std::fs::read(&file).unwrap_or_default();
        let answer: serde_json::Value = serde_json::from_slice(&text).unwrap_or_default();
        let interfaces = answer["result"]["interfaces"].as_array().into_iter().flatten();
        let files = interfaces.filter_map(|interface| interface["sandbox"].as_str().map(PathBuf::from));
        let ours = |file: &PathBuf| {
            let name = file.file_name().and_then(|name| name.to_str());
            name.is_some_and(|name| name.starts_with("cni-"))
                && file
                    .parent()
                    .is_some_and(|dir| dir == Path::new("/var/run/netns") || dir == Path::new("/run/netns"))
        };
        found.extend(files.filter(ours));
    }
    found.into_iter().collect()
}

/// Removes rules, addresses and the plugins' notes of all our sandboxes.
pub(super) async fn remove(config: &Config, ids: &BTreeSet<String>) {
    if let Some(script) = nat_removal(&nat_rules(), &pod_network::network_name(config), ids)
        && let Err(error) = restore(&script).await
    {
        tracing::warn!(%error, "cannot remove NAT rules");
    }
    for file in address_files(config).into_iter().chain(result_files(config, ids)) {
        if let Err(error) = std::fs::remove_file(&file) {
            tracing::debug!(file = %file.display(), %error, "cannot remove file");
        }
    }
}

/// The machine's rules of address translation, as `iptables` prints them.
pub(super) fn nat_rules() -> String {
    let output =
        std::process::Command::new("iptables").args(["-w", "-t", "nat", "-S"]).stdin(Stdio::null()).output();
    output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default()
}

/// The input for `iptables-restore` that takes a network's rules out of a listing: each rule that bears the network's name,
/// and the chains of its sandboxes. A plugin that was cut off may have made the chain and no rule, so chains are known by
/// name as well: a digest of network and container. `None` where there is nothing to take out.
pub(super) fn nat_removal(listing: &str, network: &str, ids: &BTreeSet<String>) -> Option<String> {
    let named = format!("name: \\\"{network}\\\"");
    let existing: BTreeSet<&str> = listing.lines().filter_map(|line| line.strip_prefix("-N ")).collect();
    let mut chains: BTreeSet<String> = ids.iter().map(|id| masquerade_chain(network, id)).collect();
    let bearing: Vec<&str> =
        listing.lines().filter(|line| line.starts_with("-A ") && line.contains(&named)).collect();
    for rule in &bearing {
        let words: Vec<&str> = rule.split_whitespace().collect();
        let target = words.iter().position(|word| *word == "-j").and_then(|at| words.get(at + 1));
        chains.extend([words.get(1), target].into_iter().flatten().map(|chain| (*chain).to_owned()));
    }
    // A sandbox's own, not the plugins' common ones and not the kernel's.
    chains.retain(|chain| {
        chain.starts_with("CNI-") && !chain.starts_with("CNI-HOSTPORT-") && existing.contains(chain.as_str())
    });
    let outside = |rule: &&&str| !rule.split_whitespace().nth(1).is_some_and(|chain| chains.contains(chain));
    let mut script = String::new();
    for rule in bearing.iter().filter(outside) {
        let _ = writeln!(script, "-D {}", rule.trim_start_matches("-A "));
    }
    for command in ["-F", "-X"] {
        for chain in &chains {
            let _ = writeln!(script, "{command} {chain}");
        }
    }
    (!script.is_empty()).then(|| format!("*nat\n{script}COMMIT\n"))
}

/// The chain that the bridge plugin makes for a container.
fn masquerade_chain(network: &str, id: &str) -> String {
    let digest = Sha512::new().chain_update(network).chain_update(id).finalize();
    digest[..12].iter().fold("CNI-".to_owned(), |mut name, byte| {
        let _ = write!(name, "{byte:02x}");
        name
    })
}

async fn restore(script: &str) -> std::io::Result<()> {
    let mut child = tokio::process::Command::new("iptables-restore")
        .args(["--noflush", "--wait", "5"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(script.as_bytes()).await?;
    }
    let output = tokio::time::timeout(RULES_TIMEOUT * 2, child.wait_with_output()).await;
    let output = output.map_err(std::io::Error::other)??;
    if output.status.success() {
        return Ok(());
    }
    Err(std::io::Error::other(String::from_utf8_lossy(&output.stderr).trim().to_owned()))
}
