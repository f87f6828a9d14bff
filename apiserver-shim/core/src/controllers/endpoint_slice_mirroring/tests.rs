//! Mirrored slices follow their Endpoints, and go with them and with their Service.

use expect_test::{Expect, expect};
use serde_json::{Value, json};

use super::*;
use crate::controllers::{ControllerConfig, all};
use crate::testing::TestCluster;

fn cluster(subsets: Value) -> TestCluster {
    let mut cluster = TestCluster::default();
    cluster.add(served("", "namespaces"), json!({"metadata": {"name": "ns"}}));
    let service = json!({"metadata": {"name": "s", "namespace": "ns"}, "spec": {"ports": [{"port": 80}]}});
    cluster.add(served("", "services"), service);
    let metadata = json!({"name": "s", "namespace": "ns", "labels": {"l": "1"}, "annotations": {
        "a": "1", "kubectl.kubernetes.io/last-applied-configuration": "{}"}});
    cluster.add(served("", "endpoints"), json!({"metadata": metadata, "subsets": subsets}));
    cluster
}

fn mirror(cluster: &mut TestCluster) -> Plan {
    let name = ObjectName::new(served("", "endpoints"), "ns", "s");
    let plan = cluster.reconcile(&EndpointSliceMirroringController, &name);
    cluster.apply(&plan);
    assert!(cluster.reconcile(&EndpointSliceMirroringController, &name).is_empty(), "a second plan is empty");
    plan
}

fn run_all(cluster: &mut TestCluster) {
    cluster.run(&all(&ControllerConfig::default()));
}

fn check(subsets: Value, expect: Expect) {
    let mut cluster = cluster(subsets);
    mirror(&mut cluster);
    let slices = cluster.all("endpointslices");
    let lines: Vec<String> = slices
        .iter()
        .map(|slice| format!("{} {} {}", slice["addressType"], slice["ports"], slice["endpoints"]))
        .collect();
    expect.assert_eq(&lines.join("\n"));
}

