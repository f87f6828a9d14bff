//! Who owns what in `status`.

use serde_json::json;

use super::*;

#[test]
fn keeps_the_conditions_of_others() {
    let stored = json!({
        "phase": "Pending", "qosClass": "Burstable",
        "conditions": [{"type": "PodScheduled", "status": "True"}, {"type": "Ready", "status": "False"}],
    });
    let node =
        json!({"phase": "Running", "podIP": "10.0.0.1", "conditions": [{"type": "Ready", "status": "True"}]});
    let merged = merge(&stored, &node);
    assert_eq!(
        merged,
        json!({
            "phase": "Running", "podIP": "10.0.0.1", "qosClass": "Burstable",
            "conditions": [{"type": "Ready", "status": "True"}, {"type": "PodScheduled", "status": "True"}],
        })
    );
    assert_eq!(merge(&merged, &node), merged);
}

#[test]
fn what_has_ended_stays_ended() {
    let stored = json!({"phase": "Failed"});
    assert_eq!(merge(&stored, &json!({"phase": "Running"})), stored);
}
