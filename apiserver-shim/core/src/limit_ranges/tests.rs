//! Defaults and bounds of LimitRanges.

use expect_test::expect;
use serde_json::json;

use super::*;

fn range(items: Value) -> Value {
    json!({"metadata": {"name": "limits"}, "spec": {"limits": items}})
}

fn pod(requests: Value, limits: Value) -> Value {
    json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "resources": {"requests": requests, "limits": limits}}]}})
}

#[test]
fn containers_get_what_they_lack_and_the_pod_says_so() {
    let range = range(json!([{"type": "Container", "default": {"cpu": "500m", "memory": "500Mi"},
        "defaultRequest": {"cpu": "100m", "memory": "200Mi"}}]));
    let mut pod = pod(json!({"cpu": "300m"}), json!({}));
    pod["spec"]["initContainers"] = json!([{"name": "i"}]);
    set_defaults(&range, &mut pod);
    expect![[r#"{"metadata":{"annotations":{"kubernetes.io/limit-ranger":"LimitRanger plugin set: memory request for container c; cpu, memory limit for container c; cpu, memory request for init container i; cpu, memory limit for init container i"},"name":"p"},"spec":{"containers":[{"name":"c","resources":{"limits":{"cpu":"500m","memory":"500Mi"},"requests":{"cpu":"300m","memory":"200Mi"}}}],"initContainers":[{"name":"i","resources":{"limits":{"cpu":"500m","memory":"500Mi"},"requests":{"cpu":"100m","memory":"200Mi"}}}]}}"#]]
        .assert_eq(&pod.to_string());
    let before = pod.clone();
    set_defaults(&range, &mut pod);
    assert_eq!(pod, before, "nothing is set twice");
}

#[test]
fn bounds_name_what_is_asked_for() {
    let item = |kind: &str, bounds: Value| {
        let mut item = bounds;
        item["type"] = json!(kind);
        range(json!([item]))
    };
    let cases = [
        ("Container", json!({"min": {"cpu": "100m"}}), pod(json!({"cpu": "50m"}), json!({}))),
        ("Container", json!({"min": {"cpu": "100m"}}), pod(json!({}), json!({}))),
        ("Container", json!({"min": {"cpu": "100m"}}), pod(json!({"cpu": "100m"}), json!({"cpu": "50m"}))),
        ("Container", json!({"max": {"cpu": "1"}}), pod(json!({}), json!({}))),
        ("Container", json!({"max": {"cpu": "1"}}), pod(json!({}), json!({"cpu": "2"}))),
        ("Container", json!({"max": {"cpu": "1"}}), pod(json!({"cpu": "1500m"}), json!({"cpu": "1"}))),
        (
            "Container",
            json!({"maxLimitRequestRatio": {"cpu": "1.5"}}),
            pod(json!({"cpu": "1"}), json!({"cpu": "2"})),
        ),
        (
            "Container",
            json!({"maxLimitRequestRatio": {"cpu": "2"}}),
            pod(json!({"cpu": "1"}), json!({"cpu": "2"})),
        ),
        ("Container", json!({"maxLimitRequestRatio": {"cpu": "2"}}), pod(json!({}), json!({"cpu": "2"}))),
        ("Container", json!({"maxLimitRequestRatio": {"cpu": "2"}}), pod(json!({"cpu": "1"}), json!({}))),
        (
            "Container",
            json!({"min": {"cpu": "1"}, "max": {"memory": "1Gi"}}),
            pod(json!({}), json!({"memory": "2Gi"})),
        ),
        ("Pod", json!({"max": {"memory": "1Gi"}}), pod(json!({}), json!({"memory": "1025Mi"}))),
        ("Pod", json!({"max": {"memory": "1Gi"}}), pod(json!({}), json!({"memory": "1Gi"}))),
        (
            "Pod",
            json!({"max": {"example.com/x": "9223372036854775807"}}),
            pod(json!({}), json!({"example.com/x": "9e18"})),
        ),
    ];
    let text: Vec<String> = cases
        .iter()
        .map(|(kind, bounds, pod)| {
            check_pod(&item(kind, bounds.clone()), pod).err().unwrap_or_else(|| "ok".into())
        })
        .collect();
    expect![[r#"
        minimum cpu usage per Container is 100m, but request is 50m
        minimum cpu usage per Container is 100m.  No request is specified
        minimum cpu usage per Container is 100m, but limit is 50m
        maximum cpu usage per Container is 1.  No limit is specified
        maximum cpu usage per Container is 1, but limit is 2
        maximum cpu usage per Container is 1, but request is 1500m
        cpu max limit to request ratio per Container is 1500m, but provided ratio is 2.000000
        ok
        cpu max limit to request ratio per Container is 2, but no request is specified or request is 0
        cpu max limit to request ratio per Container is 2, but no limit is specified or limit is 0
        [minimum cpu usage per Container is 1.  No request is specified, maximum memory usage per Container is 1Gi, but limit is 2Gi]
        maximum memory usage per Pod is 1Gi, but limit is 1025Mi
        ok
        ok"#]]
    .assert_eq(&text.join("\n"));
}

#[test]
fn claims_are_bound_by_their_requests() {
    let range = range(
        json!([{"type": "PersistentVolumeClaim", "min": {"storage": "1Gi"}, "max": {"storage": "5Gi"}}]),
    );
    let check = |storage: &str| {
        check_claim(&range, &json!({"spec": {"resources": {"requests": {"storage": storage}}}}))
    };
    assert_eq!(check("2Gi"), Ok(()));
    let text = "minimum storage usage per PersistentVolumeClaim is 1Gi, but request is 500Mi";
    assert_eq!(check("500Mi"), Err(text.into()));
    let text = "maximum storage usage per PersistentVolumeClaim is 5Gi, but request is 6Gi";
    assert_eq!(check("6Gi"), Err(text.into()));
}
