//! Persistent volumes: directories below the work directory, in Mesos' layout, that outlive their tasks. A sandbox has links to
//! them, as with Mesos' POSIX containerizer.
//!
//! A record beside each directory says which operation created it, so that what a crash has left of a destroyed volume is not taken
//! for a later one of the same name.

use std::{
    collections::BTreeMap,
    fs::{self, DirBuilder, File},
    io::{self, Write},
    os::{
        fd::AsFd,
        unix::{
            ffi::OsStrExt,
            fs::{DirBuilderExt, MetadataExt},
        },
    },
    path::{Path, PathBuf},
    thread,
};

use kernel_core::agent::LinkedVolume;
use kernel_model::{
    ids::{AgentId, is_legal},
    resources::VolumeId,
};
use rustix::{
    fs::{AtFlags, readlinkat, symlinkat, unlinkat},
    process::{Gid, Uid, geteuid},
};

use super::sandbox::{Paths, Sandbox, give};

/// Mode of the directories above volumes: their users pass through and list nothing.
const PARENT_MODE: u32 = 0o711;

/// The record of a volume that was destroyed, and whose directory is still there.
const DESTROYED: &str = "destroyed\n";

/// Mode of a volume, as of a sandbox: nothing for other users.
const VOLUME_MODE: u32 = 0o750;

/// Makes the directories of an agent's volumes, and removes those of its former ones. Blocks for a few system calls for each volume;
/// files are removed in the background. Returns the volumes that are not there, and what could not be removed.
pub(crate) fn sync(
    paths: &Paths,
    agent_id: &AgentId,
    volumes: &BTreeMap<VolumeId, u64>,
) -> (BTreeMap<VolumeId, VolumeError>, Vec<VolumeError>) {
    let records = paths.work_dir().join("meta").join("volumes");
    let (mut wanted, mut missing, mut left) = (BTreeMap::new(), BTreeMap::new(), Vec::new());
    for (id, created) in volumes {
        match relative(id) {
            Ok(relative) => drop(wanted.insert(relative, (id, format!("{agent_id} {created}\n")))),
            Err(error) => drop(missing.insert(id.clone(), error)),
        }
    }
    let own = format!("{agent_id} ");
    for relative in recorded(&records) {
        let record = fs::read_to_string(records.join(&relative)).unwrap_or_default();
        if record.starts_with(&own) && !wanted.contains_key(&relative) {
            let removed = discard(paths, &relative).and_then(|()| fs::remove_file(records.join(&relative)));
            left.extend(removed.err().map(|error| VolumeError::Remove(relative.clone(), error)));
        }
    }
    // One volume that fails holds no other up.
    for (relative, (id, record)) in wanted {
        if let Err(error) = make(paths, &records, &relative, &record) {
            missing.insert(id.clone(), VolumeError::Make(relative, error));
        }
    }
    remove_discarded(paths);
    (missing, left)
}

/// A volume whose directory could not be made, removed or linked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum VolumeError {
    #[error("'{0}' cannot name a persistent volume")]
    Name(VolumeId),
    #[error("cannot make persistent volume {path}: {1}", path = .0.display())]
    Make(PathBuf, io::Error),
    #[error("cannot remove persistent volume {path}: {1}", path = .0.display())]
    Remove(PathBuf, io::Error),
    #[error("cannot link persistent volume {0} at '{1}': {2}")]
    Link(VolumeId, String, io::Error),
}

/// A volume below the directory of all. Mesos puts a space for the slashes of a role.
fn relative(id: &VolumeId) -> Result<PathBuf, VolumeError> {
    let role = id.role.as_str().replace('/', " ");
    match is_legal(&role) && is_legal(&id.id) {
        true => Ok(Path::new(&role).join(&id.id)),
        false => Err(VolumeError::Name(id.clone())),
    }
}

fn all_volumes(paths: &Paths) -> PathBuf {
    paths.work_dir().join("volumes").join("roles")
}

/// The volumes with records.
fn recorded(records: &Path) -> Vec<PathBuf> {
    let entries = |dir: &Path| fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path());
    let volumes = entries(records).flat_map(|role| entries(&role).collect::<Vec<_>>());
    volumes.filter_map(|path| Some(path.strip_prefix(records).ok()?.to_owned())).collect()
}

fn make(paths: &Paths, records: &Path, relative: &Path, record: &str) -> io::Result<()> {
    let (directory, note) = (all_volumes(paths).join(relative), records.join(relative));
    let known = fs::read_to_string(&note).ok();
    if known.as_deref() != Some(record) {
        // A directory without a record is one of Mesos', or an operator's.
        if known.is_some() {
            // If this fails, the directory must not be taken for the new volume.
            write_record(records, &note, DESTROYED)?;
            discard(paths, relative)?;
        }
        write_record(records, &note, record)?;
    }
    if !fs::symlink_metadata(&directory).is_ok_and(|metadata| metadata.is_dir()) {
        let parent = directory.parent().unwrap_or(&directory);
        DirBuilder::new().recursive(true).mode(PARENT_MODE).create(parent)?;
        DirBuilder::new().mode(VOLUME_MODE).create(&directory)?;
        File::open(parent)?.sync_all()?;
    }
    Ok(())
}

