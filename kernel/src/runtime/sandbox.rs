//! Paths below an agent's work directory, in Mesos' layout, and the sandboxes of executors. A sandbox belongs to its task,
//! so the agent opens nothing in it through a symbolic link.

use std::{
    fs::{self, DirBuilder, File},
    io,
    os::{
        fd::{AsFd, OwnedFd},
        unix::fs::{DirBuilderExt, PermissionsExt, symlink},
    },
    path::{Component, Path, PathBuf},
    time::{Duration, SystemTime},
};

use kernel_model::ids::{AgentId, ContainerId, ExecutorId, FrameworkId, TaskId, is_legal};
use rustix::fs::{
    AtFlags, Mode, OFlags, ResolveFlags, fchmod, fchown, mkdirat, openat2, symlinkat, unlinkat,
};

use super::credentials::Credentials;

/// How long the sandbox of a terminated executor is kept (Mesos' `--gc_delay`).
pub(crate) const SANDBOX_AGE_MAX: Duration = Duration::from_secs(7 * 24 * 3600);

/// Mode of the directories above sandboxes: their users pass through and list nothing.
const PARENT_MODE: u32 = 0o711;

/// Mode of a sandbox, as in Mesos: nothing for other users.
const SANDBOX_MODE: Mode = Mode::from_raw_mode(0o750);

/// Attempts to open a path while somebody renames parts of it.
const OPEN_TRIES_MAX: u32 = 16;

#[derive(Debug, Clone)]
pub(crate) struct Paths {
    work_dir: PathBuf,
}

impl Paths {
    pub(crate) fn new(work_dir: PathBuf) -> Self {
        Self { work_dir }
    }

    /// The directory of an executor's runs; `None` for ids that cannot name a directory.
    pub(crate) fn runs(
        &self,
        agent_id: &AgentId,
        framework_id: &FrameworkId,
        executor_id: &ExecutorId,
    ) -> Option<PathBuf> {
        let parts = [agent_id.as_str(), framework_id.as_str(), executor_id.as_str()];
        if !parts.into_iter().all(is_legal) {
            return None;
        }
        let [agent, framework, executor] = parts;
        let below = ["slaves", agent, "frameworks", framework, "executors", executor, "runs"];
        Some(self.work_dir.join(below.iter().collect::<PathBuf>()))
    }

    /// The directory with one record per container.
    pub(crate) fn containers(&self) -> PathBuf {
        self.work_dir.join("meta").join("containers")
    }

    /// The directory with what is known of containers below others.
    pub(crate) fn below(&self) -> PathBuf {
        self.work_dir.join("meta").join("below")
    }

    /// The directory of sandboxes of containers without an executor.
    pub(crate) fn standalone(&self) -> PathBuf {
        self.work_dir.join("containers")
    }

    pub(crate) fn work_dir(&self) -> &Path {
        &self.work_dir
    }

    /// Closes what earlier versions left open to other users: they relied on a closed work directory.
    pub(crate) fn protect(&self) {
        let set = |dir: &Path, mode| {
            if dir.is_dir() && !dir.is_symlink() {
                let _ = fs::set_permissions(dir, fs::Permissions::from_mode(mode));
            }
        };
        let mut level = vec![self.work_dir.join("slaves")];
        for below in ["frameworks", "executors", "runs"] {
            level.iter().for_each(|dir| set(dir, PARENT_MODE));
            let within: Vec<PathBuf> = level.iter().flat_map(|dir| entries(dir)).collect();
            within.iter().for_each(|dir| set(dir, PARENT_MODE));
            level = within.iter().map(|entry| entry.join(below)).collect();
        }
        level.iter().for_each(|runs| set(runs, PARENT_MODE));
        level.iter().flat_map(|runs| entries(runs)).for_each(|run| set(&run, SANDBOX_MODE.as_raw_mode()));
    }

    /// Removes the sandboxes of old runs.
    pub(crate) fn collect_garbage(&self, now: SystemTime, is_live: impl Fn(&str) -> bool) {
        for runs in self.all_runs().into_iter().chain([self.standalone()]) {
            for run in entries(&runs).filter(|run| run.is_dir() && !run.is_symlink()) {
                let name = run.file_name().and_then(|name| name.to_str()).unwrap_or_default();
                let modified = run.metadata().and_then(|metadata| metadata.modified());
                let age = modified.ok().and_then(|modified| now.duration_since(modified).ok());
                if !is_live(name) && age.is_some_and(|age| age > SANDBOX_AGE_MAX) {
                    let _ = fs::remove_dir_all(&run);
                }
            }
        }
    }

