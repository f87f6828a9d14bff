//! What a node accepts, it does: hooks, gates, restart rules, logs, streams, resize, limits.

use std::{process::Command, time::Duration};

use anyhow::Context;
use e2e::{
    cluster::Cluster,
    program::{self, wait_for},
};
use serde_json::{Value, json};

const IMAGE: &str = "localhost/catamaran/example-web:1";

fn pod(name: &str, script: &str, mut container: Value, mut spec: Value) -> Value {
    let own = json!({ "name": "c", "image": IMAGE, "command": ["sh", "-c", script] });
    for (key, value) in own.as_object().into_iter().flatten() {
        container[key] = value.clone();
    }
    spec["containers"] = json!([container]);
    spec["terminationGracePeriodSeconds"] = json!(3);
    json!({ "apiVersion": "v1", "kind": "Pod", "metadata": { "name": name }, "spec": spec })
}

/// Runs until it is stopped; `sh` alone would ignore SIGTERM.
const RUN: &str = "trap 'exit 0' TERM; while true; do sleep 1 & wait $!; done";

fn pods() -> Vec<Value> {
    let rules = json!([{ "action": "Restart", "exitCodes": { "operator": "In", "values": [42] } }]);
    let limits =
        |cpu: &str| json!({ "requests": { "cpu": "50m" }, "limits": { "cpu": cpu, "memory": "64Mi" } });
    let lines =
        "head -c 100000 /dev/zero | tr '\\0' y; echo; echo x; echo err >&2; printf 'a\\377\\n'; sleep 3600";
    vec![
        pod(
            "hook",
            RUN,
            json!({ "lifecycle": { "preStop": { "exec": { "command": ["/missing"] } } } }),
            json!({}),
        ),
        pod("gate", RUN, json!({}), json!({ "readinessGates": [{ "conditionType": "ex.test/g" }] })),
        pod("once", "exit 3", json!({ "restartPolicy": "Never" }), json!({})),
        pod(
            "rule",
            "exit 42",
            json!({ "restartPolicy": "Never", "restartPolicyRules": rules }),
            json!({ "restartPolicy": "Never" }),
        ),
        pod("lines", lines, json!({}), json!({})),
        pod("fqdn", RUN, json!({}), json!({ "hostname": "h", "subdomain": "s", "setHostnameAsFQDN": true })),
        pod(
            "sysctl",
            RUN,
            json!({}),
            json!({ "securityContext": { "sysctls": [{ "name": "kernel.msgmax", "value": "65536" }] } }),
        ),
        pod(
            "owner",
            RUN,
            json!({}),
            json!({ "securityContext": { "runAsUser": 1000, "runAsGroup": 3000, "fsGroup": 2000 } }),
        ),
        pod("size", RUN, json!({ "resources": limits("500m") }), json!({})),
        pod(
            "disk",
            &format!("head -c 3000000 /dev/zero > /v/f; {RUN}"),
            json!({ "volumeMounts": [{ "name": "v", "mountPath": "/v" }] }),
            json!({ "volumes": [{ "name": "v", "emptyDir": { "sizeLimit": "1Mi" } }] }),
        ),
        pod(
            "keep",
            RUN,
            json!({ "volumeMounts": [{ "name": "v", "mountPath": "/v" }] }),
            json!({ "volumes": [{ "name": "v", "emptyDir": {} }] }),
        ),
    ]
}

fn wait_until(
    cluster: &Cluster,
    pod: &str,
    what: &str,
    test: impl Fn(&Value) -> bool,
) -> anyhow::Result<Value> {
    let mut last = Value::Null;
    wait_for(&format!("{pod} to be {what}"), Duration::from_secs(60), || {
        last = cluster.json(&["get", "pod", pod])?;
        Ok(test(&last).then_some(()))
    })
    .with_context(|| format!("{last:#}"))?;
    Ok(last)
}

