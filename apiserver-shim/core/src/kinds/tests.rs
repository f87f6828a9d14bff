//! Tests of creates and updates by examples: defaults, errors, kept fields, table rows.

use super::*;
use crate::definition::ResourceDefinition;
use expect_test::{Expect, expect};
use serde_json::json;
use shim_model::schema::{Media, Strictness, decode};
use std::sync::LazyLock;

#[path = "tests/empty_values.rs"]
mod empty_values;
#[path = "tests/others.rs"]
mod others;
#[path = "tests/pods.rs"]
mod pods;
#[path = "tests/rbac.rs"]
mod rbac;
#[path = "tests/services.rs"]
mod services;

const NOW: Instant = Instant::from_seconds(1_000_000);

static BUILTIN: LazyLock<Vec<ResourceDefinition>> = LazyLock::new(crate::definition::builtin);

fn resource(plural: &str) -> &'static ResourceDefinition {
    BUILTIN.iter().find(|r| r.plural == plural).unwrap()
}

fn context() -> CreateContext<'static> {
    CreateContext { namespace: "ns", uid: "u-1", now: NOW, suffix: "xyz12", is_unlabelled: false }
}

fn create(plural: &str, body: Value) -> Result<Value, Status> {
    let resource = resource(plural);
    let mut object =
        decode(body.to_string().as_bytes(), Media::Json, &resource.object_type, Strictness::Strict)?.value;
    resource.strategy().default(&mut object);
    if plural == "pods" {
        admission::default_tolerations(&mut object);
    }
    begin_create(resource, &mut object, &context())?;
    Ok(object)
}

fn pod(spec: Value) -> Value {
    json!({"metadata": {"name": "p"}, "spec": spec})
}

fn check(plural: &str, body: Value, expect: Expect) {
    let text = create(plural, body).map_or_else(|s| s.message, |o| o.to_string());
    expect.assert_eq(&text);
}

fn check_update(
    plural: &str,
    subresource: Subresource<'_>,
    old: &Value,
    change: impl FnOnce(&mut Value),
    expect: Expect,
) {
    let mut new = old.clone();
    change(&mut new);
    resource(plural).strategy().default(&mut new);
    let text = match begin_update(resource(plural), subresource, &mut new, old) {
        Ok(_) => format!("generation {} {} {}", new["metadata"]["generation"], new["spec"], new["status"]),
        Err(status) => status.message,
    };
    expect.assert_eq(&text);
}

#[test]
fn pods_are_defaulted() {
    check(
        "pods",
        pod(
            json!({"containers": [{"name": "c", "image": "reg:5000/a", "resources": {"limits": {"cpu": "1", "memory": "1Gi"}}, "livenessProbe": {"httpGet": {"port": 80}}, "ports": [{"containerPort": 80}]}]}),
        ),
        expect![[
            r#"{"apiVersion":"v1","kind":"Pod","metadata":{"creationTimestamp":"1970-01-12T13:46:40Z","generation":1,"name":"p","namespace":"ns","uid":"u-1"},"spec":{"containers":[{"image":"reg:5000/a","imagePullPolicy":"Always","livenessProbe":{"failureThreshold":3,"httpGet":{"path":"/","port":80,"scheme":"HTTP"},"periodSeconds":10,"successThreshold":1,"timeoutSeconds":1},"name":"c","ports":[{"containerPort":80,"protocol":"TCP"}],"resources":{"limits":{"cpu":"1","memory":"1Gi"},"requests":{"cpu":"1","memory":"1Gi"}},"terminationMessagePath":"/dev/termination-log","terminationMessagePolicy":"File"}],"dnsPolicy":"ClusterFirst","enableServiceLinks":true,"preemptionPolicy":"PreemptLowerPriority","priority":0,"restartPolicy":"Always","schedulerName":"default-scheduler","securityContext":{},"terminationGracePeriodSeconds":30,"tolerations":[{"effect":"NoExecute","key":"node.kubernetes.io/not-ready","operator":"Exists","tolerationSeconds":300},{"effect":"NoExecute","key":"node.kubernetes.io/unreachable","operator":"Exists","tolerationSeconds":300}]},"status":{"phase":"Pending","qosClass":"Guaranteed"}}"#
        ]],
    );
}

