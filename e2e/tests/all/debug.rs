//! Ephemeral containers: upstream's two conformance tests in our words, and `kubectl debug` in its three ways.

use std::{process::Command, time::Duration};

use anyhow::Context;
use e2e::{
    cluster::Cluster,
    member,
    program::{self, wait_for},
};
use rustix::process::Signal;
use serde_json::{Value, json};

const IMAGE: &str = "localhost/catamaran/example-web:1";
/// Runs until it is stopped; `sh` alone would ignore SIGTERM.
const RUN: &str = "trap 'exit 0' TERM; while true; do sleep 1 & wait $!; done";
const DEADLINE: Duration = Duration::from_secs(60);

/// Creates a Pod and waits until it runs.
fn create(cluster: &Cluster, name: &str, mut spec: Value) -> anyhow::Result<Value> {
    spec["containers"] = json!([{ "name": "main", "image": IMAGE, "command": ["sh", "-c", RUN] }]);
    spec["terminationGracePeriodSeconds"] = json!(3);
    let pod = json!({ "apiVersion": "v1", "kind": "Pod", "metadata": { "name": name }, "spec": spec });
    let file = cluster.directory().join(format!("{name}.json"));
    std::fs::write(&file, pod.to_string())?;
    cluster.kubectl(&["create", "-f", &file.to_string_lossy()])?;
    cluster.kubectl(&["wait", "--for=condition=Ready", &format!("pod/{name}"), "--timeout=60s"])?;
    cluster.json(&["get", "pod", name])
}

fn path(pod: &str) -> String {
    format!("/api/v1/namespaces/default/pods/{pod}/ephemeralcontainers")
}

/// The ephemeral containers that the subresource shows.
fn listed(cluster: &Cluster, pod: &str) -> anyhow::Result<Vec<Value>> {
    let pod: Value = serde_json::from_str(&cluster.kubectl(&["get", "--raw", &path(pod)])?)?;
    Ok(pod["spec"]["ephemeralContainers"].as_array().cloned().unwrap_or_default())
}

/// Adds an ephemeral container with PUT.
fn add(cluster: &Cluster, pod: &str, container: Value) -> anyhow::Result<program::Output> {
    let mut object = cluster.json(&["get", "pod", pod])?;
    let mut containers = listed(cluster, pod)?;
    containers.push(container);
    object["spec"]["ephemeralContainers"] = containers.into();
    let file = cluster.directory().join("put.json");
    std::fs::write(&file, object.to_string())?;
    cluster.try_kubectl(&["replace", "--raw", &path(pod), "-f", &file.to_string_lossy()])
}

/// Waits until the status of an ephemeral container passes a test.
fn wait_until(
    cluster: &Cluster,
    pod: &str,
    container: &str,
    test: impl Fn(&Value) -> bool,
) -> anyhow::Result<Value> {
    let mut last = Value::Null;
    let waited = wait_for(&format!("container {container} of {pod}"), DEADLINE, || {
        last = cluster.json(&["get", "pod", pod])?;
        let statuses = last["status"]["ephemeralContainerStatuses"].as_array().cloned().unwrap_or_default();
        let found = statuses.into_iter().find(|status| status["name"] == container);
        Ok(found.filter(|status| test(status)))
    });
    waited.with_context(|| format!("{last:#}\n{}", cluster.tail()))
}

fn runs(status: &Value) -> bool {
    status["state"]["running"].is_object()
}

fn exit_code(status: &Value) -> Option<i64> {
    status["state"]["terminated"]["exitCode"].as_i64()
}

fn waits_for(status: &Value) -> &str {
    status["state"]["waiting"]["reason"].as_str().unwrap_or_default()
}

