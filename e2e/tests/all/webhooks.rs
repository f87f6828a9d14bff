//! Admission webhooks of a real server, configured with the real kubectl: by URL, and by a Service whose EndpointSlice is
//! written by hand. All run on one host, a network namespace: endpoints cannot be on loopback.

use std::fs;
use std::time::{Duration, Instant};

use e2e::{cluster::Cluster, network::Network};
use serde_json::{Value, json};

use crate::script_server::ScriptServer;

fn url(hooks: &ScriptServer, path: &str) -> Value {
    json!({"url": format!("https://127.0.0.1:{}/{path}", hooks.port), "caBundle": hooks.ca_bundle})
}

/// Applies objects from a file.
fn apply(cluster: &Cluster, objects: &[Value]) -> anyhow::Result<()> {
    let file = cluster.directory().join("objects.json");
    let list = json!({"apiVersion": "v1", "kind": "List", "items": objects});
    fs::write(&file, list.to_string())?;
    cluster.kubectl(&["apply", "-f", &file.to_string_lossy()]).map(drop)
}

/// A configuration with one webhook for ConfigMaps with the label `hook` of this value in their namespace.
fn configuration(kind: &str, name: &str, client: &Value, more: &Value) -> Value {
    let mut webhook = json!({"name": format!("{name}.example.com"), "clientConfig": client,
        "admissionReviewVersions": ["v1"], "sideEffects": "None", "timeoutSeconds": 2,
        "namespaceSelector": {"matchLabels": {"hook": name}},
        "rules": [{"operations": ["CREATE", "UPDATE"], "apiGroups": [""], "apiVersions": ["v1"],
            "resources": ["configmaps"]}]});
    for (member, value) in more.as_object().into_iter().flatten() {
        webhook[member] = value.clone();
    }
    json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": kind, "metadata": {"name": name},
        "webhooks": [webhook]})
}

fn configure(cluster: &Cluster, hooks: &ScriptServer) -> anyhow::Result<()> {
    let names = ["label", "deny", "hang", "down", "service"];
    let namespace = |name| json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": {"hook": name}}});
    apply(cluster, &names.map(namespace))?;
    let by_service = json!({"service": {"namespace": "default", "name": "hooks", "path": "/label"},
        "caBundle": hooks.ca_bundle});
    // The discard port, on which nothing listens.
    let down = json!({"url": "https://127.0.0.1:9/", "caBundle": hooks.ca_bundle});
    let (mutating, validating) = ("MutatingWebhookConfiguration", "ValidatingWebhookConfiguration");
    let none = json!({});
    apply(
        cluster,
        &[
            json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "hooks", "namespace": "default"},
                "spec": {"ports": [{"name": "https", "port": 443}]}}),
            json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
                "metadata": {"name": "hooks-1", "namespace": "default", "labels": {"kubernetes.io/service-name": "hooks"}},
                "endpoints": [{"addresses": [Network::FIRST]}], "ports": [{"name": "https", "port": hooks.port}]}),
            configuration(mutating, "label", &url(hooks, "label"), &none),
            configuration(mutating, "service", &by_service, &none),
            configuration(validating, "deny", &url(hooks, "deny"), &none),
            configuration(validating, "hang", &url(hooks, "hang"), &json!({"failurePolicy": "Ignore"})),
            configuration(validating, "down", &down, &none),
        ],
    )
}

#[test]
fn kubectl_meets_webhooks() -> anyhow::Result<()> {
    let network = Network::new()?;
    let cluster = Cluster::server_on(&network, &["--store", "memory"])?;
    let name = "hooks.default.svc";
    let hooks = ScriptServer::start(&cluster, &network, "webhook_server.py", (name, &[]))?;
    configure(&cluster, &hooks)?;
    let create = |namespace: &str, more: &[&str]| {
        let line = ["create", "configmap", "made", "--namespace", namespace];
        cluster.try_kubectl(&line.iter().chain(more).copied().collect::<Vec<_>>())
    };
    let label = |namespace: &str| {
        let path = "jsonpath={.metadata.labels.seen}";
        cluster.kubectl(&["get", "configmap", "made", "--namespace", namespace, "-o", path])
    };
    let dry = create("label", &["--dry-run=server", "-o", "jsonpath={.metadata.labels.seen}"])?;
    assert_eq!(dry.stdout, "by-webhook", "{dry:?}");
    assert!(label("label").is_err(), "a dry run stores nothing");
    let made = create("label", &[])?;
    assert!(made.status.success() && made.stderr.contains("Warning: labelled by the webhook"), "{made:?}");
    assert_eq!(label("label")?, "by-webhook");
    let made = create("service", &[])?;
    assert!(made.status.success(), "{made:?}");
    assert_eq!(label("service")?, "by-webhook");

    let refused = create("deny", &["--from-literal=forbidden=1"])?;
    let message = "admission webhook \"deny.example.com\" denied the request: the data has a forbidden key";
    assert!(!refused.status.success() && refused.stderr.contains(message), "{refused:?}");
    create("deny", &["--from-literal=allowed=1"])?.ok()?;

    let start = Instant::now();
    create("hang", &[])?.ok()?;
    assert!(start.elapsed() >= Duration::from_secs(2), "it waits for the webhook");
    let refused = create("down", &[])?;
    let message = "failed calling webhook \"down.example.com\": failed to call webhook: Post \"https://127.0.0.1:9/?timeout=2s\": dial tcp 127.0.0.1:9: connect: connection refused";
    assert!(!refused.status.success() && refused.stderr.contains(message), "{refused:?}");
    let applied = ["create", "configmap", "made", "--namespace", "down", "--dry-run=client", "-o", "json"];
    let file = cluster.directory().join("applied.json");
    fs::write(&file, cluster.kubectl(&applied)?)?;
    let apply = ["apply", "--server-side", "-f", &file.to_string_lossy()];
    let refused = cluster.try_kubectl(&apply)?;
    assert!(!refused.status.success() && refused.stderr.contains("InternalError"), "{refused:?}");
    drop(hooks);
    cluster.stop_and_assert_clean()
}
