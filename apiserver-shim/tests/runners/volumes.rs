//! Volumes that an external provisioner makes where the scheduler places the Pod.

use apiserver_shim::pipeline::ObjectRef;
use serde_json::{Value, json};
use shim_core::controllers::served;
use shim_core::rows::SELECTED_NODE;
use shim_model::access;

use crate::cluster::{Cluster, context};

const PROVISIONER: &str = "rancher.io/local-path";

fn claim(cluster: &Cluster) -> Value {
    cluster.list("", "persistentvolumeclaims").into_iter().next().unwrap_or_default()
}

fn annotation(cluster: &Cluster, name: &str) -> String {
    access::text(&claim(cluster), &["metadata", "annotations", name]).to_owned()
}

/// As local-path-provisioner does: a volume that only the selected node reaches.
async fn provision(cluster: &Cluster, node: &str) {
    let claim = claim(cluster);
    let terms = json!([{"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": [node]}]}]);
    let volume = json!({
        "kind": "PersistentVolume",
        "metadata": {"name": "made"},
        "spec": {
            "accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Gi"}, "storageClassName": "local-path",
            "hostPath": {"path": "/made"}, "nodeAffinity": {"required": {"nodeSelectorTerms": terms}},
            "claimRef": {
                "kind": "PersistentVolumeClaim", "namespace": "ns", "name": "data", "uid": claim["metadata"]["uid"],
            },
        },
    });
    cluster.create("", "persistentvolumes", "", volume).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_volume_is_made_for_the_node_of_the_pod() {
    let cluster = Cluster::start(3).await;
    let class = json!({
        "kind": "StorageClass", "metadata": {"name": "local-path"},
        "provisioner": PROVISIONER, "volumeBindingMode": "WaitForFirstConsumer",
    });
    cluster.create("storage.k8s.io", "storageclasses", "", class).await;
    let spec = json!({
        "storageClassName": "local-path", "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}},
    });
    let data = json!({"kind": "PersistentVolumeClaim", "metadata": {"name": "data"}, "spec": spec});
    cluster.create("", "persistentvolumeclaims", "ns", data).await;
    let pod = json!({
        "kind": "Pod", "metadata": {"name": "db"},
        "spec": {
            "containers": [{"name": "c", "image": "i"}],
            "volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "data"}}],
        },
    });
    cluster.create("", "pods", "ns", pod).await;
    let by = "volume.kubernetes.io/storage-provisioner";
    cluster.until("the provisioner is asked", |cluster| annotation(cluster, by) == PROVISIONER).await;
    let node = annotation(&cluster, SELECTED_NODE);
    assert!(!node.is_empty());
    let message = |cluster: &Cluster| {
        let pod = cluster.pods().into_iter().next().unwrap_or_default();
        let conditions = access::list(&pod, &["status", "conditions"]).to_vec();
        conditions.first().map_or("", |condition| access::text(condition, &["message"])).to_owned()
    };
    let waits = format!("to be provisioned for node \"{node}\"");
    cluster.until("the Pod says what it waits for", |cluster| message(cluster).contains(&waits)).await;

    // The provisioner gives up: another node is chosen.
    let claims = cluster.registry().builtin(&served("", "persistentvolumeclaims"));
    let context = context("update");
    let given_up = cluster.pipeline.update_with(&context, ObjectRef::new(&claims, "ns", "data"), |stored| {
        let mut claim = stored.clone();
        access::object_mut(&mut claim, &["metadata", "annotations"]).remove(SELECTED_NODE);
        Ok(claim)
    });
    given_up.await.unwrap();
    cluster.until("a node is chosen again", |cluster| !annotation(cluster, SELECTED_NODE).is_empty()).await;

    let node = annotation(&cluster, SELECTED_NODE);
    provision(&cluster, &node).await;
    cluster
        .until("the Pod runs there", |cluster| {
            cluster.pods().iter().any(|pod| access::text(pod, &["spec", "nodeName"]) == node)
        })
        .await;
    cluster.until("the claim is bound", |cluster| claim(cluster)["status"]["phase"] == "Bound").await;
}
