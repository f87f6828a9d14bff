//! A HorizontalPodAutoscaler with real containers: a metrics API, registered as another server's, computes what they use from the
//! summaries of their nodes. Pods that are busy get more beside them, and go when they are idle.

use std::{fs, time::Duration};

use e2e::{cluster::Cluster, network::Network, program::wait_for};
use serde_json::Value;

use crate::script_server::ScriptServer;

/// A Deployment that burns CPU until its Pods have the file `/tmp/idle`. It uses much more than a
/// twentieth of its request on a machine that has little time for it, too, and next to nothing then.
const WORKLOAD: &str = r#"
apiVersion: apps/v1
kind: Deployment
metadata: {name: burn}
spec:
  selector: {matchLabels: {app: burn}}
  template:
    metadata: {labels: {app: burn}}
    spec:
      terminationGracePeriodSeconds: 0
      containers:
      - name: c
        image: localhost/catamaran/example-web:1
        command: [sh, -c, "while :; do if [ -e /tmp/idle ]; then sleep 5; fi; done"]
        resources: {requests: {cpu: 100m}, limits: {cpu: 200m}}
---
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: burn}
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: burn}
  maxReplicas: 3
  behavior: {scaleDown: {stabilizationWindowSeconds: 0}}
  metrics: [{type: Resource, resource: {name: cpu, target: {type: Utilization, averageUtilization: 5}}}]
"#;

/// What the metrics API may ask, and where it is.
fn registration(server: &ScriptServer) -> String {
    let (address, port, ca) = (Network::FIRST, server.port, &server.ca_bundle);
    format!(
        r#"
apiVersion: v1
kind: Service
metadata: {{name: metrics, namespace: kube-system}}
spec: {{ports: [{{name: https, port: 443}}]}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
addressType: IPv4
metadata: {{name: metrics-1, namespace: kube-system, labels: {{kubernetes.io/service-name: metrics}}}}
endpoints: [{{addresses: [{address}]}}]
ports: [{{name: https, port: {port}}}]
---
apiVersion: apiregistration.k8s.io/v1
kind: APIService
metadata: {{name: v1beta1.metrics.k8s.io}}
spec:
  group: metrics.k8s.io
  version: v1beta1
  groupPriorityMinimum: 100
  versionPriority: 100
  caBundle: {ca}
  service: {{name: metrics, namespace: kube-system}}
"#
    )
}

const ACCESS: &str = r#"
apiVersion: v1
kind: ServiceAccount
metadata: {name: metrics, namespace: kube-system}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: metrics}
rules: [{apiGroups: [""], resources: [nodes, nodes/proxy, nodes/stats, pods], verbs: [get, list]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: metrics}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: metrics}
subjects: [{kind: ServiceAccount, name: metrics, namespace: kube-system}]
"#;

fn apply(cluster: &Cluster, objects: &str) -> anyhow::Result<()> {
    let file = cluster.directory().join("objects.yaml");
    fs::write(&file, objects)?;
    cluster.kubectl(&["apply", "-f", &file.to_string_lossy()]).map(drop)
}

fn start_metrics(cluster: &Cluster, network: &Network) -> anyhow::Result<ScriptServer> {
    apply(cluster, ACCESS)?;
    let token = cluster.kubectl(&["create", "token", "metrics", "--namespace", "kube-system"])?;
    let api = format!("https://{}", cluster.api_address());
    let arguments = [api.as_str(), token.trim()];
    let name = "metrics.kube-system.svc";
    let server = ScriptServer::start(cluster, network, "metrics_api.py", (name, &arguments))?;
    apply(cluster, &registration(&server))?;
    let condition = "--for=condition=Available";
    cluster.kubectl(&["wait", condition, "apiservice/v1beta1.metrics.k8s.io", "--timeout=60s"])?;
    Ok(server)
}

/// Waits until the Deployment has so many Pods that are ready, and no others.
fn wait_for_replicas(cluster: &Cluster, wanted: u64) -> anyhow::Result<()> {
    wait_for(&format!("{wanted} replicas"), Duration::from_secs(180), || {
        let status = &cluster.json(&["get", "deployment", "burn"])?["status"];
        let all = ["replicas", "readyReplicas"].iter().all(|member| status[*member] == wanted);
        Ok(all.then_some(()))
    })
}

fn condition<'a>(autoscaler: &'a Value, kind: &str) -> Option<&'a Value> {
    autoscaler["status"]["conditions"].as_array()?.iter().find(|condition| condition["type"] == kind)
}

#[test]
fn busy_pods_are_joined_by_others_that_go_when_all_are_idle() -> anyhow::Result<()> {
    let network = Network::new()?;
    let cluster = Cluster::on(&network, &["--store", "memory"])?;
    apply(&cluster, WORKLOAD)?;
    wait_for_replicas(&cluster, 1)?;
    let autoscaler = || cluster.json(&["get", "hpa", "burn"]);
    wait_for("the autoscaler to miss the metrics", Duration::from_secs(60), || {
        let found = autoscaler()?;
        Ok(condition(&found, "ScalingActive").filter(|active| active["status"] == "False").map(|_| ()))
    })?;
    let metrics = start_metrics(&cluster, &network)?;
    wait_for_replicas(&cluster, 3)?;
    let busy = autoscaler()?;
    let use_of_cpu = &busy["status"]["currentMetrics"][0]["resource"]["current"]["averageUtilization"];
    assert!(use_of_cpu.as_u64().is_some_and(|percent| percent > 0), "{busy:#}");
    assert_eq!(condition(&busy, "ScalingActive").map(|active| &active["status"]), Some(&"True".into()));
    let top = cluster.kubectl(&["top", "pods", "-l", "app=burn", "--no-headers"])?;
    let millis = |line: &str| line.split_whitespace().nth(1)?.strip_suffix('m')?.parse::<u64>().ok();
    assert!(top.lines().any(|line| millis(line).is_some_and(|millis| millis > 0)), "{top}");

    let pods = cluster.kubectl(&["get", "pods", "-l", "app=burn", "-o", "name"])?;
    for pod in pods.lines() {
        cluster.kubectl(&["exec", pod, "--", "touch", "/tmp/idle"])?;
    }
    wait_for_replicas(&cluster, 1)?;
    let events = cluster.kubectl(&["get", "events", "--field-selector", "reason=SuccessfulRescale"])?;
    assert!(events.contains("New size: 3") && events.contains("New size: 1"), "{events}");
    drop(metrics);
    cluster.stop_and_assert_clean()
}
