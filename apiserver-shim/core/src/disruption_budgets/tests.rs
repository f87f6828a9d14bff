//! The arithmetic of budgets, and what an eviction is answered.

use expect_test::expect;
use proptest::prelude::*;

use super::*;

fn counts(limit: Value, expected: i64, healthy: i64) -> String {
    let Counts { current_healthy, desired_healthy, expected_pods, disruptions_allowed } =
        Counts::new(Limit::decode(&limit), expected, healthy);
    format!("{current_healthy} of {desired_healthy}, {expected_pods} expected, {disruptions_allowed} allowed")
}

#[test]
fn percentages_are_rounded_up() {
    let cases = [
        (json!({"minAvailable": 2}), 3, 3),
        (json!({"minAvailable": "50%"}), 3, 3),
        (json!({"minAvailable": "100%"}), 3, 3),
        (json!({"maxUnavailable": 1}), 3, 3),
        (json!({"maxUnavailable": "30%"}), 3, 3),
        (json!({"maxUnavailable": "1%"}), 3, 2),
        (json!({"maxUnavailable": "100%"}), 3, 3),
        (json!({"maxUnavailable": 9}), 3, 3),
        (json!({"maxUnavailable": 0}), 3, 3),
        (json!({"minAvailable": 0}), 0, 0),
        (json!({}), 3, 3),
    ];
    let text = cases
        .map(|(limit, expected, healthy)| format!("{limit}: {}", counts(limit.clone(), expected, healthy)));
    expect![[r#"
        {"minAvailable":2}: 3 of 2, 3 expected, 1 allowed
        {"minAvailable":"50%"}: 3 of 2, 3 expected, 1 allowed
        {"minAvailable":"100%"}: 3 of 3, 3 expected, 0 allowed
        {"maxUnavailable":1}: 3 of 2, 3 expected, 1 allowed
        {"maxUnavailable":"30%"}: 3 of 2, 3 expected, 1 allowed
        {"maxUnavailable":"1%"}: 2 of 2, 3 expected, 0 allowed
        {"maxUnavailable":"100%"}: 3 of 0, 3 expected, 3 allowed
        {"maxUnavailable":9}: 3 of 0, 3 expected, 3 allowed
        {"maxUnavailable":0}: 3 of 3, 3 expected, 0 allowed
        {"minAvailable":0}: 0 of 0, 0 expected, 0 allowed
        {}: 3 of 0, 0 expected, 0 allowed"#]]
    .assert_eq(&text.join("\n"));
}

fn budget(name: &str, spec: Value, status: Value) -> Value {
    let mut budget = json!({"metadata": {"name": name, "generation": 1}, "spec": spec, "status": status});
    budget["spec"]["selector"] = json!({"matchLabels": {"app": "a"}});
    budget["status"]["observedGeneration"] = json!(1);
    budget
}

fn pod(phase: &str, ready: &str) -> Value {
    json!({"metadata": {"name": "p", "labels": {"app": "a"}}, "status": {"phase": phase, "conditions": [{"type": "Ready", "status": ready}]}})
}

fn answer(pod: &Value, budgets: &[Value]) -> String {
    match decide(pod, budgets, 0) {
        Ok(Decision::Evict) => "evict".to_owned(),
        Ok(Decision::Several) => "several".to_owned(),
        Ok(Decision::Charge(budget)) => budget["status"].to_string(),
        Err(status) => {
            let details = status.details.unwrap();
            let cause = details.causes.first().map_or("", |cause| &cause.message);
            format!("{} {} | {cause} | {}", status.code, status.message, details.retry_after_seconds)
        }
    }
}

#[test]
fn evictions_ask_the_budget_of_the_pod() {
    let healthy = pod("Running", "True");
    let with = |status: Value| vec![budget("b", json!({}), status)];
    let condition = |reason: &str, message: &str| json!([{"type": "DisruptionAllowed", "status": "False", "reason": reason, "message": message}]);
    let mut stale = with(json!({"disruptionsAllowed": 5}));
    stale[0]["metadata"]["generation"] = json!(2);
    let crowded: serde_json::Map<String, Value> =
        (0..2001).map(|at| (format!("p{at}"), json!("t"))).collect();
    let answers = [
        answer(&healthy, &[]),
        answer(&healthy, &with(json!({"disruptionsAllowed": 2, "currentHealthy": 4, "desiredHealthy": 2}))),
        answer(
            &healthy,
            &with(
                json!({"disruptionsAllowed": 1, "conditions": [{"type": "DisruptionAllowed", "status": "True", "lastTransitionTime": "t"}]}),
            ),
        ),
        answer(&healthy, &with(json!({"disruptionsAllowed": 0, "currentHealthy": 1, "desiredHealthy": 2}))),
        answer(&healthy, &with(json!({"disruptionsAllowed": 0, "currentHealthy": 3, "desiredHealthy": 2}))),
        answer(
            &healthy,
            &with(
                json!({"currentHealthy": 3, "desiredHealthy": 2, "conditions": condition("Other", "because")}),
            ),
        ),
        answer(
            &healthy,
            &with(json!({"conditions": condition("SyncFailed", "found no controllers for pod \"p\"")})),
        ),
        answer(&healthy, &stale),
        answer(&healthy, &with(json!({"disruptionsAllowed": -1}))),
        answer(&healthy, &with(json!({"disruptionsAllowed": 1, "disruptedPods": crowded}))),
        answer(&healthy, &[budget("a", json!({}), json!({})), budget("b", json!({}), json!({}))]),
    ];
    expect![[r#"
        evict
        {"currentHealthy":4,"desiredHealthy":2,"disruptedPods":{"p":"1970-01-01T00:00:00Z"},"disruptionsAllowed":1,"observedGeneration":1}
        {"conditions":[{"lastTransitionTime":"1970-01-01T00:00:00Z","message":"","observedGeneration":1,"reason":"InsufficientPods","status":"False","type":"DisruptionAllowed"}],"disruptedPods":{"p":"1970-01-01T00:00:00Z"},"disruptionsAllowed":0,"observedGeneration":1}
        429 Cannot evict pod as it would violate the pod's disruption budget. | The disruption budget b needs 2 healthy pods and has 1 currently | 0
        429 Cannot evict pod as it would violate the pod's disruption budget. | The disruption budget b does not allow evicting pods currently | 0
        429 Cannot evict pod as it would violate the pod's disruption budget. | The disruption budget b does not allow evicting pods currently (Other): because | 0
        429 Cannot evict pod as it would violate the pod's disruption budget. | The disruption budget b does not allow evicting pods currently because it failed sync: found no controllers for pod "p" | 0
        429 Cannot evict pod as it would violate the pod's disruption budget. | The disruption budget b is still being processed by the server. | 10
        403 poddisruptionbudget.policy "b" is forbidden: pdb disruptions allowed is negative |  | 0
        403 poddisruptionbudget.policy "b" is forbidden: DisruptedPods map too big - too many evictions not confirmed by PDB controller |  | 0
        several"#]]
    .assert_eq(&answers.join("\n"));
}

#[test]
fn pods_that_disrupt_nothing_are_evicted() {
    let exhausted = [budget("b", json!({}), json!({"currentHealthy": 1, "desiredHealthy": 2}))];
    for phase in ["Pending", "Succeeded", "Failed"] {
        assert_eq!(answer(&pod(phase, "False"), &exhausted), "evict", "{phase}");
    }
    let mut deleted = pod("Running", "True");
    deleted["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    assert_eq!(answer(&deleted, &exhausted), "evict");
    let unhealthy = pod("Running", "False");
    assert!(answer(&unhealthy, &exhausted).starts_with("429"));
    let always = json!({"unhealthyPodEvictionPolicy": "AlwaysAllow"});
    assert_eq!(answer(&unhealthy, &[budget("b", always, json!({}))]), "evict");
    let in_budget = json!({"currentHealthy": 2, "desiredHealthy": 2});
    assert_eq!(answer(&unhealthy, &[budget("b", json!({}), in_budget)]), "evict");
    let mut selects_nothing = exhausted[0].clone();
    selects_nothing["spec"]["selector"] = Value::Null;
    assert_eq!(answer(&pod("Running", "True"), &[selects_nothing]), "evict");
}

proptest! {
    /// Disrupting what is allowed leaves as many healthy Pods as desired.
    #[test]
    fn allowed_disruptions_leave_the_desired_pods(
        percent in any::<bool>(), unavailable in any::<bool>(), amount in 0i64..150, expected in 0i64..2000, missing in 0i64..50,
    ) {
        let healthy = (expected - missing).max(0);
        let amount = if percent { Amount::Percent(amount) } else { Amount::Count(amount) };
        let limit = if unavailable { Limit::MaxUnavailable(amount) } else { Limit::MinAvailable(amount) };
        let counts = Counts::new(limit, expected, healthy);
        prop_assert!(counts.disruptions_allowed >= 0);
        prop_assert!(counts.desired_healthy >= 0);
        if counts.disruptions_allowed > 0 {
            prop_assert!(healthy - counts.disruptions_allowed >= counts.desired_healthy);
        }
        // One more would not.
        if expected > 0 && healthy >= counts.desired_healthy {
            prop_assert!(healthy - counts.disruptions_allowed - 1 < counts.desired_healthy);
        }
        if let (Limit::MinAvailable(Amount::Percent(percent)), true) = (limit, expected > 0) {
            prop_assert!(counts.desired_healthy * 100 >= percent * expected);
            prop_assert!((counts.desired_healthy - 1) * 100 < percent * expected);
        }
    }
}
