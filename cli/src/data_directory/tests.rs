//! Tests of the lock and of the layout version.

use std::fs;

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
