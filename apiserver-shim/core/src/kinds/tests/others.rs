//! Kinds without controllers: what a create sets, and how it refuses what is wrong.

use super::*;

fn template(restart: &str) -> Value {
    json!({"metadata": {"labels": {"app": "a"}}, "spec": {"restartPolicy": restart, "containers": [{"name": "c", "image": "i"}]}})
}

fn object(spec: Value) -> Value {
    json!({"metadata": {"name": "x"}, "spec": spec})
}

fn selected(mut spec: Value) -> Value {
    spec["selector"] = json!({"matchLabels": {"app": "a"}});
    spec["template"] = template("Always");
    object(spec)
}

fn refusals(cases: &[(&str, Value)], expect: Expect) {
    let text = |(plural, body): &(&str, Value)| match create(plural, body.clone()) {
        Ok(_) => format!("{plural}: accepted"),
        Err(status) => status.message,
    };
    expect.assert_eq(&cases.iter().map(text).collect::<Vec<_>>().join("\n"));
}

/// The members that a create has added, except for those of the Pod template.
fn defaults(plural: &str, body: Value, expect: Expect) {
    let mut created = create(plural, body).unwrap();
    for path in [&["spec", "template", "spec"][..], &["spec", "jobTemplate", "spec", "template", "spec"]] {
        access::remove(&mut created, path);
    }
    let shown = json!({"spec": created.get("spec"), "status": created.get("status"), "generation": created["metadata"].get("generation")});
    expect.assert_eq(&shown.to_string());
}

#[test]
fn workloads_are_defaulted() {
    defaults(
        "jobs",
        object(json!({"template": template("Never")})),
        expect![[
            r#"{"generation":1,"spec":{"backoffLimit":6,"completionMode":"NonIndexed","completions":1,"manualSelector":false,"parallelism":1,"podReplacementPolicy":"TerminatingOrFailed","selector":{"matchLabels":{"batch.kubernetes.io/controller-uid":"u-1"}},"suspend":false,"template":{"metadata":{"labels":{"app":"a","batch.kubernetes.io/controller-uid":"u-1","batch.kubernetes.io/job-name":"x","controller-uid":"u-1","job-name":"x"}}}},"status":{}}"#
        ]],
    );
    let cron = json!({"schedule": "*/5 * * * *", "jobTemplate": {"spec": {"template": template("Never")}}});
    defaults(
        "cronjobs",
        object(cron),
        expect![[
            r#"{"generation":1,"spec":{"concurrencyPolicy":"Allow","failedJobsHistoryLimit":1,"jobTemplate":{"metadata":{},"spec":{"template":{"metadata":{"labels":{"app":"a"}}}}},"schedule":"*/5 * * * *","successfulJobsHistoryLimit":3,"suspend":false},"status":{}}"#
        ]],
    );
    defaults(
        "statefulsets",
        selected(json!({"serviceName": "s"})),
        expect![[
            r#"{"generation":1,"spec":{"persistentVolumeClaimRetentionPolicy":{"whenDeleted":"Retain","whenScaled":"Retain"},"podManagementPolicy":"OrderedReady","replicas":1,"revisionHistoryLimit":10,"selector":{"matchLabels":{"app":"a"}},"serviceName":"s","template":{"metadata":{"labels":{"app":"a"}}},"updateStrategy":{"rollingUpdate":{"partition":0},"type":"RollingUpdate"}},"status":{"availableReplicas":0,"replicas":0}}"#
        ]],
    );
    defaults(
        "daemonsets",
        selected(json!({})),
        expect![[
            r#"{"generation":1,"spec":{"revisionHistoryLimit":10,"selector":{"matchLabels":{"app":"a"}},"template":{"metadata":{"labels":{"app":"a"}}},"updateStrategy":{"rollingUpdate":{"maxSurge":0,"maxUnavailable":1},"type":"RollingUpdate"}},"status":{"currentNumberScheduled":0,"desiredNumberScheduled":0,"numberMisscheduled":0,"numberReady":0}}"#
        ]],
    );
}