/// Writes a record durably, in one step.
fn write_record(records: &Path, note: &Path, record: &str) -> io::Result<()> {
    let parent = note.parent().unwrap_or(records);
    fs::create_dir_all(parent)?;
    // Beside the directories of roles, which can have any name.
    let temporary = records.with_extension("new");
    let mut file = File::create(&temporary)?;
    file.write_all(record.as_bytes())?;
    file.sync_all()?;
    fs::rename(&temporary, note)?;
    File::open(parent)?.sync_all()
}

/// Whether the directory is that of the volume, as far as the records say.
fn is_made(paths: &Paths, relative: &Path) -> bool {
    let record = fs::read_to_string(paths.work_dir().join("meta").join("volumes").join(relative));
    record.is_ok_and(|record| record != DESTROYED)
}

/// Takes a volume's directory away, in one step.
fn discard(paths: &Paths, relative: &Path) -> io::Result<()> {
    let discarded = paths.work_dir().join("volumes").join("removed");
    DirBuilder::new().recursive(true).mode(PARENT_MODE).create(&discarded)?;
    match fs::rename(all_volumes(paths).join(relative), discarded.join(uuid::Uuid::new_v4().to_string())) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

fn remove_discarded(paths: &Paths) {
    let discarded = paths.work_dir().join("volumes").join("removed");
    let left: Vec<PathBuf> =
        fs::read_dir(discarded).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    if left.is_empty() {
        return;
    }
    let remove = move || {
        for path in left {
            match fs::remove_dir_all(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    tracing::warn!(path = %path.display(), %error, "cannot remove a destroyed volume");
                }
                Ok(()) | Err(_) => {}
            }
        }
    };
    if let Err(error) = thread::Builder::new().name("volumes".to_owned()).spawn(remove) {
        tracing::warn!(%error, "destroyed volumes are removed later");
    }
}

/// The directory of a volume.
pub(crate) fn directory(paths: &Paths, id: &VolumeId) -> Result<PathBuf, VolumeError> {
    Ok(all_volumes(paths).join(relative(id)?))
}

/// Links volumes in a sandbox, and gives them to its owner.
pub(crate) fn link(paths: &Paths, sandbox: &Sandbox, volumes: &[LinkedVolume]) -> Result<(), VolumeError> {
    let owner = File::from(sandbox.directory().try_clone().map_err(|error| whole(volumes, error))?);
    let owner = owner.metadata().map_err(|error| whole(volumes, error))?;
    for volume in volumes {
        let relative = relative(&volume.id)?;
        let target = all_volumes(paths).join(&relative);
        let linked = || {
            if !is_made(paths, &relative) {
                return Err(io::Error::new(io::ErrorKind::NotFound, "its directory was not made"));
            }
            let directory = Sandbox::open(&target)?;
            if owner.uid() != geteuid().as_raw() {
                give(directory.directory(), Uid::from_raw(owner.uid()), Gid::from_raw(owner.gid()))?;
            }
            match Path::new(&volume.container_path) {
                // Outside of the sandbox it is only mounted, in a container of an image.
                path if path.is_absolute() => Ok(()),
                path => link_one(paths, sandbox, path, &target),
            }
        };
        linked()
            .map_err(|error| VolumeError::Link(volume.id.clone(), volume.container_path.clone(), error))?;
    }
    Ok(())
}

/// The error of all volumes, of which there is one.
fn whole(volumes: &[LinkedVolume], error: io::Error) -> VolumeError {
    match volumes.first() {
        Some(volume) => VolumeError::Link(volume.id.clone(), volume.container_path.clone(), error),
        None => VolumeError::Make(PathBuf::new(), error),
    }
}