fn condition<'a>(pod: &'a Value, kind: &str) -> &'a str {
    let conditions = pod["status"]["conditions"].as_array();
    let found = conditions.and_then(|all| all.iter().find(|c| c["type"] == kind));
    found.and_then(|c| c["status"].as_str()).unwrap_or_default()
}

fn runs(pod: &Value) -> bool {
    pod["status"]["phase"] == "Running"
}

fn events(cluster: &Cluster, pod: &str) -> anyhow::Result<String> {
    cluster.kubectl(&[
        "get",
        "events",
        "--field-selector",
        &format!("involvedObject.name={pod}"),
        "-o",
        "jsonpath={range .items[*]}{.reason} {.message}{\"\\n\"}{end}",
    ])
}

fn token_is_for_the_users_of_the_pod(cluster: &Cluster) -> anyhow::Result<()> {
    wait_until(cluster, "owner", "running", runs)?;
    let token = "/var/run/secrets/kubernetes.io/serviceaccount/token";
    for (pod, expected) in [("owner", ["-rw-r-----", "1000", "2000"]), ("keep", ["-rw-r--r--", "0", "0"])] {
        let shown = cluster.kubectl(&["exec", pod, "--", "ls", "-lnL", token])?;
        let parts: Vec<&str> = shown.split_whitespace().collect();
        assert_eq!([parts[0], parts[2], parts[3]], expected, "{shown}");
    }
    Ok(())
}

/// A command that reads five bytes of a large input.
fn exec_that_does_not_read_its_input(cluster: &Cluster) -> anyhow::Result<()> {
    let exec = cluster.kubectl_command(&["exec", "-i", "keep", "--", "sh", "-c", "head -c 5; exit 7"]);
    let words: Vec<String> = std::iter::once(exec.get_program())
        .chain(exec.get_args())
        .map(|word| format!("'{}'", word.to_string_lossy()))
        .collect();
    let script = format!("head -c 30000000 /dev/zero | tr '\\0' z | {}", words.join(" "));
    for websockets in ["true", "false"] {
        let mut shell = Command::new("bash");
        shell.args(["-c", &script]).env("KUBECTL_REMOTE_COMMAND_WEBSOCKETS", websockets);
        let output = program::run(&mut shell, Duration::from_secs(20))?;
        assert_eq!(
            (output.stdout.as_str(), output.status.code()),
            ("zzzzz", Some(7)),
            "{websockets}: {output:?}"
        );
    }
    Ok(())
}

/// From the machine and from a Pod, at once. Packets that leave by the default gateway are not answered here.
fn service_addresses_are_rejected(cluster: &Cluster) -> anyhow::Result<()> {
    let connect = "import socket; socket.create_connection(('10.96.0.1', 443), 10)";
    let refused = program::run(cluster.command("python3").args(["-c", connect]), Duration::from_secs(20))?;
    assert!(refused.stderr.contains("ConnectionRefusedError"), "{refused:?}");
    let began = std::time::Instant::now();
    cluster.try_kubectl(&["exec", "keep", "--", "sh", "-c", "nc -w 10 10.96.0.1 443 < /dev/null"])?;
    assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
    Ok(())
}

fn logs(cluster: &Cluster) -> anyhow::Result<()> {
    wait_until(cluster, "lines", "running", runs)?;
    let log = |options: &str| {
        let path = format!("/api/v1/namespaces/default/pods/lines/log{options}");
        cluster.kubectl(&["get", "--raw", &path])
    };
    // The end of the output shows that all of it is there: a long line arrives in several parts.
    wait_for("the lines", Duration::from_secs(20), || {
        Ok((log("?stream=Stderr")? == "err\n" && log("?stream=Stdout")?.ends_with("\na\u{fffd}\n"))
            .then_some(()))
    })?;
    assert_eq!(log("?tailLines=4")?.lines().count(), 4);
    // Of one stream: the runtime may write the line of the other one between two parts of a long line.
    let longest = log("?stream=Stdout")?.lines().map(str::len).max();
    assert_eq!(longest, Some(100_000), "the long line is whole");
    let refused =
        cluster.try_kubectl(&["get", "--raw", "/api/v1/namespaces/default/pods/lines/log?stream=x"])?;
    assert!(refused.stderr.contains("Unsupported value: \"x\""), "{refused:?}");
    Ok(())
}

