//! Tests of requests, limits and their cgroup values.

use super::*;

#[test]
fn limits_of_the_pod_as_a_whole() {
    let resources =
        serde_json::json!({"requests": {"cpu": "250m"}, "limits": {"cpu": "500m", "memory": "64Mi"}});
    let pod: Pod = serde_json::from_value(serde_json::json!({
        "spec": {"containers": [{"name": "a"}], "resources": resources}, "status": {"qosClass": "Burstable"},
    }))
    .unwrap();
    assert_eq!(pod_limits(&pod), (50_000, 64 << 20));
    assert_eq!((pod_cpu_shares(&pod), qos_class(&pod).as_str()), (256, "Burstable"));
    assert_eq!(pod_limits(&Pod::default()), (0, 0));
}

fn pod(requests: &[(&str, &str)], limits: &[(&str, &str)]) -> Pod {
    let list = |pairs: &[(&str, &str)]| {
        serde_json::Value::Object(pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).into())).collect())
    };
    serde_json::from_value(serde_json::json!({ "spec": { "containers": [
        { "name": "a", "resources": { "requests": list(requests), "limits": list(limits) } }
    ] } }))
    .unwrap()
}

#[test]
fn the_memory_of_a_pod_is_limited_if_that_of_each_container_is() {
    let of = |spec: serde_json::Value| {
        memory_limit(&serde_json::from_value(serde_json::json!({ "spec": spec })).unwrap())
    };
    let container =
        |limit: &str| serde_json::json!({ "name": "c", "resources": { "limits": { "memory": limit } } });
    let sidecar = serde_json::json!({
        "name": "s", "restartPolicy": "Always", "resources": { "limits": { "memory": "10" } }
    });
    assert_eq!(of(serde_json::json!({ "containers": [container("1Ki"), container("1Ki")] })), Some(2048));
    assert_eq!(of(serde_json::json!({ "containers": [container("1Ki"), { "name": "d" }] })), None);
    let init = serde_json::json!([sidecar, container("500")]);
    assert_eq!(of(serde_json::json!({ "initContainers": init, "containers": [container("5")] })), Some(510));
    let whole = serde_json::json!({ "limits": { "memory": "7" } });
    assert_eq!(of(serde_json::json!({ "resources": whole, "containers": [{ "name": "d" }] })), Some(7));
}

#[test]
fn requests_that_do_not_fit() {
    let requests = |cpu_milli, memory_bytes| Requests { cpu_milli, memory_bytes };
    let capacity = requests(2000, 1000);
    let cpu = "Node didn't have enough resource: cpu, requested: 1500, used: 600, capacity: 2000";
    let memory = "Node didn't have enough resource: memory, requested: 900, used: 101, capacity: 1000";
    let never_cpu = "Node didn't have enough capacity: cpu, requested: 2001, capacity: 2000";
    let never_memory = "Node didn't have enough capacity: memory, requested: 1001, capacity: 1000";
    let table = [
        (requests(1500, 0), requests(500, 2000), Ok(())),
        (requests(1500, 0), requests(600, 0), Err(("Deferred", cpu))),
        (requests(0, 900), requests(3000, 101), Err(("Deferred", memory))),
        (requests(2001, 0), requests(0, 0), Err(("Infeasible", never_cpu))),
        (requests(2001, 1001), requests(0, 0), Err(("Infeasible", never_memory))),
    ];
    for (wanted, used, expected) in table {
        let verdict = fits(wanted, used, capacity);
        let shown = verdict.as_ref().map(|&()| ()).map_err(|refusal| (refusal.reason(), refusal.message()));
        assert_eq!(shown, expected);
    }
    let pod = pod(&[("cpu", "100m"), ("memory", "1Ki")], &[]);
    assert_eq!(super::requests(&pod), requests(100, 1024));
}

