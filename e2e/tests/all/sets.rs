//! DaemonSets and StatefulSets with the real kubectl, on real containers.

use std::{collections::BTreeMap, fs, time::Duration};

use e2e::{cluster::Cluster, program::wait_for};

const SETS: &str = r#"
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: agent}
spec:
  selector: {matchLabels: {app: agent}}
  template:
    metadata: {labels: {app: agent}}
    spec:
      terminationGracePeriodSeconds: 2
      containers:
      - name: main
        image: localhost/catamaran/example-web:1
        imagePullPolicy: IfNotPresent
        command: ["/bin/sh", "-c", "trap 'exit 0' TERM; hostname; while true; do sleep 1 & wait $!; done"]
        resources: {requests: {cpu: 10m, memory: 16Mi}}
---
apiVersion: v1
kind: Service
metadata: {name: db}
spec: {clusterIP: None, selector: {app: db}, ports: [{port: 80}]}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: db}
spec:
  replicas: 3
  serviceName: db
  selector: {matchLabels: {app: db}}
  template:
    metadata: {labels: {app: db}}
    spec:
      terminationGracePeriodSeconds: 2
      containers:
      - name: main
        image: localhost/catamaran/example-web:1
        imagePullPolicy: IfNotPresent
        command: ["/bin/sh", "-c", "trap 'exit 0' TERM; hostname; while true; do sleep 1 & wait $!; done"]
        resources: {requests: {cpu: 10m, memory: 16Mi}}
"#;

/// The image of each Pod of an application, by name; Pods that are being deleted are left out.
fn images(cluster: &Cluster, app: &str) -> anyhow::Result<BTreeMap<String, String>> {
    let list = cluster.json(&["get", "pods", "-l", &format!("app={app}")])?;
    let pods = list["items"].as_array().cloned().unwrap_or_default();
    let present = pods.iter().filter(|pod| pod["metadata"]["deletionTimestamp"].is_null());
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    Ok(present
        .map(|pod| {
            let image = text(&pod["spec"]["containers"][0]["image"]);
            let version = image.rsplit(':').next().unwrap_or_default().to_owned();
            (text(&pod["metadata"]["name"]), version)
        })
        .collect())
}

fn rolled_out(cluster: &Cluster, what: &str) -> anyhow::Result<String> {
    cluster.kubectl(&["rollout", "status", what, "--timeout=120s"])
}

fn versions(pods: &BTreeMap<String, String>) -> Vec<(&str, &str)> {
    pods.iter().map(|(name, version)| (name.as_str(), version.as_str())).collect()
}

const SECOND: &str = "main=localhost/catamaran/example-web:2";

fn daemon_set(cluster: &Cluster) -> anyhow::Result<()> {
    let said = rolled_out(cluster, "daemonset/agent")?;
    assert!(said.contains("daemon set \"agent\" successfully rolled out"), "{said}");
    cluster.kubectl(&["set", "image", "daemonset/agent", SECOND])?;
    rolled_out(cluster, "daemonset/agent")?;
    assert!(images(cluster, "agent")?.values().all(|version| version == "2"));
    cluster.kubectl(&["rollout", "undo", "daemonset/agent"])?;
    rolled_out(cluster, "daemonset/agent")?;
    let pods = images(cluster, "agent")?;
    assert!(pods.len() == 1 && pods.values().all(|version| version == "1"), "{pods:?}");
    let history = cluster.kubectl(&["rollout", "history", "daemonset/agent"])?;
    let numbers: Vec<&str> =
        history.lines().skip(2).filter_map(|line| line.split_whitespace().next()).collect();
    assert_eq!(numbers, ["2", "3"], "{history}");
    let old = cluster.kubectl(&["rollout", "history", "daemonset/agent", "--revision=2"])?;
    assert!(old.contains("localhost/catamaran/example-web:2"), "{old}");
    let row = cluster.kubectl(&["get", "daemonset", "agent", "--no-headers"])?;
    let columns: Vec<&str> = row.split_whitespace().take(6).collect();
    assert_eq!(columns, ["agent", "1", "1", "1", "1", "1"]);
    // A Pod that somebody deletes is replaced.
    let before = pods.into_keys().next().unwrap_or_default();
    cluster.kubectl(&["delete", "pod", &before, "--timeout=60s"])?;
    rolled_out(cluster, "daemonset/agent")?;
    assert!(!images(cluster, "agent")?.contains_key(&before));
    Ok(())
}

