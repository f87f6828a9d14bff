//! Tests with a real private containerd. Skipped without root or containerd.

use std::{
    path::Path,
    process::Command,
    sync::Arc,
    time::{Duration, Instant},
};

use kernel_model::task::TaskState;
use kubelet_executor::runtime::images;
use serde_json::json;

use crate::{
    client::{Exec, NodeClient},
    fixture::{Fixture, pod, wait},
    runtimes,
};

const IMAGE: &str = "localhost/catamaran/test:1";
/// A command that ends at once takes a fraction of a second.
const EXEC_MAX: Duration = Duration::from_secs(10);

fn can_run_containerd() -> bool {
    let has =
        |name: &str| Path::new("/usr/bin").join(name).exists() || Path::new("/usr/sbin").join(name).exists();
    let can_run_containerd = rustix::process::geteuid().is_root()
        && has("containerd")
        && has("runc")
        && Path::new("/usr/lib/cni/bridge").exists()
        && Path::new("/bin/busybox").exists();
    if !can_run_containerd {
        eprintln!("skipped: no root, containerd, runc, CNI plugins or busybox here");
    }
    can_run_containerd
}

fn fixture() -> Fixture {
    let _ = tracing_subscriber::fmt().with_env_filter("kubelet_executor=debug").with_test_writer().try_init();
    let mut fixture = Fixture::new(None);
    let archive =
        images::build_busybox_image(IMAGE, &[("www/index.html", b"hello\n", 0o644)], &["sleep", "1000"]);
    images::write(&fixture.node_dir().join("images/test.tar"), &archive.unwrap()).unwrap();
    fixture.start();
    fixture
}

#[test]
fn a_pod_lifecycle() {
    if !can_run_containerd() {
        return;
    }
    let mut fixture = fixture();
    let script = "echo out; echo err >&2; echo bye > /dev/termination-log; trap 'exit 0' TERM; while :; do sleep 0.1; done";
    let web = pod(
        "web",
        json!({
            "terminationGracePeriodSeconds": 5,
            "initContainers": [{ "name": "prepare", "image": IMAGE, "command": ["sh", "-c", "echo made > /shared/file"],
                "volumeMounts": [{ "name": "shared", "mountPath": "/shared" }] }],
            "containers": [{
                "name": "c", "image": IMAGE, "command": ["sh", "-c", script],
                "env": [{ "name": "IP", "valueFrom": { "fieldRef": { "fieldPath": "status.podIP" } } }],
                "resources": { "limits": { "cpu": "200m", "memory": "64Mi" } },
                "readinessProbe": { "exec": { "command": ["test", "-f", "/shared/file"] }, "periodSeconds": 1 },
                "volumeMounts": [{ "name": "shared", "mountPath": "/shared" }, { "name": "conf", "mountPath": "/conf" }]
            }],
            "volumes": [{ "name": "shared", "emptyDir": { "medium": "Memory" } }, { "name": "conf", "configMap": { "name": "cm" } }]
        }),
    );
    let config_map = serde_json::from_value(json!({ "data": { "key": "value" } })).unwrap();
    fixture.api.state().config_maps.insert(("ns".into(), "cm".into()), config_map);
    fixture.launch(&web);
    let ready = |status: &serde_json::Value| status["containerStatuses"][0]["ready"] == true;
    let status = fixture.wait_for_status("uid-web", "ready", ready);
    let id = status["containerStatuses"][0]["containerID"].as_str().unwrap().to_owned();
    assert!(
        status["podIP"].as_str().unwrap().starts_with(&format!("10.244.{}.", fixture.subnet)),
        "{status:#}"
    );
    let log = fixture.node_dir().join("pods/ns_web_uid-web/c/0.log");
    wait("the log", || std::fs::read_to_string(&log).is_ok_and(|text| text.contains("stderr F err")));

    fixture.kill();
    fixture.start();
    fixture.launch(&web);
    let before = fixture.agent.updates().len();
    wait("a report after the restart", || fixture.agent.updates().len() > before);
    let status = fixture.wait_for_status("uid-web", "ready again", ready);
    assert_eq!(status["containerStatuses"][0]["containerID"], *id, "the container runs on");
    assert_eq!(status["containerStatuses"][0]["restartCount"], 0);

    let pid = std::fs::read_to_string(fixture.node_dir().join("containerd/containerd.pid")).unwrap();
    assert!(Command::new("kill").args(["-9", pid.trim()]).status().unwrap().success());
    let job = json!({ "restartPolicy": "Never", "containers": [{ "name": "j", "image": IMAGE, "command": ["sh", "-c", "exit 7"] }] });
    fixture.launch(&pod("job", job));
    fixture.wait_for_state("uid-job", TaskState::Failed);
    assert_eq!(fixture.status("uid-job")["containerStatuses"][0]["state"]["terminated"]["exitCode"], 7);
    assert_eq!(
        fixture.status("uid-web")["containerStatuses"][0]["containerID"],
        *id,
        "it outlives containerd"
    );

    fixture.kill_pod("uid-web", 5);
    fixture.wait_for_state("uid-web", TaskState::Killed);
    let ended = &fixture.status("uid-web")["containerStatuses"][0]["state"]["terminated"];
    assert_eq!((&ended["exitCode"], &ended["message"]), (&json!(0), &json!("bye\n")), "{ended:#}");
    assert!(!fixture.node_dir().join("volumes/uid-web").exists());

    fixture.launch(&pod(
        "stays",
        json!({ "terminationGracePeriodSeconds": 1, "containers": [{ "name": "c", "image": IMAGE }] }),
    ));
    fixture.wait_for_status("uid-stays", "ready", ready);
    fixture.stop();
    assert_eq!(fixture.update("uid-stays").unwrap().state, TaskState::Running, "its task is not over");
    no_leftovers(&fixture);
}

