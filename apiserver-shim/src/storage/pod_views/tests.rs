//! A view decoded from the trimmed spec equals one decoded from the whole spec.

use serde_json::json;
use shim_core::scheduler::PodShape;
use shim_model::object::StoredObject;

use super::*;
use crate::storage::catalog::testing::definition;

fn spec_of(bytes: &[u8]) -> Value {
    serde_json::from_slice(&trimmed_spec(bytes)).unwrap_or_default()
}

fn check(spec: Value) {
    let bytes = spec.to_string();
    let trimmed = spec_of(bytes.as_bytes());
    assert_eq!(PodShape::decode(&trimmed, "p"), PodShape::decode(&spec, "p"), "{bytes}");
    let (header, status) = (Arc::default(), PodStatus::default());
    let row = |spec: &Value| {
        let parts = PodParts { annotations: &Value::Null, spec, status: &status };
        format!("{:?}", Pod::decode(Arc::clone(&header), 1, parts, Arc::default()))
    };
    assert_eq!(row(&trimmed), row(&spec), "{bytes}");
}

#[test]
fn a_trimmed_spec_yields_the_same_view() {
    check(json!({}));
    check(json!({
        "nodeName": "n", "schedulerName": "s", "hostname": "h", "subdomain": "d", "priority": 7, "preemptionPolicy": "Never",
        "schedulingGates": [{"name": "g"}], "nodeSelector": {"env": "prod", "volumes": "x"},
        "tolerations": [{"key": "k", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 3}],
        "overhead": {"cpu": "10m"}, "resources": {"requests": {"memory": "1Gi"}}, "volumes": [{"name": "v", "emptyDir": {}}, {"name": "w", "ephemeral": {}}, {"name": "x", "persistentVolumeClaim": {"claimName": "c"}}],
        "resourceClaims": [{"name": "r"}], "terminationGracePeriodSeconds": 600,
        "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [
            {"matchExpressions": [{"key": "a", "operator": "In", "values": ["b"]}]}]}}},
        "initContainers": [
            {"name": "i", "image": "x", "resources": {"requests": {"cpu": "3"}}},
            {"name": "s", "restartPolicy": "Always", "resources": {"requests": {"cpu": "1"}}},
        ],
        "containers": [{"name": "c", "image": "x", "env": [{"name": "A", "value": "b"}],
            "ports": [{"name": "http", "containerPort": 80, "hostPort": 8080, "hostIP": "127.0.0.1", "protocol": "UDP"}],
            "resources": {"requests": {"cpu": "100m", "memory": "1Mi", "catamaran.dev/gpu": "1"}, "limits": {"cpu": "2"}}}],
    }));
    check(json!({"containers": null, "nodeName": "n", "priority": 3}));
    check(json!({"containers": [null, 1, {"resources": {"requests": {"cpu": "1"}}}], "hostname": "h"}));
    assert_eq!(spec_of(b"nonsense"), Value::Null);
}

/// Pods of one template share the decoded shape and nothing else.
#[test]
fn pods_of_one_template_have_views_of_their_own() {
    let pod = |n: u64, cost: &str, node: Value| {
        let pod = json!({
            "metadata": {
                "name": format!("p{n}"), "namespace": "ns", "uid": format!("u{n}"), "generation": 1,
                "creationTimestamp": format!("2026-01-01T00:00:0{n}Z"),
                "annotations": {"controller.kubernetes.io/pod-deletion-cost": cost},
            },
            "spec": {
                "containers": [{"name": format!("c{n}"), "resources": {"requests": {"cpu": "1"}}}], "nodeName": node,
            },
            "status": {"phase": if n == 2 { "Running" } else { "Pending" }},
        });
        let stored = StoredObject::parse(pod.to_string().into()).unwrap();
        Object::new(Arc::new(stored), &definition("", "pods"), n).unwrap()
    };
    let rows = PodViews::default();
    let all =
        [pod(1, "1", Value::Null), pod(2, "2", Value::Null), pod(3, "3", json!("n")), pod(4, "", json!("n"))];
    for object in &all {
        let (shared, alone) = (rows.of(object).unwrap(), PodViews::default().of(object).unwrap());
        assert_eq!(format!("{shared:?}"), format!("{alone:?}"));
    }
    let shape = |object: &Object| rows.of(object).unwrap().shape.clone();
    assert!(Arc::ptr_eq(&shape(&all[0]), &shape(&all[3])));
}

/// Whether CPUs are revocable is an annotation, and no part of the spec.
#[test]
fn a_pod_on_revocable_cpus_shares_no_shape_with_others() {
    let pod = |n: u64, annotations: Value| {
        let spec = json!({"containers": [{"name": "c", "resources": {"requests": {"cpu": "1"}}}]});
        let metadata =
            json!({"name": "p", "uid": format!("u{n}"), "generation": 1, "annotations": annotations});
        let pod = json!({"metadata": metadata, "spec": spec, "status": {}});
        let stored = StoredObject::parse(pod.to_string().into()).unwrap();
        Object::new(Arc::new(stored), &definition("", "pods"), n).unwrap()
    };
    let rows = PodViews::default();
    let marked = json!({"catamaran.dev/revocable": "true"});
    let revocable = [json!({}), marked.clone(), marked, json!({})].into_iter().zip(1..);
    let shapes: Vec<_> =
        revocable.map(|(annotations, n)| rows.of(&pod(n, annotations)).unwrap().shape.clone()).collect();
    assert_eq!(shapes.iter().map(|shape| shape.revocable).collect::<Vec<_>>(), [false, true, true, false]);
    assert_eq!((shapes[1].requests.cpu_milli, shapes[3].requests.cpu_milli), (0, 1000));
    assert!(Arc::ptr_eq(&shapes[1], &shapes[2]));
}

/// Another writer of the store may have put them there.
#[test]
fn members_of_a_wrong_type_are_an_error() {
    let pod = |revision: u64, spec: Value, status: Value| {
        let pod = json!({"metadata": {"uid": "u", "generation": 1}, "spec": spec, "status": status});
        let stored = StoredObject::parse(pod.to_string().into()).unwrap();
        Object::new(Arc::new(stored), &definition("", "pods"), revision).unwrap()
    };
    let views = PodViews::default();
    assert!(views.of(&pod(1, json!({}), json!({"phase": 7}))).is_err());
    assert!(views.of(&pod(2, json!({}), json!({}))).is_ok());
    assert!(views.of(&pod(3, json!({"nodeName": 7}), json!({}))).is_err());
    assert!(views.of(&pod(4, json!({"nodeName": "n"}), json!({}))).is_ok());
}