fn stateful_set(cluster: &Cluster) -> anyhow::Result<()> {
    let said = rolled_out(cluster, "statefulset/db")?;
    assert!(
        said.contains("partitioned roll out complete") || said.contains("rolling update complete"),
        "{said}"
    );
    assert_eq!(versions(&images(cluster, "db")?), [("db-0", "1"), ("db-1", "1"), ("db-2", "1")]);
    assert_eq!(cluster.kubectl(&["logs", "db-1"])?.trim(), "db-1");
    cluster.kubectl(&["scale", "statefulset/db", "--replicas=1"])?;
    wait_for("one pod", Duration::from_secs(60), || {
        let list = cluster.kubectl(&["get", "pods", "-l", "app=db", "-o", "name"])?;
        Ok((list.trim() == "pod/db-0").then_some(()))
    })?;
    cluster.kubectl(&["scale", "statefulset/db", "--replicas=3"])?;
    rolled_out(cluster, "statefulset/db")?;
    // With a partition the Pods below it keep their revision.
    let partition = r#"{"spec":{"updateStrategy":{"rollingUpdate":{"partition":2}}}}"#;
    cluster.kubectl(&["patch", "statefulset", "db", "-p", partition])?;
    cluster.kubectl(&["set", "image", "statefulset/db", SECOND])?;
    rolled_out(cluster, "statefulset/db")?;
    assert_eq!(versions(&images(cluster, "db")?), [("db-0", "1"), ("db-1", "1"), ("db-2", "2")]);
    cluster.kubectl(&["delete", "pod", "db-0", "--timeout=60s"])?;
    wait_for("db-0 to be back", Duration::from_secs(60), || {
        let pods = images(cluster, "db")?;
        Ok((pods.get("db-0").map(String::as_str) == Some("1")).then_some(()))
    })?;
    let all = r#"{"spec":{"updateStrategy":{"rollingUpdate":{"partition":0}}}}"#;
    cluster.kubectl(&["patch", "statefulset", "db", "-p", all])?;
    rolled_out(cluster, "statefulset/db")?;
    assert_eq!(versions(&images(cluster, "db")?), [("db-0", "2"), ("db-1", "2"), ("db-2", "2")]);
    cluster.kubectl(&["rollout", "undo", "statefulset/db"])?;
    rolled_out(cluster, "statefulset/db")?;
    assert!(images(cluster, "db")?.values().all(|version| version == "1"));
    let events = cluster.kubectl(&["get", "events"])?;
    for message in [
        "Create Pod db-2 in StatefulSet db successful",
        "Delete Pod db-2 in StatefulSet db successful",
        "Created pod: agent-",
        "Deleted pod: agent-",
    ] {
        assert!(events.contains(message), "no '{message}' in:\n{events}");
    }
    Ok(())
}

