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
    defaults("jobs", object(json!({"template": template("Never")})), expect![[""]]);
    let cron = json!({"schedule": "*/5 * * * *", "jobTemplate": {"spec": {"template": template("Never")}}});
    defaults("cronjobs", object(cron), expect![[""]]);
    defaults("statefulsets", selected(json!({"serviceName": "s"})), expect![[""]]);
    defaults("daemonsets", selected(json!({})), expect![[""]]);
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
        expect![[""]],
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
        expect![[""]],
    );
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
        expect![[""]],
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
        expect![[""]],
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
    expect![[""]].assert_eq(&old.to_string());
    let mut back = horizontal_pod_autoscaler::convert::to_v2(old);
    // The CPU metric comes last after a round trip, as upstream.
    back["spec"]["metrics"].as_array_mut().unwrap().reverse();
    assert_eq!(back, autoscaler);
}