#[test]
fn the_real_runtime() {
    if !can_run_containerd() {
        return;
    }
    let mut fixture = fixture();
    let socket = fixture.node_dir().join("containerd/containerd.sock");
    let client = fixture.block_on(async { cri::Client::new(&socket).unwrap() });
    let spec = cri::v1::ImageSpec { image: IMAGE.to_owned(), ..Default::default() };
    let ask = || cri::v1::ImageStatusRequest { image: Some(spec.clone()), verbose: false };
    wait("the image", || {
        fixture.block_on(client.image_status(ask())).is_ok_and(|answer| answer.image.is_some())
    });
    let group = format!("/catamaran-{}/suite", fixture.config().tag());
    fixture.block_on(runtimes::suite(Arc::new(client.clone()), IMAGE, &group));
    fixture.stop();
    no_leftovers(&fixture);
}

#[test]
fn logs_and_streams_of_the_node_server() {
    if !can_run_containerd() {
        return;
    }
    let mut fixture = fixture();
    let script = "for i in 1 2 3; do echo line $i; done; trap 'exit 0' TERM; httpd -p 8080 -h /www; while :; do sleep 0.1; done";
    let container = json!({ "name": "c", "image": IMAGE, "command": ["sh", "-c", script] });
    fixture.launch(&pod("web", json!({ "containers": [container] })));
    let status =
        fixture.wait_for_status("uid-web", "ready", |status| status["containerStatuses"][0]["ready"] == true);
    let update: serde_json::Value = serde_json::from_slice(&fixture.update("uid-web").unwrap().data).unwrap();
    let client = NodeClient::new(fixture.dir.path(), update["endpoint"].as_str().unwrap());
    let get = |path: &str| fixture.block_on(client.get(path));

    let logs = "/containerLogs/ns/web/c";
    wait("the log", || get(logs).1 == "line 1\nline 2\nline 3\n");
    assert_eq!(get(&format!("{logs}?tailLines=1")), (200, "line 3\n".to_owned()));
    assert_eq!(get(&format!("{logs}?previous=true")).0, 400);
    assert_eq!(get("/containerLogs/ns/nobody/c").0, 404);
    assert_eq!(get("/healthz"), (200, "ok".to_owned()));
    assert!(get("/pods").1.contains("uid-web"));
    let node = NodeClient::with("node", fixture.dir.path(), update["endpoint"].as_str().unwrap());
    assert_eq!(fixture.block_on(node.get("/pods")).0, 403, "other nodes are refused");

    let exec = |query: &str, stdin: &[&[u8]]| {
        fixture.block_on(client.exec(&format!("/exec/ns/web/c?{query}"), stdin))
    };
    let sh = |script: &str| format!("command=sh&command=-c&command={}", script.replace(' ', "+"));
    let ran = exec(&format!("{}&stdout=1&stderr=1", sh("echo out; echo err %3E%262; exit 3")), &[]);
    assert_eq!((ran.stdout.as_str(), ran.stderr.as_str()), ("out\n", "err\n"));
    assert!(ran.status.contains("\"ExitCode\"") && ran.status.contains("\"3\""), "{}", ran.status);
    let ran = exec("command=cat&stdin=1&stdout=1", &[b"ahoy ", b"there"]);
    let expected = Exec { stdout: "ahoy there".to_owned(), ..Exec::default() };
    assert_eq!(
        (&ran.stdout, ran.status.contains("Success")),
        (&expected.stdout, true),
        "half-close ends cat: {ran:?}"
    );
    let ran = exec(&format!("{}&stdout=1&tty=1&stdin=1", sh("sleep 1; stty size")), &[]);
    assert_eq!(ran.stdout.trim(), "40 100", "the terminal has the requested size");
    let big = exec(&format!("{}&stdout=1", sh("head -c 3000000 /dev/zero")), &[]);
    assert_eq!(big.stdout.len(), 3_000_000);
    let spdy = fixture.block_on(client.exec_spdy("/exec/ns/web/c?command=cat&stdin=1&stdout=1", b"ahoy"));
    assert_eq!((spdy.stdout.as_str(), spdy.status.contains("Success")), ("ahoy", true), "{spdy:?}");
    assert!(exec("command=nothing-like-it&stdout=1&stderr=1", &[]).status.contains("Failure"));

    let page = fixture.block_on(client.forward("/portForward/ns/web", 8080, b"GET / HTTP/1.0\r\n\r\n"));
    assert!(page.ends_with("hello\n"), "{page}");

    fixture.kill_pod("uid-web", 5);
    fixture.wait_for_state("uid-web", TaskState::Killed);
    assert_eq!(get(&format!("{logs}?tailLines=1")), (200, "line 3\n".to_owned()), "logs outlive containers");
    drop(status);
    let begun = Instant::now();
    fixture.stop();
    assert!(begun.elapsed().as_secs() < 30, "nothing was running");
    no_leftovers(&fixture);
}

