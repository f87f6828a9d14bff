//! Fields of Pods that several templates share.

use super::*;

/// Upstream's milli scale: what is finer is rounded up, in every resource list of every template.
#[test]
fn resource_lists_are_stored_in_whole_thousandths() {
    let resources = json!({"requests": {"cpu": "0.0005", "memory": "100.0001", "ephemeral-storage": "1u"}, "limits": {"cpu": "1.0001", "memory": "1Ki", "ephemeral-storage": "1500u"}});
    let container = json!({"name": "c", "image": "i", "resources": resources});
    let claim =
        json!({"spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1u"}}}});
    let spec = json!({"containers": [container], "initContainers": [{"name": "d", "image": "i", "resources": resources}],
        "volumes": [{"name": "v", "ephemeral": {"volumeClaimTemplate": claim}}], "overhead": {"cpu": "1n"}});
    let of = |kind: &str, body: Value, path: &str| {
        let mut object = body;
        resource(kind).strategy().default(&mut object);
        let spec = object.pointer(path).unwrap();
        let claim = &spec["volumes"][0]["ephemeral"]["volumeClaimTemplate"]["spec"]["resources"];
        let parts = [
            &spec["containers"][0]["resources"],
            &spec["initContainers"][0]["resources"],
            claim,
            &spec["overhead"],
        ];
        parts.map(Value::to_string).join("\n")
    };
    let pod_spec = of("pods", pod(spec.clone()), "/spec");
    expect![[r#"
        {"limits":{"cpu":"1001m","ephemeral-storage":"2m","memory":"1Ki"},"requests":{"cpu":"1m","ephemeral-storage":"1m","memory":"100001m"}}
        {"limits":{"cpu":"1001m","ephemeral-storage":"2m","memory":"1Ki"},"requests":{"cpu":"1m","ephemeral-storage":"1m","memory":"100001m"}}
        {"requests":{"storage":"1m"}}
        {"cpu":"1m"}"#]].assert_eq(&pod_spec);
    let template = json!({"template": {"metadata": {}, "spec": spec}});
    let of_template = of("podtemplates", template.clone(), "/template/spec");
    assert_eq!(of_template, pod_spec);
    for kind in ["deployments", "replicasets"] {
        assert_eq!(of(kind, json!({"metadata": {}, "spec": template}), "/spec/template/spec"), pod_spec);
    }
    let mut node = json!({"metadata": {"name": "n"}, "status": {"capacity": {"cpu": "0.0005"}}});
    resource("nodes").strategy().default(&mut node);
    expect![[r#"{"allocatable":{"cpu":"1m"},"capacity":{"cpu":"1m"}}"#]]
        .assert_eq(&node["status"].to_string());
    let mut running = pod(json!({"containers": []}));
    running["status"] = json!({"containerStatuses": [{"allocatedResources": {"cpu": "1u"}, "resources": {"limits": {"cpu": "1u"}}}]});
    resource("pods").strategy().default(&mut running);
    expect![[r#"[{"allocatedResources":{"cpu":"1m"},"resources":{"limits":{"cpu":"1m"}}}]"#]]
        .assert_eq(&running["status"]["containerStatuses"].to_string());
}

/// With `hostNetwork` a port of a container is one of the node. Templates may omit it, Pods get the default.
#[test]
fn host_ports_are_container_ports_of_the_host_network() {
    let spec = |ports: Value| json!({"hostNetwork": true, "containers": [{"name": "c", "image": "i", "ports": ports}]});
    let deployment = |spec: Value| {
        let template = json!({"metadata": {"labels": {"a": "b"}}, "spec": spec});
        json!({"metadata": {"name": "d"}, "spec": {"selector": {"matchLabels": {"a": "b"}}, "template": template}})
    };
    let ports = |kind: &str, body: Value, path: &str| match create(kind, body) {
        Ok(object) => object.pointer(path).unwrap().to_string(),
        Err(status) => status.message,
    };
    let table: Vec<String> = [
        json!([{"containerPort": 80, "hostPort": 81}]),
        json!([{"containerPort": 80}]),
        json!([{"containerPort": 80, "hostPort": 80}]),
    ]
    .into_iter()
    .flat_map(|p| {
        let replicas = deployment(spec(p.clone()));
        let template =
            json!({"metadata": {"name": "t"}, "template": {"metadata": {}, "spec": spec(p.clone())}});
        [
            ports("pods", pod(spec(p)), "/spec/containers/0/ports"),
            ports("deployments", replicas.clone(), "/spec/template/spec/containers/0/ports"),
            ports("replicasets", replicas, "/spec/template/spec/containers/0/ports"),
            ports("podtemplates", template, "/template/spec/containers/0/ports"),
        ]
    })
    .collect();
    expect![[r#"
        Pod "p" is invalid: spec.containers[0].ports[0].hostPort: Invalid value: 81: must match `containerPort` when `hostNetwork` is true
        Deployment.apps "d" is invalid: spec.template.spec.containers[0].ports[0].hostPort: Invalid value: 81: must match `containerPort` when `hostNetwork` is true
        ReplicaSet.apps "d" is invalid: spec.template.spec.containers[0].ports[0].hostPort: Invalid value: 81: must match `containerPort` when `hostNetwork` is true
        PodTemplate "t" is invalid: template.spec.containers[0].ports[0].hostPort: Invalid value: 81: must match `containerPort` when `hostNetwork` is true
        [{"containerPort":80,"hostPort":80,"protocol":"TCP"}]
        [{"containerPort":80,"protocol":"TCP"}]
        [{"containerPort":80,"protocol":"TCP"}]
        [{"containerPort":80,"protocol":"TCP"}]
        [{"containerPort":80,"hostPort":80,"protocol":"TCP"}]
        [{"containerPort":80,"hostPort":80,"protocol":"TCP"}]
        [{"containerPort":80,"hostPort":80,"protocol":"TCP"}]
        [{"containerPort":80,"hostPort":80,"protocol":"TCP"}]"#]].assert_eq(&table.join("\n"));
    let twice = json!([{"containerPort": 80, "hostPort": 8080}, {"containerPort": 81, "hostPort": 8080}]);
    let init = json!({"containers": [{"name": "c", "image": "i"}], "initContainers": [{"name": "d", "image": "i", "ports": twice}]});
    check(
        "pods",
        pod(init),
        expect![[
            r#"Pod "p" is invalid: spec.initContainers[0].ports[1].hostPort: Duplicate value: "TCP//8080""#
        ]],
    );
}

/// The files of the kernel may be unmasked only for a root that is not the node's.
#[test]
fn user_namespaces_and_unmasked_proc() {
    let unmasked = json!([{"name": "c", "image": "i", "securityContext": {"procMount": "Unmasked"}}]);
    check(
        "pods",
        pod(json!({"containers": unmasked})),
        expect![[
            r#"Pod "p" is invalid: spec.containers[0].securityContext.procMount: Invalid value: "Unmasked": `hostUsers` must be false to use `Unmasked`"#
        ]],
    );
    check(
        "pods",
        pod(json!({"containers": unmasked, "hostUsers": true})),
        expect![[
            r#"Pod "p" is invalid: spec.containers[0].securityContext.procMount: Invalid value: "Unmasked": `hostUsers` must be false to use `Unmasked`"#
        ]],
    );
    assert!(create("pods", pod(json!({"containers": unmasked, "hostUsers": false}))).is_ok());
    let plain = json!([{"name": "c", "image": "i"}]);
    let shared = json!({"containers": plain, "hostUsers": false, "hostNetwork": true, "hostPID": true, "hostIPC": true});
    check(
        "pods",
        pod(shared),
        expect![[
            r#"Pod "p" is invalid: [spec.hostNetwork: Forbidden: when `pod.Spec.HostUsers` is false, spec.HostPID: Forbidden: when `pod.Spec.HostUsers` is false, spec.HostIPC: Forbidden: when `pod.Spec.HostUsers` is false]"#
        ]],
    );
    let overhead = pod(json!({"containers": plain, "overhead": {"cpu": "1"}}));
    expect![[r#"pods "p" is forbidden: pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead"#]].assert_eq(&admission::runtime_class(&overhead).unwrap_err().message);
}

/// What a node would have to refuse is refused before it is stored.
#[test]
fn sysctls_huge_pages_and_sleeping_hooks_are_checked_at_once() {
    let check = |edit: Value, container: Value| {
        let mut spec = json!({"containers": [{"name": "c", "image": "i"}]});
        for (into, from) in [(&["containers", "0"][..], container), (&[], edit)] {
            let pointer: String = into.iter().map(|part| format!("/{part}")).collect();
            let into = spec.pointer_mut(&pointer).unwrap().as_object_mut().unwrap();
            into.extend(from.as_object().unwrap().clone());
        }
        create("pods", pod(spec)).err().map_or("created".to_owned(), |status| status.message)
    };
    let sysctls = |names: &[&str]| {
        let list: Vec<Value> = names.iter().map(|name| json!({"name": name, "value": "1"})).collect();
        json!({"securityContext": {"sysctls": list}})
    };
    let on_host = |name: &str| {
        let mut edit = sysctls(&[name]);
        edit["hostNetwork"] = true.into();
        edit["hostIPC"] = true.into();
        edit
    };
    let sleeps = |seconds: i64| json!({"lifecycle": {"preStop": {"sleep": {"seconds": seconds}}}});
    let limits = |limits: Value| json!({"resources": {"limits": limits}});
    let none = json!({});
    let said = [
        check(sysctls(&["kernel.msgmax", "net/ipv4/conf.eth0-1/x"]), none.clone()),
        check(sysctls(&["kernel.msgmax", "kernel.msgmax", ""]), none.clone()),
        check(sysctls(&["kernel..msgmax"]), none.clone()),
        check(on_host("net.ipv4.tcp_syncookies"), none.clone()),
        check(on_host("kernel/shm_rmid_forced"), none.clone()),
        check(on_host("vm.swappiness"), none.clone()),
        check(none.clone(), sleeps(30)),
        check(none.clone(), sleeps(31)),
        check(json!({"terminationGracePeriodSeconds": 60}), sleeps(31)),
        check(none.clone(), sleeps(-1)),
        check(none.clone(), limits(json!({"hugepages-2Mi": "2Mi"}))),
        check(none, limits(json!({"hugepages-2Mi": "2Mi", "cpu": "1"}))),
    ];
    expect![[r#"
        created
        Pod "p" is invalid: [spec.securityContext.sysctls[1].name: Duplicate value: "kernel.msgmax", spec.securityContext.sysctls[2].name: Required value]
        Pod "p" is invalid: spec.securityContext.sysctls[0].name: Invalid value: "kernel..msgmax": must have at most 253 characters and match regex ^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$
        Pod "p" is invalid: spec.securityContext.sysctls[0].name: Invalid value: "net.ipv4.tcp_syncookies": may not be specified when 'hostNetwork' is true
        Pod "p" is invalid: spec.securityContext.sysctls[0].name: Invalid value: "kernel/shm_rmid_forced": may not be specified when 'hostIPC' is true
        created
        created
        Pod "p" is invalid: spec.containers[0].lifecycle.preStop.sleep: Invalid value: 31: must be non-negative and less than terminationGracePeriodSeconds (30)
        created
        Pod "p" is invalid: spec.containers[0].lifecycle.preStop.sleep: Invalid value: -1: must be non-negative and less than terminationGracePeriodSeconds (30)
        Pod "p" is invalid: spec.containers[0].resources: Forbidden: HugePages require cpu or memory
        created"#]]
    .assert_eq(&said.join("\n"));
}
