//! The kubeconfig of the user who started the cluster: `up` adds the cluster to it under a context of its own, and `uninstall`
//! removes it.
//!
//! With sudo that is the user who called it. Root does not write into the home directory of another user, whose links could lead
//! anywhere: a process with the user's rights does (`catamaran edit-kubeconfig`).

use std::{
    fs::File,
    io::{Read, Write},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
    time::Duration,
};

use anyhow::{Context, bail};
use nix::unistd::{Gid, Uid, User};
use shim_pki::directory;

use crate::console;

/// How long kubectl may hold its lock on a kubeconfig: it writes one small file.
const LOCK_MAX: Duration = Duration::from_secs(1);
/// The time between two attempts to take the lock.
const LOCK_RETRY: Duration = Duration::from_millis(50);
/// The hidden verb.
const VERB: &str = "edit-kubeconfig";

/// What to do with the cluster in a kubeconfig.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Edit {
    /// Add the cluster of the kubeconfig that is the input
    Merge,
    /// Remove the cluster whose certificate authority is the input
    Remove,
}

/// The kubeconfig of a user.
#[derive(Debug, Clone)]
pub struct UserKubeconfig {
    path: PathBuf,
    /// The user; `None` for the user of this process.
    owner: Option<(Uid, Gid)>,
}

impl UserKubeconfig {
    /// The one of the user who called sudo, or of this process's user. `None` if that user has no home directory.
    pub fn of_caller() -> Option<Self> {
        let number = |name| std::env::var(name).ok()?.parse::<u32>().ok();
        let by_sudo = number("SUDO_UID").zip(number("SUDO_GID")).filter(|(uid, _)| *uid != 0);
        let owner = by_sudo.map(|(uid, gid)| (Uid::from_raw(uid), Gid::from_raw(gid)));
        let home = match owner {
            Some((uid, _)) => User::from_uid(uid).ok().flatten()?.dir,
            None => std::env::var_os("HOME").map(PathBuf::from)?,
        };
        let exists = home.is_absolute() && home != Path::new("/") && home.is_dir();
        exists.then(|| Self { path: home.join(".kube/config"), owner })
    }

    /// The path of the file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Adds the cluster of a rendered kubeconfig, and returns the name of its context.
    pub fn merge(&self, rendered: &str) -> anyhow::Result<String> {
        self.edit(Edit::Merge, rendered)
    }

    /// Removes the cluster with this certificate authority (PEM), and returns the names of its contexts, which may be none.
    pub fn remove(&self, authority: &str) -> anyhow::Result<String> {
        self.edit(Edit::Remove, authority)
    }

    fn edit(&self, edit: Edit, input: &str) -> anyhow::Result<String> {
        let Some((uid, gid)) = self.owner else { return edit_locked(edit, &self.path, input) };
        let binary = std::env::current_exe().context("cannot find the path of this program")?;
        let mut child = Command::new(binary)
            .arg(VERB)
            .arg(match edit {
                Edit::Merge => "merge",
                Edit::Remove => "remove",
            })
            .arg(&self.path)
            .uid(uid.as_raw())
            .gid(gid.as_raw())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("cannot start a process of the user")?;
        let mut pipe = child.stdin.take().expect("invariant: standard input is piped");
        // A child that has failed says why on its standard error.
        let _ = pipe.write_all(input.as_bytes());
        drop(pipe);
        let output = child.wait_with_output()?;
        if !output.status.success() {
            let why = String::from_utf8_lossy(&output.stderr);
            bail!("{}", why.trim().trim_start_matches("error: "));
        }
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }
}

/// `catamaran edit-kubeconfig EDIT PATH`: edits the file with what is on standard input, and prints the names of the contexts.
pub fn run(edit: Edit, path: &Path) -> anyhow::Result<ExitCode> {
    let mut input = String::new();
    std::io::stdin().read_to_string(&mut input).context("cannot read standard input")?;
    console::line(&edit_locked(edit, path, &input)?);
    Ok(ExitCode::SUCCESS)
}

/// Edits under the lock that kubectl takes too: a file with the extension `lock`.
fn edit_locked(edit: Edit, path: &Path, input: &str) -> anyhow::Result<String> {
    if edit == Edit::Remove && !path.exists() {
        return Ok(String::new());
    }
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent).with_context(|| format!("cannot create {}", parent.display()))?;
    }
    let _lock = Lock::take(path)?;
    match edit {
        Edit::Merge => Ok(directory::merge_kubeconfig(path, input, None)?),
        Edit::Remove => Ok(directory::remove_from_kubeconfig(path, input)?.join(" ")),
    }
}

struct Lock(PathBuf);

impl Lock {
    fn take(path: &Path) -> anyhow::Result<Self> {
        let mut lock = path.as_os_str().to_owned();
        lock.push(".lock");
        let lock = PathBuf::from(lock);
        for _ in 0..LOCK_MAX.as_millis() / LOCK_RETRY.as_millis() {
            match File::options().write(true).create_new(true).open(&lock) {
                Ok(_) => return Ok(Self(lock)),
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                    std::thread::sleep(LOCK_RETRY)
                }
                Err(error) => return Err(error).with_context(|| format!("cannot create {}", lock.display())),
            }
        }
        bail!(
            "{} exists: another program writes the kubeconfig, or has left its lock; remove it then",
            lock.display()
        )
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Left over, it is named by the next start.
        let _ = std::fs::remove_file(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_of_another_program_is_named_and_ours_is_removed() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join(".kube/config");
        let admin = shim_pki::Issued { certificate: "c".into(), key: "k".into() };
        let rendered = shim_pki::kubeconfig::render("https://127.0.0.1:6443", "ca", &admin);
        assert_eq!(edit_locked(Edit::Remove, &path, "ca").unwrap(), "");
        assert!(!path.exists());
        assert_eq!(edit_locked(Edit::Merge, &path, &rendered).unwrap(), "catamaran");
        let lock = home.path().join(".kube/config.lock");
        assert!(!lock.exists());
        std::fs::write(&lock, "").unwrap();
        let error = edit_locked(Edit::Merge, &path, &rendered).unwrap_err().to_string();
        assert!(error.contains("config.lock exists"), "{error}");
        std::fs::remove_file(&lock).unwrap();
        assert_eq!(edit_locked(Edit::Remove, &path, "ca").unwrap(), "catamaran");
    }
}
