//! The node authorizer, and the references of Pods.

use expect_test::expect;
use serde_json::json;

use super::super::node::{self, NodeVerdict, Relation};
use super::super::references::References;
use super::*;

#[test]
fn nodes_read_what_is_related_to_them() {
    let rules = PolicyRule::all_of(
        &bootstrap::defaults()
            .into_iter()
            .find(|d| d.object["metadata"]["name"] == "system:node")
            .unwrap()
            .object,
    );
    let mut shown = String::new();
    for line in [
        "get secrets ns s",
        "list secrets ns s",
        "list secrets ns -",
        "update secrets ns s",
        "get secrets - s",
        "get configmaps ns c",
        "get persistentvolumeclaims ns c",
        "patch persistentvolumeclaims/status ns c",
        "get persistentvolumes - v",
        "get serviceaccounts ns a",
        "create serviceaccounts/token ns a",
        "create serviceaccounts ns -",
        "get nodes - n1",
        "get nodes - n2",
        "list nodes - -",
        "update nodes/status - n2",
        "delete nodes - n1",
        "get pods ns p",
        "list pods - -",
        "delete pods ns p",
        "create pods/eviction ns p",
        "update pods ns p",
        "get coordination.k8s.io:leases kube-node-lease n1",
        "get coordination.k8s.io:leases kube-node-lease n2",
        "get coordination.k8s.io:leases ns n1",
        "create coordination.k8s.io:leases kube-node-lease -",
        "list coordination.k8s.io:leases kube-node-lease -",
        "get storage.k8s.io:csinodes - n2",
        "list resource.k8s.io:resourceslices - -",
        "list services ns -",
        "create events ns -",
        "get apps:deployments ns d",
        "get /healthz - -",
    ] {
        let parts: Vec<&str> = line.split(' ').map(|part| if part == "-" { "" } else { part }).collect();
        let request = request(parts[0], parts[1], parts[2], parts[3]);
        let verdict = match node::decide("n1", "system:node:n1", &request, &rules) {
            NodeVerdict::Allow => "allow".to_owned(),
            NodeVerdict::NoOpinion(reason) => format!("no: {reason}"),
            NodeVerdict::IfRelated(relation) => format!("if related: {relation:?}"),
        };
        shown.push_str(&format!("{line}: {verdict}\n"));
    }
    expect![[r#"
        get secrets ns s: if related: Secret
        list secrets ns s: if related: Secret
        list secrets ns -: no: No Object name found
        update secrets ns s: no: can only read resources of this type
        get secrets - s: no: can only read namespaced object of this type
        get configmaps ns c: if related: ConfigMap
        get persistentvolumeclaims ns c: if related: PersistentVolumeClaim
        patch persistentvolumeclaims/status ns c: if related: PersistentVolumeClaim
        get persistentvolumes - v: if related: PersistentVolume
        get serviceaccounts ns a: if related: ServiceAccount
        create serviceaccounts/token ns a: if related: ServiceAccount
        create serviceaccounts ns -: no: can only create tokens for individual service accounts
        get nodes - n1: allow
        get nodes - n2: no: node 'n1' cannot read 'n2', only its own Node object
        list nodes - -: no: node 'n1' cannot read all nodes, only its own Node object
        update nodes/status - n2: allow
        delete nodes - n1: no: 
        get pods ns p: if related: Pod
        list pods - -: no: can only list/watch pods with spec.nodeName field selector
        delete pods ns p: allow
        create pods/eviction ns p: allow
        update pods ns p: no: 
        get coordination.k8s.io:leases kube-node-lease n1: allow
        get coordination.k8s.io:leases kube-node-lease n2: no: can only access node lease with the same name as the requesting node
        get coordination.k8s.io:leases ns n1: no: can only access leases in the "kube-node-lease" system namespace
        create coordination.k8s.io:leases kube-node-lease -: allow
        list coordination.k8s.io:leases kube-node-lease -: no: can only get, create, update, patch, or delete a node lease
        get storage.k8s.io:csinodes - n2: no: can only access CSINode with the same name as the requesting node
        list resource.k8s.io:resourceslices - -: no: can only list/watch/deletecollection resourceslices with nodeName field selector
        list services ns -: allow
        create events ns -: allow
        get apps:deployments ns d: no: 
        get /healthz - -: no: 
    "#]].assert_eq(&shown);
    let own = [FieldTerm { field: "spec.nodeName".into(), equal: true, value: "n1".into() }];
    let pods = RequestedResource { resource: "pods", fields: &own, ..RequestedResource::default() };
    for (node, expected) in [("n1", true), ("n2", false)] {
        let verdict = node::decide(node, "", &AccessRequest::resource("watch", pods), &rules);
        assert_eq!(verdict == NodeVerdict::Allow, expected, "{node}");
    }
    let nodes = groups("system:nodes");
    assert_eq!(node::node_name(&Subject { name: "system:node:n1", groups: &nodes }), Some("n1"));
    assert_eq!(node::node_name(&Subject { name: "system:node:n1", groups: &[] }), None);
    assert_eq!(node::node_name(&Subject { name: "n1", groups: &nodes }), None);
}

#[test]
fn references_of_a_pod_are_found_in_containers_and_volumes() {
    let mut pod = json!({"metadata": {"name": "p"}, "spec": {
        "serviceAccountName": "a", "imagePullSecrets": [{"name": "pull"}],
        "initContainers": [{"envFrom": [{"secretRef": {"name": "s1"}}, {"configMapRef": {"name": "c1"}}]}],
        "containers": [{"env": [{"valueFrom": {"secretKeyRef": {"name": "s2"}}}, {"valueFrom": {"configMapKeyRef": {"name": "c2"}}}]}],
        "ephemeralContainers": [{"env": [{"valueFrom": {"secretKeyRef": {"name": "s3"}}}]}],
        "volumes": [
            {"name": "v1", "secret": {"secretName": "s4"}}, {"name": "v2", "configMap": {"name": "c3"}},
            {"name": "v3", "persistentVolumeClaim": {"claimName": "claim"}}, {"name": "v4", "ephemeral": {}},
            {"name": "v5", "projected": {"sources": [{"secret": {"name": "s5"}}, {"configMap": {"name": "c4"}},
                {"serviceAccountToken": {"path": "t"}}, {"serviceAccountToken": {"path": "u", "audience": "vault"}}]}},
            {"name": "v6", "csi": {"nodePublishSecretRef": {"name": "s6"}}}, {"name": "v7", "iscsi": {"secretRef": {"name": "s7"}}},
            {"name": "v8", "azureFile": {"secretName": "s8"}},
        ],
    }});
    let found = References::of(&pod);
    for name in ["pull", "s1", "s2", "s3", "s4", "s5", "s6", "s7", "s8"] {
        assert!(found.has(Relation::Secret, name), "{name}");
    }
    assert_eq!(found.secrets.len(), 9);
    assert_eq!(found.config_maps.iter().copied().collect::<Vec<_>>(), ["c1", "c2", "c3", "c4"]);
    assert!(found.has(Relation::PersistentVolumeClaim, "claim"));
    assert!(found.has(Relation::PersistentVolumeClaim, "p-v4"));
    assert!(found.has(Relation::ServiceAccount, "a"));
    assert_eq!(found.audiences.iter().copied().collect::<Vec<_>>(), ["", "vault"]);
    pod["metadata"]["annotations"] = json!({"kubernetes.io/config.mirror": "x"});
    assert_eq!(References::of(&pod), References::default());
}
