//! Tasks of other users than the agent's (as root only): who runs what, whose the files are, and which links are followed.
//!
//! The work directory of these tests lies in a directory that is closed to other users.

use std::{
    fs,
    os::unix::fs::{MetadataExt, symlink},
    path::Path,
};

use kernel_model::{executor::Uri, task::TaskState::*};

use crate::cluster::{Cluster, custom_executor};

/// The user id of nobody, and whether this test can switch to it.
fn nobody() -> Option<u32> {
    let passwd = fs::read_to_string("/etc/passwd").unwrap();
    let line = passwd.lines().find(|line| line.starts_with("nobody:"))?;
    let uid = line.split(':').nth(2)?.parse().ok()?;
    rustix::process::geteuid().is_root().then_some(uid)
}

fn uri(value: &Path) -> Uri {
    let value = value.display().to_string();
    Uri { value, executable: false, extract: true, cache: false, output_file: None }
}

fn owner(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().uid()
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_and_checks_run_as_the_user() {
    let Some(uid) = nobody() else { return };
    let mut cluster = Cluster::start().await;
    let line = "id -u > uid; pwd; test -z \"$MESOS_EXECUTOR_AUTHENTICATION_TOKEN\" && echo > own && cat own";
    cluster.launch_with("t1", |task| {
        let command = task.command.as_mut().unwrap();
        (command.user, command.value) = (Some("nobody".into()), Some(line.into()));
    });
    cluster.flush().await;
    let states = cluster.states_until_end("t1").await;
    let sandbox = cluster.sandbox("t1");
    let errors = fs::read_to_string(sandbox.join("stderr")).unwrap();
    assert_eq!(states, [Starting, Running, Finished], "{:?} {errors}", cluster.last.message);
    assert_eq!(fs::read_to_string(sandbox.join("uid")).unwrap().trim(), uid.to_string());
    for name in ["uid", "own", "stdout", "stderr"] {
        assert_eq!(owner(&sandbox.join(name)), uid, "{name}");
    }
    assert_eq!(fs::metadata(&sandbox).unwrap().mode() & 0o777, 0o750);
    cluster.launch_with("x", |task| {
        task.command = None;
        let mut executor = custom_executor("x", "id -u > uid; touch ready; sleep 1000");
        executor.command.as_mut().unwrap().user = Some("nobody".into());
        task.executor = Some(executor.into());
    });
    cluster.flush().await;
    cluster.wait_for_file("x", "ready").await;
    assert_eq!(fs::read_to_string(cluster.sandbox("x").join("uid")).unwrap().trim(), uid.to_string());
    cluster.teardown().await;
    cluster.no_process_left().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fetched_files_belong_to_the_user_and_must_be_readable_for_it() {
    let Some(uid) = nobody() else { return };
    let mut cluster = Cluster::start().await;
    let sources = tempfile::Builder::new().prefix("sources").tempdir_in("/tmp").unwrap();
    fs::set_permissions(sources.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let (open, secret, archive) =
        (sources.path().join("open"), sources.path().join("secret"), sources.path().join("a.tar"));
    fs::write(&open, "text").unwrap();
    fs::write(&secret, "root's").unwrap();
    fs::set_permissions(&secret, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let mut tar = tar::Builder::new(fs::File::create(&archive).unwrap());
    tar.append_path_with_name(&open, "dir/unpacked").unwrap();
    tar.finish().unwrap();
    cluster.launch_with("t1", |task| {
        let command = task.command.as_mut().unwrap();
        command.user = Some("nobody".into());
        command.uris = vec![uri(&open), uri(&archive)];
    });
    cluster.flush().await;
    assert_eq!(cluster.states_until_end("t1").await.last(), Some(&Finished), "{:?}", cluster.last.message);
    for name in ["open", "a.tar", "dir", "dir/unpacked"] {
        assert_eq!(owner(&cluster.sandbox("t1").join(name)), uid, "{name}");
    }
    cluster.launch_with("t2", |task| {
        let command = task.command.as_mut().unwrap();
        command.user = Some("nobody".into());
        command.uris = vec![uri(&secret)];
    });
    cluster.flush().await;
    assert_eq!(cluster.states_until_end("t2").await, [Failed]);
    let message = cluster.last.message.clone().unwrap();
    assert!(message.contains("Permission denied"), "{message}");
    cluster.no_process_left().await;
}

/// An archive brings links named `stdout`, `out` and `dir`; whoever writes later must not follow them.
#[tokio::test(flavor = "multi_thread")]
async fn links_of_an_archive_are_not_followed() {
    let mut cluster = Cluster::start().await;
    let sources = tempfile::Builder::new().prefix("sources").tempdir_in("/tmp").unwrap();
    fs::set_permissions(sources.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let (target, archive) = (sources.path().join("target"), sources.path().join("a.tar"));
    fs::write(&target, "root's").unwrap();
    let links = tempfile::tempdir().unwrap();
    symlink(&target, links.path().join("file")).unwrap();
    symlink(sources.path(), links.path().join("dir")).unwrap();
    let mut tar = tar::Builder::new(fs::File::create(&archive).unwrap());
    tar.follow_symlinks(false);
    for (from, name) in [("file", "stdout"), ("file", "stderr"), ("file", "out"), ("dir", "dir")] {
        tar.append_path_with_name(links.path().join(from), name).unwrap();
    }
    tar.finish().unwrap();
    let users = if nobody().is_some() { vec!["nobody", "root"] } else { vec!["root"] };
    for user in users {
        let before = (owner(&target), fs::read_to_string(&target).unwrap());
        cluster.launch_with(user, |task| {
            let command = task.command.as_mut().unwrap();
            command.user = Some(user.into());
            command.value = Some("echo output; echo error >&2".into());
            command.uris = vec![uri(&archive)];
        });
        cluster.flush().await;
        assert_eq!(
            cluster.states_until_end(user).await.last(),
            Some(&Finished),
            "{:?}",
            cluster.last.message
        );
        let output = cluster.sandbox(user).join("stdout");
        assert!(fs::read_to_string(&output).unwrap().ends_with("output\n"));
        assert!(fs::symlink_metadata(&output).unwrap().is_file());
        for (number, name) in ["out", "dir/new"].into_iter().enumerate() {
            let id = format!("{user}-{number}");
            cluster.launch_with(&id, |task| {
                let command = task.command.as_mut().unwrap();
                command.user = Some(user.into());
                let output_file = Some(name.to_owned());
                command.uris = vec![uri(&archive), Uri { output_file, ..uri(Path::new("/etc/hostname")) }];
            });
            cluster.flush().await;
            assert_eq!(cluster.states_until_end(&id).await, [Failed], "{name}");
        }
        assert_eq!((owner(&target), fs::read_to_string(&target).unwrap()), before);
        assert!(!sources.path().join("new").exists());
    }
    cluster.no_process_left().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tasks_of_a_group_have_users_of_their_own() {
    let Some(uid) = nobody() else { return };
    let mut cluster = Cluster::start().await;
    for (id, user) in [("theirs", Some("nobody")), ("ours", None)] {
        cluster.launch_with(id, |task| {
            let command = task.command.as_mut().unwrap();
            command.user = user.map(str::to_owned);
            let line =
                "id -u; test -z \"$MESOS_EXECUTOR_AUTHENTICATION_TOKEN\" && echo mine > own && cat own";
            command.value = Some(line.into());
        });
    }
    cluster.flush_group("group").await;
    for (id, uid) in [("theirs", uid), ("ours", 0)] {
        let states = cluster.states_until_end(id).await;
        let sandbox = fs::canonicalize(cluster.sandbox("group").join("tasks").join(id)).unwrap();
        let output = fs::read_to_string(sandbox.join("stdout")).unwrap();
        assert_eq!(states, [Starting, Running, Finished], "{:?} {output}", cluster.last.message);
        assert_eq!(output, format!("{uid}\nmine\n"));
        assert_eq!((owner(&sandbox), owner(&sandbox.join("own"))), (uid, uid));
        assert_eq!(fs::metadata(&sandbox).unwrap().mode() & 0o777, 0o750);
    }
    cluster.no_process_left().await;
}