/// A command that does not read all of its input ends with its exit code, although the client still sends.
#[test]
fn unread_input_does_not_keep_an_exec() {
    if !can_run_containerd() {
        return;
    }
    let mut fixture = fixture();
    let container = json!({ "name": "c", "image": IMAGE });
    fixture.launch(&pod("web", json!({ "containers": [container], "terminationGracePeriodSeconds": 1 })));
    fixture.wait_for_status("uid-web", "ready", |status| status["containerStatuses"][0]["ready"] == true);
    let client = fixture.node_client("client");
    let path = "/exec/ns/web/c?command=sh&command=-c&command=head+-c+5;+exit+7&stdin=1&stdout=1";
    // More than all buffers on the way hold.
    let input_bytes = 30 << 20;
    let websocket = fixture
        .block_on(async { tokio::time::timeout(EXEC_MAX, client.exec_flooded(path, input_bytes)).await });
    let spdy = fixture.block_on(async {
        tokio::time::timeout(EXEC_MAX, client.exec_spdy_flooded(path, input_bytes)).await
    });
    for ran in [websocket, spdy] {
        let ran = ran.expect("it ends");
        assert_eq!(ran.stdout, "\0\0\0\0\0");
        assert!(ran.status.contains("\"ExitCode\"") && ran.status.contains("\"7\""), "{}", ran.status);
    }
    fixture.stop();
    no_leftovers(&fixture);
}

