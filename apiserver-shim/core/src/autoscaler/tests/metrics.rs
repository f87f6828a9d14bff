//! What metrics ask for.

use super::*;

#[test]
fn the_usage_of_cpu_decides() {
    for (percent, usages, replicas) in [
        // Within a tenth of the target.
        (50, ["250m"; 4].as_slice(), 4),
        (50, &["270m"; 4], 4),
        (50, &["350m"; 4], 6),
        (50, &["500m", "500m", "500m", "100m"], 7),
        // A Pod without a sample counts as unused when the others want more, and as fully used when they want less.
        (50, &["500m", "500m", "500m", ""], 6),
        (50, &["500m", "300m", "100m", ""], 4),
    ] {
        let mut case = Case::of_cpu(percent, usages);
        assert_eq!(case.replicas_after_look(), replicas, "{percent} % with {usages:?}");
    }
}

#[test]
fn fewer_are_wanted_when_the_usage_is_low() {
    let mut case = Case::of_cpu(50, &["50m"; 5]);
    let (_, plan) = case.look();
    assert_eq!(case.scale.replicas, 5, "the first recommendation is what is there");
    assert!(plan.events.is_empty());
    case.now += 301;
    case.uses(&["50m"; 5]);
    let (_, plan) = case.look();
    assert_eq!(case.scale.replicas, 2);
    assert_eq!(plan.events[0].message, "New size: 2; reason: All metrics below target");
}

#[test]
fn pods_that_start_or_end_do_not_count() {
    let mut case = Case::of_cpu(50, &["500m", "500m", "500m", "500m"]);
    case.pods[3] = pod("p3", "Pending", false);
    assert_eq!(case.replicas_after_look(), 6, "a pending one counts as unused");
    let mut case = Case::of_cpu(50, &["500m", "500m", "500m", "500m"]);
    case.pods[3] = pod("p3", "Failed", false);
    assert_eq!(case.replicas_after_look(), 6, "a failed one is no replica");
    // Within five minutes of its start, a sample must be from the time when it was ready.
    let mut case = Case::of_cpu(50, &["500m", "500m"]);
    case.now = STARTED + 20;
    case.uses(&["500m", "500m"]);
    case.look();
    let text = "did not receive metrics for targeted pods (pods might be unready)";
    assert!(case.object["status"].to_string().contains(text));
}

fn current(case: &Case) -> &Value {
    &case.object["status"]["currentMetrics"][0]
}

#[test]
fn the_status_shows_what_was_measured() {
    let mut case = Case::of_cpu(50, &["500m", "300m"]);
    case.look();
    let shown = json!({"type": "Resource", "resource": {"name": "cpu", "current": {
        "averageUtilization": 80, "averageValue": "400m"}}});
    assert_eq!(current(&case), &shown);

    let target = json!({"type": "AverageValue", "averageValue": "32Mi"});
    let mut case =
        Case::new(2, json!([{"type": "Resource", "resource": {"name": "memory", "target": target}}]));
    case.uses(&["1m", "1m"]);
    assert_eq!(case.replicas_after_look(), 4);
    let shown =
        json!({"type": "Resource", "resource": {"name": "memory", "current": {"averageValue": "64Mi"}}});
    assert_eq!(current(&case), &shown);
}

#[test]
fn one_container_can_decide() {
    let of_container = |name: &str| {
        let target = json!({"type": "Utilization", "averageUtilization": 50});
        let metric = json!({"type": "ContainerResource", "containerResource": {
            "name": "cpu", "container": name, "target": target}});
        let mut case = Case::new(2, json!([metric]));
        case.uses(&["500m", "500m"]);
        case
    };
    let mut case = of_container("c");
    let (rescale, _) = case.look();
    let reason = "cpu container resource utilization (percentage of request) above target";
    assert_eq!(rescale, Some(Rescale { replicas: 4, reason: reason.to_owned() }));
    let mut case = of_container("other");
    case.look();
    assert_eq!(case.condition("ScalingActive").1, "FailedGetContainerResourceMetric");
}

#[test]
fn requests_are_needed_for_a_utilization() {
    let mut case = Case::of_cpu(50, &["500m", "500m"]);
    case.pods[1].spec["containers"][0]["resources"] = json!({});
    case.look();
    let text = "missing request for cpu in container c of Pod p1";
    assert!(case.object["status"].to_string().contains(text));
    case.pods.iter_mut().for_each(|pod| pod.spec["resources"] = json!({"requests": {"cpu": "1"}}));
    case.now += 15;
    case.uses(&["750m", "750m"]);
    assert_eq!(case.replicas_after_look(), 3, "the Pods' own requests count");
}

fn custom(metric: Value, answer: Value) -> Case {
    let mut case = Case::new(4, json!([metric]));
    case.answers = vec![Ok(answer)];
    case
}

