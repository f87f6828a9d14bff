//! Finds processes, mounts and network resources that a stopped cluster left on the machine. Any is a defect. Other clusters may
//! run on the machine: what is proved to be theirs does not count, and everything else does.

mod rules;

use std::{
    collections::BTreeSet,
    fs,
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::Command,
};

use executor_core::tag::node_tag;

/// Processes and mounts that mention `root`. Resources whose names do not tell their directory are found by
/// [`Owner::resources`].
pub fn of(root: &Path) -> Vec<String> {
    let root = root.to_string_lossy();
    let mut found = processes(&root);
    found.extend(mounts(&root));
    found
}

/// The nodes of a cluster under test, by their tags: these are in the names of what the nodes create on the machine.
pub struct Owner {
    tags: Vec<String>,
}

/// Whose a resource is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Whose {
    /// A node of the cluster.
    Ours,
    /// A node of another cluster.
    Foreign,
    /// Nothing tells.
    Unknown,
}

/// The prefix of a tag in the names of networks, cgroups and directories.
const NAMED: &str = "catamaran-";
/// The length of a tag.
const TAG_LENGTH: usize = 8;

impl Owner {
    /// The owner of the nodes with these directories.
    pub fn of_nodes(directories: &[PathBuf]) -> Self {
        let tag = |directory: &PathBuf| node_tag(directory.as_os_str().as_encoded_bytes());
        Self { tags: directories.iter().map(tag).collect() }
    }

    /// Whose a text is that may have several tags in it.
    pub(crate) fn whose(&self, text: &str) -> Whose {
        let tags = text.match_indices(NAMED).filter_map(|(at, _)| text[at + NAMED.len()..].get(..TAG_LENGTH));
        let tags: Vec<&str> = tags.filter(|tag| tag.bytes().all(|byte| byte.is_ascii_hexdigit())).collect();
        match tags.as_slice() {
            [] => Whose::Unknown,
            tags if tags.iter().any(|tag| self.tags.iter().any(|ours| ours == tag)) => Whose::Ours,
            _ => Whose::Foreign,
        }
    }

    /// Linux resources of Pods, other than those of other clusters: network namespaces, interfaces, control groups, packet filter
    /// rules, sockets of shims, and the records of runc and of the CNI plugins. The cluster's processes have ended: a socket that
    /// somebody listens on is another cluster's.
    pub fn resources(&self) -> BTreeSet<String> {
        self.all().into_iter().filter(|(whose, _)| *whose != Whose::Foreign).map(|(_, name)| name).collect()
    }

    /// The resources that are the cluster's for certain.
    fn own(&self) -> Vec<String> {
        self.all().into_iter().filter(|(whose, _)| *whose == Whose::Ours).map(|(_, name)| name).collect()
    }

    fn all(&self) -> Vec<(Whose, String)> {
        let mut found = Vec::new();
        let mut add = |dir: &str, prefix: &str, whose: &dyn Fn(&str) -> Whose| {
            let names = names(dir).into_iter().filter(|name| name.starts_with(prefix));
            found.extend(names.map(|name| (whose(&name), format!("{dir}/{name}"))));
        };
        let by_name = |name: &str| self.whose(name);
        add("/run/netns", "cni-", &|_| Whose::Unknown);
        add("/sys/class/net", "cat", &|name| self.whose_bridge(name));
        add("/sys/class/net", "veth", &|name| self.whose_veth(name));
        add(CNI_RESULTS, NAMED, &by_name);
        add(CNI_RESULTS, "cni-loopback-", &|name| self.whose_loopback(name));
        add("/run/containerd/s", "", &|name| {
            let listening = UnixStream::connect(Path::new("/run/containerd/s").join(name)).is_ok();
            if listening { Whose::Foreign } else { Whose::Unknown }
        });
        // The state of a container names its cgroup.
        add(RUNC, "", &|id| {
            self.whose(&fs::read_to_string(format!("{RUNC}/{id}/state.json")).unwrap_or_default())
        });
        add("/run", NAMED, &by_name);
        // cgroup v1 has one directory per controller, v2 has the groups themselves.
        add("/sys/fs/cgroup", NAMED, &by_name);
        for controller in names("/sys/fs/cgroup") {
            add(&format!("/sys/fs/cgroup/{controller}"), NAMED, &by_name);
        }
        found.extend(rules::of_nat(self, &output("iptables", &["-w", "-t", "nat", "-S"])));
        let tables = output("nft", &["list", "tables"]);
        found.extend(
            tables
                .lines()
                .filter(|line| line.contains(NAMED))
                .map(|line| (self.whose(line), line.to_owned())),
        );
        found
    }

