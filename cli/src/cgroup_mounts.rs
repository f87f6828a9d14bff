//! Mounts control groups in a mount namespace that hides them. `ip netns exec` mounts a new sysfs over /sys, which hides
//! the cgroup mounts below it; the container runtime then refuses every sandbox. This mounts again what process 1 has
//! mounted there, in our mount namespace only.

use std::{fs, path::Path};

use anyhow::Context;
use rustix::mount::{MountFlags, mount};

/// Mount point of control groups.
const ROOT: &str = "/sys/fs/cgroup";

/// Mounts what is missing. Does nothing where control groups are visible, or in the mount namespace of process 1.
pub fn restore() -> anyhow::Result<()> {
    let ours = hierarchies("/proc/self/mountinfo")?;
    if !ours.is_empty() || same_namespace_as_init() {
        return Ok(());
    }
    let wanted = hierarchies("/proc/1/mountinfo")?;
    let shared_root = wanted.iter().all(|h| h.target != ROOT);
    if shared_root && !wanted.is_empty() {
        attach("tmpfs", ROOT, "mode=755")?;
    }
    for hierarchy in wanted {
        fs::create_dir_all(&hierarchy.target)
            .with_context(|| format!("cannot create {}", hierarchy.target))?;
        attach(&hierarchy.kind, &hierarchy.target, &hierarchy.controllers)?;
    }
    Ok(())
}

fn attach(kind: &str, target: &str, options: &str) -> anyhow::Result<()> {
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    let options = std::ffi::CString::new(options).context("mount options hold no zero byte")?;
    mount(kind, target, kind, flags, Some(options.as_c_str()))
        .with_context(|| format!("cannot mount {kind} on {target}"))
}

fn same_namespace_as_init() -> bool {
    let namespace = |process: &str| fs::read_link(Path::new("/proc").join(process).join("ns/mnt")).ok();
    namespace("self") == namespace("1")
}

#[derive(Debug, PartialEq, Eq)]
struct Hierarchy {
    kind: String,
    target: String,
    /// Mount options that name the controllers, comma-separated; empty for version 2.
    controllers: String,
}

fn hierarchies(file: &str) -> anyhow::Result<Vec<Hierarchy>> {
    Ok(parse(&fs::read_to_string(file).with_context(|| format!("cannot read {file}"))?))
}

/// The cgroup mounts of a mountinfo text (proc_pid_mountinfo(5)).
fn parse(text: &str) -> Vec<Hierarchy> {
    let one = |line: &str| {
        let (before, after) = line.split_once(" - ")?;
        let target = before.split(' ').nth(4)?;
        let mut after = after.split(' ');
        let (kind, options) = (after.next()?, after.nth(1)?);
        if !kind.starts_with("cgroup") || !target.starts_with(ROOT) {
            return None;
        }
        let general = ["rw", "ro", "relatime", "seclabel", "xattr", "clone_children"];
        let named = |option: &&str| {
            !general.contains(option)
                && !option.starts_with("release_agent=")
                && !option.starts_with("nsdelegate")
        };
        let controllers = match kind {
            "cgroup" => options.split(',').filter(named).collect::<Vec<_>>().join(","),
            _ => String::new(),
        };
        Some(Hierarchy { kind: kind.to_owned(), target: target.to_owned(), controllers })
    };
    text.lines().filter_map(one).collect()
}

#[cfg(test)]
mod tests {
    //! Tests of the mountinfo parser.

    use super::parse;

    #[test]
    fn both_versions_are_found() {
        let text = "\
25 22 0:22 / /sys rw,nosuid shared:7 - sysfs sysfs rw
30 25 0:26 / /sys/fs/cgroup/cpu,cpuacct rw,nosuid shared:9 - cgroup cgroup rw,cpu,cpuacct
31 25 0:27 / /sys/fs/cgroup/systemd rw shared:9 - cgroup none rw,xattr,name=systemd
32 25 0:28 / /sys/fs/cgroup/unified rw shared:9 - cgroup2 cgroup2 rw,nsdelegate
";
        let found: Vec<(String, String)> =
            parse(text).into_iter().map(|h| (h.target, h.controllers)).collect();
        let expected = [
            ("/sys/fs/cgroup/cpu,cpuacct", "cpu,cpuacct"),
            ("/sys/fs/cgroup/systemd", "name=systemd"),
            ("/sys/fs/cgroup/unified", ""),
        ];
        assert_eq!(found, expected.map(|(a, b)| (a.to_owned(), b.to_owned())));
    }
}
