//! Tests of the lock and of the layout version.

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use super::DataDirectory;

#[test]
fn a_directory_is_locked_by_one_process() {
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("data");
    let first = DataDirectory::open(&path).unwrap();
    let refused = DataDirectory::open(&path).err().unwrap().to_string();
    assert!(refused.contains("in use by another catamaran"), "{refused}");
    drop(first);
    DataDirectory::open(&path).unwrap();
}

#[test]
fn a_newer_layout_is_refused() {
    let scratch = tempfile::tempdir().unwrap();
    fs::write(scratch.path().join("format"), "2\n").unwrap();
    let refused = DataDirectory::open(scratch.path()).err().unwrap().to_string();
    assert!(refused.contains("newer catamaran"), "{refused}");
    assert!(!scratch.path().join("lock").exists());
}

#[test]
fn other_users_reach_the_sandboxes_and_nothing_else() {
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("data");
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    drop(DataDirectory::open(&path).unwrap());
    // What an earlier version left.
    fs::create_dir(path.join("agent")).unwrap();
    fs::set_permissions(path.join("store"), fs::Permissions::from_mode(0o755)).unwrap();
    drop(DataDirectory::open(&path).unwrap());
    assert_eq!(mode(&path), 0o711);
    assert_ne!(mode(&path.join("agent")) & 0o001, 0);
    for name in ["node", "pki", "store", "lock"] {
        assert_eq!(mode(&path.join(name)) & 0o077, 0, "{name}");
    }
}
