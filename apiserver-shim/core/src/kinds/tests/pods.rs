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
            r#"Pod "p" is invalid: [spec.hostNetwork: Forbidden: when `hostUsers` is false, spec.HostPID: Forbidden: when `hostUsers` is false, spec.HostIPC: Forbidden: when `hostUsers` is false]"#
        ]],
    );
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

/// What upstream refuses in Pods, by part of the spec. A case is a patch of the Pod or of its container.
#[test]
fn pods_that_upstream_refuses() {
    let refusal = |mut pod: Value| {
        pod["metadata"]["name"] = json!("p");
        match create("pods", pod) {
            Ok(_) => "accepted".to_owned(),
            Err(status) => status.message.replace("Pod \"p\" is invalid: ", ""),
        }
    };
    let spec = |spec: Value| {
        let mut whole = json!({"containers": [{"name": "c", "image": "i"}]});
        access::object_mut(&mut whole, &[]).extend(spec.as_object().unwrap().clone());
        refusal(pod(whole))
    };
    let container = |extra: Value| {
        let mut container = json!({"name": "c", "image": "i"});
        access::object_mut(&mut container, &[]).extend(extra.as_object().unwrap().clone());
        spec(json!({"containers": [container], "volumes": [{"name": "v", "emptyDir": {}}]}))
    };
    let annotated = |annotations: Value, context: Value| {
        let mut pod = pod(json!({"containers": [{"name": "c", "image": "i"}], "securityContext": context}));
        pod["metadata"]["annotations"] = annotations;
        refusal(pod)
    };
    let context = |context: Value| spec(json!({"securityContext": context}));
    let apparmor = "container.apparmor.security.beta.kubernetes.io";
    let rule = json!({"action": "Restart", "exitCodes": {"operator": "In", "values": (0..256).collect::<Vec<i32>>()}});
    let mount = |extra: Value| {
        let mut mount = json!({"name": "v", "mountPath": "/v"});
        access::object_mut(&mut mount, &[]).extend(extra.as_object().unwrap().clone());
        container(json!({"volumeMounts": [mount]}))
    };
    let spread = |constraints: Value| spec(json!({"topologySpreadConstraints": constraints}));
    let zone = |extra: Value| {
        let mut zone = json!({"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "ScheduleAnyway"});
        access::object_mut(&mut zone, &[]).extend(extra.as_object().unwrap().clone());
        zone
    };
    let table = [
        context(json!({"seccompProfile": {"type": "Localhost", "localhostProfile": "../a"}})),
        context(json!({"seccompProfile": {}, "appArmorProfile": {"type": "X"}})),
        context(json!({"appArmorProfile": {"type": "Localhost", "localhostProfile": " a"}})),
        context(json!({"appArmorProfile": {"type": "Unconfined", "localhostProfile": "a"}})),
        context(json!({"supplementalGroupsPolicy": "X", "seLinuxChangePolicy": "Y"})),
        annotated(
            json!({format!("{apparmor}/c"): "runtime/default"}),
            json!({"appArmorProfile": {"type": "Unconfined"}}),
        ),
        annotated(json!({format!("{apparmor}/d"): "foo"}), json!({})),
        annotated(
            json!({"controller.kubernetes.io/pod-deletion-cost": "1.5", "kubernetes.io/config.mirror": "x"}),
            json!({}),
        ),
        annotated(
            json!({"seccomp.security.alpha.kubernetes.io/pod": "foo"}),
            json!({"seccompProfile": {"type": "Unconfined"}}),
        ),
        container(
            json!({"envFrom": [{"prefix": "a=b", "configMapRef": {"name": "m"}}, {"secretRef": {}}, {}]}),
        ),
        container(
            json!({"env": [{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['a b']"}}}]}),
        ),
        container(json!({"env": [{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "spec.x['a']"}}}]})),
        container(json!({"restartPolicy": "Never", "restartPolicyRules": vec![rule; 21]})),
        container(json!({"resources": {"limits": {"cpu": "1", "hugepages-2Mi": "3Mi"}}})),
        container(json!({"resources": {"claims": [{"name": "x"}]}})),
        spec(
            json!({"restartPolicy": "Never", "containers": [{"name": "c", "image": "i", "resizePolicy": [{"resourceName": "cpu", "restartPolicy": "RestartContainer"}]}]}),
        ),
        spec(
            json!({"resourceClaims": [{"name": "a"}, {"name": "a", "resourceClaimName": "b", "resourceClaimTemplateName": "c"}]}),
        ),
        spec(
            json!({"resources": {"requests": {"cpu": "1"}, "limits": {"cpu": "1"}}, "containers": [{"name": "c", "image": "i", "resources": {"requests": {"cpu": "1500m"}, "limits": {"cpu": "2"}}}]}),
        ),
        mount(json!({"recursiveReadOnly": "Enabled"})),
        mount(
            json!({"recursiveReadOnly": "IfPossible", "readOnly": true, "mountPropagation": "HostToContainer"}),
        ),
        mount(json!({"recursiveReadOnly": "Yes", "subPath": "../x"})),
        spread(json!([zone(json!({"minDomains": 0})), zone(json!({"nodeTaintsPolicy": "Maybe"}))])),
        spec(
            json!({"os": {"name": "linux"}, "containers": [{"name": "c", "image": "i", "securityContext": {"windowsOptions": {}}}]}),
        ),
    ];
    expect![[r#"
        spec.securityContext.seccompProfile.localhostProfile: Invalid value: "../a": must not contain '..'
        [spec.securityContext.seccompProfile.type: Required value: type is required when seccompProfile is set, spec.securityContext.appArmorProfile.type: Unsupported value: "X": supported values: "Localhost", "RuntimeDefault", "Unconfined"]
        spec.securityContext.appArmorProfile.localhostProfile: Invalid value: " a": must not be padded with whitespace
        spec.securityContext.appArmorProfile.localhostProfile: Invalid value: "a": can only be set when AppArmor type is Localhost
        [spec.securityContext.supplementalGroupsPolicy: Unsupported value: "X": supported values: "Merge", "Strict", spec.securityContext.seLinuxChangePolicy: Unsupported value: "Y": supported values: "MountOption", "Recursive"]
        accepted
        [metadata.annotations[container.apparmor.security.beta.kubernetes.io/d]: Invalid value: "d": container not found, metadata.annotations[container.apparmor.security.beta.kubernetes.io/d]: Invalid value: "foo": invalid AppArmor profile name: "foo"]
        [metadata.annotations[controller.kubernetes.io/pod-deletion-cost]: Invalid value: "1.5": must be a 32bit integer, metadata.annotations[kubernetes.io/config.mirror]: Invalid value: "x": must set spec.nodeName if mirror pod annotation is set]
        [metadata.annotations.seccomp.security.alpha.kubernetes.io/pod: Invalid value: "foo": must be a valid seccomp profile, spec.securityContext.seccompProfile.type: Forbidden: seccomp type in annotation and field must match]
        [spec.containers[0].envFrom[0].prefix: Invalid value: "a=b": a valid environment variable name must consist only of printable ASCII characters other than '=', spec.containers[0].envFrom[1].secretRef.name: Required value, spec.containers[0].envFrom: Invalid value: "": must specify one of: `configMapRef` or `secretRef`]
        spec.containers[0].env[0].valueFrom.fieldRef: Invalid value: "a b": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')
        spec.containers[0].env[0].valueFrom.fieldRef.fieldPath: Invalid value: "spec.x['a']": error converting fieldPath: field label does not support subscript: spec.x['a']
        [spec.containers[0].restartPolicyRules: Too many: 21: must have at most 20 items, spec.containers[0].restartPolicyRules[0].exitCodes.values: Too many: 256: must have at most 255 items, spec.containers[0].restartPolicyRules[1].exitCodes.values: Too many: 256: must have at most 255 items, spec.containers[0].restartPolicyRules[2].exitCodes.values: Too many: 256: must have at most 255 items, spec.containers[0].restartPolicyRules[3].exitCodes.values: Too many: 256: must have at most 255 items, spec.containers[0].restartPolicyRules[4].exitCodes.values: Too many: 256: must have at most 255 items, spec.containers[0].restartPolicyRules[5].exitCodes.values: Too many: 256: must have at most 255 items, spec.containers[0].restartPolicyRules[6].exitCodes.values: Too many: 256: must have at most 255 items, spec.containers[0].restartPolicyRules[7].exitCodes.values: Too many: 256: must have at most 255 items, spec.containers[0].restartPolicyRules[8].exitCodes.values: Too many: 256: must have at most 255 items, spec.containers[0].restartPolicyRules[9].exitCodes.values: Too many: 256: must have at most 255 items, spec.containers[0].restartPolicyRules[10].exitCodes.values: Too many: 256: must have at most 255 items, spec.containers[0].restartPolicyRules[11].exitCodes.values: Too many: 256: must have at most 255 items, spec.containers[0].restartPolicyRules[12].exitCodes.values: Too many: 256: must have at most 255 items, spec.containers[0].restartPolicyRules[13].exitCodes.values: Too many: 256: must have at most 255 items, spec.containers[0].restartPolicyRules[14].exitCodes.values: Too many: 256: must have at most 255 items, spec.containers[0].restartPolicyRules[15].exitCodes.values: Too many: 256: must have at most 255 items, spec.containers[0].restartPolicyRules[16].exitCodes.values: Too many: 256: must have at most 255 items, spec.containers[0].restartPolicyRules[17].exitCodes.values: Too many: 256: must have at most 255 items, spec.containers[0].restartPolicyRules[18].exitCodes.values: Too many: 256: must have at most 255 items, spec.containers[0].restartPolicyRules[19].exitCodes.values: Too many: 256: must have at most 255 items, spec.containers[0].restartPolicyRules[20].exitCodes.values: Too many: 256: must have at most 255 items]
        [spec.containers[0].resources.limits[hugepages-2Mi]: Invalid value: "3Mi": 3Mi is not positive integer multiple of hugepages-2Mi, spec.containers[0].resources.requests[hugepages-2Mi]: Invalid value: "3Mi": 3Mi is not positive integer multiple of hugepages-2Mi]
        spec.containers[0].resources.claims[0]: Not found: "x": must be one of the names in pod.spec.resourceClaims which is empty
        spec.containers[0].resizePolicy: Invalid value: "RestartContainer": must be 'NotRequired' when pod `restartPolicy` is 'Never'
        [spec.resourceClaims[0]: Invalid value: {"Name":"a","ResourceClaimName":null,"ResourceClaimTemplateName":null}: must specify one of: `resourceClaimName`, `resourceClaimTemplateName`, spec.resourceClaims[1].name: Duplicate value: "a", spec.resourceClaims[1]: Invalid value: {"Name":"a","ResourceClaimName":"b","ResourceClaimTemplateName":"c"}: at most one of `resourceClaimName` or `resourceClaimTemplateName` may be specified]
        [spec.resources.requests[cpu]: Invalid value: "1": must be greater than or equal to aggregate container requests of 1500m, spec.resources.containers[0][cpu].limits: Invalid value: "2": must be less than or equal to pod limits of 1]
        spec.containers[0].volumeMounts.recursiveReadOnly: Forbidden: may only be specified when readOnly is true
        spec.containers[0].volumeMounts.recursiveReadOnly: Forbidden: may only be specified when mountPropagation is None or not specified
        [spec.containers[0].volumeMounts.subPath: Invalid value: "../x": must not contain '..', spec.containers[0].volumeMounts.recursiveReadOnly: Unsupported value: "Yes": supported values: "Disabled", "Enabled", "IfPossible"]
        [spec.topologySpreadConstraints[0].{topologyKey, whenUnsatisfiable}: Duplicate value: "{zone, ScheduleAnyway}", spec.topologySpreadConstraints[0].minDomains: Invalid value: 0: must be greater than zero, spec.topologySpreadConstraints[0].minDomains: Invalid value: 0: can only use minDomains if whenUnsatisfiable=DoNotSchedule, not ScheduleAnyway, spec.topologySpreadConstraints[1].nodeTaintsPolicy: Unsupported value: "Maybe": supported values: "Honor", "Ignore"]
        spec.containers[0].securityContext.windowsOptions: Forbidden: windows options cannot be set for a linux pod"#]].assert_eq(&table.join("\n"));
}

/// The node has carried out some annotations: they stay as they are.
#[test]
fn annotations_that_a_node_reads_do_not_change() {
    let apparmor = "container.apparmor.security.beta.kubernetes.io/c";
    let with = |annotations: Value| {
        let mut pod = create("pods", pod(json!({"containers": [{"name": "c", "image": "i"}]}))).unwrap();
        pod["metadata"]["annotations"] = annotations;
        pod
    };
    let check = |old: Value, new: Value| {
        let errors = resource("pods").strategy().validate_update(&with(new), &with(old));
        errors.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
    };
    let table = [
        check(json!({apparmor: "unconfined"}), json!({apparmor: "unconfined", "a": "b"})),
        check(json!({apparmor: "unconfined"}), json!({apparmor: "runtime/default"})),
        check(json!({}), json!({apparmor: "unconfined"})),
        check(
            json!({"controller.kubernetes.io/pod-deletion-cost": "x"}),
            json!({"controller.kubernetes.io/pod-deletion-cost": "-1"}),
        ),
        check(json!({}), json!({"controller.kubernetes.io/pod-deletion-cost": "01"})),
        check(json!({}), json!({"catamaran.dev/revocable": "true"})),
        check(json!({"catamaran.dev/revocable": "true"}), json!({})),
    ];
    expect![[r#"

        metadata.annotations[container.apparmor.security.beta.kubernetes.io/c]: Forbidden: may not remove or update AppArmor annotations
        metadata.annotations[container.apparmor.security.beta.kubernetes.io/c]: Forbidden: may not add AppArmor annotations

        metadata.annotations[controller.kubernetes.io/pod-deletion-cost]: Invalid value: "01": must be a 32bit integer
        metadata.annotations[catamaran.dev/revocable]: Forbidden: may not add the annotation of revocable resources
        metadata.annotations[catamaran.dev/revocable]: Forbidden: may not remove or update the annotation of revocable resources"#]].assert_eq(&table.join("\n"));
}

/// The rules about changes apply besides those of the new object.
#[test]
fn changes_are_refused_besides_what_is_wrong() {
    let old = create("pods", pod(json!({
        "activeDeadlineSeconds": 9, "containers": [{"name": "c", "image": "i", "volumeMounts": [{"name": "v", "mountPath": "/v"}]}],
        "volumes": [{"name": "v", "emptyDir": {}}],
    })))
    .unwrap();
    let fields = |change: &dyn Fn(&mut Value)| {
        let mut new = old.clone();
        change(&mut new["spec"]);
        let errors = resource("pods").strategy().validate_update(&new, &old);
        errors.iter().map(|e| e.to_string().chars().take(80).collect()).collect::<Vec<String>>().join(", ")
    };
    let table = [
        fields(&|spec| spec["restartPolicy"] = "x".into()),
        fields(&|spec| spec["containers"][0]["image"] = "".into()),
        fields(&|spec| spec["containers"][0]["image"] = " a".into()),
        fields(&|spec| spec["volumes"][0] = json!({"name": "v", "hostPath": {"path": ""}})),
        fields(&|spec| drop(spec.as_object_mut().unwrap().remove("activeDeadlineSeconds"))),
        fields(&|spec| (spec["activeDeadlineSeconds"], spec["restartPolicy"]) = (10.into(), "Never".into())),
    ];
    expect![[r#"
        spec.restartPolicy: Unsupported value: "x": supported values: "Always", "OnFailu, spec: Forbidden: pod updates may not change fields other than `spec.containers[*
        spec.containers[0].image: Required value, spec.containers[0].image: Required value
        spec.containers[0].image: Invalid value: " a": must not have leading or trailing, spec.containers[0].image: Invalid value: " a": must not have leading or trailing
        spec.volumes[0].hostPath.path: Required value, spec.containers[0].volumeMounts[0].name: Not found: "v", spec: Forbidden: pod updates may not change fields other than `spec.containers[*
        spec.activeDeadlineSeconds: Invalid value: null: must not update from a positive
        spec.activeDeadlineSeconds: Invalid value: 10: must be less than or equal to pre"#]].assert_eq(&table.join("\n"));
}

/// A key of `matchLabelKeys` is the last one of its name in the errors.
#[test]
fn keys_of_labels_and_scheduling_gates_are_found_by_name() {
    let expressions: Vec<Value> =
        ["a", "c", "c", "b", "b"].iter().map(|key| json!({"key": key, "operator": "Exists"})).collect();
    let selector = json!({"matchLabels": {"a": "x"}, "matchExpressions": expressions});
    let term = json!({"topologyKey": "zone", "labelSelector": selector,
        "matchLabelKeys": ["a", "b", "a"], "mismatchLabelKeys": ["b"]});
    let affinity = json!({"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}});
    let containers = json!([{"name": "c", "image": "i"}]);
    check(
        "pods",
        pod(json!({"containers": containers, "affinity": affinity})),
        expect![[
            r#"Pod "p" is invalid: [spec.affinity.podAffinity.requiredDuringSchedulingIgnoredDuringExecution[0][2]: Invalid value: "a": exists in both matchLabelKeys and labelSelector, spec.affinity.podAffinity.requiredDuringSchedulingIgnoredDuringExecution[0][1]: Invalid value: "b": exists in both matchLabelKeys and labelSelector, spec.affinity.podAffinity.requiredDuringSchedulingIgnoredDuringExecution[0].matchLabelKeys[1]: Invalid value: "b": exists in both matchLabelKeys and mismatchLabelKeys]"#
        ]],
    );
    let gates = |names: &[&str]| names.iter().map(|name| json!({"name": name})).collect::<Vec<_>>();
    let old = create(
        "pods",
        pod(json!({"containers": containers, "schedulingGates": gates(&["e.com/a", "e.com/b"])})),
    );
    check_update(
        "pods",
        Subresource::Main,
        &old.unwrap(),
        |pod| pod["spec"]["schedulingGates"] = gates(&["e.com/b", "e.com/c"]).into(),
        expect![[
            r#"Pod "p" is invalid: spec.schedulingGates[1].name: Forbidden: only deletion is allowed, but found new scheduling gate 'e.com/c'"#
        ]],
    );
}