/// A StatefulSet with a claim for each Pod, and volumes on this machine.
fn claims_manifest(directory: &std::path::Path) -> String {
    let volume = |name: &str| {
        let path = directory.join(name);
        format!(
            "apiVersion: v1\nkind: PersistentVolume\nmetadata: {{name: {name}}}\nspec:\n  capacity: {{storage: 1Gi}}\n  \
             accessModes: [ReadWriteOnce]\n  storageClassName: manual\n  hostPath: {{path: {}, type: DirectoryOrCreate}}\n---\n",
            path.display()
        )
    };
    let set = r#"
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: kept}
spec:
  replicas: 2
  serviceName: kept
  selector: {matchLabels: {app: kept}}
  persistentVolumeClaimRetentionPolicy: {whenDeleted: Delete, whenScaled: Retain}
  template:
    metadata: {labels: {app: kept}}
    spec:
      terminationGracePeriodSeconds: 2
      containers:
      - name: main
        image: localhost/catamaran/example-web:1
        imagePullPolicy: IfNotPresent
        command: ["/bin/sh", "-c", "trap 'exit 0' TERM; hostname >> /data/names; while true; do sleep 1 & wait $!; done"]
        volumeMounts: [{name: data, mountPath: /data}]
        resources: {requests: {cpu: 10m, memory: 16Mi}}
  volumeClaimTemplates:
  - metadata: {name: data}
    spec:
      accessModes: [ReadWriteOnce]
      storageClassName: manual
      resources: {requests: {storage: 1Gi}}
"#;
    volume("volume-1") + set
}

/// The claims wait for volumes; with them the Pods start, keep their data, and the claims go with the set.
fn stateful_set_with_claims(cluster: &Cluster) -> anyhow::Result<()> {
    let manifest = cluster.directory().join("claims.yaml");
    fs::write(&manifest, claims_manifest(cluster.directory()))?;
    cluster.kubectl(&["apply", "-f", &manifest.to_string_lossy()])?;
    wait_for("kept-1 to wait for its claim", Duration::from_secs(60), || {
        let described = cluster.try_kubectl(&["describe", "pod", "kept-1"])?.stdout;
        Ok(described.contains("pod has unbound immediate PersistentVolumeClaims").then_some(()))
    })?;
    let second = claims_manifest(cluster.directory()).replace("volume-1", "volume-2");
    fs::write(&manifest, second)?;
    cluster.kubectl(&["apply", "-f", &manifest.to_string_lossy()])?;
    rolled_out(cluster, "statefulset/kept")?;
    let claims = cluster.kubectl(&["get", "pvc", "--no-headers"])?;
    assert!(claims.lines().count() == 2 && claims.lines().all(|line| line.contains("Bound")), "{claims}");
    cluster.kubectl(&["delete", "pod", "kept-0", "--timeout=60s"])?;
    rolled_out(cluster, "statefulset/kept")?;
    let names = cluster.kubectl(&["exec", "kept-0", "--", "cat", "/data/names"])?;
    assert_eq!(names, "kept-0\nkept-0\n", "the second Pod has the data of the first");
    cluster.kubectl(&["delete", "statefulset", "kept", "--timeout=60s"])?;
    wait_for("the claims to be gone", Duration::from_secs(60), || {
        let left = cluster.kubectl(&["get", "pvc", "-o", "name"])?;
        Ok(left.trim().is_empty().then_some(()))
    })?;
    wait_for("the volumes to be released", Duration::from_secs(30), || {
        let volumes = cluster.kubectl(&["get", "pv", "--no-headers"])?;
        Ok((volumes.matches("Released").count() == 2).then_some(()))
    })?;
    cluster.kubectl(&["delete", "pv", "--all", "--timeout=60s"])?;
    Ok(())
}

#[test]
fn daemon_sets_and_stateful_sets_roll_out_and_back() -> anyhow::Result<()> {
    let cluster = Cluster::up(&["--example-images"])?;
    let manifest = cluster.directory().join("sets.yaml");
    fs::write(&manifest, SETS)?;
    cluster.kubectl(&["apply", "-f", &manifest.to_string_lossy()])?;
    daemon_set(&cluster)?;
    stateful_set(&cluster)?;
    stateful_set_with_claims(&cluster)?;
    cluster.kubectl(&["delete", "-f", &manifest.to_string_lossy(), "--timeout=60s"])?;
    wait_for("the pods to be gone", Duration::from_secs(90), || {
        let left = cluster.kubectl(&["get", "pods,controllerrevisions", "-o", "name"])?;
        Ok(left.trim().is_empty().then_some(()))
    })?;
    cluster.stop_and_assert_clean()
}
