//! Image volumes: the root file system of an image in a container of another one.

use std::{process::Command, time::Duration};

use anyhow::{Context, ensure};
use e2e::{cluster::Cluster, program::wait_for};
use serde_json::{Value, json};

use crate::pulls::{Registry, find_socket};

const IMAGE: &str = "localhost/catamaran/example-web:1";
const DEADLINE: Duration = Duration::from_secs(60);

/// Writes an OCI archive with two layers: arguments are its path and the image's name.
const TWO_LAYERS: &str = include_str!("two_layers.py");

/// Creates a Pod whose container mounts an image, and runs until it is deleted.
fn create(cluster: &Cluster, name: &str, image: Value, mount: Value, spec: Value) -> anyhow::Result<()> {
    let mut spec = spec;
    let mut mount = mount;
    mount["name"] = json!("image");
    mount["mountPath"] = json!("/volume");
    spec["volumes"] = json!([{ "name": "image", "image": image }]);
    spec["terminationGracePeriodSeconds"] = json!(0);
    spec["containers"] = json!([{
        "name": "main", "image": IMAGE, "command": ["sleep", "3600"], "volumeMounts": [mount],
        "env": [{ "name": "PART", "value": "data" }],
    }]);
    let pod = json!({ "apiVersion": "v1", "kind": "Pod", "metadata": { "name": name }, "spec": spec });
    let file = cluster.directory().join(format!("{name}.json"));
    std::fs::write(&file, pod.to_string())?;
    cluster.kubectl(&["create", "-f", &file.to_string_lossy()]).map(drop)
}

fn ready(cluster: &Cluster, pod: &str) -> anyhow::Result<()> {
    cluster.kubectl(&["wait", "--for=condition=Ready", &format!("pod/{pod}"), "--timeout=60s"]).map(drop)
}

fn exec(cluster: &Cluster, pod: &str, script: &str) -> anyhow::Result<String> {
    Ok(cluster.try_kubectl(&["exec", pod, "--", "sh", "-c", &format!("exec 2>&1; {script}")])?.stdout)
}

/// Waits until the container waits for this reason; returns the message.
fn waits_for(cluster: &Cluster, pod: &str, reason: &str) -> anyhow::Result<String> {
    let mut last = Value::Null;
    let waited = wait_for(&format!("{pod} to wait: {reason}"), DEADLINE, || {
        last = cluster.json(&["get", "pod", pod])?["status"].clone();
        let waiting = &last["containerStatuses"][0]["state"]["waiting"];
        Ok((waiting["reason"] == reason).then(|| waiting["message"].as_str().unwrap_or_default().to_owned()))
    });
    waited.with_context(|| format!("{last:#}"))
}

fn events(cluster: &Cluster, pod: &str) -> anyhow::Result<String> {
    let selector = format!("involvedObject.name={pod}");
    let format = "jsonpath={range .items[*]}{.involvedObject.fieldPath}|{.reason}|{.message}{\"\\n\"}{end}";
    cluster.kubectl(&["get", "events", "--field-selector", &selector, "-o", format])
}

fn ctr(cluster: &Cluster, arguments: &[&str]) -> anyhow::Result<()> {
    let socket = find_socket(cluster)?;
    let output = Command::new("ctr").args(["--address", &socket, "-n", "k8s.io"]).args(arguments).output()?;
    ensure!(output.status.success(), "ctr {arguments:?}: {output:?}");
    Ok(())
}

/// Whole images, parts of them, and what a container may do with one.
fn mounts(cluster: &Cluster, image: &str) -> anyhow::Result<()> {
    let volume = |policy: &str| json!({ "reference": image, "pullPolicy": policy });
    create(cluster, "whole", volume("Always"), json!({}), json!({}))?;
    create(cluster, "part", volume("IfNotPresent"), json!({ "subPath": "data" }), json!({}))?;
    create(cluster, "expr", volume("IfNotPresent"), json!({ "subPathExpr": "$(PART)" }), json!({}))?;
    ready(cluster, "whole")?;
    let seen = exec(cluster, "whole", "cat /volume/data/first /volume/data/both; sh /volume/tool")?;
    assert_eq!(seen, "of the lower layer\nupper\nruns\n");
    for script in ["touch /volume/new", "rm /volume/data/first", "mount -o remount,rw /volume"] {
        let refused = exec(cluster, "whole", script)?;
        assert!(refused.contains("Read-only file system") || refused.contains("denied"), "{refused}");
    }
    for pod in ["part", "expr"] {
        ready(cluster, pod)?;
        assert_eq!(exec(cluster, pod, "cat /volume/both")?, "upper\n", "{pod}");
    }
    // An image with one layer is a directory of the runtime's, which nobody may write either.
    let refused = exec(cluster, "one", "ls /volume/bin/busybox; touch /volume/bin/new")?;
    assert!(refused.starts_with("/volume/bin/busybox\n"), "{refused}");
    assert!(refused.contains("Read-only file system"), "{refused}");
    let events = events(cluster, "whole")?;
    assert!(events.contains(&format!("|Pulled|Successfully pulled image \"{image}\" in ")), "{events}");
    let pod = cluster.json(&["get", "pod", "whole"])?;
    let status = &pod["status"]["containerStatuses"][0]["volumeMounts"][0];
    assert_eq!((&status["name"], &status["mountPath"]), (&json!("image"), &json!("/volume")));
    Ok(())
}

