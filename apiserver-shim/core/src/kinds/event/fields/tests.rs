//! The two ways to read the fields of an Event agree.

use serde_json::json;

use super::super::CoreEvent;
use super::*;
use crate::kinds::Strategy;

#[test]
fn fields_of_encoded_and_decoded_events_agree() {
    for event in [
        json!({}),
        json!({"reason": "R", "type": "Normal", "source": {"component": "s"}, "reportingComponent": "r"}),
        json!({"reportingComponent": "r", "source": {}, "series": null, "involvedObject": {
            "kind": "Pod", "namespace": "n", "name": "p", "uid": "u", "apiVersion": "v1", "resourceVersion": "5",
            "fieldPath": "spec.containers{c}"}}),
    ] {
        let mut fields = of(event.to_string().as_bytes()).unwrap();
        let mut expected = CoreEvent.selectable(&event);
        fields.sort_unstable();
        expected.sort_unstable();
        assert_eq!(fields, expected, "{event}");
    }
}
