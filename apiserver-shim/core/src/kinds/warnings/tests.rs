//! Warnings of some kinds with upstream's texts.

use std::sync::LazyLock;

use expect_test::{Expect, expect};
use serde_json::{Value, json};

use super::*;
use crate::definition::{ResourceDefinition, builtin};

static BUILTIN: LazyLock<Vec<ResourceDefinition>> = LazyLock::new(builtin);

fn check(plural: &str, object: Value, old: Option<Value>, expected: Expect) {
    let mut rows = BUILTIN.iter();
    let row = rows.find(|row| row.plural == plural).unwrap();
    let warnings = row.strategy().warnings(&object, old.as_ref());
    expected.assert_eq(&warnings.iter().map(|warning| format!("{warning}\n")).collect::<String>());
}

fn pod(spec: Value) -> Value {
    json!({"metadata": {"name": "p"}, "spec": spec})
}

#[test]
fn labels_and_selectors_of_pods() {
    let old = "beta.kubernetes.io/os";
    let object = json!({"metadata": {"name": "p.q"}, "spec": {
        "nodeSelector": {old: "linux"},
        "affinity": {
            "nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution":
                [{"preference": {"matchExpressions": [{"key": old, "values": ["a b"]}]}}]},
            "podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [{"topologyKey": "a"}]},
        },
        "topologySpreadConstraints": [{"topologyKey": "failure-domain.beta.kubernetes.io/zone"}],
        "containers": [],
    }});
    check(
        "pods",
        object,
        None,
        expect![[r#"
        metadata.name: this is used in the Pod's hostname, which can result in surprising behavior; a DNS label is recommended: [must not contain dots]
        spec.nodeSelector[beta.kubernetes.io/os]: deprecated since v1.14; use "kubernetes.io/os" instead
        spec.affinity.nodeAffinity.preferredDuringSchedulingIgnoredDuringExecution[0].preference.matchExpressions[0].key: beta.kubernetes.io/os is deprecated since v1.14; use "kubernetes.io/os" instead
        spec.affinity.nodeAffinity.preferredDuringSchedulingIgnoredDuringExecution[0].preference.matchExpressions[0].values[0]: a b is invalid, a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')
        spec.topologySpreadConstraints[0].topologyKey: failure-domain.beta.kubernetes.io/zone is deprecated since v1.17; use "topology.kubernetes.io/zone" instead
        spec.topologySpreadConstraints[0].labelSelector: a null labelSelector results in matching no pod
        spec.affinity.podAffinity.requiredDuringSchedulingIgnoredDuringExecution[0].labelSelector: a null labelSelector results in matching no pod
    "#]],
    );
}

#[test]
fn ports_volumes_and_amounts_of_pods() {
    let object = pod(json!({
        "containers": [
            {"name": "a", "ports": [{"containerPort": 1, "protocol": "TCP"}, {"containerPort": 1, "protocol": "TCP", "name": "x"}],
                "resources": {"limits": {"memory": "1500m"}},
                "env": [{"name": "A", "value": "1"}, {"name": "A", "value": "$(A)2"}, {"name": "A", "value": "3"}]},
            {"name": "b", "ports": [
                {"containerPort": 1, "protocol": "TCP", "hostPort": 5, "name": "x"},
                {"containerPort": 2, "protocol": "UDP", "hostIP": "1.2.3.4"},
            ]},
        ],
        "volumes": [
            {"name": "v", "secret": {"secretName": "s", "items": [{"path": "a"}, {"path": "a/b"}]}},
            {"name": "w", "projected": {"sources": [{"serviceAccountToken": {"path": "t"}}, {"configMap": {"name": "c", "items": [{"path": "t/"}]}}, {}]}},
            {"name": "g", "gitRepo": {"repository": "r"}},
        ],
        "hostAliases": [{"ip": "2001:DB8::1"}, {"ip": "2001:DB8::1"}],
        "imagePullSecrets": [{}],
    }));
    check(
        "pods",
        object.clone(),
        None,
        expect![[r#"
        spec.volumes[2].gitRepo: deprecated in v1.11, and disabled by default in v1.33+
        volume "v" (Secret "s"): overlapping paths: "a/b" with "a"
        volume "w" (Projected) has no sources provided
        volume "w" (Projected): overlapping paths: "t" (ConfigMap "c") with "t" (ServiceAccountToken)
        spec.hostAliases[1].ip: duplicate ip "2001:DB8::1"
        spec.imagePullSecrets[0].name: invalid empty name ""
        spec.containers[0].resources.limits[memory]: fractional byte value "1500m" is invalid, must be an integer
        spec.containers[0].env[2]: hides previous definition of "A", which may be dropped when using apply
        spec.containers[0].ports[1]: duplicate port definition with spec.containers[0].ports[0]
        spec.containers[1].ports[0]: overlapping port definition with spec.containers[0].ports[0]
        spec.containers[1].ports[0]: overlapping port definition with spec.containers[0].ports[1]
        spec.containers[1].ports[1]: hostIP set without hostPort: {Name: HostPort:0 ContainerPort:2 Protocol:UDP HostIP:1.2.3.4}
        spec.containers[1].ports[0]: duplicate port name "x" with spec.containers[0].ports[1], services and probes that select ports by name will use spec.containers[0].ports[1]
        spec.hostAliases[0].ip: IPv6 address "2001:DB8::1" should be in RFC 5952 canonical format ("2001:db8::1")
        spec.hostAliases[1].ip: IPv6 address "2001:DB8::1" should be in RFC 5952 canonical format ("2001:db8::1")
    "#]],
    );
    check("pods", object.clone(), Some(object), expect![[r#""#]]);
}

#[test]
fn templates_are_warned_about_when_the_generation_changes() {
    let of = |generation: i64| {
        json!({"metadata": {"name": "a.b", "generation": generation}, "spec": {"revisionHistoryLimit": -1,
            "template": {"spec": {"terminationGracePeriodSeconds": -1}},
            "volumeClaimTemplates": [{"spec": {"resources": {"requests": {"storage": "0.5"}}}}]}})
    };
    check(
        "deployments",
        of(1),
        None,
        expect![[r#"
        metadata.name: this is used in Pod names and hostnames, which can result in surprising behavior; a DNS label is recommended: [must not contain dots]
        spec.template.spec.terminationGracePeriodSeconds: must be >= 0; negative values are invalid and will be treated as 1
    "#]],
    );
    check("deployments", of(1), Some(of(1)), expect![[r#""#]]);
    check(
        "deployments",
        of(2),
        Some(of(1)),
        expect![[r#"
        spec.template.spec.terminationGracePeriodSeconds: must be >= 0; negative values are invalid and will be treated as 1
    "#]],
    );
    check(
        "statefulsets",
        of(2),
        Some(of(1)),
        expect![[r#"
        spec.template.spec.terminationGracePeriodSeconds: must be >= 0; negative values are invalid and will be treated as 1
        spec.volumeClaimTemplates[0].Spec.resources.requests[storage]: fractional byte value "500m" is invalid, must be an integer
        spec.revisionHistoryLimit: a negative value retains all historical revisions; a value >= 0 is recommended
    "#]],
    );
}

#[test]
fn other_kinds() {
    let policy = json!({"spec": {"ingress": [{"from": [{"ipBlock": {"cidr": "2001:DB8::/32", "except": ["010.0.0.1/8"]}}]}]}});
    check(
        "networkpolicies",
        policy,
        None,
        expect![[r#"
        spec.ingress[0].from[0].ipBlock.cidr: IPv6 CIDR value "2001:DB8::/32" should be in RFC 5952 canonical format ("2001:db8::/32")
        spec.ingress[0].from[0].ipBlock.except[0]: CIDR value "010.0.0.1/8" is ambiguous in this context (should be "10.0.0.0/8" or "10.0.0.1/32"?)
        spec.ingress[0].from[0].ipBlock.except[0]: non-standard CIDR value "010.0.0.1/8" is invalid: use "10.0.0.0/8"
    "#]],
    );
    let name = json!({"metadata": {"name": "a.static.k8s.io"}});
    check(
        "validatingadmissionpolicies",
        name,
        None,
        expect![[r#"
        metadata.name: names ending with ".static.k8s.io" are reserved for static manifest-based configurations and cannot be managed via the API
    "#]],
    );
    let driver = json!({"spec": {"tokenRequests": [{"audience": "a"}]}});
    check(
        "csidrivers",
        driver.clone(),
        None,
        expect![[r#"
        spec.serviceAccountTokenInSecrets is unset; if supported by this CSI driver, set to true to prevent possible logging of tokens in volume attributes
    "#]],
    );
    check("csidrivers", driver.clone(), Some(driver), expect![[r#""#]]);
    let cron = json!({"metadata": {"generation": 2}, "spec": {"schedule": "TZ=UTC * * * * *"}});
    check(
        "cronjobs",
        cron.clone(),
        Some(cron),
        expect![[r#"
        cannot use TZ or CRON_TZ in spec.spec.schedule, use timeZone instead, see https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/ for more details
    "#]],
    );
    let secret = json!({"type": "kubernetes.io/tls", "data": {"tls.crt": "", "tls.key": ""}});
    check(
        "secrets",
        secret,
        None,
        expect![[r#"
        tls: failed to find any PEM data in certificate input
    "#]],
    );
}

/// Made with `openssl`: a certificate of an elliptic key, that key, and another one.
const CERTIFICATE: &str = include_str!("testdata/certificate.pem");
const KEY: &str = include_str!("testdata/key.pem");
const OTHER: &str = include_str!("testdata/other.pem");
const RSA: &str = include_str!("testdata/rsa.pem");

#[test]
fn certificates_and_keys_belong_together() {
    let check = |certificate: &str, key: &str| {
        key_pair_error(certificate.as_bytes(), key.as_bytes()).unwrap_or_default()
    };
    assert_eq!(check(CERTIFICATE, KEY), "");
    assert_eq!(check(CERTIFICATE, OTHER), "tls: private key does not match public key");
    assert_eq!(check(CERTIFICATE, RSA), "tls: private key type does not match public key type");
    let switched = "tls: failed to find certificate PEM data in certificate input, but did find a private key; PEM inputs may have been switched";
    assert_eq!(check(KEY, CERTIFICATE), switched);
    assert_eq!(check("x", KEY), "tls: failed to find any PEM data in certificate input");
    let broken = "-----BEGIN CERTIFICATE-----\nYWJj\n-----END CERTIFICATE-----\n";
    assert_eq!(check(broken, KEY), "x509: malformed certificate");
    let foreign = "-----BEGIN FOO-----\nYWJj\n-----END FOO-----\n";
    let skipped = "tls: failed to find PEM block with type ending in \"PRIVATE KEY\" in key input after skipping PEM blocks of the following types: [FOO]";
    assert_eq!(check(CERTIFICATE, foreign), skipped);
    assert_eq!(
        check(CERTIFICATE, &broken.replace("CERTIFICATE", "PRIVATE KEY")),
        "tls: failed to parse private key"
    );
}
