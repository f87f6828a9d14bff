//! Tasks of groups in containers of images beside tasks that are processes, all below a default executor; and programs in the
//! containers of images, as `mesos task exec` starts them.

use std::{fs, path::PathBuf, process::Command};

use anyhow::Context;
use e2e::{cluster::Cluster, member, program::wait_for};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::{
    persistent_volumes::phase,
    pulls::Registry,
    task_exec::{exec, told},
    task_images::{
        DEADLINE, Framework, WAITS, docker, mesos, nothing_is_left, outlives_agent_and_runtime, publish,
        shell,
    },
};

/// The sandbox of a task of a group.
fn sandbox(cluster: &Cluster, group: &str, task: &str) -> anyhow::Result<PathBuf> {
    let found = Command::new("find")
        .arg(cluster.directory())
        .args(["-path", &format!("*/executors/{group}/runs/latest")])
        .output()?;
    let found = String::from_utf8_lossy(&found.stdout).into_owned();
    let latest = found.lines().next().with_context(|| format!("no sandbox of {group}"))?;
    Ok(PathBuf::from(latest).join("tasks").join(task))
}

fn output(cluster: &Cluster, group: &str, task: &str) -> anyhow::Result<String> {
    Ok(fs::read_to_string(sandbox(cluster, group, task)?.join("stdout"))?)
}

/// A directory of the executor's sandbox.
fn shared(container_path: &str) -> Value {
    let path = json!({ "type": "PARENT", "path": "shared" });
    let source = json!({ "type": "SANDBOX_PATH", "sandbox_path": path });
    json!({ "mode": "RW", "container_path": container_path, "source": source })
}

/// A container of an image and a process share a directory, and each is what it is.
fn side_by_side(cluster: &Cluster, image: &str) -> anyhow::Result<()> {
    let input = cluster.directory().join("input");
    fs::write(&input, "of the machine\n")?;
    let mut contained = mesos(image);
    contained["volumes"] =
        json!([{ "host_path": input, "container_path": "/input", "mode": "RO" }, shared("/shared")]);
    let script = "cat /marker /input; id -u; echo $MESOS_SANDBOX $GREETING $MESOS_EXECUTOR_ID; \
        echo made > $MESOS_SANDBOX/made; echo x > /shared/of-image; \
        until test -e /shared/of-process; do sleep 0.1; done";
    let variables = json!({ "variables": [{ "name": "GREETING", "value": "hello" }] });
    let process = json!({ "type": "MESOS", "volumes": [shared("shared")] });
    let tasks = json!([
        { "name": "contained", "group": "both", "container": contained,
          "command": { "shell": true, "value": script, "environment": variables } },
        { "name": "process", "group": "both", "container": process, "command": shell(
            "until test -e shared/of-image; do sleep 0.1; done; echo y > shared/of-process; test ! -e /marker") },
        { "name": "nobody", "group": "both", "container": mesos(image),
          "command": { "shell": true, "value": "id -u", "user": "nobody" } },
        { "name": "checked", "group": "both", "container": mesos(image), "command": shell("sleep 5"),
          "health_check": { "type": "COMMAND", "command": { "value": "test -e /marker" },
                            "delay_seconds": 0, "interval_seconds": 0.5, "grace_period_seconds": 0 } },
    ]);
    let mut framework = Framework::start(cluster, "side", &tasks)?;
    framework.wait()?;
    for task in ["contained", "process", "nobody", "checked"] {
        framework.wait_for(task, "TASK_FINISHED")?;
    }
    let said = output(cluster, "both", "contained")?;
    assert_eq!(
        said,
        "of the image\nof the machine\n0\n/mnt/mesos/sandbox hello both\n",
        "{}",
        framework.tail()
    );
    assert_eq!(fs::read_to_string(sandbox(cluster, "both", "contained")?.join("made"))?, "made\n");
    assert_eq!(output(cluster, "both", "nobody")?, "65534\n");
    let healthy = framework.updates("checked").iter().any(|update| update["healthy"] == true);
    assert!(healthy, "{}", framework.tail());
    Ok(())
}

