//! Pods behind a Service.

use expect_test::expect;
use serde_json::json;

use super::*;
use crate::{controllers::served, testing::World};

fn service() -> Value {
    json!({
        "metadata": {"name": "s", "namespace": "ns"},
        "spec": {"selector": {"k": "v"}, "ports": [{"port": 80, "targetPort": "http"}]},
    })
}

fn add_pod(world: &mut World, n: usize) {
    let value = json!({
        "metadata": {"name": format!("p{n:03}"), "namespace": "ns", "labels": {"k": "v"}},
        "spec": {"nodeName": "n1", "containers": [{"name": "c", "ports": [{"name": "http", "containerPort": 8080}]}]},
        "status": {"phase": "Running", "podIP": format!("10.0.0.{n}"), "conditions": [{"type": "Ready", "status": "True"}]},
    });
    world.add(served("", "pods"), value);
}

fn settle(world: &mut World) {
    let plan = world.look_at_service("s");
    world.apply(&plan);
    let again = world.look_at_service("s");
    assert!(again.is_empty(), "second look plans {:#?}", again.actions);
}

#[test]
fn slices_and_endpoints_follow_the_pods() {
    let mut world = World::default();
    world.add(served("", "services"), service());
    settle(&mut world);
    assert_eq!(world.all("endpointslices").len(), 1);
    for n in 0..150 {
        add_pod(&mut world, n);
    }
    settle(&mut world);
    let sizes = |world: &World| {
        let count = |v: &&Value| v["endpoints"].as_array().unwrap().len();
        let mut sizes: Vec<usize> = world.all("endpointslices").iter().map(count).collect();
        sizes.sort_unstable();
        sizes
    };
    assert_eq!(sizes(&world).iter().sum::<usize>(), 150);
    assert!(sizes(&world).iter().all(|n| *n <= 100));
    for n in 1..150 {
        world.objects.remove(&("pods", crate::rows::Key::new("ns", &format!("p{n:03}"))));
    }
    settle(&mut world);
    settle(&mut world);
    assert_eq!(sizes(&world), [1]);
    expect![[r#"[{"addresses":[{"ip":"10.0.0.0","nodeName":"n1","targetRef":{"kind":"Pod","name":"p000","namespace":"ns","uid":"uid-0004"}}],"ports":[{"port":8080,"protocol":"TCP"}]}]"#]]
        .assert_eq(&world.get("endpoints", "s")["subsets"].to_string());
}
