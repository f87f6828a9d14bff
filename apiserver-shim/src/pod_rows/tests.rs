//! The rows of the lean spec and of the whole one are the same.

use serde_json::json;

use super::*;

fn check(spec: Value) {
    let bytes = spec.to_string();
    let lean = spec_of(bytes.as_bytes());
    assert_eq!(PodShape::decode(&lean), PodShape::decode(&spec), "{bytes}");
    let (header, status) = (Arc::default(), PodStatus::default());
    let row = |spec: &Value| {
        let parts = PodParts { annotations: &Value::Null, spec, status: &status };
        format!("{:?}", Pod::decode(Arc::clone(&header), 1, parts, Arc::default()))
    };
    assert_eq!(row(&lean), row(&spec), "{bytes}");
}

#[test]
fn a_lean_spec_tells_as_much() {
    check(json!({}));
    check(json!({
        "nodeName": "n", "schedulerName": "s", "hostname": "h", "subdomain": "d", "priority": 7,
        "schedulingGates": [{"name": "g"}], "nodeSelector": {"env": "prod", "volumes": "x"},
        "tolerations": [{"key": "k", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 3}],
        "overhead": {"cpu": "10m"}, "resources": {"requests": {"memory": "1Gi"}}, "volumes": [{"name": "v", "emptyDir": {}}],
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
