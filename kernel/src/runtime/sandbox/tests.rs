//! Sandboxes whose content tries to lead the agent elsewhere.

use std::io::Write;

use super::*;

fn sandbox() -> (tempfile::TempDir, Sandbox) {
    let directory = tempfile::tempdir().unwrap();
    let sandbox = Sandbox::create(&directory.path().join("runs"), &"c1".into(), None).unwrap();
    (directory, sandbox)
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

#[test]
fn a_sandbox_is_private_and_can_be_reached() {
    let (directory, sandbox) = sandbox();
    assert_eq!(mode(sandbox.path()), 0o750);
    assert_eq!(mode(&directory.path().join("runs")), 0o711);
    assert_eq!(fs::canonicalize(directory.path().join("runs/latest")).unwrap(), sandbox.path());
}

#[test]
fn what_earlier_versions_left_is_closed() {
    let directory = tempfile::tempdir().unwrap();
    let paths = Paths::new(directory.path().to_owned());
    let runs = paths.runs(&"s".into(), &"f".into(), &"e".into()).unwrap();
    let run = runs.join("c1");
    fs::create_dir_all(&run).unwrap();
    symlink("/etc", runs.join("latest")).unwrap();
    let etc = mode(Path::new("/etc"));
    paths.protect();
    assert_eq!(mode(&run), 0o750);
    let above = run.ancestors().skip(1).take_while(|dir| *dir != directory.path());
    assert!(above.into_iter().all(|dir| mode(dir) == 0o711));
    assert_eq!(mode(Path::new("/etc")), etc);
}

#[test]
fn outputs_replace_links() {
    let (directory, sandbox) = sandbox();
    let target = directory.path().join("target");
    fs::write(&target, "root's").unwrap();
    symlink(&target, sandbox.path().join("stdout")).unwrap();
    fs::hard_link(&target, sandbox.path().join("stderr")).unwrap();
    for name in ["stdout", "stderr"] {
        sandbox.create_output(name, None).unwrap().write_all(b"a task's").unwrap();
        assert_eq!(fs::read_to_string(sandbox.path().join(name)).unwrap(), "a task's");
    }
    assert_eq!(fs::read_to_string(&target).unwrap(), "root's");
}

#[test]
fn an_output_that_is_a_directory_is_an_error() {
    let (_directory, sandbox) = sandbox();
    fs::create_dir(sandbox.path().join("stdout")).unwrap();
    assert!(sandbox.create_output("stdout", None).is_err());
}

#[test]
fn files_are_created_through_no_link() {
    let (directory, sandbox) = sandbox();
    let target = directory.path().join("target");
    fs::write(&target, "root's").unwrap();
    symlink(&target, sandbox.path().join("file")).unwrap();
    symlink(directory.path(), sandbox.path().join("dir")).unwrap();
    for name in ["file", "dir/target", "dir/new", "../target", "/etc/x"] {
        assert!(sandbox.create_file(Path::new(name)).is_err(), "{name}");
    }
    assert_eq!(fs::read_to_string(&target).unwrap(), "root's");
    assert!(!directory.path().join("new").exists());
    sandbox.create_file(Path::new("a/b/c")).unwrap().write_all(b"x").unwrap();
    assert_eq!(fs::read_to_string(sandbox.path().join("a/b/c")).unwrap(), "x");
}

#[test]
fn a_sandbox_that_is_a_link_is_not_opened() {
    let directory = tempfile::tempdir().unwrap();
    symlink("/etc", directory.path().join("link")).unwrap();
    assert!(Sandbox::open(&directory.path().join("link")).is_err());
}
