//! Tasks and executors of a framework on unmodified pymesos in containers of images, in the runtime of the Pods.

use std::{
    fs::{self, File},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context, ensure};
use e2e::{
    cluster::{Cluster, repository},
    member,
    program::wait_for,
};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::pulls::{Registry, find_socket};

/// An image that the agent builds at its start.
pub(crate) const EXAMPLE: &str = "localhost/catamaran/example-web:1";
pub(crate) const DEADLINE: Duration = Duration::from_secs(90);

/// Writes an OCI archive: arguments are its path and the image's name.
const MARKED_IMAGE: &str = include_str!("marked_image.py");

/// A run of the framework. Dropping it kills it.
pub(crate) struct Framework {
    process: Child,
    output: PathBuf,
    errors: PathBuf,
}

impl Framework {
    pub(crate) fn start(cluster: &Cluster, name: &str, tasks: &Value) -> anyhow::Result<Self> {
        let directory = std::env::var("CATAMARAN_FRAMEWORKS")
            .context("CATAMARAN_FRAMEWORKS is not set; run the tests with `cargo xtask test --only NAME`")?;
        let file = |suffix: &str| cluster.directory().join(format!("{name}.{suffix}"));
        fs::write(file("tasks"), tasks.to_string())?;
        let process = cluster
            .command(Path::new(&directory).join("bin/python"))
            .arg(repository().join("e2e/frameworks/pymesos_images.py"))
            .arg(&cluster.mesos)
            .arg(file("tasks"))
            .arg("--credentials")
            .arg(cluster.credentials())
            .stdin(Stdio::null())
            .stdout(File::create(file("jsonl"))?)
            .stderr(File::create(file("stderr"))?)
            .spawn()
            .context("could not start the framework")?;
        Ok(Self { process, output: file("jsonl"), errors: file("stderr") })
    }

    pub(crate) fn updates(&self, task: &str) -> Vec<Value> {
        let text = fs::read_to_string(&self.output).unwrap_or_default();
        let events = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        events.filter(|event| event["task"] == task).collect()
    }

    pub(crate) fn process_id(&self) -> u32 {
        self.process.id()
    }

    pub(crate) fn tail(&self) -> String {
        let read = |path: &PathBuf| fs::read_to_string(path).unwrap_or_default();
        format!("{}\n{}", read(&self.output), read(&self.errors))
    }

    /// Waits for an update of a task with this state.
    pub(crate) fn wait_for(&mut self, task: &str, state: &str) -> anyhow::Result<Value> {
        let waited = wait_for(&format!("{task} to be {state}"), DEADLINE, || {
            Ok(self.updates(task).into_iter().find(|update| update["state"] == state))
        });
        waited.with_context(|| self.tail())
    }

    /// Waits until all its tasks have ended.
    pub(crate) fn wait(&mut self) -> anyhow::Result<()> {
        let ended = wait_for("the framework to end", DEADLINE * 2, || Ok(self.process.try_wait()?));
        let status = ended.with_context(|| self.tail())?;
        ensure!(status.success(), "{status}\n{}", self.tail());
        Ok(())
    }
}

