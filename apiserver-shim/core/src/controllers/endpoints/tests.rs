//! Both endpoint controllers follow the Pods of a Service.

use expect_test::expect;
use serde_json::json;

use super::*;
use crate::{controllers::served, testing::TestCluster};

fn service() -> Value {
    json!({
        "metadata": {"name": "s", "namespace": "ns"},
        "spec": {"selector": {"k": "v"}, "ports": [{"port": 80, "targetPort": "http"}]},
    })
}

fn add_pod(cluster: &mut TestCluster, n: usize) {
    let value = json!({
        "metadata": {"name": format!("p{n:03}"), "namespace": "ns", "labels": {"k": "v"}},
        "spec": {"nodeName": "n1", "containers": [{"name": "c", "ports": [{"name": "http", "containerPort": 8080}]}]},
        "status": {"phase": "Running", "podIP": format!("10.0.0.{n}"), "conditions": [{"type": "Ready", "status": "True"}]},
    });
    cluster.add(served("", "pods"), value);
}

fn converge(cluster: &mut TestCluster) {
    let plan = cluster.reconcile_service("s");
    cluster.apply(&plan);
    let again = cluster.reconcile_service("s");
    assert!(again.is_empty(), "second reconcile plans {:#?}", again.actions);
}

#[test]
fn slices_and_endpoints_follow_the_pods() {
    let mut cluster = TestCluster::default();
    cluster.add(served("", "services"), service());
    converge(&mut cluster);
    assert_eq!(cluster.all("endpointslices").len(), 1);
    for n in 0..150 {
        add_pod(&mut cluster, n);
    }
    converge(&mut cluster);
    let sizes = |cluster: &TestCluster| {
        let count = |v: &&Value| v["endpoints"].as_array().unwrap().len();
        let mut sizes: Vec<usize> = cluster.all("endpointslices").iter().map(count).collect();
        sizes.sort_unstable();
        sizes
    };
    assert_eq!(sizes(&cluster).iter().sum::<usize>(), 150);
    assert!(sizes(&cluster).iter().all(|n| *n <= 100));
    for n in 1..150 {
        cluster.objects.remove(&("pods".to_owned(), crate::rows::Key::new("ns", &format!("p{n:03}"))));
    }
    converge(&mut cluster);
    converge(&mut cluster);
    assert_eq!(sizes(&cluster), [1]);
    expect![[r#"[{"addresses":[{"ip":"10.0.0.0","nodeName":"n1","targetRef":{"kind":"Pod","name":"p000","namespace":"ns","uid":"uid-0004"}}],"ports":[{"port":8080,"protocol":"TCP"}]}]"#]]
        .assert_eq(&cluster.get("endpoints", "s")["subsets"].to_string());
}