    fn whose_bridge(&self, name: &str) -> Whose {
        self.whose(&name.replacen("cat", NAMED, 1))
    }

    /// By the bridge to which the interface belongs.
    fn whose_veth(&self, name: &str) -> Whose {
        let bridge = fs::read_link(format!("/sys/class/net/{name}/master")).unwrap_or_default();
        let bridge = bridge.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if bridge.starts_with("cat") { self.whose_bridge(&bridge) } else { Whose::Unknown }
    }

    /// By the record of the same sandbox in the cluster's network.
    fn whose_loopback(&self, name: &str) -> Whose {
        let Some(id) = name.strip_prefix("cni-loopback-").and_then(|rest| rest.strip_suffix("-lo")) else {
            return Whose::Unknown;
        };
        let of_network =
            names(CNI_RESULTS).into_iter().filter(|other| other.starts_with(NAMED) && other.contains(id));
        of_network.map(|other| self.whose(&other)).next().unwrap_or(Whose::Unknown)
    }
}

/// Where libcni records the results of its plugins.
const CNI_RESULTS: &str = "/var/lib/cni/results";
/// Where runc keeps the state of containers.
const RUNC: &str = "/run/containerd/runc/k8s.io";

fn names(dir: &str) -> Vec<String> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

fn output(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default()
}

/// Processes with the directory in their command line or as working directory.
pub fn processes(root: &str) -> Vec<String> {
    process_ids(root).into_iter().map(|(pid, line)| format!("process {pid}: {line}")).collect()
}

/// Ids and command lines of such processes.
pub fn process_ids(root: &str) -> Vec<(i32, String)> {
    let me = std::process::id() as i32;
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_string_lossy().parse::<i32>().ok())
        .filter(|pid| *pid != me)
        .filter_map(|pid| {
            let line = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
            let line = String::from_utf8_lossy(&line).replace('\0', " ").trim().to_owned();
            let cwd = fs::read_link(format!("/proc/{pid}/cwd")).unwrap_or_default();
            let ours = line.contains(root) || cwd.to_string_lossy().starts_with(root);
            ours.then_some((pid, line))
        })
        .collect()
}

fn mounts(root: &str) -> Vec<String> {
    let text = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    text.lines()
        .filter(|line| line.split(' ').nth(1).is_some_and(|target| target.starts_with(root)))
        .map(|line| format!("mount {line}"))
        .collect()
}

/// Cleans up after a failed test: kills the cluster's processes and unmounts what is below the directory, then removes its cgroups
/// and interfaces.
pub fn sweep(root: &Path, owner: &Owner) {
    let text = root.to_string_lossy();
    let groups: Vec<String> =
        owner.own().into_iter().filter(|name| name.starts_with("/sys/fs/cgroup/")).collect();
    for _ in 0..20 {
        let mut left: Vec<i32> = process_ids(&text).into_iter().map(|(pid, _)| pid).collect();
        left.extend(groups.iter().flat_map(|group| contained(Path::new(group))));
        if left.is_empty() {
            break;
        }
        for pid in left.into_iter().filter_map(rustix::process::Pid::from_raw) {
            // It may have ended in the meantime.
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    let run = |program: &str, arguments: &[&str]| {
        let _ = Command::new(program).args(arguments).status();
    };
    for line in mounts(&text).iter().rev() {
        if let Some(target) = line.split(' ').nth(2) {
            // A lazy unmount also works with mounts inside.
            run("umount", &["-l", target]);
        }
    }
    for name in owner.own() {
        match name.rsplit_once('/') {
            Some(("/sys/class/net", interface)) => run("ip", &["link", "delete", interface]),
            _ if groups.contains(&name) => run("find", &[&name, "-depth", "-type", "d", "-delete"]),
            _ if name.starts_with("table ") => run("nft", &["delete", &name]),
            _ => {}
        }
    }
}

/// The processes in a control group and its descendants.
fn contained(group: &Path) -> Vec<i32> {
    let text = fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
    let mut pids: Vec<i32> = text.lines().filter_map(|line| line.parse().ok()).collect();
    let entries = fs::read_dir(group).into_iter().flatten().flatten();
    let below = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    pids.extend(below.flat_map(|entry| contained(&entry.path())));
    pids
}
