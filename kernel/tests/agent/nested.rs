//! Nested and standalone containers through the agent's operator API. What genuine Mesos answers is compared word for word.
//!
//! The containers' programs are started by this test program, which prints a line first.

use std::{fs, time::Duration};

use kernel_model::task::TaskState::*;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{
    client::{self, Answer},
    cluster::{Cluster, wait_until},
};

pub const STREAM: &str = "\r\nAccept: application/recordio\r\nMessage-Accept: application/json";

pub async fn call(cluster: &Cluster, kind: &str, content: Value) -> (u16, String) {
    let answer = send(cluster, kind, content, "").await;
    (answer.status, answer.text().await)
}

pub async fn send(cluster: &Cluster, kind: &str, content: Value, headers: &str) -> Answer {
    let body = json!({ "type": kind, kind.to_lowercase(): content });
    let head = format!("POST /api/v1 HTTP/1.1\r\nContent-Type: application/json{headers}");
    client::send(cluster.agent_address(), &head, body.to_string().as_bytes()).await
}

/// The container of a running task.
pub async fn running(cluster: &mut Cluster, id: &str) -> Value {
    cluster.launch(id, "echo in-task > note; sleep 1000").await;
    assert_eq!([cluster.next_state(id).await, cluster.next_state(id).await], [Starting, Running]);
    cluster.wait_for_file(id, "note").await;
    let run = fs::canonicalize(cluster.sandbox(id)).unwrap();
    json!({ "value": run.file_name().unwrap().to_str().unwrap() })
}

pub fn below(parent: &Value, id: &str) -> Value {
    json!({ "value": id, "parent": parent })
}

pub fn shell(id: &Value, line: &str) -> Value {
    json!({ "container_id": id, "command": { "value": line } })
}

/// The answer to a wait.
pub async fn wait(cluster: &Cluster, id: &Value) -> Value {
    let (status, text) = call(cluster, "WAIT_NESTED_CONTAINER", json!({ "container_id": id })).await;
    assert_eq!(status, 200, "{text}");
    serde_json::from_str::<Value>(&text).unwrap()["wait_nested_container"].clone()
}

/// What a session or attachment prints, until its end or a text.
pub async fn printed(answer: &mut Answer, until: Option<&str>) -> (String, String) {
    let (mut out, mut errors) = (String::new(), String::new());
    while !until.is_some_and(|text| out.contains(text)) {
        let Some(record) = answer.event().await else { break };
        if record["type"] != "DATA" {
            continue;
        }
        use base64::Engine;
        let data = record["data"]["data"].as_str().unwrap();
        let data = base64::engine::general_purpose::STANDARD.decode(data).unwrap();
        let to = if record["data"]["type"] == "STDERR" { &mut errors } else { &mut out };
        to.push_str(&String::from_utf8_lossy(&data));
    }
    (out, errors)
}

/// A stream of input.
pub struct Input(TcpStream);

impl Input {
    pub async fn open(cluster: &Cluster, id: &Value) -> Self {
        let mut stream = TcpStream::connect(cluster.agent_address()).await.unwrap();
        let head = "POST /api/v1 HTTP/1.1\r\nHost: x\r\nAuthorization: Basic dGVzdDpzZWNyZXQ=\r\n\
                    Content-Type: application/recordio\r\nMessage-Content-Type: application/json\r\n\
                    Transfer-Encoding: chunked\r\n\r\n";
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut input = Self(stream);
        input.record(json!({ "type": "CONTAINER_ID", "container_id": id })).await;
        input
    }

    async fn record(&mut self, attach: Value) {
        let call = json!({ "type": "ATTACH_CONTAINER_INPUT", "attach_container_input": attach }).to_string();
        let record = format!("{}\n{call}", call.len());
        let chunk = format!("{:x}\r\n{record}\r\n", record.len());
        self.0.write_all(chunk.as_bytes()).await.unwrap();
    }

    async fn process_io(&mut self, message: Value) {
        self.record(json!({ "type": "PROCESS_IO", "process_io": message })).await;
    }

    pub async fn data(&mut self, text: &str) {
        use base64::Engine;
        let data = base64::engine::general_purpose::STANDARD.encode(text);
        self.process_io(json!({ "type": "DATA", "data": { "type": "STDIN", "data": data } })).await;
    }

    async fn window(&mut self, rows: u32, columns: u32) {
        let window = json!({ "window_size": { "rows": rows, "columns": columns } });
        self.process_io(json!({ "type": "CONTROL", "control": { "type": "TTY_INFO", "tty_info": window } }))
            .await;
    }

