//! How fast the number of replicas follows its metrics.

use super::*;

#[test]
fn an_increase_at_most_doubles_and_a_decrease_waits_five_minutes() {
    let mut case = Case::of_cpu(10, &["500m", "500m", "500m"]);
    assert_eq!(case.replicas_after_look(), 6);
    assert_eq!(case.condition("ScalingLimited"), ("True".to_owned(), "ScaleUpLimit".to_owned()));
    case.pods = (0..6).map(|n| pod(&format!("p{n}"), "Running", true)).collect();
    case.uses(&["500m"; 6]);
    case.now += 15;
    assert_eq!(case.replicas_after_look(), 10);
    assert_eq!(case.condition("ScalingLimited"), ("True".to_owned(), "TooManyReplicas".to_owned()));

    case.pods = (0..10).map(|n| pod(&format!("p{n}"), "Running", true)).collect();
    for _ in 0..19 {
        case.now += 15;
        case.uses(&["10m"; 10]);
        assert_eq!(case.replicas_after_look(), 10);
        assert_eq!(case.condition("AbleToScale"), ("True".to_owned(), "ScaleDownStabilized".to_owned()));
    }
    case.now += 15;
    case.uses(&["10m"; 10]);
    assert_eq!(case.replicas_after_look(), 2);
    assert_eq!(case.condition("AbleToScale"), ("True".to_owned(), "SucceededRescale".to_owned()));
}

fn with_behavior(replicas: &[&str], behavior: Value) -> Case {
    let mut case = Case::of_cpu(10, replicas);
    case.object["spec"]["behavior"] = behavior;
    case.object["spec"]["maxReplicas"] = json!(100);
    case
}

fn policies(policies: Value, select: &str) -> Value {
    json!({"stabilizationWindowSeconds": 0, "selectPolicy": select, "policies": policies})
}

#[test]
fn policies_bound_the_change_within_their_period() {
    let both = json!([
        {"type": "Pods", "value": 3, "periodSeconds": 60},
        {"type": "Percent", "value": 50, "periodSeconds": 60},
    ]);
    for (select, up, down) in [("Max", 15, 5), ("Min", 13, 7), ("Disabled", 10, 10)] {
        for (usage, replicas) in [("500m", up), ("1m", down)] {
            let rules = policies(both.clone(), select);
            let mut case = with_behavior(&[usage; 10], json!({"scaleUp": rules, "scaleDown": rules}));
            assert_eq!(case.replicas_after_look(), replicas, "{select}, {usage}");
        }
    }
}

#[test]
fn a_period_counts_what_was_changed_in_it() {
    let slow = policies(json!([{"type": "Pods", "value": 2, "periodSeconds": 60}]), "Max");
    let mut case = with_behavior(&["500m"; 4], json!({"scaleUp": slow, "scaleDown": slow}));
    assert_eq!(case.replicas_after_look(), 6);
    assert_eq!(case.condition("ScalingLimited"), ("True".to_owned(), "ScaleUpLimit".to_owned()));
    for (wait, replicas) in [(15, 6), (30, 6), (15, 8)] {
        case.now += wait;
        case.uses(&["500m"; 4]);
        assert_eq!(case.replicas_after_look(), replicas);
    }
}

#[test]
fn a_window_of_increases_takes_the_lowest_recommendation() {
    let fast = json!([{"type": "Percent", "value": 900, "periodSeconds": 15}]);
    let up = json!({"stabilizationWindowSeconds": 60, "selectPolicy": "Max", "policies": fast});
    let mut case = with_behavior(&["50m", "50m"], json!({"scaleUp": up, "scaleDown": policies(fast, "Max")}));
    assert_eq!(case.replicas_after_look(), 2);
    for (wait, replicas) in [(15, 2), (30, 2), (15, 20)] {
        case.now += wait;
        case.uses(&["500m", "500m"]);
        assert_eq!(case.replicas_after_look(), replicas, "{}", case.now);
    }
}

#[test]
fn a_tolerance_of_a_direction_is_its_own() {
    let mut case = Case::of_cpu(50, &["300m"; 4]);
    case.object["spec"]["behavior"] = json!({"scaleUp": {"tolerance": "250m", "stabilizationWindowSeconds": 0,
        "policies": [{"type": "Pods", "value": 4, "periodSeconds": 15}]}, "scaleDown": {}});
    assert_eq!(case.replicas_after_look(), 4, "60 % of the requests is 20 % above the target");
    case.uses(&["325m"; 4]);
    case.now += 15;
    assert_eq!(case.replicas_after_look(), 6, "30 % above");
}
