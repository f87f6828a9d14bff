//! Authentication with tokens, and binding by another scheduler, with the real kubectl.

use std::{fs, time::Duration};

use e2e::{
    cluster::{Cluster, client},
    program::{self, Output, wait_for},
};
use serde_json::{Value, json};

/// Runs kubectl with a token and no certificate.
fn with_token(cluster: &Cluster, token: &str, arguments: &[&str]) -> anyhow::Result<Output> {
    let mut command = cluster.command(client("kubectl"));
    command.args(["--kubeconfig", "/dev/null", "--server", &format!("https://{}", cluster.api)]);
    command.arg("--certificate-authority").arg(cluster.directory().join("data/node/ca.crt"));
    command.args(["--token", token]).arg("--cache-dir").arg(cluster.directory().join("token-cache"));
    program::run(command.args(arguments), Duration::from_secs(60))
}

/// Writes a body for `kubectl create --raw` and returns its path.
fn body(cluster: &Cluster, name: &str, value: &Value) -> anyhow::Result<String> {
    let file = cluster.directory().join(name);
    fs::write(&file, value.to_string())?;
    Ok(file.to_string_lossy().into_owned())
}

#[test]
fn tokens_are_valid_until_their_account_is_deleted() -> anyhow::Result<()> {
    let cluster = Cluster::up(&[])?;
    let account = json!({ "apiVersion": "v1", "kind": "ServiceAccount", "metadata": { "name": "sailor" } });
    cluster.kubectl(&["apply", "-f", &body(&cluster, "account.json", &account)?])?;
    let nothing = body(&cluster, "nothing.json", &json!({}))?;
    let path = "/api/v1/namespaces/default/serviceaccounts/sailor/token";
    let made: Value = serde_json::from_str(&cluster.kubectl(&["create", "--raw", path, "-f", &nothing])?)?;
    let token = made["status"]["token"].as_str().unwrap_or_default();
    let path = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
    let whoami = with_token(&cluster, token, &["create", "--raw", path, "-f", &nothing])?.ok()?;
    assert!(whoami.contains("system:serviceaccount:default:sailor"), "{whoami}");
    let forbidden = with_token(&cluster, token, &["get", "pods"])?;
    let why = "Error from server (Forbidden): pods is forbidden: User \"system:serviceaccount:default:sailor\" cannot list resource \"pods\" in API group \"\" in the namespace \"default\"";
    assert_eq!(forbidden.stderr.trim(), why);
    let metrics = cluster.kubectl(&["get", "--raw", "/metrics"])?;
    for sample in [
        "apiserver_request_total{code=\"201\",component=\"apiserver\",dry_run=\"\",group=\"\",resource=\"serviceaccounts\",",
        "workqueue_adds_total{name=\"serviceaccount-controller\"}",
        "scheduler_pending_pods{queue=\"active\"}",
        "catamaran_store_fsync_duration_seconds_count",
    ] {
        assert!(metrics.lines().any(|line| line.starts_with(sample)), "{sample} is not in {metrics}");
    }
    let forbidden = with_token(&cluster, token, &["get", "--raw", "/metrics"])?;
    assert!(forbidden.stderr.contains("cannot get path \"/metrics\""), "{forbidden:?}");
    let unknown = "error: You must be logged in to the server (Unauthorized)";
    let garbage = with_token(&cluster, "garbage", &["get", "pods"])?;
    assert_eq!(garbage.stderr.trim().lines().last(), Some(unknown), "{garbage:?}");
    cluster.kubectl(&["delete", "serviceaccount", "sailor"])?;
    let orphaned = with_token(&cluster, token, &["get", "pods"])?;
    assert_eq!(orphaned.stderr.trim().lines().last(), Some(unknown), "{orphaned:?}");
    cluster.stop_and_assert_clean()
}

#[test]
fn a_pod_of_another_scheduler_is_bound_by_hand() -> anyhow::Result<()> {
    let cluster = Cluster::up(&["--example-images"])?;
    let container =
        json!({ "name": "c", "image": "localhost/catamaran/example-web:1", "command": ["sleep", "600"] });
    let pod = body(
        &cluster,
        "pod.json",
        &json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "theirs" },
            "spec": { "schedulerName": "theirs", "terminationGracePeriodSeconds": 0, "containers": [container] },
        }),
    )?;
    let node = cluster.kubectl(&["get", "nodes", "-o", "jsonpath={.items[0].metadata.name}"])?;
    let binding = body(
        &cluster,
        "binding.json",
        &json!({
            "apiVersion": "v1", "kind": "Binding", "metadata": { "name": "theirs" },
            "target": { "apiVersion": "v1", "kind": "Node", "name": node },
        }),
    )?;
    cluster.kubectl(&["apply", "-f", &pod])?;
    // A barrier: our scheduler takes Pods in order, so it has passed over the other one when this one is ready.
    let barrier = body(
        &cluster,
        "barrier.json",
        &json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "barrier" },
            "spec": { "terminationGracePeriodSeconds": 0, "containers": [container] },
        }),
    )?;
    cluster.kubectl(&["apply", "-f", &barrier])?;
    cluster.kubectl(&["wait", "pod/barrier", "--for=condition=Ready", "--timeout=60s"])?;
    let waiting =
        cluster.kubectl(&["get", "pod", "theirs", "-o", "jsonpath={.status.phase} {.spec.nodeName}"])?;
    assert_eq!(waiting, "Pending ");
    let path = "/api/v1/namespaces/default/pods/theirs/binding";
    cluster.kubectl(&["create", "--raw", path, "-f", &binding])?;
    cluster.kubectl(&["wait", "pod/theirs", "--for=condition=Ready", "--timeout=60s"])?;
    let said = cluster.kubectl(&["exec", "theirs", "--", "hostname"])?;
    assert_eq!(said.trim(), "theirs");
    let again = cluster.try_kubectl(&["create", "--raw", path, "-f", &binding])?;
    assert!(again.stderr.contains("pod theirs is already assigned to node"), "{again:?}");
    cluster.kubectl(&["delete", "pod", "theirs", "barrier", "--timeout=60s"])?;
    wait_for("its task to be gone", Duration::from_secs(30), || {
        let tasks = cluster.operator(r#"{"type":"GET_TASKS"}"#)?;
        Ok(tasks["get_tasks"]["tasks"].as_array().is_none_or(Vec::is_empty).then_some(()))
    })?;
    cluster.stop_and_assert_clean()
}