    async fn end(mut self) -> String {
        self.0.write_all(b"0\r\n\r\n").await.unwrap();
        self.answer().await
    }

    /// Status and body.
    pub async fn answer(mut self) -> String {
        let mut text = Vec::new();
        let mut buffer = [0; 4096];
        let read = async {
            while let Ok(length @ 1..) = self.0.read(&mut buffer).await {
                text.extend_from_slice(&buffer[..length]);
                let all = String::from_utf8_lossy(&text);
                if let Some((head, body)) = all.split_once("\r\n\r\n") {
                    let head = head.to_ascii_lowercase();
                    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
                    if length.is_some_and(|length| body.len() >= length.parse().unwrap()) {
                        break;
                    }
                }
            }
        };
        tokio::time::timeout(client::TIMEOUT, read).await.expect("an answer in time");
        let all = String::from_utf8_lossy(&text).into_owned();
        let (head, body) = all.split_once("\r\n\r\n").unwrap_or((&all, ""));
        format!("{} {body}", head.split(' ').nth(1).unwrap_or_default()).trim().to_owned()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn containers_run_below_a_task() {
    let mut cluster = Cluster::start().await;
    let task = running(&mut cluster, "t").await;
    let child = below(&task, "child");
    let line = "echo $MESOS_SANDBOX; pwd -P; echo oops >&2; exit 3";
    assert_eq!(call(&cluster, "LAUNCH_NESTED_CONTAINER", shell(&child, line)).await, (200, String::new()));
    assert_eq!(wait(&cluster, &child).await, json!({ "exit_status": 3 << 8 }));
    assert_eq!(wait(&cluster, &child).await, json!({ "exit_status": 3 << 8 }), "until it is removed");
    let sandbox = fs::canonicalize(cluster.sandbox("t")).unwrap().join("containers/child");
    let output = fs::read_to_string(sandbox.join("stdout")).unwrap();
    assert!(output.ends_with(&format!("{0}\n{0}\n", sandbox.display())), "{output}");
    assert!(fs::read_to_string(sandbox.join("stderr")).unwrap().ends_with("oops\n"));
    // A second time, with what is left of the first.
    let remove = |id: &Value| json!({ "container_id": id });
    assert_eq!(call(&cluster, "REMOVE_NESTED_CONTAINER", remove(&child)).await, (200, String::new()));
    assert!(!sandbox.exists());
    let gone = (404, format!("Container {}.child cannot be found", task["value"].as_str().unwrap()));
    assert_eq!(call(&cluster, "WAIT_CONTAINER", remove(&child)).await, gone);
    assert_eq!(call(&cluster, "REMOVE_CONTAINER", remove(&child)).await, (200, String::new()));
    // Two levels, and a kill.
    let trapped = "trap 'exit 5' USR1; echo ready > ../../../ready; sleep 1000 & wait";
    assert_eq!(call(&cluster, "LAUNCH_NESTED_CONTAINER", shell(&child, "sleep 1000")).await.0, 200);
    assert_eq!(
        call(&cluster, "LAUNCH_NESTED_CONTAINER", shell(&child, "sleep 1000")).await,
        (202, String::new())
    );
    let deep = below(&child, "deep");
    assert_eq!(call(&cluster, "LAUNCH_CONTAINER", shell(&deep, &format!("cd ..; {trapped}"))).await.0, 200);
    cluster.wait_for_file("t", "ready").await;
    let running = (500, "Nested container has not terminated yet".to_owned());
    assert_eq!(call(&cluster, "REMOVE_NESTED_CONTAINER", remove(&deep)).await, running);
    let kill = |id: &Value, signal: i32| json!({ "container_id": id, "signal": signal });
    assert_eq!(call(&cluster, "KILL_NESTED_CONTAINER", kill(&deep, 10)).await, (200, String::new()));
    assert_eq!(wait(&cluster, &deep).await, json!({ "exit_status": 5 << 8 }));
    assert_eq!(
        call(&cluster, "LAUNCH_NESTED_CONTAINER", shell(&below(&child, "last"), "sleep 1000")).await.0,
        200
    );
    assert_eq!(call(&cluster, "KILL_NESTED_CONTAINER", remove(&child)).await.0, 200);
    assert_eq!(wait(&cluster, &child).await, json!({ "exit_status": 9 }), "SIGKILL");
    assert_eq!(
        wait(&cluster, &below(&child, "last")).await,
        json!({ "exit_status": 9 }),
        "with the one above"
    );
    let dead = format!(
        "Container '{}.child' cannot be found (or is already killed)",
        task["value"].as_str().unwrap()
    );
    assert_eq!(call(&cluster, "KILL_CONTAINER", kill(&child, 15)).await, (404, dead));
    cluster.kill("t", Duration::from_secs(1)).await;
    assert_eq!(cluster.states_until_end("t").await, [Killing, Killed]);
    cluster.no_process_left().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_ends_with_its_task_and_is_shown_until_then() {
    let mut cluster = Cluster::start().await;
    let task = running(&mut cluster, "t").await;
    let child = below(&task, "child");
    // It leaves its session.
    let line = "setsid sleep 1000 & sleep 1000";
    assert_eq!(call(&cluster, "LAUNCH_NESTED_CONTAINER", shell(&child, line)).await.0, 200);
    let shown = |nested: bool| json!({ "show_nested": nested });
    let (_, text) = call(&cluster, "GET_CONTAINERS", shown(true)).await;
    let containers = serde_json::from_str::<Value>(&text).unwrap()["get_containers"]["containers"].clone();
    let found =
        containers.as_array().unwrap().iter().find(|one| one["container_id"]["value"] == "child").unwrap();
    assert_eq!(found["container_status"]["container_id"], child);
    assert!(found["container_status"]["executor_pid"].is_number() && found["executor_id"].is_null());
    let (_, text) = call(&cluster, "GET_CONTAINERS", shown(false)).await;
    let containers = serde_json::from_str::<Value>(&text).unwrap()["get_containers"]["containers"].clone();
    assert_eq!(containers.as_array().unwrap().len(), 1);
    let kill = async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        cluster.kill("t", Duration::from_secs(1)).await;
    };
    let (ended, ()) = tokio::join!(wait(&cluster, &child), kill);
    assert_eq!(ended, json!({ "exit_status": 9 }));
    assert_eq!(cluster.states_until_end("t").await, [Killing, Killed]);
    cluster.no_process_left().await;
    let directory = std::path::PathBuf::from(cluster.directory()).join("meta/below");
    wait_until("the records to go", || fs::read_dir(&directory).map_or(true, |mut all| all.next().is_none()))
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_streams_and_ends_with_its_client() {
    let mut cluster = Cluster::start().await;
    let task = running(&mut cluster, "t").await;
    // In the task's directory, with its variables.
    let session = below(&task, "session");
    let line = "cat note; echo $MESOS_EXECUTOR_ID; echo oops >&2; exit 4";
    let mut answer = send(&cluster, "LAUNCH_NESTED_CONTAINER_SESSION", shell(&session, line), STREAM).await;
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/recordio")));
    assert_eq!(answer.header("message-content-type"), Some("application/json"));
    let (out, errors) = printed(&mut answer, None).await;
    assert!(out.ends_with("in-task\nt\n") && errors.ends_with("oops\n"), "{out} {errors}");
    assert_eq!(wait(&cluster, &session).await, json!({ "exit_status": 4 << 8 }));
    // Input.
    let session = below(&task, "cat");
    let line = "read line; echo got $line; cat; echo end";
    let mut answer = send(&cluster, "LAUNCH_NESTED_CONTAINER_SESSION", shell(&session, line), "").await;
    assert_eq!(answer.header("content-type"), Some("application/json"), "as without Accept in Mesos");
    let mut input = Input::open(&cluster, &session).await;
    input.process_io(json!({ "type": "CONTROL", "control": { "type": "HEARTBEAT", "heartbeat": {} } })).await;
    input.data("one\n").await;
    printed(&mut answer, Some("got one\n")).await;
    let second = Input::open(&cluster, &session).await;
    assert_eq!(second.answer().await, "409 Multiple input connections are not allowed");
    input.data(&"x".repeat(100_000)).await;
    input.data("").await;
    let (out, _) = printed(&mut answer, None).await;
    assert!(out.ends_with("xend\n") && out.len() > 100_000, "{}", out.len());
    assert_eq!(input.end().await, "200");
    // Another attaches, and the client leaves.
    let session = below(&task, "left");
    let mut answer =
        send(&cluster, "LAUNCH_NESTED_CONTAINER_SESSION", shell(&session, "echo a; sleep 1000"), "").await;
    printed(&mut answer, Some("a\n")).await;
    let other = send(&cluster, "ATTACH_CONTAINER_OUTPUT", json!({ "container_id": session }), STREAM).await;
    assert_eq!(other.status, 200);
    drop(answer);
    assert_eq!(wait(&cluster, &session).await, json!({ "exit_status": 9 }));
    assert_eq!(other.text().await, "");
    cluster.kill("t", Duration::from_secs(1)).await;
    assert_eq!(cluster.states_until_end("t").await, [Killing, Killed]);
    cluster.no_process_left().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_terminal_has_a_size_and_a_shell_controls_it() {
    let mut cluster = Cluster::start().await;
    let task = running(&mut cluster, "t").await;
    let session = below(&task, "tty");
    let mut launch = shell(&session, "stty size; tty; while read line; do eval \"$line\"; done");
    launch["container"] =
        json!({ "type": "MESOS", "tty_info": { "window_size": { "rows": 24, "columns": 80 } } });
    let mut answer = send(&cluster, "LAUNCH_NESTED_CONTAINER_SESSION", launch, STREAM).await;
    assert_eq!(answer.status, 200);
    let (out, _) = printed(&mut answer, Some("/dev/pts/")).await;
    assert!(out.contains("24 80\r\n"), "{out}");
    let mut input = Input::open(&cluster, &session).await;
    input.window(10, 20).await;
    input.data("stty size\n").await;
    printed(&mut answer, Some("10 20\r\n")).await;
    // Ctrl-D. (Whether Ctrl-C is a signal depends on how the tests were started: a process inherits what is ignored.)
    input.data("\u{4}").await;
    printed(&mut answer, None).await;
    assert_eq!(wait(&cluster, &session).await, json!({ "exit_status": 0 }));
    // Without a terminal there is no size.
    let session = below(&task, "pipe");
    let mut answer =
        send(&cluster, "LAUNCH_NESTED_CONTAINER_SESSION", shell(&session, "echo a; cat"), "").await;
    printed(&mut answer, Some("a\n")).await;
    let mut input = Input::open(&cluster, &session).await;
    input.window(1, 1).await;
    let unable = "400 Unable to set the window size: Inappropriate ioctl for device";
    assert_eq!(input.answer().await, unable);
    let mut input = Input::open(&cluster, &session).await;
    input.process_io(json!({ "type": "DATA", "data": { "type": "STDOUT", "data": "" } })).await;
    assert_eq!(input.answer().await, "400 Expecting 'process_io.data.type' to be 'STDIN'");
    drop(answer);
    cluster.kill("t", Duration::from_secs(1)).await;
    assert_eq!(cluster.states_until_end("t").await, [Killing, Killed]);
    cluster.no_process_left().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn containers_outlive_their_agent_and_sessions_do_not() {
    let mut cluster = Cluster::start().await;
    let task = running(&mut cluster, "t").await;
    let [ends, runs, session, before] = ["ends", "runs", "session", "before"].map(|id| below(&task, id));
    let line = |go: &str| format!("until test -e ../../{go}; do sleep 0.02; done; exit 6");
    assert_eq!(call(&cluster, "LAUNCH_NESTED_CONTAINER", shell(&before, "exit 8")).await.0, 200);
    assert_eq!(call(&cluster, "LAUNCH_NESTED_CONTAINER", shell(&ends, &line("first"))).await.0, 200);
    let mut terminal = shell(&runs, &format!("echo up; {}", line("second")));
    terminal["container"] = json!({ "type": "MESOS", "tty_info": {} });
    assert_eq!(call(&cluster, "LAUNCH_NESTED_CONTAINER", terminal).await.0, 200);
    let mut answer =
        send(&cluster, "LAUNCH_NESTED_CONTAINER_SESSION", shell(&session, "echo a; sleep 1000"), "").await;
    printed(&mut answer, Some("a\n")).await;
    assert_eq!(wait(&cluster, &before).await, json!({ "exit_status": 8 << 8 }));
    cluster.crash_agent().await;
    let sandbox = cluster.sandbox("t");
    fs::write(sandbox.join("first"), "").unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;
    cluster.restart_agent().await;
    for (id, status) in [(&before, 8 << 8), (&ends, 6 << 8), (&session, 9)] {
        assert_eq!(wait(&cluster, id).await, json!({ "exit_status": status }), "{id}");
    }
    let mut attached =
        send(&cluster, "ATTACH_CONTAINER_OUTPUT", json!({ "container_id": runs }), STREAM).await;
    assert_eq!(attached.status, 200);
    let waiting = wait(&cluster, &runs);
    fs::write(sandbox.join("second"), "").unwrap();
    assert_eq!(waiting.await, json!({ "exit_status": 6 << 8 }));
    assert_eq!(printed(&mut attached, None).await.1, "");
    cluster.kill("t", Duration::from_secs(1)).await;
    assert_eq!(cluster.states_until_end("t").await, [Killing, Killed]);
    cluster.no_process_left().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_standalone_container_has_its_own_life() {
    use kernel::agent::ShutdownKind;
    let mut cluster = Cluster::start().await;
    let id = json!({ "value": "alone" });
    let mut launch = shell(&id, "pwd -P; exit 2");
    launch["resources"] = json!([
        { "name": "cpus", "type": "SCALAR", "scalar": { "value": 0.1 } },
        { "name": "mem", "type": "SCALAR", "scalar": { "value": 32 } },
    ]);
    launch["command"]["value"] = json!("until test -e go; do sleep 0.02; done; exit 2");
    assert_eq!(call(&cluster, "LAUNCH_CONTAINER", launch.clone()).await, (200, String::new()));
    let (_, text) = call(&cluster, "GET_CONTAINERS", json!({ "show_standalone": true })).await;
    assert!(text.contains("\"alone\""), "{text}");
    let child = below(&id, "child");
    assert_eq!(call(&cluster, "LAUNCH_CONTAINER", shell(&child, "sleep 1000")).await, (200, String::new()));
    cluster.crash_agent().await;
    cluster.restart_agent().await;
    let sandbox = std::path::PathBuf::from(cluster.directory()).join("containers/alone");
    let waiting = call(&cluster, "WAIT_CONTAINER", json!({ "container_id": id }));
    let go = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        fs::write(sandbox.join("go"), "").unwrap();
    };
    let ((status, text), ()) = tokio::join!(waiting, go);
    let ended = json!({ "type": "WAIT_CONTAINER", "wait_container": { "exit_status": 2 << 8 } });
    assert_eq!((status, serde_json::from_str::<Value>(&text).unwrap()), (200, ended));
    assert_eq!(call(&cluster, "REMOVE_CONTAINER", json!({ "container_id": id })).await.0, 200);
    assert!(!sandbox.exists());
    launch["command"]["value"] = json!("sleep 1000");
    assert_eq!(call(&cluster, "LAUNCH_CONTAINER", launch).await, (200, String::new()));
    cluster.stop_agent(ShutdownKind::StopTasks).await;
    cluster.no_process_left().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_enters_a_task_of_a_group() {
    use kernel_wire::{prost::Message, v1};
    let mut cluster = Cluster::start().await;
    cluster.launch_with("g", |task| {
        let command = task.command.as_mut().unwrap();
        command.value = Some("echo in-group > note; sleep 1000".into());
        command.environment = vec![("OWN".into(), "variable".into())];
    });
    cluster.launch_with("beside", |task| task.command.as_mut().unwrap().value = Some("sleep 1000".into()));
    cluster.flush_group("group").await;
    assert_eq!([cluster.next_state("g").await, cluster.next_state("g").await], [Starting, Running]);
    let status = v1::TaskStatus::decode(cluster.last.extra.clone()).unwrap();
    let id = status.container_status.unwrap().container_id.unwrap();
    let task = below(&json!({ "value": id.parent.unwrap().value }), &id.value);
    let line = "until test -s note; do sleep 0.02; done; cat note; basename $MESOS_SANDBOX; echo $OWN";
    let mut answer =
        send(&cluster, "LAUNCH_NESTED_CONTAINER_SESSION", shell(&below(&task, "s"), line), STREAM).await;
    let (out, _) = printed(&mut answer, None).await;
    assert!(out.ends_with(&format!("in-group\n{}\nvariable\n", id.value)), "{out}");
    let child = below(&task, "child");
    assert_eq!(call(&cluster, "LAUNCH_NESTED_CONTAINER", shell(&child, "sleep 1000")).await.0, 200);
    cluster.crash_agent().await;
    cluster.restart_agent().await;
    let kill = async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        cluster.kill("g", Duration::from_secs(1)).await;
    };
    let (ended, ()) = tokio::join!(wait(&cluster, &child), kill);
    assert_eq!(ended, json!({ "exit_status": 9 }), "with its task");
    assert_eq!(cluster.states_until_end("g").await.last(), Some(&Killed));
    cluster.no_process_left().await;
}