/// How tasks end that do not finish, with the reasons.
fn ends(cluster: &Cluster, image: &str) -> anyhow::Result<()> {
    let traps = "trap 'exit 3' TERM; sleep 600 & wait";
    let tasks = json!([
        { "name": "code", "group": "failing", "container": mesos(image), "command": shell("seq 3; exit 7") },
        { "name": "victim", "group": "failing", "command": shell("sleep 600") },
        { "name": "large", "group": "large", "container": mesos(image), "command": shell("tail /dev/zero") },
        { "name": "absent", "group": "absent", "container": mesos("127.0.0.1:1/none:1"), "command": shell("true") },
        { "name": "killed", "group": "killed", "container": mesos(image), "command": shell(traps), "kill": true },
        { "name": "beside", "group": "killed", "container": mesos(image), "command": shell("sleep 600") },
        { "name": "docker", "group": "docker", "container": docker(image, json!({})), "command": shell("true") },
    ]);
    let mut framework = Framework::start(cluster, "ends", &tasks)?;
    framework.wait()?;
    let message = |status: &Value| status["message"].as_str().unwrap_or_default().to_owned();
    assert_eq!(message(&framework.wait_for("code", "TASK_FAILED")?), "Command exited with status 7");
    assert_eq!(output(cluster, "failing", "code")?, "1\n2\n3\n");
    let exceeded = framework.wait_for("large", "TASK_FAILED")?;
    assert_eq!(exceeded["reason"], "REASON_CONTAINER_LIMITATION_MEMORY", "{exceeded}");
    let absent = framework.wait_for("absent", "TASK_FAILED")?;
    assert!(message(&absent).contains("Failed to pull image '127.0.0.1:1/none:1'"), "{absent}");
    assert_eq!(absent["reason"], "REASON_CONTAINER_LAUNCH_FAILED", "{absent}");
    assert!(framework.updates("absent").iter().all(|update| update["state"] != "TASK_RUNNING"));
    for task in ["victim", "killed", "beside"] {
        framework.wait_for(task, "TASK_KILLED")?;
    }
    framework.wait_for("killed", "TASK_KILLING")?;
    let refused = framework.wait_for("docker", "TASK_ERROR")?;
    assert!(message(&refused).contains("Docker ContainerInfo is not supported on the task"), "{refused}");
    nothing_is_left(cluster)
}

/// Sessions are in the container of the image, of a task of a group and of a command task.
fn sessions(cluster: &Cluster, image: &str) -> anyhow::Result<()> {
    let line = "mkdir -p /work; cd /work; echo begins; sleep 600";
    let variables = json!({ "variables": [{ "name": "OWN", "value": "variable" }] });
    let command = json!({ "shell": true, "value": line, "environment": variables });
    let tasks = json!([
        { "name": "grouped", "group": "of-session", "container": mesos(image), "command": command },
        { "name": "alone", "container": mesos(image), "command": command },
    ]);
    let mut framework = Framework::start(cluster, "sessions", &tasks)?;
    for task in ["grouped", "alone"] {
        framework.wait_for(task, "TASK_RUNNING")?;
        let agent = cluster.directory().join("agent/mesos-credentials").display().to_string();
        let run = |options: &[&str], input: &str| {
            exec(cluster, &[&["--agent-credentials", agent.as_str()], options].concat(), input)
        };
        let shell = |line: &str| run(&[task, "/bin/sh", "-c", line], "");
        let inside = "test $(pwd) = /work || exit 9; cat /marker; id -u; echo $OWN; exit 7";
        let waited = wait_for("the task's directory", DEADLINE, || {
            let output = told(&shell(inside)?);
            Ok((output.2 != Some(9)).then_some(output))
        });
        let (out, errors, code) = waited.with_context(|| framework.tail())?;
        assert_eq!((out.as_str(), code), ("of the image\n0\nvariable\n", Some(7)), "{task}: {errors}");
        // In the container's namespace of processes.
        let (out, errors, _) = told(&shell("grep -c sleep /proc/1/cmdline")?);
        assert_eq!((out.as_str(), errors.as_str()), ("1\n", ""), "{task}");
        assert_eq!(told(&shell("kill -9 $$")?).2, Some(128 + 9));
        let input = "0123456789abcde\n".repeat(4096);
        let output = run(&["--interactive", task, "/bin/cat"], &input)?;
        assert!(
            output.status.success() && output.stdout == input.as_bytes(),
            "{} bytes",
            output.stdout.len()
        );
        let tty = ["--interactive", "--tty", "24x80", task, "/bin/sh", "-c", "stty size; cat"];
        let (out, _, code) = told(&run(&tty, "typed\n")?);
        assert!(out.contains("24 80\r\n") && out.matches("typed\r\n").count() == 2, "{out:?}");
        assert_eq!(code, Some(0));
    }
    member::send(framework.process_id(), Signal::TERM);
    framework.wait()?;
    nothing_is_left(cluster)
}

