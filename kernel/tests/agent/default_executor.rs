//! Groups of tasks in default executors.

use std::{fs, path::PathBuf, time::Duration};

use kernel_model::task::{TaskInfo, TaskState::*};
use kernel_wire::{prost::Message, v1};

use super::cluster::Cluster;

/// A change of a task: its shell line.
fn line(line: &str) -> impl FnOnce(&mut TaskInfo) {
    move |task| task.command.as_mut().unwrap().value = Some(line.to_owned())
}

/// A directory of the executor's sandbox, seen as `shared` by a task.
fn shared_volume(source: v1::volume::source::sandbox_path::Type, container_path: &str) -> v1::ContainerInfo {
    use v1::volume::{Mode, Source, source};
    let path = source::SandboxPath { r#type: Some(source as i32), path: "of-group".into() };
    let source = Source {
        r#type: Some(source::Type::SandboxPath as i32),
        sandbox_path: Some(path),
        ..Default::default()
    };
    let volume = v1::Volume {
        mode: Mode::Rw as i32,
        container_path: container_path.to_owned(),
        source: Some(source),
        ..Default::default()
    };
    v1::ContainerInfo {
        r#type: v1::container_info::Type::Mesos as i32,
        volumes: vec![volume],
        ..Default::default()
    }
}

fn with_container(container: v1::ContainerInfo, task: &mut TaskInfo) {
    let info = v1::TaskInfo { container: Some(container), ..Default::default() };
    task.extra = info.encode_to_vec().into();
}

/// The sandbox of a task of a group.
fn sandbox(cluster: &Cluster, executor: &str, task: &str) -> PathBuf {
    cluster.sandbox(executor).join("tasks").join(task)
}

#[tokio::test(flavor = "multi_thread")]
async fn tasks_of_a_group_have_sandboxes_and_share_a_directory() {
    use v1::volume::source::sandbox_path::Type;
    let mut cluster = Cluster::start().await;
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), "fetched").unwrap();
    let uri = kernel_model::executor::Uri {
        value: file.path().display().to_string(),
        executable: false,
        extract: false,
        cache: false,
        output_file: Some("input".into()),
    };
    cluster.launch_with("writer", |task| {
        line("cat input > shared/note; echo wrote in $MESOS_SANDBOX; pwd -P")(task);
        task.command.as_mut().unwrap().uris = vec![uri];
        with_container(shared_volume(Type::Parent, "shared"), task);
    });
    cluster.launch_with("reader", |task| {
        line("until test -s shared/note; do sleep 0.1; done; cat shared/note; echo oops >&2")(task);
        with_container(shared_volume(Type::Parent, "shared"), task);
    });
    cluster.flush_group("group").await;
    for id in ["writer", "reader"] {
        assert_eq!(cluster.states_until_end(id).await, [Starting, Running, Finished], "{id}");
    }
    let status = v1::TaskStatus::decode(cluster.last.extra.clone()).unwrap();
    let container = status.container_status.unwrap().container_id.unwrap();
    let run = fs::canonicalize(cluster.sandbox("group")).unwrap();
    assert_eq!(container.parent.unwrap().value, run.file_name().unwrap().to_str().unwrap());
    let own = run.join("containers").join(&container.value);
    assert_eq!(fs::canonicalize(sandbox(&cluster, "group", "reader")).unwrap(), own);
    let read = |id: &str, name: &str| fs::read_to_string(sandbox(&cluster, "group", id).join(name)).unwrap();
    assert_eq!((read("reader", "stdout"), read("reader", "stderr")), ("fetched".into(), "oops\n".into()));
    let writer = fs::canonicalize(sandbox(&cluster, "group", "writer")).unwrap();
    assert_eq!(read("writer", "stdout"), format!("wrote in {0}\n{0}\n", writer.display()));
    cluster.no_process_left().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_task_ends_its_group_and_a_kill_as_well() {
    let mut cluster = Cluster::start().await;
    cluster.launch_with("failing", line("sleep 0.5; exit 7"));
    cluster.launch_with("victim", line("sleep 1000"));
    cluster.flush_group("group").await;
    cluster.launch_with("other", line("sleep 1000"));
    cluster.launch_with("beside", line("sleep 1000"));
    cluster.flush_group("group").await;
    assert_eq!(cluster.states_until_end("failing").await, [Starting, Running, Failed]);
    assert_eq!(cluster.last.message.as_deref(), Some("Command exited with status 7"));
    assert_eq!(cluster.states_until_end("victim").await, [Starting, Running, Killing, Killed]);
    assert_eq!([cluster.next_state("other").await, cluster.next_state("other").await], [Starting, Running]);
    cluster.kill("other", Duration::from_secs(3)).await;
    assert_eq!(cluster.states_until_end("other").await, [Killing, Killed]);
    assert_eq!(cluster.states_until_end("beside").await, [Starting, Running, Killing, Killed]);
    cluster.no_process_left().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_outlives_its_agent() {
    let mut cluster = Cluster::start().await;
    cluster.launch_with("short", line("echo $$ > ../../pids; while ! test -e ../../go; do sleep 0.1; done"));
    cluster.launch_with("long", line("while ! test -e ../../on; do sleep 0.1; done"));
    cluster.flush_group("group").await;
    for id in ["short", "long"] {
        assert_eq!([cluster.next_state(id).await, cluster.next_state(id).await], [Starting, Running]);
    }
    cluster.crash_agent().await;
    fs::write(cluster.sandbox("group").join("go"), "").unwrap();
    cluster.wait_for_exit("group").await;
    cluster.restart_agent().await;
    assert_eq!(cluster.states_until_end("short").await, [Finished]);
    fs::write(cluster.sandbox("group").join("on"), "").unwrap();
    assert_eq!(cluster.states_until_end("long").await, [Finished]);
    cluster.no_process_left().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_task_of_a_group_cannot_have_fails_the_group() {
    use v1::volume::source::sandbox_path::Type;
    let mut cluster = Cluster::start().await;
    cluster.launch_with("asks", |task| with_container(shared_volume(Type::Parent, "/absolute"), task));
    cluster.launch_with("beside", line("sleep 1000"));
    cluster.flush_group("group").await;
    assert_eq!(cluster.states_until_end("asks").await, [Starting, Failed]);
    assert_eq!(cluster.last.message.as_deref(), Some("volumes without an image are not supported yet"));
    assert_eq!(cluster.states_until_end("beside").await.last(), Some(&Killed));
    cluster.no_process_left().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_id_can_be_used_again_when_its_task_has_ended() {
    let mut cluster = Cluster::start().await;
    cluster.launch_with("again", line("echo first"));
    cluster.launch_with("beside", line("sleep 1000"));
    cluster.flush_group("group").await;
    assert_eq!(cluster.states_until_end("again").await, [Starting, Running, Finished]);
    cluster.launch_with("again", line("echo second"));
    cluster.flush_group("group").await;
    assert_eq!(cluster.states_until_end("again").await, [Starting, Running, Finished]);
    let output = fs::read_to_string(sandbox(&cluster, "group", "again").join("stdout")).unwrap();
    assert_eq!(output, "second\n");
    cluster.kill("beside", Duration::from_secs(1)).await;
    assert_eq!(cluster.states_until_end("beside").await.last(), Some(&Killed));
    cluster.no_process_left().await;
}
