//! The verbs that look at a running cluster and look after it: `run`, `images`, `status`, `uninstall`.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context, ensure};
use e2e::{
    cluster::{self, Cluster},
    member,
    program::{self, wait_for},
};
use rustix::process::Signal;
use serde_json::Value;

const DEADLINE: Duration = Duration::from_secs(60);
const EXAMPLE: &str = "node/images/localhost-catamaran-example-web-1.tar";

fn verb(data: &Path, verb: &[&str], arguments: &[&str]) -> Command {
    let mut command = Command::new(cluster::binary());
    command.args(verb).arg("--data-dir").arg(data).args(arguments);
    command
}

fn run(data: &Path, arguments: &[&str]) -> anyhow::Result<program::Output> {
    program::run(&mut verb(data, &["run"], arguments), DEADLINE)
}

#[test]
fn a_command_runs_as_a_task_with_its_output_and_exit_code() -> anyhow::Result<()> {
    let cluster = Cluster::up(&[])?;
    let data = cluster.data();
    let output = run(&data, &["--", "sh", "-c", "echo out; echo err >&2; seq 100000 | tail -1; exit 7"])?;
    ensure!(output.status.code() == Some(7), "{output:?}");
    ensure!(output.stdout == "out\n100000\n" && output.stderr == "err\n", "{output:?}");
    // One argument is a line for the shell; what it writes at once and in full is printed in full.
    let output = run(&data, &["--env", "WHO=you", "echo hello $WHO; seq 200000"])?;
    ensure!(output.status.success() && output.stdout.lines().count() == 200_001, "{:?}", output.status);
    ensure!(output.stdout.starts_with("hello you\n1\n"), "{}", &output.stdout[..40]);
    let output = run(&data, &["--output", "json", "exit 3"])?;
    let report: Value = serde_json::from_str(&output.stdout)?;
    ensure!(output.status.code() == Some(3) && report["exitCode"] == 3, "{output:?}");
    ensure!(report["state"] == "TASK_FAILED", "{report}");
    let refused = run(&data, &["--master", "127.0.0.1:1", "true"])?;
    ensure!(refused.status.code() == Some(1) && refused.stderr.contains("cannot run a task"), "{refused:?}");

    let started = cluster.directory().join("started");
    let line = format!("trap 'exit 0' TERM; touch {}; while :; do sleep 0.1; done", started.display());
    let mut running = verb(&data, &["run"], &[&line]).stdin(Stdio::null()).stderr(Stdio::piped()).spawn()?;
    wait_for("the task to start", DEADLINE, || Ok(started.exists().then_some(())))?;
    member::send(running.id(), Signal::INT);
    let status = wait_for("the task to be killed", DEADLINE, || Ok(running.try_wait()?));
    if status.is_err() {
        running.kill()?;
        running.wait()?;
    }
    ensure!(status?.code() == Some(130), "the exit code of an interrupted command");
    wait_for("the frameworks of `run` to be gone", DEADLINE, || {
        let state = cluster.operator(r#"{"type":"GET_FRAMEWORKS"}"#)?;
        let active = state["get_frameworks"]["frameworks"].as_array().context("no frameworks")?.clone();
        let names: Vec<_> = active.iter().map(|f| f["framework_info"]["name"].clone()).collect();
        Ok((names == ["kubernetes"]).then_some(()))
    })?;
    cluster.stop_and_assert_clean()
}

#[test]
fn waits_are_explained() -> anyhow::Result<()> {
    let cluster = Cluster::up(&[])?;
    let data = cluster.data();
    let explain = |arguments: &[&str]| program::run(&mut verb(&data, &["explain"], arguments), DEADLINE);
    let reasons = |arguments: &[&str]| -> anyhow::Result<Vec<String>> {
        let output = explain(&[arguments, &["-o", "json"]].concat())?.ok()?;
        let explained: Value = serde_json::from_str(&output)?;
        let mut found = Vec::new();
        each_reason(&explained, &mut |reason| found.push(reason.to_owned()));
        Ok(found)
    };
    // A framework that declines whatever it is offered.
    let mut greedy = verb(&data, &["run"], &["--name", "greedy", "--cpus", "100000", "true"])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    let declined = wait_for("the framework to decline", DEADLINE, || {
        Ok(reasons(&["framework", "greedy"]).is_ok_and(|found| found == ["FILTER"]).then_some(()))
    });
    greedy.kill()?;
    greedy.wait()?;
    declined?;
    // A Pod that fits nowhere.
    let limits =
        r#"{"spec":{"containers":[{"name":"big","image":"x","resources":{"requests":{"cpu":"1000"}}}]}}"#;
    cluster.kubectl(&["run", "big", "--image=x", &format!("--overrides={limits}")])?;
    wait_for("the Pod to be refused", DEADLINE, || {
        Ok(reasons(&["pod", "big"])?.contains(&"Unschedulable".to_owned()).then_some(()))
    })?;
    let told = explain(&["pod", "default/big"])?.ok()?;
    ensure!(told.contains("Insufficient cpu") && told.contains("its role is k8s/default"), "{told}");
    let absent = explain(&["task", "nothing"])?;
    ensure!(
        absent.status.code() == Some(1) && absent.stderr.contains("No task with the id 'nothing'"),
        "{absent:?}"
    );
    cluster.stop_and_assert_clean()
}

/// Calls `found` with each member `reason` of a report.
fn each_reason(value: &Value, found: &mut dyn FnMut(&str)) {
    match value {
        Value::Object(members) => {
            if let Some(reason) = members.get("reason").and_then(Value::as_str) {
                found(reason);
            }
            members.values().for_each(|member| each_reason(member, found));
        }
        Value::Array(items) => items.iter().for_each(|item| each_reason(item, found)),
        _ => {}
    }
}

fn images(data: &Path) -> anyhow::Result<Vec<String>> {
    let output = program::run(&mut verb(data, &["images", "list"], &["-o", "json"]), DEADLINE)?.ok()?;
    let listed: Value = serde_json::from_str(&output)?;
    let images = listed["images"].as_array().context("no list")?;
    let tags = images.iter().flat_map(|image| image["tags"].as_array().cloned().unwrap_or_default());
    Ok(tags.filter_map(|tag| tag.as_str().map(str::to_owned)).collect())
}

/// An archive of the example's image under another name of the same length.
fn renamed(archive: &Path, name: &str, to: &Path) -> anyhow::Result<()> {
    const OLD: &[u8] = b"localhost/catamaran/example-web:1";
    ensure!(name.len() == OLD.len(), "the archive's lengths stay");
    let mut bytes = fs::read(archive)?;
    let at = bytes.windows(OLD.len()).position(|window| window == OLD).context("the archive has no name")?;
    bytes[at..at + OLD.len()].copy_from_slice(name.as_bytes());
    Ok(fs::write(to, bytes)?)
}

/// The runtime starts with the first Pod; until then archives wait for it.
#[test]
fn images_are_imported_before_the_first_pod() -> anyhow::Result<()> {
    let cluster = Cluster::up(&["--example-images"])?;
    let data = cluster.data();
    let (name, file) = ("docker.io/library/early-image-9:1", cluster.directory().join("early.tar"));
    renamed(&data.join(EXAMPLE), name, &file)?;
    let import = verb(&data, &["images", "import"], &[&file.to_string_lossy()]).output()?;
    let waits = format!("waiting {name} (imported when the machine's first Pod starts)\n");
    ensure!(String::from_utf8_lossy(&import.stdout) == waits, "{import:?}");
    fs::write(&file, "no archive")?;
    let refused = verb(&data, &["images", "import"], &[&file.to_string_lossy()]).output()?;
    ensure!(!refused.status.success() && String::from_utf8_lossy(&refused.stderr).contains("cannot import"));
    let list = program::run(&mut verb(&data, &["images", "list"], &[]), DEADLINE)?.ok()?;
    let rows: Vec<Vec<&str>> = list.lines().map(|line| line.split_whitespace().collect()).collect();
    ensure!(rows.contains(&vec![name, "<waiting>"]), "{list}");
    cluster.kubectl(&["run", "early", "--image", name, "--image-pull-policy=Never"])?;
    cluster.kubectl(&["wait", "pod/early", "--for=condition=Ready", "--timeout=60s"])?;
    ensure!(images(&data)?.iter().any(|tag| tag == name));
    cluster.stop_and_assert_clean()
}

#[test]
fn images_are_imported_by_hand_and_from_the_folder_also_after_a_crash() -> anyhow::Result<()> {
    let mut cluster = Cluster::up(&[])?;
    let data = cluster.data();
    cluster.kubectl(&["apply", "-f", "manifests/examples/web.yaml"])?;
    wait_for("the container runtime", DEADLINE, || Ok(images(&data)?.first().cloned()))?;
    ensure!(!images(&data)?.iter().any(|name| name.contains("example-web")), "without --example-images");
    // The executor and the runtime outlive the kill, and the next start brings the images.
    cluster.kill("up")?;
    cluster.restart_with("up", &["--example-images"])?;
    cluster.kubectl(&["rollout", "status", "deployment/web", "--timeout=90s"])?;

    let archive = data.join(EXAMPLE);
    let (by_hand, dropped) = ("docker.io/library/by-hand-image:1", "docker.io/library/dropped-image:1");
    let file = cluster.directory().join("by-hand.tar");
    renamed(&archive, by_hand, &file)?;
    let import = verb(&data, &["images", "import"], &[&file.to_string_lossy()]).output()?;
    ensure!(String::from_utf8_lossy(&import.stdout) == format!("imported {by_hand}\n"), "{import:?}");
    renamed(&archive, dropped, &data.join("node/images/dropped.tar"))?;
    wait_for("the dropped archive to be imported", DEADLINE, || {
        Ok(images(&data)?.iter().any(|name| name == dropped).then_some(()))
    })?;
    ensure!(images(&data)?.iter().any(|name| name == by_hand));
    fs::write(&file, "no archive")?;
    let refused = verb(&data, &["images", "import"], &[&file.to_string_lossy()]).output()?;
    ensure!(!refused.status.success() && String::from_utf8_lossy(&refused.stderr).contains("cannot import"));

    let status = program::run(&mut verb(&data, &["status"], &["-o", "json"]), DEADLINE)?.ok()?;
    let status: Value = serde_json::from_str(&status)?;
    let parts = status["parts"].as_array().context("no parts")?;
    ensure!(parts.len() == 4 && parts.iter().all(|part| part["healthy"] == true), "{status}");
    cluster.kubectl(&["delete", "-f", "manifests/examples/web.yaml", "--timeout=60s"])?;
    cluster.stop_and_assert_clean()
}

#[test]
fn uninstall_removes_what_a_killed_agent_has_left() -> anyhow::Result<()> {
    let mut cluster = Cluster::split(&[])?;
    cluster.kubectl(&["apply", "-f", "manifests/examples/web.yaml"])?;
    cluster.kubectl(&["rollout", "status", "deployment/web", "--timeout=90s"])?;
    let started = cluster.directory().join("started");
    let line = format!("touch {}; exec sleep 1000", started.display());
    let mut task = verb(&cluster.data(), &["run"], &[&line]).stdin(Stdio::null()).spawn()?;
    wait_for("a task to run", DEADLINE, || Ok(started.exists().then_some(())))?;
    let agent = cluster.directory().join("agent");
    let running = verb(&agent, &["uninstall"], &["--yes"]).output()?;
    ensure!(!running.status.success() && agent.exists(), "it runs: {running:?}");
    cluster.kill("agent")?;
    let listed = verb(&agent, &["uninstall"], &[]).output()?;
    ensure!(listed.status.code() == Some(1) && agent.exists(), "only listed: {listed:?}");
    let removed = verb(&agent, &["uninstall"], &["--yes", "--output", "json"]).output()?;
    ensure!(removed.status.success() && !agent.exists(), "{removed:?}");
    task.kill()?;
    task.wait()?;
    cluster.stop_and_assert_clean()
}

#[test]
fn an_agent_at_the_address_of_the_api_says_what_it_found() -> anyhow::Result<()> {
    let cluster = Cluster::split(&[])?;
    let mut agent = Command::new(cluster::binary());
    agent.arg("agent").arg("--data-dir").arg(cluster.directory().join("lost"));
    agent.args(["--master", cluster.api_address(), "--agent-listen", &cluster::free_address()?]);
    agent.arg("--token-file").arg(cluster.data().join("join-token"));
    let output = program::run(&mut agent, DEADLINE)?;
    ensure!(
        output.stderr.contains("a Kubernetes API server answers there, and no Mesos master"),
        "{output:?}"
    );
    cluster.stop_and_assert_clean()
}

/// A Pod whose container ends when told to.
const RESTARTS: &str = r#"
apiVersion: v1
kind: Pod
metadata: {name: restarts}
spec:
  terminationGracePeriodSeconds: 1
  containers:
    - name: c
      image: localhost/catamaran/example-web:1
      command: [sh, -c, "rm -f /v/end; until test -e /v/end; do sleep 0.1; done; exit 1"]
      volumeMounts: [{name: v, mountPath: /v}]
  volumes: [{name: v, emptyDir: {}}]
"#;

#[test]
fn a_restored_server_shows_what_has_happened_since_the_backup() -> anyhow::Result<()> {
    let mut cluster = Cluster::split(&[])?;
    let (manifest, backup) = (cluster.directory().join("pod.yaml"), cluster.directory().join("backup"));
    fs::write(&manifest, RESTARTS)?;
    cluster.kubectl(&["apply", "-f", &manifest.to_string_lossy()])?;
    let restarts = |cluster: &Cluster, wanted: &str| {
        wait_for(&format!("'{wanted}' (readiness, restarts)"), DEADLINE, || {
            let path = "jsonpath={.status.containerStatuses[0].ready} {.status.containerStatuses[0].restartCount} {.status.containerStatuses[0].containerID}";
            let shown = cluster.kubectl(&["get", "pod", "restarts", "-o", path])?;
            Ok(shown.starts_with(wanted).then_some(shown))
        })
    };
    restarts(&cluster, "true 0")?;
    let backup = backup.to_string_lossy().into_owned();
    program::run(&mut verb(&cluster.data(), &["backup"], &[&backup]), DEADLINE)?.ok()?;
    cluster.kubectl(&["exec", "restarts", "--", "touch", "/v/end"])?;
    let before = restarts(&cluster, "true 1")?;

    cluster.kill("server")?;
    fs::rename(cluster.data(), cluster.directory().join("lost"))?;
    let mut restore = Command::new(cluster::binary());
    restore.args(["restore", &backup, "--data-dir"]).arg(cluster.data());
    program::run(&mut restore, DEADLINE)?.ok()?;
    cluster.start("server")?;
    ensure!(restarts(&cluster, "true 1")? == before, "the same container");
    cluster.kubectl(&["delete", "pod", "restarts", "--timeout=60s"])?;
    cluster.stop_and_assert_clean()
}