#[test]
fn an_ephemeral_container_starts_in_an_existing_pod_and_another_is_added() -> anyhow::Result<()> {
    let mut cluster = Cluster::up(&["--example-images"])?;
    let pod = create(&cluster, "target", json!({}))?;
    assert_eq!(pod["metadata"]["generation"], 1);
    let script = "while true; do echo polo; sleep 2; done";
    let debugger = json!({
        "name": "debugger", "image": IMAGE, "command": ["sh", "-c", script], "stdin": true, "tty": true,
    });
    assert!(add(&cluster, "target", debugger)?.status.success());
    let debugger = wait_until(&cluster, "target", "debugger", runs)?;
    assert_eq!((&debugger["ready"], &debugger["restartCount"]), (&json!(false), &json!(0)));
    let pod = cluster.json(&["get", "pod", "target"])?;
    assert_eq!(pod["metadata"]["generation"], 2);
    let marco = cluster.kubectl(&["exec", "target", "-c", "debugger", "--", "/bin/echo", "marco"])?;
    assert!(marco.contains("marco"));
    wait_for("the log", DEADLINE, || {
        Ok(cluster.kubectl(&["logs", "target", "-c", "debugger"])?.contains("polo").then_some(()))
    })?;
    assert_eq!(listed(&cluster, "target")?.len(), 1);

    let second = json!({
        "name": "debugger2", "image": IMAGE, "imagePullPolicy": "IfNotPresent",
        "terminationMessagePolicy": "File", "command": ["sh", "-c", "exit 4"],
    });
    assert!(add(&cluster, "target", second)?.status.success());
    assert_eq!(listed(&cluster, "target")?.len(), 2);
    let ended = wait_until(&cluster, "target", "debugger2", |status| exit_code(status) == Some(4))?;

    // The executor finds both again.
    let executor: fn(&str) -> bool = |line| line.ends_with(" executor");
    let pid = cluster.process("the executor", executor)?;
    member::send(pid, Signal::KILL);
    wait_for("the executor to be restarted", DEADLINE, || {
        Ok(cluster.process("the executor", executor).ok().filter(|again| *again != pid))
    })?;
    let third = json!({ "name": "debugger3", "image": IMAGE, "command": ["sh", "-c", RUN] });
    assert!(add(&cluster, "target", third)?.status.success());
    wait_until(&cluster, "target", "debugger3", runs)?;
    let same = |name: &str, before: &Value| {
        wait_until(&cluster, "target", name, |now| now["containerID"] == before["containerID"])
    };
    assert!(runs(&same("debugger", &debugger)?));
    assert_eq!(same("debugger2", &ended)?["state"], ended["state"]);

    // After a stop of the node the Pod starts again, and its ephemeral containers do not.
    cluster.stop("up")?;
    cluster.start("up")?;
    wait_for("the pod to be ready again", Duration::from_secs(90), || {
        let pod = cluster.json(&["get", "pod", "target"])?;
        let main = &pod["status"]["containerStatuses"][0];
        Ok((main["restartCount"] == 1 && main["ready"] == true).then_some(()))
    })?;
    wait_until(&cluster, "target", "debugger", |status| exit_code(status).is_some())?;
    wait_until(&cluster, "target", "debugger2", |status| exit_code(status) == Some(4))?;
    wait_until(&cluster, "target", "debugger3", |status| exit_code(status).is_some())?;
    cluster.stop_and_assert_clean()
}

/// `kubectl debug POD` with these arguments; returns what it prints, errors included.
fn debug(cluster: &Cluster, arguments: &[&str], input: &str) -> anyhow::Result<String> {
    let words: Vec<String> = {
        let command = cluster.kubectl_command(&[&["debug", "--image", IMAGE], arguments].concat());
        std::iter::once(command.get_program())
            .chain(command.get_args())
            .map(|word| format!("'{}'", word.to_string_lossy().replace('\'', "'\\''")))
            .collect()
    };
    let mut shell = Command::new("bash");
    // A terminal, as kubectl wants one for `-t`.
    let terminal = arguments.contains(&"-it");
    let script = match terminal {
        true => format!("{input} | script -qec \"$COMMAND\" /dev/null"),
        false => format!("{input} | bash -c \"$COMMAND\""),
    };
    shell.args(["-c", &format!("exec 2>&1; {script}")]).env("COMMAND", words.join(" "));
    let output = program::run(&mut shell, Duration::from_secs(90))?;
    Ok(output.stdout + &output.stderr)
}

