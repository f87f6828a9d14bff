//! Services on two machines: cluster IPs, node ports, session affinity and names lead to Pods of both.

use std::{collections::BTreeSet, time::Duration};

use e2e::{cluster::Cluster, network::Network, program::wait_for};

const SERVICES: &str = r#"
apiVersion: v1
kind: Service
metadata: {name: sticky}
spec: {selector: {app: web}, sessionAffinity: ClientIP, ports: [{name: http, port: 81, targetPort: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: port}
spec: {type: NodePort, selector: {app: web}, ports: [{port: 80, nodePort: 30080}]}
---
apiVersion: v1
kind: Service
metadata: {name: nobody}
spec: {selector: {app: nobody}, externalIPs: [198.51.100.7], ports: [{port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: alias}
spec: {type: ExternalName, externalName: web.default.svc.cluster.local}
"#;

/// Runs a script in a Pod of the Deployment.
fn in_pod(cluster: &Cluster, pod: &str, script: &str) -> anyhow::Result<String> {
    Ok(cluster.try_kubectl(&["exec", pod, "--", "sh", "-c", script])?.stdout)
}

#[test]
fn services_lead_to_pods_of_both_machines() -> anyhow::Result<()> {
    let network = Network::new()?;
    network.route("10.244.0.0/24", "10.244.1.0/24")?;
    let cluster = Cluster::on(&network, &[])?;
    cluster.kubectl(&["apply", "-f", "manifests/examples/web.yaml"])?;
    cluster.kubectl(&["scale", "deployment/web", "--replicas=4"])?;
    let manifest = cluster.directory().join("services.yaml");
    std::fs::write(&manifest, SERVICES)?;
    cluster.kubectl(&["apply", "-f", &manifest.to_string_lossy()])?;
    cluster.kubectl(&["rollout", "status", "deployment/web", "--timeout=120s"])?;
    let pods =
        cluster.kubectl(&["get", "pods", "-l", "app=web", "-o", "jsonpath={.items[*].metadata.name}"])?;
    let pod = pods.split_whitespace().next().unwrap_or_default().to_owned();
    // Each Pod puts its name where its server shows it.
    for pod in pods.split_whitespace() {
        in_pod(&cluster, pod, "hostname > /tmp/name; httpd -p 8090 -h /tmp")?;
    }
    let patch = r#"{"spec": {"ports": [{"port": 80, "targetPort": 8090}]}}"#;
    for service in ["web", "port"] {
        cluster.kubectl(&["patch", "service", service, "-p", patch])?;
    }
    let patch = r#"{"spec": {"ports": [{"name": "http", "port": 81, "targetPort": 8090}]}}"#;
    cluster.kubectl(&["patch", "service", "sticky", "-p", patch])?;

    // The names of the Pods that answer. A static busybox' wget cannot look names up.
    let many = |host: &str, port: u16| -> anyhow::Result<BTreeSet<String>> {
        let request = format!("printf 'GET /name HTTP/1.0\\r\\n\\r\\n' | nc -w 5 {host} {port} | tail -n 1");
        let script = format!("for i in $(seq 24); do {request}; done");
        Ok(in_pod(&cluster, &pod, &script)?.lines().map(str::to_owned).collect())
    };
    wait_for("all four Pods behind the Service's name", Duration::from_secs(30), || {
        Ok((many("web", 80)?.len() == 4).then_some(()))
    })?;
    assert_eq!(many("sticky.default.svc.cluster.local", 81)?.len(), 1, "one client, one endpoint");
    assert_eq!(many("alias", 80)?.len(), 4);
    for address in [Network::FIRST, Network::SECOND] {
        assert_eq!(many(address, 30080)?.len(), 4, "{address}");
    }
    for address in ["nobody", "198.51.100.7"] {
        let refused = in_pod(&cluster, &pod, &format!("nc -w 5 {address} 80 < /dev/null 2>&1"))?;
        assert!(refused.contains("refused"), "{refused}");
    }
    // The API server, as programs in Pods reach it.
    let port = in_pod(
        &cluster,
        &pod,
        "echo $KUBERNETES_SERVICE_HOST; nc -w 5 $KUBERNETES_SERVICE_HOST 443 < /dev/null; echo $?",
    )?;
    assert_eq!(port, "10.96.0.1\n0\n");
    // Somebody flushes the rules. The node looks every ten seconds.
    let table = || -> anyhow::Result<Option<String>> {
        let rules = network.rules()?;
        let table = rules.lines().find(|line| line.starts_with("table ip catamaran-"));
        Ok(table.filter(|_| rules.contains("vmap @service-addresses")).map(str::to_owned))
    };
    let flushed = table()?;
    assert!(flushed.is_some());
    network.flush_rules("catamaran-")?;
    wait_for("another table", Duration::from_secs(60), || {
        Ok(table()?.filter(|new| Some(new) != flushed.as_ref()))
    })?;
    cluster.stop_and_assert_clean()
}