fn failures(cluster: &Cluster, image: &str) -> anyhow::Result<()> {
    let volume = |image: &str, policy: &str| json!({ "reference": image, "pullPolicy": policy });
    create(cluster, "file", volume(image, "IfNotPresent"), json!({ "subPath": "tool" }), json!({}))?;
    create(cluster, "none", volume(image, "IfNotPresent"), json!({ "subPath": "nothing" }), json!({}))?;
    create(cluster, "leaves", volume(image, "IfNotPresent"), json!({ "subPath": "out" }), json!({}))?;
    create(cluster, "never", volume("127.0.0.1:1/none:1", "Never"), json!({}), json!({}))?;
    create(cluster, "absent", volume("127.0.0.1:1/none:1", "Always"), json!({}), json!({}))?;
    for pod in ["file", "none", "leaves"] {
        let message = waits_for(cluster, pod, "CreateContainerError")?;
        assert!(message.starts_with("ImageVolumeMountFailed: "), "{message}");
    }
    let message = waits_for(cluster, "never", "ErrImageNeverPull")?;
    assert_eq!(message, "Container image \"127.0.0.1:1/none:1\" is not present with pull policy of Never");
    let message = waits_for(cluster, "absent", "ImagePullBackOff")?;
    assert!(
        message.starts_with("Back-off pulling image \"127.0.0.1:1/none:1\": ErrImagePull: "),
        "{message}"
    );
    wait_for("the Events", DEADLINE, || {
        let events = events(cluster, "absent")?;
        let expected = [
            "|Pulling|Pulling image \"127.0.0.1:1/none:1\"\n",
            "|Failed|Failed to pull image \"127.0.0.1:1/none:1\": ",
            "spec.containers{main}|Failed|Error: ErrImagePull\n",
            "|BackOff|Back-off pulling image \"127.0.0.1:1/none:1\"\n",
        ];
        Ok(expected.iter().all(|part| events.contains(part)).then_some(()))
    })
}

/// A registry that wants a password.
fn pull_secrets(cluster: &Cluster) -> anyhow::Result<()> {
    let registry = Registry::with_password()?;
    let image = format!("{}/private:1", registry.address);
    ctr(cluster, &["images", "tag", IMAGE, &image])?;
    ctr(cluster, &["images", "push", "--plain-http", "--user", "u:p", &image])?;
    ctr(cluster, &["images", "rm", &image])?;
    let volume = json!({ "reference": image, "pullPolicy": "Always" });
    create(cluster, "refused", volume.clone(), json!({}), json!({}))?;
    waits_for(cluster, "refused", "ImagePullBackOff")?;
    let server = format!("--docker-server={}", registry.address);
    let login = ["--docker-username=u", "--docker-password=p"];
    cluster.kubectl(&["create", "secret", "docker-registry", "login", &server, login[0], login[1]])?;
    let secrets = json!({ "imagePullSecrets": [{ "name": "login" }] });
    create(cluster, "allowed", volume, json!({}), secrets)?;
    ready(cluster, "allowed")
}

#[test]
fn image_volumes_show_the_files_of_an_image() -> anyhow::Result<()> {
    let registry = Registry::start()?;
    let image = format!("{}/layers:1", registry.address);
    let mut cluster = Cluster::up(&["--example-images"])?;
    create(&cluster, "one", json!({ "reference": IMAGE }), json!({}), json!({}))?;
    ready(&cluster, "one")?;
    let archive = cluster.directory().join("layers.tar").to_string_lossy().into_owned();
    let status = Command::new("python3").args(["-c", TWO_LAYERS, &archive, &image]).status()?;
    ensure!(status.success(), "{status}");
    ctr(&cluster, &["images", "import", "--no-unpack", &archive])?;
    ctr(&cluster, &["images", "push", "--plain-http", &image])?;
    ctr(&cluster, &["images", "rm", &image])?;
    mounts(&cluster, &image)?;
    failures(&cluster, &image)?;
    pull_secrets(&cluster)?;
    cluster.stop("up")?;
    cluster.assert_clean()?;
    cluster.start("up")?;
    wait_for("the volume after a restart", Duration::from_secs(90), || {
        Ok((exec(&cluster, "part", "cat /volume/both")? == "upper\n").then_some(()))
    })?;
    cluster.kubectl(&["delete", "pod", "--all", "--timeout=60s"])?;
    let socket = find_socket(&cluster)?;
    let list = ["--address", &socket, "-n", "k8s.io", "snapshots", "ls"];
    wait_for("the views to be removed", DEADLINE, || {
        let snapshots = Command::new("ctr").args(list).output()?;
        Ok((!String::from_utf8_lossy(&snapshots.stdout).contains("catamaran/")).then_some(()))
    })?;
    cluster.stop_and_assert_clean()
}