#[test]
fn defaults_settle_at_once() {
    for (plural, body) in [
        (
            "pods",
            pod(
                json!({"containers": [{"name": "c", "image": "a"}], "hostNetwork": true, "volumes": [{"name": "v"}]}),
            ),
        ),
        (
            "deployments",
            json!({"metadata": {"name": "d"}, "spec": {"selector": {"matchLabels": {"a": "b"}}, "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "a"}]}}}}),
        ),
        (
            "services",
            json!({"metadata": {"name": "s"}, "spec": {"type": "NodePort", "ports": [{"port": 80}]}}),
        ),
        ("secrets", json!({"metadata": {"name": "s"}, "stringData": {"a": "b"}})),
        ("nodes", json!({"metadata": {"name": "n"}, "status": {"capacity": {"cpu": "1"}}})),
    ] {
        let once = create(plural, body).unwrap();
        let mut twice = once.clone();
        resource(plural).strategy().default(&mut twice);
        assert_eq!(once, twice, "{plural}");
    }
}

#[test]
fn new_objects_have_no_version() {
    let create = |version: &str, data: Value| {
        create("configmaps", json!({"metadata": {"name": "c", "resourceVersion": version}, "data": data}))
    };
    for version in ["", "0", "00", "x", "+5", "-1", "18446744073709551616"] {
        assert_eq!(create(version, json!({})).unwrap()["metadata"].get("resourceVersion"), None, "{version}");
    }
    for version in ["1", "007", "18446744073709551615"] {
        let refused = create(version, json!({})).unwrap_err();
        assert_eq!(refused.message, "resourceVersion should not be set on objects to be created");
    }
    // What else is wrong is said first.
    assert!(create("1", json!({"a b": "c"})).unwrap_err().message.contains("is invalid"));
}

#[test]
fn bad_objects_are_refused_in_upstreams_words() {
    check(
        "pods",
        pod(json!({"containers": []})),
        expect![[r#"Pod "p" is invalid: spec.containers: Required value"#]],
    );
    check(
        "pods",
        pod(
            json!({"containers": [{"name": "c", "image": "i", "resources": {"requests": {"cpu": "2"}, "limits": {"cpu": "1"}}, "volumeMounts": [{"name": "v", "mountPath": "/a"}]}, {"name": "c"}], "restartPolicy": "Maybe"}),
        ),
        expect![[
            r#"Pod "p" is invalid: [spec.containers[0].volumeMounts[0].name: Not found: "v", spec.containers[0].resources.requests: Invalid value: "2": must be less than or equal to cpu limit of 1, spec.containers[1].image: Required value, spec.containers[1].name: Duplicate value: "c", spec.restartPolicy: Unsupported value: "Maybe": supported values: "Always", "OnFailure", "Never"]"#
        ]],
    );
    check(
        "services",
        json!({"metadata": {"name": "a.b"}, "spec": {"ports": []}}),
        expect![[
            r#"Service "a.b" is invalid: [metadata.name: Invalid value: "a.b": must not contain dots, spec.ports: Required value]"#
        ]],
    );
    check(
        "deployments",
        json!({"metadata": {"generateName": "d-"}, "spec": {"selector": {}, "template": {}}}),
        expect![[
            r#"Deployment.apps "d-xyz12" is invalid: [spec.selector: Invalid value: {}: empty selector is invalid for deployment, spec.template.spec.containers: Required value]"#
        ]],
    );
    check(
        "configmaps",
        json!({}),
        expect![[
            r#"ConfigMap "" is invalid: metadata.name: Required value: name or generateName is required"#
        ]],
    );
    check(
        "configmaps",
        json!({"metadata": {"name": "c", "namespace": "other"}}),
        expect!["the namespace of the provided object does not match the namespace sent on the request"],
    );
}

#[test]
fn little_of_a_pod_may_change() {
    let old = create("pods", pod(json!({"containers": [{"name": "c", "image": "i:1"}]}))).unwrap();
    let image = |o: &mut Value| {
        o["spec"]["containers"][0]["image"] = "i:2".into();
        o["status"]["phase"] = "Running".into();
    };
    let mut new = old.clone();
    image(&mut new);
    begin_update(resource("pods"), Subresource::Main, &mut new, &old).unwrap();
    assert_eq!((&new["metadata"]["generation"], &new["status"]["phase"]), (&json!(2), &json!("Pending")));
    check_update(
        "pods",
        Subresource::Main,
        &old,
        |o| o["spec"]["hostNetwork"] = true.into(),
        expect![[r#"
            Pod "p" is invalid: spec: Forbidden: pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)
            @@ -44,7 +44,7 @@
              "AutomountServiceAccountToken": null,
              "NodeName": "",
              "SecurityContext": {
            -  "HostNetwork": false,
            +  "HostNetwork": true,
               "HostPID": false,
               "HostIPC": false,
               "ShareProcessNamespace": null,
        "#]],
    );
    check_update(
        "pods",
        Subresource::Main,
        &old,
        |o| o["spec"]["tolerations"] = json!([]),
        expect![[
            r#"Pod "p" is invalid: spec.tolerations: Forbidden: existing toleration can not be modified except its tolerationSeconds"#
        ]],
    );
    let mut status = old.clone();
    image(&mut status);
    begin_update(resource("pods"), Subresource::Status, &mut status, &old).unwrap();
    assert_eq!(
        (&status["spec"], &status["status"]["phase"], &status["metadata"]["generation"]),
        (&old["spec"], &json!("Running"), &json!(1))
    );
}

#[test]
fn selectors_and_seals_are_immutable() {
    let config =
        create("configmaps", json!({"metadata": {"name": "c"}, "data": {"a": "b"}, "immutable": true}))
            .unwrap();
    check_update(
        "configmaps",
        Subresource::Main,
        &config,
        |o| o["data"]["a"] = "c".into(),
        expect![[r#"ConfigMap "c" is invalid: data: Forbidden: field is immutable when `immutable` is set"#]],
    );
    let body = json!({"metadata": {"name": "d"}, "spec": {"selector": {"matchLabels": {"a": "b"}}, "template": {"metadata": {"labels": {"a": "b", "x": "y"}}, "spec": {"containers": [{"name": "c", "image": "a"}]}}}});
    let deployment = create("deployments", body).unwrap();
    check_update(
        "deployments",
        Subresource::Main,
        &deployment,
        |o| o["spec"]["selector"] = json!({"matchLabels": {"x": "y"}}),
        expect![[
            r#"Deployment.apps "d" is invalid: spec.selector: Invalid value: {"matchLabels":{"x":"y"}}: field is immutable"#
        ]],
    );
}

#[test]
fn services_keep_their_addresses() {
    let mut old = create(
        "services",
        json!({"metadata": {"name": "s"}, "spec": {"type": "NodePort", "ports": [{"port": 80}]}}),
    )
    .unwrap();
    old["spec"]["clusterIP"] = "10.0.0.1".into();
    old["spec"]["clusterIPs"] = json!(["10.0.0.1"]);
    old["spec"]["ports"][0]["nodePort"] = 30_000.into();
    let mut new = create(
        "services",
        json!({"metadata": {"name": "s"}, "spec": {"type": "NodePort", "ports": [{"port": 80}]}}),
    )
    .unwrap();
    begin_update(resource("services"), Subresource::Main, &mut new, &old).unwrap();
    assert_eq!(new["spec"], old["spec"]);
    check_update(
        "services",
        Subresource::Main,
        &old,
        |o| o["spec"]["clusterIP"] = "10.0.0.2".into(),
        expect![[
            r#"Service "s" is invalid: spec.clusterIPs[0]: Invalid value: ["10.0.0.2"]: may not change once set"#
        ]],
    );
}

#[test]
fn pod_rows_look_as_in_kubectl() {
    let cells = |status: Value, extra: Value| {
        let mut pod = pod(
            json!({"nodeName": "n", "containers": [{"name": "c"}], "initContainers": [{"name": "i"}, {"name": "s", "restartPolicy": "Always"}]}),
        );
        pod["status"] = status;
        if let Some(at) = extra.as_str() {
            pod["metadata"]["deletionTimestamp"] = at.into();
        }
        let cells = resource("pods").strategy().cells(&pod, NOW);
        cells[1..4].iter().map(|c| c.as_str().unwrap().to_owned()).collect::<Vec<_>>().join(" ")
    };
    let init = json!([{"name": "i", "state": {"terminated": {"exitCode": 0}}}, {"name": "s", "started": true, "ready": true, "state": {"running": {}}}]);
    let lines = [
        cells(json!({"phase": "Pending"}), Value::Null),
        cells(
            json!({"phase": "Pending", "initContainerStatuses": [{"name": "i", "state": {"waiting": {"reason": "PodInitializing"}}}]}),
            Value::Null,
        ),
        cells(
            json!({"phase": "Pending", "initContainerStatuses": [{"name": "i", "restartCount": 2, "state": {"waiting": {"reason": "CrashLoopBackOff"}}}]}),
            Value::Null,
        ),
        cells(
            json!({"phase": "Running", "initContainerStatuses": init, "containerStatuses": [{"name": "c", "ready": true, "restartCount": 3, "state": {"running": {}}, "lastState": {"terminated": {"finishedAt": "1970-01-12T13:45:40Z"}}}]}),
            Value::Null,
        ),
        cells(
            json!({"phase": "Running", "initContainerStatuses": init, "containerStatuses": [{"name": "c", "state": {"terminated": {"exitCode": 137, "signal": 9}}}]}),
            Value::Null,
        ),
        cells(
            json!({"phase": "Succeeded", "initContainerStatuses": init, "containerStatuses": [{"name": "c", "state": {"terminated": {"exitCode": 0, "reason": "Completed"}}}]}),
            Value::Null,
        ),
        cells(json!({"phase": "Running"}), json!("1970-01-12T13:45:40Z")),
    ];
    expect![[r#"
        0/2 Pending 0
        0/2 Init:0/2 0
        0/2 Init:CrashLoopBackOff 2
        2/2 Running 3 (60s ago)
        1/2 Signal:9 0
        1/2 Completed 0
        0/2 Terminating 0"#]]
    .assert_eq(&lines.join("\n"));
}

#[test]
fn grace_and_admission() {
    let grace = |spec: Value, phase: &str, asked: Option<i64>| {
        let pod = json!({"spec": spec, "status": {"phase": phase}});
        resource("pods").strategy().grace(&pod, asked).unwrap().seconds
    };
    let bound = json!({"nodeName": "n", "terminationGracePeriodSeconds": 30});
    assert_eq!(grace(bound.clone(), "Running", None), 30);
    assert_eq!(grace(bound.clone(), "Running", Some(5)), 5);
    assert_eq!(grace(bound.clone(), "Running", Some(-1)), 1);
    assert_eq!(grace(bound, "Failed", None), 0);
    assert_eq!(grace(json!({"terminationGracePeriodSeconds": 30}), "Pending", None), 0);
    let mut with_token = pod(
        json!({"containers": [{"name": "c"}, {"name": "d", "volumeMounts": [{"name": "x", "mountPath": admission::TOKEN_MOUNT}]}]}),
    );
    let account = admission::ServiceAccount { name: "default".into(), ..Default::default() };
    admission::service_account(&mut with_token, &account, || "abcde".into());
    assert_eq!(with_token["spec"]["containers"][0]["volumeMounts"][0]["name"], "kube-api-access-abcde");
    assert_eq!(with_token["spec"]["containers"][1]["volumeMounts"].as_array().unwrap().len(), 1);
    let again = with_token.clone();
    admission::service_account(&mut with_token, &account, || "fghij".into());
    assert_eq!(with_token, again);
    let mut odd = pod(json!({"priorityClassName": "nope"}));
    assert_eq!(
        admission::priority(&mut odd, None).unwrap_err().message,
        "pods \"p\" is forbidden: no PriorityClass with name nope was found"
    );
}

#[test]
fn the_class_decides_whether_a_pod_is_revocable() {
    let class = |revocable| admission::PriorityClass { name: "c".into(), revocable, ..Default::default() };
    let admitted = |annotation: Option<&str>, revocable| {
        let mut pod = pod(json!({"priorityClassName": "c"}));
        if let Some(value) = annotation {
            pod["metadata"]["annotations"] = json!({"catamaran.dev/revocable": value});
        }
        admission::priority(&mut pod, Some(&class(revocable)))
            .map(|()| pod["metadata"]["annotations"].clone())
    };
    let marked = json!({"catamaran.dev/revocable": "true"});
    assert_eq!(admitted(None, true).unwrap(), marked);
    assert_eq!(admitted(Some("true"), true).unwrap(), marked);
    assert_eq!(admitted(None, false).unwrap(), Value::Null);
    let refused = admitted(Some("true"), false).unwrap_err().message;
    assert!(
        refused.contains("the annotation catamaran.dev/revocable (true) must not be provided"),
        "{refused}"
    );
    assert!(admitted(Some("false"), true).is_err());
}

#[test]
fn generations_count_intents_only() {
    let body = json!({"metadata": {"name": "d"}, "spec": {"selector": {"matchLabels": {"a": "b"}}, "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "a"}]}}}});
    let old = create("deployments", body).unwrap();
    let generation = |subresource: Subresource<'_>, change: fn(&mut Value)| {
        let mut new = old.clone();
        change(&mut new);
        begin_update(resource("deployments"), subresource, &mut new, &old).unwrap();
        new["metadata"]["generation"].as_i64().unwrap()
    };
    let annotate = |o: &mut Value| o["metadata"]["annotations"] = json!({"x": "y"});
    assert_eq!(generation(Subresource::Main, annotate), 2);
    assert_eq!(generation(Subresource::Status, annotate), 1);
    assert_eq!(generation(Subresource::Main, |o| o["metadata"]["labels"] = json!({"x": "y"})), 1);
    assert_eq!(generation(Subresource::Main, |o| o["spec"]["replicas"] = 3.into()), 2);
    assert_eq!(generation(Subresource::Status, |o| o["spec"]["replicas"] = 3.into()), 1);
}

#[test]
fn field_selectors_name_known_fields() {
    let check = |plural: &str, text: &str| {
        let selector = shim_model::selector::FieldSelector::parse(text).unwrap();
        check_field_selector(resource(plural), &selector).map_err(|s| s.message)
    };
    assert_eq!(check("pods", "spec.nodeName=a,metadata.name=b"), Ok(()));
    assert_eq!(check("secrets", "data.x=1"), Err("field label not supported: data.x".to_owned()));
    let unknown = "\"data.x\" is not a known field selector: only \"metadata.name\", \"metadata.namespace\"";
    assert_eq!(check("configmaps", "data.x=1"), Err(unknown.to_owned()));
    assert_eq!(check("jobs", "status.successful=1"), Ok(()));
    let unknown = "field label \"spec.parallelism\" not supported for Job";
    assert_eq!(check("jobs", "spec.parallelism=1"), Err(unknown.to_owned()));
    let job = json!({"status": {"succeeded": 2}});
    let selectable = resource("jobs").strategy().selectable(&job);
    assert_eq!(selectable, [("status.successful".into(), "2".to_owned())]);
    for resource in BUILTIN.iter() {
        let kind = resource.strategy();
        for (field, _) in kind.selectable(&json!({})) {
            assert!(kind.selectable_fields().contains(&&*field), "{resource} {field}");
        }
        assert_eq!(kind.cells(&json!({}), NOW).len(), resource.columns.len(), "{resource}");
        let mut garbage = json!({"metadata": [], "spec": 1, "status": "x"});
        kind.default(&mut garbage);
        kind.validate_create(&garbage);
    }
}

#[test]
fn an_error_of_the_stored_object_is_not_held_against_an_update() {
    let mut old = create("pods", pod(json!({"containers": [{"name": "c", "image": "a"}]}))).unwrap();
    old["spec"]["containers"][0]["ports"] = json!([{"containerPort": 70_000, "protocol": "TCP"}]);
    let resource = &resource("pods");
    let update = |change: fn(&mut Value)| {
        let mut new = old.clone();
        change(&mut new);
        begin_update(resource, Subresource::Main, &mut new, &old).map_err(|status| status.message)
    };
    update(|pod| pod["metadata"]["labels"] = json!({"x": "y"})).unwrap();
    update(|pod| pod["spec"]["containers"][0]["image"] = json!("b")).unwrap();
    // What may not change may not change either in a Pod that breaks a newer rule.
    let refused = update(|pod| pod["spec"]["nodeName"] = json!("n")).unwrap_err();
    assert!(refused.contains("pod updates may not change fields other than"), "{refused}");
    let refused = update(|pod| pod["spec"]["containers"][0]["ports"][0]["containerPort"] = json!(80_000));
    assert!(refused.unwrap_err().contains("spec.containers[0].ports[0].containerPort: Invalid value: 80000"));
}

#[test]
fn pods_with_limits_of_their_own_request_something() {
    let requests = |spec: Value| {
        let mut object = pod(spec);
        resource("pods").strategy().default(&mut object);
        object["spec"]["resources"]["requests"].clone()
    };
    let limits = json!({"limits": {"cpu": "2", "memory": "1Gi"}});
    let bare = json!({"resources": limits, "containers": [{"name": "c", "image": "a"}]});
    assert_eq!(requests(bare), json!({"cpu": "2", "memory": "1Gi"}));
    let container = json!({"name": "c", "image": "a", "resources": {"requests": {"cpu": "300m"}}});
    let two = json!({"resources": limits, "containers": [container, container]});
    assert_eq!(requests(two), json!({"cpu": "600m", "memory": "1Gi"}));
}

#[test]
fn host_processes_use_the_network_of_the_node() {
    let process = json!({"windowsOptions": {"hostProcess": true}});
    let spec = json!({"os": {"name": "windows"}, "containers": [
        {"name": "c", "image": "a", "securityContext": process},
        {"name": "d", "image": "a"},
    ]});
    let refused = create("pods", pod(spec)).unwrap_err().message;
    assert!(refused.contains("then all containers must be HostProcess containers"), "{refused}");
    assert!(
        refused.contains("spec.hostNetwork: Invalid value: false: hostNetwork must be true"),
        "{refused}"
    );
}

#[test]
fn deletions_of_old_kinds_orphan() {
    let orphans = |plural: &str| resource(plural).strategy().orphans_dependents();
    assert!(orphans("jobs") && orphans("replicationcontrollers") && !orphans("replicasets"));
    assert!(resource("jobs").strategy().orphaning_warning().is_some());
    let refusal = |name: &str| resource("priorityclasses").strategy().deletion_refusal(name);
    assert!(refusal("system-node-critical").is_some() && refusal("mine").is_none());
}

#[test]
fn an_update_cannot_begin_a_deletion() {
    let old = create("configmaps", json!({"metadata": {"name": "c", "generation": 7}})).unwrap();
    assert_eq!(old["metadata"]["generation"], 7);
    let mut new = old.clone();
    new["metadata"]["deletionTimestamp"] = "2020-01-01T00:00:00Z".into();
    let refused = begin_update(resource("configmaps"), Subresource::Main, &mut new, &old).unwrap_err();
    assert!(refused.message.contains("metadata.deletionTimestamp"), "{}", refused.message);
}

#[test]
fn counts_of_collisions_only_grow() {
    let body = json!({"metadata": {"name": "s"}, "spec": {"selector": {"matchLabels": {"a": "b"}}, "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "a"}]}}}});
    for plural in ["statefulsets", "deployments", "daemonsets"] {
        let mut old = create(plural, body.clone()).unwrap();
        old["status"]["collisionCount"] = 1.into();
        let mut new = old.clone();
        new["status"].as_object_mut().unwrap().remove("collisionCount");
        let refused = begin_update(resource(plural), Subresource::Status, &mut new, &old).unwrap_err();
        assert!(refused.message.contains("cannot be decremented"), "{}", refused.message);
    }
}
