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
    let line = "mkfifo fifo; mknod null c 1 3; ln -s /etc/passwd outside; ln -s fifo link; mkdir d; ln -s loop loop; \
                printf text > file; printf text > a.txt; head -c 200000 /dev/zero > large; touch ready; sleep 1000";
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
        assert_eq!(status, 400, "{name}");
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
    shows_files(address, &sandbox, cluster.sandbox("x").to_str().unwrap()).await;
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

/// Parameters, texts and headers of a genuine Mesos agent. `sandbox` is the virtual path, `directory` the real one.
async fn shows_files(address: std::net::SocketAddr, sandbox: &str, directory: &str) {
    let directory = std::fs::canonicalize(directory).unwrap();
    let directory = directory.to_str().unwrap();
    let mut shown = String::new();
    for query in [
        "read".to_owned(),
        "read?offset=bad".to_owned(),
        format!("read?path={sandbox}/file&offset=bad"),
        format!("read?path={sandbox}/file&offset=-2"),
        format!("read?path={sandbox}/file&offset=0&length=-2"),
        format!("read?path={sandbox}/file&offset=0&length="),
        format!("read?path={sandbox}/file&offset=0x1&length=2"),
        format!("read?path={sandbox}/file&offset=9"),
        format!("read?path={sandbox}/file&length=2"),
        format!("read?path={sandbox}/file&offset=-1&length=-1"),
        format!("read?path={directory}/d/../file&offset=0"),
        format!("read?path={sandbox}/file/&offset=0"),
        format!("read?path={sandbox}/none&offset=0"),
        format!("read?path={sandbox}/file/none&offset=0"),
        format!("read?path={sandbox}/outside"),
        format!("browse?path={sandbox}/.."),
        format!("browse?path={sandbox}/loop"),
        format!("browse?path={}", directory.rsplit_once("/runs/").unwrap().0),
        "browse?path=/frameworks".to_owned(),
        "browse?path=relative".to_owned(),
        "download?path=/etc/passwd".to_owned(),
        format!("download?path={sandbox}/none"),
        format!("download?path={sandbox}/file"),
        format!("download?path={sandbox}/a.txt"),
        format!("read?path={sandbox}/file&offset=0&jsonp=f"),
        "debug?jsonp=%".to_owned(),
    ] {
        let answer = client::get(address, &format!("/files/{query}")).await;
        let (status, attachment) = (answer.status, answer.header("content-disposition").is_some());
        let headers = match attachment {
            true => format!(
                " {} {}",
                answer.header("content-type").unwrap(),
                answer.header("content-disposition").unwrap()
            ),
            false => String::new(),
        };
        let line = format!("{query}: {status}{headers} {:?}\n", answer.text().await);
        shown += &line
            .replace(directory, "D")
            .replace(directory.rsplit_once("/runs/").unwrap().0, "E")
            .replace(sandbox, "S");
    }
    expect_test::expect![[r#"
        read: 400 "Expecting 'path=value' in query.\n"
        read?offset=bad: 400 "Expecting 'path=value' in query.\n"
        read?path=S/file&offset=bad: 400 "Failed to parse offset: Failed to convert 'bad' to number.\n"
        read?path=S/file&offset=-2: 400 "Negative offset provided: -2.\n"
        read?path=S/file&offset=0&length=-2: 400 "Negative length provided: -2.\n"
        read?path=S/file&offset=0&length=: 400 "Failed to parse length: Failed to convert '' to number.\n"
        read?path=S/file&offset=0x1&length=2: 200 "{\"data\":\"ex\",\"offset\":1}"
        read?path=S/file&offset=9: 200 "{\"data\":\"\",\"offset\":9}"
        read?path=S/file&length=2: 200 "{\"data\":\"\",\"offset\":4}"
        read?path=S/file&offset=-1&length=-1: 200 "{\"data\":\"\",\"offset\":4}"
        read?path=D/d/../file&offset=0: 200 "{\"data\":\"text\",\"offset\":0}"
        read?path=S/file/&offset=0: 200 "{\"data\":\"text\",\"offset\":0}"
        read?path=S/none&offset=0: 404 ""
        read?path=S/file/none&offset=0: 404 ""
        read?path=S/outside: 400 "'D/outside' is inaccessible.\n"
        browse?path=S/..: 400 "'D/..' is inaccessible.\n"
        browse?path=S/loop: 400 "Failed to determine canonical path of 'D/loop': Too many levels of symbolic links.\n"
        browse?path=E: 404 ""
        browse?path=/frameworks: 404 ""
        browse?path=relative: 404 ""
        download?path=/etc/passwd: 404 "404 Not Found."
        download?path=S/none: 404 "404 Not Found."
        download?path=S/file: 200 application/octet-stream attachment; filename=file "text"
        download?path=S/a.txt: 200 text/plain attachment; filename=a.txt "text"
        read?path=S/file&offset=0&jsonp=f: 200 "f({\"data\":\"text\",\"offset\":0})"
        debug?jsonp=%: 400 "Unable to decode query string: Malformed % escape in '%': '%'"
    "#]]
    .assert_eq(&shown);
    let listed = client::get(address, &format!("/files/browse?path={sandbox}")).await.text().await;
    let listed: Value = serde_json::from_str(&listed).unwrap();
    let fifo = listed.as_array().unwrap().iter().find(|entry| entry["path"] == format!("{sandbox}/fifo"));
    assert!(fifo.unwrap()["mode"].as_str().unwrap().starts_with("prw"), "{listed}");
    let owner = nix::unistd::User::from_uid(nix::unistd::geteuid()).unwrap().unwrap().name;
    assert_eq!(fifo.unwrap()["uid"], owner.as_str());
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