fn link_one(paths: &Paths, sandbox: &Sandbox, container_path: &Path, target: &Path) -> io::Result<()> {
    let parent = sandbox.create_directory(container_path.parent().unwrap_or(Path::new("")))?;
    let name = container_path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    match symlinkat(target, parent.as_fd(), name) {
        Err(rustix::io::Errno::EXIST) => {}
        made => return Ok(made?),
    }
    let present = readlinkat(&parent, name, Vec::new())?;
    let present = Path::new(std::ffi::OsStr::from_bytes(present.as_bytes()));
    if present == target {
        return Ok(());
    }
    // Of an earlier task of the executor.
    if present.starts_with(all_volumes(paths)) {
        unlinkat(&parent, name, AtFlags::empty())?;
        return Ok(symlinkat(target, parent.as_fd(), name)?);
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use kernel_model::roles::Role;

    use super::*;

    fn id(role: &str, id: &str) -> VolumeId {
        VolumeId { role: Role::parse(role).unwrap(), id: id.into() }
    }

    fn fixture() -> (tempfile::TempDir, Paths, Sandbox) {
        let directory = tempfile::tempdir().unwrap();
        let paths = Paths::new(directory.path().to_owned());
        let sandbox = Sandbox::create(&directory.path().join("runs"), &"c1".into(), None).unwrap();
        (directory, paths, sandbox)
    }

    fn synced(paths: &Paths, volumes: &[(VolumeId, u64)]) {
        let (missing, left) = sync(paths, &"s".into(), &volumes.iter().cloned().collect());
        assert!(missing.is_empty() && left.is_empty(), "{missing:?} {left:?}");
    }

    #[test]
    fn data_stays_until_the_volume_is_destroyed() {
        let (directory, paths, sandbox) = fixture();
        let (a, nested) = (id("eng", "a"), id("eng/dev", "a"));
        synced(&paths, &[(a.clone(), 1), (nested.clone(), 2)]);
        let at = |path: &str| directory.path().join("volumes/roles").join(path);
        assert_eq!(fs::metadata(at("eng dev/a")).unwrap().permissions().mode() & 0o777, 0o750);
        let volume = |id: &VolumeId, path: &str| LinkedVolume {
            id: id.clone(),
            container_path: path.into(),
            read_only: false,
        };
        let linked = [volume(&a, "data"), volume(&nested, "deep/data")];
        link(&paths, &sandbox, &linked).unwrap();
        link(&paths, &sandbox, &linked).unwrap();
        fs::write(sandbox.path().join("data/file"), "x").unwrap();
        fs::write(sandbox.path().join("deep/data/file"), "y").unwrap();
        synced(&paths, &[(a.clone(), 1), (nested, 2)]);
        assert_eq!(fs::read_to_string(at("eng/a/file")).unwrap(), "x");
        // Another volume of the same name, and none.
        synced(&paths, &[(a.clone(), 3)]);
        assert!(at("eng/a").is_dir() && !at("eng/a/file").exists() && !at("eng dev/a").exists());
        fs::write(at("eng/a/file"), "z").unwrap();
        // Those of another agent are not touched.
        assert!(sync(&paths, &"other".into(), &BTreeMap::new()).1.is_empty());
        assert!(at("eng/a/file").exists());
        synced(&paths, &[]);
        assert!(!at("eng/a").exists());
        assert!(link(&paths, &sandbox, &[volume(&a, "gone")]).is_err());
    }

    #[test]
    fn nothing_leads_out_of_the_sandbox_and_nothing_is_replaced() {
        let (directory, paths, sandbox) = fixture();
        let (a, b) = (id("eng", "a"), id("eng", "b"));
        synced(&paths, &[(a.clone(), 1), (b.clone(), 1)]);
        let try_link = |id: &VolumeId, path: &str| {
            link(
                &paths,
                &sandbox,
                &[LinkedVolume { id: id.clone(), container_path: path.into(), read_only: false }],
            )
        };
        std::os::unix::fs::symlink("/etc", sandbox.path().join("out")).unwrap();
        fs::write(sandbox.path().join("file"), "x").unwrap();
        for path in ["out/data", "out", "file", "../data", ""] {
            assert!(try_link(&a, path).is_err(), "{path}");
        }
        try_link(&a, "/data").unwrap();
        assert!(!Path::new("/data").exists(), "it is mounted elsewhere");
        try_link(&a, "data").unwrap();
        try_link(&b, "data").unwrap();
        let target = fs::read_link(sandbox.path().join("data")).unwrap();
        assert_eq!(target, directory.path().join("volumes/roles/eng/b"));
        // A directory that was exchanged for a link is not followed.
        fs::remove_dir(&target).unwrap();
        std::os::unix::fs::symlink("/etc", &target).unwrap();
        assert!(try_link(&b, "other").is_err());
    }

    #[test]
    fn a_volume_that_cannot_be_made_holds_no_other_up() {
        let (directory, paths, sandbox) = fixture();
        let at = |path: &str| directory.path().join("volumes/roles").join(path);
        let (a, hidden) = (id("eng", "a"), id(".new", "a"));
        synced(&paths, &[(a.clone(), 1), (hidden.clone(), 2)]);
        fs::write(at("eng/a/file"), "secret").unwrap();
        let too_long = id(&format!("{}/z", "y".repeat(300)), "c");
        let all = BTreeMap::from([(a.clone(), 4), (hidden, 2), (too_long, 3)]);
        let (missing, _) = sync(&paths, &"s".into(), &all);
        assert!(matches!(missing.values().collect::<Vec<_>>()[..], [VolumeError::Name(_)]), "{missing:?}");
        assert!(at("eng/a").is_dir() && !at("eng/a/file").exists() && at(".new/a").is_dir());
        // What is left of a destroyed volume is not linked.
        fs::write(directory.path().join("meta/volumes/eng/a"), DESTROYED).unwrap();
        assert!(
            link(
                &paths,
                &sandbox,
                &[LinkedVolume { id: a, container_path: "data".into(), read_only: false }]
            )
            .is_err()
        );
    }
}