    fn all_runs(&self) -> Vec<PathBuf> {
        let mut level = vec![self.work_dir.join("slaves")];
        for below in ["frameworks", "executors", "runs"] {
            level = level.iter().flat_map(|dir| entries(dir)).map(|entry| entry.join(below)).collect();
        }
        level
    }
}

/// The directory of one run, held open.
#[derive(Debug)]
pub(crate) struct Sandbox {
    path: PathBuf,
    directory: OwnedFd,
}

impl Sandbox {
    /// Creates the sandbox of a run for a user (`None`: the agent's own), and points `latest` to it.
    pub(crate) fn create(
        runs: &Path,
        container_id: &ContainerId,
        user: Option<&Credentials>,
    ) -> io::Result<Self> {
        let path = runs.join(container_id.as_str());
        DirBuilder::new().recursive(true).mode(PARENT_MODE).create(runs)?;
        DirBuilder::new().recursive(true).mode(SANDBOX_MODE.as_raw_mode()).create(&path)?;
        let sandbox = Self::open(&path)?;
        fchmod(&sandbox.directory, SANDBOX_MODE)?;
        if let Some(user) = user {
            user.own(&sandbox.directory)?;
        }
        let temporary = runs.join(format!(".latest-{container_id}"));
        symlink(&path, &temporary)?;
        fs::rename(&temporary, runs.join("latest"))?;
        Ok(sandbox)
    }

