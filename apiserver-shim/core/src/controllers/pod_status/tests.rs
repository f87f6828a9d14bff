//! Who owns what in `status`.

use serde_json::json;

use super::*;

#[test]
fn conditions_of_other_owners_are_kept() {
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

/// The kinds of conditions: the node's, foreign ones (of a readiness gate, of a controller), and the shared one.
#[test]
fn a_node_cannot_change_or_drop_foreign_conditions() {
    let condition = |kind: &str, status: &str| json!({"type": kind, "status": status});
    let stored = json!({"phase": "Running", "conditions": [
        condition("ex.test/g", "True"), condition("Ready", "False"), condition("PodScheduled", "True"),
        condition("PodResizePending", "True"),
    ]});
    // The node's version of the Pod is older: it has not seen the gate's condition become true.
    let node = json!({"phase": "Running", "conditions": [
        condition("Ready", "True"), condition("ex.test/g", "False"), condition("DisruptionTarget", "True"),
    ]});
    let merged = merge(&stored, &node);
    assert_eq!(
        merged["conditions"],
        json!([
            condition("Ready", "True"),
            condition("DisruptionTarget", "True"),
            condition("ex.test/g", "True"),
            condition("PodScheduled", "True"),
        ])
    );
    let again = json!({"phase": "Running", "conditions": [condition("DisruptionTarget", "False")]});
    let kinds = [
        condition("DisruptionTarget", "True"),
        condition("ex.test/g", "True"),
        condition("PodScheduled", "True"),
    ];
    assert_eq!(merge(&merged, &again)["conditions"], json!(kinds), "who disrupts first sets the condition");
    check_both_ways(&stored, &node);
    check_both_ways(&merged, &again);
}

#[test]
fn a_terminal_phase_is_final() {
    let stored = json!({"phase": "Failed"});
    assert_eq!(merge(&stored, &json!({"phase": "Running"})), stored);
}

fn check_both_ways(stored: &Value, node: &Value) {
    let encoded = merge_encoded(stored.to_string().as_bytes(), node.to_string().as_bytes()).unwrap();
    let decoded: Value = serde_json::from_slice(&encoded).unwrap();
    assert_eq!(decoded, merge(stored, node), "{stored} {node}");
    assert_eq!(encoded, decoded.to_string().into_bytes(), "members stay in order");
}

#[test]
fn encoded_statuses_merge_like_decoded_ones() {
    let scheduled = json!({"type": "PodScheduled", "status": "True"});
    let ready = json!({"type": "Ready", "status": "False", "message": "a \"b\" {"});
    let statuses = [
        json!({}),
        json!({"phase": "Pending", "qosClass": "Burstable"}),
        json!({"phase": "Pending", "conditions": []}),
        json!({"phase": "Running", "conditions": [ready, scheduled], "podIP": "10.0.0.1"}),
        json!({"phase": "Failed", "conditions": [scheduled], "resize": "x"}),
        json!({"phase": "Succeeded", "qosClass": "Guaranteed", "conditions": [{"status": "True"}]}),
        json!({"containerStatuses": [{"name": "c", "state": {"waiting": {}}}], "zone": null}),
    ];
    for stored in &statuses {
        for node in &statuses {
            check_both_ways(stored, node);
        }
    }
}

#[test]
fn unusual_statuses_are_left_to_the_decoder() {
    for odd in [
        "",
        "[]",
        "{",
        r#"{"phase":1}"#,
        r#"{"phase":"\u0041"}"#,
        r#"{"conditions":{}}"#,
        r#"{"conditions":[1]}"#,
    ] {
        assert!(merge_encoded(b"{}", odd.as_bytes()).is_none(), "{odd}");
    }
}
