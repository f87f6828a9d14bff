//! `catamaran uninstall`: removes what a stop cannot take, because the process was killed or does not exist any more: tasks and
//! containers that still run, mounts, network namespaces, interfaces, rules, cgroups; the cluster's contexts in the kubeconfig of
//! the user who calls this; and the data directory.

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::atomic::AtomicBool,
};

use anyhow::{Context, bail};
use kubelet_executor::OrphanedResource;
use serde_json::json;

use crate::{
    arguments::verbs::UninstallArguments, console, data_directory::running, node::NodeFiles, preflight,
    runtime, user_kubeconfig::UserKubeconfig,
};

/// `catamaran uninstall`. Exit code 1: something is left, or `--yes` was not given.
pub fn run(arguments: &UninstallArguments) -> anyhow::Result<ExitCode> {
    let data = running::choose(arguments.data_dir.as_deref());
    if !data.exists() {
        arguments.output.print(
            || format!("{} does not exist: nothing to remove", data.display()),
            || json!({"dataDir": data, "removed": false, "left": []}),
        );
        return Ok(ExitCode::SUCCESS);
    }
    // A wrong argument must not remove somebody's directory.
    if !["format", "lock", "node", "agent"].iter().any(|name| data.join(name).exists()) {
        bail!("{} is no data directory of catamaran", data.display());
    }
    if running::is_locked(&data) {
        let pid =
            running::of(&data)?.map(|process| format!(" (process {})", process.pid)).unwrap_or_default();
        bail!("catamaran runs with {}{pid}; stop it first", data.display());
    }
    preflight::need_root("uninstall")?;
    let config = NodeFiles::below(&data).read_config().ok();
    let contexts = Contexts::of(&data);
    if !arguments.yes {
        let found = config.as_ref().map(kubelet_executor::find_leftovers).unwrap_or_default();
        let plan = || plan(&data, &found, contexts.as_ref());
        arguments.output.print(plan, || report(&data, false, &found, None));
        return Ok(ExitCode::FAILURE);
    }
    let mut left = Vec::new();
    runtime::block_on(async {
        kernel::agent::kill_orphans(&data.join("agent"));
        kernel::agent::remove_empty_cgroups();
        if let Some(config) = &config {
            // Nobody waits for grace periods any more.
            left = kubelet_executor::teardown_node(config, &AtomicBool::new(true)).await;
        }
        Ok(())
    })?;
    // Beneath a mount that is left are files of somebody else.
    let mounted = mounts_below(&data)?;
    let removed = match (left.is_empty(), mounted.first()) {
        (true, None) => {
            if let Some(contexts) = &contexts {
                contexts.remove();
            }
            remove_directory(&data).map_err(|error| format!("{error:#}"))
        }
        (true, Some(mount)) => Err(format!("{} is mounted; unmount it first", mount.display())),
        (false, _) => Err("the data directory is kept, because what is left refers to it".to_owned()),
    };
    let complete = removed.is_ok();
    let problem = removed.err();
    let text = || match &problem {
        None => format!("removed {}", data.display()),
        Some(problem) => {
            let lines = left.iter().map(|resource| format!("not removed: {resource}\n"));
            format!("{}not removed: {}: {problem}", lines.collect::<String>(), data.display())
        }
    };
    arguments.output.print(text, || report(&data, complete, &left, problem.as_deref()));
    Ok(if complete { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The contexts of the cluster in the user's kubeconfig.
struct Contexts {
    kubeconfig: UserKubeconfig,
    /// The certificate authority of the cluster, which identifies it.
    authority: String,
}

impl Contexts {
    /// `None` if there cannot be one: the user has no kubeconfig, or the data directory no cluster, only an agent.
    fn of(data: &Path) -> Option<Self> {
        let authority = fs::read_to_string(data.join("pki/ca.crt")).ok()?;
        let kubeconfig = UserKubeconfig::of_caller().filter(|user| user.path().exists())?;
        Some(Self { kubeconfig, authority })
    }

    /// Contexts that cannot be removed are named, and keep nothing else: they only lead nowhere.
    fn remove(&self) {
        let path = self.kubeconfig.path().display();
        if let Err(error) = self.kubeconfig.remove(&self.authority) {
            console::error_line(&format!("warning: the cluster is still in {path}: {error:#}"));
        }
    }
}

fn plan(data: &Path, found: &[OrphanedResource], contexts: Option<&Contexts>) -> String {
    let lines = found.iter().map(|resource| format!("would remove: {}\n", resource.name()));
    let contexts = contexts.map(|contexts| {
        format!(
            "would remove: contexts of this cluster in {}, if any\n",
            contexts.kubeconfig.path().display()
        )
    });
    format!(
        "{}{}would remove: {} with the cluster's keys, its objects, and the images and volumes of this machine\n\
         nothing was removed; --yes does it",
        lines.collect::<String>(),
        contexts.unwrap_or_default(),
        data.display()
    )
}

fn report(
    data: &Path,
    removed: bool,
    resources: &[OrphanedResource],
    problem: Option<&str>,
) -> serde_json::Value {
    let list: Vec<String> = resources.iter().map(ToString::to_string).collect();
    json!({"dataDir": data, "removed": removed, "left": list, "problem": problem})
}

/// Mount points below a directory, which is not one itself.
fn mounts_below(data: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let real = fs::canonicalize(data).with_context(|| format!("cannot resolve {}", data.display()))?;
    let table =
        fs::read_to_string("/proc/self/mountinfo").context("cannot read the mounts of this machine")?;
    Ok(parse_mounts(&table).into_iter().filter(|mount| mount.starts_with(&real) && *mount != real).collect())
}

/// The mount points of a `mountinfo` file, in which spaces and backslashes are octal.
fn parse_mounts(table: &str) -> Vec<PathBuf> {
    let unescape = |text: &str| {
        [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")]
            .iter()
            .fold(text.to_owned(), |text, (octal, character)| text.replace(octal, character))
    };
    table
        .lines()
        .filter_map(|line| line.split(' ').nth(4))
        .map(|path| PathBuf::from(unescape(path)))
        .collect()
}

/// Removes a directory; one that is a mount point itself is emptied.
fn remove_directory(data: &Path) -> anyhow::Result<()> {
    let remove = |entry: &fs::DirEntry| match entry.file_type() {
        Ok(kind) if kind.is_dir() => fs::remove_dir_all(entry.path()),
        _ => fs::remove_file(entry.path()),
    };
    for entry in fs::read_dir(data)?.flatten() {
        remove(&entry).with_context(|| format!("cannot remove {}", entry.path().display()))?;
    }
    match fs::remove_dir(data) {
        Err(error) if error.kind() == std::io::ErrorKind::ResourceBusy => Ok(()),
        other => other.with_context(|| format!("cannot remove {}", data.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mount_points_are_read_with_their_spaces() {
        let table =
            "36 35 98:0 /m1 /mnt/a\\040b rw - ext3 /dev/root rw\n37 35 0:5 / /proc rw - proc proc rw\n";
        assert_eq!(parse_mounts(table), ["/mnt/a b", "/proc"].map(PathBuf::from));
    }

    #[test]
    fn a_directory_is_removed_with_its_links_and_not_with_what_they_name() {
        let outside = tempfile::tempdir().unwrap();
        fs::write(outside.path().join("kept"), "").unwrap();
        let data = tempfile::tempdir().unwrap().keep();
        fs::create_dir_all(data.join("a/b")).unwrap();
        std::os::unix::fs::symlink(outside.path(), data.join("link")).unwrap();
        remove_directory(&data).unwrap();
        assert!(!data.exists() && outside.path().join("kept").exists());
    }
}
