//! Lives of nested and standalone containers that others than their programs end, or do not: clients that leave, parents, tasks, and
//! earlier containers with the same path.

use std::{
    fs,
    future::Future,
    time::{Duration, Instant},
};

use kernel_model::task::TaskState::*;
use kernel_wire::{prost::Message, v1};
use serde_json::{Value, json};
use tokio::{
    io::AsyncWriteExt,
    net::{TcpListener, TcpStream},
};

use crate::{
    client,
    cluster::Cluster,
    nested::{Input, STREAM, below, call, printed, running, send, shell, wait},
};

/// A server whose files come when it says so.
struct Slow(TcpListener);

impl Slow {
    async fn start() -> Self {
        Self(TcpListener::bind("127.0.0.1:0").await.unwrap())
    }

    /// A container that needs a file of the server.
    fn shell(&self, id: &Value, line: &str) -> Value {
        let mut launch = shell(id, line);
        let uri = format!("http://{}/file", self.0.local_addr().unwrap());
        launch["command"]["uris"] = json!([{ "value": uri, "extract": false }]);
        launch
    }

    /// Waits until the file of a launch is asked for; the launch is not answered before.
    async fn asked<T>(&self, mut launch: std::pin::Pin<&mut impl Future<Output = T>>) -> TcpStream {
        tokio::select! {
            accepted = self.0.accept() => accepted.unwrap().0,
            _ = &mut launch => panic!("answered without the file"),
        }
    }
}

async fn give(mut asking: TcpStream) {
    asking.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx").await.unwrap();
    asking.shutdown().await.unwrap();
}

fn of(id: &Value) -> Value {
    json!({ "container_id": id })
}

