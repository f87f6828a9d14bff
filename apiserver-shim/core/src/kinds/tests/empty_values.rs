//! Values that are sent empty, and what Pods with resources of their own get by default: as kube-apiserver 1.36 answered.

use super::*;

#[test]
fn an_empty_list_of_managed_fields_is_kept_for_the_object_alone() {
    let template = json!({"metadata": {"managedFields": [], "labels": {"a": "b"}},
        "spec": {"containers": [{"name": "c", "image": "i"}]}});
    let body = json!({"metadata": {"name": "t", "managedFields": []}, "template": template});
    let resource = resource("podtemplates");
    let decoded =
        decode(body.to_string().as_bytes(), Media::Json, &resource.object_type, Strictness::Strict).unwrap();
    assert_eq!(decoded.value["metadata"]["managedFields"], json!([]), "a request to reset them");
    assert_eq!(decoded.value["template"]["metadata"], json!({"labels": {"a": "b"}}));
}

#[test]
fn an_empty_source_of_a_claim_is_none_at_updates_too() {
    let claim = create(
        "persistentvolumeclaims",
        json!({"metadata": {"name": "c"},
            "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}}),
    );
    let claim = claim.unwrap();
    let with = |member: &'static str| move |new: &mut Value| new["spec"][member] = json!({});
    let (plural, whole) = ("persistentvolumeclaims", Subresource::Main);
    check_update(
        plural,
        whole,
        &claim,
        with("dataSource"),
        expect![[
            r#"generation null {"accessModes":["ReadWriteOnce"],"resources":{"requests":{"storage":"1Gi"}},"volumeMode":"Filesystem"} {"phase":"Pending"}"#
        ]],
    );
    check_update(
        plural,
        whole,
        &claim,
        with("dataSourceRef"),
        expect![[r#"
        PersistentVolumeClaim "c" is invalid: [spec.dataSource.name: Required value, spec.dataSource.kind: Required value, spec.dataSource: Invalid value: "": must be 'PersistentVolumeClaim' when referencing the default apiGroup, spec.dataSourceRef.name: Required value, spec.dataSourceRef.kind: Required value, spec.dataSourceRef: Invalid value: "": must be 'PersistentVolumeClaim' when referencing the default apiGroup, spec: Forbidden: spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims
        @@ -12,7 +12,16 @@
          "VolumeName": "",
          "StorageClassName": null,
          "VolumeMode": "Filesystem",
        - "DataSource": null,
        - "DataSourceRef": null,
        + "DataSource": {
        +  "APIGroup": null,
        +  "Kind": "",
        +  "Name": ""
        + },
        + "DataSourceRef": {
        +  "APIGroup": null,
        +  "Kind": "",
        +  "Name": "",
        +  "Namespace": null
        + },
          "VolumeAttributesClassName": null
         }
        ]"#]],
    );
}

/// Resources of a Pod and of its container, with what the Pod gets and its class.
fn pod_level(own: Value, container: Value) -> String {
    let container = json!({"name": "c", "image": "i", "resources": container});
    match create("pods", pod(json!({"resources": own, "containers": [container]}))) {
        Ok(pod) => format!("{} {}\n", pod["spec"]["resources"], pod["status"]["qosClass"]),
        Err(status) => format!("{}\n", status.message),
    }
}

#[test]
fn pods_with_resources_of_their_own_get_what_they_lack() {
    let huge = || json!({"limits": {"hugepages-2Mi": "2Mi", "cpu": "1"}});
    let shown = [
        pod_level(json!({"limits": {"memory": "2Gi"}}), huge()),
        pod_level(json!({"requests": {"memory": "128Mi"}}), huge()),
        pod_level(json!({"requests": {"memory": "128Mi"}}), json!({"requests": {"cpu": "1"}})),
        pod_level(json!({"limits": {"cpu": "1"}}), json!({"requests": {"cpu": "300m"}})),
        pod_level(json!({}), json!({"limits": {"cpu": "1", "memory": "1Mi"}})),
    ];
    expect![[r#"
        {"limits":{"hugepages-2Mi":"2Mi","memory":"2Gi"},"requests":{"cpu":"1","hugepages-2Mi":"2Mi","memory":"2Gi"}} "Burstable"
        {"limits":{"hugepages-2Mi":"2Mi"},"requests":{"cpu":"1","hugepages-2Mi":"2Mi","memory":"128Mi"}} "Burstable"
        {"requests":{"memory":"128Mi"}} "Burstable"
        {"limits":{"cpu":"1"},"requests":{"cpu":"300m"}} "Burstable"
        {} "BestEffort"
    "#]].assert_eq(&shown.concat());
}
