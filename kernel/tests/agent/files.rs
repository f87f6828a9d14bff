//! Files of tasks that are no files, and downloads that do not end.

use std::time::Duration;

use kernel::agent::ShutdownKind;
use kernel_model::{executor::Uri, task::TaskState::*};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::timeout,
};

use crate::{
    client,
    cluster::{Cluster, custom_executor},
};

const PROMPT: Duration = Duration::from_secs(20);

#[tokio::test(flavor = "multi_thread")]
async fn pipes_sockets_devices_and_links_are_refused_and_block_nothing() {
    let mut cluster = Cluster::start().await;
    let line = "mkfifo fifo; mknod null c 1 3; ln -s /etc/passwd outside; ln -s fifo link; mkdir d; \
                printf text > file; head -c 200000 /dev/zero > large; touch ready; sleep 1000";
    cluster.launch_with("t1", |task| {
        task.command = None;
        task.executor = Some(custom_executor("x", line).into());
    });
    cluster.flush().await;
    cluster.wait_for_file("x", "ready").await;
    // By its descriptor: the sandbox's path is longer than a socket's may be.
    let directory = std::fs::File::open(cluster.sandbox("x")).unwrap();
    let socket = format!("/proc/self/fd/{}/socket", std::os::fd::AsRawFd::as_raw_fd(&directory));
    let _socket = std::os::unix::net::UnixListener::bind(socket).unwrap();
    let address = cluster.agent_address();
    let sandbox = format!("/frameworks/{}/executors/x/runs/latest", cluster.framework_id());
    let get = async |path: String| client::get(address, &path).await;

    let mut reads = tokio::task::JoinSet::new();
    for n in 0..200 {
        let name = ["fifo", "link", "null", "socket", "outside", "d"][n % 6];
        let verb = ["read", "download"][n / 6 % 2];
        let path = format!("/files/{verb}?path={sandbox}/{name}&offset=0");
        reads.spawn(async move { (name, client::get(address, &path).await.status) });
    }
    let answers = timeout(PROMPT, reads.join_all()).await.expect("no read blocks");
    for (name, status) in answers {
        assert_eq!(status, if name == "outside" { 404 } else { 400 }, "{name}");
    }
    let read_file =
        json!({"type": "READ_FILE", "read_file": {"path": format!("{sandbox}/fifo"), "offset": 0}});
    assert_eq!(client::post_json(address, "/api/v1", &read_file, None).await.status, 400);
    let listed = get(format!("/files/browse?path={sandbox}")).await;
    let listed: Value = serde_json::from_str(&listed.text().await).unwrap();
    assert!(listed.as_array().unwrap().iter().any(|entry| entry["path"] == format!("{sandbox}/fifo")));
    assert_eq!(get(format!("/files/browse?path={sandbox}/fifo")).await.text().await, "[]", "as in Mesos");
    let read = get(format!("/files/read?path={sandbox}/file&offset=1&length=2")).await.text().await;
    assert_eq!(serde_json::from_str::<Value>(&read).unwrap(), json!({"offset": 1, "data": "ex"}));
    let large = get(format!("/files/download?path={sandbox}/large")).await;
    assert_eq!(large.header("content-length"), Some("200000"));
    assert_eq!(large.text().await.len(), 200_000);
    let attached: Value = serde_json::from_str(&get("/files/debug".into()).await.text().await).unwrap();
    let real = attached[&sandbox].as_str().expect("the sandbox is attached");
    assert_eq!(attached[real], *real);
    assert_eq!(get("/health".into()).await.status, 200);
    cluster.end_executor("x").await;
    cluster.no_process_left().await;
}

/// A server that begins an answer and never ends it. Returns the connection.
async fn stalled(server: &TcpListener) -> TcpStream {
    let (mut connection, _) = timeout(PROMPT, server.accept()).await.expect("a download").unwrap();
    let mut request = [0; 1024];
    assert!(connection.read(&mut request).await.unwrap() > 0);
    let head = b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\nsome bytes";
    connection.write_all(head).await.unwrap();
    connection
}

async fn closed(mut connection: TcpStream) {
    let mut rest = Vec::new();
    // A reset is an end, too.
    let _ = timeout(PROMPT, connection.read_to_end(&mut rest)).await.expect("the download ends");
}

/// Launches a task with a download that does not end.
async fn launch(cluster: &mut Cluster, server: &TcpListener, id: &str) -> TcpStream {
    let value = format!("http://{}/file", server.local_addr().unwrap());
    let uri = Uri { value, executable: false, extract: false, output_file: None, cache: false };
    cluster.launch_with(id, |task| task.command.as_mut().unwrap().uris = vec![uri]);
    cluster.flush().await;
    stalled(server).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_download_ends_with_its_task_and_with_the_agent() {
    let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut cluster = Cluster::start().await;
    let connection = launch(&mut cluster, &server, "killed").await;
    cluster.kill("killed", Duration::ZERO).await;
    closed(connection).await;
    assert_eq!(cluster.states_until_end("killed").await, [Killed]);

    let connection = launch(&mut cluster, &server, "stopped").await;
    timeout(PROMPT, cluster.stop_agent(ShutdownKind::StopTasks)).await.expect("the agent stops");
    closed(connection).await;
    cluster.no_process_left().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_download_ends_with_its_framework() {
    let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut cluster = Cluster::start().await;
    let connection = launch(&mut cluster, &server, "torn-down").await;
    cluster.teardown().await;
    closed(connection).await;
    cluster.no_process_left().await;
}
