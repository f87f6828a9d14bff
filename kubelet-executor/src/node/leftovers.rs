//! Resources that a private containerd and its containers left on the machine. They are identified by names that
//! belong to this node alone (its directory, socket and tag) and removed without the runtime.
//!
//! This is the last resort of a stop: if every call to the runtime succeeded, nothing is found. Each kind has a proof
//! of ownership: a shim was started with our socket, a process is in our cgroup, a rule names our network.

mod network;
mod processes;
#[cfg(test)]
mod tests;

use std::{
    collections::BTreeSet,
    fmt,
    path::{Path, PathBuf},
    time::Duration,
};

use sha2::{Digest, Sha256};

use crate::{
    config::Config,
    machine::{cgroups, mounts, pod_network, virtual_addresses},
    runtime::containerd,
};

/// A resource of this node that is left on the machine.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum OrphanedResource {
    /// containerd, one of its shims, or a process of a container.
    Process { pid: u32, program: String },
    /// A mount of a container, a volume or a network namespace.
    Mount(PathBuf),
    /// The bridge.
    Interface(String),
    /// NAT rules of this node's network.
    NatRules(String),
    /// The table of the rules about virtual addresses.
    Table(String),
    /// The node's cgroup.
    ControlGroup(PathBuf),
}

impl OrphanedResource {
    /// What it is.
    pub fn name(&self) -> String {
        match self {
            Self::Process { pid, program } => format!("process {pid} ({program})"),
            Self::Mount(path) => format!("mount {}", path.display()),
            Self::Interface(name) => format!("interface {name}"),
            Self::NatRules(network) => format!("rules of {network}"),
            Self::Table(name) => format!("nftables table {name}"),
            Self::ControlGroup(path) => format!("cgroup {}", path.display()),
        }
    }
}

impl fmt::Display for OrphanedResource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Process { pid, program } => {
                write!(f, "process {pid} ({program}); kill it with: kill -9 {pid}")
            }
            Self::Mount(path) => {
                write!(f, "mount {0}; remove it with: umount -l '{0}'", path.display())
            }
            Self::Interface(name) => write!(f, "interface {name}; remove it with: ip link delete {name}"),
            Self::NatRules(network) => {
                write!(f, "rules of {network}; see them with: iptables -t nat -S | grep {network}")
            }
            Self::Table(name) => {
                write!(f, "nftables table {name}; remove it with: nft delete table ip {name}")
            }
            Self::ControlGroup(path) => {
                write!(f, "cgroup {0}; remove it with: find {0} -depth -type d -delete", path.display())
            }
        }
    }
}

/// Finds what is left. With an external runtime, only the cgroup and the rules about virtual addresses belong to this node.
pub fn find(config: &Config) -> Vec<OrphanedResource> {
    let groups = cgroups::existing(&cgroups::node_group(&config.tag()));
    let groups = groups.into_iter().map(OrphanedResource::ControlGroup);
    if config.cri_endpoint.is_some() {
        return groups.chain(table_of_rules(config)).collect();
    }
    let scan = OrphanScan::of(config);
    let processes = processes::of_runtime(&scan).into_iter().chain(processes::of_containers(config));
    let process =
        |pid| OrphanedResource::Process { pid, program: processes::program(pid).unwrap_or_default() };
    let bridge = pod_network::has_bridge(config)
        .then(|| OrphanedResource::Interface(pod_network::bridge_name(config)));
    let network = pod_network::network_name(config);
    let (ids, _) = known_containers(config, &scan);
    let ruled = network::has_nat_rules(&network, &ids);
    let mut found: Vec<OrphanedResource> = processes.map(process).collect();
    found.extend(mounts::below(&scan.mounts).into_iter().map(OrphanedResource::Mount));
    found.extend(bridge);
    found.extend(ruled.then_some(OrphanedResource::NatRules(network)));
    found.extend(table_of_rules(config));
    found.extend(groups);
    found
}

fn table_of_rules(config: &Config) -> Option<OrphanedResource> {
    virtual_addresses::exist(config).then(|| OrphanedResource::Table(pod_network::network_name(config)))
}

/// Where to look for resources of the private containerd.
pub(crate) struct OrphanScan {
    socket: PathBuf,
    config: PathBuf,
    state: PathBuf,
    /// Every mount strictly below these directories is ours. A mount on one of them belongs to the machine's owner.
    mounts: [PathBuf; 3],
}

