//! Atomically replaced directories: readers see the old set of files or the new one.
//!
//! ```text
//! key        -> ..data/key          (what containers open)
//! ..data     -> ..set_1             (replaced by a rename)
//! ..set_1/key
//! ```

use std::{
    collections::BTreeSet,
    ffi::OsString,
    fs, io,
    os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink},
    path::Path,
};

use executor_core::payload::Files;

const DATA: &str = "..data";

/// Makes `dir` contain exactly `files`; does nothing if it already does.
pub(crate) fn write(dir: &Path, files: &Files, group: Option<u32>) -> io::Result<()> {
    fs::create_dir_all(dir)?;
    if !shows(dir, files, group) {
        let fresh = fresh_dir(dir)?;
        for (path, file) in files {
            let target = dir.join(&fresh).join(path);
            if let Some(parent) = target.parent() {
                fs::create_dir_all(parent)?;
            }
            fs::write(&target, &file.bytes)?;
            fs::set_permissions(&target, fs::Permissions::from_mode(mode(file.mode, group)))?;
            chown(&target, file.owner, group)?;
        }
        if let Some(group) = group {
            give_directories(dir, &dir.join(&fresh), group)?;
        }
        let old = fs::read_link(dir.join(DATA)).ok();
        let partial = dir.join("..data_tmp");
        let _ = fs::remove_file(&partial);
        symlink(&fresh, &partial)?;
        fs::rename(&partial, dir.join(DATA))?;
        if let Some(old) = old {
            let _ = fs::remove_dir_all(dir.join(old));
        }
    }
    link(dir, files)
}

/// With an `fsGroup`, the group may read the files of a volume that is read-only, as upstream.
fn mode(mode: u32, group: Option<u32>) -> u32 {
    if group.is_some() { mode | 0o440 } else { mode }
}

/// With an `fsGroup`, the directories are the group's too, and what is made in them.
fn give_directories(volume: &Path, set: &Path, group: u32) -> io::Result<()> {
    let give = |dir: &Path| {
        chown(dir, None, Some(group))?;
        let mode = fs::metadata(dir)?.permissions().mode() | 0o2550;
        fs::set_permissions(dir, fs::Permissions::from_mode(mode))
    };
    give(volume)?;
    let mut all = vec![set.to_owned()];
    while let Some(dir) = all.pop() {
        give(&dir)?;
        for entry in fs::read_dir(&dir)? {
            all.extend(Some(entry?.path()).filter(|path| path.is_dir()));
        }
    }
    Ok(())
}

/// Creates a directory with an unused name.
fn fresh_dir(dir: &Path) -> io::Result<OsString> {
    for n in 0..u32::MAX {
        let name = OsString::from(format!("..set_{n}"));
        match fs::create_dir(dir.join(&name)) {
            Ok(()) => return Ok(name),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::Error::other("no name left for a directory"))
}

fn shows(dir: &Path, files: &Files, group: Option<u32>) -> bool {
    let data = dir.join(DATA);
    let same = |(path, file): (&String, &executor_core::payload::File)| {
        let target = data.join(path);
        let is_same = |found: fs::Metadata| {
            found.permissions().mode() & 0o7777 == mode(file.mode, group)
                && file.owner.is_none_or(|owner| found.uid() == owner)
        };
        fs::metadata(&target).is_ok_and(is_same) && fs::read(&target).is_ok_and(|bytes| bytes == file.bytes)
    };
    data.exists() && files.iter().all(same) && count(&data) == files.len()
}

fn count(dir: &Path) -> usize {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries.map(|entry| if entry.path().is_dir() { count(&entry.path()) } else { 1 }).sum()
}

/// Creates the links that containers open, one per first path component.
fn link(dir: &Path, files: &Files) -> io::Result<()> {
    let wanted: BTreeSet<OsString> =
        files.keys().filter_map(|path| path.split('/').next()).map(OsString::from).collect();
    for entry in fs::read_dir(dir)?.flatten() {
        let name = entry.file_name();
        let ours = name.as_encoded_bytes().starts_with(b"..");
        if !ours && !wanted.contains(&name) && entry.path().is_symlink() {
            fs::remove_file(entry.path())?;
        }
    }
    for name in wanted {
        let place = dir.join(&name);
        if !place.is_symlink() {
            symlink(Path::new(DATA).join(&name), place)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use executor_core::payload::File;

    use super::*;

    fn files(pairs: &[(&str, &str)]) -> Files {
        let file = |text: &str| File { bytes: text.as_bytes().to_vec(), mode: 0o640, owner: None };
        pairs.iter().map(|(path, text)| ((*path).to_owned(), file(text))).collect()
    }

    #[test]
    fn a_set_of_files_is_replaced_atomically() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        write(dir, &files(&[("a", "1"), ("d/b", "2")]), None).unwrap();
        assert_eq!(fs::read_to_string(dir.join("d/b")).unwrap(), "2");
        let first = fs::read_link(dir.join(DATA)).unwrap();
        write(dir, &files(&[("a", "1"), ("d/b", "2")]), None).unwrap();
        assert_eq!(fs::read_link(dir.join(DATA)).unwrap(), first, "nothing changed");
        write(dir, &files(&[("a", "3")]), None).unwrap();
        assert_eq!(fs::read_to_string(dir.join("a")).unwrap(), "3");
        assert!(!dir.join("d").exists() && !dir.join(first).exists());
        write(dir, &files(&[]), None).unwrap();
        assert!(!dir.join("a").is_symlink());
    }

    #[test]
    fn owner_and_group_are_those_of_the_pod() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        // Only root may give files away.
        let own = (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
        let (user, group) = if own.0 == 0 { (65_532, 1000) } else { own };
        let token = File { bytes: b"t".to_vec(), mode: 0o600, owner: Some(user) };
        let files = Files::from([("d/token".to_owned(), token)]);
        let shown = |path: &str| {
            let found = fs::metadata(dir.join(path)).unwrap();
            (found.uid(), found.gid(), found.permissions().mode() & 0o7777)
        };
        write(dir, &files, None).unwrap();
        assert_eq!(shown("d/token"), (user, own.1, 0o600));
        write(dir, &files, Some(group)).unwrap();
        assert_eq!(shown("d/token"), (user, group, 0o640));
        for directory in ["", "d", DATA] {
            let (uid, gid, mode) = shown(directory);
            assert_eq!((uid, gid, mode & 0o2550), (own.0, group, 0o2550), "{directory}");
        }
    }
}