#[test]
fn a_mirrored_slice_belongs_to_its_endpoints() {
    let mut cluster =
        cluster(json!([{"addresses": [{"ip": "10.20.30.40"}], "ports": [{"port": 80, "protocol": "TCP"}]}]));
    mirror(&mut cluster);
    let slice = &cluster.all("endpointslices")[0]["metadata"];
    let shown = ["generateName", "labels", "annotations", "ownerReferences"].map(|k| slice[k].to_string());
    expect![[r#"
        null
        {"endpointslice.kubernetes.io/managed-by":"endpointslicemirroring-controller.k8s.io","kubernetes.io/service-name":"s","l":"1"}
        {"a":"1"}
        [{"apiVersion":"v1","blockOwnerDeletion":true,"controller":true,"kind":"Endpoints","name":"s","uid":"uid-0003"}]"#]]
    .assert_eq(&shown.join("\n"));
}

#[test]
fn slices_have_the_subsets_in_canonical_form() {
    check(
        json!([{"addresses": [{"ip": "10.20.30.40", "nodeName": "n", "hostname": "h"}], "notReadyAddresses": [{"ip": "10.20.30.41"}],
            "ports": [{"name": "web", "port": 80, "protocol": "TCP", "appProtocol": "http"}]}]),
        expect![[
            r#""IPv4" [{"appProtocol":"http","name":"web","port":80,"protocol":"TCP"}] [{"addresses":["10.20.30.40"],"conditions":{"ready":true},"hostname":"h","nodeName":"n"},{"addresses":["10.20.30.41"],"conditions":{"ready":false}}]"#
        ]],
    );
    // Both families, and ports that are written as subsets of their own.
    check(
        json!([{"addresses": [{"ip": "10.0.0.1"}, {"ip": "2001:db8:0::1"}], "ports": [{"name": "a", "port": 1}]},
            {"addresses": [{"ip": "10.0.0.1"}, {"ip": "2001:db8:0::1"}], "ports": [{"name": "b", "port": 2}]}]),
        expect![[r#"
            "IPv4" [{"name":"a","port":1,"protocol":"TCP"},{"name":"b","port":2,"protocol":"TCP"}] [{"addresses":["10.0.0.1"],"conditions":{"ready":true}}]
            "IPv6" [{"name":"a","port":1,"protocol":"TCP"},{"name":"b","port":2,"protocol":"TCP"}] [{"addresses":["2001:db8::1"],"conditions":{"ready":true}}]"#]],
    );
    // Not ready wins, and no ports are a set of ports too.
    check(
        json!([{"addresses": [{"ip": "10.0.0.1"}]}, {"notReadyAddresses": [{"ip": "10.0.0.1"}]}, {"addresses": [{"ip": "10.0.0.2"}], "ports": [{"port": 1}]}]),
        expect![[r#"
            "IPv4" [] [{"addresses":["10.0.0.1"],"conditions":{"ready":false}}]
            "IPv4" [{"name":"","port":1,"protocol":"TCP"}] [{"addresses":["10.0.0.2"],"conditions":{"ready":true}}]"#]],
    );
    check(json!([]), expect![[""]]);
}

#[test]
fn slices_change_in_place() {
    let mut cluster = cluster(json!([{"addresses": [{"ip": "10.0.0.1"}], "ports": [{"port": 1}]}]));
    mirror(&mut cluster);
    cluster.edit("endpoints", "s", |e| e["subsets"][0]["ports"][0]["port"] = json!(2));
    let plan = mirror(&mut cluster);
    assert!(matches!(&plan.actions[..], [Action::Change { .. }]), "{:?}", plan.actions);
    cluster.edit("endpoints", "s", |e| e["metadata"]["labels"] = json!({"l": "2"}));
    mirror(&mut cluster);
    assert_eq!(cluster.all("endpointslices")[0]["metadata"]["labels"]["l"], "2");
    cluster.edit("endpoints", "s", |e| e["subsets"] = json!([]));
    mirror(&mut cluster);
    assert_eq!(cluster.all("endpointslices").len(), 0);
}

#[test]
fn too_many_addresses_are_reported() {
    let addresses: Vec<Value> =
        (0..1001).map(|n| json!({"ip": format!("10.0.{}.{}", n / 250, n % 250)})).collect();
    let plan = mirror(&mut cluster(json!([{"addresses": addresses}])));
    expect!["A max of 1000 addresses can be mirrored to EndpointSlices per Endpoints subset. 1 addresses were skipped"]
        .assert_eq(&plan.events[0].message);
}

#[test]
fn some_endpoints_are_not_mirrored() {
    let count = |edit: &dyn Fn(&mut TestCluster)| {
        let mut cluster = cluster(json!([{"addresses": [{"ip": "10.0.0.1"}]}]));
        mirror(&mut cluster);
        edit(&mut cluster);
        mirror(&mut cluster);
        cluster.all("endpointslices").len()
    };
    let label = |value: &'static str| {
        move |c: &mut TestCluster| {
            c.edit("endpoints", "s", |e| e["metadata"]["labels"] = json!({SKIP_MIRROR_LABEL: value}));
        }
    };
    assert_eq!(count(&|_| {}), 1);
    assert_eq!(count(&label("true")), 0);
    assert_eq!(count(&label("false")), 1);
    let leader = |c: &mut TestCluster| {
        c.edit("endpoints", "s", |e| e["metadata"]["annotations"] = json!({LEADER_ANNOTATION: "{}"}));
    };
    assert_eq!(count(&leader), 0);
    assert_eq!(count(&|c| c.edit("services", "s", |s| s["spec"]["selector"] = json!({"a": "b"}))), 0);
}

/// What a Service leaves behind is removed: its Endpoints by name, slices by their owners.
#[test]
fn endpoints_and_slices_go_with_their_service() {
    for selector in [Value::Null, json!({"a": "b"})] {
        let mut cluster = cluster(json!([{"addresses": [{"ip": "10.0.0.1"}]}]));
        if !selector.is_null() {
            cluster.edit("services", "s", |s| s["spec"]["selector"] = selector.clone());
        }
        run_all(&mut cluster);
        assert_eq!((cluster.all("endpoints").len(), cluster.all("endpointslices").len()), (1, 1));
        cluster.objects.remove(&("services".to_owned(), crate::rows::Key::new("ns", "s")));
        let name = ObjectName::new(served("", "services"), "ns", "s");
        let plan = cluster.reconcile(&super::super::endpoints::EndpointsController, &name);
        cluster.apply(&plan);
        run_all(&mut cluster);
        assert_eq!((cluster.all("endpoints").len(), cluster.all("endpointslices").len()), (0, 0));
    }
}

/// `kubectl apply` may create the Endpoints before their Service.
#[test]
fn endpoints_may_precede_their_service() {
    let mut cluster = cluster(json!([{"addresses": [{"ip": "10.0.0.1"}]}]));
    cluster.objects.remove(&("services".to_owned(), crate::rows::Key::new("ns", "s")));
    run_all(&mut cluster);
    assert_eq!(cluster.all("endpoints").len(), 1);
}
