//! The user of an executor: user, group and supplementary groups from the name service switch (`/etc/passwd`, LDAP, …).

use std::{ffi::CString, io, os::unix::fs::chown, path::Path, thread};

use kernel_core::agent::Start;
use kernel_model::executor::CommandInfo;
use nix::unistd::{User, getgrouplist};
use rustix::{
    process::{Gid, Uid},
    thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid},
};
use tokio::{process::Child, process::Command, runtime::Handle};

use super::launch::LaunchError;

/// User, group and supplementary groups of a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Credentials {
    uid: Uid,
    gid: Gid,
    groups: Vec<Gid>,
}

/// The credentials of a launch: those of the command's user, or of the framework's. `None` if that is root, or if the agent
/// cannot switch users.
pub(super) fn of_launch(
    command: Option<&CommandInfo>,
    start: &Start,
) -> Result<Option<Credentials>, LaunchError> {
    if !rustix::process::geteuid().is_root() {
        return Ok(None);
    }
    let name = command.and_then(|command| command.user.as_deref()).unwrap_or(&start.framework.user);
    match name {
        "" | "root" => Ok(None),
        name => Credentials::of(name).map(Some),
    }
}

impl Credentials {
    /// Looks up a user with its groups. Blocks: the name service may ask a server.
    pub(crate) fn of(name: &str) -> Result<Self, LaunchError> {
        let unknown = || LaunchError::User(name.to_owned());
        let failed = |errno: nix::Error| LaunchError::UserLookup(name.to_owned(), errno.into());
        let text = CString::new(name).map_err(|_| unknown())?;
        let user = User::from_name(name).map_err(failed)?.ok_or_else(unknown)?;
        let groups = getgrouplist(&text, user.gid).map_err(failed)?;
        Ok(Self {
            uid: Uid::from_raw(user.uid.as_raw()),
            gid: Gid::from_raw(user.gid.as_raw()),
            groups: groups.into_iter().map(|group| Gid::from_raw(group.as_raw())).collect(),
        })
    }

    /// Gives a file to the user.
    pub(super) fn own(&self, path: &Path) -> io::Result<()> {
        chown(path, Some(self.uid.as_raw()), Some(self.gid.as_raw()))
    }

    /// Starts a process with these credentials. The standard library sets no supplementary groups, so a thread takes the
    /// credentials (on Linux they are per thread), the process inherits them, and the thread ends.
    pub(super) fn spawn(&self, mut command: Command) -> io::Result<Child> {
        let runtime = Handle::current();
        let spawn = move || {
            let _runtime = runtime.enter();
            set_thread_groups(&self.groups)?;
            set_thread_res_gid(self.gid, self.gid, self.gid)?;
            set_thread_res_uid(self.uid, self.uid, self.uid)?;
            command.spawn()
        };
        let spawned = thread::scope(|scope| scope.spawn(spawn).join());
        spawned.unwrap_or_else(|_| Err(io::Error::other("the thread that starts the process panicked")))
    }
}

#[cfg(test)]
mod tests;
