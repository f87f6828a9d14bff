//! Environments rendered as text.

use expect_test::{Expect, expect};
use serde_json::json;

use super::*;

fn check(container: serde_json::Value, expected: Expect) {
    let pod: Pod = serde_json::from_value(json!({
        "metadata": { "name": "web", "namespace": "shop", "uid": "u-1", "labels": { "app": "web" } },
        "spec": { "nodeName": "n1", "containers": [container] },
        "status": { "podIP": "10.0.0.9" }
    }))
    .unwrap();
    let sources = Sources {
        config_maps: serde_json::from_value(json!({ "cm": { "data": { "A": "1", "B": "2" } } })).unwrap(),
        secrets: serde_json::from_value(json!({ "sec": { "data": { "KEY": "c2VjcmV0" } } })).unwrap(),
    };
    let node = Node {
        name: "n1".into(),
        ip: "192.0.2.1".into(),
        pod_ips: vec!["10.0.0.9".into()],
        ..Default::default()
    };
    let services = [("A".to_owned(), "service".to_owned())];
    let container = &spec::spec(&pod).containers[0];
    let text = match build(&pod, container, &sources, &services, &node) {
        Ok(vars) => vars.iter().map(|(name, value)| format!("{name}={value}\n")).collect(),
        Err(error) => format!("error: {error}\n"),
    };
    expected.assert_eq(&text);
}

#[test]
fn sources_fields_and_references() {
    check(
        json!({ "name": "c",
            "resources": { "limits": { "cpu": "1500m", "memory": "64Mi" } },
            "envFrom": [{ "configMapRef": { "name": "cm" }, "prefix": "CM_" }, { "configMapRef": { "name": "no", "optional": true } }],
            "env": [
                { "name": "PLAIN", "value": "x" },
                { "name": "REF", "value": "$(PLAIN)-$(CM_B)-$(UNKNOWN)-$$(PLAIN)-$" },
                { "name": "A", "value": "mine" },
                { "name": "SECRET", "valueFrom": { "secretKeyRef": { "name": "sec", "key": "KEY" } } },
                { "name": "NONE", "valueFrom": { "secretKeyRef": { "name": "sec", "key": "no", "optional": true } } },
                { "name": "IP", "valueFrom": { "fieldRef": { "fieldPath": "status.podIP" } } },
                { "name": "APP", "valueFrom": { "fieldRef": { "fieldPath": "metadata.labels['app']" } } },
                { "name": "CPU", "valueFrom": { "resourceFieldRef": { "resource": "limits.cpu" } } },
                { "name": "MEM", "valueFrom": { "resourceFieldRef": { "resource": "limits.memory", "divisor": "1Mi" } } }
            ] }),
        expect![[r#"
            A=mine
            CM_A=1
            CM_B=2
            PLAIN=x
            REF=x-2-$(UNKNOWN)-$(PLAIN)-$
            SECRET=secret
            IP=10.0.0.9
            APP=web
            CPU=2
            MEM=64
        "#]],
    );
}

#[test]
fn missing_sources_are_named() {
    let env = |from: serde_json::Value| json!({ "name": "c", "env": [{ "name": "X", "valueFrom": from }] });
    check(
        env(json!({ "configMapKeyRef": { "name": "gone", "key": "k" } })),
        expect![[r#"
            error: configmap "gone" not found
        "#]],
    );
    check(
        env(json!({ "configMapKeyRef": { "name": "cm", "key": "k" } })),
        expect![[r#"
            error: couldn't find key k in ConfigMap shop/cm
        "#]],
    );
    check(
        json!({ "name": "c", "envFrom": [{ "secretRef": { "name": "gone" } }] }),
        expect![[r#"
            error: secret "gone" not found
        "#]],
    );
}

#[test]
fn service_variables_have_the_docker_link_format() {
    let services: Vec<Service> = serde_json::from_value(json!([
        { "metadata": { "name": "my-db", "namespace": "shop" },
          "spec": { "clusterIP": "10.96.0.7", "ports": [{ "name": "sql", "port": 5432 }] } },
        { "metadata": { "name": "headless", "namespace": "shop" }, "spec": { "clusterIP": "None", "ports": [{ "port": 1 }] } },
        { "metadata": { "name": "other", "namespace": "else" }, "spec": { "clusterIP": "10.96.0.8", "ports": [{ "port": 1 }] } },
        { "metadata": { "name": "kubernetes", "namespace": "default" }, "spec": { "clusterIP": "10.96.0.1", "ports": [{ "port": 443 }] } }
    ]))
    .unwrap();
    let api_server = ApiServer::At { host: "192.0.2.1".to_owned(), port: 6443 };
    let vars = service_variables(&services, "shop", true, &api_server);
    let vars: String = vars.iter().map(|(n, v)| format!("{n}={v}\n")).collect();
    expect![[r#"
        MY_DB_SERVICE_HOST=10.96.0.7
        MY_DB_SERVICE_PORT=5432
        MY_DB_SERVICE_PORT_SQL=5432
        MY_DB_PORT=tcp://10.96.0.7:5432
        MY_DB_PORT_5432_TCP=tcp://10.96.0.7:5432
        MY_DB_PORT_5432_TCP_PROTO=tcp
        MY_DB_PORT_5432_TCP_PORT=5432
        MY_DB_PORT_5432_TCP_ADDR=10.96.0.7
        KUBERNETES_SERVICE_HOST=192.0.2.1
        KUBERNETES_SERVICE_PORT=6443
        KUBERNETES_PORT=tcp://192.0.2.1:6443
        KUBERNETES_PORT_6443_TCP=tcp://192.0.2.1:6443
        KUBERNETES_PORT_6443_TCP_PROTO=tcp
        KUBERNETES_PORT_6443_TCP_PORT=6443
        KUBERNETES_PORT_6443_TCP_ADDR=192.0.2.1
    "#]]
    .assert_eq(&vars);
    let at_service = service_variables(&services, "none", true, &ApiServer::Service);
    let first = |name: &str| at_service.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str());
    assert_eq!(first("KUBERNETES_SERVICE_HOST"), Some("10.96.0.1"));
    assert_eq!(first("KUBERNETES_SERVICE_PORT"), Some("443"));
    let without = service_variables(&services, "else", true, &ApiServer::Nowhere);
    assert!(without.iter().all(|(name, _)| name.starts_with("OTHER_")), "{without:?}");
}

#[test]
fn a_pod_reaches_the_api_server_unless_it_is_on_the_nodes_loopback() {
    let at = |host: &str, port| ApiServer::At { host: host.to_owned(), port };
    let table = [
        ("https://192.0.2.1:6443", false, ApiServer::Service),
        ("https://192.0.2.1:6443", true, ApiServer::Service),
        ("https://[2001:db8::1]:6443/", false, ApiServer::Service),
        ("https://api.example:443", false, ApiServer::Service),
        ("https://api.example", false, ApiServer::Service),
        ("https://127.0.0.1:6443", false, ApiServer::Nowhere),
        ("https://127.0.0.1:6443", true, at("127.0.0.1", 6443)),
        ("https://localhost:6443/", true, at("localhost", 6443)),
        ("https://[::1]:6443", false, ApiServer::Nowhere),
    ];
    for (url, host_network, expected) in table {
        assert_eq!(ApiServer::seen_by_pod(url, host_network), expected, "{url}");
    }
}

proptest::proptest! {
    #[test]
    fn expansion_is_total_and_leaves_plain_text(text in "[^$]{0,30}", wild in ".{0,30}") {
        proptest::prop_assert_eq!(expand(&text, |_| Some("x".into())), text);
        let _ = expand(&wild, |_| None);
    }
}