impl OrphanScan {
    fn of(config: &Config) -> Self {
        let absolute = |path: PathBuf| std::path::absolute(&path).unwrap_or(path);
        let paths = containerd::Paths::of(config);
        let state = absolute(paths.dir.join("state"));
        let mounts =
            [state.clone(), absolute(paths.dir.join("root/tmpmounts")), absolute(config.volumes_dir())];
        Self { socket: paths.socket, config: paths.config, state, mounts }
    }
}

/// Removes what is left of a node whose containerd has been stopped. Each step is bounded; [`find`] reports what
/// could not be removed.
pub(crate) async fn remove(config: &Config) {
    let scan = OrphanScan::of(config);
    let (ids, has_state) = known_containers(config, &scan);
    let sandboxes = network::old_namespaces(config, &ids);
    if processes::kill_all(config, &scan).await > 0 {
        tracing::warn!("killed containers that outlived their runtime");
    }
    let mounted = mounts::below(&scan.mounts);
    if !mounted.is_empty() {
        tracing::warn!(count = mounted.len(), "removing mounts that outlived their containers");
    }
    mounts::remove_below(&scan.mounts);
    mounts::remove_namespaces(&sandboxes);
    if has_state && mounts::below(&scan.mounts).is_empty() {
        remove_state(&scan);
    }
    for id in &ids {
        let _ = std::fs::remove_file(shim_socket(&scan.socket, id));
        let _ = std::fs::remove_dir_all(Path::new("/run/containerd/runc/k8s.io").join(id));
    }
    network::remove(config, &ids).await;
    virtual_addresses::remove(config).await;
    pod_network::remove(config).await;
    // Killed processes leave their cgroups a moment later.
    let group = cgroups::node_group(&config.tag());
    for _ in 0..20 {
        cgroups::remove(&group);
        if cgroups::existing(&group).is_empty() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The ids of all containers that may have left something, and whether any has runtime state.
fn known_containers(config: &Config, scan: &OrphanScan) -> (BTreeSet<String>, bool) {
    let with_state = containers_with_state(config, scan);
    let has_state = !with_state.is_empty();
    let mut ids = mentioned_containers(&std::fs::read(containerd::Paths::of(config).log).unwrap_or_default());
    ids.extend(with_state);
    (ids, has_state)
}

/// Containers with runtime state: bundles, sandbox directories, allocated addresses.
fn containers_with_state(config: &Config, scan: &OrphanScan) -> BTreeSet<String> {
    let names = |dir: PathBuf| {
        let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned())
    };
    let bundles = names(scan.state.join("io.containerd.runtime.v2.task/k8s.io"));
    let sandboxes = names(scan.state.join("io.containerd.grpc.v1.cri/sandboxes"));
    let all = bundles.chain(sandboxes).chain(network::addressed(config));
    all.filter(|id| id.len() == ID_LENGTH && id.bytes().all(|byte| byte.is_ascii_hexdigit())).collect()
}

/// Length of a container id.
const ID_LENGTH: usize = 64;

/// Every id in containerd's log. A sandbox whose creation was killed may be named nowhere else. Image digests match
/// too, and do no harm.
fn mentioned_containers(log: &[u8]) -> BTreeSet<String> {
    let hexadecimal = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    let words = log.split(|byte| !hexadecimal(byte)).filter(|word| word.len() == ID_LENGTH);
    words.map(|word| String::from_utf8_lossy(word).into_owned()).collect()
}

/// The socket of a container's shim: containerd names it by a digest of its own socket, the namespace and the id.
fn shim_socket(socket: &Path, id: &str) -> PathBuf {
    let digest = Sha256::digest(socket.join("k8s.io").join(id).as_os_str().as_encoded_bytes());
    let name = digest.iter().fold(String::new(), |name, byte| format!("{name}{byte:02x}"));
    Path::new("/run/containerd/s").join(name)
}

/// Removes what containerd would take for running containers at its next start, as a reboot with the state directory
/// in tmpfs does.
fn remove_state(scan: &OrphanScan) {
    if let Err(error) = std::fs::remove_dir_all(&scan.state)
        && error.kind() != std::io::ErrorKind::NotFound
    {
        tracing::warn!(%error, dir = %scan.state.display(), "cannot remove containerd's state");
    }
}