    /// Opens an existing directory as a sandbox.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let directory = rustix::fs::open(path, flags, Mode::empty())?;
        Ok(Self { path: path.to_owned(), directory })
    }

    /// Creates the sandbox of a container without an executor.
    pub(crate) fn create_standalone(
        all: &Path,
        container_id: &ContainerId,
        user: Option<&Credentials>,
    ) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(PARENT_MODE).create(all)?;
        Self::open(all)?.create_below(Path::new(container_id.as_str()), user)
    }

    /// Creates a sandbox in this one.
    pub(crate) fn create_below(&self, relative: &Path, user: Option<&Credentials>) -> io::Result<Self> {
        let directory = self.create_directory(relative)?;
        fchmod(&directory, SANDBOX_MODE)?;
        if let Some(user) = user {
            user.own(&directory)?;
        }
        Ok(Self { path: self.path.join(relative), directory: directory.into() })
    }

    /// Opens a sandbox in this one, without following links.
    pub(crate) fn open_below(&self, relative: &Path) -> io::Result<Self> {
        let directory = self.open_directory(relative)?;
        Ok(Self { path: self.path.join(relative), directory: directory.into() })
    }

    /// Creates the sandbox of a task of a group in this one, which is its executor's, and points `tasks/TASK` to it.
    pub(crate) fn create_nested(
        &self,
        container_id: &ContainerId,
        task_id: &TaskId,
        user: Option<&Credentials>,
    ) -> io::Result<Self> {
        let relative = Path::new("containers").join(container_id.as_str());
        let sandbox = self.create_below(&relative, user)?;
        let tasks = self.create_directory(Path::new("tasks"))?;
        // An earlier task of this id has ended.
        match unlinkat(&tasks, task_id.as_str(), AtFlags::empty()) {
            Ok(()) | Err(rustix::io::Errno::NOENT) => {}
            Err(error) => return Err(error.into()),
        }
        symlinkat(Path::new("..").join(&relative), &tasks, task_id.as_str())?;
        Ok(sandbox)
    }

    /// Shows a persistent volume of this sandbox in one below it.
    pub(crate) fn pass_volume(&self, below: &Sandbox, container_path: &Path) -> io::Result<()> {
        let parent = below.create_directory(container_path.parent().unwrap_or(Path::new("")))?;
        let name = container_path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
        Ok(symlinkat(self.path.join(container_path), &parent, name)?)
    }

    /// Shows a directory of this sandbox in one below it, as a link. Creates the directory for a user if it does not exist.
    pub(crate) fn share(
        &self,
        directory: &Path,
        below: &Sandbox,
        link: &Path,
        user: Option<&Credentials>,
    ) -> io::Result<()> {
        let exists = self.open_directory(directory).is_ok();
        let opened = self.create_directory(directory)?;
        if let (false, Some(user)) = (exists, user) {
            user.own(&opened)?;
        }
        let parent = below.create_directory(link.parent().unwrap_or(Path::new("")))?;
        let name = link.file_name().ok_or(io::ErrorKind::InvalidInput)?;
        Ok(symlinkat(self.path.join(directory), &parent, name)?)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The open directory. A process can be started in it that may not traverse the directories above.
    pub(crate) fn directory(&self) -> &OwnedFd {
        &self.directory
    }

    /// A new file for the output of the executor, which replaces what an archive may have put there.
    pub(crate) fn create_output(&self, name: &str, user: Option<&Credentials>) -> io::Result<File> {
        let flags = OFlags::WRONLY | OFlags::APPEND | OFlags::CREATE | OFlags::EXCL;
        let create = || open_beneath(&self.directory, Path::new(name), flags);
        let file = match create() {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                unlinkat(&self.directory, name, AtFlags::empty())?;
                create()?
            }
            created => created?,
        };
        if let Some(user) = user {
            user.own(&file)?;
        }
        Ok(file)
    }

    /// Creates the directories of a path below the sandbox that do not exist, and opens the last one.
    pub(crate) fn create_directory(&self, relative: &Path) -> io::Result<File> {
        let mut directory = File::from(self.directory.try_clone()?);
        for part in relative.components() {
            let Component::Normal(part) = part else { return Err(io::ErrorKind::InvalidInput.into()) };
            match mkdirat(&directory, part, Mode::from_raw_mode(0o777)) {
                Ok(()) | Err(rustix::io::Errno::EXIST) => {}
                Err(error) => return Err(error.into()),
            }
            directory = open_beneath(&directory, Path::new(part), OFlags::RDONLY | OFlags::DIRECTORY)?;
        }
        Ok(directory)
    }

    /// Opens a directory below the sandbox; the empty path is the sandbox.
    pub(crate) fn open_directory(&self, relative: &Path) -> io::Result<File> {
        let relative = if relative.as_os_str().is_empty() { Path::new(".") } else { relative };
        open_beneath(&self.directory, relative, OFlags::RDONLY | OFlags::DIRECTORY)
    }

    /// Creates a file at a path below the sandbox, or empties it, and creates the directories that it lies in.
    pub(crate) fn create_file(&self, relative: &Path) -> io::Result<File> {
        let parent = self.create_directory(relative.parent().unwrap_or(Path::new("")))?;
        let name = relative.file_name().ok_or(io::ErrorKind::InvalidInput)?;
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::TRUNC | OFlags::NONBLOCK;
        regular(open_beneath(&parent, Path::new(name), flags)?)
    }
}

/// Opens a path below a directory without following links. New files are for everybody to read, as far as the umask allows.
pub(crate) fn open_beneath(directory: impl AsFd, relative: &Path, flags: OFlags) -> io::Result<File> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let mode = match flags.contains(OFlags::CREATE) {
        true => Mode::from_raw_mode(0o666),
        false => Mode::empty(),
    };
    let mut tries = 0;
    loop {
        match openat2(&directory, relative, flags | OFlags::CLOEXEC | OFlags::NOFOLLOW, mode, resolve) {
            Ok(file) => return Ok(file.into()),
            Err(rustix::io::Errno::AGAIN) if tries < OPEN_TRIES_MAX => tries += 1,
            Err(error) => return Err(error.into()),
        }
    }
}

/// The file, if it is a regular one: reads and writes of others may block forever.
pub(crate) fn regular(file: File) -> io::Result<File> {
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file")),
    }
}

/// Gives an open file to a user.
pub(super) fn give(file: impl AsFd, uid: rustix::process::Uid, gid: rustix::process::Gid) -> io::Result<()> {
    Ok(fchown(file, Some(uid), Some(gid))?)
}

fn entries(dir: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path())
}

#[cfg(test)]
mod tests;
