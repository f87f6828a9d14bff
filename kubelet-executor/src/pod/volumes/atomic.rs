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
    os::unix::fs::{PermissionsExt, symlink},
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
            if group.is_some() {
                std::os::unix::fs::chown(&target, None, group)?;
            }
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

/// With an fsGroup, the group may read what the owner may.
fn mode(mode: u32, group: Option<u32>) -> u32 {
    if group.is_some() { mode | ((mode & 0o400) >> 3) } else { mode }
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
        let permissions = fs::metadata(&target).map(|metadata| metadata.permissions().mode() & 0o7777);
        permissions.is_ok_and(|found| found == mode(file.mode, group))
            && fs::read(&target).is_ok_and(|bytes| bytes == file.bytes)
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
        let file = |text: &str| File { bytes: text.as_bytes().to_vec(), mode: 0o640 };
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
}
