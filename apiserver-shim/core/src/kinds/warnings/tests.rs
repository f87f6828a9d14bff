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
    check("pods", object, None, expect![[r#""#]]);
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
    check("pods", object.clone(), None, expect![[r#""#]]);
    check("pods", object.clone(), Some(object), expect![[r#""#]]);
}

#[test]
fn templates_are_warned_about_when_the_generation_changes() {
    let of = |generation: i64| {
        json!({"metadata": {"name": "a.b", "generation": generation}, "spec": {"revisionHistoryLimit": -1,
            "template": {"spec": {"terminationGracePeriodSeconds": -1}},
            "volumeClaimTemplates": [{"spec": {"resources": {"requests": {"storage": "0.5"}}}}]}})
    };
    check("deployments", of(1), None, expect![[r#""#]]);
    check("deployments", of(1), Some(of(1)), expect![[r#""#]]);
    check("deployments", of(2), Some(of(1)), expect![[r#""#]]);
    check("statefulsets", of(2), Some(of(1)), expect![[r#""#]]);
}

#[test]
fn other_kinds() {
    let policy = json!({"spec": {"ingress": [{"from": [{"ipBlock": {"cidr": "2001:DB8::/32", "except": ["010.0.0.1/8"]}}]}]}});
    check("networkpolicies", policy, None, expect![[r#""#]]);
    let name = json!({"metadata": {"name": "a.static.k8s.io"}});
    check("validatingadmissionpolicies", name, None, expect![[r#""#]]);
    let driver = json!({"spec": {"tokenRequests": [{"audience": "a"}]}});
    check("csidrivers", driver.clone(), None, expect![[r#""#]]);
    check("csidrivers", driver.clone(), Some(driver), expect![[r#""#]]);
    let cron = json!({"metadata": {"generation": 2}, "spec": {"schedule": "TZ=UTC * * * * *"}});
    check("cronjobs", cron.clone(), Some(cron), expect![[r#""#]]);
    let secret = json!({"type": "kubernetes.io/tls", "data": {"tls.crt": "", "tls.key": ""}});
    check("secrets", secret, None, expect![[r#""#]]);
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