#[test]
fn metrics_of_pods_objects_and_from_outside_decide() {
    let metric = json!({"name": "rps", "selector": {"matchLabels": {"path": "a"}}});
    let average = json!({"type": "AverageValue", "averageValue": "10"});
    let value = json!({"type": "Value", "value": "10"});
    let ingress = json!({"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "name": "i"});
    let printed = "rps(&LabelSelector{MatchLabels:map[string]string{path: a,},\
                   MatchExpressions:[]LabelSelectorRequirement{},})";
    let of_pods: Vec<Value> =
        (0..4).map(|n| json!({"describedObject": {"name": format!("p{n}")}, "value": "20"})).collect();
    for (metric, items, replicas, reason) in [
        (
            json!({"type": "Pods", "pods": {"metric": metric, "target": average}}),
            json!(of_pods),
            8,
            "pods metric rps".to_owned(),
        ),
        (
            json!({"type": "Object", "object": {"metric": metric, "describedObject": ingress, "target": value}}),
            json!([{"value": "15500m"}]),
            7,
            "Ingress metric rps".to_owned(),
        ),
        (
            json!({"type": "Object", "object": {"metric": metric, "describedObject": ingress, "target": average}}),
            json!([{"value": "71"}]),
            8,
            format!("external metric {printed}"),
        ),
        (
            json!({"type": "External", "external": {"metric": metric, "target": average}}),
            json!([{"value": "30"}, {"value": "31"}]),
            7,
            format!("external metric {printed}"),
        ),
        (
            json!({"type": "External", "external": {"metric": metric, "target": value}}),
            json!([{"value": "10"}, {"value": "5"}]),
            6,
            format!("external metric {printed}"),
        ),
    ] {
        let mut case = custom(metric.clone(), json!({"items": items}));
        let (rescale, _) = case.look();
        assert_eq!(rescale, Some(Rescale { replicas, reason: format!("{reason} above target") }), "{metric}");
    }
}

#[test]
fn what_is_asked_of_the_metrics_apis() {
    let read = |metric: Value| {
        let metric = &Spec::read(&json!({"spec": {"metrics": [metric]}})).metrics[0];
        let plural = |group: &str, kind: &str| (kind == "Ingress").then(|| format!("ingresses.{group}"));
        metric.query("ns", "app in (a,b)", plural).map(|query| query.path)
    };
    let metric = json!({"name": "a/b", "selector": {"matchLabels": {"x": "y"}}});
    let object = |kind: &str, version: &str| {
        json!({"type": "Object", "object": {"metric": metric, "describedObject": {
            "apiVersion": version, "kind": kind, "name": "i"}, "target": {"type": "Value", "value": "1"}}})
    };
    let cases = [
        (
            json!({"type": "Resource", "resource": {"name": "cpu"}}),
            Ok("/namespaces/ns/pods?labelSelector=app%20in%20%28a%2Cb%29"),
        ),
        (
            json!({"type": "Pods", "pods": {"metric": metric}}),
            Ok("/namespaces/ns/pods/*/a%2Fb?labelSelector=app%20in%20%28a%2Cb%29&metricLabelSelector=x%3Dy"),
        ),
        (
            object("Ingress", "networking.k8s.io/v1"),
            Ok("/namespaces/ns/ingresses.networking.k8s.io/i/a%2Fb?metricLabelSelector=x%3Dy"),
        ),
        (object("Namespace", "v1"), Ok("/namespaces/ns/metrics/a%2Fb?metricLabelSelector=x%3Dy")),
        (object("Thing", "example.com/v1"), Err("no matches for kind \"Thing\" in group \"example.com\"")),
        (
            json!({"type": "External", "external": {"metric": metric}}),
            Ok("/namespaces/ns/a%2Fb?labelSelector=x%3Dy"),
        ),
    ];
    for (metric, expected) in cases {
        assert_eq!(read(metric).as_deref().map_err(String::as_str), expected);
    }
}

#[test]
fn with_some_metrics_unknown_the_others_may_only_ask_for_more() {
    let half = json!({"type": "Utilization", "averageUtilization": 50});
    let cpu = json!({"type": "Resource", "resource": {"name": "cpu", "target": half}});
    let one = json!({"type": "Value", "value": "1"});
    let outside = json!({"type": "External", "external": {"metric": {"name": "queue"}, "target": one}});
    for (usage, replicas, active) in [("500m", 8, "ValidMetricFound"), ("50m", 4, "FailedGetExternalMetric")]
    {
        let mut case = Case::new(4, json!([outside, cpu]));
        case.uses(&[usage; 4]);
        case.answers.insert(0, Err("boom".to_owned()));
        assert_eq!(case.replicas_after_look(), replicas);
        assert_eq!(case.condition("ScalingActive").1, active);
        let text = "unable to get external metric ns/queue/nil: \
                    unable to fetch metrics from external metrics API: boom";
        let told = active == "ValidMetricFound" || case.object["status"].to_string().contains(text);
        assert!(told, "{}", case.object["status"]);
    }
}