#[test]
fn status_shows_what_the_cgroup_has() {
    let pod = pod(&[("cpu", "200m")], &[("cpu", "600m"), ("memory", "100000000")]);
    let container = &spec::spec(&pod).containers[0];
    let shown = |applied: CgroupLimits| {
        let resources = actual(&pod, container, &applied).unwrap();
        let (limits, requests) = (resources.limits.unwrap(), resources.requests.unwrap());
        format!("{} {} {}", limits["cpu"].0, limits["memory"].0, requests["cpu"].0)
    };
    let limits =
        |cpu_weight, cpu_quota_us, memory_bytes| CgroupLimits { cpu_weight, cpu_quota_us, memory_bytes };
    let wanted = CgroupLimits::wanted(&pod, container);
    assert_eq!(shown(wanted), "600m 100000000 200m");
    // The kernel rounds to pages and weights.
    let rounded = limits(CpuWeight::Weight(8), 60_000, 99_999_744);
    assert_eq!((shown(rounded).as_str(), rounded.satisfies(&wanted)), ("600m 100000000 200m", true));
    let other = limits(CpuWeight::Shares(102), 50_000, 64 << 20);
    assert_eq!((shown(other).as_str(), other.satisfies(&wanted)), ("500m 64Mi 100m", false));
    assert!(!limits(CpuWeight::Shares(204), 60_000, 0).satisfies(&wanted), "unlimited memory");
}

#[test]
fn classes_and_scores() {
    let gi: i64 = 1 << 30;
    let table = [
        (pod(&[], &[]), "BestEffort", 1000, 2, 0),
        (pod(&[("cpu", "100m")], &[]), "Burstable", 999, 102, 0),
        (pod(&[("memory", "512Mi")], &[("cpu", "1")]), "Burstable", 500, 1024, 100_000),
        (pod(&[], &[("cpu", "250m"), ("memory", "64Mi")]), "Guaranteed", -997, 256, 25_000),
        (pod(&[("cpu", "0")], &[("cpu", "0")]), "BestEffort", 1000, 2, 0),
    ];
    for (pod, class, score, shares, quota) in table {
        let found = limits(&pod, &spec::spec(&pod).containers[0], gi);
        let got = (qos_class(&pod).as_str(), found.oom_score_adj, found.cpu_shares, found.cpu_quota_us);
        assert_eq!(got, (class, score, shares, quota));
    }
}

#[test]
fn overhead_counts_for_the_pod_and_not_for_its_containers() {
    let resources = serde_json::json!({"requests": {"cpu": "200m", "memory": "10"}, "limits": {"cpu": "1", "memory": "20"}});
    let container = serde_json::json!({"name": "a", "resources": resources});
    let pod = |more: serde_json::Value| -> Pod {
        let mut spec = serde_json::json!({"containers": [container, container]});
        spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        serde_json::from_value(serde_json::json!({ "spec": spec })).unwrap()
    };
    let with = pod(serde_json::json!({"overhead": {"cpu": "100m", "memory": "7"}}));
    assert_eq!(requests(&with), Requests { cpu_milli: 500, memory_bytes: 27 });
    assert_eq!((pod_cpu_shares(&with), pod_limits(&with)), (512, (0, 0)));
    let limits = |cpu_shares, cpu_quota_us, memory_bytes| Limits {
        cpu_shares,
        cpu_quota_us,
        memory_bytes,
        oom_score_adj: 0,
    };
    let containers = limits(409, 200_000, 40);
    assert_eq!(sandbox_limits(&with), (containers, Some(limits(102, 10_000, 7))));
    assert_eq!(sandbox_limits(&pod(serde_json::json!({}))), (containers, None));
    let whole = serde_json::json!({"limits": {"cpu": "500m", "memory": "50"}});
    let whole = pod(serde_json::json!({"overhead": {"cpu": "100m", "memory": "7"}, "resources": whole}));
    assert_eq!((pod_limits(&whole), sandbox_limits(&whole).0), ((60_000, 57), limits(409, 50_000, 50)));
}