fn resize(cluster: &Cluster) -> anyhow::Result<()> {
    wait_until(cluster, "size", "running", runs)?;
    let patch = json!({ "spec": { "containers": [{ "name": "c", "resources": {
            "limits": { "cpu": "600m" }, "requests": { "cpu": "150m" }
        } }] } });
    cluster.kubectl(&["patch", "pod", "size", "--subresource", "resize", "-p", &patch.to_string()])?;
    let container = |pod: &Value| pod["status"]["containerStatuses"][0].clone();
    let pod =
        wait_until(cluster, "size", "resized", |pod| container(pod)["resources"]["limits"]["cpu"] == "600m")?;
    assert_eq!(container(&pod)["restartCount"], 0);
    let quota = "cat /sys/fs/cgroup/cpu.max /sys/fs/cgroup/cpu/cpu.cfs_quota_us 2>/dev/null";
    let quota = cluster.kubectl(&["exec", "size", "--", "sh", "-c", &format!("{quota}; true")])?;
    assert!(quota.starts_with("60000"), "the cgroup has {quota}");
    let uid = pod.pointer("/metadata/uid").and_then(Value::as_str).unwrap_or_default();
    let tasks = cluster.operator(r#"{"type": "GET_TASKS"}"#)?;
    let tasks = tasks.pointer("/get_tasks/tasks").and_then(Value::as_array).cloned().unwrap_or_default();
    let task = tasks.iter().find(|task| task["task_id"]["value"] == uid).cloned().unwrap_or_default();
    let cpus = task["resources"].as_array().into_iter().flatten().find(|part| part["name"] == "cpus");
    assert_eq!(cpus.and_then(|cpus| cpus.pointer("/scalar/value")), Some(&json!(0.15)), "{task}");
    wait_for("the Events", Duration::from_secs(10), || {
        Ok(events(cluster, "size")?.contains("ResizeCompleted Pod resize completed: {").then_some(()))
    })
}

#[test]
fn a_node_does_what_it_accepts() -> anyhow::Result<()> {
    let mut cluster = Cluster::up(&["--example-images"])?;
    let list = json!({ "apiVersion": "v1", "kind": "List", "items": pods() });
    let file = cluster.directory().join("pods.json");
    std::fs::write(&file, list.to_string())?;
    cluster.kubectl(&["apply", "-f", &file.to_string_lossy()])?;

    let sysctl = wait_until(&cluster, "sysctl", "failed", |pod| pod["status"]["phase"] == "Failed")?;
    assert_eq!(sysctl["status"]["reason"], "SysctlForbidden");
    wait_until(&cluster, "once", "failed", |pod| pod["status"]["phase"] == "Failed")?;
    wait_until(&cluster, "rule", "in back-off", |pod| {
        let container = &pod["status"]["containerStatuses"][0];
        container["restartCount"].as_i64() >= Some(1)
            && container["state"]["waiting"]["reason"] == "CrashLoopBackOff"
    })?;
    wait_until(&cluster, "fqdn", "running", runs)?;
    assert_eq!(cluster.kubectl(&["exec", "fqdn", "--", "hostname"])?, "h.s.default.svc.cluster.local\n");

    let gate = wait_until(&cluster, "gate", "running", |pod| condition(pod, "ContainersReady") == "True")?;
    assert_eq!(condition(&gate, "Ready"), "False");
    let open = json!({ "status": { "conditions": [{ "type": "ex.test/g", "status": "True" }] } });
    cluster.kubectl(&["patch", "pod", "gate", "--subresource", "status", "-p", &open.to_string()])?;
    let gate = wait_until(&cluster, "gate", "ready", |pod| condition(pod, "Ready") == "True")?;
    assert_eq!(condition(&gate, "ex.test/g"), "True");

    wait_until(&cluster, "keep", "running", runs)?;
    cluster.kubectl(&[
        "exec",
        "keep",
        "--",
        "sh",
        "-c",
        "echo kept > /v/f; test -z \"$KUBERNETES_SERVICE_HOST\"",
    ])?;
    token_is_for_the_users_of_the_pod(&cluster)?;
    service_addresses_are_rejected(&cluster)?;
    exec_that_does_not_read_its_input(&cluster)?;
    logs(&cluster)?;
    resize(&cluster)?;

    wait_until(&cluster, "hook", "running", runs)?;
    cluster.kubectl(&["delete", "pod", "hook"])?;
    wait_for("the Event of the hook", Duration::from_secs(10), || {
        Ok(events(&cluster, "hook")?.contains("FailedPreStopHook PreStopHook failed").then_some(()))
    })?;
    let disk = wait_until(&cluster, "disk", "evicted", |pod| pod["status"]["reason"] == "Evicted")?;
    assert_eq!(disk["status"]["message"], "Usage of EmptyDir volume \"v\" exceeds the limit \"1Mi\". ");

    cluster.stop("up")?;
    cluster.start("up")?;
    wait_until(&cluster, "keep", "running again", |pod| {
        let container = &pod["status"]["containerStatuses"][0];
        runs(pod) && container["restartCount"] == 1 && container["ready"] == true
    })?;
    assert_eq!(cluster.kubectl(&["exec", "keep", "--", "cat", "/v/f"])?, "kept\n");
    cluster.kill("up")?;
    cluster.start("up")?;
    wait_for("the node to be ready", Duration::from_secs(60), || {
        Ok(cluster.kubectl(&["get", "nodes"])?.contains(" Ready ").then_some(()))
    })?;
    assert_eq!(cluster.kubectl(&["exec", "keep", "--", "cat", "/v/f"])?, "kept\n");
    // Its container may be starting after the stop; there is no log before that.
    wait_for("a log", Duration::from_secs(60), || {
        Ok(cluster.try_kubectl(&["logs", "lines", "--tail=1"])?.status.success().then_some(()))
    })?;
    cluster.stop_and_assert_clean()
}

#[test]
fn a_node_with_an_almost_full_disk_starts_no_further_pods() -> anyhow::Result<()> {
    let cluster = Cluster::up(&["--example-images", "--eviction-hard", "nodefs.available<99.99%"])?;
    let create = |name: &str| {
        let file = cluster.directory().join(format!("{name}.json"));
        std::fs::write(&file, pod(name, RUN, json!({}), json!({})).to_string())?;
        cluster.kubectl(&["create", "-f", &file.to_string_lossy()])
    };
    create("first")?;
    cluster.kubectl(&["wait", "--for=condition=Ready", "pod/first", "--timeout=60s"])?;
    cluster.kubectl(&["wait", "--for=condition=DiskPressure", "nodes", "--all", "--timeout=60s"])?;
    let taints = "jsonpath={.items[*].spec.taints[*].key}";
    wait_for("the taint", Duration::from_secs(30), || {
        let taints = cluster.kubectl(&["get", "nodes", "-o", taints])?;
        Ok(taints.contains("node.kubernetes.io/disk-pressure").then_some(()))
    })?;
    create("second")?;
    wait_for("the reason for which it waits", Duration::from_secs(30), || {
        let described = cluster.kubectl(&["describe", "pod", "second"])?;
        let waits = described.contains("had untolerated taint {node.kubernetes.io/disk-pressure: }")
            || described.contains("had untolerated taint(s)");
        Ok(waits.then_some(()))
    })?;
    let first = cluster.json(&["get", "pod", "first"])?;
    assert_eq!(first["status"]["phase"], "Running");
    cluster.stop_and_assert_clean()
}