/// Ephemeral containers as kubectl asks for them.
fn ephemeral(cluster: &Cluster) -> anyhow::Result<()> {
    create(cluster, "app", json!({}))?;
    // The target's processes, its file system by way of them, and its signals.
    let look = "ps; cat /proc/1/root/proc/1/comm; kill -0 1 && echo may signal";
    debug(
        cluster,
        &["app", "-c", "look", "--profile=general", "--target=main", "--", "sh", "-c", look],
        ":",
    )?;
    wait_until(cluster, "app", "look", |status| exit_code(status) == Some(0))?;
    let seen = cluster.kubectl(&["logs", "app", "-c", "look"])?;
    assert!(seen.contains("trap 'exit 0' TERM") && seen.contains("may signal"), "{seen}");
    // Without a target it has a process namespace of its own.
    debug(cluster, &["app", "-c", "alone", "--profile=general", "--", "ps"], ":")?;
    wait_until(cluster, "app", "alone", |status| exit_code(status) == Some(0))?;
    let seen = cluster.kubectl(&["logs", "app", "-c", "alone"])?;
    assert!(!seen.contains("trap"), "{seen}");

    let typed = "(sleep 3; echo 'echo sum $((40 + 2)); exit 5'; sleep 5)";
    let piped = debug(cluster, &["app", "-c", "piped", "--profile=general", "-i", "--", "sh"], typed)?;
    assert!(piped.contains("sum 42"), "{piped}");
    wait_until(cluster, "app", "piped", |status| exit_code(status) == Some(5))?;
    let terminal = debug(cluster, &["app", "-c", "terminal", "--profile=general", "-it", "--", "sh"], typed)?;
    assert!(terminal.contains("sum 42"), "{terminal}");
    wait_until(cluster, "app", "terminal", |status| exit_code(status) == Some(5))?;

    let address = "ip addr add 192.0.2.9/32 dev lo && echo may administer";
    for (profile, script) in [
        ("netadmin", address),
        ("sysadmin", "mount -t tmpfs none /tmp && echo may administer"),
        ("legacy", "echo may administer"),
        ("baseline", "echo may administer"),
    ] {
        debug(cluster, &["app", "-c", profile, "--profile", profile, "--", "sh", "-c", script], ":")?;
        wait_until(cluster, "app", profile, |status| exit_code(status).is_some())?;
        let log = cluster.kubectl(&["logs", "app", "-c", profile])?;
        assert!(log.contains("may administer"), "{profile}: {log}");
    }
    debug(cluster, &["app", "-c", "restricted", "--profile=restricted", "--", "true"], ":")?;
    let refused = wait_until(cluster, "app", "restricted", |s| waits_for(s) == "CreateContainerConfigError")?;
    let message = refused["state"]["waiting"]["message"].as_str().unwrap_or_default();
    assert!(message.starts_with("container has runAsNonRoot and image will run as root"), "{message}");
    Ok(())
}