impl Drop for Framework {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

pub(crate) fn docker(image: &str, more: Value) -> Value {
    let mut docker = json!({ "image": image });
    for (key, value) in more.as_object().into_iter().flatten() {
        docker[key] = value.clone();
    }
    json!({ "type": "DOCKER", "docker": docker })
}

pub(crate) fn mesos(image: &str) -> Value {
    json!({ "type": "MESOS", "mesos": { "image": { "type": "DOCKER", "docker": { "name": image } } } })
}

pub(crate) fn shell(line: &str) -> Value {
    json!({ "shell": true, "value": line })
}

/// The output of the latest run of an executor.
fn output(cluster: &Cluster, executor: &str, stream: &str) -> anyhow::Result<String> {
    let found = Command::new("find")
        .arg(cluster.directory())
        .args(["-path", &format!("*/executors/{executor}/runs/latest")])
        .output()?;
    let found = String::from_utf8_lossy(&found.stdout).into_owned();
    let latest = found.lines().next().with_context(|| format!("no sandbox of {executor}"))?;
    Ok(fs::read_to_string(Path::new(latest).join(stream))?)
}

pub(crate) fn ctr(cluster: &Cluster, arguments: &[&str]) -> anyhow::Result<String> {
    let socket = find_socket(cluster)?;
    let output = Command::new("ctr").args(["--address", &socket, "-n", "k8s.io"]).args(arguments).output()?;
    ensure!(output.status.success(), "ctr {arguments:?}: {output:?}");
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Puts an image into a registry, once a first task has made the agent start its runtime.
pub(crate) fn publish(cluster: &Cluster, image: &str) -> anyhow::Result<()> {
    let warm = json!([{ "name": "warm", "command": shell("echo $0 runs"), "container": docker(EXAMPLE, json!({})) }]);
    let mut framework = Framework::start(cluster, "warm", &warm)?;
    framework.wait()?;
    assert_eq!(output(cluster, "warm", "stdout")?, "/bin/sh runs\n", "{}", framework.tail());
    let archive = cluster.directory().join("marked.tar").to_string_lossy().into_owned();
    let status = Command::new("python3").args(["-c", MARKED_IMAGE, &archive, image]).status()?;
    ensure!(status.success(), "{status}");
    ctr(cluster, &["images", "import", "--no-unpack", &archive])?;
    ctr(cluster, &["images", "push", "--plain-http", image])?;
    ctr(cluster, &["images", "rm", image]).map(drop)
}

/// What containers of both types run, and with what around them.
fn commands(cluster: &Cluster, image: &str) -> anyhow::Result<()> {
    let input = cluster.directory().join("input");
    fs::write(&input, "of the machine\n")?;
    fs::set_permissions(&input, fs::Permissions::from_mode(0o666))?;
    let mut with_volumes = docker(image, json!({ "parameters": [{ "key": "env", "value": "COLOUR=blue" }] }));
    with_volumes["volumes"] = json!([
        { "host_path": input, "container_path": "/input", "mode": "RO" },
        { "host_path": "shared", "container_path": "/shared", "mode": "RW" },
    ]);
    let script = "cat /marker /input; id -u; pwd; echo $MESOS_SANDBOX $GREETING $COLOUR $PATH; \
        echo made > $MESOS_SANDBOX/made && echo x > /shared/x; echo y >> /input; echo failed >&2";
    let variables = json!({ "variables": [{ "name": "GREETING", "value": "hello" }] });
    let tasks = json!([
        { "name": "shell", "container": with_volumes,
          "command": { "shell": true, "value": script, "environment": variables } },
        { "name": "entrypoint", "container": docker(image, json!({})), "command": { "shell": false } },
        { "name": "arguments", "container": docker(image, json!({})),
          "command": { "shell": false, "value": "one", "arguments": ["two"] } },
        { "name": "replaced", "container": mesos(image),
          "command": { "shell": false, "value": "/bin/echo", "arguments": ["echo", "only this"] } },
        { "name": "user", "container": mesos(image), "command": { "shell": true, "value": "id -u", "user": "nobody" } },
        { "name": "code", "container": docker(image, json!({})), "command": shell("seq 3; exit 7") },
        { "name": "checked", "container": docker(image, json!({})), "command": shell("sleep 4"),
          "health_check": { "type": "COMMAND", "command": { "value": "test -e /marker" },
                            "delay_seconds": 0, "interval_seconds": 0.5, "grace_period_seconds": 0 } },
        { "name": "large", "container": docker(image, json!({})), "command": shell("tail /dev/zero") },
        { "name": "absent", "container": docker("127.0.0.1:1/none:1", json!({})), "command": shell("true") },
        { "name": "privileged", "container": docker(image, json!({ "privileged": true })), "command": shell("true") },
        { "name": "executor", "container": mesos(image), "executor": "pymesos",
          "arguments": ["python", repository().join("e2e/frameworks/pymesos_executor.py").canonicalize()?, "/marker"] },
    ]);
    let mut framework = Framework::start(cluster, "commands", &tasks)?;
    framework.wait()?;
    let said = |task: &str| output(cluster, task, "stdout");
    assert_eq!(
        said("shell")?,
        "of the image\nof the machine\n1234\n/srv\n/mnt/mesos/sandbox hello blue /bin:/of/the/image\n",
        "{}",
        framework.tail()
    );
    let errors = output(cluster, "shell", "stderr")?;
    assert!(errors.contains("Read-only file system") && errors.ends_with("failed\n"), "{errors}");
    assert_eq!(output(cluster, "shell", "made")?, "made\n");
    assert_eq!(said("entrypoint")?, "entrypoint command\n");
    assert_eq!(said("arguments")?, "entrypoint one two\n");
    assert_eq!(said("replaced")?, "only this\n");
    assert_eq!(said("user")?, "65534\n");
    assert_eq!(said("code")?, "1\n2\n3\n");
    ends(&mut framework)
}

/// How the tasks of [`commands`] ended.
fn ends(framework: &mut Framework) -> anyhow::Result<()> {
    for task in ["shell", "entrypoint", "arguments", "replaced", "user", "checked", "executor"] {
        framework.wait_for(task, "TASK_FINISHED")?;
    }
    let told = framework.wait_for("executor", "TASK_FINISHED")?;
    assert_eq!(told["message"], "of the image");
    let failed = framework.wait_for("code", "TASK_FAILED")?;
    assert_eq!(failed["message"], "Command exited with status 7");
    let healthy = framework.updates("checked").iter().any(|update| update["healthy"] == true);
    assert!(healthy, "{}", framework.tail());
    let exceeded = framework.wait_for("large", "TASK_FAILED")?;
    assert_eq!(exceeded["reason"], "REASON_CONTAINER_LIMITATION_MEMORY", "{exceeded}");
    let absent = framework.wait_for("absent", "TASK_FAILED")?;
    let why = absent["message"].as_str().unwrap_or_default();
    assert!(why.contains("Failed to pull image '127.0.0.1:1/none:1'"), "{why}");
    assert_eq!(absent["reason"], "REASON_CONTAINER_LAUNCH_FAILED", "{absent}");
    assert!(framework.updates("absent").iter().all(|update| update["state"] != "TASK_RUNNING"));
    let refused = framework.wait_for("privileged", "TASK_ERROR")?;
    assert_eq!(refused["message"], "privileged containers are not supported yet");
    assert_eq!(refused["source"], "SOURCE_MASTER");
    Ok(())
}

/// A port of the machine leads into a container with an address of its own, which ends when its task is killed.
fn bridge(cluster: &Cluster, image: &str) -> anyhow::Result<()> {
    let bridged =
        json!({ "network": "BRIDGE", "port_mappings": [{ "host_port": 31007, "container_port": 8080 }] });
    let tasks = json!([
        { "name": "served", "container": docker(image, bridged), "ports": [31007],
          "command": { "shell": true, "value": "httpd -f -p 8080 -h /www" } },
        { "name": "elsewhere", "container": docker(image, json!({ "network": "BRIDGE", "port_mappings": [
            { "host_port": 31008, "container_port": 80 }] })), "ports": [31009], "command": shell("true") },
        { "name": "killed", "container": docker(image, json!({})), "command": shell("sleep 600"), "kill": true },
        { "name": "executor-killed", "container": mesos(image), "executor": "pymesos", "kill": true,
          "arguments": ["python", repository().join("e2e/frameworks/pymesos_executor.py").canonicalize()?, "/marker", "wait"] },
    ]);
    let mut framework = Framework::start(cluster, "bridge", &tasks)?;
    let running = framework.wait_for("served", "TASK_RUNNING")?;
    let address = running["addresses"][0].as_str().context("an address")?.to_owned();
    assert!(address.starts_with("10."), "{running}");
    for at in [format!("{address}:8080"), format!("{}:31007", machine_address()?)] {
        let answer = cluster.command("python3").args(["-c", GET, &format!("http://{at}/")]).output()?;
        assert_eq!(String::from_utf8_lossy(&answer.stdout), "served from the image\n", "{at}: {answer:?}");
    }
    let refused = framework.wait_for("elsewhere", "TASK_ERROR")?;
    assert_eq!(refused["message"], "Port [31008] not included in resources");
    for task in ["killed", "executor-killed"] {
        framework.wait_for(task, "TASK_KILLED")?;
    }
    framework.wait_for("killed", "TASK_KILLING")?;
    // TEARDOWN.
    member::send(framework.process_id(), Signal::TERM);
    framework.wait()?;
    nothing_is_left(cluster)
}

const GET: &str = "import sys, urllib.request; print(urllib.request.urlopen(sys.argv[1], timeout=10).read().decode(), end='')";

/// An address of this machine that is not a loopback address, from which mapped ports are not reached.
fn machine_address() -> anyhow::Result<String> {
    let socket = std::net::UdpSocket::bind("0.0.0.0:0")?;
    socket.connect("192.0.2.1:9")?;
    Ok(socket.local_addr()?.ip().to_string())
}

/// No container of a task is left.
pub(crate) fn nothing_is_left(cluster: &Cluster) -> anyhow::Result<()> {
    let mut last = String::new();
    let waited = wait_for("the containers to be removed", Duration::from_secs(30), || {
        let containers = ctr(cluster, &["containers", "ls", "-q"])?;
        let tasks =
            Command::new("find").arg(cluster.directory()).args(["-path", "*/node/tasks/*"]).output()?;
        last = format!("{containers}{}", String::from_utf8_lossy(&tasks.stdout));
        Ok(last.is_empty().then_some(()))
    });
    waited.with_context(|| last)
}

/// A script that goes on when the file `go` is in its sandbox, and fails when `end` is.
pub(crate) const WAITS: &str = "echo begins; while ! test -e $MESOS_SANDBOX/go; do sleep 0.2; done; \
    echo goes; while ! test -e $MESOS_SANDBOX/end; do sleep 0.2; done; cat /marker; exit 3";

/// A container outlives kills of server, agent and runtime, and its end is told.
fn outlives(cluster: &mut Cluster, image: &str) -> anyhow::Result<()> {
    let tasks = json!([{ "name": "long", "container": docker(image, json!({})), "command": shell(WAITS) }]);
    let mut framework = Framework::start(cluster, "outlives", &tasks)?;
    framework.wait_for("long", "TASK_RUNNING")?;
    cluster.kill("server")?;
    cluster.start("server")?;
    let sandbox = |cluster: &Cluster| {
        let found = Command::new("find")
            .arg(cluster.directory())
            .args(["-path", "*/executors/long/runs/latest"])
            .output()?;
        Ok(PathBuf::from(String::from_utf8_lossy(&found.stdout).trim()))
    };
    outlives_agent_and_runtime(cluster, &mut framework, sandbox)?;
    framework.wait()?;
    nothing_is_left(cluster)
}

/// The task `long` of [`WAITS`] outlives kills of agent and runtime. What it writes while they are away arrives when they are back.
pub(crate) fn outlives_agent_and_runtime(
    cluster: &mut Cluster,
    framework: &mut Framework,
    sandbox: impl Fn(&Cluster) -> anyhow::Result<PathBuf>,
) -> anyhow::Result<()> {
    cluster.kill("agent")?;
    let containerd = cluster.process("containerd", |line| line.contains("containerd --config"))?;
    member::send(containerd, Signal::KILL);
    cluster.start("agent")?;
    let sandbox = sandbox(cluster)?;
    let output = || anyhow::Ok(fs::read_to_string(sandbox.join("stdout"))?);
    fs::write(sandbox.join("go"), "")?;
    wait_for("the output", DEADLINE, || Ok((output()? == "begins\ngoes\n").then_some(())))?;
    fs::write(sandbox.join("end"), "")?;
    let failed = framework.wait_for("long", "TASK_FAILED")?;
    assert_eq!(failed["message"], "Command exited with status 3");
    assert_eq!(output()?, "begins\ngoes\nof the image\n");
    Ok(())
}

#[test]
fn tasks_run_in_containers_of_images() -> anyhow::Result<()> {
    let registry = Registry::start()?;
    let image = format!("{}/marked:1", registry.address);
    let agent = ["--example-images", "--mesos-anonymous-executors", "--resources"];
    let resources = "cpus:4;mem:3000;disk:1000;ports:[31000-31010]";
    let mut cluster = Cluster::split_with(&[], &[&agent[..], &[resources]].concat())?;
    publish(&cluster, &image)?;
    commands(&cluster, &image)?;
    bridge(&cluster, &image)?;
    outlives(&mut cluster, &image)?;
    // One that runs when the node stops.
    let tasks =
        json!([{ "name": "last", "container": docker(&image, json!({})), "command": shell("sleep 600") }]);
    let mut framework = Framework::start(&cluster, "last", &tasks)?;
    framework.wait_for("last", "TASK_RUNNING")?;
    cluster.stop("agent")?;
    framework.wait_for("last", "TASK_KILLED")?;
    framework.wait()?;
    cluster.stop_and_assert_clean()
}
