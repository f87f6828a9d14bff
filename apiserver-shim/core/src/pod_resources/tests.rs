//! The resources of whole Pods.

use expect_test::expect;
use serde_json::{Value, json};

use super::*;

fn container(name: &str, cpu: &str) -> Value {
    json!({"name": name, "resources": {"requests": {"cpu": cpu}, "limits": {"cpu": cpu}}})
}

fn pretty(pod: &Value) -> String {
    let both = [Side::Requests, Side::Limits].map(|side| of_pod(pod, side).pretty());
    format!("{} | {}", both[0], both[1])
}

#[test]
fn containers_add_up_and_initialization_may_need_more() {
    let sidecar = |cpu: &str| {
        let mut sidecar = container("s", cpu);
        sidecar["restartPolicy"] = json!("Always");
        sidecar
    };
    let spec = |containers: Value, init: Value| {
        pretty(&json!({"spec": {"containers": containers, "initContainers": init}}))
    };
    let two = json!([container("a", "1"), container("b", "500m")]);
    assert_eq!(spec(two.clone(), json!([])), "cpu=1500m | cpu=1500m");
    assert_eq!(spec(two.clone(), json!([container("i", "2")])), "cpu=2 | cpu=2");
    assert_eq!(spec(two.clone(), json!([sidecar("1"), container("i", "1")])), "cpu=2500m | cpu=2500m");
    assert_eq!(spec(two, json!([sidecar("1"), container("i", "3")])), "cpu=4 | cpu=4");
}

#[test]
fn the_pods_own_resources_replace_those_of_its_containers_and_overhead_is_added() {
    let mut pod = json!({"spec": {"containers": [container("a", "1")],
        "resources": {"requests": {"cpu": "3", "example.com/x": "1"}, "limits": {"memory": "1Gi"}},
        "overhead": {"cpu": "100m", "memory": "64Mi"}}});
    expect!["cpu=3100m,memory=64Mi | cpu=1100m,memory=1088Mi"].assert_eq(&pretty(&pod));
    assert!(has_pod_level(&pod["spec"]));
    expect!["cpu=3"].assert_eq(&of_spec(&pod["spec"], Side::Requests).pretty());
    pod["spec"]["resources"] = json!({"requests": {"example.com/x": "1"}});
    assert!(!has_pod_level(&pod["spec"]));
}

#[test]
fn a_container_that_is_being_resized_counts_with_what_it_has() {
    let mut pod = json!({"spec": {"containers": [container("a", "1")]}, "status": {"containerStatuses": [
        {"name": "a", "resources": {"requests": {"cpu": "2"}, "limits": {"cpu": "3"}}, "allocatedResources": {"cpu": "4"}}]}});
    expect!["cpu=4 | cpu=3"].assert_eq(&pretty(&pod));
    pod["spec"]["containers"][0] = container("a", "9");
    expect!["cpu=9 | cpu=9"].assert_eq(&pretty(&pod));
    pod["status"]["conditions"] = json!([{"type": "PodResizePending", "reason": "Infeasible"}]);
    expect!["cpu=4 | cpu=3"].assert_eq(&pretty(&pod));
}
