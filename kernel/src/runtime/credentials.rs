//! The user of an executor: user, group and supplementary groups from the name service switch (`/etc/passwd`, LDAP, …).

use std::{
    ffi::CString,
    io,
    os::{fd::AsFd, unix::fs::MetadataExt},
    path::Path,
    thread,
};

use kernel_core::agent::Start;
use kernel_model::executor::CommandInfo;
use nix::unistd::{User, getgrouplist};
use rustix::{
    process::{Gid, Uid},
    thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid},
};

use super::{launch::LaunchError, process::Process, sandbox};
use crate::images::ContainerUser;

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
    of_user(command.and_then(|command| command.user.as_deref()).unwrap_or(&start.framework.user))
}

/// The credentials of a user; `None` if that is root, or if this process cannot switch users. Blocks.
pub(crate) fn of_user(name: &str) -> Result<Option<Credentials>, LaunchError> {
    if !rustix::process::geteuid().is_root() {
        return Ok(None);
    }
    match name {
        "" | "root" => Ok(None),
        name => match Credentials::of(name)? {
            // The master decides by name who may be root.
            credentials if credentials.uid.is_root() => Err(LaunchError::RootByAnotherName(name.to_owned())),
            credentials => Ok(Some(credentials)),
        },
    }
}

/// The user who owns a directory; empty is the agent's own. Blocks.
pub(super) fn owner(directory: &Path) -> Option<String> {
    let uid = std::fs::metadata(directory).ok()?.uid();
    if uid == rustix::process::geteuid().as_raw() {
        return Some(String::new());
    }
    let user = User::from_uid(nix::unistd::Uid::from_raw(uid)).ok().flatten();
    Some(user.map_or_else(|| uid.to_string(), |user| user.name))
}

/// Whether a directory is there and belongs to another user. Blocks.
pub(super) fn is_of_other(directory: &Path, user: Option<&Credentials>) -> bool {
    let own = user.map_or_else(rustix::process::geteuid, |user| user.uid);
    std::fs::metadata(directory).is_ok_and(|found| found.uid() != own.as_raw())
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

    /// Those of a process; `None` if it is of root.
    pub(crate) fn of_process(process: Process) -> Result<Option<Self>, LaunchError> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", process.pid))?;
        let line = |name: &str| status.lines().find_map(|line| line.strip_prefix(name));
        let numbers =
            |name| line(name).map(|rest| rest.split_whitespace().filter_map(|word| word.parse().ok()));
        // The second is the effective one.
        let effective = |name| numbers(name).and_then(|mut numbers| numbers.nth(1));
        let (Some(uid), Some(gid), Some(groups), true) =
            (effective("Uid:"), effective("Gid:"), numbers("Groups:"), process.is_alive())
        else {
            return Err(LaunchError::NotStarted("the container of an image has ended".to_owned()));
        };
        let user = ContainerUser { uid, gid, groups: groups.collect() };
        Ok(Some(Self::of_numbers(&user)).filter(|_| uid != 0))
    }

    /// The user by number, for containers, whose images may have other names.
    pub(crate) fn in_container(&self) -> ContainerUser {
        ContainerUser {
            uid: self.uid.as_raw(),
            gid: self.gid.as_raw(),
            groups: self.groups.iter().map(|group| group.as_raw()).collect(),
        }
    }

    /// Gives an open file to the user.
    pub(crate) fn own(&self, file: impl AsFd) -> io::Result<()> {
        sandbox::give(file, self.uid, self.gid)
    }

    /// Runs `action` with these credentials, in a thread of its own: on Linux they are per thread, and the processes that a
    /// thread starts inherit them. (The standard library sets no supplementary groups of a process.)
    pub(crate) fn run<T: Send, E: From<io::Error> + Send>(
        &self,
        action: impl FnOnce() -> Result<T, E> + Send,
    ) -> Result<T, E> {
        let runtime = tokio::runtime::Handle::try_current();
        let switched = move || {
            let _runtime = runtime.as_ref().map(tokio::runtime::Handle::enter);
            self.switch().map_err(E::from)?;
            action()
        };
        let ended = thread::scope(|scope| scope.spawn(switched).join());
        ended.unwrap_or_else(|_| Err(io::Error::other("a thread with other credentials panicked").into()))
    }

    /// The credentials with these numbers.
    pub(crate) fn of_numbers(user: &ContainerUser) -> Self {
        Self {
            uid: Uid::from_raw(user.uid),
            gid: Gid::from_raw(user.gid),
            groups: user.groups.iter().map(|group| Gid::from_raw(*group)).collect(),
        }
    }

    /// Switches the calling thread, and what it starts or executes.
    pub(crate) fn switch(&self) -> io::Result<()> {
        set_thread_groups(&self.groups)?;
        set_thread_res_gid(self.gid, self.gid, self.gid)?;
        set_thread_res_uid(self.uid, self.uid, self.uid)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