/// What cannot start, what cannot be changed, and what `kubectl describe` shows.
fn refusals(cluster: &Cluster) -> anyhow::Result<()> {
    let missing = json!({ "name": "missing", "image": "127.0.0.1:1/none:1", "command": ["true"] });
    assert!(add(cluster, "app", missing)?.status.success());
    wait_until(cluster, "app", "missing", |status| waits_for(status) == "ImagePullBackOff")?;
    let ports = json!({ "name": "ports", "image": IMAGE, "ports": [{ "containerPort": 1 }] });
    let refused = add(cluster, "app", ports)?;
    let expected = "spec.ephemeralContainers[10].ports: Forbidden: cannot be set for an Ephemeral Container";
    assert!(refused.stderr.contains(expected), "{refused:?}");
    let again = add(cluster, "app", json!({ "name": "main", "image": IMAGE }))?;
    assert!(again.stderr.contains("Duplicate value: \"main\""), "{again:?}");
    let described = cluster.kubectl(&["describe", "pod", "app"])?;
    let section = described.split("Ephemeral Containers:").nth(1).unwrap_or_default();
    for expected in [
        "look:",
        "Reason:       Completed",
        "ImagePullBackOff",
        "spec.ephemeralContainers{look}: Container started",
        "spec.ephemeralContainers{missing}: Back-off pulling image \"127.0.0.1:1/none:1\"",
    ] {
        assert!(section.contains(expected), "{expected} in {described}");
    }
    let pod = cluster.json(&["get", "pod", "app"])?;
    assert_eq!(pod["status"]["phase"], "Running");
    assert_eq!(pod["status"]["containerStatuses"][0]["restartCount"], 0);
    let managers = pod["metadata"]["managedFields"].as_array().cloned().unwrap_or_default();
    assert!(cluster.kubectl(&["get", "pod", "app"])?.contains("1/1"));
    assert!(managers.len() <= 3, "managed fields are hidden by kubectl");
    Ok(())
}

/// A copy of the Pod, and a Pod on the node.
fn copies_and_nodes(cluster: &Cluster) -> anyhow::Result<()> {
    let copy = ["app", "--copy-to=copy", "-c", "extra", "--profile=general", "--share-processes"];
    debug(cluster, &[&copy[..], &["--", "sh", "-c", RUN]].concat(), ":")?;
    cluster.kubectl(&["wait", "--for=condition=Ready", "pod/copy", "--timeout=60s"])?;
    let processes = cluster.kubectl(&["exec", "copy", "-c", "extra", "--", "ps"])?;
    assert_eq!(processes.matches("trap 'exit 0' TERM; while").count(), 2, "{processes}");
    let replaced = ["app", "--copy-to=other", "--container=main", "--profile=general", "--attach=false"];
    debug(cluster, &[&replaced[..], &["--", "sh", "-c", "echo replaced; sleep 600"]].concat(), ":")?;
    cluster.kubectl(&["wait", "--for=condition=Ready", "pod/other", "--timeout=60s"])?;
    assert_eq!(cluster.kubectl(&["logs", "other"])?, "replaced\n");

    let node = cluster.kubectl(&["get", "nodes", "-o", "name"])?;
    let script = "cat /host/proc/1/comm; readlink /proc/1/exe; ls /host/etc/hostname; echo done";
    let arguments = [node.trim(), "--profile=sysadmin", "--attach=false", "--", "sh", "-c", script];
    let created = debug(cluster, &arguments, ":")?;
    let pod = created.split_whitespace().find(|word| word.starts_with("node-debugger-")).unwrap_or_default();
    wait_for("the pod on the node", DEADLINE, || {
        let phase = cluster.kubectl(&["get", "pod", pod, "-o", "jsonpath={.status.phase}"])?;
        Ok((phase == "Succeeded").then_some(()))
    })
    .with_context(|| created.clone())?;
    let log = cluster.kubectl(&["logs", pod])?;
    assert!(log.contains("/host/etc/hostname\ndone\n"), "{log}");
    let spec = cluster.json(&["get", "pod", pod])?["spec"].clone();
    assert_eq!((&spec["hostPID"], &spec["hostNetwork"]), (&json!(true), &json!(true)));
    assert_eq!(spec["volumes"][0]["hostPath"]["path"], "/");
    Ok(())
}

#[test]
fn kubectl_debug_works_in_its_three_ways() -> anyhow::Result<()> {
    let cluster = Cluster::up(&["--example-images"])?;
    ephemeral(&cluster)?;
    refusals(&cluster)?;
    copies_and_nodes(&cluster)?;
    cluster.kubectl(&["delete", "pod", "--all", "--timeout=60s"])?;
    cluster.stop_and_assert_clean()
}
