//! Answers that were compared with a kube-apiserver's, request by request.

use expect_test::expect;

use crate::harness::Server;

const PODS: &str = "/api/v1/namespaces/default/pods";
const SERVICES: &str = "/api/v1/namespaces/default/services";
const POLICIES: &str = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies";
const MERGE: &str = "Content-Type: application/merge-patch+json";

#[tokio::test]
async fn wrong_types_are_named_as_in_go() {
    let server = Server::start().await;
    let script = format!(
        r#"
        POST {PODS} <- {{"metadata":{{"name":"p"}},"spec":{{"overhead":5}}}}
        POST {PODS} <- {{"metadata":{{"name":"p"}},"spec":{{"priority":1000000000000000000000000000000}}}}
        POST {POLICIES} <- {{"metadata":{{"name":"p"}},"spec":{{"matchConstraints":{{"resourceRules":[{{"apiGroups":5}}]}}}}}}
        POST {POLICIES} <- {{"metadata":{{"name":"p"}},"spec":{{"matchConstraints":{{"resourceRules":[{{"operations":[5]}}]}}}}}}
        "#
    );
    expect![[r#"
        POST /api/v1/namespaces/default/pods <- {"metadata":{"name":"p"},"spec":{"overhead":5}}
          400 {"apiVersion":"v1","code":400,"kind":"Status","message":"Pod in version \"v1\" cannot be handled as a Pod: json: cannot unmarshal number into Go struct field PodSpec.spec.overhead of type v1.ResourceList","metadata":{},"reason":"BadRequest","status":"Failure"}
        POST /api/v1/namespaces/default/pods <- {"metadata":{"name":"p"},"spec":{"priority":1000000000000000000000000000000}}
          400 {"apiVersion":"v1","code":400,"kind":"Status","message":"Pod in version \"v1\" cannot be handled as a Pod: json: cannot unmarshal number 1000000000000000000000000000000 into Go struct field PodSpec.spec.priority of type int32","metadata":{},"reason":"BadRequest","status":"Failure"}
        POST /apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies <- {"metadata":{"name":"p"},"spec":{"matchConstraints":{"resourceRules":[{"apiGroups":5}]}}}
          400 {"apiVersion":"v1","code":400,"kind":"Status","message":"ValidatingAdmissionPolicy in version \"v1\" cannot be handled as a ValidatingAdmissionPolicy: json: cannot unmarshal number into Go struct field NamedRuleWithOperations.spec.matchConstraints.resourceRules.RuleWithOperations.Rule.apiGroups of type []string","metadata":{},"reason":"BadRequest","status":"Failure"}
        POST /apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies <- {"metadata":{"name":"p"},"spec":{"matchConstraints":{"resourceRules":[{"operations":[5]}]}}}
          400 {"apiVersion":"v1","code":400,"kind":"Status","message":"ValidatingAdmissionPolicy in version \"v1\" cannot be handled as a ValidatingAdmissionPolicy: json: cannot unmarshal number into Go struct field NamedRuleWithOperations.spec.matchConstraints.resourceRules.RuleWithOperations.operations of type v1.OperationType","metadata":{},"reason":"BadRequest","status":"Failure"}
    "#]].assert_eq(&server.play(&script).await);
}

#[tokio::test]
async fn deleted_objects_of_some_kinds_are_returned() {
    let server = Server::start().await;
    let script = r#"
        POST /apis/storage.k8s.io/v1/storageclasses <- {"metadata":{"name":"s"},"provisioner":"a.b/c"}
        DELETE /apis/storage.k8s.io/v1/storageclasses/s
        POST /api/v1/namespaces/default/resourcequotas <- {"metadata":{"name":"q"},"spec":{"hard":{"pods":"1"}}}
        DELETE /api/v1/namespaces/default/resourcequotas/q
        POST /api/v1/namespaces/default/configmaps <- {"metadata":{"name":"c"}}
        DELETE /api/v1/namespaces/default/configmaps/c
        "#;
    expect![[r#"
        POST /apis/storage.k8s.io/v1/storageclasses <- {"metadata":{"name":"s"},"provisioner":"a.b/c"}
          201 {"apiVersion":"storage.k8s.io/v1","kind":"StorageClass","metadata":{"name":"s"},"provisioner":"a.b/c","reclaimPolicy":"Delete","volumeBindingMode":"Immediate"}
        DELETE /apis/storage.k8s.io/v1/storageclasses/s
          200 {"apiVersion":"storage.k8s.io/v1","kind":"StorageClass","metadata":{"name":"s"},"provisioner":"a.b/c","reclaimPolicy":"Delete","volumeBindingMode":"Immediate"}
        POST /api/v1/namespaces/default/resourcequotas <- {"metadata":{"name":"q"},"spec":{"hard":{"pods":"1"}}}
          201 {"apiVersion":"v1","kind":"ResourceQuota","metadata":{"name":"q","namespace":"default"},"spec":{"hard":{"pods":"1"}},"status":{}}
        DELETE /api/v1/namespaces/default/resourcequotas/q
          200 {"apiVersion":"v1","kind":"ResourceQuota","metadata":{"name":"q","namespace":"default"},"spec":{"hard":{"pods":"1"}},"status":{}}
        POST /api/v1/namespaces/default/configmaps <- {"metadata":{"name":"c"}}
          201 {"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"c","namespace":"default"}}
        DELETE /api/v1/namespaces/default/configmaps/c
          200 {"apiVersion":"v1","details":{"kind":"configmaps","name":"c"},"kind":"Status","metadata":{},"status":"Success"}
    "#]].assert_eq(&server.play(script).await);
}

#[tokio::test]
async fn what_is_reported_in_a_status_is_validated() {
    let server = Server::start().await;
    let script = format!(
        r#"
        POST /api/v1/nodes <- {{"metadata":{{"name":"n"}},"status":{{"capacity":{{"cpu":"-1"}},"allocatable":{{"cpu":"1"}}}}}}
        POST /api/v1/nodes <- {{"metadata":{{"name":"n"}}}}
        PATCH /api/v1/nodes/n/status | {MERGE} <- {{"status":{{"addresses":[{{"type":"Hostname","address":"h"}},{{"type":"Hostname","address":"h"}}]}}}}
        PATCH /api/v1/nodes/n/status | {MERGE} <- {{"status":{{"declaredFeatures":["B","A"]}}}}
        PATCH /api/v1/namespaces/default/status | {MERGE} <- {{"status":{{"phase":"X"}}}}
        POST /apis/policy/v1/namespaces/default/poddisruptionbudgets <- {{"metadata":{{"name":"b"}},"spec":{{"minAvailable":1}}}}
        PATCH /apis/policy/v1/namespaces/default/poddisruptionbudgets/b/status | {MERGE} <- {{"status":{{"conditions":[{{"type":"X","status":"Q"}}]}}}}
        "#
    );
    expect![[r#"
        POST /api/v1/nodes <- {"metadata":{"name":"n"},"status":{"capacity":{"cpu":"-1"},"allocatable":{"cpu":"1"}}}
          422 {"apiVersion":"v1","code":422,"details":{"causes":[{"field":"status.capacity.cpu","message":"Invalid value: \"-1\": must be greater than or equal to 0","reason":"FieldValueInvalid"}],"kind":"Node","name":"n"},"kind":"Status","message":"Node \"n\" is invalid: status.capacity.cpu: Invalid value: \"-1\": must be greater than or equal to 0","metadata":{},"reason":"Invalid","status":"Failure"}
        POST /api/v1/nodes <- {"metadata":{"name":"n"}}
          201 {"apiVersion":"v1","kind":"Node","metadata":{"name":"n"},"spec":{"taints":[{"effect":"NoSchedule","key":"node.kubernetes.io/not-ready"}]},"status":{"daemonEndpoints":{"kubeletEndpoint":{"Port":0}},"nodeInfo":{"architecture":"","bootID":"","containerRuntimeVersion":"","kernelVersion":"","kubeProxyVersion":"","kubeletVersion":"","machineID":"","operatingSystem":"","osImage":"","systemUUID":""}}}
        PATCH /api/v1/nodes/n/status | Content-Type: application/merge-patch+json <- {"status":{"addresses":[{"type":"Hostname","address":"h"},{"type":"Hostname","address":"h"}]}}
          422 {"apiVersion":"v1","code":422,"details":{"causes":[{"field":"status.addresses[1]","message":"Duplicate value: {\"Type\":\"Hostname\",\"Address\":\"h\"}","reason":"FieldValueDuplicate"}],"kind":"Node","name":"n"},"kind":"Status","message":"Node \"n\" is invalid: status.addresses[1]: Duplicate value: {\"Type\":\"Hostname\",\"Address\":\"h\"}","metadata":{},"reason":"Invalid","status":"Failure"}
        PATCH /api/v1/nodes/n/status | Content-Type: application/merge-patch+json <- {"status":{"declaredFeatures":["B","A"]}}
          422 {"apiVersion":"v1","code":422,"details":{"causes":[{"field":"status.declaredFeatures[1]","message":"Invalid value: \"A\": list must be sorted alphabetically","reason":"FieldValueInvalid"}],"kind":"Node","name":"n"},"kind":"Status","message":"Node \"n\" is invalid: status.declaredFeatures[1]: Invalid value: \"A\": list must be sorted alphabetically","metadata":{},"reason":"Invalid","status":"Failure"}
        PATCH /api/v1/namespaces/default/status | Content-Type: application/merge-patch+json <- {"status":{"phase":"X"}}
          422 {"apiVersion":"v1","code":422,"details":{"causes":[{"field":"status.Phase","message":"Invalid value: \"X\": may only be 'Active' if `deletionTimestamp` is empty","reason":"FieldValueInvalid"}],"kind":"Namespace","name":"default"},"kind":"Status","message":"Namespace \"default\" is invalid: status.Phase: Invalid value: \"X\": may only be 'Active' if `deletionTimestamp` is empty","metadata":{},"reason":"Invalid","status":"Failure"}
        POST /apis/policy/v1/namespaces/default/poddisruptionbudgets <- {"metadata":{"name":"b"},"spec":{"minAvailable":1}}
          201 {"apiVersion":"policy/v1","kind":"PodDisruptionBudget","metadata":{"generation":1,"name":"b","namespace":"default"},"spec":{"minAvailable":1},"status":{"currentHealthy":0,"desiredHealthy":0,"disruptionsAllowed":0,"expectedPods":0}}
        PATCH /apis/policy/v1/namespaces/default/poddisruptionbudgets/b/status | Content-Type: application/merge-patch+json <- {"status":{"conditions":[{"type":"X","status":"Q"}]}}
          422 {"apiVersion":"v1","code":422,"details":{"causes":[{"field":"status.conditions[0].status","message":"Unsupported value: \"Q\": supported values: \"False\", \"True\", \"Unknown\"","reason":"FieldValueNotSupported"},{"field":"status.conditions[0].lastTransitionTime","message":"Required value","reason":"FieldValueRequired"},{"field":"status.conditions[0].reason","message":"Required value","reason":"FieldValueRequired"}],"group":"policy","kind":"PodDisruptionBudget","name":"b"},"kind":"Status","message":"PodDisruptionBudget.policy \"b\" is invalid: [status.conditions[0].status: Unsupported value: \"Q\": supported values: \"False\", \"True\", \"Unknown\", status.conditions[0].lastTransitionTime: Required value, status.conditions[0].reason: Required value]","metadata":{},"reason":"Invalid","status":"Failure"}
    "#]].assert_eq(&server.play(&script).await);
}

#[tokio::test]
async fn services_claim_a_node_port_once() {
    let server = Server::start().await;
    let script = format!(
        r#"
        POST {SERVICES} <- {{"metadata":{{"name":"s"}},"spec":{{"type":"NodePort","ports":[{{"port":80,"nodePort":30080,"name":"a"}},{{"port":81,"nodePort":30080,"name":"b"}}]}}}}
        POST {SERVICES} <- {{"metadata":{{"name":"s"}},"spec":{{"clusterIP":"10.96.0.0","ports":[{{"port":80}}]}}}}
        "#
    );
    expect![[r#"
        POST /api/v1/namespaces/default/services <- {"metadata":{"name":"s"},"spec":{"type":"NodePort","ports":[{"port":80,"nodePort":30080,"name":"a"},{"port":81,"nodePort":30080,"name":"b"}]}}
          422 {"apiVersion":"v1","code":422,"details":{"causes":[{"field":"spec.ports[1].nodePort","message":"Invalid value: 30080: provided port is already allocated","reason":"FieldValueInvalid"}],"kind":"Service","name":"s"},"kind":"Status","message":"Service \"s\" is invalid: spec.ports[1].nodePort: Invalid value: 30080: provided port is already allocated","metadata":{},"reason":"Invalid","status":"Failure"}
        POST /api/v1/namespaces/default/services <- {"metadata":{"name":"s"},"spec":{"clusterIP":"10.96.0.0","ports":[{"port":80}]}}
          422 {"apiVersion":"v1","code":422,"details":{"causes":[{"field":"spec.clusterIPs","message":"Invalid value: [\"10.96.0.0\"]: failed to allocate IP 10.96.0.0: the provided network does not match the current range","reason":"FieldValueInvalid"}],"kind":"Service","name":"s"},"kind":"Status","message":"Service \"s\" is invalid: spec.clusterIPs: Invalid value: [\"10.96.0.0\"]: failed to allocate IP 10.96.0.0: the provided network does not match the current range","metadata":{},"reason":"Invalid","status":"Failure"}
    "#]].assert_eq(&server.play(&script).await);
}

#[tokio::test]
async fn requests_for_subresources_are_judged_before_the_object_is_looked_up() {
    let server = Server::start().await;
    let script = format!(
        r#"
        POST /api/v1/namespaces/default/bindings <- {{"target":{{"kind":"Node","name":"n"}}}}
        GET {PODS}/p/log?sinceTime=x
        POST {PODS} <- {{"metadata":{{"name":"waits"}},"spec":{{"automountServiceAccountToken":false,"containers":[{{"name":"c","image":"i"}}]}}}}
        GET {PODS}/waits/log
        POST {PODS}/p/eviction <- {{"metadata":{{"name":"p","namespace":"other"}}}}
        POST {PODS}/p/eviction <- {{"apiVersion":"policy/v1beta1","kind":"Eviction","metadata":{{"name":"p"}}}}
        PUT /api/v1/namespaces/default/finalize <- {{"metadata":{{"name":"default"}},"spec":{{"finalizers":["kubernetes","bad"]}}}}
        "#
    );
    expect![[r#"
        POST /api/v1/namespaces/default/bindings <- {"target":{"kind":"Node","name":"n"}}
          400 {"apiVersion":"v1","code":400,"kind":"Status","message":"Name parameter required.","metadata":{},"reason":"BadRequest","status":"Failure"}
        GET /api/v1/namespaces/default/pods/p/log?sinceTime=x
          400 {"apiVersion":"v1","code":400,"kind":"Status","message":"parsing time \"x\" as \"2006-01-02T15:04:05Z07:00\": cannot parse \"x\" as \"2006\"","metadata":{},"reason":"BadRequest","status":"Failure"}
        POST /api/v1/namespaces/default/pods <- {"metadata":{"name":"waits"},"spec":{"automountServiceAccountToken":false,"containers":[{"name":"c","image":"i"}]}}
          201 {"apiVersion":"v1","kind":"Pod","metadata":{"generation":1,"name":"waits","namespace":"default"},"spec":{"automountServiceAccountToken":false,"containers":[{"image":"i","imagePullPolicy":"Always","name":"c","resources":{},"terminationMessagePath":"/dev/termination-log","terminationMessagePolicy":"File"}],"dnsPolicy":"ClusterFirst","enableServiceLinks":true,"preemptionPolicy":"PreemptLowerPriority","priority":0,"restartPolicy":"Always","schedulerName":"default-scheduler","securityContext":{},"serviceAccount":"default","serviceAccountName":"default","terminationGracePeriodSeconds":30,"tolerations":[{"effect":"NoExecute","key":"node.kubernetes.io/not-ready","operator":"Exists","tolerationSeconds":300},{"effect":"NoExecute","key":"node.kubernetes.io/unreachable","operator":"Exists","tolerationSeconds":300}]},"status":{"phase":"Pending","qosClass":"BestEffort"}}
        GET /api/v1/namespaces/default/pods/waits/log
          204 
        POST /api/v1/namespaces/default/pods/p/eviction <- {"metadata":{"name":"p","namespace":"other"}}
          400 {"apiVersion":"v1","code":400,"kind":"Status","message":"the namespace of the provided object does not match the namespace sent on the request","metadata":{},"reason":"BadRequest","status":"Failure"}
        POST /api/v1/namespaces/default/pods/p/eviction <- {"apiVersion":"policy/v1beta1","kind":"Eviction","metadata":{"name":"p"}}
          404 {"apiVersion":"v1","code":404,"details":{"kind":"pods","name":"p"},"kind":"Status","message":"pods \"p\" not found","metadata":{},"reason":"NotFound","status":"Failure"}
        PUT /api/v1/namespaces/default/finalize <- {"metadata":{"name":"default"},"spec":{"finalizers":["kubernetes","bad"]}}
          422 {"apiVersion":"v1","code":422,"details":{"causes":[{"field":"spec.finalizers[1]","message":"Invalid value: \"bad\": name is neither a standard finalizer name nor is it fully qualified","reason":"FieldValueInvalid"}],"kind":"Namespace","name":"default"},"kind":"Status","message":"Namespace \"default\" is invalid: spec.finalizers[1]: Invalid value: \"bad\": name is neither a standard finalizer name nor is it fully qualified","metadata":{},"reason":"Invalid","status":"Failure"}
    "#]].assert_eq(&server.play(&script).await);
}

#[tokio::test]
async fn empty_lists_belong_to_their_writer_and_are_stored_as_null() {
    let server = Server::start().await;
    let slices = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices";
    let body = r#"{"metadata":{"name":"s"},"addressType":"IPv4","endpoints":[],"ports":[]}"#;
    let created = server.json(&format!("POST {slices}"), body).await;
    let owned = &created["metadata"]["managedFields"][0]["fieldsV1"];
    assert_eq!(owned.to_string(), r#"{"f:addressType":{},"f:endpoints":{},"f:ports":{}}"#);
    assert!(created["endpoints"].is_null() && created["ports"].is_null(), "{created}");
}

#[tokio::test]
async fn refusals_come_in_upstreams_order() {
    let server = Server::start().await;
    let maps = "/api/v1/namespaces/default/configmaps";
    server.json(&format!("POST {maps}"), r#"{"metadata":{"name":"a"}}"#).await;
    let large = format!(r#"{{"metadata":{{"name":"l"}},"data":{{"a":"{}"}}}}"#, "x".repeat(1 << 20) + "x");
    let log = "/api/v1/namespaces/default/pods/none/log";
    let representations = "406: Not Acceptable\n\nAvailable representations: text/plain, application/json, application/yaml, application/vnd.kubernetes.protobuf";
    let accepted = "only the following media types are accepted: application/json, application/yaml, application/vnd.kubernetes.protobuf";
    let elsewhere = "the namespace of the provided object does not match the namespace sent on the request";
    let other = r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"b","namespace":"other"}}"#;
    let table = [
        (
            format!("PUT {maps}/.."),
            r#"{"metadata":{"name":"x"}}"#,
            "the name of the object (x) does not match the name on the URL (..)",
        ),
        (
            format!("PUT {maps}/.."),
            r#"{"metadata":{"name":".."}}"#,
            r#"Name parameter invalid: "..": may not be '..'"#,
        ),
        (format!("PUT {maps}/a"), other, elsewhere),
        (format!("PATCH {maps}/a | {MERGE}"), other, elsewhere),
        (format!("PATCH {maps}/a | {MERGE}"), "null", "Invalid JSON Patch"),
        (
            format!("PATCH {maps}/a | Content-Type: application/merge-patch+json ;x"),
            "{}",
            "the body of the request was in an unknown format - accepted media types include: application/json-patch+json, application/merge-patch+json, application/strategic-merge-patch+json, application/apply-patch+yaml",
        ),
        (
            format!("POST {maps}"),
            &large,
            "ConfigMap \"l\" is invalid: []: Too long: may not be more than 1048576 bytes",
        ),
        (
            format!("POST {maps}"),
            r#"{"metadata":{"name":"v","resourceVersion":"5"}}"#,
            "resourceVersion should not be set on objects to be created",
        ),
        ("POST /api/v2".to_owned(), "", "the server could not find the requested resource"),
        ("DELETE /apis/apps/v9".to_owned(), "", "the server could not find the requested resource"),
        ("POST /api/v1".to_owned(), "", "the server does not allow this method on the requested resource"),
        (format!("GET {log} | Accept: text/*"), "", representations),
        (format!("GET {log} | Accept: text/plain"), "", accepted),
        (format!("GET {log} | Accept: application/json, */*"), "", r#"pods "none" not found"#),
        (
            format!("GET {maps} | Accept: APPLICATION/JSON"),
            "",
            "406: Not Acceptable\n\nAvailable representations: application/json, application/yaml, application/vnd.kubernetes.protobuf, application/json;stream=watch, application/vnd.kubernetes.protobuf;stream=watch",
        ),
    ];
    for (line, body, expected) in table {
        assert_eq!(server.json(&line, body).await["message"], expected, "{line}");
    }
    let dry = server
        .json(&format!("POST {maps}?dryRun=All"), r#"{"metadata":{"name":"v","resourceVersion":"5"}}"#)
        .await;
    assert_eq!((&dry["kind"], &dry["metadata"]["resourceVersion"]), (&"ConfigMap".into(), &"5".into()));
}

#[tokio::test]
async fn tables_have_upstreams_cells() {
    let server = Server::start().await;
    let namespace = "/api/v1/namespaces/default";
    let slices = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices";
    let resource_slices = "/apis/resource.k8s.io/v1/resourceslices";
    let sets = "/apis/apps/v1/namespaces/default/daemonsets";
    let table = [
        (
            format!("{namespace}/endpoints"),
            r#"{"subsets":[{"notReadyAddresses":[{"ip":"1.2.3.4"}],"ports":[{"port":1}]}]}"#,
            r#"["x","","#,
        ),
        (format!("{namespace}/endpoints"), "{}", r#"["x","<none>","#),
        (
            slices.to_owned(),
            r#"{"addressType":"IPv4","endpoints":[],"ports":[{"name":"a"},{"port":5}]}"#,
            r#"["x","IPv4","a,5","#,
        ),
        (
            format!("{namespace}/persistentvolumeclaims"),
            r#"{"spec":{"accessModes":["ReadWriteOnce"],"volumeName":"v","resources":{"requests":{"storage":"1"}}}}"#,
            r#"["x","Pending","v","0","","#,
        ),
        (
            resource_slices.to_owned(),
            r#"{"spec":{"driver":"d.x","allNodes":true,"pool":{"name":"p","generation":1,"resourceSliceCount":1}}}"#,
            r#"["x","","d.x","p","#,
        ),
        (
            sets.to_owned(),
            r#"{"spec":{"selector":{"matchLabels":{"a":"b"}},"template":{"metadata":{"labels":{"a":"b"}},"spec":{"containers":[{"name":"c","image":"i"}]}}}}"#,
            r#"["x",0,"#,
        ),
    ];
    let shape = "Accept: application/json;as=Table;g=meta.k8s.io;v=v1";
    for (path, body, expected) in table {
        let mut object: serde_json::Value = serde_json::from_str(body).unwrap();
        object["metadata"] = serde_json::json!({"name": "x"});
        let row =
            server.json(&format!("POST {path} | {shape}"), &object.to_string()).await["rows"][0].clone();
        assert!(row["cells"].to_string().starts_with(expected), "{path}: {row}");
        assert!(row["object"]["metadata"]["annotations"].is_null(), "{path}: {row}");
        server.json(&format!("DELETE {path}/x"), "").await;
    }
}

#[tokio::test]
async fn claims_need_privileges_beside_a_valid_object() {
    let server = Server::start().await;
    let claims = "/apis/resource.k8s.io/v1/namespaces/default/resourceclaims";
    let claim = r#"{"metadata":{"name":"c"},"spec":{"devices":{"requests":[{"name":"r","exactly":{"deviceClassName":"d","adminAccess":true}}]}}}"#;
    let why = "ResourceClaim.resource.k8s.io \"c\" is invalid: spec.devices.requests[0].adminAccess: Forbidden: admin access to devices requires the `resource.kubernetes.io/admin-access: true` label on the containing namespace";
    assert_eq!(server.json(&format!("POST {claims}"), claim).await["message"], why);
    let label = r#"{"metadata":{"labels":{"resource.kubernetes.io/admin-access":"true"}}}"#;
    server.json(&format!("PATCH /api/v1/namespaces/default | {MERGE}"), label).await;
    assert_eq!(server.json(&format!("POST {claims}"), claim).await["kind"], "ResourceClaim");

    let role = r#"{"metadata":{"name":"c"},"rules":[{"apiGroups":["resource.k8s.io"],"resources":["resourceclaims/status"],"verbs":["patch"]}]}"#;
    server.json("POST /apis/rbac.authorization.k8s.io/v1/clusterroles", role).await;
    let binding = r#"{"metadata":{"name":"c"},"roleRef":{"kind":"ClusterRole","name":"c","apiGroup":"rbac.authorization.k8s.io"},"subjects":[{"kind":"User","name":"u","apiGroup":"rbac.authorization.k8s.io"}]}"#;
    server.json("POST /apis/rbac.authorization.k8s.io/v1/clusterrolebindings", binding).await;
    let results = r#"{"status":{"allocation":{"devices":{"results":[{"request":"r","driver":"d.x","pool":"p","device":"v","adminAccess":true}]}},"devices":[{"driver":"d.x","pool":"p","device":"v"}]}}"#;
    let patch = format!("PATCH {claims}/c/status | {MERGE} | Impersonate-User: u");
    let refused = server.json(&patch, results).await;
    let causes: Vec<&str> = refused["details"]["causes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|c| c["message"].as_str().unwrap())
        .collect();
    assert_eq!(
        causes,
        [
            r#"Forbidden: changing status.allocation or status.reservedFor requires resource="resourceclaims/binding", verb="patch" permission: resourceclaims.resource.k8s.io is forbidden: User "u" cannot patch resource "resourceclaims/binding" in API group "resource.k8s.io" at the cluster scope"#,
            r#"Forbidden: changing status.devices requires resource="resourceclaims/driver", verb="[arbitrary-node:patch]" permission: resourceclaims.resource.k8s.io "d.x" is forbidden: User "u" cannot arbitrary-node:patch resource "resourceclaims/driver" in API group "resource.k8s.io" in the namespace "default""#,
        ]
    );
    let allowed = server.json(&format!("PATCH {claims}/c/status | {MERGE}"), results).await;
    assert_eq!(allowed["kind"], "ResourceClaim", "{allowed}");
}