/// Containers of images have persistent volumes wherever they want them, and read-only ones.
fn volumes(cluster: &Cluster, image: &str) -> anyhow::Result<()> {
    phase(cluster, "write", &["--text", "of-the-first-task"])?;
    let found = |path: &str| format!("test $(cat {path}/file) = of-the-first-task");
    let read_only = |path: &str| format!("{} && ! touch {path}/new", found(path));
    let written = |path: &str| format!("{} && touch {path}/new", found(path));
    let within = "/mnt/mesos/sandbox/kept";
    for (alone_or_not, path, mode, command) in [
        (&[][..], "/data", "RO", read_only("/data")),
        (&[], "/deep/data", "RW", written("/deep/data")),
        (&[], "kept", "RO", read_only(within)),
        (&["--group"], "/data", "RO", read_only("/data")),
        (&["--group"], "kept", "RW", written(within)),
        (&["--group"], "kept", "RO", read_only(within)),
    ] {
        let arguments = ["--image", image, "--path", path, "--mode", mode, "--command", &command];
        let all = [alone_or_not, &arguments].concat();
        phase(cluster, "check", &all).with_context(|| format!("{all:?}"))?;
    }
    let refused = phase(cluster, "check", &["--path", "/data", "--command", "true"]);
    let why = refused.expect_err("there is no image").to_string();
    assert!(why.contains("persistent volumes outside of the sandbox without an image"), "{why}");
    phase(cluster, "remove", &[])?;
    Ok(())
}

/// A container outlives kills of agent and runtime, and its end is told.
fn outlives(cluster: &mut Cluster, image: &str) -> anyhow::Result<()> {
    let tasks = json!([{ "name": "long", "group": "long-group", "container": mesos(image), "command": shell(WAITS) }]);
    let mut framework = Framework::start(cluster, "outlives", &tasks)?;
    framework.wait_for("long", "TASK_RUNNING")?;
    let own = |cluster: &Cluster| sandbox(cluster, "long-group", "long");
    outlives_agent_and_runtime(cluster, &mut framework, own)?;
    framework.wait()?;
    nothing_is_left(cluster)
}

#[test]
fn tasks_of_groups_run_in_containers_of_images() -> anyhow::Result<()> {
    let registry = Registry::start()?;
    let image = format!("{}/marked:1", registry.address);
    let agent = ["--example-images", "--mesos-anonymous-executors", "--resources"];
    let resources = "cpus:4;mem:3000;disk:1000;ports:[31000-31010]";
    let mut cluster = Cluster::split_with(&[], &[&agent[..], &[resources]].concat())?;
    publish(&cluster, &image)?;
    side_by_side(&cluster, &image)?;
    ends(&cluster, &image)?;
    sessions(&cluster, &image)?;
    volumes(&cluster, &image)?;
    outlives(&mut cluster, &image)?;
    // One that runs when the node stops.
    let tasks = json!([{ "name": "last", "group": "last", "container": mesos(&image), "command": shell("sleep 600") }]);
    let mut framework = Framework::start(&cluster, "last", &tasks)?;
    framework.wait_for("last", "TASK_RUNNING")?;
    cluster.stop("agent")?;
    framework.wait_for("last", "TASK_KILLED")?;
    framework.wait()?;
    cluster.stop_and_assert_clean()
}

#[test]
fn an_agent_whose_container_runtime_is_away_refuses_images() -> anyhow::Result<()> {
    let cluster = Cluster::split_with(&[], &["--cri-endpoint", "unix:///nowhere/at/all.sock"])?;
    let tasks = json!([
        { "name": "alone", "container": mesos("a:1"), "command": shell("true") },
        { "name": "grouped", "group": "g", "container": mesos("a:1"), "command": shell("true") },
        { "name": "plain", "command": shell("true") },
    ]);
    let mut framework = Framework::start(&cluster, "refused", &tasks)?;
    framework.wait()?;
    for task in ["alone", "grouped"] {
        let refused = framework.wait_for(task, "TASK_ERROR")?;
        let why = refused["message"].as_str().unwrap_or_default();
        assert!(why.contains("cannot run image 'a:1': container runtime is not ready"), "{why}");
        assert_eq!(refused["source"], "SOURCE_MASTER", "{refused}");
    }
    framework.wait_for("plain", "TASK_FINISHED")?;
    Ok(())
}