async fn end(cluster: &mut Cluster, id: &str) {
    cluster.kill(id, Duration::from_secs(1)).await;
    assert_eq!(cluster.states_until_end(id).await.last(), Some(&Killed));
    cluster.no_process_left().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_launch_needs_its_client_only_as_a_session() {
    let mut cluster = Cluster::start().await;
    let task = running(&mut cluster, "t").await;
    let slow = Slow::start().await;
    let child = below(&task, "child");
    let mut launch =
        Box::pin(call(&cluster, "LAUNCH_NESTED_CONTAINER", slow.shell(&child, "cat file; exit 7")));
    let asking = slow.asked(launch.as_mut()).await;
    drop(launch);
    tokio::time::sleep(Duration::from_millis(200)).await;
    give(asking).await;
    assert_eq!(wait(&cluster, &child).await, json!({ "exit_status": 7 << 8 }));
    assert_eq!(call(&cluster, "REMOVE_NESTED_CONTAINER", of(&child)).await, (200, String::new()));
    // Its server never answers.
    let session = below(&task, "session");
    let content = slow.shell(&session, "sleep 1000");
    let mut launch = Box::pin(send(&cluster, "LAUNCH_NESTED_CONTAINER_SESSION", content, ""));
    let _asking = slow.asked(launch.as_mut()).await;
    let waiting = wait(&cluster, &session);
    let leave = async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        drop(launch);
    };
    let (ended, ()) = tokio::join!(waiting, leave);
    assert_eq!(ended, json!({}));
    end(&mut cluster, "t").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_does_not_start_below_one_that_has_ended() {
    let mut cluster = Cluster::start().await;
    let task = running(&mut cluster, "t").await;
    let slow = Slow::start().await;
    let parent = below(&task, "parent");
    assert_eq!(call(&cluster, "LAUNCH_NESTED_CONTAINER", shell(&parent, "sleep 1000")).await.0, 200);
    let child = below(&parent, "child");
    let mut launch = Box::pin(call(&cluster, "LAUNCH_NESTED_CONTAINER", slow.shell(&child, "sleep 1000")));
    let asking = slow.asked(launch.as_mut()).await;
    assert_eq!(call(&cluster, "KILL_NESTED_CONTAINER", of(&parent)).await.0, 200);
    let (ended, (status, _)) = tokio::join!(wait(&cluster, &parent), launch);
    assert_eq!((ended, status), (json!({ "exit_status": 9 }), 400));
    drop(asking);
    assert_eq!(call(&cluster, "WAIT_NESTED_CONTAINER", of(&child)).await.0, 404);
    assert_eq!(call(&cluster, "REMOVE_NESTED_CONTAINER", of(&parent)).await.0, 200);
    end(&mut cluster, "t").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_runs_is_not_removed() {
    let mut cluster = Cluster::start().await;
    for id in ["g", "beside"] {
        cluster.launch_with(id, |task| task.command.as_mut().unwrap().value = Some("sleep 1000".into()));
    }
    cluster.flush_group("group").await;
    assert_eq!([cluster.next_state("g").await, cluster.next_state("g").await], [Starting, Running]);
    let status = v1::TaskStatus::decode(cluster.last.extra.clone()).unwrap();
    let id = status.container_status.unwrap().container_id.unwrap();
    let root = json!({ "value": id.parent.unwrap().value });
    let task = below(&root, &id.value);
    let running = (500, "Nested container has not terminated yet".to_owned());
    assert_eq!(call(&cluster, "REMOVE_NESTED_CONTAINER", of(&task)).await, running);
    let child = below(&task, "child");
    assert_eq!(call(&cluster, "LAUNCH_NESTED_CONTAINER", shell(&child, "sleep 1000")).await.0, 200);
    assert_eq!(call(&cluster, "REMOVE_CONTAINER", of(&task)).await, running);
    let slow = Slow::start().await;
    let late = below(&task, "late");
    let mut launch = Box::pin(call(&cluster, "LAUNCH_NESTED_CONTAINER", slow.shell(&late, "sleep 1000")));
    let _asking = slow.asked(launch.as_mut()).await;
    cluster.kill("g", Duration::from_secs(1)).await;
    assert_eq!(launch.await.0, 400, "it would be below a task that has ended");
    assert_eq!(wait(&cluster, &child).await, json!({ "exit_status": 9 }));
    assert_eq!(cluster.states_until_end("g").await.last(), Some(&Killed));
    cluster.no_process_left().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_those_who_may_kill_a_container_remove_it() {
    let mut cluster = Cluster::start().await;
    let task = running(&mut cluster, "t").await;
    cluster.crash_agent().await;
    cluster.serves_anonymous = true;
    cluster.restart_agent().await;
    let child = below(&task, "child");
    assert_eq!(call(&cluster, "LAUNCH_NESTED_CONTAINER", shell(&child, "exit 1")).await.0, 200);
    assert_eq!(wait(&cluster, &child).await, json!({ "exit_status": 1 << 8 }));
    // That of root: these clients have no credentials.
    for kind in ["KILL_NESTED_CONTAINER", "REMOVE_NESTED_CONTAINER", "REMOVE_CONTAINER"] {
        let body = json!({ "type": kind, kind.to_lowercase(): of(&child) }).to_string();
        let head = "POST /api/v1 HTTP/1.1\r\nContent-Type: application/json";
        let answer = client::send_unchanged(cluster.agent_address(), head, body.as_bytes()).await;
        assert_eq!(answer.status, 403, "{kind}");
    }
    assert_eq!(wait(&cluster, &child).await, json!({ "exit_status": 1 << 8 }));
    assert_eq!(call(&cluster, "REMOVE_CONTAINER", of(&child)).await.0, 200);
    end(&mut cluster, "t").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_path_is_used_again() {
    let mut cluster = Cluster::start().await;
    let task = running(&mut cluster, "t").await;
    let child = below(&task, "child");
    for _ in 0..2 {
        let content = shell(&child, "echo a; exit 3");
        let mut session = send(&cluster, "LAUNCH_NESTED_CONTAINER_SESSION", content, "").await;
        assert_eq!(session.status, 200);
        assert!(printed(&mut session, None).await.0.ends_with("a\n"));
        assert_eq!(wait(&cluster, &child).await, json!({ "exit_status": 3 << 8 }));
    }
    let line = "echo > ../../again; until test -e ../../go; do sleep 0.02; done; exit 4";
    assert_eq!(call(&cluster, "LAUNCH_NESTED_CONTAINER", shell(&child, line)).await.0, 200);
    cluster.wait_for_file("t", "again").await;
    cluster.crash_agent().await;
    cluster.restart_agent().await;
    let go = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        fs::write(cluster.sandbox("t").join("go"), "").unwrap();
    };
    let (ended, ()) = tokio::join!(wait(&cluster, &child), go);
    assert_eq!(ended, json!({ "exit_status": 4 << 8 }), "not that of the earlier one");
    end(&mut cluster, "t").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_standalone_container_takes_no_other_ones_cgroup() {
    let cluster = Cluster::start().await;
    let all = ["/sys/fs/cgroup/memory/catamaran", "/sys/fs/cgroup/catamaran"].map(std::path::PathBuf::from);
    // Without cgroups nothing can be taken.
    let Some(all) = all.into_iter().find(|all| all.exists()) else { return };
    let other = format!("other-{}", std::process::id());
    fs::create_dir_all(all.join(&other)).unwrap();
    let mut refused = vec![other.clone()];
    refused.extend(all.join("tasks").exists().then(|| "tasks".to_owned()));
    for id in refused {
        let id = json!({ "value": id });
        let mut launch = shell(&id, "sleep 1000");
        launch["resources"] = json!([
            { "name": "cpus", "type": "SCALAR", "scalar": { "value": 0.1 } },
            { "name": "mem", "type": "SCALAR", "scalar": { "value": 32 } },
        ]);
        let (status, text) = call(&cluster, "LAUNCH_CONTAINER", launch).await;
        assert!(status == 400 && text.contains("already exists"), "{status} {text}");
        assert_eq!(call(&cluster, "WAIT_CONTAINER", of(&id)).await.0, 404);
    }
    fs::remove_dir(all.join(other)).unwrap();
    cluster.no_process_left().await;
}

fn terminal(id: &Value, line: &str) -> Value {
    let mut launch = shell(id, line);
    launch["container"] = json!({ "type": "MESOS", "tty_info": {} });
    launch
}

#[tokio::test(flavor = "multi_thread")]
async fn readers_that_stall_do_not_keep_a_killed_container() {
    let mut cluster = Cluster::start().await;
    let task = running(&mut cluster, "t").await;
    let child = below(&task, "child");
    assert_eq!(call(&cluster, "LAUNCH_NESTED_CONTAINER", terminal(&child, "read go; yes")).await.0, 200);
    let mut stalled = Vec::new();
    for _ in 0..3 {
        stalled.push(send(&cluster, "ATTACH_CONTAINER_OUTPUT", of(&child), STREAM).await);
        assert_eq!(stalled.last().unwrap().status, 200);
    }
    let mut input = Input::open(&cluster, &child).await;
    input.data("go\n").await;
    let file = cluster.sandbox("t").join("containers/child/stdout");
    let length = || fs::metadata(&file).map_or(0, |found| found.len());
    let mut before = (length(), Instant::now());
    while before.0 < 100_000 || before.1.elapsed() < Duration::from_millis(500) {
        tokio::time::sleep(Duration::from_millis(20)).await;
        if length() != before.0 {
            before = (length(), Instant::now());
        }
    }
    let begin = Instant::now();
    assert_eq!(call(&cluster, "KILL_NESTED_CONTAINER", of(&child)).await.0, 200);
    assert_eq!(wait(&cluster, &child).await, json!({ "exit_status": 9 }));
    // Readers that stall are given up after 30 s.
    assert!(begin.elapsed() < Duration::from_secs(25), "{:?}", begin.elapsed());
    drop(stalled);
    end(&mut cluster, "t").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn too_many_readers_are_refused() {
    let mut cluster = Cluster::start().await;
    let task = running(&mut cluster, "t").await;
    let child = below(&task, "child");
    assert_eq!(call(&cluster, "LAUNCH_NESTED_CONTAINER", terminal(&child, "sleep 1000")).await.0, 200);
    let mut readers = Vec::new();
    for _ in 0..16 {
        readers.push(send(&cluster, "ATTACH_CONTAINER_OUTPUT", of(&child), STREAM).await);
        assert_eq!(readers.last().unwrap().status, 200);
    }
    let refused = (500, "Too many clients are attached to the container's output".to_owned());
    assert_eq!(call(&cluster, "ATTACH_CONTAINER_OUTPUT", of(&child)).await, refused);
    drop(readers.pop());
    let deadline = Instant::now() + Duration::from_secs(30);
    while send(&cluster, "ATTACH_CONTAINER_OUTPUT", of(&child), STREAM).await.status != 200 {
        assert!(Instant::now() < deadline, "one has left");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    end(&mut cluster, "t").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_id_gives_no_sandbox_of_another_user() {
    let cluster = Cluster::start().await;
    // Only root switches users.
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let id = json!({ "value": format!("users-{}", std::process::id()) });
    let mut launch = shell(&id, "exit 2");
    launch["command"]["user"] = json!("nobody");
    launch["resources"] = json!([
        { "name": "cpus", "type": "SCALAR", "scalar": { "value": 0.1 } },
        { "name": "mem", "type": "SCALAR", "scalar": { "value": 32 } },
    ]);
    let ended = || async { while call(&cluster, "WAIT_CONTAINER", of(&id)).await.0 != 404 {} };
    assert_eq!(call(&cluster, "LAUNCH_CONTAINER", launch.clone()).await, (200, String::new()));
    ended().await;
    launch["command"]["user"] = json!("root");
    let refused = "the launch is invalid: the sandbox of another user's container is left: remove that first";
    assert_eq!(call(&cluster, "LAUNCH_CONTAINER", launch.clone()).await, (400, refused.to_owned()));
    assert_eq!(call(&cluster, "REMOVE_CONTAINER", of(&id)).await.0, 200);
    assert_eq!(call(&cluster, "LAUNCH_CONTAINER", launch).await, (200, String::new()));
    ended().await;
    cluster.no_process_left().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_being_started_ends_with_an_agent_that_stops_its_tasks() {
    let mut cluster = Cluster::start().await;
    let slow = Slow::start().await;
    let id = json!({ "value": format!("late-{}", std::process::id()) });
    let mut content = slow.shell(&id, "sleep 1000");
    content["resources"] = json!([
        { "name": "cpus", "type": "SCALAR", "scalar": { "value": 0.1 } },
        { "name": "mem", "type": "SCALAR", "scalar": { "value": 32 } },
    ]);
    let mut launch = Box::pin(call(&cluster, "LAUNCH_CONTAINER", content));
    let asking = slow.asked(launch.as_mut()).await;
    drop(launch);
    cluster.stop_agent(kernel::agent::ShutdownKind::StopTasks).await;
    give(asking).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    cluster.no_process_left().await;
}
