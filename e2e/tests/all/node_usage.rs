//! What the node's server says of the use of CPU and memory, asked through the API server and as metrics-server asks.

use std::{process::Command, time::Duration};

use anyhow::Context;
use e2e::{
    cluster::Cluster,
    program::{self, wait_for},
};
use serde_json::Value;

const OBJECTS: &str = r#"
apiVersion: v1
kind: ServiceAccount
metadata: {name: scraper, namespace: default}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: scraper}
rules: [{apiGroups: [""], resources: [nodes/metrics], verbs: [get]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: scraper}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: scraper}
subjects: [{kind: ServiceAccount, name: scraper, namespace: default}]
---
apiVersion: v1
kind: Pod
metadata: {name: busy}
spec:
  terminationGracePeriodSeconds: 0
  containers: [{name: c, image: "localhost/catamaran/example-web:1", command: [sh, -c, "while :; do :; done"]}]
"#;

/// The value of the container's sample of a metric.
fn sample(text: &str, metric: &str) -> Option<f64> {
    let start = format!(r#"{metric}{{container="c",namespace="default",pod="busy"}} "#);
    text.lines().find_map(|line| line.strip_prefix(&start)?.split(' ').next()?.parse().ok())
}

/// Asks the node's server; returns the status code and the text.
fn ask(url: &str, token: Option<&str>) -> anyhow::Result<(String, String)> {
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--insecure", "--max-time", "20", "--write-out", "\n%{http_code}", url]);
    if let Some(token) = token {
        curl.args(["--header", &format!("Authorization: Bearer {token}")]);
    }
    let output = program::run(&mut curl, Duration::from_secs(30))?.ok()?;
    let (text, code) = output.rsplit_once('\n').context("curl writes the code last")?;
    Ok((code.to_owned(), text.to_owned()))
}

#[test]
fn usage_is_served_to_whom_the_api_server_allows() -> anyhow::Result<()> {
    let cluster = Cluster::up(&["--example-images"])?;
    let file = cluster.directory().join("usage.yaml");
    std::fs::write(&file, OBJECTS)?;
    cluster.kubectl(&["apply", "-f", &file.to_string_lossy()])?;
    cluster.kubectl(&["wait", "--for=condition=Ready", "pod/busy", "--timeout=60s"])?;
    let nodes = cluster.json(&["get", "nodes"])?;
    let node = &nodes["items"][0];
    let name = node["metadata"]["name"].as_str().context("a node has a name")?;

    // Through the API server: the CPU time grows.
    let path = format!("/api/v1/nodes/{name}/proxy/metrics/resource");
    let cpu = || {
        anyhow::Ok(sample(&cluster.kubectl(&["get", "--raw", &path])?, "container_cpu_usage_seconds_total"))
    };
    let first = wait_for("a sample", Duration::from_secs(60), cpu)?;
    wait_for("more CPU time", Duration::from_secs(60), || Ok(cpu()?.filter(|later| *later > first)))?;
    let summary = cluster.kubectl(&["get", "--raw", &format!("/api/v1/nodes/{name}/proxy/stats/summary")])?;
    let summary: Value = serde_json::from_str(&summary)?;
    assert_eq!(summary["node"]["nodeName"], name);
    let pods = summary["pods"].as_array().context("a summary has Pods")?;
    let busy = pods.iter().find(|pod| pod["podRef"]["name"] == "busy").context("it has the Pod")?;
    let numbers = [
        &busy["cpu"]["usageCoreNanoSeconds"],
        &busy["memory"]["workingSetBytes"],
        &busy["containers"][0]["memory"]["workingSetBytes"],
        &summary["node"]["cpu"]["usageCoreNanoSeconds"],
    ];
    assert!(numbers.iter().all(|number| number.as_u64().is_some_and(|n| n > 0)), "{busy:#}");

    // As metrics-server: at the address of the Node, with a token.
    let addresses = node["status"]["addresses"].as_array().context("a node has addresses")?;
    let address =
        addresses.iter().find(|address| address["type"] == "InternalIP").context("one is internal")?;
    let ip = address["address"].as_str().context("an address is a string")?;
    let url = format!("https://{ip}:{}", node["status"]["daemonEndpoints"]["kubeletEndpoint"]["Port"]);
    let token = cluster.kubectl(&["create", "token", "scraper"])?;
    let (code, text) = ask(&format!("{url}/metrics/resource"), Some(token.trim()))?;
    assert_eq!(code, "200", "{text}");
    assert!(sample(&text, "container_memory_working_set_bytes").is_some_and(|bytes| bytes > 0.0), "{text}");
    assert_eq!(ask(&format!("{url}/metrics/resource"), None)?, ("401".into(), "Unauthorized".into()));
    let (code, text) = ask(&format!("{url}/stats/summary"), Some(token.trim()))?;
    let user = "system:serviceaccount:default:scraper";
    let refusal = format!("Forbidden (user={user}, verb=get, resource=nodes, subresource(s)=[stats])\n");
    assert_eq!((code.as_str(), text), ("403", refusal));
    cluster.stop_and_assert_clean()
}
