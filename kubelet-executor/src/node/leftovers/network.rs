//! What the CNI plugins wrote to disk and into the kernel for our sandboxes. It is removed without the plugins, because
//! they find a sandbox's rules through its network namespace, which may be gone.

use std::{
    collections::BTreeSet,
    io,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use serde::Deserialize;
use serde_json::{Value, json};
use sha2::{Digest, Sha512};
use tokio::io::AsyncWriteExt;

use crate::{config::Config, machine::pod_network};

/// Where libcni caches results, by network and container.
const RESULTS: &str = "/var/lib/cni/results";
/// Transactions until the removal of NAT rules is given up.
const ATTEMPTS_MAX: u32 = 3;
/// Time limit of a transaction.
const NFT_TIMEOUT: Duration = Duration::from_secs(10);

/// Containers with an allocated address: the host-local plugin writes a file per address, whose first line is the id.
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

/// Network namespaces outside our directory, which an earlier version created. The cached results name them.
pub(super) fn old_namespaces(config: &Config, ids: &BTreeSet<String>) -> Vec<PathBuf> {
    let mut found = BTreeSet::new();
    for file in result_files(config, ids) {
        let answer: Value = match std::fs::read(&file).and_then(|text| Ok(serde_json::from_slice(&text)?)) {
            Ok(answer) => answer,
            Err(error) => {
                tracing::warn!(file = %file.display(), %error, "cannot read a cached CNI result");
                continue;
            }
        };
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

/// Removes the NAT rules, addresses and cached results of all our sandboxes.
pub(super) async fn remove(config: &Config, ids: &BTreeSet<String>) {
    if let Err(error) = remove_nat_rules(&pod_network::network_name(config), ids).await {
        tracing::warn!(%error, "cannot remove NAT rules");
    }
    for file in address_files(config).into_iter().chain(result_files(config, ids)) {
        if let Err(error) = std::fs::remove_file(&file) {
            tracing::debug!(file = %file.display(), %error, "cannot remove file");
        }
    }
}

/// Whether NAT rules of the network are left.
pub(super) fn has_nat_rules(network: &str, ids: &BTreeSet<String>) -> bool {
    match ruleset() {
        Ok(ruleset) => nat_removal(&ruleset, network, ids).is_some(),
        Err(error) => {
            tracing::debug!(%error, "cannot list NAT rules");
            false
        }
    }
}

/// Each attempt is one transaction, which fails as a whole if somebody else changed one of the rules meanwhile.
async fn remove_nat_rules(network: &str, ids: &BTreeSet<String>) -> io::Result<()> {
    let mut failure = None;
    for _ in 0..ATTEMPTS_MAX {
        let Some(transaction) = nat_removal(&ruleset()?, network, ids) else { return Ok(()) };
        match apply(&transaction).await {
            Ok(()) => return Ok(()),
            Err(error) => failure = Some(error),
        }
    }
    failure.map_or(Ok(()), Err)
}

/// The IPv4 ruleset in the JSON format of libnftables. The plugins call `iptables`, whose rules are in the table `nat`.
fn ruleset() -> io::Result<Ruleset> {
    let output =
        Command::new("nft").args(["--json", "list", "ruleset", "ip"]).stdin(Stdio::null()).output()?;
    if !output.status.success() {
        return Err(io::Error::other(String::from_utf8_lossy(&output.stderr).trim().to_owned()));
    }
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// The part of libnftables' JSON that is read here; other objects and expressions are skipped.
#[derive(Debug, Deserialize)]
pub(super) struct Ruleset {
    nftables: Vec<Object>,
}

#[derive(Debug, Deserialize)]
struct Object {
    chain: Option<Chain>,
    rule: Option<Rule>,
}

#[derive(Debug, Deserialize)]
struct Chain {
    table: String,
    name: String,
}

#[derive(Debug, Deserialize)]
struct Rule {
    table: String,
    chain: String,
    handle: u64,
    #[serde(default)]
    expr: Vec<Value>,
}

impl Rule {
    fn targets(&self) -> impl Iterator<Item = &str> {
        let verdicts =
            self.expr.iter().filter_map(|expression| expression.get("jump").or(expression.get("goto")));
        verdicts.filter_map(|verdict| verdict["target"].as_str())
    }
}

/// A transaction that removes the chains of the network's sandboxes and the rules that jump to them. `None` if there are
/// none. Chains are found by name, a digest of network and container id: JSON does not show the comments of `iptables`.
pub(super) fn nat_removal(ruleset: &Ruleset, network: &str, ids: &BTreeSet<String>) -> Option<Value> {
    let ours: BTreeSet<String> = ids.iter().flat_map(|id| chain_names(network, id)).collect();
    let chains = ruleset.nftables.iter().filter_map(|object| object.chain.as_ref());
    let chains: BTreeSet<&str> = chains
        .filter(|chain| chain.table == "nat" && ours.contains(&chain.name))
        .map(|chain| chain.name.as_str())
        .collect();
    if chains.is_empty() {
        return None;
    }
    let rules = ruleset.nftables.iter().filter_map(|object| object.rule.as_ref());
    let jumps = rules.filter(|rule| {
        rule.table == "nat"
            && !chains.contains(rule.chain.as_str())
            && rule.targets().any(|target| chains.contains(target))
    });
    let delete_rule = |rule: &Rule| json!({ "delete": { "rule": { "family": "ip", "table": "nat", "chain": rule.chain, "handle": rule.handle } } });
    let chain = |name: &str| json!({ "chain": { "family": "ip", "table": "nat", "name": name } });
    let mut commands: Vec<Value> = jumps.map(delete_rule).collect();
    commands.extend(chains.iter().map(|name| json!({ "flush": chain(name) })));
    commands.extend(chains.iter().map(|name| json!({ "delete": chain(name) })));
    Some(json!({ "nftables": commands }))
}

/// The chains that the bridge plugin (masquerading) and the portmap plugin (DNAT, and SNAT in old releases) create for a
/// container.
fn chain_names(network: &str, id: &str) -> [String; 3] {
    /// Limit of the plugins for chain names.
    const LENGTH: usize = 28;
    let digest = Sha512::new().chain_update(network).chain_update(id).finalize();
    let digest = digest[..12].iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"));
    ["CNI-", "CNI-DN-", "CNI-SN-"].map(|prefix| {
        let mut name = format!("{prefix}{digest}");
        name.truncate(LENGTH);
        name
    })
}

async fn apply(transaction: &Value) -> io::Result<()> {
    let mut child = tokio::process::Command::new("nft")
        .args(["--json", "--file", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(transaction.to_string().as_bytes()).await?;
    }
    let output = tokio::time::timeout(NFT_TIMEOUT, child.wait_with_output()).await;
    let output = output.map_err(io::Error::other)??;
    if output.status.success() {
        return Ok(());
    }
    Err(io::Error::other(String::from_utf8_lossy(&output.stderr).trim().to_owned()))
}
