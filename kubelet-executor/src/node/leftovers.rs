//! What a private containerd and its containers left on the machine: found by what names this node alone (its directory,
//! its socket, its tag), and removed by hand. The last resort of a stop: where every call to the runtime came back, nothing
//! is here.
//!
//! Nothing is told from another node's by its kind: a shim is ours because it was started with our socket, a process because
//! it is in our control group, a rule because it bears our network's name.

mod mounts;
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
    machine::{cgroups, pod_network},
    runtime::containerd,
};

/// Something of this node's that is on the machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Remnant {
    /// A containerd, a shim of it, or a process of a container.
    Process {
        /// Its number.
        pid: u32,
        /// Its program.
        program: String,
    },
    /// A mount of a container, a volume or a network namespace.
    Mount(PathBuf),
    /// The bridge.
    Interface(String),
    /// Rules of address translation that bear this network's name.
    NatRules(String),
    /// The node's control group.
    ControlGroup(PathBuf),
}

impl fmt::Display for Remnant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Process { pid, program } => {
                write!(f, "process {pid} ({program}); end it with: kill -9 {pid}")
            }
            Self::Mount(path) => {
                write!(f, "mount {0}; remove it with: umount -l '{0}'", path.display())
            }
            Self::Interface(name) => write!(f, "interface {name}; remove it with: ip link delete {name}"),
            Self::NatRules(network) => {
                write!(f, "rules of {network}; see them with: iptables -t nat -S | grep {network}")
            }
            Self::ControlGroup(path) => {
                write!(
                    f,
                    "control group {0}; remove it with: find {0} -depth -type d -delete",
                    path.display()
                )
            }
        }
    }
}

/// Looks for what is left. With somebody else's runtime only the control group is ours to look for.
pub fn find(config: &Config) -> Vec<Remnant> {
    let groups = cgroups::existing(&cgroups::node_group(&config.tag()));
    let groups = groups.into_iter().map(Remnant::ControlGroup);
    if config.cri_endpoint.is_some() {
        return groups.collect();
    }
    let traces = Traces::of(config);
    let processes = processes::of_runtime(&traces).into_iter().chain(processes::of_containers(config));
    let process = |pid| Remnant::Process { pid, program: processes::program(pid).unwrap_or_default() };
    let bridge = pod_network::bridge_name(config);
    let bridge = Path::new("/sys/class/net").join(&bridge).exists().then_some(Remnant::Interface(bridge));
    let network = pod_network::network_name(config);
    let ruled = network::nat_removal(&network::nat_rules(), &network, &BTreeSet::new()).is_some();
    let mut found: Vec<Remnant> = processes.map(process).collect();
    found.extend(mounts::below(&traces.mounts).into_iter().map(Remnant::Mount));
    found.extend(bridge);
    found.extend(ruled.then_some(Remnant::NatRules(network)));
    found.extend(groups);
    found
}

/// Where traces of the private containerd are.
pub(crate) struct Traces {
    socket: PathBuf,
    config: PathBuf,
    state: PathBuf,
    /// Directories strictly below which every mount is ours. What is mounted on one of them is the machine's owner's.
    mounts: [PathBuf; 3],
}

impl Traces {
    fn of(config: &Config) -> Self {
        let absolute = |path: PathBuf| std::path::absolute(&path).unwrap_or(path);
        let paths = containerd::Paths::of(config);
        let state = absolute(paths.dir.join("state"));
        let mounts =
            [state.clone(), absolute(paths.dir.join("root/tmpmounts")), absolute(config.volumes_dir())];
        Self { socket: paths.socket, config: paths.config, state, mounts }
    }
}

/// Removes what is left of a node whose containerd has been stopped. Each step is bounded; [`find`] tells what withstood.
pub(crate) async fn remove(config: &Config) {
    let traces = Traces::of(config);
    let standing = standing_containers(config, &traces);
    let mut ids = mentioned_containers(&std::fs::read(containerd::Paths::of(config).log).unwrap_or_default());
    ids.extend(standing.iter().cloned());
    let sandboxes = network::old_namespaces(config, &ids);
    if processes::kill_all(config, &traces).await > 0 {
        tracing::warn!("containers outlived their runtime's stop and were killed");
    }
    let mounted = mounts::below(&traces.mounts);
    if !mounted.is_empty() {
        tracing::warn!(count = mounted.len(), "mounts outlived their containers and are removed");
    }
    mounts::remove_below(&traces.mounts);
    mounts::remove_namespaces(&sandboxes);
    if !standing.is_empty() && mounts::below(&traces.mounts).is_empty() {
        remove_state(&traces);
    }
    for id in &ids {
        let _ = std::fs::remove_file(shim_socket(&traces.socket, id));
        let _ = std::fs::remove_dir_all(Path::new("/run/containerd/runc/k8s.io").join(id));
    }
    network::remove(config, &ids).await;
    pod_network::remove(config).await;
    // Processes that were killed leave their groups a moment later.
    let group = cgroups::node_group(&config.tag());
    for _ in 0..20 {
        cgroups::remove(&group);
        if cgroups::existing(&group).is_empty() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Every container that left more than words: the runtime's bundles, sandboxes' directories, addresses given out.
fn standing_containers(config: &Config, traces: &Traces) -> BTreeSet<String> {
    let names = |dir: PathBuf| {
        let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned())
    };
    let bundles = names(traces.state.join("io.containerd.runtime.v2.task/k8s.io"));
    let sandboxes = names(traces.state.join("io.containerd.grpc.v1.cri/sandboxes"));
    let all = bundles.chain(sandboxes).chain(network::addressed(config));
    all.filter(|id| id.len() == ID_LENGTH && id.bytes().all(|byte| byte.is_ascii_hexdigit())).collect()
}

/// An id's digits.
const ID_LENGTH: usize = 64;

/// Every id that containerd's log mentions. Of a sandbox whose making was cut off by a kill nothing else may tell; digests of
/// images are among them, and name nothing that is looked for.
fn mentioned_containers(log: &[u8]) -> BTreeSet<String> {
    let hexadecimal = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    let words = log.split(|byte| !hexadecimal(byte)).filter(|word| word.len() == ID_LENGTH);
    words.map(|word| String::from_utf8_lossy(word).into_owned()).collect()
}

/// Where a container's shim listens: containerd names the socket by a digest of its own, the namespace and the id.
fn shim_socket(socket: &Path, id: &str) -> PathBuf {
    let digest = Sha256::digest(socket.join("k8s.io").join(id).as_os_str().as_encoded_bytes());
    let name = digest.iter().fold(String::new(), |name, byte| format!("{name}{byte:02x}"));
    Path::new("/run/containerd/s").join(name)
}

/// Removes what containerd would take for living containers at its next start. As after a reboot of a machine that has this
/// directory in memory.
fn remove_state(traces: &Traces) {
    if let Err(error) = std::fs::remove_dir_all(&traces.state)
        && error.kind() != std::io::ErrorKind::NotFound
    {
        tracing::warn!(%error, dir = %traces.state.display(), "containerd's state not removed");
    }
}