#[test]
fn workloads_are_validated() {
    let cron = |schedule: &str, zone: &str| {
        object(
            json!({"schedule": schedule, "timeZone": zone, "jobTemplate": {"spec": {"template": template("Never")}}}),
        )
    };
    let job = |mut spec: Value| {
        spec["template"] = template("Never");
        object(spec)
    };
    refusals(
        &[
            ("jobs", object(json!({"template": template("Always")}))),
            ("jobs", job(json!({"completionMode": "Odd", "parallelism": -1}))),
            ("jobs", job(json!({"completionMode": "Indexed", "backoffLimitPerIndex": 1}))),
            (
                "jobs",
                job(
                    json!({"completionMode": "Indexed", "completions": 5, "successPolicy": {"rules": [{"succeededIndexes": "3,1-9"}]}}),
                ),
            ),
            (
                "jobs",
                job(
                    json!({"podFailurePolicy": {"rules": [{"action": "Odd", "onExitCodes": {"operator": "In", "values": [3, 0, 3]}}]}}),
                ),
            ),
            ("cronjobs", cron("61 * * * *", "Europe/Paris")),
            ("cronjobs", cron("TZ=UTC * * * * *", "Mars/X")),
            ("statefulsets", object(json!({}))),
            (
                "statefulsets",
                selected(
                    json!({"replicas": -1, "podManagementPolicy": "Odd", "updateStrategy": {"type": "OnDelete", "rollingUpdate": {"partition": 1}}}),
                ),
            ),
            ("daemonsets", selected(json!({"updateStrategy": {"type": "Odd"}}))),
            (
                "daemonsets",
                selected(json!({"updateStrategy": {"rollingUpdate": {"maxUnavailable": 1, "maxSurge": 1}}})),
            ),
            (
                "replicationcontrollers",
                object(json!({"selector": {"b": "c"}, "template": template("Never")})),
            ),
            ("poddisruptionbudgets", object(json!({"minAvailable": 1, "maxUnavailable": "101%"}))),
            (
                "horizontalpodautoscalers",
                object(
                    json!({"maxReplicas": 0, "scaleTargetRef": {"kind": "", "name": "a/b"}, "metrics": [{"type": "Odd"}]}),
                ),
            ),
        ],
        expect![[r#"
            Job.batch "x" is invalid: spec.template.spec.restartPolicy: Required value: valid values: "OnFailure", "Never"
            Job.batch "x" is invalid: [spec.parallelism: Invalid value: -1: must be greater than or equal to 0, spec.completionMode: Unsupported value: "Odd": supported values: "NonIndexed", "Indexed"]
            jobs: accepted
            Job.batch "x" is invalid: spec.successPolicy.rules[0].succeededIndexes: Invalid value: "3,1-9": error parsing succeededIndexes: too large index: "9"
            Job.batch "x" is invalid: [spec.podFailurePolicy.rules[0].action: Unsupported value: "Odd": supported values: "Count", "FailIndex", "FailJob", "Ignore", spec.podFailurePolicy.rules[0].onExitCodes.values[1]: Invalid value: 0: must not be 0 for the In operator, spec.podFailurePolicy.rules[0].onExitCodes.values[2]: Duplicate value: 3, spec.podFailurePolicy.rules[0].onExitCodes.values: Invalid value: [3,0,3]: must be ordered]
            CronJob.batch "x" is invalid: spec.schedule: Invalid value: "61 * * * *": end of range (61) above maximum (59): 61
            CronJob.batch "x" is invalid: [spec.schedule: Invalid value: "TZ=UTC * * * * *": cannot use TZ or CRON_TZ in schedule, use timeZone field instead, spec.timeZone: Invalid value: "Mars/X": unknown time zone Mars/X]
            StatefulSet.apps "x" is invalid: [spec.selector: Required value, spec.template.metadata.labels: Invalid value: null: `selector` does not match template `labels`, spec.template.spec.containers: Required value]
            StatefulSet.apps "x" is invalid: [spec.podManagementPolicy: Invalid value: "Odd": must be 'OrderedReady' or 'Parallel', spec.updateStrategy.rollingUpdate: Invalid value: {"Partition":1,"MaxUnavailable":null}: only allowed for updateStrategy 'RollingUpdate', spec.replicas: Invalid value: -1: must be greater than or equal to 0]
            DaemonSet.apps "x" is invalid: spec.updateStrategy: Unsupported value: {"Type":"Odd","RollingUpdate":null}: supported values: "RollingUpdate", "OnDelete"
            DaemonSet.apps "x" is invalid: spec.updateStrategy.rollingUpdate.maxSurge: Invalid value: 1: may not be set when maxUnavailable is non-zero
            ReplicationController "x" is invalid: [spec.template.metadata.labels: Invalid value: {"app":"a"}: `selector` does not match template `labels`, spec.template.spec.restartPolicy: Unsupported value: "Never": supported values: "Always"]
            PodDisruptionBudget.policy "x" is invalid: [spec: Invalid value: {"MinAvailable":1,"Selector":null,"MaxUnavailable":"101%","UnhealthyPodEvictionPolicy":null}: minAvailable and maxUnavailable cannot be both set, spec.maxUnavailable: Invalid value: "101%": must not be greater than 100%]
            HorizontalPodAutoscaler.autoscaling "x" is invalid: [spec.maxReplicas: Required value: must be set and greater than 0, spec.maxReplicas: Invalid value: 0: must be greater than or equal to `minReplicas`, spec.scaleTargetRef.kind: Required value, spec.scaleTargetRef.name: Invalid value: "a/b": may not contain '/', spec.scaleTargetRef.apiVersion: Invalid value: "": apiVersion must specify API group, spec.metrics[0].type: Unsupported value: "Odd": supported values: "ContainerResource", "External", "Object", "Pods", "Resource"]"#]],
    );
}

#[test]
fn volumes_and_claims_are_validated() {
    let claim = json!({"accessModes": ["ReadWriteOncePod", "ReadWriteOnce", "Odd"], "volumeMode": "Odd", "storageClassName": "Bad_"});
    refusals(
        &[
            ("persistentvolumeclaims", object(claim)),
            ("persistentvolumes", object(json!({}))),
            (
                "persistentvolumes",
                object(
                    json!({"accessModes": ["ReadWriteOnce"], "capacity": {"storage": "0"}, "local": {"path": "/a/../b"}, "csi": {"driver": "d", "volumeHandle": "h"}}),
                ),
            ),
            (
                "storageclasses",
                json!({"metadata": {"name": "x"}, "provisioner": "Bad_!", "volumeBindingMode": "Odd"}),
            ),
            ("volumeattributesclasses", json!({"metadata": {"name": "x"}, "driverName": ""})),
            (
                "csinodes",
                object(
                    json!({"drivers": [{"name": "d", "nodeID": ""}, {"name": "d", "nodeID": "x", "topologyKeys": ["a", "a"]}]}),
                ),
            ),
            (
                "csidrivers",
                object(
                    json!({"fsGroupPolicy": "Odd", "tokenRequests": [{"audience": "a", "expirationSeconds": 1}, {"audience": "a"}]}),
                ),
            ),
            ("volumeattachments", object(json!({"attacher": "", "nodeName": "n", "source": {}}))),
        ],
        expect![[r#"
            PersistentVolumeClaim "x" is invalid: [spec.accessModes: Unsupported value: "Odd": supported values: "ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod", spec.accessModes: Forbidden: may not use ReadWriteOncePod with other access modes, spec.resources[storage]: Required value, spec.storageClassName: Invalid value: "Bad_": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*'), spec.volumeMode: Unsupported value: "Odd": supported values: "Block", "Filesystem"]
            PersistentVolume "x" is invalid: [spec.accessModes: Required value, spec.capacity: Required value, spec.capacity: Unsupported value: null: supported values: "storage", spec: Required value: must specify a volume type]
            PersistentVolume "x" is invalid: [spec.capacity[storage]: Invalid value: "0": must be greater than zero, spec.local.path: Invalid value: "/a/../b": must not contain '..', spec.nodeAffinity: Required value: Local volume requires node affinity, spec.csi: Forbidden: may not specify more than 1 volume type]
            StorageClass.storage.k8s.io "x" is invalid: [provisioner: Invalid value: "bad_!": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]'), volumeBindingMode: Unsupported value: "Odd": supported values: "Immediate", "WaitForFirstConsumer"]
            VolumeAttributesClass.storage.k8s.io "x" is invalid: [driverName: Required value, parameters: Required value: must contain at least one key/value pair]
            CSINode.storage.k8s.io "x" is invalid: [spec.drivers[0].nodeID: Required value, spec.drivers[1].name: Duplicate value: "d", spec.drivers[1]: Duplicate value: "a"]
            CSIDriver.storage.k8s.io "x" is invalid: [spec.fsGroupPolicy: Unsupported value: "Odd": supported values: "File", "None", "ReadWriteOnceWithFSType", spec.tokenRequests[0].expirationSeconds: Invalid value: 1: may not specify a duration less than 10 minutes, spec.tokenRequests[1].audience: Duplicate value: "a"]
            VolumeAttachment.storage.k8s.io "x" is invalid: [spec.attacher: Required value, spec.source: Required value: must specify exactly one of inlineVolumeSpec and persistentVolumeName]"#]],
    );
}

#[test]
fn deprecated_parts_of_a_volume_are_warned_of() {
    let volume = json!({
        "metadata": {"name": "x", "annotations": {"volume.beta.kubernetes.io/storage-class": "old"}},
        "spec": {"persistentVolumeReclaimPolicy": "Recycle", "storageos": {"volumeName": "v"}},
    });
    let warnings = resource("persistentvolumes").strategy().warnings(&volume, None);
    expect![[r#"
        metadata.annotations[volume.beta.kubernetes.io/storage-class]: deprecated since v1.8; use "storageClassName" attribute instead
        spec.persistentVolumeReclaimPolicy: The Recycle reclaim policy is deprecated. Instead, the recommended approach is to use dynamic provisioning.
        spec.storageOS: deprecated in v1.22, non-functional in v1.25+"#]]
    .assert_eq(&warnings.join("\n"));
}

#[test]
fn a_claim_refers_to_no_source_in_another_namespace() {
    let claim = |namespace: Value| {
        let source = json!({"kind": "PersistentVolumeClaim", "name": "a", "namespace": namespace});
        let request = json!({"requests": {"storage": "1Gi"}});
        let spec = json!({"accessModes": ["ReadWriteOnce"], "dataSourceRef": source, "resources": request});
        create("persistentvolumeclaims", object(spec)).unwrap()["spec"]["dataSourceRef"]["name"].clone()
    };
    assert_eq!((claim(Value::Null), claim("other".into())), ("a".into(), Value::Null));
}

#[test]
fn network_kinds_are_validated() {
    let path = |path: &str, kind: &str| {
        object(
            json!({"rules": [{"host": "*.x", "http": {"paths": [{"path": path, "pathType": kind, "backend": {"service": {"name": "s", "port": {}}}}]}}]}),
        )
    };
    refusals(
        &[
            ("ingresses", object(json!({}))),
            ("ingresses", path("a//b", "Prefix")),
            ("ingresses", path("/", "Odd")),
            (
                "ingressclasses",
                object(json!({"parameters": {"kind": "K", "name": "n", "scope": "Namespace"}})),
            ),
            (
                "networkpolicies",
                object(
                    json!({"ingress": [{"from": [{}, {"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.0.0.0/8", "11.0.0.0/16"]}}], "ports": [{"port": 80, "endPort": 70, "protocol": "Odd"}]}], "policyTypes": ["Odd"]}),
                ),
            ),
            (
                "ipaddresses",
                json!({"metadata": {"name": "2001:DB8::1"}, "spec": {"parentRef": {"resource": "services"}}}),
            ),
            ("servicecidrs", object(json!({"cidrs": ["10.0.0.5/24", "10.1.0.0/16"]}))),
        ],
        expect![[r#"
            Ingress.networking.k8s.io "x" is invalid: spec: Invalid value: null: either `defaultBackend` or `rules` must be specified
            Ingress.networking.k8s.io "x" is invalid: [spec.rules[0].http.paths[0].path: Invalid value: "a//b": must be an absolute path, spec.rules[0].http.paths[0].path: Invalid value: "a//b": must not contain '//', spec.rules[0].http.paths[0].backend: Required value: port name or number is required]
            Ingress.networking.k8s.io "x" is invalid: [spec.rules[0].http.paths[0].pathType: Unsupported value: "Odd": supported values: "Exact", "ImplementationSpecific", "Prefix", spec.rules[0].http.paths[0].backend: Required value: port name or number is required]
            IngressClass.networking.k8s.io "x" is invalid: [spec.controller: Required value, spec.parameters.namespace: Required value: `parameters.scope` is set to 'Namespace']
            NetworkPolicy.networking.k8s.io "x" is invalid: [spec.ingress[0].ports[0].protocol: Unsupported value: "Odd": supported values: "TCP", "UDP", "SCTP", spec.ingress[0].ports[0].endPort: Invalid value: 80: must be greater than or equal to `port`, spec.ingress[0].from[0]: Required value: must specify a peer, spec.ingress[0].from[1].ipBlock.except[0]: Invalid value: "10.0.0.0/8": must be a strict subset of `cidr`, spec.ingress[0].from[1].ipBlock.except[1]: Invalid value: "11.0.0.0/16": must be a strict subset of `cidr`, spec.policyTypes[0]: Unsupported value: "Odd": supported values: "Ingress", "Egress"]
            IPAddress.networking.k8s.io "2001:DB8::1" is invalid: [metadata.name: Invalid value: "2001:DB8::1": must be in canonical form ("2001:db8::1"), spec.parentRef.name: Required value]
            ServiceCIDR.networking.k8s.io "x" is invalid: [spec.cidrs[0]: Invalid value: "10.0.0.5/24": must not have bits set beyond the prefix length, spec.cidrs: Invalid value: ["10.0.0.5/24","10.1.0.0/16"]: may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64]"#]],
    );
}

#[test]
fn policies_and_requests_are_validated() {
    let webhook = json!({"name": "w", "sideEffects": "Some", "admissionReviewVersions": ["v9"], "clientConfig": {"url": "http://x"},
        "rules": [{"apiGroups": ["*", "a"], "apiVersions": [], "operations": ["ODD"], "resources": ["*", "pods"]}]});
    let good = json!({"name": "w.example.com", "sideEffects": "None", "admissionReviewVersions": ["v1"], "clientConfig": {"url": "https://x/y"}});
    let webhooks = |webhook: &Value| json!({"metadata": {"name": "x"}, "webhooks": [webhook]});
    refusals(
        &[
            ("validatingwebhookconfigurations", webhooks(&webhook)),
            ("validatingwebhookconfigurations", webhooks(&good)),
            ("mutatingwebhookconfigurations", json!({"metadata": {"name": "x"}, "webhooks": []})),
            (
                "validatingadmissionpolicies",
                object(json!({"paramKind": {"apiVersion": "v1", "kind": "Bad!"}})),
            ),
            (
                "validatingadmissionpolicybindings",
                object(json!({"policyName": "p", "validationActions": ["Deny", "Warn"]})),
            ),
            (
                "validatingadmissionpolicybindings",
                object(json!({"policyName": "p", "validationActions": ["Deny"]})),
            ),
            (
                "certificatesigningrequests",
                object(json!({"request": "eA==", "signerName": "nodomain", "usages": ["odd"]})),
            ),
            (
                "flowschemas",
                object(
                    json!({"matchingPrecedence": 1, "distinguisherMethod": {"type": "Odd"}, "priorityLevelConfiguration": {}}),
                ),
            ),
            (
                "prioritylevelconfigurations",
                object(
                    json!({"type": "Limited", "exempt": {}, "limited": {"limitResponse": {"type": "Queue", "queuing": {"queues": 1, "handSize": 5}}}}),
                ),
            ),
            ("runtimeclasses", json!({"metadata": {"name": "x"}, "handler": "Bad_"})),
            (
                "resourceclaims",
                object(
                    json!({"devices": {"requests": [{"name": "a"}, {"name": "a", "exactly": {"deviceClassName": ""}}], "constraints": [{"requests": ["zz"], "matchAttribute": "nodomain"}]}}),
                ),
            ),
            (
                "resourceslices",
                object(
                    json!({"driver": "d.example.com", "nodeName": "n", "allNodes": true, "pool": {"name": "p", "resourceSliceCount": 1}}),
                ),
            ),
        ],
        expect![[r#"
            ValidatingWebhookConfiguration.admissionregistration.k8s.io "x" is invalid: [webhooks[0].name: Invalid value: "w": should be a domain with at least three segments separated by dots, webhooks[0].rules[0].operations[0]: Unsupported value: "ODD": supported values: "*", "CONNECT", "CREATE", "DELETE", "UPDATE", webhooks[0].rules[0].apiGroups: Invalid value: ["*","a"]: if '*' is present, must not specify other API groups, webhooks[0].rules[0].apiVersions: Required value, webhooks[0].rules[0].resources: Invalid value: ["*","pods"]: if '*' is present, must not specify other resources without subresources, webhooks[0].sideEffects: Unsupported value: "Some": supported values: "None", "NoneOnDryRun", webhooks[0].clientConfig.url: Invalid value: "http": 'https' is the only allowed URL scheme; desired format: https://host[/path], webhooks[0].admissionReviewVersions: Invalid value: ["v9"]: must include at least one of v1, v1beta1]
            validatingwebhookconfigurations: accepted
            mutatingwebhookconfigurations: accepted
            ValidatingAdmissionPolicy.admissionregistration.k8s.io "x" is invalid: [spec.paramKind.kind: Invalid value: "Bad!": may have mixed case, but should otherwise match: a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?'), spec.matchConstraints: Required value, spec.validations: Required value: validations or auditAnnotations must contain at least one item, spec.auditAnnotations: Required value: validations or auditAnnotations must contain at least one item]
            ValidatingAdmissionPolicyBinding.admissionregistration.k8s.io "x" is invalid: spec.validationActions: Invalid value: ["Deny","Warn"]: must not contain both Deny and Warn (repeating the same validation failure information in the API response and headers serves no purpose)
            validatingadmissionpolicybindings: accepted
            CertificateSigningRequest.certificates.k8s.io "x" is invalid: [spec.request: Invalid value: "eA==": PEM block type must be CERTIFICATE REQUEST, spec.usages[0]: Unsupported value: "odd": supported values: "any", "cert sign", "client auth", "code signing", "content commitment", "crl sign", "data encipherment", "decipher only", "digital signature", "email protection", "encipher only", "ipsec end system", "ipsec tunnel", "ipsec user", "key agreement", "key encipherment", "microsoft sgc", "netscape sgc", "ocsp signing", "s/mime", "server auth", "signing", "timestamping", spec.signerName: Invalid value: "nodomain": must be a fully qualified domain and path of the form 'example.com/signer-name']
            FlowSchema.flowcontrol.apiserver.k8s.io "x" is invalid: [spec.matchingPrecedence: Invalid value: 1: only the schema named 'exempt' may have matchingPrecedence 1, spec.distinguisherMethod.type: Unsupported value: {"Type":"Odd"}: supported values: "ByNamespace", "ByUser", spec.priorityLevelConfiguration.name: Required value: must reference a priority level]
            PriorityLevelConfiguration.flowcontrol.apiserver.k8s.io "x" is invalid: [spec.exempt: Forbidden: must be nil if the type is Limited, spec.limited.limitResponse.queuing.handSize: Invalid value: 5: should not be greater than queues (1)]
            RuntimeClass.node.k8s.io "x" is invalid: handler: Invalid value: "Bad_": a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')
            ResourceClaim.resource.k8s.io "x" is invalid: [spec.devices.requests[0]: Required value: exactly one of `exactly` or `firstAvailable` is required, spec.devices.requests[1].exactly.deviceClassName: Required value, spec.devices.requests[1]: Duplicate value: "a", spec.devices.constraints[0].requests[0]: Invalid value: "zz": must be the name of a request in the claim or the name of a request and a subrequest separated by '/', spec.devices.constraints[0].matchAttribute: Invalid value: "nodomain": a fully qualified name must be a domain and a name separated by a slash]
            ResourceSlice.resource.k8s.io "x" is invalid: spec: Invalid value: "{`nodeName`, `allNodes`}": exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required, but multiple fields are set"#]],
    );
}

#[test]
fn autoscalers_convert_between_versions() {
    let autoscaler = json!({"metadata": {"name": "x"}, "apiVersion": "autoscaling/v2", "spec": {
        "maxReplicas": 3,
        "metrics": [
            {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 70}}},
            {"type": "Pods", "pods": {"metric": {"name": "m"}, "target": {"type": "AverageValue", "averageValue": "5"}}},
        ],
        "behavior": {"scaleUp": {"selectPolicy": "Max"}},
    }, "status": {"currentMetrics": null, "desiredReplicas": 0}});
    let old = horizontal_pod_autoscaler::convert::to_v1(autoscaler.clone());
    expect![[r#"{"apiVersion":"autoscaling/v1","metadata":{"annotations":{"autoscaling.alpha.kubernetes.io/behavior":"{\"ScaleUp\":{\"SelectPolicy\":\"Max\"}}","autoscaling.alpha.kubernetes.io/metrics":"[{\"pods\":{\"metricName\":\"m\",\"targetAverageValue\":\"5\"},\"type\":\"Pods\"}]"},"name":"x"},"spec":{"maxReplicas":3,"targetCPUUtilizationPercentage":70},"status":{"currentReplicas":0,"desiredReplicas":0}}"#]].assert_eq(&old.to_string());
    let mut back = horizontal_pod_autoscaler::convert::to_v2(old);
    // The CPU metric comes last after a round trip, as upstream.
    back["spec"]["metrics"].as_array_mut().unwrap().reverse();
    assert_eq!(back, autoscaler);
}

#[test]
fn quotas_are_validated() {
    let quota = |spec: Value| ("resourcequotas", object(spec));
    let selector = |hard: Value, terms: Value| {
        quota(json!({"hard": hard, "scopeSelector": {"matchExpressions": terms}}))
    };
    let term = |scope: &str, operator: &str, values: Value| json!([{"scopeName": scope, "operator": operator, "values": values}]);
    refusals(
        &[
            quota(
                json!({"hard": {"pods": "5", "requests.cpu": "1", "count/deployments.apps": "1", "gold.storageclass.storage.k8s.io/requests.storage": "1Gi", "requests.example.com/gpu": "1"}}),
            ),
            quota(
                json!({"hard": {"things": "5", "pods": "1500m", "secrets": "-1", "storage": "1", "a b": "1"}}),
            ),
            quota(json!({"hard": {"memory": "1"}, "scopes": ["BestEffort"]})),
            quota(json!({"hard": {"pods": "1"}, "scopes": ["Terminating", "NotTerminating", "Other"]})),
            selector(json!({"secrets": "1"}), term("PriorityClass", "In", json!([]))),
            selector(json!({"pods": "1"}), term("Terminating", "In", json!(["a"]))),
            selector(json!({"pods": "1"}), term("PriorityClass", "Exists", json!(["a"]))),
            selector(json!({"pods": "1"}), term("Other", "Wants", json!([]))),
        ],
        expect![[r#"
            resourcequotas: accepted
            ResourceQuota "x" is invalid: [spec.hard[a b]: Invalid value: "a b": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]'), spec.hard[a b]: Invalid value: "a b": must be a standard resource for quota, spec.hard[pods]: Invalid value: "1500m": must be an integer, spec.hard[secrets]: Invalid value: "-1": must be greater than or equal to 0, spec.hard[storage]: Invalid value: "storage": must be a standard resource for quota, spec.hard[things]: Invalid value: "things": must be a standard resource type or fully qualified, spec.hard[things]: Invalid value: "things": must be a standard resource for quota]
            ResourceQuota "x" is invalid: spec.scopes: Invalid value: ["BestEffort"]: unsupported scope applied to resource
            ResourceQuota "x" is invalid: [spec.scopes: Invalid value: ["Terminating","NotTerminating","Other"]: unsupported scope, spec.scopes: Invalid value: ["Terminating","NotTerminating","Other"]: conflicting scopes]
            ResourceQuota "x" is invalid: [spec.scopeSelector.matchExpressions: Invalid value: {"MatchExpressions":[{"ScopeName":"PriorityClass","Operator":"In","Values":null}]}: unsupported scope applied to resource, spec.scopeSelector.matchExpressions.values: Required value: must be at least one value when `operator` is 'In' or 'NotIn' for scope selector]
            ResourceQuota "x" is invalid: spec.scopeSelector.matchExpressions.operator: Invalid value: "In": must be 'Exists' when scope is any of ResourceQuotaScopeTerminating, ResourceQuotaScopeNotTerminating, ResourceQuotaScopeBestEffort, ResourceQuotaScopeNotBestEffort or ResourceQuotaScopeCrossNamespacePodAffinity
            ResourceQuota "x" is invalid: spec.scopeSelector.matchExpressions.values: Invalid value: ["a"]: must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector
            ResourceQuota "x" is invalid: [spec.scopeSelector.matchExpressions.scopeName: Invalid value: "Other": unsupported scope, spec.scopeSelector.matchExpressions.operator: Invalid value: "Wants": not a valid selector operator]"#]],
    );
}

#[test]
fn limit_ranges_are_defaulted_and_validated() {
    let range = |items: Value| ("limitranges", object(json!({"limits": items})));
    let created = create(
        "limitranges",
        object(json!({"limits": [{"type": "Container", "max": {"cpu": "2"}, "min": {"memory": "1Mi"}}]})),
    )
    .unwrap();
    expect![[r#"{"limits":[{"default":{"cpu":"2"},"defaultRequest":{"cpu":"2","memory":"1Mi"},"max":{"cpu":"2"},"min":{"memory":"1Mi"},"type":"Container"}]}"#]].assert_eq(&created["spec"].to_string());
    refusals(
        &[
            range(
                json!([{"type": "Pod", "max": {"cpu": "1"}}, {"type": "Pod"}, {"type": "Node"}, {"type": "example.com/x", "max": {"storage": "1"}}]),
            ),
            range(
                json!([{"type": "Pod", "default": {"cpu": "1"}, "max": {"storage": "1", "things": "1", "requests.a.b/c": "1"}}]),
            ),
            range(json!([{"type": "PersistentVolumeClaim", "default": {"storage": "1"}}])),
            range(
                json!([{"type": "Container", "min": {"cpu": "4"}, "max": {"cpu": "2"}, "default": {"cpu": "3"}, "defaultRequest": {"cpu": "3500m"}, "maxLimitRequestRatio": {"cpu": "500m"}}]),
            ),
            range(
                json!([{"type": "Container", "min": {"cpu": "1"}, "max": {"cpu": "2"}, "maxLimitRequestRatio": {"cpu": "3"}}]),
            ),
            range(
                json!([{"type": "Container", "default": {"example.com/x": "1"}, "defaultRequest": {"example.com/x": "2"}}]),
            ),
        ],
        expect![[r#"
            LimitRange "x" is invalid: [spec.limits[1].type: Duplicate value: "Pod", spec.limits[2].type: Invalid value: "Node": must be a standard limit type or fully qualified]
            LimitRange "x" is invalid: [spec.limits[0].max[requests.a.b/c]: Invalid value: "requests.a.b/c": doesn't follow extended resource name standard, spec.limits[0].max[storage]: Invalid value: "storage": must be a standard resource for containers, spec.limits[0].max[things]: Invalid value: "things": must be a standard resource type or fully qualified, spec.limits[0].max[things]: Invalid value: "things": must be a standard resource for containers, spec.limits[0].default: Forbidden: may not be specified when `type` is 'Pod']
            LimitRange "x" is invalid: spec.limits[0].limits: Required value: either minimum or maximum storage value is required, but neither was provided
            LimitRange "x" is invalid: [spec.limits[0].min[cpu]: Invalid value: "4": min value 4 is greater than max value 2, spec.limits[0].defaultRequest[cpu]: Invalid value: "3500m": min value 4 is greater than default request value 3500m, spec.limits[0].defaultRequest[cpu]: Invalid value: "3500m": default request value 3500m is greater than max value 2, spec.limits[0].defaultRequest[cpu]: Invalid value: "3500m": default request value 3500m is greater than default limit value 3, spec.limits[0].default[cpu]: Invalid value: "4": min value 4 is greater than default value 3, spec.limits[0].default[cpu]: Invalid value: "2": default value 3 is greater than max value 2, spec.limits[0].maxLimitRequestRatio[cpu]: Invalid value: "500m": ratio 500m is less than 1]
            LimitRange "x" is invalid: spec.limits[0].maxLimitRequestRatio[cpu]: Invalid value: "3": ratio 3 is greater than max/min = 2.000000
            LimitRange "x" is invalid: [spec.limits[0].defaultRequest[example.com/x]: Invalid value: "2": default request value 2 is greater than default limit value 1, spec.limits[0].defaultRequest[example.com/x]: Invalid value: "2": default value 1 must equal to defaultRequest value 2 in example.com/x]"#]],
    );
}

#[test]
fn claims_keep_their_mode_and_amount() {
    let old = json!({"metadata": {"name": "c"}, "spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": "s", "resources": {"requests": {"storage": "2Gi"}}}});
    let old = create("persistentvolumeclaims", old).unwrap();
    let fields = |path: &[&str], key: &str, value: Value| {
        let mut new = old.clone();
        shim_model::access::object_mut(&mut new, path).insert(key.to_owned(), value);
        let errors = resource("persistentvolumeclaims").strategy().validate_update(&new, &old);
        errors.iter().map(|e| e.to_string().chars().take(80).collect()).collect::<Vec<String>>().join(", ")
    };
    let table = [
        fields(&["spec"], "volumeMode", json!("Block")),
        fields(&["spec", "resources"], "requests", json!({})),
        fields(&["spec", "resources", "requests"], "storage", json!("1Gi")),
        fields(&["spec"], "volumeName", json!("v")),
    ];
    expect![[r#"
        spec: Forbidden: spec is immutable after creation except resources.requests and , volumeMode: Invalid value: "Block": field is immutable
        spec.resources[storage]: Required value, spec: Forbidden: spec is immutable after creation except resources.requests and , spec.resources.requests.storage: Forbidden: field can not be less than status.ca
        spec: Forbidden: spec is immutable after creation except resources.requests and 
    "#]].assert_eq(&table.join("\n"));
}

#[test]
fn what_is_missing_is_named_once() {
    let hook = json!({"metadata": {"name": "w"}, "webhooks": [{"name": "a.b.c", "clientConfig": {"url": "https://a"}, "admissionReviewVersions": ["v1"]}]});
    check(
        "validatingwebhookconfigurations",
        hook,
        expect![[
            r#"ValidatingWebhookConfiguration.admissionregistration.k8s.io "w" is invalid: webhooks[0].sideEffects: Unsupported value: "": supported values: "None", "NoneOnDryRun""#
        ]],
    );
    let path = json!({"metadata": {"name": "i"}, "spec": {"rules": [{"http": {"paths": [{"path": "/"}]}}]}});
    check(
        "ingresses",
        path,
        expect![[
            r#"Ingress.networking.k8s.io "i" is invalid: spec.rules[0].http.paths[0].pathType: Required value: pathType must be specified"#
        ]],
    );
    let mut job = create("jobs", json!({"metadata": {"name": "j"}, "spec": {"template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "a"}]}}}})).unwrap();
    job["spec"]["suspend"] = true.into();
    let change = |new: &mut Value| new["spec"]["template"]["metadata"]["labels"]["job-name"] = "x".into();
    check_update(
        "jobs",
        Subresource::Main,
        &job,
        change,
        expect![[
            r#"Job.batch "j" is invalid: spec.template.metadata.labels[job-name]: Invalid value: {"batch.kubernetes.io/controller-uid":"u-1","batch.kubernetes.io/job-name":"j","controller-uid":"u-1","job-name":"x"}: must be 'j'"#
        ]],
    );
}

#[test]
fn a_type_of_update_alone_has_no_partition() {
    let of = |strategy: Value| {
        let spec = json!({"selector": {"matchLabels": {"app": "a"}}, "template": template("Always"), "updateStrategy": strategy});
        create("statefulsets", object(spec)).unwrap()["spec"]["updateStrategy"].clone()
    };
    assert_eq!(of(json!({})), json!({"type": "RollingUpdate", "rollingUpdate": {"partition": 0}}));
    assert_eq!(of(json!({"type": "RollingUpdate"})), json!({"type": "RollingUpdate"}));
    let empty = json!({"type": "RollingUpdate", "rollingUpdate": {}});
    assert_eq!(of(empty), json!({"type": "RollingUpdate", "rollingUpdate": {"partition": 0}}));
}

#[test]
fn some_deletions_answer_with_the_object() {
    let mut returned: Vec<String> =
        BUILTIN.iter().filter(|r| r.strategy().returns_deleted_object()).map(|r| r.qualified()).collect();
    returned.sort();
    expect![[r#"
        csidrivers.storage.k8s.io
        csinodes.storage.k8s.io
        deviceclasses.resource.k8s.io
        namespaces
        persistentvolumeclaims
        persistentvolumes
        pods
        podtemplates
        resourceclaims.resource.k8s.io
        resourceclaimtemplates.resource.k8s.io
        resourcequotas
        resourceslices.resource.k8s.io
        serviceaccounts
        services
        storageclasses.storage.k8s.io
        volumeattachments.storage.k8s.io
        volumeattributesclasses.storage.k8s.io"#]]
    .assert_eq(&returned.join("\n"));
}