/// Debian's registry on loopback, without TLS.
struct Registry {
    process: std::process::Child,
    address: String,
}

impl Registry {
    fn start(dir: &Path) -> Self {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let address = format!("127.0.0.1:{port}");
        let config = json!({
            "version": 0.1, "http": { "addr": address },
            "storage": { "filesystem": { "rootdirectory": dir.join("registry") } },
        });
        let file = dir.join("registry.yml");
        std::fs::write(&file, config.to_string()).unwrap();
        let output = std::fs::File::create(dir.join("registry.log")).unwrap();
        let process = Command::new("docker-registry")
            .arg("serve")
            .arg(file)
            .stdout(output.try_clone().unwrap())
            .stderr(output)
            .spawn()
            .unwrap();
        wait("the registry", || std::net::TcpStream::connect(&address).is_ok());
        Self { process, address }
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn images_are_pulled_from_a_registry_on_loopback() {
    if !can_run_containerd() || !Path::new("/usr/bin/docker-registry").exists() {
        return;
    }
    let mut fixture = fixture();
    let registry = Registry::start(fixture.dir.path());
    let image = format!("{}/team/test:1", registry.address);
    let socket = fixture.node_dir().join("containerd/containerd.sock");
    let ctr = |arguments: &[&str]| {
        let mut ctr = Command::new("ctr");
        ctr.arg("--address").arg(&socket).args(["-n", "k8s.io", "images"]).args(arguments);
        ctr.output().unwrap().status.success()
    };
    wait("the image", || ctr(&["tag", IMAGE, &image]));
    assert!(ctr(&["push", "--plain-http", &image]));
    assert!(ctr(&["rm", &image]));
    let container = |name: &str, image: &str| json!({ "containers": [{ "name": name, "image": image }], "terminationGracePeriodSeconds": 0 });
    fixture.launch(&pod("pulled", container("c", &image)));
    fixture.wait_for_status("uid-pulled", "ready", |status| status["containerStatuses"][0]["ready"] == true);
    fixture.wait_for_event("Pulled", "Successfully pulled image");
    fixture.launch(&pod("absent", container("c", &format!("{}/team/absent:1", registry.address))));
    let status = fixture.wait_for_status("uid-absent", "refused", |status| {
        status["containerStatuses"][0]["state"]["waiting"]["reason"] == "ErrImagePull"
    });
    let message = status["containerStatuses"][0]["state"]["waiting"]["message"].as_str().unwrap();
    assert!(message.contains("not found"), "{message}");
    fixture.stop();
    no_leftovers(&fixture);
}

fn no_leftovers(fixture: &Fixture) {
    let root = fixture.node_dir();
    let mounts = std::fs::read_to_string("/proc/mounts").unwrap();
    let ours: Vec<&str> = mounts.lines().filter(|line| line.contains(root.to_str().unwrap())).collect();
    assert!(ours.is_empty(), "mounts: {ours:#?}");
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let command = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let command = String::from_utf8_lossy(&command).replace('\0', " ");
        assert!(!command.contains(root.to_str().unwrap()), "process: {command}");
    }
    let tag = fixture.config().tag();
    assert!(!Path::new("/sys/class/net").join(format!("cat{tag}")).exists(), "the bridge");
    for hierarchy in ["memory", "cpu", "pids", "freezer"] {
        let group = Path::new("/sys/fs/cgroup").join(hierarchy).join(format!("catamaran-{tag}"));
        assert!(!group.exists(), "{}", group.display());
    }
}
