//! Finds processes, mounts and network resources that a stopped cluster left on the machine. Any is a defect.

use std::{collections::BTreeSet, fs, path::Path, process::Command};

/// Processes and mounts that mention `root`. Resources whose names do not tell their owner are found by [`of_kernel`].
pub fn of(root: &Path) -> Vec<String> {
    let root = root.to_string_lossy();
    let mut found = processes(&root);
    found.extend(mounts(&root));
    found
}

/// Linux resources of any cluster's Pods: network namespaces, interfaces, control groups, NAT rules, and the records of
/// the CNI plugins. Compare with the set from before the test.
pub fn of_kernel() -> BTreeSet<String> {
    let names = |dir: &str| -> Vec<String> {
        let entries = fs::read_dir(dir).into_iter().flatten().flatten();
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
    };
    let starting = |dir: &str, prefixes: &[&str]| -> Vec<String> {
        let ours = |name: &String| prefixes.iter().any(|prefix| name.starts_with(prefix));
        names(dir).into_iter().filter(ours).map(|name| format!("{dir}/{name}")).collect()
    };
    let mut found: BTreeSet<String> = starting("/run/netns", &["cni-"]).into_iter().collect();
    found.extend(starting("/sys/class/net", &["cat", "veth"]));
    found.extend(starting("/var/lib/cni/results", &["catamaran-", "cni-loopback-"]));
    found.extend(starting("/run/containerd/s", &[""]));
    found.extend(starting("/run/containerd/runc/k8s.io", &[""]));
    found.extend(starting("/run", &["catamaran-"]));
    // cgroup v1 has one directory per controller, v2 has the groups themselves.
    found.extend(starting("/sys/fs/cgroup", &["catamaran"]));
    for controller in names("/sys/fs/cgroup") {
        found.extend(starting(&format!("/sys/fs/cgroup/{controller}"), &["catamaran"]));
    }
    let rules = Command::new("iptables").args(["-w", "-t", "nat", "-S"]).output();
    let rules = rules.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    let common = |rule: &str| rule.contains("CNI-HOSTPORT-") && !rule.contains("catamaran-");
    found.extend(
        rules
            .lines()
            .filter(|rule| rule.contains("CNI-") && !common(rule))
            .map(|rule| format!("rule {rule}")),
    );
    found
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

/// Cleans up after a failed test: kills the processes and unmounts what is below the directory, then removes the Linux
/// resources that did not exist `before`.
pub fn sweep(root: &Path, before: &BTreeSet<String>) {
    let text = root.to_string_lossy();
    let new = || of_kernel().difference(before).cloned().collect::<Vec<String>>();
    let groups: Vec<String> = new().into_iter().filter(|name| name.starts_with("/sys/fs/cgroup/")).collect();
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
    for name in new() {
        match name.rsplit_once('/') {
            Some(("/sys/class/net", interface)) => run("ip", &["link", "delete", interface]),
            Some(("/run/netns", namespace)) => run("ip", &["netns", "delete", namespace]),
            _ if groups.contains(&name) => run("find", &[&name, "-depth", "-type", "d", "-delete"]),
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
